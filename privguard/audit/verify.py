"""The offline auditor: checks a log against sizes and roots that it got elsewhere. Imports no store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from msgspec import Struct

from privguard.audit.floor import WHOLE, Start
from privguard.audit.merkle import Tree, extend
from privguard.audit.proof import ProofError
from privguard.audit.record import UNSEEN, Head, LeafError, parse
from privguard.audit.stretch import STRETCH, Committed, Fault, Link, Stretch, read_leaves
from privguard.audit.verifiable_map import EMPTY_ROOT, Page, bucket_of, hash_bucket, hash_page, updated

_MAP = b'"map":{'
"""Every leaf that commits a map holds this: within a text its quotation marks would be escaped."""


class Verification(Struct, frozen=True):
    """What the check found.

    Attributes:
        size, root: of the entries as they were read; up to the first bad one, if there is one, whose log has
            no root (empty).
        first_bad: index of the first entry that is wrong, and ``kind`` says how:
            ``form`` it is no leaf, or commits a map and is not the log's own; ``time`` its log time is less
            than the one before; ``chain`` a client's number or previous entry does not follow; ``missing``
            the log ends before the size that was asked for, or has no row of this index; ``extra`` it goes
            on after; ``root``, ``forked`` every entry is well formed, yet the root differs (first_bad is
            None: some entry was changed); ``map`` the map that was committed as of so many entries is not
            theirs; ``floor`` the prune floor is not the one that the log says, or its clients are not those;
            ``ends`` a client's chain does not end where the database says, so reports would leave out this
            entry; ``edited`` the leaf of a row is not what was hashed; ``reordered`` another row's leaf
            stands there; ``columns`` a row repeats something else of its leaf.
    """

    size: int
    root: bytes
    ok: bool
    first_bad: int | None = None
    kind: str = ""


class Pin(NamedTuple):
    """What the log must be at a size; ``kind`` says how it is wrong if its root (32 bytes) is another."""

    size: int
    root: bytes
    kind: str = "root"


def verify_log(
    read: Callable[[], Iterable[bytes]], size: int, root: bytes, begin: Start = WHOLE
) -> Verification:
    """Checks the exact bytes of all leaves, in order, against a root (RFC 6962, 32 bytes).

    Memory grows with the number of clients and of maps, not of entries.

    Args:
        read: gives the leaves; called twice, the first time to see of which sizes maps were committed.
        begin: where they begin, if there is a prune floor.
    """
    leaves, floor = iter(read()), begin.floor
    stretches = _stretches(islice(leaves, max(0, size - floor)), floor)
    found = join(stretches, [Pin(size, root)], map_sizes(read()), begin)
    if found.ok and next(leaves, None) is not None:
        return Verification(size, b"", False, size, "extra")
    return found


def join(
    stretches: Iterable[Stretch],
    pins: Sequence[Pin],
    map_sizes: Iterable[int],
    begin: Start = WHOLE,
    ends: Callable[[], Iterable[tuple[str, int, int]]] | None = None,
) -> Verification:
    """Checks a log that was read in whole stretches (``STRETCH``), in order; what comes first is named.

    Args:
        pins: one at least; the edges of their sizes are in the stretches.
        map_sizes: as of which maps were committed. They are trusted for nothing: a map of another is wrong.
        begin: whose heads the log says (``floor.agrees``); maps from before it cannot be made again.
        ends: where a database says that clients' chains end (token, number, index); read after the entries.
    """
    log = _Log(map_sizes, begin)
    size = max(pin.size for pin in pins)
    if min(pin.size for pin in pins) < begin.floor:
        return Verification(begin.floor, b"", False, None, "floor")
    for stretch in stretches:
        if (fault := log.join(stretch, pins)) is not None:
            first_bad = None if fault.kind in {pin.kind for pin in pins} else fault.at
            return Verification(fault.at, b"", False, first_bad, fault.kind)
    if log.tree.size < size:
        return Verification(log.tree.size, b"", False, log.tree.size, "missing")
    if ends is not None and (last := log.misled(ends())) is not None:
        return Verification(size, b"", False, last, "ends")
    return Verification(size, log.tree.root(), True)


def _stretches(leaves: Iterator[bytes], start: int) -> Iterator[Stretch]:
    while True:
        stretch = read_leaves(start, list(islice(leaves, STRETCH)))
        yield stretch
        start += stretch.size
        if stretch.size < STRETCH:
            return


def map_sizes(leaves: Iterable[bytes]) -> Iterator[int]:
    """As of how many entries leaves commit maps."""
    for data in leaves:
        if isinstance(data, bytes) and _MAP in data:  # a database may give anything
            try:
                committed = parse(data).map
            except LeafError:
                continue  # who reads it again will say so
            if committed is not None:
                yield committed.size


class _Log:
    """What is known of the entries by now."""

    def __init__(self, map_sizes: Iterable[int], begin: Start) -> None:
        self.tree = Tree(begin.floor, begin.edge)
        self._time_us = 0
        self._floor = begin.floor
        self._heads: dict[str, Head] = dict(begin.heads)
        self._maps = _Maps(map_sizes, self._heads, begin.floor)

    def join(self, stretch: Stretch, pins: Iterable[Pin]) -> Fault | None:
        """Adds a stretch to it; gives the first fault there is."""
        start, end = stretch.start, stretch.start + stretch.size
        faults = [(fault.at, fault) for fault in (stretch.fault, self._chain(stretch.links)) if fault]
        if stretch.size and stretch.first_us < self._time_us:
            faults.append((start, Fault(start, "time")))
        self._time_us = max(self._time_us, stretch.last_us)
        for pin in pins:
            if start < pin.size <= end or pin.size == start == self._floor:
                edge = stretch.edges[pin.size - start] if pin.size > start else ()
                if Tree(pin.size, self.tree.edge + edge).root() != pin.root:
                    faults.append((pin.size - 1, Fault(pin.size, pin.kind)))
        self._maps.close(end)
        faults += [(each.at, Fault(each.size, "map")) for each in stretch.maps if not self._maps.agree(each)]
        self.tree = _joined(self.tree, stretch)
        return min(faults)[1] if faults else None

    def misled(self, ends: Iterable[tuple[str, int, int]]) -> int | None:
        """The last entry of a client whose chain is said to end elsewhere, or of whom nothing is said."""
        left = dict(self._heads)
        for token, count, index in ends:
            head = left.pop(token, UNSEEN)
            if index < self.tree.size and head != (count, index):  # others came since
                return max(head[1], 0)
        return next((index for _, index in left.values()), None)

    def _chain(self, links: Iterable[Link]) -> Fault | None:
        heads, maps = self._heads, self._maps
        for index, token, k, prev in links:
            if index >= maps.next:
                maps.close(index)
            head = heads.get(token, UNSEEN)
            if head[1] != prev or head[0] + 1 != k:
                return Fault(index, "chain")
            if prev < 0:
                maps.add(token)
            heads[token] = (k, index)
            maps.touched.add(token[:3])
        return None


def _joined(tree: Tree, stretch: Stretch) -> Tree:
    edge = stretch.edges[stretch.size]
    if stretch.size < STRETCH:  # the last one
        return Tree(tree.size + stretch.size, tree.edge + edge)
    above, _ = extend(Tree(tree.size // STRETCH, tree.edge), edge)
    return Tree(tree.size + STRETCH, above.edge)


class _Maps:
    """The map (``verifiable_map``) as of each size at which one was committed.

    Attributes:
        next: the next such size, beyond all indexes after the last.
        touched: prefixes of buckets that were added to since the map before.
    """

    def __init__(self, sizes: Iterable[int], heads: dict[str, Head], floor: int) -> None:
        self._floor = floor
        self._sizes = sorted({size for size in sizes if size >= floor}, reverse=True)
        self.next = self._sizes.pop() if self._sizes else 1 << 64
        self.touched: set[str] = set()
        self._heads = heads
        self._buckets: dict[str, list[str]] = {}
        self._pages: dict[str, Page] = {}
        self._roots: dict[int, str] = {}
        for token in heads:
            self.add(token)
            self.touched.add(token[:3])

    def add(self, token: str) -> None:
        """A client that was not there before."""
        self._buckets.setdefault(token[:3], []).append(token)

    def close(self, size: int) -> None:
        """Says that the heads are those of a log of this size."""
        while self.next <= size:
            self._roots[self.next] = self._root()
            self.next = self._sizes.pop() if self._sizes else 1 << 64

    def agree(self, committed: Committed) -> bool:
        """Whether a map is that of the entries, which all stand before its leaf."""
        if committed.size < self._floor:
            return True  # its clients' heads are sealed away: nobody can make it again here
        return committed.size <= committed.at and self._roots.get(committed.size) == committed.root

    def _root(self) -> str:
        try:
            buckets = {prefix: self._hash(prefix) for prefix in self.touched}
        except ProofError:  # what is no token has no place in a map
            return ""
        self._pages.update(updated(self._pages, buckets))
        self.touched.clear()
        return (hash_page(self._pages[""]) if self._pages else EMPTY_ROOT).hex()

    def _hash(self, prefix: str) -> bytes:
        tokens = sorted(self._buckets[prefix])
        for token in tokens:
            bucket_of(token)
        return hash_bucket((token, *self._heads[token]) for token in tokens)
