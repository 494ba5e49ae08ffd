"""What stands beside entries that do not begin with the first, or do not go on to the checkpoint.

``begin``: of a log with a prune floor, or an archive that goes on from one. Checked here:

1. a leaf of the checkpoint's tree says the floor;
2. the clients' heads are those whose map it names.

``sealed``: of an archive. Checked here:

3. the checkpoint's tree goes on from the tree that ends with the archive's last entry.

That the entries between are those of the tree, ``verify.verify_log`` says. Formats:
docs/reference/archive.md.
"""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from privguard.audit.floor import WHOLE, Start, agrees, sealed
from privguard.audit.proof import ProofError, check_consistency, hashes, unbase64
from privguard.audit.report_proof import Proved, checked_leaf, texts
from privguard.audit.trust import Accepted
from privguard.audit.verifiable_map import Entry

VERSION: Final = 1
_T = TypeVar("_T", "Begin", "Seal")


class Begin(Struct, frozen=True, forbid_unknown_fields=True):
    """The file ``begin``; hashes are base64.

    Attributes:
        heads: (token, count, last index) of each client with an entry below the floor.
        leaf: the one that says the floor, with its proof.
    """

    v: int
    floor: int
    edge: tuple[str, ...]
    heads: tuple[Entry, ...]
    leaf: Proved


class Seal(Struct, frozen=True, forbid_unknown_fields=True):
    """The file ``sealed``: an archive's entries are ``start`` to ``stop`` (exclusive).

    Attributes:
        root: of the tree of ``stop`` entries.
        proof: that the checkpoint's tree goes on from it.
    """

    v: int
    start: int
    stop: int
    root: str
    proof: tuple[str, ...]


def write_begin(start: Start, leaf: Proved) -> bytes:
    """The file's bytes."""
    heads = tuple((token, *head) for token, head in sorted(start.heads.items()))
    return msgspec.json.encode(Begin(VERSION, start.floor, texts(start.edge), heads, leaf))


def read_begin(data: bytes | None, accepted: Accepted) -> Start:
    """Where the entries begin, which stand beside such a file or none.

    Raises:
        ProofError: it is none, or what it says is not what the log says.
    """
    if data is None:
        return WHOLE
    file = _read(data, Begin)
    heads = {token: (count, last) for token, count, last in file.heads}
    start = Start(file.floor, hashes(file.edge), heads)
    said = sealed(checked_leaf(file.leaf, accepted))  # 1
    if not agrees(start, said) or len(start.edge) != start.floor.bit_count():  # 2
        raise ProofError("the log does not say that it begins there, with these clients")
    return start


def read_seal(data: bytes, accepted: Accepted) -> tuple[Seal, bytes]:
    """What an archive holds, and the root of the tree that ends with it. Raises ProofError."""
    seal, checkpoint = _read(data, Seal), accepted.checkpoint
    root = unbase64(seal.root)
    if not 0 <= seal.start < seal.stop:
        raise ProofError("the archive has no entries")
    check_consistency(seal.stop, checkpoint.size, hashes(seal.proof), root, checkpoint.root)  # 3
    return seal, root


def _read(data: bytes, kind: type[_T]) -> _T:
    try:
        file = msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ProofError("not the file of an archive") from None
    if file.v != VERSION:
        raise ProofError("the file of an archive of another version")
    return file
