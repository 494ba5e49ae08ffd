"""Reads the log. What is read here is not yet on the trail: that is its callers' duty (L15)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection, Select, select

from privguard.audit.merkle import leaf_hash
from privguard.audit.record import Columns
from privguard.audit.stretch import COMMITTER, Row
from privguard.audit.verify import map_sizes
from privguard.store.engine import Store
from privguard.store.tables import BLOCK, BLOCK_EVENTS, event, event_subject, subject_head, tree_state

PAGE: Final = 500
"""Entries read at a time: none is held while the caller works, so a slow reader holds up no checkpoint."""

ENDS: Final = 20_000
"""Clients read at a time."""

Indexed = tuple[int, bytes]
"""A leaf's index and its exact bytes."""

_BLOCKS: Final = 64
"""Blocks that are looked through at once for an actor who is seldom in them."""


class Span(NamedTuple):
    """Indexes from ``start`` up to, not including, ``stop``."""

    start: int
    stop: int


def first_since(connection: Connection, ts_us: int, start: int = 0) -> int | None:
    """Index of the first entry from ``start`` on of a log time (microseconds) or later; None without one.

    Log time never goes back, so it is found by halves, without an index that each entry would have to enter.
    """
    stop = connection.execute(select(tree_state.c.size)).scalar_one()
    found = None
    while start < stop:
        middle = (start + stop) // 2
        query = select(event.c.idx, event.c.ts_us).where(event.c.idx >= middle).order_by(event.c.idx)
        row = connection.execute(query.limit(1)).one_or_none()
        if row is not None and row.ts_us < ts_us:
            start = row.idx + 1
        else:
            stop, found = middle, found if row is None else row.idx
    return found


def of_actors(
    read: Callable[[Select[int, bytes]], Sequence[Indexed]],
    query: Select[int, bytes],
    span: Span,
    *,
    newest_first: bool = False,
) -> Iterator[Indexed]:
    """What a query for one tenant's entries by some actors finds in a span, in flat memory.

    The index by actor is cut into blocks of entries, so that entries are added at its end; a block costs
    a few microseconds to look into, which is 30 ms for ten million entries.
    """
    order = event.c.idx.desc() if newest_first else event.c.idx
    (start, stop), width = span, 1
    while start < stop:
        blocks = range(start // BLOCK_EVENTS, (stop - 1) // BLOCK_EVENTS + 1)
        blocks = blocks[-width:] if newest_first else blocks[:width]
        low, high = max(start, blocks[0] * BLOCK_EVENTS), min(stop, (blocks[-1] + 1) * BLOCK_EVENTS)
        part = query.where(BLOCK.in_(blocks), event.c.idx >= low, event.c.idx < high)
        page = read(part.order_by(order).limit(PAGE))
        yield from page
        full = len(page) == PAGE
        if newest_first:
            stop = page[-1][0] if full else low
        else:
            start = page[-1][0] + 1 if full else high
        width = 1 if full else min(2 * width, _BLOCKS)


class LogReader:
    """The reading side of the log; safe to share between threads."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def head(self) -> tuple[int, bytes]:
        """Size and root (32 bytes) of the tree."""
        with self._store.read() as connection:
            size, root = connection.execute(select(tree_state.c.size, tree_state.c.root)).one()
        return size, root

    def entries(self, start: int = 0, limit: int | None = None) -> Iterator[Indexed]:
        """Leaves from index ``start`` on, in order, at most ``limit`` of them; in flat memory."""
        stop = None if limit is None else start + limit
        while stop is None or start < stop:
            size = PAGE if stop is None else min(PAGE, stop - start)
            page = self._read(_leaves.where(event.c.idx >= start).order_by(event.c.idx).limit(size))
            yield from page
            if len(page) < size:
                return
            start = page[-1][0] + 1

    def stretch(self, start: int, stop: int) -> tuple[Sequence[Row], Sequence[Row]]:
        """What the database has of the leaves from ``start`` to ``stop``: rows in order, and their clients.

        As the driver gives it (``stretch.read_rows``): making it ready to use would cost as much again.
        """
        rows = _rows.where(event.c.idx >= start, event.c.idx < stop).order_by(event.c.idx)
        named = select(event_subject).where(event_subject.c.idx >= start, event_subject.c.idx < stop)
        with self._store.read() as connection:
            found: list[Sequence[Row]] = [
                connection.execute(query).cursor.fetchall() for query in (rows, named)
            ]
        return found[0], found[1]

    def ends(self) -> Iterator[tuple[str, int, int]]:
        """Where each client's chain ends: token, number and index of the last entry."""
        columns, last = select(subject_head.c.tok, subject_head.c.count, subject_head.c.last_idx), ""
        while True:
            query = columns.where(subject_head.c.tok > last).order_by(subject_head.c.tok).limit(ENDS)
            with self._store.read() as connection:
                page = [(row[0], row[1], row[2]) for row in connection.execute(query)]
            yield from page
            if len(page) < ENDS:
                return
            last = page[-1][0]

    def map_sizes(self) -> Sequence[int]:
        """As of how many entries maps were committed, as far as the leaves of privguard's own can be read."""
        tenant, actor, action = COMMITTER
        own = _leaves.where(event.c.tenant == tenant, event.c.actor == actor, event.c.action == action)
        return list(map_sizes(leaf for _, leaf in of_actors(self._read, own, Span(0, self.head()[0]))))

    def stands_later(self, index: int) -> bool:
        """Whether the leaf that a row's hash is of stands in a later row."""
        with self._store.read() as connection:
            wanted = connection.execute(select(event.c.leaf_hash).where(event.c.idx == index)).scalar_one()
        leaves = (leaf for _, leaf in self.entries(index + 1))
        return any(isinstance(leaf, bytes) and leaf_hash(leaf) == wanted for leaf in leaves)

    def last(self, count: int) -> Sequence[Indexed]:
        """The newest leaves, oldest of them first."""
        return self._read(_leaves.order_by(event.c.idx.desc()).limit(count))[::-1]

    def of_action(self, action: str) -> Sequence[Indexed]:
        """The leaves of an action, in order; the whole log is read for it."""
        return self._read(_leaves.where(event.c.action == action).order_by(event.c.idx))

    def tenants(self) -> Sequence[str]:
        """All that have entries; an index of the whole log is read for it."""
        with self._store.read() as connection:
            return connection.execute(select(event.c.tenant).distinct()).scalars().all()

    def _read(self, query: Select[int, bytes]) -> Sequence[Indexed]:
        with self._store.read() as connection:
            return connection.execute(query).all()


_leaves: Final = select(event.c.idx, event.c.leaf)
_rows: Final = select(
    event.c.idx, *[event.c[name] for name in Columns._fields], event.c.leaf_hash, event.c.leaf
)
