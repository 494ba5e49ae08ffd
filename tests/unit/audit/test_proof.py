"""Inclusion and consistency proofs: the published vectors, and laws over all small trees (RFC 6962 §2.1)."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privguard.audit import proof, tiles
from privguard.audit.merkle import Span, leaf_hash, node_hash, root_of
from privguard.audit.proof import ProofError, ProofFile, check_consistency, check_inclusion, parse_proof

VECTORS = list(map(json.loads, (Path(__file__).parents[2] / "vectors/merkle.jsonl").read_text().splitlines()))


def _bytes(text: str | None) -> bytes:
    return base64.b64decode(text or "")


def _holds(case: dict[str, Any]) -> bool:
    path = [_bytes(each) for each in case["proof"] or ()]
    try:
        if case["kind"] == "inclusion":
            check_inclusion(
                case["leafIdx"], case["treeSize"], _bytes(case["leafHash"]), path, _bytes(case["root"])
            )
        else:
            roots = _bytes(case["root1"]), _bytes(case["root2"])
            check_consistency(case["size1"], case["size2"], path, *roots)
    except ProofError:
        return False
    return True


@pytest.mark.parametrize("case", VECTORS, ids=lambda case: case["case"].removeprefix("testdata/"))
def test_published_vectors(case: dict[str, Any]) -> None:
    expected = not case["wantErr"]
    odd = case["kind"] == "consistency" and any(len(_bytes(case[root])) != 32 for root in ("root1", "root2"))
    if odd and expected:  # equal texts as roots of trees of one size: L14 asks for hashes of 32 bytes
        assert case["root1"] == case["root2"]
        assert case["size1"] == case["size2"]
        expected = False
    assert _holds(case) is expected


def test_there_are_98_vectors_of_each_kind() -> None:
    kinds = [case["kind"] for case in VECTORS]
    assert (kinds.count("inclusion"), kinds.count("consistency")) == (98, 98)


class Grown:
    """A tree whose every entry is computed from its leaves, without any of the code under test but the hashes."""

    def __init__(self, size: int) -> None:
        self.leaves = [b"%d" % number for number in range(size)]
        self.hashes = [leaf_hash(leaf) for leaf in self.leaves]

    def entries(self, level: int, start: int, stop: int) -> Sequence[bytes]:
        width = 256**level
        assert stop * width <= len(self.leaves), "asked for what is not whole"
        return [self._perfect(self.hashes[at * width : (at + 1) * width]) for at in range(start, stop)]

    def _perfect(self, row: list[bytes]) -> bytes:
        while len(row) > 1:
            row = [node_hash(*pair) for pair in zip(row[::2], row[1::2], strict=True)]
        return row[0]

    def root(self, size: int) -> bytes:
        return root_of(self.leaves[:size])[1]


TREE = Grown(1_000)
SIZES = [*range(1, 18), 255, 256, 257, 511, 512, 513, 777, 1_000]


@pytest.mark.parametrize("size", SIZES)
def test_every_leaf_of_a_tree_has_its_proof_and_no_other(size: int) -> None:
    root = TREE.root(size)
    assert proof.root_at(size, TREE.entries) == root
    many = proof.inclusions(size, TREE.entries)
    for index in range(size) if size < 20 else (0, 1, 254, 255, 256, size // 2, size - 2, size - 1):
        if index >= size:
            continue
        path = proof.inclusion(index, size, TREE.entries)
        check_inclusion(index, size, TREE.hashes[index], path, root)
        assert many(index) == path
        wrong = [
            (index + 1, size, TREE.hashes[index], path, root),
            (index, size, TREE.hashes[(index + 1) % 1000], path, root),
            (index, size, TREE.hashes[index], (*path, root), root),
            (index, size, TREE.hashes[index], path, TREE.hashes[3]),
        ]
        wrong += [(index, size, TREE.hashes[index], path[:-1], root)] if path else []
        wrong += [(index, size, TREE.hashes[index], path[::-1], root)] if path[::-1] != path else []
        for each in wrong:
            with pytest.raises(ProofError):
                check_inclusion(*each)


@pytest.mark.parametrize("size", SIZES)
def test_every_older_tree_is_gone_on_from_and_no_other(size: int) -> None:
    for old in range(1, size + 1) if size < 20 else (1, 2, 255, 256, 257, size // 2, size - 1, size):
        if old > size:
            continue
        path = proof.consistency(old, size, TREE.entries)
        check_consistency(old, size, path, TREE.root(old), TREE.root(size))
        wrong = [
            (old, size, (*path, TREE.hashes[0]), TREE.root(old), TREE.root(size)),
            (old, size, path, TREE.hashes[5], TREE.root(size)),
            (old, size, path, TREE.root(old), TREE.hashes[5]),
            (old + 1, size, path, TREE.root(old), TREE.root(size)),
        ]
        wrong += [(old, size, path[1:], TREE.root(old), TREE.root(size))] if path else []
        for each in wrong:
            with pytest.raises(ProofError):
                check_consistency(*each)


def test_a_proof_of_nothing_is_refused() -> None:
    for index, size in ((0, 0), (1, 1), (-1, 1)):
        with pytest.raises(ProofError):
            proof.inclusion(index, size, TREE.entries)
    for old, size in ((2, 1), (-1, 1)):
        with pytest.raises(ProofError):
            proof.consistency(old, size, TREE.entries)
    assert proof.consistency(0, 5, TREE.entries) == ()
    with pytest.raises(ProofError):
        check_consistency(0, 5, (), TREE.root(1), TREE.root(5))


_odd_hashes = st.lists(st.binary(max_size=33) | st.binary(min_size=32, max_size=32), max_size=70)
_odd_numbers = st.integers(-5, 2**70) | st.integers(0, 10)


@given(_odd_numbers, _odd_numbers, _odd_hashes, st.binary(max_size=40), st.binary(max_size=40))
def test_l14_hostile_proofs_are_refused(
    index: int, size: int, path: list[bytes], leaf: bytes, root: bytes
) -> None:
    """Lengths, an index beyond the size, size 0, huge integers, hashes of another length."""
    for check in (
        lambda: check_inclusion(index, size, leaf, path, root),
        lambda: check_consistency(index, size, path, leaf, root),
    ):
        with contextlib.suppress(ProofError):
            check()
            assert len(leaf) == len(root) == 32
            assert leaf == root


# -- proof files --------------------------------------------------------------------------------------------


def test_a_proof_file_reads_as_it_was_written() -> None:
    """C2SP tlog-proof: header, extra, index, hashes, an empty line, the checkpoint."""
    path = proof.inclusion(5, 9, TREE.entries)
    made = ProofFile(5, path, b"origin\n9\nroot\n\n\xe2\x80\x94 origin sig\n", b"extra data")
    lines = bytes(made).split(b"\n")
    assert lines[:3] == [b"c2sp.org/tlog-proof@v1", b"extra ZXh0cmEgZGF0YQ==", b"index 5"]
    assert lines[3] == base64.b64encode(path[0])
    assert parse_proof(bytes(made)) == made
    plain = ProofFile(0, (), b"origin\n1\nroot\n\nx")
    assert parse_proof(bytes(plain)) == plain
    assert bytes(plain).startswith(b"c2sp.org/tlog-proof@v1\nindex 0\n\norigin\n")


@pytest.mark.parametrize(
    "wrong",
    [
        b"", b"c2sp.org/tlog-proof@v1", b"c2sp.org/tlog-proof@v2\nindex 1\n\nx", b"c2sp.org/tlog-proof@v1\n\nx",
        b"c2sp.org/tlog-proof@v1\nindex 01\n\nx", b"c2sp.org/tlog-proof@v1\nindex -1\n\nx",
        b"c2sp.org/tlog-proof@v1\nindex 99999999999999999999\n\nx", b"c2sp.org/tlog-proof@v1\nindex 1\nQQ==\n\nx",
        b"c2sp.org/tlog-proof@v1\nextra !\nindex 1\n\nx", b"c2sp.org/tlog-proof@v1\nindex 1\nextra QQ==\n\nx",
        b"c2sp.org/tlog-proof@v1\nindex 1\n" + b"A" * 43 + b"=\n\n\xff"[:0] + b"\n", b"\xff\n\nx",
        b"c2sp.org/tlog-proof@v1\nindex 1\n" + (b"A" * 43 + b"=\n") * 64 + b"\nx",
        b"c2sp.org/tlog-proof@v1\r\nindex 1\n\nx", b"c2sp.org/tlog-proof@v1\nindex 1\n" + b"A" * 42 + b"B=\n\nx",
        b"c2sp.org/tlog-proof@v1\nindex 1\n\n" + b"x" * 200_000,
    ],
)  # fmt: skip
def test_l14_what_is_no_proof_file_is_refused(wrong: bytes) -> None:
    with pytest.raises(ProofError):
        parse_proof(wrong)


@given(st.binary(max_size=300))
def test_l14_any_bytes_are_a_proof_file_or_refused(data: bytes) -> None:
    for each in (data, b"c2sp.org/tlog-proof@v1\nindex " + data):
        with contextlib.suppress(ProofError):
            assert bytes(parse_proof(each)) == each


# -- tiles --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "span"),
    [
        ("tile/0/000", Span(0, 0, 256)), ("tile/0/001.p/5", Span(0, 256, 261)), ("tile/1/255", Span(1, 65_280, 65_536)),
        ("tile/0/x001/234", Span(0, 1234 * 256, 1235 * 256)), ("tile/7/x001/x234/067", Span(7, 1234067 * 256, 1234068 * 256)),
        ("tile/3/x001/000.p/255", Span(3, 256_000, 256_255)),
    ],
)  # fmt: skip
def test_tiles_have_paths(path: str, span: Span) -> None:
    """C2SP tlog-tiles, "Merkle tree": the example of 1234067 is the document's."""
    assert tiles.span_of(path) == span
    assert tiles.path_of(span) == path


@pytest.mark.parametrize(
    "wrong",
    [
        "", "tile/0", "tile/0/1", "tile/0/0000", "tile/00/000", "tile/8/000", "tile/0/x000/001", "tile/0/001/002",
        "tile/0/000.p/256", "tile/0/000.p/0", "tile/0/000.p/01", "tile/0/000.p/", "tile/-1/000", "tile/0/../../x",
        "tile/0/" + "x001/" * 9 + "001", "tile/entries/000", "tile/0/٠٠٠", "tile/0/000\n",
    ],
)  # fmt: skip
def test_l14_what_is_no_tile_is_refused(wrong: str) -> None:
    with pytest.raises(tiles.TileError):
        tiles.span_of(wrong)


@given(st.integers(0, 7), st.integers(0, 2**50), st.integers(1, 256))
def test_a_tiles_path_reads_as_it_was_written(level: int, number: int, width: int) -> None:
    span = Span(level, number * 256, number * 256 + width)
    assert tiles.span_of(tiles.path_of(span)) == span
    assert tiles.within(span, span.stop << 8 * level)
    assert not tiles.within(span, (span.stop << 8 * level) - 1)
