"""Which statements a database takes."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection

from privguard.store import postgres_append, sqlite_append
from privguard.store.statements import Statements

_STATEMENTS: Final[dict[str, Statements]] = {"sqlite": sqlite_append, "postgresql": postgres_append}


def statements_of(transaction: Connection) -> Statements:
    """The append's statements for the database of a transaction."""
    return _STATEMENTS[transaction.dialect.name]
