"""Signed notes and their keys (C2SP signed-note and tlog-cosignature): Ed25519, and ML-DSA-44 beside it.

A key signs in one of three ways, which its number says:

    0x01  Ed25519 over the text                              the log
    0x04  Ed25519 over ``cosignature/v1``, a time and the text    a witness
    0x06  ML-DSA-44 over ``cosigned_message`` of a checkpoint     the log, or a witness

Known keys must verify; signatures of unknown keys are passed over (L11).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from msgspec import Struct

from privguard.audit.checkpoint import parse_text

ED25519: Final = 0x01
COSIGNED_ED25519: Final = 0x04
COSIGNED_ML_DSA_44: Final = 0x06
_LENGTHS: Final = {ED25519: 32, COSIGNED_ED25519: 32, COSIGNED_ML_DSA_44: 1312}
"""Bytes of a public key, by kind."""

MAX_NOTE: Final = 100_000
"""Bytes; a note with 16 ML-DSA-44 signatures, which the specification asks for, has 53,000."""
MAX_SIGNATURES: Final = 32
_TIME_BYTES: Final = 8
_LABEL: Final = b"subtree/v1\n\0"
_NAME: Final = re.compile(r"[^\s+]{1,255}")
_LINE: Final = re.compile(r"— (?P<name>[^\s+]{1,255}) (?P<data>[A-Za-z0-9+/]{8,6000}={0,2})")


class NoteError(ValueError):
    """A note, key or signature that does not hold; says nothing of its content."""


class Signature(Struct, frozen=True):
    """A signature line; ``key_id`` is 4 bytes."""

    name: str
    key_id: bytes
    data: bytes

    @property
    def line(self) -> str:
        return f"— {self.name} {_base64(self.key_id + self.data)}\n"


class Note(Struct, frozen=True):
    """A text, with its final newline, and what was signed below it."""

    text: str
    signatures: tuple[Signature, ...]

    def __str__(self) -> str:
        return f"{self.text}\n{''.join(each.line for each in self.signatures)}"


class Key(Struct, frozen=True):
    """A public key that verifies one kind of signature by one name."""

    name: str
    kind: int
    public: bytes

    @property
    def id(self) -> bytes:
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:4]

    def __str__(self) -> str:
        """The key as C2SP writes it (``vkey``)."""
        return f"{self.name}+{self.id.hex()}+{_base64(bytes([self.kind]) + self.public)}"

    def verifies(self, text: str, signature: bytes) -> bool:
        """Whether a signature of this key holds for a note's text."""
        try:
            time_s, message, signed = _message(self, text, signature)
            if time_s >= 1 << 63:
                return False
            if self.kind == COSIGNED_ML_DSA_44:
                MLDSA44PublicKey.from_public_bytes(self.public).verify(signed, message)
            else:
                Ed25519PublicKey.from_public_bytes(self.public).verify(signed, message)
        except (InvalidSignature, ValueError):
            return False
        return True


class Signer(Protocol):
    """Signs notes; the private key may be kept elsewhere."""

    @property
    def key(self) -> Key: ...

    def sign(self, text: str, time_s: int) -> Signature:
        """Signs a note's text; the time (POSIX seconds) is used by cosignatures only."""
        ...


class LocalSigner:
    """Signs with a key that is held here.

    Args:
        seed: 32 secret bytes.
    """

    def __init__(self, name: str, kind: int, seed: bytes) -> None:
        self._private: Ed25519PrivateKey | MLDSA44PrivateKey
        if kind == COSIGNED_ML_DSA_44:
            self._private = MLDSA44PrivateKey.from_seed_bytes(seed)
        else:
            self._private = Ed25519PrivateKey.from_private_bytes(seed)
        public = self._private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self._key = _checked(Key(name, kind, public))

    @property
    def key(self) -> Key:
        return self._key

    def sign(self, text: str, time_s: int) -> Signature:
        stamp = b"" if self._key.kind == ED25519 else time_s.to_bytes(_TIME_BYTES, "big")
        _, message, _ = _message(self._key, text, stamp)
        return Signature(self._key.name, self._key.id, stamp + self._private.sign(message))


def parse_key(text: str) -> Key:
    """Reads a ``vkey``.

    Raises:
        NoteError: it is none, or of a kind that is not known here.
    """
    name, _, rest = text.partition("+")
    key_id, _, data = rest.partition("+")
    raw = _unbase64(data)
    key = _checked(Key(name, raw[0] if raw else 0, raw[1:]))
    if key.id.hex() != key_id:
        raise NoteError("a key whose id is not its own")
    return key


def parse_note(data: bytes) -> Note:
    """Reads a signed note.

    Raises:
        NoteError: it is none; nothing of it is trusted before ``verified``.
    """
    if len(data) > MAX_NOTE:
        raise NoteError("a note that is too long")
    try:
        note = data.decode()
    except UnicodeDecodeError:
        raise NoteError("a note that is not UTF-8") from None
    text, gap, below = note.rpartition("\n\n")
    if not gap or any(char < " " and char != "\n" for char in note) or not below.endswith("\n"):
        raise NoteError("not a signed note")
    lines = below[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise NoteError("a note with too many signatures")
    return Note(text + "\n", tuple(map(parse_signature, lines)))


def parse_signature(line: str) -> Signature:
    """Reads a signature line, without its newline. Raises NoteError."""
    match = _LINE.fullmatch(line)
    if match is None:
        raise NoteError("not a signature line")
    data = _unbase64(match["data"])
    return Signature(match["name"], data[:4], data[4:])


def verified(note: Note, keys: Iterable[Key]) -> tuple[Key, ...]:
    """The keys that signed a note.

    Raises:
        NoteError: a known key's signature does not hold.
    """
    known = {(key.name, key.id): key for key in keys}
    signed: dict[Key, None] = {}
    for each in note.signatures:
        key = known.get((each.name, each.key_id))
        if key is None:
            continue
        if not key.verifies(note.text, each.data):
            raise NoteError(f"the signature of {key.name} does not hold")
        signed[key] = None
    return tuple(signed)


def _message(key: Key, text: str, signature: bytes) -> tuple[int, bytes, bytes]:
    """The time a signature names, what it signs, and the signature proper."""
    if key.kind == ED25519:
        return 0, text.encode(), signature
    time_s = int.from_bytes(signature[:_TIME_BYTES], "big")
    signed = signature[_TIME_BYTES:]
    if key.kind == COSIGNED_ED25519:
        return time_s, f"cosignature/v1\ntime {time_s}\n{text}".encode(), signed
    return time_s, _cosigned(key.name, time_s, text), signed


def _cosigned(name: str, time_s: int, text: str) -> bytes:
    """``cosigned_message``: it holds no extension lines, so a checkpoint must have none."""
    checkpoint = parse_text(text)
    return b"".join(
        (
            _LABEL,
            _opaque(name),
            time_s.to_bytes(_TIME_BYTES, "big"),
            _opaque(checkpoint.origin),
            (0).to_bytes(8, "big"),
            checkpoint.size.to_bytes(8, "big"),
            checkpoint.root,
        )
    )


def _opaque(text: str) -> bytes:
    data = text.encode()
    if not 0 < len(data) < 256:
        raise NoteError("a name that is empty or too long")
    return bytes([len(data)]) + data


def _checked(key: Key) -> Key:
    if _LENGTHS.get(key.kind) != len(key.public) or not _NAME.fullmatch(key.name):
        raise NoteError("a key of a kind that is not known here")
    return key


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unbase64(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NoteError("not base64") from None
    if _base64(data) != text:  # one spelling for the same bytes
        raise NoteError("not base64")
    return data
