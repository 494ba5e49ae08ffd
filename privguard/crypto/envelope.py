"""Sealed values: AES-256-GCM or SM4-GCM, whose associated data says where the value belongs.

An envelope is ``suite (1 byte) | key version (4, big-endian; 0 for a data key) | nonce (12) | ciphertext and
tag``. The associated data names tenant, client, table, field and key, so a value moved to another row, column
or client does not open (S16).
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256, SM3, HashAlgorithm
from msgspec import Struct

from privguard.crypto.sm4 import sm4_gcm
from privguard.errors import PrivguardError


class Aead(Protocol):
    """A key that seals without being seen, as ``cryptography``'s AEADs do or a security module does."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes, /) -> bytes:
        """Ciphertext and tag (16 bytes)."""
        ...

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes, /) -> bytes:
        """Raises InvalidTag if it does not open, StoreUnavailableError if the key cannot be used now."""
        ...


Key = bytes | Aead
"""A key of 32 bytes, or one that stays where it is kept."""


class Suite(Struct, frozen=True):
    """Algorithms that go together; ``number`` stands in envelopes, ``hash`` derives keys from a root."""

    number: int
    aead: Callable[[bytes], Aead]
    hash: Callable[[], HashAlgorithm]


SUITES: Final = {
    "aes256gcm-sha256": Suite(1, AESGCM, SHA256),
    "sm4gcm-sm3": Suite(2, sm4_gcm, SM3),
}
AES: Final = "aes256gcm-sha256"
NONCE_BYTES: Final = 12
DATA_KEY: Final = 0
_HEADER: Final = 5
_BY_NUMBER: Final = {suite.number: suite for suite in SUITES.values()}


class EnvelopeError(PrivguardError):
    """A sealed value does not open: another key, another place, or it was changed."""

    title = "A sealed value does not open"


def joined(*parts: str) -> bytes:
    """Parts with their lengths, so that no two lists join to the same bytes."""
    encoded = [part.encode() for part in parts]
    return b"".join(len(part).to_bytes(4, "big") + part for part in encoded)


def place(tenant: str, client: str, table: str, field: str, key_id: str) -> bytes:
    """Associated data: where a sealed value belongs and which key seals it."""
    return joined(tenant, client, table, field, key_id)


def seal(key: Key, nonce: bytes, text: bytes, aad: bytes, version: int = DATA_KEY, suite: str = AES) -> bytes:
    """Encrypts ``text``.

    Args:
        nonce: 12 bytes that this key never saw.
        version: of the key-encrypting key; DATA_KEY for a key that is itself stored wrapped.
        suite: of SUITES; the envelope says it, so ``unseal`` is not told.
    """
    header = SUITES[suite].number.to_bytes(1, "big") + version.to_bytes(4, "big")
    aead = SUITES[suite].aead(key) if isinstance(key, bytes) else key
    return header + nonce + aead.encrypt(nonce, text, header + aad)


def unseal(key: Key, envelope: bytes, aad: bytes) -> bytes:
    """Decrypts what ``seal`` made with the same key and associated data.

    Raises:
        EnvelopeError: it does not open; says nothing of the content.
        StoreUnavailableError: the key is kept elsewhere, and cannot be used now.
    """
    header, nonce = envelope[:_HEADER], envelope[_HEADER : _HEADER + NONCE_BYTES]
    suite = _BY_NUMBER.get(header[0]) if len(nonce) == NONCE_BYTES else None
    if suite is None:
        raise EnvelopeError("A sealed value is of a suite this version does not know.")
    aead = suite.aead(key) if isinstance(key, bytes) else key
    try:
        return aead.decrypt(nonce, envelope[_HEADER + NONCE_BYTES :], header + aad)
    except InvalidTag:
        raise EnvelopeError(
            "A sealed value does not open: it was changed or moved, or its key is not in the key file."
        ) from None


def key_version(envelope: bytes) -> int:
    """Version of the key-encrypting key that sealed this."""
    return int.from_bytes(envelope[1:_HEADER], "big")


def subkey(key: bytes, use: str) -> bytes:
    """A key (32 bytes) for one use of a data key (32 bytes or more).

    ``hmac.digest`` lets go of the interpreter lock, and a busy event loop gives it back after 5 ms.
    """
    return hmac.new(key, use.encode(), "sha256").digest()


def shared_key(keys: Iterable[bytes], use: str) -> bytes:
    """A key that takes all of ``keys`` to make: destroying any one of them destroys it too (L13)."""
    return subkey(b"".join(sorted(set(keys))), use)
