"""Keyed names: for clients in the log, for looking clients up, for values masked as tokens.

All are HMAC-SHA-256 in base64url without padding. A subject token hangs on the client's own data key, so that
it cannot be linked to the client once that key is destroyed (L13).
"""

from __future__ import annotations

import base64
import hmac
from typing import Final

from privguard.crypto.envelope import joined, subkey
from privguard.crypto.keyring import Keyring

TOKEN_CHARS: Final = 22
"""128 bits in base64url."""


def subject_token(data_key: bytes) -> str:
    """The name (22 characters) of a client in the log, from the client's data key (32 bytes)."""
    return _text(subkey(data_key, "idx")[:16])


def client_ref(key: bytes, kind: str, client: str) -> str:
    """The name (43 characters) a client's data key is looked up by; ``key`` is derived per tenant."""
    return _text(hmac.new(key, joined(kind, client), "sha256").digest())  # see envelope.subkey


class FieldTokens:
    """Tokens for masked values: equal only for the same tenant, class and value (M10)."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._keys: dict[tuple[str, str], bytes] = {}

    def token(self, tenant: str, cls: str, value: str) -> str:
        """A token of 22 characters, whatever the value's length."""
        key = self._keys.get((tenant, cls))
        if key is None:
            key = self._keys[tenant, cls] = self._keyring.derive("field-token", tenant, cls)
        return _text(hmac.digest(key, value.encode("utf-8", "surrogatepass"), "sha256")[:16])


def _text(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
