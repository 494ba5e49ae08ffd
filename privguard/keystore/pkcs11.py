"""Wrapping keys in a security module (PKCS#11): made there, never to leave it.

An envelope is the same as one of a key in the key file, AES-256-GCM; the module is asked once for each client
that a process does not remember, and once for each new one. It must take the nonce from us (``CKM_AES_GCM``
with a caller's IV), which some modules in FIPS mode refuse.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

import pkcs11
from cryptography.exceptions import InvalidTag
from pkcs11 import Attribute, GCMParams, KeyType, Mechanism, ObjectClass, PKCS11Error

from privguard.crypto.keyring import Draw
from privguard.errors import ConfigError, StoreUnavailableError

T = TypeVar("T")

_one_at_a_time: Final = threading.Lock()
"""A session runs one operation at a time, and beginning anew ends all sessions of the process."""
_GCM: Final = Mechanism.AES_GCM
_PIN: Final = (pkcs11.PinIncorrect, pkcs11.PinLocked, pkcs11.PinExpired)
_TEMPLATE: Final = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False}


class Pkcs11Provider:
    """Keys on a token; the key file holds their labels. Safe to share between threads."""

    holds_root = False

    def __init__(self, module: str, token: str, pin: str) -> None:
        self._module, self._token, self._pin = module, token, pin
        self._session: pkcs11.Session | None = None
        self._keys: dict[str, Any] = {}  # what a key may do depends on the module: the library types it so
        self._process = 0
        self._pin_refused = False

    def create(self, name: str, draw: Draw) -> str:
        def make(session: pkcs11.Session) -> None:
            if not self._found(session, name):  # or an interrupted command made it already
                session.generate_key(KeyType.AES, 256, label=name, store=True, template=_TEMPLATE)

        self._told(make)
        return name

    def open(self, held: str) -> Pkcs11Key:
        self._told(lambda session: self._find(session, held))
        return Pkcs11Key(self, held)

    def destroy(self, held: str) -> None:
        self._told(lambda session: self._find(session, held).destroy())
        self._keys.pop(held, None)

    def encrypt(self, held: str, how: GCMParams, data: bytes) -> bytes:
        def work(session: pkcs11.Session) -> bytes:
            return bytes(self._find(session, held).encrypt(data, mechanism=_GCM, mechanism_param=how))

        return self._told(work)

    def decrypt(self, held: str, how: GCMParams, data: bytes) -> bytes:
        def work(session: pkcs11.Session) -> bytes:
            return bytes(self._find(session, held).decrypt(data, mechanism=_GCM, mechanism_param=how))

        try:
            return self._ask(work)
        except PKCS11Error:  # it answers, and does not open this: modules name no reason
            raise InvalidTag from None

    def _told(self, work: Callable[[pkcs11.Session], T]) -> T:
        try:
            return self._ask(work)
        except PKCS11Error as error:
            raise _unavailable(error) from None

    def _ask(self, work: Callable[[pkcs11.Session], T]) -> T:
        """Asks once more in a new session: what fails may be the session, or what was asked."""
        with _one_at_a_time:
            if self._session is not None and self._process == os.getpid():
                with contextlib.suppress(PKCS11Error):
                    return work(self._session)
            return work(self._connect())

    def _connect(self) -> pkcs11.Session:
        self._keys.clear()
        self._session = None
        try:
            if self._pin_refused:  # a token locks itself after a few wrong ones
                raise pkcs11.PinIncorrect
            library = pkcs11.lib(self._module)
            try:
                self._session = self._logged_in(library)
            except _PIN:
                raise
            except PKCS11Error:  # after a fork, or after the module was down, it wants to begin anew
                library.reinitialize()
                self._session = self._logged_in(library)
        except PKCS11Error as error:
            self._pin_refused = isinstance(error, _PIN)
            raise _unavailable(error) from None
        self._process = os.getpid()
        return self._session

    def _logged_in(self, library: Any) -> Any:
        token = library.get_token(token_label=self._token)
        try:
            return token.open(rw=True, user_pin=self._pin)
        except pkcs11.UserAlreadyLoggedIn:  # a log-in is the process's, not the session's
            return token.open(rw=True)

    def _find(self, session: pkcs11.Session, held: str) -> Any:
        if held not in self._keys:
            found = self._found(session, held)
            if len(found) != 1:
                raise ConfigError(
                    f"The security module holds {len(found)} keys of a name in the key file, not one: "
                    "restore the token from its backup."
                )
            self._keys[held] = found[0]
        return self._keys[held]

    def _found(self, session: pkcs11.Session, held: str) -> list[Any]:
        return list(session.get_objects({Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.LABEL: held}))


def _unavailable(error: PKCS11Error) -> StoreUnavailableError:
    return StoreUnavailableError(
        f"The security module does not do what it is asked ({type(error).__name__}): look at it, "
        "and at [keys.pkcs11]."
    )


class Pkcs11Key:
    """``envelope.Aead``: one key of the module."""

    def __init__(self, provider: Pkcs11Provider, held: str) -> None:
        self._provider = provider
        self._held = held

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes, /) -> bytes:
        return self._provider.encrypt(self._held, GCMParams(nonce, associated_data), data)

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes, /) -> bytes:
        return self._provider.decrypt(self._held, GCMParams(nonce, associated_data), data)
