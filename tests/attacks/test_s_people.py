"""S07, S09, S15, S16: keys, second persons and emergencies against a gateway with two workers on one store."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from privguard.errors import FactorRefusedError
from privguard.machine import system_account
from privguard.stepup.webauthn import Assertion, check_approved, check_evidence
from tests.attacks.stepup import API, ORIGIN, KeyHolder, Person
from tests.authenticator import PRESENT, Authenticator
from tests.command import privguard
from tests.door import Answer, Gateway, Running, make_gateway

STEPUP = f"""
[stepup]
profile = "psd2"
factors = ["totp", "webauthn", "code", "recovery"]
public_url = "{ORIGIN}"
reset_role = "compliance"
[stepup.sender]
file = "codes.ndjson"
[alerts]
file = "notices.ndjson"
"""
CASE = {"Privguard_Purpose": "aml_case", "Privguard_Ticket": '"AML-17"', "Privguard_Reveal": "id_no"}


@pytest.fixture(scope="module")
def guarded(bank: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    made = make_gateway(tmp_path_factory.mktemp("people"), bank.port, extra=STEPUP)
    made.workers = 2
    yield made.start()
    made.stop()
    made.verify()
    assert "Traceback" not in made.output


@pytest.fixture(scope="module")
def staff(guarded: Gateway) -> dict[str, KeyHolder]:
    people = {name: KeyHolder(guarded, name).sign_in() for name in ("rm.li", "aml.zhao", "amllead.gao")}
    people |= {name: KeyHolder(guarded, name).sign_in() for name in ("mgr.chen", "comp.he")}
    for person in people.values():
        person.enrol()
    people["aml.zhao"].enrol_key()
    people["rm.li"].enrol_key()
    return people


def requested(aml: KeyHolder) -> Answer:
    """A request of the case's officer that waits for a second person."""
    challenge = aml.ask("GET", "/clients/1", **CASE).json()["challenge_id"]
    waits = aml.meet_by_key(challenge)
    assert waits.status == 202, waits
    return waits


def shown_of(guarded: Gateway, entry: str) -> dict[str, Any]:
    said = privguard("audit", "show", entry, "--json", "--config", guarded.config)
    assert said.returncode == 0, said
    found: dict[str, Any] = json.loads(said.stdout)
    return found


def decide(who: Person, name: str, *, approve: bool, code: str | None = None) -> Answer:
    challenge = who.ask("POST", f"{API}challenges", {"action": "decide", "name": name}).json()
    proof = {"method": "totp", "code": code or who.code()}
    body = {"challenge_id": challenge.get("challenge_id", ""), "proof": proof, "approve": approve}
    return who.ask("POST", f"{API}approvals/{name}", body)


def test_s07_a_key_signs_what_is_granted_and_the_log_proves_it(
    staff: dict[str, KeyHolder], guarded: Gateway
) -> None:
    rm = staff["rm.li"]
    challenge = rm.challenge()
    met = rm.meet_by_key(challenge)
    assert met.status == 201, met
    assert rm.look(met.json()["grant"]).status == 200
    [issue] = [leaf for leaf in guarded.leaves() if leaf.get("about", {}).get("grant") == met.json()["name"]][
        :1
    ]
    kept = msgspec.json.decode(issue["about"]["assertion"], type=Assertion)
    signed = bytes.fromhex(issue["about"]["challenge"])
    check_evidence(kept, signed, rp_id="localhost", origins=[ORIGIN])
    shown = shown_of(guarded, issue["id"])
    assert shown["key"] is True
    approved = json.loads(shown["detail"]["approved"])
    assert (approved["actor"], approved["fields"], approved["clients"][0]["id"]) == ("rm.li", ["mobile"], "1")
    told = privguard("audit", "show", issue["id"], "--config", guarded.config)
    assert f"the security key signed, at {ORIGIN}, what is said to be approved" in told.stdout.decode()
    changed = shown["detail"] | {"approved": shown["detail"]["approved"].replace("mobile", "email")}
    config = guarded.config.read_text()
    guarded.config.write_text(config.replace(ORIGIN, "https://crm.bank.example"))  # the gateway moved since
    assert shown_of(guarded, issue["id"])["key"] is True
    guarded.config.write_text(config)
    for wrong in (changed, shown["detail"] | {"nonce": "AAAA"}, shown["detail"] | {"nonce": "!"}, {}):
        with pytest.raises(FactorRefusedError):
            check_approved(issue["about"], wrong)


