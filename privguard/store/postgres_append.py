"""SQL of the append, for PostgreSQL: rows go in by COPY, under the lock on the tree's row.

A statement sees what was committed before it began (READ COMMITTED), so the state is read by a statement
after the one that waits for the lock. The same lock serves CockroachDB and YugabyteDB.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from privguard.audit.merkle import Span, Tree
from privguard.audit.record import Head
from privguard.errors import StoreUnavailableError
from privguard.store.statements import NO_STATE, Rows, State, edge_of

if TYPE_CHECKING:
    from psycopg import Connection

_LOCK: Final = "SELECT id FROM tree_state WHERE id = 1 FOR UPDATE"
_STATE: Final = """
SELECT size, edge, erasures, kek_floor, coalesce((SELECT ts_us FROM event WHERE idx = size - 1), 0),
  (SELECT json_agg(json_build_array(event_id, part, idx)) FROM event WHERE event_id = ANY(%s)),
  (SELECT json_object_agg(ref_hmac, wrapped_dek) FROM subject WHERE ref_hmac = ANY(%s))
FROM tree_state WHERE id = 1"""
_HEADS: Final = "SELECT tok, count, last_idx FROM subject_head WHERE tok = ANY(%s)"
_LEVEL_0: Final = "SELECT leaf_hash FROM event WHERE idx >= %s AND idx < %s ORDER BY idx"
_LEVEL_N: Final = "SELECT root FROM tile WHERE n >= %s AND n < %s AND level = %s ORDER BY n"
_LEAVES: Final = "SELECT idx, leaf FROM event WHERE idx = ANY(%s)"
_EVENTS: Final = (
    "COPY event (idx, event_id, part, ts_us, tenant, actor, action, outcome, leaf, leaf_hash)",
    ("int8", "text", "int4", "int8", "text", "text", "text", "text", "bytea", "bytea"),
)
_EVENT_SUBJECTS: Final = (
    "COPY event_subject (idx, tok, prev, view)",
    ("int8", "text", "int8", "int2"),
)
_SECRETS: Final = ("COPY secret (idx, ct)", ("int8", "bytea"))
_SUBJECTS: Final = (
    "COPY subject (ref_hmac, tok, tenant, wrapped_dek, ref, kek_version)",
    ("text", "text", "text", "text", "text", "int4"),
)
_TILES: Final = ("COPY tile (level, n, data, root)", ("int2", "int8", "bytea", "bytea"))
_PUT_HEADS: Final = """
INSERT INTO subject_head (tok, count, last_idx)
SELECT * FROM unnest(%s::text[], %s::int8[], %s::int8[])
ON CONFLICT (tok) DO UPDATE SET count = excluded.count, last_idx = excluded.last_idx"""
_PUT_STATE: Final = "UPDATE tree_state SET size = %s, edge = %s, root = %s WHERE id = 1"


def read_state(connection: Connection[Any], ids: Sequence[str], names: Sequence[str]) -> State:
    connection.execute(_LOCK, ())
    row = connection.execute(_STATE, (list(ids), list(names))).fetchone()
    if row is None:
        raise StoreUnavailableError(NO_STATE)
    size, edge, erasures, floor, ts, present, wrapped = row
    there = [tuple(one) for one in present or ()]
    return State(Tree(size, edge_of(edge)), erasures, ts, there, wrapped or {}, floor)


def read_heads(connection: Connection[Any], tokens: Sequence[str]) -> dict[str, Head]:
    rows = connection.execute(_HEADS, (list(tokens),)).fetchall()
    return {token: (count, last) for token, count, last in rows}


def read_span(connection: Connection[Any], span: Span) -> list[bytes]:
    if span.level:
        found = connection.execute(_LEVEL_N, (span.start, span.stop, span.level - 1))
    else:
        found = connection.execute(_LEVEL_0, (span.start, span.stop))
    return [digest for (digest,) in found.fetchall()]


def read_leaves(connection: Connection[Any], indexes: Sequence[int]) -> dict[int, bytes]:
    return dict(connection.execute(_LEAVES, (list(indexes),)).fetchall())


def write(connection: Connection[Any], rows: Rows, tree: Tree, root: bytes) -> None:
    fresh = (
        (row.ref_hmac, row.tok, row.tenant, row.wrapped_dek, row.ref, row.kek_version) for row in rows.fresh
    )
    tiles = ((tile.level, tile.n, tile.data, tile.root) for tile in rows.tiles)
    if rows.fresh:
        _copy(connection, _SUBJECTS, fresh)
    _copy(connection, _EVENTS, rows.events)
    if rows.subjects:
        _copy(connection, _EVENT_SUBJECTS, rows.subjects)
        tokens, counts, lasts = zip(*rows.first, *rows.heads, strict=True)
        connection.execute(_PUT_HEADS, (list(tokens), list(counts), list(lasts)))
    if rows.secrets:
        _copy(connection, _SECRETS, rows.secrets)
    if rows.tiles:
        _copy(connection, _TILES, tiles)
    connection.execute(_PUT_STATE, (tree.size, b"".join(tree.edge), root))


def _copy(
    connection: Connection[Any], table: tuple[str, Sequence[str]], rows: Iterable[Sequence[Any]]
) -> None:
    statement, types = table
    with connection.cursor().copy(f"{statement} FROM STDIN (FORMAT BINARY)".encode()) as copy:
        copy.set_types(types)
        for row in rows:
            copy.write_row(row)
