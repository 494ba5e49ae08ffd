"""Whom an auditor trusts: the log's keys, witnesses, and how many of these must have seen a checkpoint.

Written as C2SP tlog-policy: lines of ``log``, ``witness``, ``group`` and one ``quorum``. Which sizes a key
may sign stands in comments of ours, ``#signs FIRST LAST KEY`` (LAST is ``-`` while nothing follows it). A
retired key has no ``log`` line, so a tool that knows nothing of terms does not trust it at all (L11).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from privguard.audit.checkpoint import MAX_SIZE, Checkpoint, CheckpointError, parse_text
from privguard.audit.note import (
    COSIGNED_ED25519,
    COSIGNED_ML_DSA_44,
    ED25519,
    Key,
    Note,
    NoteError,
    parse_key,
    parse_note,
    verified,
)

NONE: Final = "none"
SIGNS: Final = "#signs"
UNKNOWN: Final = (
    "no trusted key of the log signed the checkpoint (if its keys were rotated, the leaf that says so leads "
    "on: `privguard signing follow`)"
)
MAX_POLICY: Final = 500_000
"""Bytes; 64 ML-DSA-44 keys have 115,000."""


class TrustError(ValueError):
    """A trust policy that cannot be read, or a checkpoint that it does not accept; names neither."""


class LogKey(Struct, frozen=True):
    """A log's key, and the sizes of the tree that it may sign, both included."""

    key: Key
    first: int = 0
    last: int = MAX_SIZE

    def signs(self, size: int) -> bool:
        """Whether it is in force at a size."""
        return self.first <= size <= self.last


class Witness(Struct, frozen=True):
    """Someone who cosigns; ``url`` is where to ask, empty if nobody needs to."""

    key: Key
    url: str = ""


class Group(Struct, frozen=True):
    """Witnesses or groups, of which so many must have seen a checkpoint."""

    least: int
    members: tuple[str, ...]


class Accepted(Struct, frozen=True):
    """A checkpoint that is trusted.

    Attributes:
        signed: the log's keys that signed it; one at least of each kind that is trusted.
        witnesses: names of those who cosigned it.
    """

    checkpoint: Checkpoint
    signed: tuple[Key, ...]
    witnesses: tuple[str, ...]


class Trust(Struct, frozen=True):
    """A trust policy."""

    logs: tuple[LogKey, ...]
    witnesses: Mapping[str, Witness]
    groups: Mapping[str, Group]
    quorum: str

    def accept(self, note: bytes) -> Accepted:
        """Reads a checkpoint that one of the logs signed and the quorum saw.

        Raises:
            TrustError: it is none; or the signatures do not suffice, or a known key's does not hold.
        """
        try:
            parsed = parse_note(note)
            checkpoint = parse_text(parsed.text)
            signed = self.signed(parsed, checkpoint)
            cosigned = verified(parsed, [witness.key for witness in self.witnesses.values()])
        except (NoteError, CheckpointError) as error:
            raise TrustError(str(error)) from None
        seen = tuple(name for name, witness in self.witnesses.items() if witness.key in cosigned)
        if not self.suffices(seen):
            raise TrustError("too few witnesses cosigned the checkpoint")
        return Accepted(checkpoint, signed, seen)

    def signed(self, note: Note, checkpoint: Checkpoint) -> tuple[Key, ...]:
        """The log's keys in force at the checkpoint's size that signed it; one at least of each kind.

        A log signs with each kind of key that is trusted for it. A signature by an unknown key is ignored; so
        one of two that was given another key's name is as good as none (L11), and so is a retired key's.

        Args:
            checkpoint: what the note's text says.

        Raises:
            TrustError: they do not suffice.
            NoteError: a known key's signature does not hold.
        """
        logs = [log for log in self.logs if log.key.name == checkpoint.origin]
        signed = verified(note, [log.key for log in logs])
        within = tuple(log.key for log in logs if log.key in signed and log.signs(checkpoint.size))
        if {key.kind for key in within} == {log.key.kind for log in logs} != set():
            return within
        beyond = next((log for log in logs if log.key in signed and not log.signs(checkpoint.size)), None)
        if beyond is not None:
            raise TrustError(
                f"a key that signs {_term(beyond)} signed the checkpoint, which is of {checkpoint.size}: "
                "whoever shows it holds a key that is not in force there"
            )
        if within:
            raise TrustError("the log did not sign the checkpoint with each kind of key that is trusted")
        raise TrustError(UNKNOWN)

    def suffices(self, seen: tuple[str, ...], name: str | None = None) -> bool:
        """Whether these witnesses make up the quorum (or a group)."""
        name = self.quorum if name is None else name
        if name in self.groups:
            group = self.groups[name]
            return sum(self.suffices(seen, member) for member in group.members) >= group.least
        return name == NONE or name in seen


