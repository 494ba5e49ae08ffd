from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from privguard.errors import ConfigError, StoreUnavailableError
from privguard.store import schema
from privguard.store.engine import Store
from privguard.store.faults import cause, unavailable
from privguard.store.log_reader import LogReader
from tests.unit.audit.events import access
from tests.unit.store.logs import check_whole, open_log, url_of


def test_a_commit_survives_a_power_cut(tmp_path: Path) -> None:
    schema.upgrade(url_of(tmp_path))
    store = Store(url_of(tmp_path))
    with store.write() as connection:
        pragma = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous")
        }
    assert pragma == {"journal_mode": "wal", "synchronous": 2}  # 2: FULL, a sync for every commit
    store.close()


def test_one_writer_at_a_time_and_what_fails_is_undone(tmp_path: Path) -> None:
    schema.upgrade(url_of(tmp_path))
    stores = [Store(url_of(tmp_path)) for _ in range(4)]

    def count(store: Store) -> None:
        for _ in range(25):
            with store.write() as connection:
                size = connection.execute(text("SELECT epoch FROM tree_state")).scalar_one()
                connection.execute(text("UPDATE tree_state SET epoch = :n"), {"n": size + 1})

    threads = [threading.Thread(target=count, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with pytest.raises(RuntimeError), stores[0].write() as connection:
        connection.execute(text("UPDATE tree_state SET epoch = epoch + 1"))
        raise RuntimeError
    with stores[0].read() as connection:
        assert connection.execute(text("SELECT epoch FROM tree_state")).scalar_one() == 100
    for store in stores:
        store.close()


def test_a_file_that_was_replaced_is_not_used_any_more(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    log.submit(access("a")).result(5)
    reader = LogReader(Store(url_of(tmp_path)))
    assert reader.head()[0] == 1
    for file in list(tmp_path.glob("log.db*")):
        file.rename(tmp_path / f"old-{file.name}")
    with pytest.raises(StoreUnavailableError, match="is gone"):
        reader.head()
    open_log(tmp_path).close()  # somebody puts an empty log in its place
    assert reader.head()[0] == 0
    assert log.submit(access("a", "b")).result(5).index == 0
    log.close()
    assert len(check_whole(tmp_path)) == 1


def named(name: str) -> OperationalError:
    error = sqlite3.OperationalError("canary")
    error.sqlite_errorname = name
    return OperationalError("INSERT canary", {"v": "canary"}, error)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("SQLITE_FULL", "disk is full"),
        ("SQLITE_READONLY_DBMOVED", "cannot be written"),
        ("SQLITE_BUSY_SNAPSHOT", "Another process"),
        ("SQLITE_LOCKED", "Another process"),
        ("SQLITE_IOERR_FSYNC", "disk fails"),
        ("SQLITE_CORRUPT", "damaged"),
        ("SQLITE_NOTADB", "not a database"),
        ("SQLITE_CANTOPEN", "cannot be opened"),
        ("SQLITE_CONSTRAINT_PRIMARYKEY", "disagree"),
        ("SQLITE_ERROR", "db upgrade"),
        ("SQLITE_NOMEM", "database failed"),
    ],
)
def test_a_failure_is_told_by_cause_and_mend_without_values(name: str, said: str) -> None:
    told = cause(named(name))
    assert said in told
    assert name in told
    assert "canary" not in told


def test_an_unforeseen_failure_names_its_place_and_no_values() -> None:
    try:
        {}["canary"]
    except KeyError as error:
        told = unavailable(error).detail
    assert "KeyError at test_engine.py:" in told
    assert "canary" not in told


def test_errors_that_explain_themselves_are_passed_on() -> None:
    assert unavailable(StoreUnavailableError("The cause.")).detail == "The cause."
    assert unavailable(ConfigError("The cause.")).status == 503
    assert "No space" in cause(OSError(28, "No space left on device", "/secret/path"))
    assert "/secret" not in cause(OSError(28, "No space left on device", "/secret/path"))