def test_s07_a_key_signs_the_reason_that_is_given_with_it(
    staff: dict[str, KeyHolder], guarded: Gateway
) -> None:
    """Who asks a second person gives a reason; it is the one that their key has signed, not another."""
    aml = staff["aml.zhao"]
    challenge = aml.ask("GET", "/clients/1", **CASE).json()["challenge_id"]
    answer = aml.key.get(aml.options(challenge, reason="two accounts, one address"), aml.origin)
    proof = {"method": "webauthn", "assertion": answer}
    other = aml.meet_by_key(challenge, proof, reason="curious")
    assert (other.status, other.problem) == (403, "factor-refused")
    met = aml.meet_by_key(challenge, proof, reason="two accounts,  one address ")
    assert met.status == 202, met
    asked = [leaf for leaf in guarded.leaves() if leaf.get("about", {}).get("grant") == met.json()["name"]]
    shown = shown_of(guarded, asked[0]["id"])
    assert shown["key"] is True
    assert json.loads(shown["detail"]["approved"])["reason"] == "two accounts, one address"


def test_s07_what_a_key_did_not_sign_here_and_now_is_refused(
    staff: dict[str, KeyHolder], guarded: Gateway
) -> None:
    rm = staff["rm.li"]
    challenge, other = rm.challenge(), rm.challenge()
    stranger = Authenticator()
    stranger.id = rm.key.id
    honest = rm.key
    wrong = {
        "another challenge": rm.touch(other),
        "another site": rm.touch(challenge, "https://bank.example.evil"),
        "another rp": rm.touch(challenge, rp_id="evil.example"),
        "nobody verified": rm.touch(challenge, flags=PRESENT),
    }
    rm.key = stranger
    wrong["another key"] = rm.touch(challenge)
    rm.key = honest
    for what, proof in wrong.items():
        with rm.store() as store:
            store.execute("UPDATE factor SET fails = 0, locked_us = 0")
        answer = rm.meet_by_key(challenge, proof)
        assert (answer.status, answer.problem) == (403, "factor-refused"), what
    right = rm.touch(challenge)
    assert rm.meet_by_key(challenge, right).status == 201
    assert rm.meet_by_key(challenge, right).status == 403  # again
    assert rm.meet_by_key(other, right).status == 403
    for used in range(100, 600, 100):  # either worker may have seen the key last
        rm.key.count = used
        assert rm.meet_by_key(rm.challenge()).status == 201
        rm.key.count = used - 1
        before = len(guarded.leaves())
        assert rm.meet_by_key(rm.challenge()).problem == "factor-refused"
        assert "regressed" in {leaf.get("problem") for leaf in guarded.since(before)}
    rm.key.count = 1_000


def test_s07_where_a_key_is_asked_for_a_code_does_not_do(staff: dict[str, KeyHolder]) -> None:
    aml = staff["aml.zhao"]
    told = aml.ask("GET", "/clients/1", **CASE)
    assert (told.problem, told.json()["methods"]) == ("step-up-required", ["webauthn"])
    assert "phishing-resistant" in told.headers["www-authenticate"]
    assert aml.meet(told.json()["challenge_id"]).problem == "factor-refused"


def told_of(guarded: Gateway, name: str) -> list[str]:
    """Roles that have a message of a request or a grant."""
    until, notices = time.monotonic() + 20, guarded.folder / "notices.ndjson"
    while True:
        lines = [json.loads(line) for line in notices.read_text().splitlines()] if notices.exists() else []
        if found := [line["address"] for line in lines if name in line["text"]]:
            return found
        assert time.monotonic() < until, lines
        time.sleep(0.1)


