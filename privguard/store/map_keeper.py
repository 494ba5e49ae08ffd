"""Keeps the pages of the map (``audit.verifiable_map``) up with the log.

The buckets of all clients that entries were added for since the last time are hashed anew, and so are the
pages above them: of one state of the database, which entries do not wait for; after an export of 100,000
clients it takes ten seconds. Only what was found is written under the log's lock, unless another process
did so meanwhile. The size the pages are as of is kept with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from operator import itemgetter
from typing import Final

from msgspec import Struct
from sqlalchemy import Connection, bindparam, delete, insert, select, text

from privguard.audit.merkle import HASH_BYTES
from privguard.audit.verifiable_map import (
    EMPTY_ROOT,
    Entry,
    MapProof,
    Page,
    bucket_of,
    hash_bucket,
    hash_page,
    prefixes,
    prove,
    updated,
)
from privguard.store.engine import Store
from privguard.store.tables import map_page, tree_state

_CHANGED: Final = text("SELECT DISTINCT tok FROM event_subject WHERE idx >= :start")
_BUCKET: Final = {
    "sqlite": text(
        "SELECT tok, count, last_idx FROM subject_head WHERE tok >= :low AND tok < :high ORDER BY tok"
    ),
    "postgresql": text(
        'SELECT tok, count, last_idx FROM subject_head WHERE left(tok, 3) = :low ORDER BY tok COLLATE "C"'
    ),
}
_OF: Final = "="
"""Names the row that says what the pages are as of: no prefix has this character."""
_STATE: Final = select(map_page.c.data).where(map_page.c.prefix == _OF)


class MapState(Struct, frozen=True):
    """The map's root (32 bytes), as of the log's first ``size`` entries."""

    size: int
    root: bytes


class MapKeeper:
    """The map of a log; safe to share between threads and processes."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def catch_up(self) -> tuple[MapState, bool]:
        """Brings the pages up to the log's size.

        Returns:
            The map as it is then; and whether it says another thing than before.
        """
        with self._store.read() as connection:
            size, known = connection.execute(select(tree_state.c.size)).scalar_one(), _state(connection)
            pages = _changed(connection, known.size)
        if not pages:
            return known, False
        state = MapState(size, hash_page(_split(pages[""])))
        with self._store.write() as connection:
            connection.execute(select(tree_state.c.size).with_for_update())
            ahead = _state(connection) != known
            if not ahead:
                _put(connection, pages | {_OF: _packed(state)})
        return self.catch_up() if ahead else (state, True)

    def prove(self, token: str) -> tuple[MapState, MapProof]:
        """The map as it was last brought up, and the proof for a token in it.

        The bucket is of now: if a client of it was added to since, the proof does not hold; bring the map up
        and ask again.

        Raises:
            ProofError: it is no token.
        """
        bucket = bucket_of(token)
        with self._store.read() as connection:
            pages = _pages(connection, prefixes(bucket))
            return _state(connection), prove(token, _bucket(connection, bucket), pages)


def _changed(connection: Connection, start: int) -> dict[str, bytes]:
    """The pages that entries from ``start`` on change, packed; made for a 64th of the buckets at a time."""
    tokens = connection.execute(_CHANGED, {"start": start}).scalars().yield_per(1000)
    buckets = {bucket_of(token) for token in tokens}
    changed: dict[str, bytes] = {}
    for _, some in groupby(sorted(buckets), key=itemgetter(0)):
        hashes = {bucket: hash_bucket(_bucket(connection, bucket)) for bucket in some}
        above = _pages(connection, {prefix for bucket in hashes for prefix in prefixes(bucket)})
        if changed:
            above[""] = _split(changed[""])
        changed |= {prefix: b"".join(page) for prefix, page in updated(above, hashes).items()}
    return changed


def _state(connection: Connection) -> MapState:
    row = connection.execute(_STATE).one_or_none()
    if row is None:
        return MapState(0, EMPTY_ROOT)
    return MapState(int.from_bytes(row.data[:8], "big"), bytes(row.data[8:]))


def _packed(state: MapState) -> bytes:
    return state.size.to_bytes(8, "big") + state.root


def _bucket(connection: Connection, prefix: str) -> list[Entry]:
    high = prefix[:-1] + chr(ord(prefix[-1]) + 1)
    rows = connection.execute(_BUCKET[connection.dialect.name], {"low": prefix, "high": high})
    return [(token, count, last) for token, count, last in rows]


def _pages(connection: Connection, wanted: Iterable[str]) -> dict[str, Page]:
    query = select(map_page.c.prefix, map_page.c.data).where(map_page.c.prefix.in_(list(wanted)))
    return {prefix: _split(data) for prefix, data in connection.execute(query)}


def _split(data: bytes) -> Page:
    return tuple(data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES))


def _put(connection: Connection, pages: Mapping[str, bytes]) -> None:
    connection.execute(
        delete(map_page).where(map_page.c.prefix == bindparam("old")), [{"old": p} for p in pages]
    )
    connection.execute(insert(map_page), [{"prefix": p, "data": data} for p, data in pages.items()])