def trusting(*logs: Key) -> Trust:
    """Trust in a log alone, without witnesses."""
    return Trust(tuple(map(LogKey, logs)), {}, {}, NONE)


def write_trust(trust: Trust) -> str:
    """A trust policy as it is read."""
    lines = list[str]()
    for log in trust.logs:
        if log.last == MAX_SIZE:
            lines.append(f"log {log.key}")
        if log != LogKey(log.key):
            lines.append(f"#signs {log.first} {'-' if log.last == MAX_SIZE else log.last} {log.key}")
    lines += [
        f"witness {name} {witness.key} {witness.url}".rstrip() for name, witness in trust.witnesses.items()
    ]
    lines += [f"group {name} {group.least} {' '.join(group.members)}" for name, group in trust.groups.items()]
    return "\n".join([*lines, f"quorum {trust.quorum}", ""])


def _term(log: LogKey) -> str:
    return f"from size {log.first} on" if log.last == MAX_SIZE else f"sizes {log.first} to {log.last}"


def parse_trust(text: str) -> Trust:
    """Reads a trust policy.

    Raises:
        TrustError: names the line and what is wrong with it.
    """
    if len(text) > MAX_POLICY:
        raise TrustError("the trust policy is too long")
    reader = _Reader()
    for number, line in enumerate(text.split("\n"), 1):
        words = line.replace("\t", " ").split(" ")
        words = [word for word in words if word]
        if not words or (words[0].startswith("#") and words[0] != SIGNS):
            continue
        try:
            reader.line(words)
        except (TrustError, NoteError) as error:
            raise TrustError(f"line {number}: {error}") from None
    if reader.quorum is None:
        raise TrustError("there is no quorum line (`quorum none`, where there are no witnesses)")
    return Trust(tuple(reader.logs.values()), reader.witnesses, reader.groups, reader.quorum)


class _Reader:
    def __init__(self) -> None:
        self.logs: dict[Key, LogKey] = {}
        self.witnesses: dict[str, Witness] = {}
        self.groups: dict[str, Group] = {}
        self.quorum: str | None = None
        self._members: set[str] = set()

    def line(self, words: list[str]) -> None:
        match words:
            case ["log", key] | ["log", key, _]:
                known = self._key(key, ED25519, COSIGNED_ML_DSA_44)
                self.logs[known] = LogKey(known)
            case ["#signs", first, last, key]:
                self._bound(_size(first), MAX_SIZE if last == "-" else _size(last), key)
            case ["witness", name, key, *url] if len(url) <= 1:
                self._new(name)
                known = self._key(key, COSIGNED_ED25519, COSIGNED_ML_DSA_44)
                self.witnesses[name] = Witness(known, *url)
            case ["group", name, least, *members] if members:
                self._new(name)
                self.groups[name] = Group(_least(least, len(members)), tuple(map(self._member, members)))
            case ["quorum", name] if self.quorum is None:
                if name != NONE and name not in self.witnesses and name not in self.groups:
                    raise TrustError("the quorum is neither a witness nor a group above")
                self.quorum = name
            case _:
                raise TrustError("this is no line of a trust policy, or the second quorum")

    def _bound(self, first: int, last: int, text: str) -> None:
        """A term: of a key above, or of a retired one, which stands here alone."""
        key = parse_key(text)
        if last != MAX_SIZE:
            key = self._key(text, ED25519, COSIGNED_ML_DSA_44)
        elif key not in self.logs:
            raise TrustError("the key stands in no log line above")
        self.logs[key] = LogKey(key, first, last)

    def _key(self, text: str, *kinds: int) -> Key:
        key = parse_key(text)
        if key.kind not in kinds:
            raise TrustError("the key is of a kind that is not for this")
        if key.public in [other.public for other in (*self.logs, *(w.key for w in self.witnesses.values()))]:
            raise TrustError("the key stands above already")
        return key

    def _new(self, name: str) -> None:
        if name == NONE or name in self.witnesses or name in self.groups:
            raise TrustError("the name is taken")

    def _member(self, name: str) -> str:
        if (name not in self.witnesses and name not in self.groups) or name in self._members:
            raise TrustError("a member is no witness or group above, or is a member already")
        self._members.add(name)
        return name


def _size(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) < MAX_SIZE):
        raise TrustError("a size is a number")
    return int(text)


def _least(text: str, members: int) -> int:
    least = {"any": 1, "all": members}.get(text)
    if least is None:
        least = int(text) if text.isascii() and text.isdecimal() and len(text) < 4 else 0
    if not 1 <= least <= members:
        raise TrustError("a group needs any, all, or a number of its members")
    return least