def test_four_eyes_a_grant_waits_for_a_second_person(staff: dict[str, KeyHolder], guarded: Gateway) -> None:
    aml, lead = staff["aml.zhao"], staff["amllead.gao"]
    lead.minutes_later()
    waits = requested(aml)
    told = waits.json()
    assert told_of(guarded, told["name"]) == ["aml_lead"]
    look = {**CASE, "Privguard_Grant": f'"{told["grant"]}"'}
    assert aml.ask("GET", told["status_uri"]).status == 202
    assert aml.ask("GET", "/clients/1", **look).status == 401
    [seen] = [
        each
        for each in lead.ask("GET", f"{API}approvals").json()["approvals"]
        if each["name"] == told["name"]
    ]
    assert (seen["actor"], seen["clients"], seen["fields"]) == ("aml.zhao", ["client 1"], ["id_no"])
    assert (seen["purpose"], seen["ticket"]) == ("aml_case", "AML-17")
    assert decide(lead, told["name"], approve=True).status == 200
    assert aml.ask("GET", told["status_uri"]).json()["state"] == "active"
    truth = guarded.upstream("rm.li", "GET", "/clients/1").json()["client"]["id_no"]
    shown = aml.ask("GET", "/clients/1", **look)
    assert shown.json()["client"]["id_no"] == truth
    assert decide(lead, told["name"], approve=False).status == 403  # it is decided
    actions = [leaf["action"] for leaf in guarded.leaves()]
    assert {"stepup:grant:request", "stepup:grant:approve"} <= set(actions)


def test_s09_nobody_approves_what_is_theirs(staff: dict[str, KeyHolder], guarded: Gateway) -> None:
    aml, lead, rm = staff["aml.zhao"], staff["amllead.gao"], staff["rm.li"]
    lead.minutes_later()
    rm.minutes_later()
    own = KeyHolder(guarded, "amllead.gao", lead.token, lead.secret, lead.factor, lead.steps, lead.key)
    own.key = Authenticator()
    own.enrol_key()  # the lead asks, too
    mine = requested(own).json()["name"]
    for who in (lead, lead.again()):  # in this session, and in another
        assert mine not in str(who.ask("GET", f"{API}approvals").json())
        assert decide(who, mine, approve=True).status == 403
    theirs = requested(aml).json()["name"]
    assert decide(rm, theirs, approve=True).status == 403  # who has not the role
    swapped = lead.ask("POST", f"{API}challenges", {"action": "add"}).json()["challenge_id"]
    proof = {"method": "totp", "code": lead.code()}
    body = {"challenge_id": swapped, "proof": proof, "approve": True}
    assert lead.ask("POST", f"{API}approvals/{theirs}", body).status == 403  # a challenge for something else
    crossed = lead.ask("POST", f"{API}approvals/{theirs}", body, Origin="https://elsewhere.example")
    assert crossed.status == 400
    assert decide(lead, theirs, approve=True, code=lead.wrong()).problem == "factor-refused"
    lead.minutes_later()
    assert decide(lead, theirs, approve=False).status == 200
    state = aml.ask("GET", f"{API}grants/{theirs}").json()["state"]
    assert state == "refused"


def test_s15_a_key_signs_whether_it_approves(staff: dict[str, KeyHolder], guarded: Gateway) -> None:
    """What somebody refused cannot be shown as approved by them, nor the other way round."""
    aml, lead = staff["aml.zhao"], staff["amllead.gao"]
    lead.minutes_later()
    lead.key = Authenticator()
    lead.enrol_key()

    def signed(name: str, *, meant: bool, said: bool) -> Answer:
        text = lead.ask("POST", f"{API}challenges", {"action": "decide", "name": name}).json()["challenge_id"]
        answer = lead.key.get(lead.options(text, approve=meant), lead.origin)
        proof = {"method": "webauthn", "assertion": answer}
        return lead.ask(
            "POST", f"{API}approvals/{name}", {"challenge_id": text, "proof": proof, "approve": said}
        )

    for meant in (True, False):
        name = requested(aml).json()["name"]
        assert signed(name, meant=not meant, said=meant).problem == "factor-refused"
        assert signed(name, meant=meant, said=meant).status == 200
        entries = [leaf for leaf in guarded.leaves() if leaf.get("about", {}).get("grant") == name]
        shown = shown_of(guarded, entries[-1]["id"])
        verb = "approve" if meant else "refuse"
        assert entries[-1]["action"] == f"stepup:grant:{verb}"
        assert (shown["key"], json.loads(shown["detail"]["approved"])["action"]) == (True, verb)


