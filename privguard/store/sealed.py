"""Seals what a row holds under a key of its table and tenant, bound to the row it stands in (S16)."""

from __future__ import annotations

import base64

from privguard.crypto.envelope import NONCE_BYTES, place, seal, unseal
from privguard.crypto.keyring import Keyring
from privguard.ports import Entropy


class SealedColumn:
    """A column of sealed text.

    Args:
        table, column: where it is.
        use: what its key is derived for; the table's name where none is said.
    """

    def __init__(self, keyring: Keyring, entropy: Entropy, table: str, column: str, *, use: str = "") -> None:
        self._keyring = keyring
        self._entropy = entropy
        self._table = table
        self._column = column
        self._use = use or table
        self._keys: dict[str, bytes] = {}

    def seal(self, tenant: str, row: str, text: bytes) -> str:
        """As it is stored in the row of this name."""
        nonce, aad = self._entropy.token(NONCE_BYTES), self._place(tenant, row)
        sealed = seal(self._key(tenant), nonce, text, aad, suite=self._keyring.suite)
        return base64.urlsafe_b64encode(sealed).decode()

    def open(self, tenant: str, row: str, sealed: str) -> bytes:
        """What was sealed there. Raises EnvelopeError if it was changed or moved."""
        return unseal(self._key(tenant), base64.urlsafe_b64decode(sealed), self._place(tenant, row))

    def _key(self, tenant: str) -> bytes:
        key = self._keys.get(tenant)
        if key is None:
            key = self._keys[tenant] = self._keyring.derive(self._use, tenant)
        return key

    def _place(self, tenant: str, row: str) -> bytes:
        return place(tenant, row, self._table, self._column, self._keyring.id)
