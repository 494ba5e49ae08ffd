from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from privguard.errors import AuditUnavailableError, StoreUnavailableError
from privguard.store import audit_log, databases, ledger
from privguard.store.audit_log import SqlAuditLog
from privguard.store.statements import driver
from tests.faults.writers import Failing
from tests.unit.audit.events import access
from tests.unit.store.logs import (
    KEYRING,
    ORIGIN,
    SystemEntropy,
    check_whole,
    disarm,
    leaves_of,
    open_log,
    raw,
    url_of,
)

DEADLINE = 0.5


def refused(log: SqlAuditLog, said: str) -> None:
    """An entry fails within the deadline, and the refusal names cause or mend."""
    begin = time.monotonic()
    with pytest.raises(AuditUnavailableError, match=said):
        log.submit(access("a")).result(10)
    assert time.monotonic() - begin < 3 * DEADLINE


def recovers(log: SqlAuditLog, folder: Path) -> None:
    """The same log, without being opened again, takes entries, and they are whole."""
    receipt = log.submit(access("b")).result(10)
    log.close()
    assert len(check_whole(folder)) == receipt.index + 1


@contextmanager
def on_connect(pragma: str) -> Iterator[None]:
    """Every connection that is opened meanwhile begins with this."""

    def begin(connection: Any, record: object) -> None:
        connection.execute(pragma).close()

    event.listen(Engine, "connect", begin)
    try:
        yield
    finally:
        event.remove(Engine, "connect", begin)


def test_l09_a_full_disk(tmp_path: Path) -> None:
    open_log(tmp_path).close()
    with on_connect("PRAGMA max_page_count = 40"):
        log = open_log(tmp_path, DEADLINE)
        for detail in ("r" * 2000, ""):  # till nothing fits, then till nothing at all fits
            with pytest.raises(AuditUnavailableError, match="free some space"):
                for _ in range(200):
                    log.submit(access("a", detail=(("reason", detail),))).result(10)
        refused(log, "free some space")
    recovers(log, tmp_path)


def test_l09_a_read_only_database(tmp_path: Path) -> None:
    open_log(tmp_path).close()
    with on_connect("PRAGMA query_only = ON"):
        log = SqlAuditLog.open(url_of(tmp_path), KEYRING, SystemEntropy(), origin=ORIGIN, deadline_s=DEADLINE)
        refused(log, "cannot be written")
        with pytest.raises(StoreUnavailableError, match="cannot be written"):
            log.check()
    log.check()
    recovers(log, tmp_path)


def test_l09_a_lock_that_another_process_holds(tmp_path: Path) -> None:
    log = open_log(tmp_path, 5)
    log.submit(access("a")).result(5)
    with raw(tmp_path) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(AuditUnavailableError, match="Another process holds"):
            log.submit(access("a")).result(5)
        with pytest.raises(StoreUnavailableError, match="Another process holds"):
            log.check()
        other.execute("ROLLBACK")
    recovers(log, tmp_path)


