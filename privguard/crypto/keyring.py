"""The keyset: key-encrypting keys by version, and the root secret of all pseudonyms.

Wrapping keys rotate; the root does not: what it names (clients in the log, tokens in masked answers) must be
found again under the same name. Everything keyed is derived from the root by HKDF, one key a use and tenant.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec import Struct

from privguard.crypto.envelope import SUITES, joined
from privguard.errors import ConfigError

KEY_BYTES: Final = 32


class Keyring(Struct, frozen=True):
    """A keyset.

    Attributes:
        id: names the keyset in what it encrypts; not secret.
        suite: algorithms, one of ``envelope.SUITES``.
        keks: key-encrypting keys (32 bytes) by version.
        primary: the version that wraps; the others only unwrap.
        root: secret (32 bytes) that pseudonyms are derived from.
    """

    id: str
    suite: str
    keks: Mapping[int, bytes]
    primary: int
    root: bytes

    def __repr__(self) -> str:
        return f"Keyring(id={self.id!r}, versions={sorted(self.keks)})"

    def derive(self, *use: str) -> bytes:
        """A key (32 bytes) for one use, e.g. ``derive("field-token", tenant, cls)`` (RFC 5869)."""
        return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=joined(*use)).derive(self.root)

    def key_id(self, version: int) -> str:
        """Names one wrapping key, as the associated data of an envelope does."""
        return f"{self.id}/{version}"


class _KeyFile(Struct, forbid_unknown_fields=True):
    id: str
    suite: str
    keks: dict[int, str]
    primary: int
    root: str


def parse(data: bytes) -> Keyring:
    """Reads a key file (JSON; keys in base64).

    Raises:
        ConfigError: the file is not a keyset; the message holds none of it.
    """
    try:
        file = msgspec.json.decode(data, type=_KeyFile)
        keks = {version: _key(text) for version, text in file.keks.items()}
        root = _key(file.root)
    except (msgspec.DecodeError, UnicodeDecodeError, binascii.Error, ValueError):
        raise ConfigError(
            f"The key file is not a keyset: keys are {KEY_BYTES} bytes in base64 "
            "(restore it from its backup, or write a new one with `privguard keys init`)."
        ) from None
    if file.suite not in SUITES:
        raise ConfigError(f"The key file's suite is not known; known: {', '.join(SUITES)}.")
    if file.primary not in keks or not all(0 < version < 2**32 for version in keks):
        raise ConfigError(
            "The key file's primary version is not among its keks, or a version is not positive."
        )
    return Keyring(id=file.id, suite=file.suite, keks=keks, primary=file.primary, root=root)


def new_keyring(draw: Callable[[int], bytes]) -> bytes:
    """A key file with fresh keys; ``draw(n)`` gives n unpredictable bytes."""
    return msgspec.json.format(
        msgspec.json.encode(
            _KeyFile(
                id=draw(8).hex(),
                suite=next(iter(SUITES)),
                keks={1: base64.b64encode(draw(KEY_BYTES)).decode()},
                primary=1,
                root=base64.b64encode(draw(KEY_BYTES)).decode(),
            )
        ),
        indent=2,
    )


def _key(text: str) -> bytes:
    key = base64.b64decode(text, validate=True)
    if len(key) != KEY_BYTES:
        raise ValueError
    return key
