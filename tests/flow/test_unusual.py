"""Unusual look-ups at a running gateway: noticed, answered as the policy says, told, and replayed."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest

from privguard.anomaly import Relation
from privguard.asgi import PrivacyMiddleware
from privguard.bootstrap import build
from privguard.crypto.keyring import parse
from privguard.errors import AccessDeniedError, PrivguardError
from privguard.guard import Door, Guard
from privguard.model import (
    AccessEvent,
    Assessment,
    Disclosure,
    FieldShown,
    Outcome,
    Principal,
    SubjectRef,
    View,
)
from privguard.sinks.send import webhook_key, webhook_signature
from privguard.store.audit_log import SqlAuditLog
from tests.attacks.stepup import API, Person
from tests.command import privguard
from tests.door import BANK_POLICY, Answer, Gateway, Running, ask, make_gateway
from tests.flow.asgi_caller import call, canned
from tests.unit.store.logs import SystemEntropy

DAY_S = 86_400
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
DECOY = "19"
"""A client of the manager's branch, whom nobody has work with."""
ANOMALY = f"""
anomaly:
  relations: {{assigned: portfolio, same_branch: branch}}
  private: {{client: {{kin: id, address: [address, city], employer: employer, surname: name}}}}
  honey: {{client: ["{DECOY}"]}}
  effects:
    high: {{require: {{mfa: {{max_age: 5m}}}}, alert: [compliance]}}
    severe: {{require: {{mfa: {{max_age: 5m}}}}, alert: [compliance]}}
    rule: {{deny: true, alert: [compliance]}}
"""


def policy() -> str:
    text = BANK_POLICY.read_text()
    start = text.find("\nanomaly:")
    if start >= 0:
        rest = text[start + 1 :]
        ends = [at for at in (rest.find("\n" + key) for key in ("statement:", "budgets:")) if at >= 0]
        text = text[:start] + (rest[min(ends) :] if ends else "\n")
    return text + ANOMALY


def ordinary_weeks(gateway: Gateway) -> None:
    """Puts a month of managers' work at this time of day on record: lists, and some twenty looks a day."""
    keys = parse((gateway.folder / "keys.json").read_bytes())
    url = f"sqlite+aiosqlite:///{gateway.database}"
    log = SqlAuditLog.open(url, keys, SystemEntropy(), origin="test.invalid/log", deadline_s=30)
    now_s, chance = int(time.time()), random.Random(1)
    waiting = []
    for day in range(30, 0, -1):
        for actor in ("mgr.chen", "mgr.other"):
            for look in range(8):
                at_s = now_s - day * DAY_S + (look - 2) * 2_400
                for more in range(chance.choice((1, 1, 2, 3, 5))):
                    client = chance.randrange(1, 201)
                    waiting.append(log.submit(ordinary(actor, at_s + 15 * more, [client])))
                if look in (day % 4, 5):
                    waiting.append(log.submit(ordinary(actor, at_s, range(1, 201), many=True)))
    for each in waiting:
        each.result(30)
    log.close()


def ordinary(actor: str, at_s: int, clients: Iterable[int], *, many: bool = False) -> AccessEvent:
    shown = Disclosure(
        "client",
        (FieldShown("name", View.CLEAR),),
        tuple(SubjectRef("client", str(client)) for client in clients),
        relations=("same_branch",),
    )
    return AccessEvent(
        event_id=os.urandom(16).hex(),
        at_us=at_s * 1_000_000,
        action="gateway:client:read",
        outcome=Outcome.PERMITTED,
        actor=actor,
        roles=("rm_manager",),
        disclosures=(shown,),
        risk=Assessment(at=at_s, level="unknown", many=many, relations={"same_branch": 2}, team="B-01"),
    )


@pytest.fixture(scope="module")
def watched(bank: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("unusual")
    secret = folder / "work.secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    extra = (
        f'[stepup]\nprofile = "psd2"\n'
        f'[anomaly]\nwork_secret = "{secret}"\nexcuse_role = "compliance"\n'
        f'[alerts]\nfile = "{folder / "alerts"}"\n'
    )
    made = make_gateway(folder, bank.port, policy=policy(), extra=extra)
    ordinary_weeks(made)
    yield made.start()
    made.stop()
    made.verify()
    assert "Traceback" not in made.output


