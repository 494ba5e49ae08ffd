"""The keyset: key-encrypting keys by version, and the root secret of all pseudonyms.

Wrapping keys rotate; the root does not: what it names (clients in the log, tokens in masked answers) must be
found again under the same name. Everything keyed is derived from the root by HKDF, one key a use and tenant.

The key file says which versions there are, and what their provider finds each by: a key file's own provider
finds the key itself, a security module's a name. A version's life: added (it can unwrap, nobody wraps by it
yet), primary (it wraps), old (it unwraps until everything is wrapped anew), retired (it is gone).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import msgspec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec import Struct
from msgspec.structs import replace

from privguard.crypto.envelope import (
    AES,
    NONCE_BYTES,
    SUITES,
    EnvelopeError,
    Key,
    joined,
    key_version,
    place,
    seal,
    unseal,
)
from privguard.errors import ConfigError, StoreUnavailableError

KEY_BYTES: Final = 32

Where = tuple[str, str, str, str]
"""Tenant, client, table and field that a wrapped key belongs to."""

Draw = Callable[[int], bytes]
"""``draw(n)`` gives n unpredictable bytes."""


class KeyProvider(Protocol):
    """Where wrapping keys are kept: one module a kind.

    Attributes:
        holds_root: what it keeps is in the key file, the root with it; else the root stands there sealed.
    """

    holds_root: bool

    def create(self, name: str, draw: Draw) -> str:
        """Makes a key, and what it is found by; kept for good when this returns."""
        ...

    def open(self, held: str) -> Key:
        """The key that was made. Raises ConfigError if there is none."""
        ...

    def destroy(self, held: str) -> None:
        """Makes an end of a key; nothing to do where it stood in the key file alone."""
        ...


class KeyFile(Struct, frozen=True, forbid_unknown_fields=True):
    """What stands in a key file (JSON; see ``Keyring``); ``keks`` is what the provider finds each key by."""

    id: str
    suite: str
    keks: dict[int, str]
    primary: int
    root: str

    def __repr__(self) -> str:
        return f"KeyFile(id={self.id!r}, versions={sorted(self.keks)})"

    @property
    def newest(self) -> int:
        """The version that was added last."""
        return max(self.keks)


class Keyring:
    """A keyset in use.

    Attributes:
        id: names the keyset in what it encrypts; not secret.
        suite: algorithms, one of ``envelope.SUITES``.
        root: secret (32 bytes) that pseudonyms are derived from.
        look_again: brings this up to date, where a version is asked for that it does not know.
    """

    look_again: Callable[[], None] | None = None

    def __init__(self, id: str, suite: str, root: bytes, keks: Mapping[int, Key], primary: int) -> None:  # noqa: A002
        self.id = id
        self.suite = suite
        self.root = root
        self._wrapping = primary, keks

    def __repr__(self) -> str:
        return f"Keyring(id={self.id!r}, versions={sorted(self.keks)})"

    @property
    def primary(self) -> int:
        """The version that wraps; the others only unwrap."""
        return self._wrapping[0]

    @property
    def keks(self) -> Mapping[int, Key]:
        """Key-encrypting keys by version."""
        return self._wrapping[1]

    def renew(self, later: Keyring) -> None:
        """Takes over the wrapping keys of a later state, at once for everybody who uses this.

        Raises:
            ConfigError: it is another keyset.
        """
        if (later.id, later.suite, later.root) != (self.id, self.suite, self.root):
            raise ConfigError(
                "The key file is another keyset now: put the one back that this log began with."
            )
        self._wrapping = later._wrapping

    def derive(self, *use: str) -> bytes:
        """A key (32 bytes) for one use, e.g. ``derive("field-token", tenant, cls)`` (RFC 5869)."""
        digest = SUITES[self.suite].hash()
        return HKDF(algorithm=digest, length=KEY_BYTES, salt=None, info=joined(*use)).derive(self.root)

    def key_id(self, version: int) -> str:
        """Names one wrapping key, as the associated data of an envelope does."""
        return f"{self.id}/{version}"

    def wrap(self, key: bytes, nonce: bytes, where: Where, floor: int = 0) -> bytes:
        """Seals a key under the primary one.

        Args:
            floor: versions below it are retired.

        Raises:
            StoreUnavailableError: this process knows only retired versions.
        """
        if self.primary < floor and self.look_again is not None:
            self.look_again()
        primary, keks = self._wrapping
        if primary < floor:
            raise StoreUnavailableError(
                f"Version {primary} of the wrapping key is retired: bring this process's key file up to date."
            )
        return seal(keks[primary], nonce, key, place(*where, self.key_id(primary)), primary, self.suite)

    def unwrap(self, envelope: bytes, where: Where) -> bytes:
        """The key in an envelope.

        Raises:
            StoreUnavailableError: its wrapping key is not in the key file, or cannot be used now.
            EnvelopeError: it was changed, or belongs elsewhere (S16).
        """
        version = key_version(envelope)
        if version not in self.keks and self.look_again is not None:
            self.look_again()
        kek = self.keks.get(version)
        if kek is None:
            raise StoreUnavailableError(
                f"Version {version} of the wrapping key is not in the key file: put it back."
            )
        return unseal(kek, envelope, place(*where, self.key_id(version)))


class FileProvider:
    """Keys that stand in the key file themselves."""

    holds_root = True

    def create(self, name: str, draw: Draw) -> str:
        return _text(draw(KEY_BYTES))

    def open(self, held: str) -> bytes:
        return _key(held)

    def destroy(self, held: str) -> None:
        pass


def read_file(data: bytes) -> KeyFile:
    """Reads a key file.

    Raises:
        ConfigError: it is not one; the message holds none of it.
    """
    try:
        file = msgspec.json.decode(data, type=KeyFile)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise _broken() from None
    if file.suite not in SUITES:
        raise ConfigError(f"The key file's suite is not known; known: {', '.join(SUITES)}.")
    if file.primary not in file.keks or not all(0 < version < 2**32 for version in file.keks):
        raise ConfigError(
            "The key file's primary version is not among its keks, or a version is not positive."
        )
    return file


def write_file(file: KeyFile) -> bytes:
    """The bytes of a key file."""
    return msgspec.json.format(msgspec.json.encode(file), indent=2)


def open_keyring(file: KeyFile, provider: KeyProvider) -> Keyring:
    """The keyset of a key file.

    Raises:
        ConfigError: a key is missing or none.
        StoreUnavailableError: the provider does not answer.
    """
    try:
        keks = {version: provider.open(held) for version, held in file.keks.items()}
        root = base64.b64decode(file.root, validate=True)
        if len(root) != KEY_BYTES:
            root = unseal(keks[key_version(root)], root, _root_place(file.id, key_version(root)))
    except (binascii.Error, ValueError, LookupError, EnvelopeError):
        raise _broken() from None
    return Keyring(file.id, file.suite, root, keks, file.primary)


def new_key_file(provider: KeyProvider, draw: Draw, suite: str = AES) -> KeyFile:
    """A key file with fresh keys."""
    named, root = draw(8).hex(), draw(KEY_BYTES)
    file = KeyFile(named, suite, {1: provider.create(f"privguard/{named}/1", draw)}, 1, _text(root))
    return file if provider.holds_root else _with_root(file, provider, root, draw)


def added(file: KeyFile, provider: KeyProvider, draw: Draw) -> KeyFile:
    """The key file with one version more."""
    version = file.newest + 1
    held = provider.create(f"privguard/{file.id}/{version}", draw)
    return replace(file, keks={**file.keks, version: held})


def promoted(file: KeyFile, provider: KeyProvider, draw: Draw) -> KeyFile:
    """The key file whose newest version wraps."""
    later = replace(file, primary=file.newest)
    return (
        later if provider.holds_root else _with_root(later, provider, open_keyring(file, provider).root, draw)
    )


def retired(file: KeyFile, version: int) -> KeyFile:
    """The key file without the versions up to this one."""
    return replace(file, keks={each: held for each, held in file.keks.items() if each > version})


def parse(data: bytes) -> Keyring:
    """The keyset of a key file that holds its keys itself. Raises ConfigError."""
    return open_keyring(read_file(data), FileProvider())


def new_keyring(draw: Draw, suite: str = AES) -> bytes:
    """A key file with fresh keys in it."""
    return write_file(new_key_file(FileProvider(), draw, suite))


def _with_root(file: KeyFile, provider: KeyProvider, root: bytes, draw: Draw) -> KeyFile:
    kek, where = provider.open(file.keks[file.primary]), _root_place(file.id, file.primary)
    sealed = seal(kek, draw(NONCE_BYTES), root, where, file.primary, file.suite)
    return replace(file, root=_text(sealed))


def _root_place(named: str, version: int) -> bytes:
    return place("", "", "keyset", "root", f"{named}/{version}")


def _broken() -> ConfigError:
    return ConfigError(
        f"The key file is not a keyset: keys are {KEY_BYTES} bytes in base64 "
        "(restore it from its backup, or write a new one with `privguard keys init`)."
    )


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _key(text: str) -> bytes:
    key = base64.b64decode(text, validate=True)
    if len(key) != KEY_BYTES:
        raise ValueError
    return key
