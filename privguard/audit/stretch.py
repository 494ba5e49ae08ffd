"""A stretch of the log, read by itself: any process may, and ``audit.verify`` joins stretches in order.

Held here is what needs nothing of the entries before: each is what was hashed, in the one form of a leaf,
with all that a database repeats of it. What follows from entries before (a client's chain, log time across
the border, the tree, maps) is handed on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple, TypeVar

from msgspec import Struct

from privguard.audit.merkle import Tree, extend, leaf_hash
from privguard.audit.record import Leaf, LeafError, columns, parse, subject_columns

STRETCH: Final = 8192
"""Leaves, a power of two: a whole stretch is one node of the tree."""
COMMITTER: Final = ("default", "privguard", "privguard:map:commit")
"""Tenant, actor and action of a leaf that commits a map; no other may."""

_RUN: Final = 256
_T = TypeVar("_T")

Row = Sequence[Any]
"""As a database gives it, nothing of it as it should be yet: index, ``record.Columns``, leaf hash, leaf."""
Link = tuple[int, str, int, int]
"""Index, token, k, prev."""


class Fault(NamedTuple):
    """The index of the first entry that is wrong, and how: ``verify.Verification`` has the kinds."""

    at: int
    kind: str


class Committed(NamedTuple):
    """A map's root (hex) as of ``size`` entries, as the leaf with an index says."""

    at: int
    size: int
    root: str


class Stretch(Struct):
    """What a stretch says, up to its first fault.

    Attributes:
        size: leaves that were read.
        edges: of the tree over the first so many leaves (``merkle.Tree``): of all, and of those asked for.
        first_us, last_us: log time of its ends; 0 of an empty one.
        links: of its clients, in order of index, one a client and leaf.
    """

    start: int
    size: int
    edges: dict[int, tuple[bytes, ...]]
    first_us: int
    last_us: int
    links: list[Link]
    maps: list[Committed]
    fault: Fault | None


def read_leaves(start: int, leaves: Sequence[bytes], sizes: Collection[int] = ()) -> Stretch:
    """Reads leaves from index ``start`` on.

    Args:
        sizes: of logs whose edges are wanted, if they end in this stretch.
    """
    reading = _Reading(start)
    reading.through(leaves, reading.bare)
    return reading.done(sizes)


def read_rows(
    start: int, stop: int, rows: Sequence[Row], subjects: Collection[Row], sizes: Collection[int] = ()
) -> Stretch:
    """Reads what a database has of the leaves from ``start`` to ``stop`` (exclusive); ``sizes`` as above.

    Args:
        rows: in order of index.
        subjects: (index, token, prev, view) of their clients, in any order.
    """
    reading = _Reading(start)
    reading.through(rows, reading.rows)
    if reading.fault is None and reading.next < stop:
        reading.fault = Fault(reading.next, "missing")
    if (differs := _first_difference(reading.subjects, subjects, reading.next)) is not None:
        reading.fault = Fault(differs, "columns")
    return reading.done(sizes)


def _first_difference(derived: Sequence[Row], kept: Collection[Row], stop: int) -> int | None:
    """The first index before ``stop`` whose clients differ."""
    if len(derived) == len(kept) and set(derived) == set(kept):
        return None
    one, other = Counter(map(tuple, derived)), Counter(map(tuple, kept))
    return min((int(row[0]) for row in (one - other) + (other - one) if row[0] < stop), default=None)


class _Reading:
    """Takes runs of leaves, one after the other.

    A run in which all is well costs two fifths of what its leaves cost one by one; in any other, they are
    taken one by one, and by the same rules, up to the first fault.
    """

    def __init__(self, start: int) -> None:
        self.next = start
        self.fault: Fault | None = None
        self.subjects: list[tuple[int, str, int, int]] = []
        self._start = start
        self._hashes: list[bytes] = []
        self._first_us = self._last_us = 0
        self._links: list[Link] = []
        self._maps: list[Committed] = []

    def through(self, each: Sequence[_T], take: Callable[[Sequence[_T]], str]) -> None:
        """Takes all of them, until there is a fault.

        Args:
            take: gives the kind of what is wrong in a run of them, or else nothing, and keeps what it says.
        """
        for at in range(0, len(each), _RUN):
            run = each[at : at + _RUN]
            if not take(run):
                continue
            for one in run:
                if kind := take((one,)):
                    self.fault = Fault(self.next, kind)
                    return

    def bare(self, run: Sequence[bytes]) -> str:
        return self._leaves(run, list(map(leaf_hash, run)), None) if _all_bytes(run) else "form"

    def rows(self, rows: Sequence[Row]) -> str:
        if any(row[0] != index for index, row in enumerate(rows, self.next)):
            return "missing"
        run = [row[-1] for row in rows]
        if not _all_bytes(run):
            return "edited"
        hashes = list(map(leaf_hash, run))
        if any(row[-2] != digest for row, digest in zip(rows, hashes, strict=True)):
            return "edited"
        return self._leaves(run, hashes, [row[1:-2] for row in rows])

    def _leaves(self, run: Sequence[bytes], hashes: list[bytes], repeated: list[Row] | None) -> str:
        start = self.next
        try:
            leaves = list(map(parse, run))
            subjects = [row for at, leaf in enumerate(leaves, start) for row in subject_columns(leaf, at)]
        except LeafError:
            return "form"
        times = [leaf.ts for leaf in leaves]
        if times[0] < self._last_us or times != sorted(times):
            return "time"
        links = [_links(leaf, at) for at, leaf in enumerate(leaves, start)]
        if None in links:
            return "chain"
        maps = [(at, leaf) for at, leaf in enumerate(leaves, start) if leaf.map is not None]
        if any((leaf.tenant, leaf.actor, leaf.action) != COMMITTER for _, leaf in maps):
            return "form"
        if repeated is not None and list(map(columns, leaves)) != repeated:
            return "columns"
        self._maps += [Committed(at, leaf.map.size, leaf.map.root) for at, leaf in maps if leaf.map]
        self._first_us = self._first_us if self._hashes else times[0]
        self._last_us = times[-1]
        self._links += chain.from_iterable(filter(None, links))
        self.subjects += subjects
        self._hashes += hashes
        self.next += len(run)
        return ""

    def done(self, sizes: Collection[int]) -> Stretch:
        start, count = self._start, len(self._hashes)
        ends = {count, *(size - start for size in sizes if start < size < self.next)}
        edges = {end: extend(Tree(), self._hashes[:end])[0].edge for end in ends}
        return Stretch(
            start, count, edges, self._first_us, self._last_us, self._links, self._maps, self.fault
        )


def _all_bytes(run: Sequence[object]) -> bool:
    return set(map(type, run)) == {bytes}  # SQLite keeps any type in any column


def _links(leaf: Leaf, index: int) -> Collection[Link] | None:
    """One for each client; None where a client has two."""
    groups = leaf.groups
    if len(groups) == 1 and len(groups[0].subjects) == 1:
        token, k, prev = groups[0].subjects[0]
        return ((index, token, k, prev),)
    links: dict[str, Link] = {}
    for group in groups:
        for token, k, prev in group.subjects:
            link = index, token, k, prev
            if links.setdefault(token, link) != link:
                return None
    return links.values()