@pytest.fixture(scope="module")
def manager(watched: Gateway) -> Person:
    awake(watched, 1)
    person = Person(watched, "mgr.chen").sign_in()
    person.enrol()
    return person


def awake(gateway: Gateway, times: int) -> None:
    """Waits until the log is read: what is asked before has an unknown risk, and counts a little later."""
    until = time.monotonic() + 30
    while gateway.output.count("watching") < times:
        assert time.monotonic() < until, "it does not read the log"
        time.sleep(0.05)


def risk(person: Person, answer: Answer) -> dict[str, Any]:
    index = answer.index if "privguard-receipt" in answer.headers else answer.json()["receipt"]["index"]
    found: dict[str, Any] = person.gateway.leaves()[index]["risk"]
    return {"level": "low", **found}


def own_branch(person: Person) -> list[int]:
    listed = person.gateway.upstream(person.name, "GET", "/clients?size=100").json()["items"]
    here = next(record["branch"] for record in listed if record["id"] == 1)
    return [
        int(r["id"])
        for r in listed
        if r["branch"] == here and r["tier"] != "private" and r["id"] != int(DECOY)
    ]


def test_nobody_comes_upon_a_decoy_and_who_looks_for_it_is_told_of(manager: Person, watched: Gateway) -> None:
    listed = manager.ask("GET", "/clients?size=20")
    assert listed.status == 200, json.dumps(risk(manager, listed))
    assert DECOY not in {str(record["id"]) for record in listed.json()["items"]}
    assert "total" not in listed.json()
    looked = manager.ask("GET", f"/clients/{DECOY}")
    assert (looked.status, looked.problem) == (403, "not-permitted")
    assert risk(manager, looked)["why"][0][0] == "honey"
    [alert] = alerts(watched, "planted")
    assert alert["address"] == "compliance"
    assert alert["text"].startswith("mgr.chen (rm_manager): entry ")
    assert DECOY not in alert["text"].split("entry", 1)[1].split(".", 1)[1]


def test_a_decoy_is_told_of_where_it_is_refused_or_only_asked_about(watched: Gateway) -> None:
    """Who may not see it gets the answer that anybody gets of nobody, and is told of all the same."""
    rm = Person(watched, "rm.wang").sign_in()
    refused, nobody = rm.ask("GET", f"/clients/{DECOY}"), rm.ask("GET", "/clients/99999")
    told = [{**answer.json(), "receipt": ""} for answer in (refused, nobody)]
    assert (refused.status, told[0]) == (404, told[1])
    assert risk(rm, refused)["why"][0][0] == "honey"
    assert "planted" in alerts(watched, "rm.wang")[0]["text"]
    officer = Person(watched, "comp.he").sign_in()
    hanging = officer.ask("GET", f"/clients/{DECOY}/visits", Privguard_Purpose="audit")
    assert (hanging.status, risk(officer, hanging)["level"]) == (403, "rule")


def test_a_list_that_shows_one_client_is_a_look_at_one(manager: Person) -> None:
    for other in (11, 12, 13):  # of other branches: the CRM's lists show whom one opened last, too
        assert manager.ask("GET", f"/clients/{other}").status == 404
    assert "many" not in risk(manager, manager.ask("GET", "/clients?id=2"))
    assert risk(manager, manager.ask("GET", "/clients?size=2"))["many"]


def test_what_speaks_against_a_look_can_be_read_again(manager: Person, watched: Gateway) -> None:
    """Whatever the reasons are made of: an entry that is no leaf would stop verifier, search and checker."""
    looked = manager.ask("GET", "/clients/1/complaints", Privguard_Purpose="complaint")
    assert "distance" in [why[0] for why in risk(manager, looked)["why"]]
    watched.verify()
    assert "watch-failed" not in watched.output


