"""Imports the staff directory for somebody, who is on record with it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from msgspec import Struct

from privguard.errors import ConfigError
from privguard.identity.directory import Staff, difference, imported, read_table
from privguard.model import AccessEvent, AuditReceipt, Outcome
from privguard.ports import Clock, Entropy
from privguard.store.custody import Custody
from privguard.store.directory import Snapshot, SqlDirectory


class Import(Struct, frozen=True):
    """What an import would make of a tenant's directory.

    Attributes:
        changes: each member of staff who changes, and how; names no client.
        digests: SHA-256 of each file, by its kind.
    """

    tenant: str
    was: Snapshot
    now: Mapping[str, Staff]
    changes: Mapping[str, str]
    digests: Mapping[str, str]


class Registrar:
    """The directory as one person keeps it.

    Args:
        who: the person, as the log will name them.
    """

    def __init__(
        self, custody: Custody, directory: SqlDirectory, clock: Clock, entropy: Entropy, *, who: str
    ) -> None:
        self._custody = custody
        self._directory = directory
        self._clock = clock
        self._entropy = entropy
        self._who = who

    def plan(self, files: Mapping[str, bytes], tenant: str = "default") -> Import:
        """What files (by name) would change; changes nothing.

        Raises:
            ConfigError: names file, line and mend, and no value.
        """
        tables, digests = [], {}
        for name, data in files.items():
            try:
                tables.append(read_table(name, data.decode("utf-8")))
            except UnicodeDecodeError:
                raise ConfigError(f"{name}: not UTF-8 (save it as UTF-8)") from None
            digests[tables[-1].kind] = hashlib.sha256(data).hexdigest()
        was = self._directory.snapshot(tenant)
        now = imported(was.staff, tables, self._directory.token(tenant))
        told = {name: difference(was.staff.get(name), now.get(name)) for name in sorted({**was.staff, **now})}
        return Import(tenant, was, now, {name: said for name, said in told.items() if said}, digests)

    def apply(self, planned: Import) -> AuditReceipt:
        """Puts an import in force, in one transaction with its entry.

        Raises:
            ConfigError: the directory was changed since it was planned.
        """
        at_us = self._clock.now_us()
        counts = {
            kind: str(sum(self._kind(said) == kind for said in planned.changes.values()))
            for kind in ("added", "changed", "removed")
        }
        event = AccessEvent(
            event_id=self._entropy.token(16).hex(),
            at_us=at_us,
            action="oversight:directory:import",
            outcome=Outcome.PERMITTED,
            actor=self._who,
            tenant=planned.tenant,
            about={**planned.digests, **counts},
        )
        return self._custody.record(
            event,
            lambda connection: self._directory.replace(
                connection, planned.tenant, planned.was, planned.now, at_us
            ),
        )

    def _kind(self, said: str) -> str:
        return said if said in ("added", "removed") else "changed"
