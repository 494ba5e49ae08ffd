"""SQL of the append, for SQLite: one statement a table.

The driver lets go of the interpreter lock once a statement, not once a row: taking it back from a busy event
loop can cost 5 ms each time. Lists that are looked up go in, and come back, as one JSON document.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, repeat
from sqlite3 import Connection
from typing import Any, Final

import msgspec

from privguard.audit.merkle import Span, Tree
from privguard.audit.record import Head
from privguard.errors import StoreUnavailableError
from privguard.store.statements import NO_STATE, Rows, State, edge_of

_STATE: Final = """
SELECT size, edge, erasures, kek_floor, coalesce((SELECT ts_us FROM event WHERE idx = size - 1), 0),
  (SELECT json_group_array(json_array(event_id, part, idx)) FROM event
    WHERE event_id IN (SELECT value FROM json_each(?1))),
  (SELECT json_group_object(ref_hmac, wrapped_dek) FROM subject
    WHERE ref_hmac IN (SELECT value FROM json_each(?2)))
FROM tree_state WHERE id = 1"""
_HEADS: Final = """
SELECT json_group_object(tok, json_array(count, last_idx)) FROM subject_head
WHERE tok IN (SELECT value FROM json_each(?1))"""
_LEVEL_0: Final = (
    "SELECT json_group_array(json_array(idx, hex(leaf_hash))) FROM event WHERE idx >= ?1 AND idx < ?2"
)
_LEVEL_N: Final = """
SELECT json_group_array(json_array(n, hex(root))) FROM tile WHERE level = ?3 AND n >= ?1 AND n < ?2"""
_TILE: Final = "INSERT INTO tile (level, n, data, root) VALUES (?, ?, ?, ?)"
_PUT_STATE: Final = "UPDATE tree_state SET size = ?, edge = ?, root = ? WHERE id = 1"
_LEAVES: Final = "SELECT idx, leaf FROM event WHERE idx IN (SELECT value FROM json_each(?1))"


_SIZES: Final = tuple(1 << power for power in range(11))
"""Steps of two: a row of NULL costs half a real one; with steps of four 300 rows cost twice as much."""


class _Many:
    """One statement for many rows: padded with rows of NULL to one of a few sizes.

    The driver lets go of the interpreter lock once a statement, not once a row as ``executemany`` does, and a
    statement of known size is prepared once. ``OR ROLLBACK``: to undo one statement alone, which nobody wants
    here, SQLite would copy each page before it changes it (14 against 35 µs a row).

    Args:
        statement: with ``{rows}`` where the rows stand; must pass over those whose first column is NULL.
        width: columns of a row.
    """

    def __init__(self, statement: str, width: int) -> None:
        self._width = width
        row = f"({', '.join('?' * width)})"
        self._statements = {size: statement.format(rows=", ".join([row] * size)) for size in _SIZES}

    def run(self, connection: Connection, rows: Sequence[Sequence[Any]]) -> None:
        for start in range(0, len(rows), _SIZES[-1]):
            part = rows[start : start + _SIZES[-1]]
            size = next(size for size in _SIZES if size >= len(part))
            values = [*chain.from_iterable(part), *repeat(None, (size - len(part)) * self._width)]
            connection.execute(self._statements[size], values)


def _insert(table: str, *columns: str) -> _Many:
    return _Many(
        f"INSERT OR ROLLBACK INTO {table} ({', '.join(columns)}) "  # noqa: S608  # ours
        "SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL",
        len(columns),
    )


_EVENTS: Final = _insert(
    "event", "idx", "event_id", "part", "ts_us", "tenant", "actor", "action", "outcome", "leaf", "leaf_hash"
)
_EVENT_SUBJECTS: Final = _insert("event_subject", "idx", "tok", "prev", "view")
_SUBJECTS: Final = _insert("subject", "ref_hmac", "tok", "tenant", "wrapped_dek", "ref", "kek_version")
_SECRETS: Final = _insert("secret", "idx", "ct")
_FIRST_HEADS: Final = _insert("subject_head", "tok", "count", "last_idx")
_MOVE_HEADS: Final = _Many(
    "UPDATE OR ROLLBACK subject_head SET count = column2, last_idx = column3 "
    "FROM (VALUES {rows}) WHERE tok = column1",
    3,
)


def read_state(connection: Connection, ids: Sequence[str], names: Sequence[str]) -> State:
    """The log's state, and which of these event ids and clients it knows.

    Raises:
        StoreUnavailableError: there is no state.
    """
    row = connection.execute(_STATE, (_json(ids), _json(names))).fetchone()
    if row is None:
        raise StoreUnavailableError(NO_STATE)
    size, edge, erasures, floor, ts, present, wrapped = row
    return State(
        Tree(size, edge_of(edge)),
        erasures,
        ts,
        msgspec.json.decode(present, type=list[tuple[str, int, int]]),
        msgspec.json.decode(wrapped, type=dict[str, str]),
        floor,
    )


def read_heads(connection: Connection, tokens: Sequence[str]) -> dict[str, Head]:
    """Where the chains of these clients end."""
    (found,) = connection.execute(_HEADS, (_json(tokens),)).fetchone()
    return msgspec.json.decode(found, type=dict[str, Head])


def read_span(connection: Connection, span: Span) -> list[bytes]:
    """Hashes of a begun tile."""
    query = _LEVEL_N if span.level else _LEVEL_0
    below = (span.level - 1,) if span.level else ()
    (found,) = connection.execute(query, (span.start, span.stop, *below)).fetchone()
    return [
        bytes.fromhex(digest) for _, digest in sorted(msgspec.json.decode(found, type=list[tuple[int, str]]))
    ]


def read_leaves(connection: Connection, indexes: Sequence[int]) -> dict[int, bytes]:
    """The exact bytes of these leaves."""
    return dict(connection.execute(_LEAVES, (_json(indexes),)))


def write(connection: Connection, rows: Rows, tree: Tree, root: bytes) -> None:
    """Everything of a batch; the caller's transaction makes it one."""
    _SUBJECTS.run(
        connection,
        [
            (row.ref_hmac, row.tok, row.tenant, row.wrapped_dek, row.ref, row.kek_version)
            for row in rows.fresh
        ],
    )
    _EVENTS.run(connection, rows.events)
    _EVENT_SUBJECTS.run(connection, rows.subjects)
    _FIRST_HEADS.run(connection, rows.first)
    _MOVE_HEADS.run(connection, rows.heads)
    _SECRETS.run(connection, rows.secrets)
    for tile in rows.tiles:
        connection.execute(_TILE, (tile.level, tile.n, tile.data, tile.root))
    connection.execute(_PUT_STATE, (tree.size, b"".join(tree.edge), root))


def _json(rows: object) -> str:
    return msgspec.json.encode(rows).decode()
