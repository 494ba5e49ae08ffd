"""SQL of the append, for SQLite: one statement a table, fed by one JSON document.

The driver lets go of the interpreter lock once a statement, not once a row: taking it back from a busy event
loop can cost 5 ms each time. Bytes come beside the JSON as one parameter that ``substr`` cuts up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from sqlite3 import Connection
from typing import Any, Final, cast

import msgspec
from msgspec import Struct
from sqlalchemy import Connection as Transaction

from privguard.audit.merkle import HASH_BYTES, Span, Tile, Tree
from privguard.audit.record import Head
from privguard.errors import StoreUnavailableError
from privguard.store.subjects import SubjectRow

_STATE: Final = """
SELECT size, edge, erasures, coalesce((SELECT ts_us FROM event WHERE idx = size - 1), 0),
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
_EVENTS: Final = """
INSERT INTO event (idx, event_id, part, ts_us, tenant, actor, action, outcome, leaf_hash, leaf)
SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
  json_extract(value, '$[3]'), json_extract(value, '$[4]'), json_extract(value, '$[5]'),
  json_extract(value, '$[6]'), json_extract(value, '$[7]'), substr(?2, 1 + 32 * key, 32),
  substr(?3, json_extract(value, '$[8]'), json_extract(value, '$[9]'))
FROM json_each(?1)"""
_EVENT_SUBJECTS: Final = """
INSERT INTO event_subject (idx, tok, prev, view)
SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
  json_extract(value, '$[3]') FROM json_each(?1)"""
_PUT_HEADS: Final = """
INSERT INTO subject_head (tok, count, last_idx)
SELECT key, json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?1) WHERE true
ON CONFLICT (tok) DO UPDATE SET count = excluded.count, last_idx = excluded.last_idx"""
_SUBJECTS: Final = """
INSERT INTO subject (ref_hmac, tok, tenant, wrapped_dek, ref, kek_version)
SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
  json_extract(value, '$[3]'), json_extract(value, '$[4]'), json_extract(value, '$[5]') FROM json_each(?1)"""
_SECRETS: Final = """
INSERT INTO secret (idx, ct)
SELECT json_extract(value, '$[0]'), substr(?2, json_extract(value, '$[1]'), json_extract(value, '$[2]'))
FROM json_each(?1)"""
_TILES: Final = """
INSERT INTO tile (level, n, data, root)
SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), substr(?2, 1 + 8192 * key, 8192),
  substr(?3, 1 + 32 * key, 32) FROM json_each(?1)"""
_PUT_STATE: Final = "UPDATE tree_state SET size = ?, edge = ?, root = ? WHERE id = 1"
_LEAVES: Final = "SELECT idx, leaf FROM event WHERE idx IN (SELECT value FROM json_each(?1))"


def driver(transaction: Transaction) -> Connection:
    """The driver's own connection: through SQLAlchemy a statement costs 15 to 20 µs more, a batch has ten."""
    return cast("Connection", transaction.connection.driver_connection)


class State(Struct, frozen=True):
    """The log as a writer finds it.

    Attributes:
        ts: log time of the last entry, 0 in an empty log.
        present: (event id, part, index) of entries with the ids that were asked for.
        wrapped: data keys by the client's name, for the names that were asked for.
    """

    tree: Tree
    erasures: int
    ts: int
    present: list[tuple[str, int, int]]
    wrapped: dict[str, str]


class Rows(Struct):
    """What a batch of entries adds to the tables."""

    fresh: list[SubjectRow]
    events: list[tuple[int | str | bytes, ...]] = []
    hashes: list[bytes] = []
    subjects: list[tuple[int | str, ...]] = []
    heads: Mapping[str, Head] = {}
    secrets: list[tuple[int, bytes]] = []
    tiles: list[Tile] = []


def read_state(connection: Connection, ids: Sequence[str], names: Sequence[str]) -> State:
    """The log's state, and which of these event ids and clients it knows.

    Raises:
        StoreUnavailableError: there is no state.
    """
    row = connection.execute(_STATE, (_json(ids), _json(names))).fetchone()
    if row is None:
        raise StoreUnavailableError("The log's tree has no state: restore a backup.")
    size, edge, erasures, ts, present, wrapped = row
    hashes = tuple(edge[at : at + HASH_BYTES] for at in range(0, len(edge), HASH_BYTES))
    return State(
        Tree(size, hashes),
        erasures,
        ts,
        msgspec.json.decode(present, type=list[tuple[str, int, int]]),
        msgspec.json.decode(wrapped, type=dict[str, str]),
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
    run = connection.execute
    if rows.fresh:
        run(_SUBJECTS, (_json(rows.fresh),))
    cells, leaves = _packed(rows.events)
    run(_EVENTS, (cells, b"".join(rows.hashes), leaves))
    if rows.subjects:
        run(_EVENT_SUBJECTS, (_json(rows.subjects),))
        run(_PUT_HEADS, (_json(rows.heads),))
    if rows.secrets:
        run(_SECRETS, _packed(rows.secrets))
    if rows.tiles:
        cells = _json([(tile.level, tile.n) for tile in rows.tiles])
        run(_TILES, (cells, b"".join(t.data for t in rows.tiles), b"".join(t.root for t in rows.tiles)))
    run(_PUT_STATE, (tree.size, b"".join(tree.edge), root))


def _packed(rows: Iterable[tuple[Any, ...]]) -> tuple[str, bytes]:
    """Rows that end in bytes: JSON with where these begin (from 1) and their length; and all bytes as one."""
    cells, pieces, begin = [], [], 1
    for *row, data in rows:
        cells.append((*row, begin, len(data)))
        pieces.append(data)
        begin += len(data)
    return _json(cells), b"".join(pieces)


def _json(rows: object) -> str:
    return msgspec.json.encode(rows).decode()
