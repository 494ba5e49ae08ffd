"""Claims (``ports.Claim``) as statements that change one row or none, in the words of either database."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection as Transaction

from privguard.errors import PrivguardError
from privguard.ports import Claim
from privguard.store.statements import driver

_NAMED: Final = re.compile(r":(\w+)")


class Conditional:
    """A statement with named values (``:name``), through the driver: SQLAlchemy would take as long again."""

    def __init__(self, sql: str) -> None:
        self._said = {"sqlite": sql, "postgresql": _NAMED.sub(r"%(\1)s", sql.replace("%", "%%"))}

    def changes(self, transaction: Transaction, values: Mapping[str, Any]) -> bool:
        """Whether it changed one row."""
        cursor = driver(transaction).execute(self._said[transaction.dialect.name], values)
        return bool(cursor.rowcount == 1)

    def claim(self, values: Mapping[str, Any], otherwise: type[PrivguardError], why: str = "") -> Claim:
        """The claim that it does; raises ``otherwise`` where it does not."""

        def claim(transaction: Transaction) -> None:
            if not self.changes(transaction, values):
                raise otherwise(why)

        return claim


def together(*claims: Claim) -> Claim:
    """All of these, in their order; where one does not hold, the log undoes what the others did."""

    def claim(transaction: Transaction) -> None:
        for each in claims:
            each(transaction)

    return claim
