"""Checkpoints: the signed size and root of the tree (C2SP tlog-checkpoint), without extension lines."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from msgspec import Struct

from privguard.audit.merkle import HASH_BYTES

_TEXT: Final = re.compile(
    r"(?P<origin>[^\s+]{1,255})\n(?P<size>0|[1-9][0-9]{0,18})\n(?P<root>[A-Za-z0-9+/]{43}=)\n"
)
MAX_SIZE: Final = (1 << 63) - 1


class CheckpointError(ValueError):
    """A text that is no checkpoint; says nothing of its content."""


class Checkpoint(Struct, frozen=True):
    """What a log says of itself: its name, its size, and its root (32 bytes)."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The text that is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def parse_text(text: str) -> Checkpoint:
    """Reads the text of a checkpoint.

    Raises:
        CheckpointError: it is none, or has extension lines, which ML-DSA-44 signatures do not hold.
    """
    match = _TEXT.fullmatch(text)
    if match is None or int(match["size"]) > MAX_SIZE:
        raise CheckpointError("not a checkpoint")
    try:
        root = base64.b64decode(match["root"], validate=True)
    except binascii.Error:
        raise CheckpointError("not a checkpoint") from None
    checkpoint = Checkpoint(match["origin"], int(match["size"]), root)
    if len(root) != HASH_BYTES or checkpoint.text != text:
        raise CheckpointError("not a checkpoint")
    return checkpoint
