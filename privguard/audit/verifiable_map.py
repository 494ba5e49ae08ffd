"""An authenticated map from clients' tokens to (count, last index): who stands in the log, and how often.

A report about a client shows entries; the map shows that there are no others. Its root goes into the log as a
leaf, so whoever trusts a checkpoint trusts the map. The format is docs/reference/map.md; in short:

    bucket of a token    its first three characters, each one of 64
    hash of a bucket     SHA-256(0x02 || its entries in order of token: token || count || last), u64 each
    page                 64 hashes under one prefix; its hash is that of the binary tree over them
    root                 the hash of the page of the empty prefix: over pages, over pages, over buckets
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Final

from msgspec import Struct

from privguard.audit.merkle import HASH_BYTES, node_hash, parents
from privguard.audit.proof import ProofError
from privguard.audit.record import Head

ALPHABET: Final = "-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"
"""Base64url in the order of its bytes."""
DEPTH: Final = 3
WIDTH: Final = 64
TOKEN_CHARS: Final = 22
_LEVELS: Final = 6
"""Of the binary tree over a page's hashes."""
_U64: Final = 8
_DIGIT: Final = {char: number for number, char in enumerate(ALPHABET)}

Entry = tuple[str, int, int]
"""Token, count, last index."""
Page = tuple[bytes, ...]


class MapProof(Struct, frozen=True):
    """What shows where a token stands in the map, or that it does not.

    Attributes:
        bucket: all entries that share the token's bucket.
        path: 18 hashes (32 bytes), from the bucket's sibling up.
    """

    bucket: tuple[Entry, ...]
    path: tuple[bytes, ...]


def bucket_of(token: str) -> str:
    """The prefix that a token is found under.

    Raises:
        ProofError: it is no token.
    """
    if len(token) != TOKEN_CHARS or not _DIGIT.keys() >= set(token):
        raise ProofError("not a client's token")
    return token[:DEPTH]


def hash_bucket(entries: Iterable[Entry]) -> bytes:
    """The hash of a bucket.

    Args:
        entries: in order of token.
    """
    parts = [
        token.encode() + count.to_bytes(_U64, "big") + last.to_bytes(_U64, "big")
        for token, count, last in entries
    ]
    return sha256(b"\x02" + b"".join(parts)).digest()


def hash_page(page: Sequence[bytes]) -> bytes:
    """The hash of a page."""
    row = list(page)
    while len(row) > 1:
        row = parents(row)
    return row[0]


def _empty() -> tuple[Page, ...]:
    pages, each = list[Page](), hash_bucket(())
    for _ in range(DEPTH):
        pages.insert(0, (each,) * WIDTH)
        each = hash_page(pages[0])
    return tuple(pages)


EMPTY: Final = _empty()
"""The page without entries, by the length of its prefix."""
EMPTY_ROOT: Final = hash_page(EMPTY[0])


def updated(pages: Mapping[str, Page], buckets: Mapping[str, bytes]) -> dict[str, Page]:
    """The pages that change when buckets do.

    Args:
        pages: by prefix, those above the buckets; one that is not there is empty.
        buckets: new hashes by prefix.

    Returns:
        By prefix; the one of the empty prefix gives the root.
    """
    changed: dict[str, Page] = {}
    below = dict(buckets)
    for length in range(DEPTH - 1, -1, -1):
        rows: dict[str, list[bytes]] = {}
        for prefix, digest in below.items():
            row = rows.get(prefix[:-1])
            if row is None:
                row = rows[prefix[:-1]] = list(pages.get(prefix[:-1], EMPTY[length]))
            row[_DIGIT[prefix[-1]]] = digest
        made = {prefix: tuple(row) for prefix, row in rows.items()}
        changed.update(made)
        below = {prefix: hash_page(page) for prefix, page in made.items()}
    return changed


def prefixes(bucket: str) -> list[str]:
    """The prefixes of the pages above a bucket, from the nearest up."""
    return [bucket[:length] for length in range(DEPTH - 1, -1, -1)]


def prove(token: str, bucket: Iterable[Entry], pages: Mapping[str, Page]) -> MapProof:
    """The proof for a token, from its bucket and the pages above it.

    Raises:
        ProofError: it is no token.
    """
    prefix, path = bucket_of(token), list[bytes]()
    for length in range(DEPTH - 1, -1, -1):
        row = list(pages.get(prefix[:length], EMPTY[length]))
        at = _DIGIT[prefix[length]]
        while len(row) > 1:
            path.append(row[at ^ 1])
            row = parents(row)
            at >>= 1
    return MapProof(tuple(bucket), tuple(path))


def check_map(token: str, proof: MapProof, root: bytes) -> Head | None:
    """What the map of this root says of a token; None: it is not in it.

    Raises:
        ProofError: the proof does not hold.
    """
    prefix = bucket_of(token)
    tokens = [each for each, _, _ in proof.bucket]
    if tokens != sorted(set(tokens)) or any(bucket_of(each) != prefix for each in tokens):
        raise ProofError("a bucket that is not in order")
    if any(not (0 < count < 1 << 63 and 0 <= last < 1 << 63) for _, count, last in proof.bucket):
        raise ProofError("a bucket with numbers that cannot be")
    if len(proof.path) != DEPTH * _LEVELS or any(len(each) != HASH_BYTES for each in (*proof.path, root)):
        raise ProofError("a path of another length")
    found, at = hash_bucket(proof.bucket), 0
    for length in range(DEPTH - 1, -1, -1):
        digit = _DIGIT[prefix[length]]
        for _ in range(_LEVELS):
            sibling = proof.path[at]
            found = node_hash(sibling, found) if digit & 1 else node_hash(found, sibling)
            digit, at = digit >> 1, at + 1
    if found != root:
        raise ProofError("the proof does not lead to the map's root")
    return next(((count, last) for each, count, last in proof.bucket if each == token), None)