def alerts(gateway: Gateway, word: str) -> list[dict[str, str]]:
    until = time.monotonic() + 10
    while True:
        path = gateway.folder / "alerts"
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        if found := [line for line in lines if word in line["text"]]:
            return found
        assert time.monotonic() < until, lines
        time.sleep(0.1)


def test_a_burst_asks_for_a_second_factor_and_is_known_by_replay_and_restart(
    manager: Person, watched: Gateway
) -> None:
    asks_and_goes_on(manager, watched)
    opens_whom_it_names(manager)
    is_found(watched)
    replays(watched)
    restarts(manager, watched)
    is_judged(watched)
    is_excused(manager, watched)


def asks_and_goes_on(manager: Person, watched: Gateway) -> None:
    clients = list(islice(cycle(own_branch(manager)), 80))
    with ThreadPoolExecutor(8) as pool:  # so that it is a burst on a slow machine, too
        answers = list(pool.map(lambda client: (client, manager.ask("GET", f"/clients/{client}")), clients))
    seen = sum(answer.status == 200 for _, answer in answers)
    refused = [(client, answer) for client, answer in answers if answer.problem == "step-up-required"]
    assert len(refused) + seen == len(answers)
    assert 3 <= seen <= 40, seen
    client, answer = refused[-1]
    said = risk(manager, answer)
    assert said["level"] in ("high", "severe")
    assert said["why"][0][0] in ("views", "new")
    assert alerts(watched, "are usual")
    met = manager.meet(answer.json()["challenge_id"])
    assert met.status == 201, met
    header = {"Privguard_Grant": f'"{met.json()["grant"]}"'}
    assert manager.ask("GET", f"/clients/{client}", **header).status == 200
    assert manager.ask("GET", f"/clients/{client}").status == 401


def opens_whom_it_names(manager: Person) -> None:
    """A record with relatives inside is one client's record: its grant opens neither theirs nor others'."""
    for _ in range(3):  # each look may be a level higher than the one before
        manager.minutes_later()
        met = manager.meet(manager.ask("GET", "/clients/1").json()["challenge_id"])
        header = {"Privguard_Grant": f'"{met.json()["grant"]}"'}
        looked = manager.ask("GET", "/clients/1", **header)
        if looked.status == 200:
            break
    assert looked.json()["client"]["relatives"][0]["id"] == 2
    assert manager.ask("GET", "/clients/2", **header).problem == "step-up-required"
    assert manager.ask("GET", "/clients/3", **header).problem == "step-up-required"


def is_found(watched: Gateway) -> None:
    """By its risk, with its reasons in words."""
    asked = ("--config", watched.config)
    found = privguard("audit", "search", "--risk", "high", "--risk", "severe", *asked).stdout.decode()
    first = found.splitlines()[0]
    assert "challenged" in first
    assert "risk: " in first
    shown = privguard("audit", "show", first.split()[0], *asked).stdout.decode()
    assert "unusual: " in shown
    assert "Cleared by" in shown
    assert privguard("audit", "search", "--risk", "enormous", *asked).returncode == 2


def replays(watched: Gateway) -> None:
    said = privguard("anomaly", "replay", "--config", watched.config, "--json")
    assert said.returncode == 0, said
    told = json.loads(said.stdout)
    assert told["compared"] >= 3, told
    assert told["different"] == 0, (told, watched.leaves()[told["first_different"]])


def restarts(manager: Person, watched: Gateway) -> None:
    watched.stop()
    watched.start()
    awake(watched, 2)
    again = Person(watched, "mgr.chen", "", manager.secret, manager.factor, manager.steps).sign_in()
    assert again.ask("GET", "/clients/1").status == 401


def is_judged(watched: Gateway) -> None:
    asked = ("--config", watched.config)
    [case] = [
        json.loads(line)
        for line in privguard("anomaly", "cases", "--open", "--json", *asked).stdout.splitlines()
        if b'"honey"' not in line
    ]
    assert (case["actor"], case["verdict"]) == ("mgr.chen", "")
    assert case["entries"] >= 2
    said = privguard("anomaly", "judge", case["newest"], "expected", "--note", "a campaign", *asked)
    assert said.returncode == 0, said
    ordinary = privguard("anomaly", "judge", "0", "expected", *asked)
    assert (ordinary.returncode, b"was not unusual" in ordinary.stderr) == (1, True)
    after = privguard("anomaly", "cases", "--json", *asked).stdout.splitlines()
    assert "expected" in [json.loads(line)["verdict"] for line in after]


