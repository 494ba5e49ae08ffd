"""Inclusion and consistency proofs (RFC 6962 §2.1), their making and their checking, and proof files.

What makes a proof reads the tree through ``Entries``; what checks one needs nothing but the proof.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

from msgspec import Struct

from privguard.audit.merkle import HASH_BYTES, TILE_HEIGHT, TILE_WIDTH, node_hash, parents

Entries = Callable[[int, int, int], Sequence[bytes]]
"""Hashes of entries ``start`` to ``stop`` (exclusive) of a tile level: of one tile, and all there."""

MAX_PROOF: Final = 63
MAX_SIZE: Final = (1 << 63) - 1
_KEPT: Final = 256
"""Hashed tiles; 9 MB."""
HEADER: Final = "c2sp.org/tlog-proof@v1"
_NUMBER: Final = re.compile("0|[1-9][0-9]{0,18}")
MAX_FILE: Final = 200_000
"""Bytes of a proof file."""


class ProofError(ValueError):
    """A proof that does not hold, or bytes that are none; says nothing of the content."""


class ProofFile(Struct, frozen=True):
    """A ``c2sp.org/tlog-proof@v1``: where an entry stands in a checkpoint's tree.

    Attributes:
        extra: application data, which nothing vouches for.
        checkpoint: the signed note, as bytes.
    """

    index: int
    path: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes = b""

    def __bytes__(self) -> bytes:
        lines = [HEADER, *([f"extra {_base64(self.extra)}"] if self.extra else []), f"index {self.index}"]
        return "\n".join([*lines, *map(_base64, self.path), "", ""]).encode() + self.checkpoint


def parse_proof(data: bytes) -> ProofFile:
    """Reads a proof file.

    Raises:
        ProofError: it is none.
    """
    head, gap, checkpoint = data.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise ProofError("not a proof") from None
    if not gap or len(data) > MAX_FILE or lines[:1] != [HEADER]:
        raise ProofError("not a proof")
    rest = lines[1:]
    extra = unbase64(rest.pop(0)[6:]) if rest and rest[0].startswith("extra ") else b""
    if not rest or not rest[0].startswith("index ") or not _NUMBER.fullmatch(rest[0][6:]):
        raise ProofError("a proof without an index")
    return ProofFile(int(rest[0][6:]), hashes(rest[1:]), checkpoint, extra)


def hashes(lines: Sequence[str]) -> tuple[bytes, ...]:
    """Reads hashes, one a line. Raises ProofError."""
    if len(lines) > MAX_PROOF:
        raise ProofError("a proof that is too long")
    path = tuple(map(unbase64, lines))
    if any(len(each) != HASH_BYTES for each in path):
        raise ProofError("a hash of another length")
    return path


# -- making -------------------------------------------------------------------------------------------------


def inclusion(index: int, size: int, entries: Entries) -> tuple[bytes, ...]:
    """The path from a leaf to the root of a tree (``PATH``, RFC 6962 §2.1.1).

    Raises:
        ProofError: the tree has no such leaf.
    """
    return _path(index, size, _roots(size, entries))


def inclusions(size: int, entries: Entries) -> Callable[[int], tuple[bytes, ...]]:
    """What gives the paths of many leaves of one tree: what they share is hashed once."""
    root = _roots(size, entries)
    return lambda index: _path(index, size, root)


def _path(index: int, size: int, root: Callable[[int, int], bytes]) -> tuple[bytes, ...]:
    if not 0 <= index < size:
        raise ProofError("there is no such leaf in this tree")
    low, high, path = 0, size, list[bytes]()
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            path.append(root(middle, high))
            high = middle
        else:
            path.append(root(low, middle))
            low = middle
    return tuple(reversed(path))


def consistency(old: int, size: int, entries: Entries) -> tuple[bytes, ...]:
    """The proof that a tree goes on from an older one (``PROOF``, RFC 6962 §2.1.2).

    Raises:
        ProofError: the older is larger.
    """
    if not 0 <= old <= size:
        raise ProofError("the older tree is larger")
    if old in (0, size):
        return ()
    root = _roots(size, entries)
    low, high, whole, path = 0, size, True, list[bytes]()
    while old != high:
        middle = low + _split(high - low)
        if old <= middle:
            path.append(root(middle, high))
            high = middle
        else:
            path.append(root(low, middle))
            low, whole = middle, False
    if not whole:
        path.append(root(low, high))
    return tuple(reversed(path))


def root_at(size: int, entries: Entries) -> bytes:
    """The root of the tree as it was at a size, 1 or more."""
    return _roots(size, entries)(0, size)


def edge_at(size: int, entries: Entries) -> tuple[bytes, ...]:
    """The edge (``merkle.Tree``) of the tree as it was at a size."""
    root, edge, low = _roots(size, entries), list[bytes](), 0
    for bit in range(size.bit_length() - 1, -1, -1):
        if size >> bit & 1:
            edge.append(root(low, low + (1 << bit)))
            low += 1 << bit
    return tuple(edge)


def _roots(size: int, entries: Entries) -> Callable[[int, int], bytes]:
    """What gives the hash of leaves ``low`` to ``high``, where ``low`` is a multiple of the subtree's size.

    A tile is hashed as a whole, and kept: a second leaf of it costs a thirtieth of the first.
    """

    @lru_cache(_KEPT)
    def tile(level: int, number: int) -> list[Sequence[bytes]]:
        start = number * TILE_WIDTH
        rows = [entries(level, start, min(start + TILE_WIDTH, size >> level * TILE_HEIGHT))]
        while len(rows[-1]) > 1:
            rows.append(parents(rows[-1][: len(rows[-1]) & ~1]))
        return rows

    @lru_cache(_KEPT)
    def root(low: int, high: int) -> bytes:
        height = (high - low).bit_length() - 1
        if high - low == 1 << height:
            level, within = divmod(height, TILE_HEIGHT)
            number, at = divmod(low >> level * TILE_HEIGHT, TILE_WIDTH)
            return tile(level, number)[within][at >> within]
        middle = low + _split(high - low)
        return node_hash(root(low, middle), root(middle, high))

    return root


def _split(width: int) -> int:
    """The largest power of two below a width of 2 or more."""
    return 1 << (width - 1).bit_length() - 1


# -- checking -----------------------------------------------------------------------------------------------


def check_inclusion(index: int, size: int, leaf_hash: bytes, path: Sequence[bytes], root: bytes) -> None:
    """Holds a path to a root (RFC 9162 §2.1.3.2).

    Raises:
        ProofError: it does not hold.
    """
    _sound(path, leaf_hash, root)
    if not 0 <= index < size <= MAX_SIZE:
        raise ProofError("there is no such leaf in this tree")
    node, last, found = index, size - 1, leaf_hash
    for each in path:
        if last == 0:
            raise ProofError("a proof that is too long")
        if node & 1 or node == last:
            found = node_hash(each, found)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            found = node_hash(found, each)
        node, last = node >> 1, last >> 1
    if last or found != root:
        raise ProofError("the proof does not lead to the root")


def check_consistency(old: int, size: int, path: Sequence[bytes], old_root: bytes, root: bytes) -> None:
    """Holds a tree to an older one (RFC 9162 §2.1.4.2).

    Raises:
        ProofError: it does not go on from that.
    """
    _sound(path, old_root, root)
    if not 0 < old <= size <= MAX_SIZE:
        raise ProofError("the older tree is empty or larger")
    if old == size:
        if path or old_root != root:
            raise ProofError("two trees of one size differ")
        return
    if not path:
        raise ProofError("there is no proof")
    rest = list(path) if old & (old - 1) else [old_root, *path]
    node, last = old - 1, size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    before = after = rest[0]
    for each in rest[1:]:
        if last == 0:
            raise ProofError("a proof that is too long")
        if node & 1 or node == last:
            before, after = node_hash(each, before), node_hash(each, after)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            after = node_hash(after, each)
        node, last = node >> 1, last >> 1
    if last or before != old_root or after != root:
        raise ProofError("the tree does not go on from the older one")


def _sound(path: Sequence[bytes], *more: bytes) -> None:
    if len(path) > MAX_PROOF or any(len(each) != HASH_BYTES for each in (*path, *more)):
        raise ProofError("a proof that is too long, or holds something that is no hash")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def unbase64(text: str) -> bytes:
    """Base64 in its one spelling. Raises ProofError."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ProofError("not base64") from None
    if _base64(data) != text:
        raise ProofError("not base64")
    return data