def test_an_export_waits_for_compliance(staff: dict[str, KeyHolder]) -> None:
    manager, compliance = staff["mgr.chen"], staff["comp.he"]
    compliance.minutes_later()
    refused = manager.ask("GET", "/clients.csv")
    assert refused.problem == "step-up-required", refused
    asked = manager.ask("POST", f"{API}grants", {"challenge_id": refused.json()["challenge_id"]})
    assert asked.status == 202, asked
    grant = {"Privguard_Grant": f'"{asked.json()["grant"]}"'}
    assert manager.ask("GET", "/clients.csv", **grant).status == 401
    assert decide(compliance, asked.json()["name"], approve=True).status == 200
    exported = manager.ask("GET", "/clients.csv", **grant)
    assert exported.status == 200, exported
    assert len(exported.body.splitlines()) > 2
    assert manager.ask("GET", "/clients.csv", **grant).status == 401  # once


def test_a_gate_opens_for_one_client(staff: dict[str, KeyHolder]) -> None:
    rm = staff["rm.li"]
    rm.minutes_later()
    refused = rm.ask("GET", "/clients/7")
    assert (refused.problem, refused.json()["methods"]) == ("step-up-required", ["totp", "webauthn"])
    grant = rm.meet(refused.json()["challenge_id"]).json()["grant"]
    opened = rm.ask("GET", "/clients/7", Privguard_Grant=f'"{grant}"')
    assert opened.status == 200, opened
    assert "*" in opened.json()["client"]["mobile"]
    listed = rm.ask("GET", "/clients?page=1&size=50", Privguard_Grant=f'"{grant}"')
    without = rm.ask("GET", "/clients?page=1&size=50")
    more = {c["id"] for c in listed.json()["items"]} - {c["id"] for c in without.json()["items"]}
    assert more == {7}


def test_a_broken_glass_is_loud_and_to_be_reviewed(staff: dict[str, KeyHolder], guarded: Gateway) -> None:
    manager = staff["mgr.chen"]
    manager.minutes_later()
    said = {
        "Privguard_Reveal": "mobile",
        "Privguard_Reason": '"fire in the other branch, call the clients"',
        "Privguard_Break_Glass": "?1",
    }
    assert manager.ask("GET", "/clients/11", **{**said, "Privguard_Break_Glass": "?0"}).status == 403
    assert (
        manager.ask("GET", "/clients/11", **{**said, "Privguard_Reason": '"fire"'}).problem
        == "reason-required"
    )
    challenge = manager.ask("GET", "/clients/11", **said)
    assert challenge.problem == "step-up-required", challenge
    met = manager.meet(challenge.json()["challenge_id"])
    assert met.status == 201, met
    grant = {"Privguard_Grant": f'"{met.json()["grant"]}"'}
    shown = manager.ask("GET", "/clients/11", **{**said, **grant})
    truth = guarded.upstream("rm.li", "GET", "/clients/11").json()["client"]
    assert shown.status == 200, shown
    assert shown.json()["client"]["mobile"] == truth["mobile"]
    assert "name" not in shown.json()["client"]
    assert manager.ask("GET", "/clients/14", **{**said, **grant}).status == 404  # themselves: forbids hold
    name = met.json()["name"]
    assert "BREAK-GLASS" in guarded.output
    assert name in guarded.output
    assert truth["mobile"] not in guarded.output
    due = privguard("grant", "reviews", "--json", "--config", guarded.config)
    assert (due.returncode, json.loads(due.stdout)["name"]) == (0, name)
    with manager.store() as store:
        store.execute("UPDATE review SET due_us = 1")
    assert privguard("grant", "reviews", "--config", guarded.config).returncode == 1
    noted = privguard("grant", "reviewed", name, "--finding", "all well", "--config", guarded.config)
    assert noted.returncode == 0
    assert b"nothing" in privguard("grant", "reviews", "--config", guarded.config).stderr
    again = privguard("grant", "reviewed", name, "--finding", "all well", "--config", guarded.config)
    assert again.returncode == 1