def is_excused(manager: Person, watched: Gateway) -> None:
    """Two people say that it is expected; then the same look goes through."""
    refused = manager.ask("GET", "/clients/1")
    assert refused.status == 401
    for cause in sorted({why[0] for why in risk(manager, refused)["why"]} | {"views", "new"}):
        agree(manager, watched, cause)
    until = time.monotonic() + 20
    while (answer := manager.ask("GET", "/clients/1")).status != 200:
        for why in risk(manager, answer)["why"]:
            assert why[0] in ("views", "new", "unrelated", "odd-hours"), why
        assert time.monotonic() < until, answer
        time.sleep(0.3)


def agree(manager: Person, watched: Gateway, cause: str) -> None:
    manager.minutes_later()
    ask_for = ("anomaly", "excuse", "mgr.chen", cause, "--reason", "a campaign", "--as", "mgr.chen", "--json")
    said = privguard(*ask_for, "--config", watched.config, typed=manager.code())
    assert said.returncode == 0, said
    name = json.loads(said.stdout)["request"]
    compliance = Person(watched, "comp.he").sign_in()
    if not compliance.ask("GET", f"{API}factors").json()["factors"]:
        compliance.enrol()
        PHONE[:] = [compliance]
    second = Person(watched, "comp.he", compliance.token, PHONE[0].secret, PHONE[0].factor, PHONE[0].steps)
    second.minutes_later()
    [waits] = [one for one in second.ask("GET", f"{API}approvals").json()["approvals"] if one["name"] == name]
    assert (waits["purpose"], waits["fields"]) == ("mgr.chen", [cause])
    challenge = second.ask("POST", f"{API}challenges", {"action": "decide", "name": name}).json()
    body = {
        "challenge_id": challenge["challenge_id"],
        "proof": {"method": "totp", "code": second.code()},
        "approve": True,
    }
    assert second.ask("POST", f"{API}approvals/{name}", body).status == 200


PHONE: list[Person] = []


def posted(gateway: Gateway, body: bytes, name: str, stamp: int, signature: str = "") -> Answer:
    right = webhook_signature(webhook_key(SECRET.encode()), name, stamp, body)
    headers = {
        "Webhook-Id": name,
        "Webhook-Timestamp": str(stamp),
        "Webhook-Signature": signature or right,
        "Content-Type": "application/json",
    }
    return ask(gateway.port, "POST", "/_privguard/v1/work", body=body, headers=headers)


def test_the_crm_says_what_work_there_is_and_nobody_else_does(watched: Gateway) -> None:
    now = int(time.time())
    work = {"client": ["client", "77"], "what": "call", "actor": "rm.li", "at": now}
    body = json.dumps({"data": [work, {**work, "client": ["client", "78"]}]}).encode()
    before = len(watched.leaves())
    assert posted(watched, body, "m1", now).status == 204
    assert posted(watched, body, "m1", now).status == 204  # its answer was lost
    said = [leaf for leaf in watched.since(before) if leaf["action"] == "crm:client:work"]
    assert [(leaf["about"]["for"], len(leaf["groups"][0]["subjects"])) for leaf in said] == [("rm.li", 2)]
    assert posted(watched, body, "m2", now, "v1,bm8=").status == 401
    assert posted(watched, body, "m3", now - 3_600).status == 401
    assert posted(watched, b'{"data": [{"client": ["client", "7"]}]}', "m4", now).status == 400
    for wrong in ({"what": "love"}, {"actor": "rm\0li"}, {"client": ["client", "7\0"]}):
        assert posted(watched, json.dumps({"data": [{**work, **wrong}]}).encode(), "m5", now).status == 400
    assert len([1 for leaf in watched.leaves() if leaf["action"] == "crm:client:work"]) == 1


