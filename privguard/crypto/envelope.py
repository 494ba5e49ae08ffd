"""Sealed values: AES-256-GCM whose associated data says where the value belongs.

An envelope is ``suite (1 byte) | key version (4, big-endian; 0 for a data key) | nonce (12) | ciphertext and
tag``. The associated data names tenant, client, table, field and key, so a value moved to another row, column
or client does not open (S16). SM4-GCM with SM3 will be another suite byte.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from privguard.errors import PrivguardError

SUITES: Final = {"aes256gcm-sha256": 1}
NONCE_BYTES: Final = 12
DATA_KEY: Final = 0
_HEADER: Final = 5
_DATA_KEY_HEADER: Final = b"\x01\x00\x00\x00\x00"


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


def seal(key: bytes, nonce: bytes, text: bytes, aad: bytes, version: int = DATA_KEY) -> bytes:
    """Encrypts ``text``.

    Args:
        key: 32 bytes.
        nonce: 12 bytes that this key never saw.
        version: of the key-encrypting key; DATA_KEY for a key that is itself stored wrapped.
    """
    header = SUITES["aes256gcm-sha256"].to_bytes(1, "big") + version.to_bytes(4, "big")
    return header + nonce + AESGCM(key).encrypt(nonce, text, header + aad)


def unseal(key: bytes, envelope: bytes, aad: bytes) -> bytes:
    """Decrypts what ``seal`` made with the same key and associated data.

    Raises:
        EnvelopeError: it does not open; says nothing of the content.
    """
    header, nonce = envelope[:_HEADER], envelope[_HEADER : _HEADER + NONCE_BYTES]
    if header[:1] != b"\x01" or len(nonce) != NONCE_BYTES:
        raise EnvelopeError("A sealed value is of a suite this version does not know.")
    try:
        return AESGCM(key).decrypt(nonce, envelope[_HEADER + NONCE_BYTES :], header + aad)
    except InvalidTag:
        raise EnvelopeError(
            "A sealed value does not open: it was changed or moved, or its key is not in the key file."
        ) from None


def key_version(envelope: bytes) -> int:
    """Version of the key-encrypting key that sealed this."""
    return int.from_bytes(envelope[1:_HEADER], "big")


def subkey(key: bytes, use: str) -> bytes:
    """A key (32 bytes) for one use of a data key (32 bytes or more)."""
    return hmac.digest(key, use.encode(), "sha256")


def shared_key(keys: Iterable[bytes], use: str) -> bytes:
    """A key that takes all of ``keys`` to make: destroying any one of them destroys it too (L13)."""
    return subkey(b"".join(sorted(set(keys))), use)
