"""Epochs: a log that lost what was signed goes on under another name, and says what was lost (L06).

The name of a log stands for one tree for ever: witnesses and auditors would refuse anything else. So a
recovery begins an epoch with an origin and keys of its own; its first leaf holds what two operators signed.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterable
from typing import Final

from privguard.audit.checkpoint import Checkpoint
from privguard.audit.note import ED25519, Key, Note, NoteError, parse_note, verified

OPERATORS: Final = 2
"""How many have to sign a recovery."""
MAX_REASON: Final = 500


def origin_of(origin: str, epoch: int) -> str:
    """The log's name in an epoch; the first has the configured one."""
    return origin if epoch == 0 else f"{origin}/epoch{epoch}"


def seed_of(seed: bytes, epoch: int) -> bytes:
    """The secret (32 bytes) of an epoch's key."""
    return seed if epoch == 0 else hmac.digest(seed, f"epoch {epoch}".encode(), "sha256")


def statement_of(origin: str, epoch: int, lost: Checkpoint, size: int, root: bytes, reason: str) -> str:
    """What operators sign: what was signed and is lost, and from where the log goes on.

    Args:
        epoch: the one that begins.
        lost: the checkpoint that the log does not go on from.
        size, root: of the log as it stands.

    Raises:
        NoteError: the reason is not one line of 500 characters at most.
    """
    if not reason.isprintable() or not 0 < len(reason) <= MAX_REASON:
        raise NoteError("a reason is one line of 500 characters at most")
    return (
        f"privguard recovery\n{origin} epoch {epoch}\n"
        f"lost {lost.size} {base64.b64encode(lost.root).decode()}\n"
        f"from {size} {base64.b64encode(root).decode()}\n{reason}\n"
    )


def approved(data: bytes, statement: str, operators: Iterable[Key]) -> Note:
    """The statement with the signatures of two operators.

    Raises:
        NoteError: it is another statement, or fewer operators signed it.
    """
    note = parse_note(data)
    if note.text != statement:
        raise NoteError("this is not the statement of the log as it stands now: let it be signed again")
    signed = {key.public for key in verified(note, operators) if key.kind == ED25519}
    if len(signed) < OPERATORS:
        raise NoteError(f"{len(signed)} of the {OPERATORS} operators that it needs have signed it")
    return note