def wakened(made: Gateway) -> Guard:
    guard = build(made.config)
    until = time.monotonic() + 30
    while not (guard.core.watch is not None and guard.core.watch.awake):
        assert time.monotonic() < until, "it does not read the log"
        time.sleep(0.05)
    return guard


class Chen:
    """Identity of a middleware's callers."""

    async def identify(self, target: object, headers: object, body: bytes) -> Principal:
        return Principal(id="mgr.chen", roles=frozenset({"rm_manager"}), branch="B-01")


@pytest.mark.parametrize("door", ["middleware", "library"])
def test_the_other_doors_are_watched_as_the_gateway_is(bank: Running, own_folder: Path, door: str) -> None:
    alerted = f'[alerts]\nfile = "{own_folder / "alerts"}"\n'
    made = make_gateway(own_folder, bank.port, policy=policy(), extra=alerted)
    ordinary_weeks(made)
    guard = wakened(made)

    def look(client: str) -> str:
        record = {"id": client, "name": "N", "tier": "mass", "branch": "B-01", "rm_ids": []}
        if door == "middleware":
            app = PrivacyMiddleware(canned(json.dumps({"client": record}).encode()), guard)
            answer = call(app, "GET", f"/clients/{client}")
            return str(json.loads(answer.body).get("type", "")).rpartition(":")[2]
        try:
            guard.disclose(asyncio.run(Chen().identify("", "", b"")), resource="client", record=record)
        except PrivguardError as refused:
            return refused.problem
        return ""

    guard.core.door = Door(identity=Chen())
    assert look(DECOY) == "not-permitted"
    assert alerts(made, "planted")
    asked = [look(str(client)) for client in range(5_000, 5_060)]
    assert asked[0] == ""
    assert asked[-1] == "step-up-required"
    last = made.last()
    assert last["risk"]["level"] in ("high", "severe")
    assert last["action"] == f"{door}:client:read"
    guard.core.log.close()  # type: ignore[attr-defined]


def test_serve_looks_back_once_a_day_whichever_worker(bank: Running, tmp_path: Path) -> None:
    extra = '[anomaly]\nlook_back_at = "00:00"\n'
    made = make_gateway(tmp_path, bank.port, policy=policy(), extra=extra)
    ordinary_weeks(made)
    made.workers = 2
    made.start()
    try:
        until = time.monotonic() + 60
        while "look-back-waits" not in made.output and time.monotonic() < until:
            time.sleep(0.1)
        assert "two months say what is ordinary" in made.output
        time.sleep(1)
        begun = [leaf for leaf in made.leaves() if leaf["action"] == "oversight:look-back:begin"]
        assert len(begun) == 1
    finally:
        made.stop()
    assert "Traceback" not in made.output
    assert "look-back-failed" not in made.output


def test_who_looks_at_kin_neighbours_and_colleagues_is_named_for_it_and_replayed(
    bank: Running, own_folder: Path
) -> None:
    """Out of a CSV of personnel and the record itself; neither's words are anywhere."""
    made = make_gateway(own_folder, bank.port, policy=policy(), extra="[directory]\nrequired = true\n")
    ordinary_weeks(made)
    staff = own_folder / "staff.csv"
    row = "rm_manager,B-01,6001; 6002,Canary Lane 7 Springfield,Canary Works Ltd.,\u9673\n"
    names = [f"mgr.{number}" for number in range(5)]  # of one each look would be the day's fifth of the kind
    staff.write_text(
        "id,roles,branch,kin,address,employer,surname\n" + "".join(f"{name},{row}" for name in names)
    )
    assert privguard("directory", "import", staff, "--config", made.config).returncode == 0
    guard = wakened(made)
    record = {"tier": "mass", "branch": "B-01", "rm_ids": [], "name": "\u738b\u4f1f"}
    looks = {
        "kin": {"id": 6002},
        "address": {"id": 6003, "address": "CANARY LANE 7", "city": "Springfield"},
        "employer": {"id": 6004, "employer": "Canary works, Ltd"},
        "surname": {"id": 6005, "name": "\u9673\u5049"},
        "": {"id": 6006, "address": "Canary Lane 8", "city": "Springfield", "employer": None},
    }
    for name, own in zip(names, looks.values(), strict=True):
        guard.disclose(Principal(name), resource="client", record={**record, **own})
    guard.core.log.close()  # type: ignore[attr-defined]
    leaves = [leaf for leaf in made.leaves() if leaf["action"] == "library:client:read"]
    causes = {
        cause: [why[0] for why in leaf["risk"].get("why", ())]
        for cause, leaf in zip(looks, leaves, strict=True)
    }
    for cause in ("kin", "address", "employer"):
        assert causes[cause][0] == cause, causes
    assert "surname" in causes["surname"], causes
    assert not {"kin", "address", "employer", "surname"} & {*causes[""]}, causes
    assert [leaf["risk"].get("level", "low") for leaf in leaves[:2]] == ["raised", "raised"]
    assert "canary" not in json.dumps(leaves).lower()
    said = json.loads(privguard("anomaly", "replay", "--config", made.config, "--json").stdout)
    assert (said["compared"], said["different"]) == (len(looks), 0)
    shown = privguard("audit", "search", "--risk", "raised", "--config", made.config).stdout.decode()
    told = privguard("audit", "show", shown.split()[0], "--config", made.config).stdout.decode()
    assert "The client" in told
    assert "Cleared by a task or a call" in told


