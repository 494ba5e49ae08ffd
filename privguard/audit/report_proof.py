"""Proves that a report about a client holds every entry, and checks it (docs/reference/map.md).

1. the checkpoint is one that is trusted;
2. a leaf of its tree holds the map's root, as of a size;
3. the map says how many entries the client has, and the last one's index;
4. the entries shown are these: each is a leaf of the tree, has the next number, and names the one before it,
   down to the first; or to where a leaf of the tree says that what is older was sealed (``audit.floor``).
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Struct

from privguard.audit.floor import sealed
from privguard.audit.merkle import leaf_hash
from privguard.audit.proof import ProofError, check_inclusion, hashes
from privguard.audit.record import UNSEEN, Leaf, LeafError, parse
from privguard.audit.trust import Accepted, Trust
from privguard.audit.verifiable_map import Entry, MapProof, check_map

VERSION: Final = 1
MAX_REPORT: Final = 1 << 30
"""Bytes; more than a million entries."""


class Proved(Struct, frozen=True, forbid_unknown_fields=True):
    """A leaf with its inclusion proof; ``leaf`` is its exact text, hashes are base64."""

    index: int
    leaf: str
    path: tuple[str, ...]


class ReportProof(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The file of a proved report.

    Attributes:
        map: the leaf that holds the map's root.
        bucket, bucket_path: the client's place in the map.
        entries: newest first.
        sealed: the leaf that says the prune floor, where the client has entries below it.
    """

    v: int
    token: str
    checkpoint: str
    map: Proved
    bucket: tuple[Entry, ...]
    bucket_path: tuple[str, ...]
    entries: tuple[Proved, ...]
    sealed: Proved | None = None


class Complete(Struct, frozen=True):
    """What a report was found to be: all ``count`` entries of a client among the log's first ``size``.

    Attributes:
        older: how many more the client has below ``floor``, in archives.
    """

    accepted: Accepted
    token: str
    count: int
    size: int
    older: int = 0
    floor: int = 0


def proved(index: int, leaf: bytes, path: Sequence[bytes]) -> Proved:
    """A leaf with its proof, as the file holds it."""
    return Proved(index, leaf.decode(), texts(path))


def texts(path: Sequence[bytes]) -> tuple[str, ...]:
    """Hashes as the file holds them."""
    return tuple(base64.b64encode(each).decode() for each in path)


def check_report(data: bytes, trust: Trust) -> Complete:
    """Checks a proved report.

    Raises:
        ProofError: it is none, an entry is missing or changed, or what it stands on does not hold.
        TrustError: its checkpoint is not trusted.
    """
    try:
        report = msgspec.json.decode(data, type=ReportProof)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ProofError("not a proved report") from None
    if report.v != VERSION or len(data) > MAX_REPORT:
        raise ProofError("a proved report of another version, or too long")
    accepted = trust.accept(report.checkpoint.encode())  # 1
    committed = checked_leaf(report.map, accepted)  # 2
    if committed.map is None or committed.map.size > report.map.index:
        raise ProofError("the leaf holds no map of what was before it")
    proof = MapProof(report.bucket, hashes(report.bucket_path))
    head = check_map(report.token, proof, _root(committed.map.root))  # 3
    count, last = head if head is not None else UNSEEN
    floor = _floor(report.sealed, accepted)
    if len(report.entries) != count and not floor:
        raise ProofError(f"the client has {count} entries, the report {len(report.entries)}")
    for entry in report.entries:  # 4
        found = _link(checked_leaf(entry, accepted), report.token)
        if entry.index != last or found is None or found[0] != count or last < floor:
            raise ProofError(f"entry {count} of the client is not the one that the report shows")
        count, last = count - 1, found[1]
    if (count, last) != UNSEEN and not (count > 0 and 0 <= last < floor):
        raise ProofError("the client's first entry is not the first")
    return Complete(accepted, report.token, len(report.entries), committed.map.size, count, floor)


def checked_leaf(entry: Proved, accepted: Accepted) -> Leaf:
    """The leaf that a proof leads to in a trusted tree. Raises ProofError."""
    data = entry.leaf.encode("utf-8", "surrogatepass")
    checkpoint = accepted.checkpoint
    check_inclusion(entry.index, checkpoint.size, leaf_hash(data), hashes(entry.path), checkpoint.root)
    try:
        return parse(data)
    except LeafError:
        raise ProofError("an entry of another version") from None


def _floor(leaf: Proved | None, accepted: Accepted) -> int:
    if leaf is None:
        return 0
    said = sealed(checked_leaf(leaf, accepted))
    if said is None:
        raise ProofError("the leaf says of no entries that they were sealed")
    return said.floor


def _root(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise ProofError("the leaf's map has no root") from None


def _link(leaf: Leaf, token: str) -> tuple[int, int] | None:
    links = ((k, prev) for group in leaf.groups for each, k, prev in group.subjects if each == token)
    return next(links, None)
