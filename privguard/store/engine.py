"""Opens the database and brackets its transactions.

SQLite in WAL mode with ``synchronous=FULL``: a commit that returned survives a power cut. Writers take a
``flock`` on a file beside the database first, for SQLite's own waiting is unfair (p99 of 859 against 34 ms).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, Pool, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from privguard.errors import ConfigError, StoreUnavailableError
from privguard.store.faults import cause

_BUSY_SECONDS: Final = 1.0
_PRAGMAS: Final = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA cache_size=-16384",
    "PRAGMA trusted_schema=OFF",
)


class Store:
    """A database with its write lock; safe to share between threads, and in a fork after ``renew``.

    Args:
        url: ``sqlite+aiosqlite:///PATH``, as in the configuration; used with the driver that blocks.
        create: makes the file (0600) and its folder (0700) if they are not there.

    Attributes:
        file: device and inode of the file that was last used.

    Raises:
        ConfigError: the URL is not understood, the file is not there, or others may read it.
    """

    def __init__(self, url: str, *, create: bool = False) -> None:
        self.path = _path(url)
        if create:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        _guard(self.path)
        self.file: tuple[int, int] | None = None
        self._inherited: Pool | None = None
        self._engine = self._new_engine()
        self._writer = self._engine.execution_options(begin="BEGIN IMMEDIATE")

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that is alone in writing; committed when the block ends, and durable then.

        Raises:
            StoreUnavailableError: the database fails; what was done may be undone or not.
        """
        with self._explained(), self._locked(), self._writer.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state of the database.

        Raises:
            StoreUnavailableError: the database fails.
        """
        with self._explained():
            self._same_file()
            with self._engine.connect() as connection:
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
            self._engine.dispose()  # a connection may remember what failed, e.g. that its file was read-only
            raise StoreUnavailableError(cause(error)) from None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        # Opened each time: a descriptor that a fork shares would share its lock too.
        lock = os.open(f"{self.path}-lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._same_file()
            yield
        finally:
            os.close(lock)

    def _new_engine(self) -> Engine:
        engine = create_engine(
            URL.create("sqlite+pysqlite", database=str(self.path)),
            hide_parameters=True,  # an exception of a statement would quote its values (L12)
            connect_args={"timeout": _BUSY_SECONDS},
        )
        event.listen(engine, "connect", self._connected)
        event.listen(engine, "begin", _begin)
        return engine

    def _connected(self, connection: Any, record: object) -> None:
        connection.isolation_level = None  # transactions begin where _begin says
        for pragma in _PRAGMAS:
            connection.execute(pragma).close()

    def _same_file(self) -> None:
        """Lets go of a file that was moved away or replaced: nobody finds what is written to it (L06)."""
        found = _identity(self.path)
        if found is None:
            raise StoreUnavailableError("The database file is gone: put it back.")
        if found != self.file:
            self._engine.dispose()
            self.file = found


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))


def _path(url: str) -> Path:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ConfigError("store.url is not a URL (e.g. sqlite+aiosqlite:///privguard.db).") from None
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        raise ConfigError("store.url must name a SQLite file (e.g. sqlite+aiosqlite:///privguard.db).")
    return Path(parsed.database).absolute()


def _guard(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror} (`privguard db upgrade` makes the database).") from None
    if mode & 0o077:
        raise ConfigError(f"{path} may be read by others (`chmod 600 {path}`).")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
