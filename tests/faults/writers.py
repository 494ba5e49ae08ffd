"""Writers of a log in processes of their own, what they acknowledged, and a database that fails."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

from privguard.audit.merkle import Tree, extend, leaf_hash
from privguard.audit.record import parse
from privguard.crypto.keyring import new_keyring
from privguard.store import schema
from tests.unit.store.logs import check_whole, url_of

ROOT = Path(__file__).parents[2]


def make_log(folder: Path) -> None:
    schema.upgrade(url_of(folder))
    (folder / "keys.json").write_bytes(new_keyring(os.urandom))


def start_writer(folder: Path, name: str, count: int = 0) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.faults.log_writer", str(folder), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)


def check_acknowledged(folder: Path, acknowledged: list[bytes]) -> int:
    """Checks that every acknowledged entry is in the log once, where its receipt says; the log's size."""
    leaves = check_whole(folder)
    ids = [parse(leaf).id for leaf in leaves]
    assert len(set(ids)) == len(ids), "an entry is in the log twice"
    roots: dict[int, str] = {}
    for line in acknowledged:
        event_id, index, size, root = line.decode().split()
        assert ids[int(index)] == event_id
        assert roots.setdefault(int(size), root) == root, "two roots of one size"
    tree = Tree()
    for size in sorted(roots):
        tree, _ = extend(tree, [leaf_hash(leaf) for leaf in leaves[tree.size : size]])
        assert tree.root().hex() == roots[size]
    return len(leaves)


class Failing:
    """A driver's connection on which one statement fails, with its values in the driver's message."""

    def __init__(self, connection: sqlite3.Connection, start: str) -> None:
        self._connection = connection
        self._start = start

    def execute(self, statement: str, values: tuple[Any, ...]) -> sqlite3.Cursor:
        if statement.strip().startswith(self._start):
            raise sqlite3.OperationalError(f"the disk went away while writing {values}")
        return self._connection.execute(statement, values)
