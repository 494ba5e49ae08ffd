"""Statements in the words of either database; claims (``ports.Claim``) change one row or none."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct
from sqlalchemy import Connection as Transaction

from privguard.errors import PrivguardError
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

    def rows(self, transaction: Transaction, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """What it finds, where it is a query, as the driver gives it."""
        found: Sequence[Sequence[Any]] = (
            driver(transaction).execute(self._said[transaction.dialect.name], values).fetchall()
        )
        return found

    def claim(self, values: Mapping[str, Any], otherwise: type[PrivguardError], why: str = "") -> Claim:
        """The claim that it does; raises ``otherwise`` where it does not."""
        return Single(self, values, otherwise, why)


class Single(Struct, frozen=True):
    """A claim of one statement: where it does not hold, it has changed nothing that were to be undone."""

    statement: Statement
    values: Mapping[str, Any]
    otherwise: type[PrivguardError]
    why: str

    def __call__(self, transaction: Transaction) -> None:
        if not self.statement.changes(transaction, self.values):
            raise self.otherwise(self.why)


def together(*claims: Claim) -> Claim:
    """All of these, in their order; where one does not hold, the log undoes what the others did."""

    def claim(transaction: Transaction) -> None:
        for each in claims:
            each(transaction)

    return claim
