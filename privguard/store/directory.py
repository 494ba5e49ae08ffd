"""The staff directory in the store: one row a member of staff, sealed, for it names clients."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, bindparam, delete, func, insert, select

from privguard.crypto.keyring import Keyring
from privguard.crypto.pseudonym import FieldTokens
from privguard.errors import ConfigError
from privguard.identity.directory import NotAdmittedError, Staff, Standing, standing
from privguard.identity.private import Token
from privguard.model import Principal
from privguard.ports import Entropy
from privguard.store.engine import Store
from privguard.store.sealed import SealedColumn
from privguard.store.tables import staff

REMEMBERED: Final = 10_000
"""Members of staff whom a process keeps in memory at most."""


class Snapshot(Struct, frozen=True):
    """A tenant's directory as it was read; ``versions`` tells whether it is the same still."""

    staff: Mapping[str, Staff]
    versions: Mapping[str, int]


def members(store: Store) -> int:
    """How many the directory holds, of all tenants."""
    with store.read() as connection:
        return connection.execute(select(func.count()).select_from(staff)).scalar_one()


class SqlDirectory:
    """``ports.Directory``; safe to share between threads.

    The row's version is asked of the database each time, so that a dismissal is in force everywhere once it
    is committed; what the row holds is remembered as long as its version stays.
    """

    def __init__(self, store: Store, keyring: Keyring, entropy: Entropy) -> None:
        self._store = store
        self._sealed = SealedColumn(keyring, entropy, "staff", "record", use="directory")
        self._tokens = FieldTokens(keyring)
        self._known: dict[tuple[str, str], tuple[int, Standing]] = {}

    def admit(self, actor: Principal, now_us: int) -> Principal:
        """See ``ports.Directory.admit``."""
        who, now = (actor.tenant, actor.id), now_us // 1_000_000
        with self._store.read() as connection:
            current = connection.execute(_VERSION, {"t": actor.tenant, "i": actor.id}).scalar_one_or_none()
            if current is None:
                raise NotAdmittedError(actor)
            version, known = self._known.get(who, (0, None))
            if known is None or version != current:
                record = connection.execute(_RECORD, {"t": actor.tenant, "i": actor.id}).scalar_one()
                known = standing(self._opened(*who, record), now, self.token(actor.tenant))
        if known.staff.status != "active":
            raise NotAdmittedError(actor)
        if known.until <= now:
            known = standing(known.staff, now, self.token(actor.tenant))
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[who] = current, known
        return known.admit(actor)

    def token(self, tenant: str) -> Token:
        """What a tenant's staff share with clients in private is kept by; linked to no other token."""
        return functools.partial(_token, self._tokens, tenant)

    def snapshot(self, tenant: str) -> Snapshot:
        """All of a tenant's directory."""
        with self._store.read() as connection:
            rows = connection.execute(_ALL, {"t": tenant}).all()
        return Snapshot(
            {row.id: self._opened(tenant, row.id, row.record) for row in rows},
            {row.id: row.version for row in rows},
        )

    def replace(
        self, connection: Connection, tenant: str, was: Snapshot, now: Mapping[str, Staff], version: int
    ) -> None:
        """Puts a directory in the place of another, in the transaction of the entry that says so.

        Raises:
            ConfigError: it was changed since ``was`` was read.
        """
        there = select(staff.c.id, staff.c.version).where(staff.c.tenant == tenant)
        if {row.id: row.version for row in connection.execute(there)} != was.versions:
            raise ConfigError("The directory was changed meanwhile: run the import again.")
        version = max([version, *(one + 1 for one in was.versions.values())])
        changed = [name for name in {**was.staff, **now} if was.staff.get(name) != now.get(name)]
        if changed:
            connection.execute(delete(staff).where(*_ONE), [{"t": tenant, "i": name} for name in changed])
        rows = [self._row(tenant, now[name], version) for name in changed if name in now]
        if rows:
            connection.execute(insert(staff), rows)

    def _row(self, tenant: str, one: Staff, version: int) -> dict[str, object]:
        record = self._sealed.seal(tenant, one.id, msgspec.json.encode(one))
        return {"tenant": tenant, "id": one.id, "version": version, "record": record}

    def _opened(self, tenant: str, name: str, record: str) -> Staff:
        return msgspec.json.decode(self._sealed.open(tenant, name, record), type=Staff)


def _token(tokens: FieldTokens, tenant: str, kind: str, text: str) -> str:
    return tokens.token(tenant, f"private:{kind}", text)  # no class of a policy has a colon


_ONE: Final = (staff.c.tenant == bindparam("t"), staff.c.id == bindparam("i"))
_RECORD: Final = select(staff.c.record).where(*_ONE)
_ALL: Final = select(staff).where(staff.c.tenant == bindparam("t")).order_by(staff.c.id)
_VERSION: Final = select(staff.c.version).where(*_ONE)  # built once: to build it costs as much as to run it
