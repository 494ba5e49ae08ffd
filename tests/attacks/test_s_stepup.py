"""S01-S09, S15: second factors and grants against a gateway with two workers on one store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.attacks.stepup import API, Person
from tests.command import privguard
from tests.door import Answer, Gateway, Running, make_gateway

CALLERS = 16
WHY = {"Privguard_Reason": '"client asked for a call"'}
"""Without it a worker that never saw a grant, which is over now, asks for the reason first."""


@pytest.fixture(scope="module")
def guarded(bank: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    made = make_gateway(tmp_path_factory.mktemp("stepup"), bank.port, extra='[stepup]\nprofile = "psd2"\n')
    made.workers = 2
    yield made.start()
    made.stop()
    made.verify()
    assert "Traceback" not in made.output


@pytest.fixture(scope="module")
def _rm(guarded: Gateway) -> Person:
    person = Person(guarded, "rm.li").sign_in()
    person.enrol()
    return person


@pytest.fixture
def rm(_rm: Person) -> Person:
    """A relationship manager, minutes after the test before."""
    _rm.minutes_later()
    return _rm


def at_once(work: Callable[[], Answer], times: int = CALLERS) -> list[Answer]:
    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(lambda _: work(), range(times)))


def test_a_clear_value_is_had_by_a_code_and_its_grant(rm: Person) -> None:
    masked = rm.ask("GET", "/clients/1")
    assert masked.status == 200
    assert 'rel="privguard-stepup"' in masked.headers["link"]
    assert "challenge=" in masked.headers["link"]
    refused = rm.ask("GET", "/clients/1", Privguard_Reveal="mobile", Privguard_Reason='"client asked"')
    told = refused.json()
    assert told["methods"] == ["totp"]
    assert told["fields"] == ["mobile"]
    assert told["authorization_details"][0]["datatypes"] == ["mobile"]
    assert 'error="insufficient_user_authentication"' in refused.headers["www-authenticate"]
    met = rm.meet(told["challenge_id"])
    assert met.status == 201, met
    grant = met.json()["grant"]
    shown = rm.look(grant)
    truth = rm.gateway.upstream("rm.li", "GET", "/clients/1").json()["client"]
    seen = shown.json()["client"]
    assert (shown.status, seen["mobile"]) == (200, truth["mobile"])
    assert "email" not in seen
    assert seen["id_no"] != truth["id_no"]
    assert rm.ask("GET", "/clients/1").json() == masked.json()
    leaf = rm.gateway.leaves()[shown.index]
    assert leaf["about"]["grant"] == met.json()["name"]
    assert leaf["groups"][0]["fields"]["mobile"] == "clear"


@pytest.mark.parametrize(
    "words", ["call\x1b]0;you\x07 me back", "call me \u202eback", "call\0 me back", "x" * 1_001]
)
def test_s09_words_are_what_who_reads_them_sees(rm: Person, words: str) -> None:
    """An approver's page, an auditor's terminal: neither obeys what a reason, ticket or label says."""
    challenge, code = rm.challenge(), rm.code()
    for said in ({"reason": words}, {"ticket": words}):
        refused = rm.meet(challenge, code, **said)
        assert (refused.status, refused.problem) == (400, "malformed-request")
    refused = rm.begin("totp", {"method": "totp", "code": code}, label=words)
    assert (refused.status, refused.problem) == (400, "malformed-request")
    assert rm.meet(challenge, code, reason="two lines,\r\nas a page sends them").status == 201


@pytest.mark.parametrize("where", ["again", "elsewhere", "at once"])
def test_s01_a_code_is_accepted_once(rm: Person, where: str) -> None:
    code = rm.code()
    if where == "at once":
        challenges = [rm.challenge() for _ in range(CALLERS)]
        with ThreadPoolExecutor(CALLERS) as pool:
            answers = list(pool.map(lambda challenge: rm.meet(challenge, code), challenges))
        assert sorted(a.status for a in answers) == [201] + [403] * (CALLERS - 1)
        return
    assert rm.meet(rm.challenge(), code).status == 201
    who = rm.again() if where == "elsewhere" else rm
    again = who.meet(who.challenge(), code)
    assert (again.status, again.problem) == (403, "factor-refused")


@pytest.mark.parametrize(
    "spelt",
    [
        lambda code: code.translate({ord("0") + n: ord("０") + n for n in range(10)}),
        lambda code: f" {code}",
        lambda code: f"{code}\n",
        lambda code: f"{code[:3]} {code[3:]}",
        lambda code: f"+{code}",
        lambda code: f"0{code}",
    ],
)
def test_s02_a_code_has_one_spelling(rm: Person, spelt: Callable[[str], str]) -> None:
    code = rm.code()
    answer = rm.meet(rm.challenge(), spelt(code))
    assert (answer.status, answer.problem) == (403, "factor-refused")
    assert rm.meet(rm.challenge(), code).status == 201


def test_s03_parallel_guesses_have_no_more_tries_than_there_are(guarded: Gateway) -> None:
    person = Person(guarded, "rm.wang").sign_in()
    person.enrol()
    sessions = [person, *(person.again() for _ in range(3))]  # neither a session nor a challenge begins anew
    challenges = [sessions[n % 4].challenge(client=11) for n in range(2 * CALLERS)]
    wrong = person.wrong()
    before = len(guarded.leaves())
    with ThreadPoolExecutor(2 * CALLERS) as pool:
        answers = list(pool.map(lambda n: sessions[n % 4].meet(challenges[n], wrong), range(2 * CALLERS)))
    assert {(a.status, a.problem) for a in answers} == {(403, "factor-refused")}
    leaves = guarded.since(before)
    tried = [leaf for leaf in leaves if leaf["action"] == "stepup:factor:try"]
    why = [leaf["problem"] for leaf in leaves if leaf["action"] == "stepup:factor:prove"]
    assert (len(tried), why.count("wrong"), why.count("throttled")) == (5, 5, 2 * CALLERS - 5)
    right = person.meet(person.challenge(client=11))
    assert right.problem == "factor-refused"  # locked: a right code is not told from a wrong one
    bodies = {a.body for a in [*answers, right]}
    assert len(bodies) == 1


def test_s04_a_hundred_wrong_tries_disable_a_factor(guarded: Gateway, rm: Person) -> None:
    person = Person(guarded, "mgr.chen").sign_in()
    person.enrol()
    with person.store() as store:
        store.execute("UPDATE factor SET fails = 99 WHERE id = ?", (person.factor,))
    challenge = person.ask("POST", f"{API}challenges", {"action": "add"}).json()
    assert challenge["methods"] == ["totp"]
    assert person.begin("totp", {"method": "totp", "code": person.wrong()}).problem == "factor-refused"
    with person.store() as store:
        store.execute("UPDATE factor SET locked_us = 0 WHERE id = ?", (person.factor,))
    assert person.begin("totp", {"method": "totp", "code": person.code()}).problem == "factor-refused"
    assert person.ask("POST", f"{API}challenges", {"action": "add"}).json()["methods"] == []
    [listed] = person.ask("GET", f"{API}factors").json()["factors"]
    assert listed["state"] == "disabled"


def test_s05_who_has_no_session_counts_no_try(rm: Person) -> None:
    challenge = rm.challenge()
    nobody = Person(rm.gateway, "rm.li", "no such token", rm.secret)
    for _ in range(6):
        assert nobody.meet(challenge, "000000").status == 401
    other = Person(rm.gateway, "rm.zhang").sign_in()
    for _ in range(6):  # another's challenge and factor are of no use, and cost their owner nothing
        proof = {"method": "totp", "code": "000000", "factor": rm.factor}
        assert other.ask("POST", f"{API}grants", {"challenge_id": challenge, "proof": proof}).status == 403
    assert rm.meet(challenge).status == 201


def test_s06_the_code_of_the_enrolment_does_not_count_again(guarded: Gateway) -> None:
    person = Person(guarded, "teller.wu").sign_in()
    person.enrol()
    code = person.at(person.steps[-1])
    assert person.begin("totp", {"method": "totp", "code": code}).problem == "factor-refused"
    assert person.begin("totp", {"method": "totp", "code": person.at(person.steps[-1] - 4)}).status == 403
    codes = person.begin("recovery", {"method": "totp", "code": person.code()}).json()["codes"]
    assert len(codes) == 10
    challenges = [person.ask("POST", f"{API}challenges", {"action": "add"}).json() for _ in range(CALLERS)]
    proof = {"method": "recovery", "code": codes[0].lower()}

    def use(challenge: dict[str, str]) -> Answer:
        body = {"kind": "totp", "challenge_id": challenge["challenge_id"], "proof": proof}
        return person.ask("POST", f"{API}factors", body)

    with ThreadPoolExecutor(CALLERS) as pool:
        assert sorted(a.status for a in pool.map(use, challenges)) == [201] + [403] * (CALLERS - 1)


def test_s08_a_grant_is_good_for_what_it_was_issued_for_alone(rm: Person, guarded: Gateway) -> None:
    grant = rm.granted()
    truth = guarded.upstream("rm.li", "GET", "/clients/1").json()["client"]["mobile"]
    refused = [
        rm.look(grant, client=3),
        rm.look(grant, fields="email"),
        rm.look(grant, fields="mobile, email"),
        rm.look(grant, Privguard_Purpose="complaint"),
        rm.look(grant, Privguard_Ticket="AML-1"),
        rm.look(grant, Privguard_Break_Glass="?1"),
        rm.again().look(grant),
        Person(guarded, "mgr.chen").sign_in().look(grant),
        rm.look(grant[:-1]),
        rm.look(""),
    ]
    for number, answer in enumerate(refused):
        assert answer.status in (400, 401, 403, 404), (number, answer)
        assert truth.encode() not in answer.body
    listed = rm.ask("GET", "/clients?page=1&size=50", Privguard_Grant=f'"{grant}"')
    assert truth.encode() not in listed.body
    everybody = rm.ask(
        "GET", "/clients?page=1&size=50", Privguard_Grant=f'"{grant}"', Privguard_Reveal="mobile"
    )
    assert everybody.status == 403  # it is not for all of them
    assert truth.encode() not in everybody.body
    assert rm.look(grant).json()["client"]["mobile"] == truth


def test_s08_a_grant_gives_no_more_reads_than_it_has(rm: Person) -> None:
    grant = rm.granted()
    answers = at_once(lambda: rm.look(grant, **WHY), 2 * CALLERS)
    assert sorted(a.status for a in answers) == [200] * 10 + [401] * (2 * CALLERS - 10)
    assert all(a.problem == "step-up-required" for a in answers if a.status == 401)


def test_s08_a_revoked_or_expired_grant_ends_on_every_worker(rm: Person, guarded: Gateway) -> None:
    met = rm.meet(rm.challenge()).json()
    assert {a.status for a in at_once(lambda: rm.look(met["grant"], **WHY), 4)} == {200}
    assert rm.ask("DELETE", f"{API}grants/{met['name']}").status == 200
    assert {a.status for a in at_once(lambda: rm.look(met["grant"], **WHY))} == {401}
    other = rm.granted()
    assert privguard("grant", "revoke", "rm.li", "--config", guarded.config).returncode == 0
    gone = at_once(lambda: rm.look(other, **WHY))
    assert {a.status for a in gone} == {401}
    assert all("grant" in a.json()["detail"] for a in gone)
    late = rm.granted()
    with rm.store() as store:
        store.execute(
            "UPDATE access_grant SET until_us = ? WHERE revoked_us IS NULL", (time.time_ns() // 1000,)
        )
    assert {a.status for a in at_once(lambda: rm.look(late, **WHY))} == {401}


def test_s08_a_grant_ends_with_the_policy_it_was_issued_under(
    bank: Running, tmp_path_factory: pytest.TempPathFactory
) -> None:
    made = make_gateway(tmp_path_factory.mktemp("reloaded"), bank.port).start()
    try:
        person = Person(made, "rm.li").sign_in()
        person.enrol()
        grant, challenge = person.granted(), person.challenge()
        assert person.look(grant).status == 200
        policy = made.folder / "policy.yaml"
        policy.write_text(policy.read_text() + "\n# another version\n")
        deadline = time.monotonic() + 10
        while person.look(grant).status == 200 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert person.look(grant).status == 403
        assert person.meet(challenge).status == 403
        assert person.look(person.granted()).status == 200
    finally:
        made.stop()


def test_s09_a_challenge_is_its_own_session_s_and_met_once(rm: Person, guarded: Gateway) -> None:
    challenge = rm.challenge()
    other = rm.again()
    assert other.meet(challenge).status == 403  # in another session
    assert rm.meet(challenge).status == 201
    assert rm.meet(challenge).status == 403  # once more
    assert rm.meet(challenge[:-2] + "AA").status == 403
    forged = rm.ask("POST", f"{API}challenges", {"action": "add"}).json()["challenge_id"]
    assert rm.meet(forged).status in (403, 404)  # a challenge for something else
    crossed = rm.ask("POST", f"{API}challenges", {"action": "add"}, Origin="https://elsewhere.example")
    assert crossed.status == 400
    assert rm.ask("POST", f"{API}challenges", {"action": "add"}, Sec_Fetch_Site="cross-site").status == 400


def test_s15_a_factor_takes_a_factor_or_an_invitation(guarded: Gateway, rm: Person) -> None:
    person = Person(guarded, "ana.lin").sign_in()
    assert person.begin("totp").status == 403
    assert person.begin("totp", {"method": "invite", "code": "0000-0000-0000-0000"}).status == 403
    said = privguard("factor", "invite", "rm.li", "--config", guarded.config)
    assert (said.returncode, said.stdout) == (1, b"")  # who has a factor proves that
    assert rm.begin("totp").status == 403
    removed = rm.ask(
        "DELETE",
        f"{API}factors/{rm.factor}",
        {"challenge_id": rm.challenge(), "proof": {"method": "totp", "code": rm.code()}},
    )
    assert removed.status == 403  # that challenge was for something else
