"""A log in a folder, and the check that everything in its database follows from the leaves."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from privguard.audit.merkle import Tree, extend, leaf_hash
from privguard.audit.record import columns, parse, subject_columns
from privguard.audit.verify import verify_log
from privguard.crypto.keyring import Keyring, new_keyring
from privguard.crypto.keyring import parse as parse_keyring
from privguard.store import schema
from privguard.store.audit_log import SqlAuditLog
from privguard.store.custody import Custody
from privguard.store.engine import Store
from privguard.store.grants import Grants
from privguard.store.ledger import Ledger
from privguard.store.subjects import SubjectKeys

ORIGIN = "test.invalid/log"
KEYRING = parse_keyring(new_keyring(os.urandom))


class SystemEntropy:
    """ports.Entropy"""

    def token(self, size: int) -> bytes:
        return os.urandom(size)


def url_of(folder: Path) -> str:
    """Of the log in a folder: what its file ``url`` says, or else a SQLite file."""
    if (folder / "url").exists():
        return (folder / "url").read_text()
    return f"sqlite+aiosqlite:///{folder / 'log.db'}"


def open_log(folder: Path, deadline_s: float = 5.0) -> SqlAuditLog:
    """The log in a folder, made if it is not there."""
    schema.upgrade(url_of(folder))
    return SqlAuditLog.open(url_of(folder), KEYRING, SystemEntropy(), origin=ORIGIN, deadline_s=deadline_s)


OPENED: list[Store] = []
"""Stores that tests opened to read; the fixture ``log_folder`` closes them."""


def store_of(folder: Path) -> Store:
    OPENED.append(Store(url_of(folder)))
    return OPENED[-1]


def custody_of(store: Store, keyring: Keyring = KEYRING) -> Custody:
    """Who keeps or destroys the keys of clients in a store."""
    entropy = SystemEntropy()
    ledger = Ledger(store, keyring, entropy, ORIGIN)
    return Custody(store, ledger, SubjectKeys(keyring, entropy), Grants(store, keyring, entropy))


@contextmanager
def raw(folder: Path) -> Iterator[Any]:
    """The database as its administrator sees it."""
    connection: Any
    if url_of(folder).startswith("postgresql"):
        connection = psycopg.connect(url_of(folder).replace("+asyncpg", ""), autocommit=True)
    else:
        connection = sqlite3.connect(folder / "log.db", isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


def disarm(connection: Any) -> None:
    """Drops the triggers, as an administrator of the database may."""
    if isinstance(connection, psycopg.Connection):
        connection.execute("SET session_replication_role = replica")
        return
    triggers = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for (name,) in triggers:
        connection.execute(f"DROP TRIGGER {name}")


def leaves_of(folder: Path) -> list[bytes]:
    with raw(folder) as connection:
        rows = connection.execute("SELECT idx, leaf FROM event ORDER BY idx").fetchall()
    assert [index for index, _ in rows] == list(range(len(rows))), "indexes are not dense"
    return [leaf for _, leaf in rows]


def check_whole(folder: Path, *, erased: int = 0) -> list[bytes]:
    """Checks that every row of the log's tables follows from the leaves; returns these.

    Every client of the log must have its key, but for those that were erased.
    """
    leaves = leaves_of(folder)
    parsed = [parse(leaf) for leaf in leaves]
    tree, tiles = extend(Tree(), [leaf_hash(leaf) for leaf in leaves], {})
    heads: dict[str, tuple[int, int]] = {}
    for index, leaf in enumerate(parsed):
        for _, token, _, _ in subject_columns(leaf, index):
            heads[token] = (heads.get(token, (0, 0))[0] + 1, index)
    with raw(folder) as connection:
        select = connection.execute
        size, edge, root = select("SELECT size, edge, root FROM tree_state").fetchone()
        assert verify_log(lambda: leaves, size, root).ok
        assert (size, edge, root) == (tree.size, b"".join(tree.edge), tree.root())
        assert select("SELECT level, n, data, root FROM tile ORDER BY level, n").fetchall() == [
            (tile.level, tile.n, tile.data, tile.root) for tile in tiles
        ]
        assert select(
            "SELECT idx, leaf_hash, event_id, part, ts_us, tenant, actor, action, outcome FROM event"
            " ORDER BY idx"
        ).fetchall() == [
            (index, leaf_hash(data), *columns(leaf))
            for index, (data, leaf) in enumerate(zip(leaves, parsed, strict=True))
        ]
        assert sorted(select("SELECT idx, tok, prev, view FROM event_subject").fetchall()) == sorted(
            row for index, leaf in enumerate(parsed) for row in subject_columns(leaf, index)
        )
        found = {
            tok: (count, last) for tok, count, last in select("SELECT tok, count, last_idx FROM subject_head")
        }
        assert found == heads
        keyed = {tok for (tok,) in select("SELECT tok FROM subject")}
        assert len(set(heads) - keyed) == erased
    return leaves
