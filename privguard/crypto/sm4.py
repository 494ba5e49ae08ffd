"""SM4 in GCM (RFC 8998, GB/T 32907): support for whoever must use it, not a certification."""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import SM4
from cryptography.hazmat.primitives.ciphers.modes import GCM
from cryptography.hazmat.primitives.hashes import SM3
from cryptography.hazmat.primitives.hmac import HMAC

_TAG: Final = 16


class SM4GCM:
    """As ``cryptography``'s AESGCM, with SM4; ``key`` is 16 bytes."""

    def __init__(self, key: bytes) -> None:
        self._cipher = SM4(key)

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes, /) -> bytes:
        encryptor = Cipher(self._cipher, GCM(nonce)).encryptor()
        encryptor.authenticate_additional_data(associated_data)
        return encryptor.update(data) + encryptor.finalize() + encryptor.tag

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes, /) -> bytes:
        if len(data) < _TAG:
            raise InvalidTag
        decryptor = Cipher(self._cipher, GCM(nonce, data[-_TAG:])).decryptor()
        decryptor.authenticate_additional_data(associated_data)
        return decryptor.update(data[:-_TAG]) + decryptor.finalize()


def sm4_gcm(key: bytes) -> SM4GCM:
    """SM4 takes 128 bits: HMAC-SM3 makes them of all 256 of ``key``."""
    mac = HMAC(key, SM3())
    mac.update(b"sm4-gcm")
    return SM4GCM(mac.finalize()[:16])
