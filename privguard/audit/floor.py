"""The prune floor: entries below it were sealed in an archive, and the log says so in a leaf.

Whoever verifies such a log begins at the floor, with the tree's edge and the clients' heads as of there. Both
are held to what is signed: the edge by the root it leads to, the heads by the leaf, which has the root of
the map (``verifiable_map``) of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Final

from msgspec import Struct

from privguard.audit.proof import ProofError
from privguard.audit.record import Head, Leaf
from privguard.audit.stretch import STRETCH
from privguard.audit.verifiable_map import EMPTY_ROOT, bucket_of, hash_bucket, hash_page, updated
from privguard.model import Outcome

PRUNED: Final = ("default", "privguard", "oversight:log:prune")
"""Tenant, actor and action of the leaf that says the floor."""


class Sealed(Struct, frozen=True):
    """What a leaf says of the floor.

    Attributes:
        floor: entries with a lower index were sealed; a multiple of ``STRETCH``.
        map_root: in hex, of the map of the clients' heads as of the floor.
        archive: SHA-256 in hex of the archive's file ``sealed``.
        count: entries in that archive.
        ts: log time of the leaf in microseconds.
    """

    floor: int
    map_root: str
    archive: str
    count: int
    ts: int


class Start(Struct, frozen=True):
    """Where a log begins that is read: at the floor, or with nothing before."""

    floor: int = 0
    edge: tuple[bytes, ...] = ()
    heads: Mapping[str, Head] = {}


WHOLE: Final = Start()


def about(floor: int, map_root: bytes, archive: str, count: int) -> dict[str, str]:
    """What the leaf holds of it (``about``)."""
    return {"floor": str(floor), "map": map_root.hex(), "archive": archive, "count": str(count)}


def sealed(leaf: Leaf) -> Sealed | None:
    """What a leaf says of the floor; None if it says nothing."""
    if (leaf.tenant, leaf.actor, leaf.action, leaf.outcome) != (*PRUNED, Outcome.PERMITTED.value):
        return None
    floor, count = (leaf.about.get(name, "") for name in ("floor", "count"))
    if not all(each.isascii() and each.isdecimal() and len(each) < 20 for each in (floor, count)):
        return None
    return Sealed(int(floor), leaf.about.get("map", ""), leaf.about.get("archive", ""), int(count), leaf.ts)


def agrees(start: Start, said: Sealed | None) -> bool:
    """Whether a leaf says this floor and these heads. The edge is held to the signed root elsewhere."""
    if said is None or said.floor != start.floor or start.floor % STRETCH or start.floor <= 0:
        return False
    try:
        return said.map_root == map_root(start.heads).hex()
    except ProofError:  # a head of what is no token
        return False


def map_root(heads: Mapping[str, Head]) -> bytes:
    """The root (32 bytes) of the map of all these clients. Raises ProofError: one is no token."""
    entries = sorted((token, *head) for token, head in heads.items())
    buckets = {
        prefix: hash_bucket(bucket) for prefix, bucket in groupby(entries, lambda each: bucket_of(each[0]))
    }
    return hash_page(updated({}, buckets)[""]) if buckets else EMPTY_ROOT
