"""Clients' data keys: made, wrapped, unwrapped, and remembered by each process."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from privguard.crypto.envelope import NONCE_BYTES, key_version, place, seal, shared_key, subkey, unseal
from privguard.crypto.keyring import KEY_BYTES, Keyring, Where
from privguard.crypto.pseudonym import client_ref, subject_token
from privguard.errors import PrivguardError, StoreUnavailableError
from privguard.model import SubjectRef
from privguard.ports import Entropy

REMEMBERED: Final = 20_000
"""Clients whose keys a process keeps at most; about 10 MB."""

_DRAW: Final = KEY_BYTES + 2 * NONCE_BYTES
"""Bytes of chance that a new client takes."""

Client = tuple[str, str, str]
"""Tenant, kind and id: a plain tuple of text, which the garbage collector need not look through."""


class DataKey(Struct, frozen=True, gc=False):
    """A client's data key (32 bytes) and the token that hangs on it."""

    token: str
    key: bytes

    def __repr__(self) -> str:
        return f"DataKey({self.token!r})"


class SubjectRow(Struct, frozen=True, array_like=True, gc=False):
    """A row of the subject table, as it is written."""

    ref_hmac: str
    tok: str
    tenant: str
    wrapped_dek: str
    ref: str
    kek_version: int


class Strangers(Struct, frozen=True):
    """Clients whose keys a process does not remember, and what becomes of them.

    Attributes:
        names: what their rows are found by.
        met: their keys, read or made: to be remembered once the rows of those that were made are committed.
        broken: clients that can have no key, and why.
        rows: of the keys that were made.
    """

    names: dict[Client, str] = {}
    met: dict[Client, DataKey] = {}
    broken: dict[Client, PrivguardError] = {}
    rows: list[SubjectRow] = []


def place_of(tenant: str, name: str) -> Where:
    """Where a client's wrapped key belongs."""
    return tenant, name, "subject", "wrapped_dek"


class SubjectKeys:
    """Data keys under a keyset. What it remembers may be forgotten at any time: the table is the truth."""

    def __init__(self, keyring: Keyring, entropy: Entropy) -> None:
        self._keyring = keyring
        self._entropy = entropy
        self._derived: dict[tuple[str, str], bytes] = {}
        # Two generations instead of a least-recently-used order: a hit in the younger costs one look-up.
        self._young: dict[Client, DataKey] = {}
        self._old: dict[Client, DataKey] = {}

    def recall(self, clients: Sequence[Client]) -> list[DataKey | None]:
        """The keys of clients, as far as this process remembers them at once."""
        return list(map(self._young.get, clients))

    def strangers(self, clients: Iterable[Client]) -> Strangers:
        """What there is to do for clients whose keys ``recall`` did not give."""
        strangers = Strangers()
        for client in clients:
            key = self._old.get(client)
            if key is not None:
                strangers.met[client] = key
                continue
            try:
                strangers.names[client] = self.name(client)
            except UnicodeEncodeError:
                strangers.broken[client] = StoreUnavailableError("A client's id is not Unicode.")
        return strangers

    def meet(self, strangers: Strangers, wrapped: Mapping[str, str], floor: int = 0) -> None:
        """Unwraps the keys that have rows (by name), and makes those that have none.

        Args:
            floor: versions of the wrapping key below it are retired.
        """
        made = [client for client, name in strangers.names.items() if name not in wrapped]
        # Drawn at once: drawing lets go of the interpreter lock.
        drawn = memoryview(self._entropy.token(len(made) * _DRAW)) if made else memoryview(b"")
        draws = {client: bytes(drawn[at * _DRAW : (at + 1) * _DRAW]) for at, client in enumerate(made)}
        for client, name in strangers.names.items():
            try:
                if name in wrapped:
                    strangers.met[client] = self.unwrap(client[0], name, wrapped[name])
                else:
                    strangers.met[client], row = self._create(client, name, draws[client], floor)
                    strangers.rows.append(row)
            except PrivguardError as error:
                strangers.broken[client] = error

    def remember(self, keys: Mapping[Client, DataKey]) -> None:
        """Keeps keys whose rows are committed."""
        if len(self._young) + len(keys) > REMEMBERED // 2:
            self._old, self._young = self._young, {}
        self._young.update(keys)

    def forget(self) -> None:
        """Forgets every key: some were destroyed (L13)."""
        self._young, self._old = {}, {}

    def name(self, client: Client) -> str:
        """What the client's row is found by."""
        tenant, kind, known_as = client
        return client_ref(self._tenant_key("client-ref", tenant), kind, known_as)

    def unwrap(self, tenant: str, name: str, wrapped: str) -> DataKey:
        """The key in a row.

        Raises:
            StoreUnavailableError: its wrapping key is not in the key file, or cannot be used now.
            EnvelopeError: the row was changed or belongs to another client (S16).
        """
        key = self._keyring.unwrap(base64.urlsafe_b64decode(wrapped), place_of(tenant, name))
        return DataKey(subject_token(key), key)

    def client(self, tenant: str, name: str, key: DataKey, sealed: str) -> SubjectRef:
        """Names the client again, from its row's ``ref``."""
        where = place(tenant, name, "subject", "ref", key.token)
        text = unseal(subkey(key.key, "ref"), base64.urlsafe_b64decode(sealed), where)
        return SubjectRef(*msgspec.json.decode(text, type=tuple[str, str]))

    def detail_key(self, tenant: str, keys: Sequence[bytes]) -> bytes:
        """What seals a detail: it takes the keys of all clients of the entry, or the tenant's without any."""
        return shared_key(keys or [self._tenant_key("detail", tenant)], "detail")

    def _create(self, client: Client, name: str, draw: bytes, floor: int) -> tuple[DataKey, SubjectRow]:
        tenant, *ref = client
        key, nonces = draw[:KEY_BYTES], draw[KEY_BYTES:]
        token = subject_token(key)
        wrapped = self._keyring.wrap(key, nonces[:NONCE_BYTES], place_of(tenant, name), floor)
        sealed = seal(
            subkey(key, "ref"),
            nonces[NONCE_BYTES:],
            msgspec.json.encode(ref),
            place(tenant, name, "subject", "ref", token),
            suite=self._keyring.suite,
        )
        row = SubjectRow(name, token, tenant, _base64(wrapped), _base64(sealed), key_version(wrapped))
        return DataKey(token, key), row

    def _tenant_key(self, use: str, tenant: str) -> bytes:
        key = self._derived.get((use, tenant))
        if key is None:
            key = self._derived[use, tenant] = self._keyring.derive(use, tenant)
        return key


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode()
