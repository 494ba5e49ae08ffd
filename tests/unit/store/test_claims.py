"""What an entry takes is taken with it, once, or not at all; factors and grants, on both engines."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from privguard.crypto.envelope import EnvelopeError
from privguard.errors import (
    AccessDeniedError,
    AuditUnavailableError,
    GrantSpentError,
    TooManyDisclosuresError,
)
from privguard.model import AuditReceipt, SubjectRef
from privguard.ports import Claim
from privguard.stepup.assurance import DISABLED_AFTER
from privguard.stepup.factor import Factor, FactorData
from privguard.stepup.grant import Grant, Scope, mark_of
from privguard.store.claims import together
from privguard.store.factors import Factors, ReplayedError, ThrottledError
from privguard.store.grants import Grants
from tests.faults.test_l08_port import LEFT, fault
from tests.unit.audit.events import access
from tests.unit.store.logs import KEYRING, SystemEntropy, check_whole, open_log, raw, store_of

NOW = 1_800_000_000_000_000
SCOPE = Scope(
    tenant="default",
    actor="rm.li",
    session="s1",
    system="crm",
    resource="client",
    action="read",
    purpose="service",
    policy="p",
    rules=("r",),
    fields=("mobile",),
    clients=(SubjectRef("client", "CANARY-42"),),
)
GRANT = Grant(mark_of("secret"), "g1", SCOPE)
FACTOR = Factor("f1", "default", "rm.li", "totp", "active", FactorData(secret="CANARYSEED"), NOW)


class Kept:
    """A log with what hangs on it."""

    def __init__(self, folder: Path, deadline_s: float = 5.0) -> None:
        self.folder = folder
        self.log = open_log(folder, deadline_s)
        self.store = store_of(folder)
        self.factors = Factors(self.store, KEYRING, SystemEntropy())
        self.grants = Grants(self.store, KEYRING, SystemEntropy())
        self.count = 0

    def do(self, claim: Claim | None) -> AuditReceipt:
        self.count += 1
        return self.log.submit(access(f"c{self.count}", at_us=self.count), claim).result(10)

    def issue(self, grant: Grant = GRANT, *, reads: int = 3, nonce: str = "n", **more: Any) -> Claim:
        asked: dict[str, Any] = {"nonce_until_us": NOW + 9, "ttl": 60, "until_us": NOW + 60_000_000}
        asked |= {"approvers": (), "now_us": NOW} | more
        return self.grants.issue(grant, nonce=nonce, reads=reads, **asked)

    def read(self, statement: str) -> Any:
        with raw(self.folder) as connection:
            return connection.execute(statement).fetchall()


@pytest.fixture
def kept(log_folder: Path) -> Kept:
    return Kept(log_folder)


def taken(kept: Kept, claims: list[Claim]) -> list[Exception | AuditReceipt]:
    """Hands them all in at once."""

    def one(numbered: tuple[int, Claim]) -> Exception | AuditReceipt:
        number, claim = numbered
        try:
            return kept.log.submit(access(f"p{number}", at_us=number), claim).result(10)
        except Exception as error:  # told apart by the caller
            return error

    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(one, enumerate(claims)))


def test_a_claim_that_does_not_hold_has_no_entry_and_changes_nothing(kept: Kept) -> None:
    kept.do(kept.issue())

    def half(connection: Any) -> None:
        kept.grants.spend(GRANT, NOW)(connection)
        raise GrantSpentError

    with pytest.raises(GrantSpentError):
        kept.do(half)
    assert kept.read("SELECT reads_left FROM access_grant") == [(3,)]
    kept.do(kept.grants.spend(GRANT, NOW))
    assert kept.read("SELECT reads_left FROM access_grant") == [(2,)]
    assert len(check_whole(kept.folder)) == 2


def test_s08_parallel_entries_take_no_more_than_there_is(kept: Kept) -> None:
    kept.do(kept.issue(reads=7))
    came = taken(kept, [kept.grants.spend(GRANT, NOW)] * 48)
    assert sum(isinstance(one, AuditReceipt) for one in came) == 7
    assert all(isinstance(one, AuditReceipt | GrantSpentError) for one in came)
    assert len(check_whole(kept.folder)) == 8


@pytest.mark.parametrize("kind", LEFT)
def test_l08_l09_what_is_claimed_is_taken_once_whatever_fails(log_folder: Path, kind: str) -> None:
    kept = Kept(log_folder, 1.0)
    kept.do(kept.issue())
    event = access("faulty")
    claim = kept.grants.spend(GRANT, NOW)
    with fault(kind), pytest.raises(AuditUnavailableError):
        kept.log.submit(event, claim).result(10)
    again = kept.log.submit(event, claim).result(10)
    assert kept.read("SELECT reads_left FROM access_grant") == [(2,)]
    assert again.index == 1
    kept.log.close()
    assert len(check_whole(log_folder)) == 2


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE access_grant SET revoked_us = 1",
        f"UPDATE access_grant SET until_us = {NOW}",
        "UPDATE access_grant SET reads_left = 0",
        "UPDATE access_grant SET approvers = 'boss'",
    ],
)
def test_s08_a_grant_that_does_not_hold_is_found_by_nobody_and_opens_nothing(kept: Kept, change: str) -> None:
    kept.do(kept.issue())
    found = kept.grants.find("secret", NOW)
    assert found == GRANT
    with raw(kept.folder) as connection:
        connection.execute(change)
    assert kept.grants.find("secret", NOW) is None
    assert kept.grants.find("another", NOW) is None
    with pytest.raises(GrantSpentError):
        kept.do(kept.grants.spend(GRANT, NOW))


def test_s09_a_challenge_is_met_once_and_approved_by_another(kept: Kept) -> None:
    kept.do(kept.issue(approvers=("boss",)))
    with pytest.raises(AccessDeniedError, match="met already"):
        kept.do(kept.issue(replace(GRANT, mark="m2", name="g2")))
    spend = kept.grants.spend(GRANT, NOW)
    with pytest.raises(GrantSpentError):
        kept.do(spend)
    for who, session in (("rm.li", "s2"), ("rm.li", "s1"), ("lead", "s1")):
        with pytest.raises(AccessDeniedError, match="somebody else"):
            kept.do(kept.grants.approve("g1", "default", who, session, NOW))
    with pytest.raises(AccessDeniedError):
        kept.do(kept.grants.approve("g1", "elsewhere", "lead", "s2", NOW))
    came = taken(kept, [kept.grants.approve("g1", "default", "lead", "s2", NOW)] * 8)
    assert sum(isinstance(one, AuditReceipt) for one in came) == 1
    kept.do(spend)
    standing = kept.grants.standing("g1", "default")
    assert standing is not None
    assert (standing.state(NOW), standing.until_us) == ("active", NOW + 60_000_000)


def test_a_quota_counts_grants_of_its_span(kept: Kept) -> None:
    def quota(now: int) -> Claim:
        return kept.grants.take_quota(SCOPE, "r", 2, 3600, now)

    came = taken(kept, [quota(NOW)] * 6)
    assert sum(isinstance(one, TooManyDisclosuresError) for one in came) == 4
    kept.do(quota(NOW + 3_600_000_000))


def test_s01_a_time_step_is_taken_once(kept: Kept) -> None:
    kept.do(kept.factors.add(FACTOR))
    came = taken(kept, [kept.factors.proved("f1", 100)] * 16)
    assert sum(isinstance(one, AuditReceipt) for one in came) == 1
    assert all(isinstance(one, AuditReceipt | ReplayedError) for one in came)
    with pytest.raises(ReplayedError):
        kept.do(kept.factors.proved("f1", 99))
    kept.do(kept.factors.proved("f1", 101))


def test_s03_s04_tries_are_counted_before_they_are_judged(kept: Kept) -> None:
    kept.do(kept.factors.add(FACTOR))

    def attempt(now: int) -> Claim:
        return kept.factors.attempt("f1", tries=5, lock_us=60_000_000, now_us=now)

    came = taken(kept, [attempt(NOW)] * 40)
    assert sum(isinstance(one, AuditReceipt) for one in came) == 5
    assert all(isinstance(one, AuditReceipt | ThrottledError) for one in came)
    later = NOW
    for _ in range(5, DISABLED_AFTER, 5):
        later += 60_000_001
        for _ in range(5):
            kept.do(attempt(later))
    with pytest.raises(ThrottledError):
        kept.do(attempt(later + 10**15))
    [listed] = kept.factors.of("default", "rm.li")
    assert listed.state == "disabled"


def test_s06_a_recovery_code_is_used_once(kept: Kept) -> None:
    kept.do(kept.factors.add(replace(FACTOR, kind="recovery"), ["a", "b"]))
    came = taken(kept, [kept.factors.use_code("f1", "a")] * 16)
    assert sum(isinstance(one, AuditReceipt) for one in came) == 1
    assert (kept.factors.has_code("f1", "a"), kept.factors.has_code("f1", "b")) == (False, True)


def test_what_is_added_and_taken_together_is_all_there_or_none(kept: Kept) -> None:
    kept.do(together(kept.factors.add(FACTOR), kept.issue()))
    with pytest.raises(GrantSpentError):
        kept.do(together(kept.factors.proved("f1", 5), kept.grants.spend(replace(GRANT, mark="none"), NOW)))
    kept.do(kept.factors.proved("f1", 5))
    kept.do(together(kept.factors.remove(["f1"]), kept.grants.revoke("default", "rm.li", NOW)))
    assert kept.factors.of("default", "rm.li") == []
    assert kept.grants.find("secret", NOW) is None


def test_l12_s16_no_seed_and_no_client_stands_in_the_store_and_a_moved_one_does_not_open(kept: Kept) -> None:
    other = replace(FACTOR, id="f2", actor="thief")
    kept.do(together(kept.factors.add(FACTOR), kept.factors.add(other), kept.issue()))
    rows = repr(kept.read("SELECT * FROM factor") + kept.read("SELECT * FROM access_grant"))
    assert "CANARY" not in rows
    with raw(kept.folder) as connection:
        connection.execute(
            "UPDATE factor SET data = (SELECT data FROM factor WHERE id = 'f2') WHERE id = 'f1'"
        )
    with pytest.raises(EnvelopeError):
        kept.factors.of("default", "rm.li")
