"""L13: holds and erasures, on both engines."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy.engine.default import DefaultDialect

from privguard.audit.record import parse
from privguard.crypto.envelope import EnvelopeError
from privguard.errors import AuditUnavailableError, NotOnRecordError, OnHoldError, StoreUnavailableError
from privguard.model import SubjectRef
from privguard.oversight.custodian import LIFT, Custodian
from privguard.stepup.grant import Grant
from privguard.store.audit_log import SqlAuditLog
from privguard.store.grants import Grants
from privguard.store.subjects import SubjectKeys
from privguard.store.trail_reader import TrailReader
from privguard.testing import FrozenClock
from tests.unit.audit.events import access
from tests.unit.store.logs import (
    KEYRING,
    OPENED,
    SystemEntropy,
    check_whole,
    custody_of,
    leaves_of,
    open_log,
    raw,
    store_of,
)
from tests.unit.store.test_claims import NOW, SCOPE

A = SubjectRef("client", "a")


@pytest.fixture
def log(log_folder: Path) -> Iterator[SqlAuditLog]:
    opened = open_log(log_folder)
    yield opened
    opened.close()


@pytest.fixture
def custodian(log_folder: Path, log: SqlAuditLog) -> Custodian:
    store = store_of(log_folder)
    custody = custody_of(store)
    return Custodian(custody, FrozenClock(), SystemEntropy(), who="officer")


def reader(folder: Path) -> TrailReader:
    return TrailReader(store_of(folder), SubjectKeys(KEYRING, SystemEntropy()))


def names(folder: Path) -> list[str]:
    """Of the grants."""
    with raw(folder) as connection:
        return [
            name for (name,) in connection.execute("SELECT name FROM access_grant ORDER BY name").fetchall()
        ]


def details(folder: Path) -> list[int]:
    with raw(folder) as connection:
        return [index for (index,) in connection.execute("SELECT idx FROM secret ORDER BY idx").fetchall()]


def test_l13_after_an_erasure_nothing_names_the_client_and_every_proof_holds(
    log_folder: Path, log: SqlAuditLog, custodian: Custodian
) -> None:
    because = (("reason", "because"),)
    for clients in (("a",), ("b",), ("a", "b"), ("c",), ("a",)):
        log.submit(access(*clients, detail=because)).result(5)
    read = reader(log_folder)
    token = read.token("default", A)
    assert token is not None
    before = leaves_of(log_folder)
    erased = custodian.erase(A, "asked for by the client")
    assert (erased.receipt.index, erased.details) == (6, 3)
    assert details(log_folder) == [1, 3, 5], "of entries without the client, and of the intent"
    assert read.token("default", A) is None
    assert read.clients([token]) == {}
    leaves = check_whole(log_folder, erased=1)
    assert leaves[:5] == before
    intent, act = map(parse, leaves[5:])
    assert (intent.action, intent.outcome, intent.actor) == ("oversight:client:erase", "intent", "officer")
    assert (act.action, act.outcome, act.intent) == ("oversight:client:erase", "permitted", 5)
    assert act.groups[0].subjects == [(token, 4, 4)], "the chain ends with its erasure"
    assert read.detail([(5, leaves[5])]) == (("reason", "asked for by the client"),)
    assert read.detail([(2, leaves[2])]) is None
    assert log.submit(access("a")).result(5).index == 7, "a writer that remembered the key goes on"
    fresh = parse(check_whole(log_folder, erased=1)[7]).groups[0].subjects[0]
    assert fresh[0] != token
    assert fresh[1:] == (1, -1)


class Asking:
    """Who asks for grants, hours before the custodian acts."""

    def __init__(self, folder: Path, log: SqlAuditLog) -> None:
        self.log, self.grants, self.count = log, Grants(store_of(folder), KEYRING, SystemEntropy()), 0
        self.now_us = FrozenClock().now_us() - 2 * 3_600_000_000

    def __call__(self, tenant: str, *clients: str, approvers: tuple[str, ...] = ()) -> str:
        self.count += 1
        named = tuple(SubjectRef("client", one) for one in clients)
        scope = replace(SCOPE, tenant=tenant, clients=named, reason="because")
        grant = Grant(f"m{self.count}", f"g{self.count}", scope)
        claim = self.grants.issue(
            grant, nonce=grant.name, nonce_until_us=self.now_us + 9, reads=1, ttl=60, approvers=approvers,
            until_us=self.now_us + 9, now_us=self.now_us,
        )  # fmt: skip
        self.log.submit(access(*clients), claim).result(5)
        return grant.name


def test_l13_an_erasure_takes_what_was_asked_for_or_granted_for_the_client(
    log_folder: Path, log: SqlAuditLog, custodian: Custodian, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("privguard.store.grants._PAGE", 2)
    ask = Asking(log_folder, log)
    waits, bulk = ask("default", "a", approvers=("lead",)), ask("default")
    beside, other, elsewhere = ask("default", "b", "a"), ask("default", "b"), ask("second", "a")
    custodian.hold(A, "case")
    with pytest.raises(OnHoldError):
        custodian.erase(A, "asked for")
    assert names(log_folder) == [waits, bulk, beside, other, elsewhere]
    custodian.hold(A, "closed", on=False)
    custodian.erase(A, "asked for")
    assert names(log_folder) == [bulk, other, elsewhere]
    assert ask.grants.waiting("default", ask.now_us) == []


def test_l13_what_is_asked_for_while_a_client_is_being_erased_goes_too(
    log_folder: Path, log: SqlAuditLog
) -> None:
    ask = Asking(log_folder, log)
    other = ask("default", "b")
    ask("default", "a")
    claim = ask.grants.forget("default", A, FrozenClock().now_us())
    ask.now_us = FrozenClock().now_us() + 1
    ask("default", "a")
    log.submit(access("b"), claim).result(5)
    assert names(log_folder) == [other]


def test_l13_s16_a_grant_that_was_changed_is_named_and_stops_an_erasure(
    log_folder: Path, log: SqlAuditLog, custodian: Custodian
) -> None:
    grants = Grants(store_of(log_folder), KEYRING, SystemEntropy())
    claim = grants.issue(
        Grant("m", "g1", SCOPE),
        nonce="n",
        nonce_until_us=NOW,
        reads=1,
        ttl=60,
        until_us=NOW,
        approvers=(),
        now_us=NOW,
    )
    log.submit(access("a"), claim).result(5)
    with raw(log_folder) as connection:
        connection.execute("UPDATE access_grant SET name = 'g2'")
    with pytest.raises(EnvelopeError, match=r"grant g2 .*DELETE"):
        custodian.erase(A, "asked for")
    assert reader(log_folder).token("default", A) is not None


def test_l13_a_hold_refuses_erasure_until_it_is_released(
    log_folder: Path, log: SqlAuditLog, custodian: Custodian
) -> None:
    log.submit(access("a", detail=(("reason", "r"),))).result(5)
    custodian.hold(A, "case 7")
    with pytest.raises(OnHoldError, match="release"):
        custodian.erase(A, "asked for")
    assert reader(log_folder).token("default", A) is not None
    assert 0 in details(log_folder)
    custodian.hold(A, "case 7 is closed", on=False)
    custodian.erase(A, "asked for")
    said = [
        (leaf.action.rpartition(":")[2], leaf.outcome, leaf.problem, leaf.actor)
        for leaf in map(parse, check_whole(log_folder, erased=1)[1:])
    ]
    assert said == [
        (verb, outcome, "on-hold" if outcome == "denied" else "", "officer")
        for verb, last in (("hold", "permitted"), ("erase", "denied"), ("release", "permitted"),
                           ("erase", "permitted"))
        for outcome in ("intent", last)
    ]  # fmt: skip


def test_l13_a_client_that_the_log_does_not_know(log_folder: Path, custodian: Custodian) -> None:
    for act in (custodian.hold, custodian.erase):
        with pytest.raises(NotOnRecordError):
            act(A, "r")
    assert [parse(leaf).outcome for leaf in check_whole(log_folder)] == ["intent", "intent"]


@pytest.mark.parametrize("after", [False, True])
def test_l13_an_erasure_is_done_and_on_record_or_neither(
    log_folder: Path, log: SqlAuditLog, custodian: Custodian, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    log.submit(access("a", detail=(("reason", "r"),))).result(5)
    log.close()
    run, commits = DefaultDialect.do_commit, iter([True, False])

    def do_commit(self: object, connection: object) -> None:
        intent = next(commits)
        if intent or after:
            run(self, connection)  # type: ignore[arg-type]
        if not intent:
            raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(DefaultDialect, "do_commit", do_commit)
        with pytest.raises((AuditUnavailableError, StoreUnavailableError)):
            custodian.erase(A, "r")
    assert (reader(log_folder).token("default", A) is None) is after
    leaves = check_whole(log_folder, erased=int(after))
    assert [parse(leaf).outcome for leaf in leaves[1:]] == ["intent", "permitted"][: 1 + after]
    if not after:
        custodian.erase(A, "again")
        check_whole(log_folder, erased=1)


def test_l13_an_old_backup_of_the_log_with_todays_keys_does_not_bring_a_client_back(
    tmp_path: Path,
) -> None:
    """As docs/reference/store.md says: the log's backup holds no keys, these have one of their own."""
    log = open_log(tmp_path)
    for name in "ab":
        log.submit(access(name, detail=(("reason", f"about {name}"),))).result(5)
    tokens = {name: reader(tmp_path).token("default", SubjectRef("client", name)) for name in "ab"}
    backup, old = tmp_path / "backup.db", tmp_path / "old"
    with raw(tmp_path) as connection:
        connection.execute(f"VACUUM INTO '{backup}'")
    with closing(sqlite3.connect(backup, isolation_level=None)) as connection:
        connection.execute("DELETE FROM subject")
        connection.execute("VACUUM")
    custody = custody_of(store_of(tmp_path))
    Custodian(custody, FrozenClock(), SystemEntropy(), who="officer").erase(A, "asked for")
    log.close()

    old.mkdir()
    shutil.copy(backup, old / "log.db")
    (old / "log.db").chmod(0o600)
    with raw(old) as connection:
        connection.execute(f"ATTACH '{tmp_path / 'log.db'}' AS today")
        connection.execute("INSERT INTO subject SELECT * FROM today.subject")
    read = reader(old)
    assert read.token("default", A) is None
    assert read.clients([token for token in tokens.values() if token]) == {
        tokens["b"]: SubjectRef("client", "b")
    }
    said = [read.detail([(index, leaf)]) for index, leaf in enumerate(leaves_of(old))]
    assert said == [None, (("reason", "about b"),)]
    while OPENED:
        OPENED.pop().close()


def test_l15_lifting_an_embargo_is_an_entry_of_the_client_and_makes_no_stranger_known(
    log_folder: Path, log: SqlAuditLog, custodian: Custodian
) -> None:
    log.submit(access("a")).result(5)
    receipt = custodian.lift(A, ["aml_case"], "closed")
    leaf = parse(leaves_of(log_folder)[receipt.index])
    assert (leaf.action, dict(leaf.about), leaf.intent) == (LIFT, {"aml_case": "lifted"}, receipt.index - 1)
    assert [k for group in leaf.groups for _, k, _ in group.subjects] == [2]
    with pytest.raises(NotOnRecordError):
        custodian.lift(SubjectRef("client", "nobody"), ["aml_case"], "closed")
    assert reader(log_folder).token("default", SubjectRef("client", "nobody")) is None
    check_whole(log_folder)