def test_a_code_that_is_sent_is_good_for_its_challenge_once(
    staff: dict[str, KeyHolder], guarded: Gateway
) -> None:
    rm = staff["rm.li"]
    rm.minutes_later()
    file = guarded.folder / "codes.ndjson"

    def sent() -> dict[str, str]:
        line: dict[str, str] = json.loads(file.read_text().splitlines()[-1])
        return line

    begun = rm.begin(
        "code", {"method": "totp", "code": rm.code(), "factor": rm.factor}, address="+8613900000000"
    )
    assert begun.status == 201, begun
    assert rm.ask("POST", f"{API}factors/{begun.json()['id']}", {"code": sent()["code"]}).status == 200
    challenge, other = rm.challenge(), rm.challenge()
    asked = {"challenge_id": challenge, "method": "code"}
    assert rm.ask("POST", f"{API}options", asked).status == 200
    assert sent()["address"] == "+8613900000000"
    proof = {"method": "code", "code": sent()["code"]}
    assert rm.ask("POST", f"{API}grants", {"challenge_id": other, "proof": proof}).status == 403
    assert rm.ask("POST", f"{API}grants", {"challenge_id": challenge, "proof": proof}).status == 201
    assert rm.ask("POST", f"{API}grants", {"challenge_id": challenge, "proof": proof}).status == 403
    assert "13900000000" not in guarded.output
    assert b"13900000000" not in guarded.database.read_bytes()


def test_s15_factors_are_reset_by_two_people(staff: dict[str, KeyHolder], guarded: Gateway) -> None:
    compliance, manager = staff["comp.he"], staff["mgr.chen"]
    compliance.minutes_later()
    manager.minutes_later()
    lost = KeyHolder(guarded, "rm.wang").sign_in()
    lost.enrol()
    one = ("factor", "reset", "rm.wang", "--as", "mgr.chen", "--json", "--config", guarded.config)
    lost.minutes_later()
    lost.enrol_key()
    denied = privguard(*one, typed=manager.wrong())
    assert (denied.returncode, b"Try again with a fresh code" in denied.stderr) == (1, True), denied
    manager.minutes_later()
    begun = privguard(*one, "--factor", lost.factor, typed=manager.code())
    assert manager.code() not in begun.stderr.decode()
    compliance.minutes_later()
    assert decide(compliance, json.loads(begun.stdout)["request"], approve=True).status == 200
    [kept] = lost.ask("GET", f"{API}factors").json()["factors"]
    assert kept["kind"] == "webauthn"
    compliance.minutes_later()
    mine = privguard(*(each if each != "mgr.chen" else "comp.he" for each in one), typed=compliance.code())
    own = json.loads(mine.stdout)["request"]
    assert decide(compliance, own, approve=True).status == 403  # who asked is not a second person
    compliance.minutes_later()
    manager.minutes_later()
    said = privguard(*one, typed=manager.code())
    assert said.returncode == 0, said
    name = json.loads(said.stdout)["request"]
    [asked] = [leaf for leaf in guarded.leaves() if leaf.get("about", {}).get("grant") == name]
    assert (asked["actor"], asked["about"]["account"]) == ("mgr.chen", system_account())
    assert told_of(guarded, name) == ["compliance"]
    assert len(lost.ask("GET", f"{API}factors").json()["factors"]) == 1  # asked for, not done
    assert decide(lost, name, approve=True).status == 403
    assert decide(compliance, name, approve=True).status == 200
    assert lost.ask("GET", f"{API}factors").json()["factors"] == []
    lost.enrol()


