"""Opens the database and brackets its transactions."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator

from sqlalchemy import Connection, Pool
from sqlalchemy.engine.interfaces import IsolationLevel
from sqlalchemy.exc import SQLAlchemyError

from privguard.errors import StoreUnavailableError
from privguard.store.databases import Identity, database
from privguard.store.faults import cause, is_conflict


class ConflictError(StoreUnavailableError):
    """The database undid a transaction because of another: the same again may succeed."""


class Store:
    """A database with its write lock; safe to share between threads, and in a fork after ``renew``.

    Args:
        url: ``sqlite+aiosqlite:///PATH`` or ``postgresql+asyncpg://…``, as in the configuration; used with
            the driver that blocks.
        create: makes the file (0600) and its folder (0700) if they are not there.

    Attributes:
        file: which database was last used, with how often a transaction of this process failed: what was
            remembered of it before is to be forgotten when this changes.

    Raises:
        ConfigError: the URL is not understood, the file is not there, or others may read it.
    """

    def __init__(self, url: str, *, create: bool = False) -> None:
        self._database = database(url)
        if create:
            self._database.create()
        self._database.guard()
        self.file: tuple[Identity | None, int] = None, 0
        self._inherited: Pool | None = None
        self._engine = self._database.engine()
        self._writer = self._engine.execution_options(writes=True)

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that writes; committed when the block ends, and durable then.

        It is alone in writing: on SQLite from the start, on PostgreSQL once it holds the tree's row.

        Raises:
            ConflictError: it was undone because of another.
            StoreUnavailableError: the database fails; what was done may be undone or not.
        """
        with self._explained(), self._database.lock():
            self._same_database()
            with self._writer.begin() as connection:
                yield connection

    @contextlib.contextmanager
    def read(self, *, once: bool = False) -> Iterator[Connection]:
        """A transaction that sees one state of the database.

        Args:
            once: it is one statement, which sees one state anyway; saves PostgreSQL two ways there and back.

        Raises:
            StoreUnavailableError: the database fails.
        """
        with self._explained():
            self._same_database()
            with self._engine.connect() as connection:
                if connection.dialect.name == "postgresql":
                    level: IsolationLevel = "AUTOCOMMIT" if once else "REPEATABLE READ"
                    connection.execution_options(isolation_level=level)
                yield connection

    def renew(self) -> None:
        """For the child after a fork: opens connections of its own, and never closes the parent's."""
        self._inherited = self._engine.pool
        self._engine.dispose(close=False)

    def close(self) -> None:
        """Closes all connections that are not in use."""
        self._engine.dispose()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            raise self._failed(error) from None
        except Exception as error:
            if not hasattr(error, "sqlstate"):  # psycopg's, which need not be installed
                raise
            raise self._failed(error) from None

    def _failed(self, error: Exception) -> StoreUnavailableError:
        self._engine.dispose()  # a connection may remember what failed, e.g. that its file was read-only
        self.file = self.file[0], self.file[1] + 1
        return (ConflictError if is_conflict(error) else StoreUnavailableError)(cause(error))

    def _same_database(self) -> None:
        """Lets go of a file that was moved away or replaced (L06)."""
        found = self._database.identity()
        if found != self.file[0]:
            self._engine.dispose()
            self.file = found, self.file[1]
