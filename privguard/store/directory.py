"""The staff directory in the store: one row a member of staff, sealed, for it names clients."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, bindparam, delete, func, insert, select

from privguard.crypto.envelope import NONCE_BYTES, place, seal, unseal
from privguard.crypto.keyring import Keyring
from privguard.errors import ConfigError
from privguard.identity.directory import NotAdmittedError, Staff, Standing, standing
from privguard.model import Principal
from privguard.ports import Entropy
from privguard.store.engine import Store
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
        self._keyring = keyring
        self._entropy = entropy
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
                known = standing(self._staff(connection, *who), now)
        if known.staff.status != "active":
            raise NotAdmittedError(actor)
        if known.until <= now:
            known = standing(known.staff, now)
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[who] = current, known
        return known.admit(actor)

    def snapshot(self, tenant: str) -> Snapshot:
        """All of a tenant's directory."""
        with self._store.read() as connection:
            return self._snapshot(connection, tenant)

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

    def _snapshot(self, connection: Connection, tenant: str) -> Snapshot:
        rows = connection.execute(select(staff).where(staff.c.tenant == tenant).order_by(staff.c.id)).all()
        return Snapshot(
            {row.id: self._opened(tenant, row.id, row.record) for row in rows},
            {row.id: row.version for row in rows},
        )

    def _staff(self, connection: Connection, tenant: str, name: str) -> Staff:
        query = select(staff.c.record).where(staff.c.tenant == tenant, staff.c.id == name)
        return self._opened(tenant, name, connection.execute(query).scalar_one())

    def _row(self, tenant: str, one: Staff, version: int) -> dict[str, object]:
        nonce = self._entropy.token(NONCE_BYTES)
        sealed = seal(
            self._key(tenant),
            nonce,
            msgspec.json.encode(one),
            self._place(tenant, one.id),
            suite=self._keyring.suite,
        )
        return {
            "tenant": tenant,
            "id": one.id,
            "version": version,
            "record": base64.urlsafe_b64encode(sealed).decode(),
        }

    def _opened(self, tenant: str, name: str, record: str) -> Staff:
        text = unseal(self._key(tenant), base64.urlsafe_b64decode(record), self._place(tenant, name))
        return msgspec.json.decode(text, type=Staff)

    def _key(self, tenant: str) -> bytes:
        return self._keyring.derive("directory", tenant)

    def _place(self, tenant: str, name: str) -> bytes:
        return place(tenant, name, "staff", "record", self._keyring.id)


_ONE: Final = (staff.c.tenant == bindparam("t"), staff.c.id == bindparam("i"))
_VERSION: Final = select(staff.c.version).where(*_ONE)  # built once: to build it costs as much as to run it
