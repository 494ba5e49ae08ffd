"""The tree over the leaves: RFC 6962 SHA-256 hashes, and C2SP tlog-tiles of height 8.

A tree of ``size`` leaves is carried on by its *edge*: the roots of its perfect subtrees, largest first, one
for each 1 in the binary digits of ``size``. Entry ``n`` of tile level ``t`` is the root of leaves
``[n·256ᵗ, (n+1)·256ᵗ)``; a full tile is 256 entries, 8192 bytes, and never changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import count, islice
from typing import Final

from msgspec import Struct

HASH_BYTES: Final = 32
TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 256
EMPTY_ROOT: Final = sha256(b"").digest()

# hashlib lets go of the interpreter lock for 2048 bytes or more, and taking it back from a busy event loop
# can cost 5 ms a leaf; smaller pieces keep it.
_PIECE: Final = 2047


class Span(Struct, frozen=True):
    """Entries ``start`` to ``stop`` (exclusive) of a tile level."""

    level: int
    start: int
    stop: int


class Tile(Struct, frozen=True):
    """A full tile; ``root`` is the hash of all its leaves, an entry of the level above."""

    level: int
    n: int
    data: bytes
    root: bytes


class Tree(Struct, frozen=True):
    """Enough of a tree to append to it: its size and its edge."""

    size: int = 0
    edge: tuple[bytes, ...] = ()

    def root(self) -> bytes:
        """RFC 6962 Merkle tree hash (32 bytes)."""
        if not self.edge:
            return EMPTY_ROOT
        root = self.edge[-1]
        for left in self.edge[-2::-1]:
            root = node_hash(left, root)
        return root


def leaf_hash(leaf: bytes) -> bytes:
    """MTH({d}), RFC 6962 §2.1."""
    if len(leaf) < _PIECE:
        return sha256(b"\x00" + leaf).digest()
    digest = sha256(b"\x00" + leaf[: _PIECE - 1])
    for start in range(_PIECE - 1, len(leaf), _PIECE):
        digest.update(leaf[start : start + _PIECE])
    return digest.digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node, RFC 6962 §2.1."""
    return sha256(b"\x01" + left + right).digest()


def parents(row: Sequence[bytes]) -> list[bytes]:
    """The nodes above an even row of nodes; ``node_hash`` written out, for to call it costs as much again."""
    return [sha256(b"\x01" + left + right).digest() for left, right in zip(row[::2], row[1::2], strict=True)]


def needed(tree: Tree, leaves: int) -> Iterator[Span]:
    """What must be handed to ``extend`` with so many more ``leaves``: begun tiles that they will fill."""
    for level in count():
        start = tree.size >> level * TILE_HEIGHT
        stop = (tree.size + leaves) >> level * TILE_HEIGHT
        begun = start - start % TILE_WIDTH
        if stop < begun + TILE_WIDTH:
            return
        if begun < start:
            yield Span(level, begun, start)


def begun(size: int) -> Iterator[Span]:
    """The entries of every tile that is begun and not full, from level 0 up."""
    for level in range(64 // TILE_HEIGHT):
        stop = size >> level * TILE_HEIGHT
        if stop % TILE_WIDTH:
            yield Span(level, stop - stop % TILE_WIDTH, stop)


def tree_of(size: int, held: Mapping[int, Sequence[bytes]]) -> Tree:
    """The tree of a size, from the hashes of every span that ``begun`` names."""
    edge = [node for level in sorted(held, reverse=True) for node in extend(Tree(), held[level])[0].edge]
    return Tree(size, tuple(edge))


def extend(
    tree: Tree, hashes: Sequence[bytes], held: Mapping[int, Sequence[bytes]] | None = None
) -> tuple[Tree, list[Tile]]:
    """Appends leaf hashes, and makes the tiles that they fill.

    Args:
        held: by tile level, the hashes of each span that ``needed`` names; None where no tiles are wanted.
    """
    edge = list(tree.edge)
    grown: list[bytes] = []
    tiles: list[Tile] = []
    filled: list[bytes] = []
    row, start, height = list(hashes), tree.size, 0
    while start or row:
        level, within = divmod(height, TILE_HEIGHT)
        if within == 0 and held is not None:
            tiles.extend(
                Tile(level - 1, n, data, root)
                for n, (data, root) in enumerate(zip(filled, row, strict=bool(filled)), start)
            )
            filled = _filled([*held.get(level, ()), *row])
        if start & 1:
            row.insert(0, edge.pop())
        if len(row) & 1:
            grown.append(row.pop())
        row = parents(row)
        start, height = start >> 1, height + 1
    return Tree(tree.size + len(hashes), tuple(reversed(grown))), tiles


def root_of(leaves: Iterable[bytes]) -> tuple[int, bytes]:
    """Size and root of the tree over these leaves, in memory that does not grow with their number."""
    tree = Tree()
    leaves = iter(leaves)
    while batch := [leaf_hash(leaf) for leaf in islice(leaves, TILE_WIDTH)]:
        tree, _ = extend(tree, batch)
    return tree.size, tree.root()


def _filled(entries: list[bytes]) -> list[bytes]:
    whole = len(entries) - len(entries) % TILE_WIDTH
    return [b"".join(entries[at : at + TILE_WIDTH]) for at in range(0, whole, TILE_WIDTH)]