def test_s15_who_lost_their_factors_asks_and_another_approves(
    staff: dict[str, KeyHolder], guarded: Gateway
) -> None:
    compliance = staff["comp.he"]
    compliance.minutes_later()
    lost = Person(guarded, "teller.wu").sign_in()
    lost.enrol()
    asked = lost.ask("POST", f"{API}resets", {})
    assert asked.status == 202, asked
    name = asked.json()["request"]
    assert lost.ask("POST", f"{API}resets", {}).json()["request"] == name
    assert decide(lost, name, approve=True).status == 403
    own = compliance.ask("POST", f"{API}resets", {}).json()["request"]
    assert own not in [each["name"] for each in approvals(compliance)]
    assert decide(compliance, own, approve=True).status == 403
    compliance.minutes_later()
    assert decide(compliance, name, approve=True).status == 200
    assert lost.ask("GET", f"{API}factors").json()["factors"] == []


def approvals(who: Person) -> list[dict[str, str]]:
    found: list[dict[str, str]] = who.ask("GET", f"{API}approvals").json()["approvals"]
    return found


def test_s16_a_seed_that_was_moved_to_another_row_does_not_open(
    staff: dict[str, KeyHolder], guarded: Gateway
) -> None:
    thief, owner = Person(guarded, "ana.lin").sign_in(), staff["mgr.chen"]
    thief.enrol()
    owner.minutes_later()
    with thief.store() as store:
        [(kept,)] = store.execute("SELECT data FROM factor WHERE id = ?", (owner.factor,))
        [(own,)] = store.execute("SELECT data FROM factor WHERE id = ?", (thief.factor,))
        store.execute("UPDATE factor SET data = ? WHERE id = ?", (own, owner.factor))
    try:
        refused = manager_looks(owner)
        assert refused.status == 503, refused
    finally:
        with thief.store() as store:
            store.execute("UPDATE factor SET data = ? WHERE id = ?", (kept, owner.factor))


def manager_looks(manager: Person) -> Answer:
    challenge = manager.ask("POST", f"{API}challenges", {"action": "add"})
    return (
        challenge if challenge.status != 200 else manager.begin("totp", {"method": "totp", "code": "000000"})
    )


def test_nothing_secret_is_stored_in_clear(staff: dict[str, KeyHolder], guarded: Gateway) -> None:
    rm = staff["rm.li"]
    rm.minutes_later()
    grant = rm.granted()
    stored = b"".join(file.read_bytes() for file in guarded.folder.glob("privguard.db*"))
    for secret in (rm.secret, grant, rm.token):
        assert secret.encode() not in stored
        assert secret not in guarded.output
    with rm.store() as store:
        rows = store.execute("SELECT scope FROM access_grant").fetchall()
    assert rows
    assert not any("mobile" in scope or "clients" in scope for (scope,) in rows)


def test_l09_while_the_store_takes_nothing_no_code_is_used_and_no_grant_is_issued(
    staff: dict[str, KeyHolder], guarded: Gateway
) -> None:
    rm = staff["rm.li"]
    rm.minutes_later()
    grant, challenge, code = rm.granted(), rm.challenge(), rm.code()
    blocker = sqlite3.connect(guarded.database, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    try:
        assert rm.meet(challenge, code).status == 503
        assert rm.look(grant).status == 503
    finally:
        blocker.execute("ROLLBACK")
        blocker.close()
    deadline = time.monotonic() + 10
    while (met := rm.meet(challenge, code)).status == 503 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert met.status == 201, met
    left = rm.ask("GET", f"{API}grants/{rm.meet(rm.challenge()).json()['name']}").json()
    assert left["reads"] == 10
    assert rm.look(grant).status == 200
