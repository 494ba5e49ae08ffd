"""L01: the database refuses changes of what is on record; where it no longer does, the proofs tell."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from privguard.audit.verify import verify_log
from tests.unit.audit.events import access
from tests.unit.store.logs import disarm, leaves_of, open_log, raw


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("log")
    log = open_log(folder, deadline_s=30)
    for number in range(300):
        log.submit(access("a", f"b{number % 3}", at_us=number, detail=(("reason", "r"),)))
    log.close()
    with raw(folder) as connection:
        connection.execute("INSERT INTO checkpoint (size, note) VALUES (300, 'signed')")
    return folder


@pytest.fixture
def log(written: Path, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    shutil.copy(written / "log.db", tmp_path)
    with raw(tmp_path) as connection:
        yield connection


COLUMNS = {
    "event": "idx event_id part ts_us tenant actor action outcome leaf_hash leaf",
    "event_subject": "idx tok prev view",
    "secret": "idx ct",
    "tile": "level n data root",
    "checkpoint": "size note",
    "subject": "ref_hmac tok tenant",
    "subject_head": "tok",
}


@pytest.mark.parametrize(
    ("table", "column"), [(table, column) for table, columns in COLUMNS.items() for column in columns.split()]
)
def test_l01_no_column_of_the_log_can_be_updated(log: sqlite3.Connection, table: str, column: str) -> None:
    last = f"(SELECT max({column}) FROM {table})"
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        log.execute(f"UPDATE {table} SET {column} = {last} || 1")


@pytest.mark.parametrize(
    "statement",
    [
        *(f"DELETE FROM {table}" for table in (*COLUMNS, "tree_state") if table != "subject"),
        "DELETE FROM event WHERE idx = 299",
        "DELETE FROM secret WHERE idx = 299",
        "INSERT OR REPLACE INTO event SELECT * FROM event WHERE idx = 7",
        (
            "INSERT OR REPLACE INTO event SELECT 300, event_id, part, ts_us, tenant, actor, action, outcome,"
            " leaf_hash, leaf FROM event WHERE idx = 7"
        ),
        "INSERT INTO event_subject SELECT 7, 'someone', -1, 3",
        "INSERT OR REPLACE INTO event_subject SELECT idx, tok, prev, 0 FROM event_subject",
        "INSERT INTO secret VALUES (7, x'00') ON CONFLICT DO UPDATE SET ct = excluded.ct",
        "INSERT OR REPLACE INTO secret SELECT idx, x'00' FROM secret",
        "INSERT OR REPLACE INTO tile SELECT level, n, zeroblob(8192), root FROM tile",
        "INSERT OR REPLACE INTO checkpoint (size, note) VALUES (300, 'another')",
        "INSERT OR REPLACE INTO subject SELECT * FROM subject",
        "INSERT OR REPLACE INTO subject_head SELECT tok, 1, 0 FROM subject_head",
        "INSERT OR REPLACE INTO tree_state SELECT * FROM tree_state",
        "UPDATE subject_head SET count = count - 1",
        "UPDATE subject_head SET last_idx = 5",
        "UPDATE tree_state SET id = 2",
        "UPDATE tree_state SET size = size - 1",
        "UPDATE tree_state SET epoch = epoch - 1",
        "UPDATE tree_state SET erasures = erasures - 1",
        "UPDATE tree_state SET floor = 301",
        "UPDATE tree_state SET floor = -1",
    ],
)
def test_l01_nothing_of_the_log_can_be_removed_replaced_or_taken_back(
    log: sqlite3.Connection, statement: str
) -> None:
    before = log.execute("SELECT count(*), total(idx) FROM event").fetchone()
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        log.execute(statement)
    assert log.execute("SELECT count(*), total(idx) FROM event").fetchone() == before


def test_l01_only_entries_below_the_floor_can_be_pruned_and_it_never_sinks(log: sqlite3.Connection) -> None:
    log.execute("UPDATE tree_state SET floor = 100")
    for table in ("event", "event_subject", "secret"):
        log.execute(f"DELETE FROM {table} WHERE idx < 100")
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            log.execute(f"DELETE FROM {table} WHERE idx = 100")
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        log.execute("UPDATE tree_state SET floor = 99")


def test_l13_a_client_on_hold_keeps_its_key_and_only_an_erased_client_loses_details(
    log: sqlite3.Connection,
) -> None:
    (token,) = log.execute("SELECT tok FROM event_subject WHERE idx = 7 ORDER BY tok").fetchone()
    log.execute("UPDATE subject SET hold = true WHERE tok = ?", (token,))
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        log.execute("DELETE FROM subject WHERE tok = ?", (token,))
    log.execute("UPDATE subject SET hold = false WHERE tok = ?", (token,))
    log.execute("DELETE FROM subject WHERE tok = ?", (token,))
    assert log.execute("DELETE FROM secret WHERE idx = 7").rowcount == 1


@pytest.mark.parametrize("table", ["event", "secret"])
def test_l01_a_row_that_an_administrator_edits_is_named_all_the_same(written: Path, table: str) -> None:
    with closing(sqlite3.connect(written / "log.db")) as source:
        copy = written.parent / f"edited-{table}"
        copy.mkdir()
        with closing(sqlite3.connect(copy / "log.db")) as edited:
            source.backup(edited)
            disarm(edited)
            size, root = edited.execute("SELECT size, root FROM tree_state").fetchone()
            edit = (
                """UPDATE event SET leaf = replace(leaf, 'rm-1', 'rm-2'), actor = 'rm-2' WHERE idx = 17"""
                if table == "event"
                else "DELETE FROM event WHERE idx = 299"
            )
            assert edited.execute(edit).rowcount == 1
            edited.commit()
    found = verify_log(lambda: iter(leaves_of(copy)), size, root)
    assert not found.ok
    assert found.kind
