"""L01, L08 to L10 on PostgreSQL: what the server refuses, and what becomes of an append when it fails."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy.engine.default import DefaultDialect

from privguard.audit.signing_keys import log_keys_of, new_signing_keys
from privguard.audit.timestamp import StampAuthority, check_stamps
from privguard.crypto.keyring import Keyring
from privguard.errors import AuditUnavailableError, StoreUnavailableError
from privguard.files import put_secret
from privguard.model import Principal, SubjectRef
from privguard.oversight.completeness import commit_map
from privguard.oversight.custodian import Custodian
from privguard.oversight.log_keys import LogKeyCustodian, SigningKeysFile
from privguard.oversight.registrar import Registrar
from privguard.oversight.timestamps import Timestamping, stamped_of
from privguard.stepup.factor import Factor, FactorData
from privguard.stepup.grant import Grant, Scope, mark_of
from privguard.store import ledger, schema
from privguard.store.audit_log import SqlAuditLog
from privguard.store.claims import together
from privguard.store.directory import SqlDirectory
from privguard.store.engine import Store
from privguard.store.factors import Factors
from privguard.store.grants import Grants
from privguard.store.map_keeper import MapKeeper
from privguard.store.publisher import Publisher
from privguard.store.retention import Retention
from privguard.store.signer_state import SignerState
from privguard.store.statements import driver
from privguard.store.tree_reader import TreeReader
from privguard.store.wrapped import WrappedKeys, count_by_version
from privguard.testing import FrozenClock
from tests.postgres import Server
from tests.stamper import NOW, Authority
from tests.unit.audit.events import access
from tests.unit.store.logs import (
    KEYRING,
    ORIGIN,
    SystemEntropy,
    check_whole,
    custody_of,
    leaves_of,
    open_log,
    raw,
    url_of,
)

DEADLINE = 1.0


@pytest.fixture
def folder(postgres_server: Server, tmp_path: Path) -> Path:
    name = f"log_{time.time_ns()}"
    (tmp_path / "url").write_text(postgres_server.create(name))
    (tmp_path / "name").write_text(name)
    return tmp_path


@pytest.fixture
def log(folder: Path) -> Iterator[SqlAuditLog]:
    log = open_log(folder, 10)
    yield log
    log.close()


def filled(folder: Path, log: SqlAuditLog, count: int = 255) -> None:
    for future in [log.submit(access("a", detail=(("reason", "r"),))) for _ in range(count)]:
        future.result(10)
    assert len(leaves_of(folder)) == count


REFUSED = [
    "UPDATE event SET actor = 'x'",
    "UPDATE event_subject SET view = 0",
    "UPDATE secret SET ct = ''",
    "UPDATE tile SET data = ''",
    "UPDATE checkpoint SET note = 'x'",
    "UPDATE subject SET tok = 'x'",
    "UPDATE subject_head SET count = count - 1",
    "UPDATE tree_state SET size = size - 1",
    "UPDATE tree_state SET floor = 257",
    "DELETE FROM subject WHERE hold",
    "INSERT INTO event SELECT * FROM event WHERE idx = 7",
    *(
        f"{verb} {table}"
        for table in ("event", "event_subject", "secret", "tile", "checkpoint", "subject_head", "tree_state")
        for verb in ("DELETE FROM", "TRUNCATE")
    ),
    "TRUNCATE subject",
]


def test_l01_the_server_refuses_its_administrator_too(folder: Path, log: SqlAuditLog) -> None:
    filled(folder, log, 256)
    with raw(folder) as connection:
        connection.execute("INSERT INTO checkpoint (size, note) VALUES (256, 'signed')")
        connection.execute("UPDATE subject SET hold = true")
        for statement in REFUSED:
            with pytest.raises(psycopg.errors.IntegrityError):
                connection.execute(statement)
        connection.execute("UPDATE tree_state SET floor = 9")
        assert connection.execute("DELETE FROM event WHERE idx < 9").rowcount == 9


def login(server: Server, folder: Path, role: str) -> str:
    """A database user that has a role; its URL."""
    name, user = (folder / "name").read_text(), f"u_{time.time_ns()}"
    server.run(f"CREATE ROLE {user} LOGIN IN ROLE {role}")
    return server.url(name, user)


def test_the_services_login_issues_grants_and_proves_factors(
    folder: Path, log: SqlAuditLog, postgres_server: Server
) -> None:
    url = login(postgres_server, folder, "privguard_service")
    service, store = SqlAuditLog.open(url, KEYRING, SystemEntropy(), origin=ORIGIN), Store(url)
    factors, grants = Factors(store, KEYRING, SystemEntropy()), Grants(store, KEYRING, SystemEntropy())
    scope = Scope("default", "rm", "s", "crm", "client", "read", "service", "p", ("r",), ("mobile",), ())
    grant = Grant(mark_of("secret"), "g1", scope)
    issue = grants.issue(
        grant, nonce="n", nonce_until_us=9, reads=1, ttl=9, until_us=10**16, approvers=(), now_us=5
    )
    factor = Factor("f1", "default", "rm", "recovery", "active", FactorData(), 5)
    for claim in (
        together(factors.add(factor, ["m"]), issue, grants.take_quota(scope, "r", 1, 60, 5)),
        together(factors.attempt("f1", tries=5, lock_us=1, now_us=5), factors.use_code("f1", "m")),
        together(factors.send("f1", "m", 9), factors.use_sent("f1", "m", 5), grants.spend(grant, 5)),
        together(grants.review_due(grant, 9), grants.reviewed("g1", 9), factors.remove(["f1"])),
    ):
        service.submit(access("rm", at_us=time.time_ns()), claim).result(10)
    assert grants.due() == []
    service.close()
    store.close()


def test_l01_the_services_login_adds_and_reads_and_no_more(
    folder: Path, log: SqlAuditLog, postgres_server: Server
) -> None:
    filled(folder, log, 3)
    url = login(postgres_server, folder, "privguard_service")
    service = SqlAuditLog.open(url, KEYRING, SystemEntropy(), origin=ORIGIN)
    service.check()
    assert service.submit(access("a", "new", detail=(("reason", "r"),))).result(10).index == 3
    service.close()
    with psycopg.connect(url.replace("+asyncpg", ""), autocommit=True) as connection:
        for statement in (
            *REFUSED[:6], "DELETE FROM event", "DELETE FROM secret", "DELETE FROM subject",
            "UPDATE subject SET hold = true", "UPDATE tree_state SET erasures = 1", "TRUNCATE event",
            "UPDATE tree_state SET floor = 1", "DROP TRIGGER keep_event_update ON event", "DROP TABLE event",
            "ALTER TABLE event DISABLE TRIGGER ALL", "SET session_replication_role = replica",
        ):  # fmt: skip
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
    check_whole(folder)


def test_l13_the_keepers_login_erases_and_changes_nothing_else(
    folder: Path, log: SqlAuditLog, postgres_server: Server
) -> None:
    filled(folder, log, 3)
    url = login(postgres_server, folder, "privguard_keeper")
    with psycopg.connect(url.replace("+asyncpg", ""), autocommit=True) as connection:
        connection.execute("UPDATE subject SET hold = true")
        with pytest.raises(psycopg.errors.IntegrityError):
            connection.execute("DELETE FROM subject")
        with pytest.raises(psycopg.errors.IntegrityError):
            connection.execute("DELETE FROM secret")
        connection.execute("UPDATE subject SET hold = false")
        connection.execute("DELETE FROM subject")
        assert connection.execute("DELETE FROM secret").rowcount == 3
        for statement in (
            "UPDATE event SET actor = 'x'",
            "UPDATE checkpoint SET note = 'x'",
            "TRUNCATE event",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


def test_l11_the_keepers_login_rotates_and_the_services_says_what_it_knows(
    folder: Path, log: SqlAuditLog, postgres_server: Server
) -> None:
    filled(folder, log, 3)
    later = Keyring(KEYRING.id, KEYRING.suite, KEYRING.root, {**KEYRING.keks, 2: bytes(32)}, 2)
    service, keeper = (
        Store(login(postgres_server, folder, role)) for role in ("privguard_service", "privguard_keeper")
    )
    WrappedKeys(service, later, SystemEntropy()).saw("here:1", 1, 10**15)
    with pytest.raises(StoreUnavailableError, match="which role may"):
        WrappedKeys(service, later, SystemEntropy()).rewrap()
    wrapped = WrappedKeys(keeper, later, SystemEntropy())
    assert wrapped.behind(2, 10**15) == ["here:1"]
    assert wrapped.rewrap() == 1
    assert count_by_version(keeper) == {2: 1}
    with pytest.raises(StoreUnavailableError, match="which role may"):
        WrappedKeys(service, later, SystemEntropy()).retire(1)
    wrapped.retire(1)
    service.close()
    keeper.close()


def test_l11_the_services_login_signs_rotates_its_keys_and_keeps_time_stamps(
    folder: Path, log: SqlAuditLog, postgres_server: Server
) -> None:
    filled(folder, log, 3)
    store, keys = Store(login(postgres_server, folder, "privguard_service")), folder / "signing.json"
    tree, state, clock = TreeReader(store), SignerState(folder / "signer.state"), FrozenClock(NOW)
    put_secret(keys, new_signing_keys(os.urandom))
    publisher = Publisher(tree, state, lambda: log_keys_of(keys.read_bytes(), ORIGIN))
    assert publisher.publish(1) is not None
    authority = Authority()
    Timestamping(tree, authority, StampAuthority(authority.root), clock, 3600).refresh()
    custody = custody_of(store)
    custodian = LogKeyCustodian(
        custody, SigningKeysFile(keys, ORIGIN, 0), state, tree, clock, SystemEntropy(), who="officer"
    )
    assert custodian.rotate() == (3, 3)
    published, trust = publisher.publish(2), log_keys_of(keys.read_bytes(), ORIGIN).trust
    assert published is not None
    accepted, stamped = trust.accept(published.note), stamped_of(tree, published.size)
    assert check_stamps(stamped, accepted, trust, StampAuthority(authority.root)).size == 3
    store.close()


def test_l01_the_keepers_login_prunes_and_the_services_does_not(
    folder: Path, log: SqlAuditLog, postgres_server: Server
) -> None:
    filled(folder, log, 256)
    for role, may in (("privguard_service", False), ("privguard_keeper", True)):
        store = Store(login(postgres_server, folder, role))
        custody, retention = custody_of(store), Retention(store)
        commit_map(MapKeeper(store), log, FrozenClock(), SystemEntropy(), 10)
        with (
            contextlib.nullcontext() if may else pytest.raises(StoreUnavailableError, match="which role may")
        ):
            custody.record(access(), partial(retention.raise_to, 9))
        assert (retention.floor(), retention.sweep()) == ((9, 9) if may else (0, 0))
        store.close()


def test_s08_the_keepers_login_imports_the_directory_and_the_services_only_asks_it(
    folder: Path, log: SqlAuditLog, postgres_server: Server
) -> None:
    for role, may in (("privguard_service", False), ("privguard_keeper", True)):
        store = Store(login(postgres_server, folder, role))
        directory = SqlDirectory(store, KEYRING, SystemEntropy())
        custody = custody_of(store)
        registrar = Registrar(custody, directory, FrozenClock(), SystemEntropy(), who="hr")
        planned = registrar.plan({"staff.csv": b"id,roles\nrm.li,rm\n"})
        with (
            contextlib.nullcontext() if may else pytest.raises(StoreUnavailableError, match="which role may")
        ):
            registrar.apply(planned)
        store.close()
    store = Store(login(postgres_server, folder, "privguard_service"))
    admitted = SqlDirectory(store, KEYRING, SystemEntropy()).admit(Principal("rm.li"), 10**15)
    assert admitted.roles == {"rm"}
    store.close()


def test_l13_the_keepers_login_is_enough_for_holds_and_erasures_and_the_services_is_not(
    folder: Path, log: SqlAuditLog, postgres_server: Server
) -> None:
    log.submit(access("a", detail=(("reason", "r"),))).result(10)
    client = SubjectRef("client", "a")
    for role, may in (("privguard_service", False), ("privguard_keeper", True)):
        url = login(postgres_server, folder, role)
        SqlAuditLog.open(url, KEYRING, SystemEntropy(), origin=ORIGIN).close()
        store = Store(url)
        custody = custody_of(store)
        custodian = Custodian(custody, FrozenClock(), SystemEntropy(), who="officer")
        if may:
            custodian.hold(client, "case")
            custodian.hold(client, "closed", on=False)
            assert custodian.erase(client, "asked for").details == 1
        else:
            for act in (custodian.hold, custodian.erase):
                with pytest.raises(StoreUnavailableError, match="which role may"):
                    act(client, "asked for")
        store.close()
    check_whole(folder, erased=1)


def test_upgrade_can_be_repeated_and_leads_to_the_tables(folder: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from privguard.store.tables import metadata

    assert schema.upgrade(url_of(folder)).ready
    assert schema.upgrade(url_of(folder)).ready
    store = Store(url_of(folder))
    with store.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    store.close()


class Failing:
    """A driver's connection on which one statement fails, with its values in the driver's message."""

    def __init__(self, connection: Any, start: str, error: Exception) -> None:
        self._connection, self._start, self._error = connection, start, error

    def execute(self, statement: str, values: object) -> Any:
        self._fail(statement)
        return self._connection.execute(statement, values)

    def cursor(self) -> Failing:
        return self

    def copy(self, statement: bytes) -> Any:
        self._fail(statement.decode())
        return self._connection.cursor().copy(statement)

    def _fail(self, statement: str) -> None:
        if statement.strip().startswith(self._start):
            raise self._error


Step = Callable[[pytest.MonkeyPatch], None]


def at(start: str, error: Exception | None = None, times: int = 1_000) -> Step:
    def install(monkeypatch: pytest.MonkeyPatch) -> None:
        left = iter(range(times))

        def failing(transaction: Any) -> Any:
            if next(left, None) is None:
                return driver(transaction)
            return Failing(driver(transaction), start, error or psycopg.OperationalError("canary"))

        monkeypatch.setattr(ledger, "driver", failing)

    return install


def commit(*, after: bool) -> Step:
    def install(monkeypatch: pytest.MonkeyPatch) -> None:
        run = DefaultDialect.do_commit

        def do_commit(self: Any, connection: Any) -> None:
            if after:
                run(self, connection)
            raise psycopg.OperationalError("the answer was lost")

        monkeypatch.setattr(DefaultDialect, "do_commit", do_commit)

    return install


BEFORE: dict[str, Step] = {
    "lock": at("SELECT id"),
    "state": at("SELECT size"),
    "heads": at("SELECT tok"),
    "keys": at("COPY subject "),
    "span": at("SELECT leaf_hash"),
    "events": at("COPY event "),
    "clients": at("COPY event_subject"),
    "chains": at("INSERT INTO subject_head"),
    "detail": at("COPY secret"),
    "tiles": at("COPY tile"),
    "tree": at("UPDATE tree_state"),
    "conflicts without end": at("UPDATE tree_state", psycopg.errors.SerializationFailure("canary")),
    "commit": commit(after=False),
}


@pytest.mark.parametrize("step", BEFORE)
def test_l08_a_step_that_fails_before_the_commit_leaves_nothing(
    folder: Path, log: SqlAuditLog, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    filled(folder, log)
    one = access("a", "new", detail=(("reason", "r"),))
    with monkeypatch.context() as patched:
        BEFORE[step](patched)
        with pytest.raises(AuditUnavailableError) as caught:
            log.submit(one).result(10)
        assert "canary" not in caught.value.detail
    assert len(leaves_of(folder)) == 255
    assert log.submit(one).result(10).index == 255
    assert len(check_whole(folder)) == 256


def test_l08_an_answer_lost_after_the_commit_is_found_by_the_next_attempt(
    folder: Path, log: SqlAuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(folder, log)
    one = access("a", "new", detail=(("reason", "r"),))
    with monkeypatch.context() as patched:
        commit(after=True)(patched)
        with pytest.raises(AuditUnavailableError):
            log.submit(one).result(10)
    assert len(leaves_of(folder)) == 256
    assert log.submit(one).result(10).index == 255
    assert len(check_whole(folder)) == 256


@pytest.mark.parametrize("kind", [psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected])
def test_l10_a_batch_that_the_server_undoes_is_tried_again(
    folder: Path, log: SqlAuditLog, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    at("UPDATE tree_state", kind("undone"), times=4)(monkeypatch)
    futures = [log.submit(access("a", at_us=number, detail=(("reason", "r"),))) for number in range(3)]
    assert [future.result(10).index for future in futures] == [0, 1, 2]
    assert len(check_whole(folder)) == 3


def refused(log: SqlAuditLog, said: str) -> None:
    begin = time.monotonic()
    with pytest.raises(AuditUnavailableError, match=said):
        log.submit(access("a")).result(20)
    assert time.monotonic() - begin < 3 * DEADLINE


def test_l09_a_lock_that_another_session_holds_and_a_session_that_is_ended(
    folder: Path, postgres_server: Server
) -> None:
    log = open_log(folder, DEADLINE)
    log.submit(access("a")).result(10)
    with psycopg.connect(postgres_server.dsn((folder / "name").read_text())) as other:
        other.execute("SELECT * FROM tree_state FOR UPDATE")
        refused(log, "within the deadline")
        other.rollback()
    log.submit(access("b")).result(10)
    with raw(folder) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    with pytest.raises(AuditUnavailableError, match="server"):
        log.submit(access("c")).result(20)
    log.submit(access("c")).result(20)
    log.close()
    check_whole(folder)


def test_l09_a_commit_that_hangs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = open_log(folder, DEADLINE)
    go_on, run = threading.Event(), DefaultDialect.do_commit

    def do_commit(self: Any, connection: Any) -> None:
        go_on.wait(20)
        run(self, connection)

    with monkeypatch.context() as patched:
        patched.setattr(DefaultDialect, "do_commit", do_commit)
        refused(log, "within the deadline")
    go_on.set()
    log.submit(access("b")).result(10)
    log.close()
    check_whole(folder)


def test_l09_a_server_that_takes_no_writes(folder: Path) -> None:
    log = open_log(folder, DEADLINE)
    log.submit(access("a")).result(10)
    name = (folder / "name").read_text()
    with raw(folder) as connection:
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        log._store.close()  # connections take the setting when they begin
        refused(log, "takes no writes")
        connection.execute("SET default_transaction_read_only = off")
        connection.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    log.submit(access("b")).result(10)
    log.close()
    check_whole(folder)


def test_l09_a_server_that_is_not_there_or_refuses_the_login(folder: Path, postgres_server: Server) -> None:
    for url, said in (
        (postgres_server.url("nowhere"), "is not there|does not answer"),
        (postgres_server.url("postgres", "nobody_known"), "login|does not answer"),
        ("postgresql+asyncpg://u:canary@/x?host=/nowhere", "does not answer"),
    ):
        with pytest.raises(AuditUnavailableError, match=said) as caught:
            SqlAuditLog.open(url, KEYRING, SystemEntropy(), origin=ORIGIN)
        assert "canary" not in caught.value.detail
