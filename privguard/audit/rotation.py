"""Rotation of the log's keys: the old ones sign who comes after them, and a leaf holds it (L11).

What is signed has a checkpoint's form, for ML-DSA-44 signs nothing else (C2SP tlog-cosignature), and a name
that is no log's: ``ORIGIN/keys``, the last size that the old keys sign, and the SHA-256 of who goes and who
comes. The new keys sign it too, so nobody is named who does not have the key. Whoever trusts the old ones
needs nothing but the leaf to trust the new ones; docs/adr/0011 has the reasons.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from privguard.audit.checkpoint import MAX_SIZE, Checkpoint, CheckpointError, parse_text
from privguard.audit.note import Key, Note, NoteError, Signer, parse_key, parse_note, verified
from privguard.audit.record import Leaf
from privguard.audit.trust import LogKey, Trust, TrustError
from privguard.model import Outcome

ROTATED: Final = "oversight:log:rotate"
"""The action of the leaf."""


class Rotation(Struct, frozen=True):
    """Old keys sign sizes up to ``size``, new ones from there on; all of them said so."""

    size: int
    old: tuple[Key, ...]
    new: tuple[Key, ...]


def announcement(origin: str, size: int, old: Sequence[Signer], new: Sequence[Signer], now_s: int) -> Note:
    """What all of the keys sign."""
    text = _text(origin, size, [each.key for each in old], [each.key for each in new])
    return Note(text, tuple(signer.sign(text, now_s) for signer in (*old, *new)))


def about(note: str, old: Sequence[Key], new: Sequence[Key]) -> dict[str, str]:
    """What the leaf holds of it (``about``)."""
    return {"old": " ".join(map(str, old)), "new": " ".join(map(str, new)), "note": note}


def rotation_of(leaf: Leaf, index: int) -> Rotation | None:
    """The rotation that a leaf says; None if it says none, or not all of its keys signed it."""
    if (leaf.action, leaf.outcome) != (ROTATED, Outcome.PERMITTED.value):
        return None
    said = _said(leaf.about)
    return said if said is not None and said.size <= index else None


def _said(said: Mapping[str, str]) -> Rotation | None:
    try:
        old, new = (tuple(map(parse_key, said.get(name, "").split(" "))) for name in ("old", "new"))
        note = parse_note(said.get("note", "").encode())
        size = parse_text(note.text).size
        same = note.text == _text(old[0].name, size, old, new)
        apart = {key.name for key in (*old, *new)} == {old[0].name} and not {*old} & {*new}
        kinds = {key.kind for key in old} == {key.kind for key in new}
        if same and apart and kinds and set(verified(note, (*old, *new))) == {*old, *new}:
            return Rotation(size, old, new)
    except (NoteError, CheckpointError):
        pass
    return None


def followed(trust: Trust, rotations: Iterable[Rotation]) -> Trust:
    """Trust that goes on, from keys to those that came after them; witnesses and quorum stay.

    Args:
        rotations: in the order of their leaves: who stole a retired key may name another heir, and is late.

    Raises:
        TrustError: none of the rotations is one of a key that is trusted.
    """
    logs = list(trust.logs)
    for each in rotations:
        in_force = [log for log in logs if log.key.name == each.old[0].name and log.last == MAX_SIZE]
        if not in_force or any(log.key not in each.old or log.first > each.size for log in in_force):
            continue
        logs = [replace(log, last=each.size) if log in in_force else log for log in logs]
        logs += [LogKey(key, each.size + 1) for key in each.new]
    if logs == list(trust.logs):
        raise TrustError("no rotation here is signed by the keys that are trusted and in force")
    return replace(trust, logs=tuple(logs))


def _text(origin: str, size: int, old: Sequence[Key], new: Sequence[Key]) -> str:
    lines = [f"old {key}\n" for key in old] + [f"new {key}\n" for key in new]
    return Checkpoint(f"{origin}/keys", size, hashlib.sha256("".join(lines).encode()).digest()).text
