"""The body of ``add-checkpoint``: the size the witness knows, the proof from there, the checkpoint."""

from __future__ import annotations

import base64
import re
from typing import Final

from msgspec import Struct

from privguard.audit.note import MAX_NOTE
from privguard.audit.proof import ProofError, hashes

MAX_BODY: Final = MAX_NOTE + 63 * 45 + 30
"""Bytes."""
_OLD: Final = re.compile(r"old (0|[1-9][0-9]{0,18})")


class Asked(Struct, frozen=True):
    """What a log asks of a witness; ``note`` is the checkpoint as it came."""

    old: int
    proof: tuple[bytes, ...]
    note: bytes

    def __bytes__(self) -> bytes:
        lines = [f"old {self.old}", *(base64.b64encode(each).decode() for each in self.proof), "", ""]
        return "\n".join(lines).encode() + self.note


def parse_asked(body: bytes) -> Asked:
    """Reads a request.

    Raises:
        ProofError: it is none.
    """
    head, gap, note = body.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise ProofError("not a request to a witness") from None
    old = _OLD.fullmatch(lines[0])
    if not gap or old is None or len(body) > MAX_BODY:
        raise ProofError("not a request to a witness")
    return Asked(int(old[1]), hashes(lines[1:]), note)
