from __future__ import annotations

import hashlib
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privguard.audit.merkle import EMPTY_ROOT, Tile, Tree, begun, extend, leaf_hash, needed, root_of, tree_of

# transparency-dev/merkle (Apache-2.0), testonly/constants.go: the inputs and roots of Certificate
# Transparency's reference tests, which implement RFC 6962 §2.1.
LEAVES = [
    bytes.fromhex(leaf)
    for leaf in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


@pytest.mark.parametrize("size", range(9))
def test_roots_are_those_of_certificate_transparency(size: int) -> None:
    assert root_of(LEAVES[:size]) == (size, bytes.fromhex(ROOTS[size]))


def mth(hashes: list[bytes]) -> bytes:
    """RFC 6962 §2.1, word for word, over leaf hashes."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return hashlib.sha256(b"\x01" + mth(hashes[:split]) + mth(hashes[split:])).digest()


def numbered(count: int, start: int = 0) -> list[bytes]:
    return [leaf_hash(str(number).encode()) for number in range(start, start + count)]


class Shelf:
    """Keeps what a store would keep: the leaf hashes and the full tiles."""

    def __init__(self) -> None:
        self.tree = Tree()
        self.hashes: list[bytes] = []
        self.tiles: list[Tile] = []

    def level(self, number: int) -> list[bytes]:
        return [tile.root for tile in self.tiles if tile.level == number - 1] if number else self.hashes

    def append(self, hashes: list[bytes]) -> None:
        spans = needed(self.tree, len(hashes))
        held = {span.level: self.level(span.level)[span.start : span.stop] for span in spans}
        self.tree, tiles = extend(self.tree, hashes, held)
        self.hashes += hashes
        self.tiles += tiles


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 700), max_size=6))
def test_however_it_is_appended_the_tree_is_the_recursive_definition(batches: list[int]) -> None:
    shelf = Shelf()
    for count in batches:
        shelf.append(numbered(count, len(shelf.hashes)))
        assert shelf.tree.size == len(shelf.hashes)
        assert shelf.tree.root() == mth(shelf.hashes)
        assert len(shelf.tree.edge) == shelf.tree.size.bit_count()
    assert [(tile.level, tile.n) for tile in shelf.tiles] == [(0, n) for n in range(len(shelf.hashes) // 256)]
    for tile in shelf.tiles:
        entries = shelf.hashes[256 * tile.n : 256 * (tile.n + 1)]
        assert tile.data == b"".join(entries)
        assert tile.root == mth(entries)


def test_tiles_of_the_second_level_are_made_of_the_first_levels_roots() -> None:
    shelf = Shelf()
    steps = [0, 1, 255, 256, 65_535, 65_536, 65_537, 131_071, 131_080]
    hashes = numbered(steps[-1])
    for start, stop in pairwise(steps):
        shelf.append(hashes[start:stop])
    upper = [tile for tile in shelf.tiles if tile.level == 1]
    assert [tile.n for tile in upper] == [0, 1][: steps[-1] // 65_536]
    assert upper[0].data == b"".join(shelf.level(1)[:256])
    assert upper[0].root == mth(hashes[:65_536])
    assert len(upper[0].data) == 8192
    assert shelf.tree.root() == mth(hashes)
    held = {span.level: shelf.level(span.level)[span.start : span.stop] for span in begun(shelf.tree.size)}
    assert tree_of(shelf.tree.size, held) == shelf.tree


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2000))
def test_the_edge_is_made_again_from_begun_tiles(size: int) -> None:
    shelf = Shelf()
    shelf.append(numbered(size))
    held = {span.level: shelf.level(span.level)[span.start : span.stop] for span in begun(size)}
    assert all(0 < len(hashes) < 256 for hashes in held.values())
    assert tree_of(size, held) == shelf.tree


@given(st.binary(max_size=9000))
def test_a_leaf_hash_is_that_of_the_rfc_whatever_the_length(leaf: bytes) -> None:
    assert leaf_hash(leaf) == hashlib.sha256(b"\x00" + leaf).digest()


def test_the_empty_tree() -> None:
    assert Tree().root() == EMPTY_ROOT
    assert extend(Tree(), [], {}) == (Tree(), [])
    assert list(needed(Tree(), 255)) == []
    assert list(begun(0)) == []
