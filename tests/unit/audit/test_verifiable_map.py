"""The map from clients to their entries, against its plainest definition (docs/reference/map.md)."""

from __future__ import annotations

import json
from hashlib import sha256
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privguard.audit.proof import ProofError
from privguard.audit.verifiable_map import (
    ALPHABET,
    EMPTY_ROOT,
    Entry,
    MapProof,
    Page,
    bucket_of,
    check_map,
    hash_bucket,
    hash_page,
    prove,
    updated,
)

VECTORS = json.loads((Path(__file__).parents[2] / "vectors/map.json").read_text())


def plain_root(entries: list[Entry]) -> bytes:
    """The definition, word for word: 262,144 buckets in order, and a binary tree over them."""
    held: dict[str, list[Entry]] = {}
    for entry in sorted(entries):
        held.setdefault(entry[0][:3], []).append(entry)
    empty = sha256(b"\x02").digest()
    row = [
        sha256(
            b"\x02"
            + b"".join(t.encode() + c.to_bytes(8, "big") + i.to_bytes(8, "big") for t, c, i in held[name])
        ).digest()
        if (name := "".join(chars)) in held
        else empty
        for chars in product(ALPHABET, repeat=3)
    ]
    while len(row) > 1:
        row = [sha256(b"\x01" + row[at] + row[at + 1]).digest() for at in range(0, len(row), 2)]
    return row[0]


class Map:
    """A map that is brought up step by step."""

    def __init__(self) -> None:
        self.heads: dict[str, tuple[int, int]] = {}
        self.pages: dict[str, Page] = {}
        self.root = EMPTY_ROOT

    def bucket(self, prefix: str) -> list[Entry]:
        return sorted((t, *head) for t, head in self.heads.items() if t[:3] == prefix)

    def put(self, *entries: Entry) -> None:
        self.heads.update({t: (count, last) for t, count, last in entries})
        buckets = {prefix: hash_bucket(self.bucket(prefix)) for prefix in {t[:3] for t, _, _ in entries}}
        self.pages.update(updated(self.pages, buckets))
        self.root = hash_page(self.pages[""])

    def prove(self, token: str) -> MapProof:
        return prove(token, self.bucket(token[:3]), self.pages)


tokens = st.text(st.sampled_from(ALPHABET), min_size=22, max_size=22) | st.text(
    st.sampled_from("-z"), min_size=22, max_size=22
)
entries = st.tuples(tokens, st.integers(1, 2**62), st.integers(0, 2**62))


def test_the_vectors_agree_with_the_definition_and_with_us() -> None:
    for case in VECTORS["maps"]:
        held = [tuple(entry) for entry in case["entries"]]
        made = Map()
        for entry in held:
            made.put(entry)
        assert made.root.hex() == case["root"]
    assert (
        plain_root([tuple(entry) for entry in VECTORS["maps"][-1]["entries"]]).hex()
        == VECTORS["maps"][-1]["root"]
    )
    for case in VECTORS["proofs"]:
        bucket = tuple((token, count, last) for token, count, last in case["bucket"])
        proof = MapProof(bucket, tuple(map(bytes.fromhex, case["path"])))
        head = check_map(case["token"], proof, bytes.fromhex(case["root"]))
        assert (None if head is None else list(head)) == case["head"]


@given(st.lists(st.lists(entries, min_size=1, max_size=4), max_size=4), tokens)
def test_what_was_put_is_proved_and_nothing_else(batches: list[list[Entry]], other: str) -> None:
    made = Map()
    for batch in batches:
        made.put(*batch)
    for token in {*made.heads, other}:
        assert check_map(token, made.prove(token), made.root) == made.heads.get(token)
    again = Map()
    if made.heads:
        again.put(*((t, count, last) for t, (count, last) in made.heads.items()))
    assert again.root == made.root, "the root depends on what is in the map alone, not on how it came there"


@given(st.lists(entries, min_size=1, max_size=5), st.data())
def test_l14_a_proof_that_says_something_else_does_not_hold(held: list[Entry], data: st.DataObject) -> None:
    made = Map()
    made.put(*held)
    token = data.draw(st.sampled_from(sorted(made.heads)))
    good = made.prove(token)
    at = data.draw(st.integers(0, 17))
    wrong = [
        MapProof(tuple(e for e in good.bucket if e[0] != token), good.path),
        MapProof(tuple((t, c + 1, i) if t == token else (t, c, i) for t, c, i in good.bucket), good.path),
        MapProof(good.bucket * 2, good.path),
        MapProof(good.bucket, good.path[:-1]),
        MapProof(good.bucket, (*good.path, b"\0" * 32)),
        MapProof(good.bucket, (*good.path[:at], b"\0" * 32, *good.path[at + 1 :])),
        MapProof(good.bucket, (*good.path[:at], good.path[at][:12], *good.path[at + 1 :])),
        MapProof((("x" * 22, 0, 0), *good.bucket), good.path),
    ]
    for each in wrong:
        with pytest.raises(ProofError):
            check_map(token, each, made.root)


@pytest.mark.parametrize("wrong", ["", "x" * 21, "x" * 23, "=" * 22, "é" * 22, "x" * 21 + "\n"])
def test_l14_what_is_no_token_is_refused(wrong: str) -> None:
    with pytest.raises(ProofError):
        bucket_of(wrong)
    with pytest.raises(ProofError):
        check_map(wrong, Map().prove("x" * 22), EMPTY_ROOT)