def test_l09_a_store_that_hangs(tmp_path: Path) -> None:
    log = open_log(tmp_path, DEADLINE)
    log.submit(access("a")).result(5)
    lock = os.open(tmp_path / "log.db-lock", os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with pytest.raises(AuditUnavailableError, match="within the deadline"):
        log.submit(access("a")).result(DEADLINE)  # so a caller that waits as long never sees a time-out
    under_way, queued = log.submit(access("a")), log.submit(access("a"))
    refused(log, "within the deadline")
    with pytest.raises(AuditUnavailableError, match="within the deadline"):
        asyncio.run(log.append(access("a")))
    assert under_way.exception(0) is not None
    assert queued.exception(0) is not None
    os.close(lock)
    recovers(log, tmp_path)


def test_l09_a_commit_that_hangs(tmp_path: Path) -> None:
    log = open_log(tmp_path, DEADLINE)
    go_on = threading.Event()

    def hang(connection: object) -> None:
        go_on.wait(20)

    event.listen(Engine, "commit", hang)
    try:
        refused(log, "within the deadline")
        begin = time.monotonic()
        log.submit(access("a"))
        assert time.monotonic() - begin < 0.1, "handing in never blocks"
    finally:
        event.remove(Engine, "commit", hang)
        go_on.set()
    recovers(log, tmp_path)


def test_l09_a_queue_that_is_full_refuses_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_log, "QUEUE_EVENTS", 3)
    log = open_log(tmp_path, 20)
    lock = os.open(tmp_path / "log.db-lock", os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    futures = [log.submit(access("a")) for _ in range(10)]
    full = [future for future in futures if future.done()]
    assert (
        4 <= len(full) <= 7
    )  # 3 wait in the queue, and the writer may have taken up to 3 before it met the lock
    for future in full:
        with pytest.raises(AuditUnavailableError, match="Too many"):
            future.result(0)
    os.close(lock)
    written = [future.result(10) for future in futures if future not in full]
    log.close()
    assert len(check_whole(tmp_path)) == len(written)


def test_l09_a_missing_table(tmp_path: Path) -> None:
    log = open_log(tmp_path, DEADLINE)
    with raw(tmp_path) as connection:
        disarm(connection)
        connection.execute("ALTER TABLE tile RENAME TO hidden")
        connection.execute("ALTER TABLE secret RENAME TO tile")
        with pytest.raises(AuditUnavailableError, match="privguard db upgrade"):
            log.submit(access("a", detail=(("reason", "r"),))).result(5)
        connection.execute("ALTER TABLE tile RENAME TO secret")
        connection.execute("ALTER TABLE hidden RENAME TO tile")
    recovers(log, tmp_path)


def test_l09_a_damaged_file(tmp_path: Path) -> None:
    log = open_log(tmp_path, DEADLINE)
    log.submit(access("a")).result(5)
    log.close()
    whole = (tmp_path / "log.db").read_bytes()
    log = open_log(tmp_path, DEADLINE)
    (tmp_path / "log.db").write_bytes(b"\xa5" * len(whole))
    refused(log, "restore a backup")
    (tmp_path / "log.db").write_bytes(whole)
    for name in ("log.db-wal", "log.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    recovers(log, tmp_path)


def test_l09_a_file_that_is_gone_takes_no_entries(tmp_path: Path) -> None:
    log = open_log(tmp_path, DEADLINE)
    log.submit(access("a")).result(5)
    away = tmp_path / "away"
    away.mkdir()
    for file in list(tmp_path.glob("log.db*")):
        file.rename(away / file.name)
    refused(log, "is gone")
    for file in list(away.iterdir()):
        file.rename(tmp_path / file.name)
    recovers(log, tmp_path)


def test_l09_a_log_whose_tree_is_behind_takes_no_entries(tmp_path: Path) -> None:
    log = open_log(tmp_path, DEADLINE)
    log.submit(access("a")).result(5)
    with raw(tmp_path) as connection:
        disarm(connection)
        state = connection.execute("SELECT size, edge, root FROM tree_state").fetchone()
        connection.execute("UPDATE tree_state SET size = 0, edge = x''")
        refused(log, "disagree")
        connection.execute("UPDATE tree_state SET id = 2")
        refused(log, "no state")
        connection.execute("UPDATE tree_state SET id = 1, size = ?, edge = ?, root = ?", state)
    recovers(log, tmp_path)


Step = Callable[[pytest.MonkeyPatch], None]


def failing_statement(start: str) -> Step:
    def install(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ledger, "driver", lambda transaction: Failing(driver(transaction), start))

    return install


def failing_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    def begin(*_: object) -> None:
        raise sqlite3.OperationalError("the disk went away")

    monkeypatch.setattr(databases, "_run", begin)


def failing_commit(after: bool) -> Step:
    def install(monkeypatch: pytest.MonkeyPatch) -> None:
        run = SQLiteDialect_pysqlite.do_commit

        def do_commit(self: Any, connection: Any) -> None:
            if after:
                run(self, connection)
            raise sqlite3.OperationalError("the answer was lost")

        monkeypatch.setattr(SQLiteDialect_pysqlite, "do_commit", do_commit)

    return install


BEFORE: dict[str, Step] = {
    "begin": failing_begin,
    "state": failing_statement("SELECT size"),
    "heads": failing_statement("SELECT json_group_object(tok"),
    "keys": failing_statement("INSERT OR ROLLBACK INTO subject "),
    "span": failing_statement("SELECT json_group_array(json_array(idx, hex"),
    "events": failing_statement("INSERT OR ROLLBACK INTO event "),
    "clients": failing_statement("INSERT OR ROLLBACK INTO event_subject"),
    "chains": failing_statement("INSERT OR ROLLBACK INTO subject_head"),
    "longer chains": failing_statement("UPDATE OR ROLLBACK subject_head"),
    "detail": failing_statement("INSERT OR ROLLBACK INTO secret"),
    "tiles": failing_statement("INSERT INTO tile"),
    "tree": failing_statement("UPDATE tree_state"),
    "commit": failing_commit(after=False),
}


def fill_to_the_edge_of_a_tile(log: SqlAuditLog) -> None:
    for future in [log.submit(access("a")) for _ in range(255)]:
        future.result(10)


@pytest.mark.parametrize("step", BEFORE)
def test_l08_a_step_that_fails_before_the_commit_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    log = open_log(tmp_path)
    fill_to_the_edge_of_a_tile(log)
    one = access("a", "new", detail=(("reason", "r"),))
    with monkeypatch.context() as patched:
        BEFORE[step](patched)
        with pytest.raises(AuditUnavailableError):
            log.submit(one).result(5)
    assert len(leaves_of(tmp_path)) == 255
    assert log.submit(one).result(5).index == 255
    log.close()
    assert len(check_whole(tmp_path)) == 256


def test_l08_an_answer_lost_after_the_commit_is_found_by_the_next_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = open_log(tmp_path)
    fill_to_the_edge_of_a_tile(log)
    one = access("a", "new", detail=(("reason", "r"),))
    with monkeypatch.context() as patched:
        failing_commit(after=True)(patched)
        with pytest.raises(AuditUnavailableError):
            log.submit(one).result(5)
    assert len(leaves_of(tmp_path)) == 256, "it is there, though nobody was told"
    assert log.submit(one).result(5).index == 255
    assert log.submit(access("new")).result(5).index == 256
    log.close()
    assert len(check_whole(tmp_path)) == 257