def test_a_look_at_a_client_of_public_interest_is_on_record_as_one_and_is_replayed(
    bank: Running, own_folder: Path
) -> None:
    text = policy().replace("\n  honey:", "\n  sensitive: [celebrity]\n  honey:")
    made = make_gateway(own_folder, bank.port, policy=text)
    ordinary_weeks(made)
    guard = wakened(made)
    for name, tier in (("mgr.1", "mass"), ("mgr.2", "celebrity")):
        who = Principal(name, frozenset({"rm_manager"}), branch="B-01")
        record = {
            "id": 6_000 + len(tier),
            "tier": tier,
            "branch": "B-01",
            "rm_ids": [],
            "name": "\u738b\u4f1f",
        }
        guard.disclose(who, resource="client", record=record)
    guard.core.log.close()  # type: ignore[attr-defined]
    plain, public = [leaf for leaf in made.leaves() if leaf["action"] == "library:client:read"]
    assert "private.sensitive" not in plain["groups"][0]["relations"]
    assert "private.sensitive" in public["groups"][0]["relations"]
    assert public["risk"]["relations"]["private.sensitive"] == Relation.SENSITIVE
    said = json.loads(privguard("anomaly", "replay", "--config", made.config, "--json").stdout)
    assert (said["compared"], said["different"]) == (2, 0)


def test_who_is_refused_again_and_again_is_told_of_and_replayed(bank: Running, own_folder: Path) -> None:
    """By what the record says, and by what the role may not ask for at all."""
    alerted = f'[alerts]\nfile = "{own_folder / "alerts"}"\n'
    made = make_gateway(own_folder, bank.port, policy=policy(), extra=alerted)
    ordinary_weeks(made)
    guard = wakened(made)
    chen = asyncio.run(Chen().identify("", "", b""))
    for number in range(40):
        record = {
            "id": number,
            "client_id": number,
            "name": "N",
            "tier": "mass",
            "branch": "B-99",
            "rm_ids": [],
        }
        with pytest.raises(AccessDeniedError):
            guard.disclose(chen, resource=("client", "photo")[number % 2], record=record)
    guard.core.log.close()  # type: ignore[attr-defined]
    refused = [leaf for leaf in made.leaves() if leaf["outcome"] == "denied"]
    assert len(refused) == 40
    assert all(leaf["risk"]["refused"] for leaf in refused)
    assert refused[0]["risk"].get("level", "low") == "low"
    first = next(n for n, leaf in enumerate(refused) if leaf["risk"].get("level") in ("high", "severe"))
    assert first < 20
    assert refused[first]["risk"]["why"][0][0] == "refused"
    assert "refusals in the last" in alerts(made, "refusals")[0]["text"]
    said = json.loads(privguard("anomaly", "replay", "--config", made.config, "--json").stdout)
    assert (said["compared"], said["different"]) == (40, 0)
