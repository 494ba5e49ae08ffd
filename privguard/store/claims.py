"""Statements in the words of either database; claims (``ports.Claim``) change one row or none."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct
from sqlalchemy import Connection as Transaction

from privguard.errors import AccessDeniedError, PrivguardError
from privguard.ports import Claim
from privguard.store.statements import driver

_NAMED: Final = re.compile(r":(\w+)")


class Statement:
    """A statement with named values (``:name``), through the driver: SQLAlchemy would take as long again."""

    def __init__(self, sql: str) -> None:
        self._said = {"sqlite": sql, "postgresql": _NAMED.sub(r"%(\1)s", sql.replace("%", "%%"))}

    def changes(self, transaction: Transaction, values: Mapping[str, Any]) -> bool:
        """Whether it changed one row."""
        cursor = driver(transaction).execute(self._said[transaction.dialect.name], values)
        return bool(cursor.rowcount == 1)

    def each_changes(self, transaction: Transaction, values: Sequence[Mapping[str, Any]]) -> list[bool]:
        """The same for many values, in their order; to PostgreSQL they go at once."""
        if transaction.dialect.name != "postgresql" or len(values) == 1:
            return [self.changes(transaction, each) for each in values]
        found: list[bool] = []
        with driver(transaction).cursor() as cursor:
            cursor.executemany(self._said["postgresql"], values, returning=True)
            found.append(cursor.rowcount == 1)
            while cursor.nextset():
                found.append(cursor.rowcount == 1)
        return found

    def rows(self, transaction: Transaction, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """What it finds, where it is a query, as the driver gives it."""
        found: Sequence[Sequence[Any]] = (
            driver(transaction).execute(self._said[transaction.dialect.name], values).fetchall()
        )
        return found

    def claim(self, values: Mapping[str, Any], otherwise: type[PrivguardError], why: str = "") -> Claim:
        """The claim that it does; raises ``otherwise`` where it does not."""
        return Single(self, values, otherwise, why)


_LEASE: Final = Statement("""
INSERT INTO spent_challenge (nonce, until_us) VALUES (:nonce, :until)
ON CONFLICT (nonce) DO UPDATE SET until_us = :until WHERE spent_challenge.until_us <= :now""")

_RENEWAL: Final = Statement("""
UPDATE spent_challenge SET until_us = :until WHERE nonce = :nonce AND until_us = :held""")


class Single(Struct, frozen=True):
    """A claim of one statement: where it does not hold, it has changed nothing that were to be undone."""

    statement: Statement
    values: Mapping[str, Any]
    otherwise: type[PrivguardError]
    why: str

    def __call__(self, transaction: Transaction) -> None:
        if not self.statement.changes(transaction, self.values):
            raise self.otherwise(self.why)


def leased(name: str, now_us: int, until_us: int, otherwise: str) -> Claim:
    """A name that nobody else holds until then; AccessDeniedError with these words where somebody does."""
    values = {"nonce": name, "now": now_us, "until": until_us}
    return _LEASE.claim(values, AccessDeniedError, otherwise)


def renewed(name: str, held_us: int, until_us: int, otherwise: str) -> Claim:
    """The same name, held until then instead; AccessDeniedError where somebody else holds it by now."""
    values = {"nonce": name, "held": held_us, "until": until_us}
    return _RENEWAL.claim(values, AccessDeniedError, otherwise)


def settled(transaction: Transaction, claims: Mapping[str, Single]) -> dict[str, PrivguardError | None]:
    """Makes claims of one statement each, alike ones at once; why those do not hold that do not."""
    alike: dict[int, list[str]] = {}
    for name, claim in claims.items():
        alike.setdefault(id(claim.statement), []).append(name)
    found: dict[str, PrivguardError | None] = {}
    for names in alike.values():
        group = [claims[name] for name in names]
        held = group[0].statement.each_changes(transaction, [claim.values for claim in group])
        for name, claim, holds in zip(names, group, held, strict=True):
            found[name] = None if holds else claim.otherwise(claim.why)
    return found


def together(*claims: Claim) -> Claim:
    """All of these, in their order; where one does not hold, the log undoes what the others did."""

    def claim(transaction: Transaction) -> None:
        for each in claims:
            each(transaction)

    return claim
