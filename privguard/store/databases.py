"""The two kinds of database: how each is opened, and how its writers are kept apart."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Protocol

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from privguard.errors import ConfigError, StoreUnavailableError
from privguard.files import locked, opened

Identity = tuple[int, int]

_BUSY_SECONDS: Final = 1.0
_POOL: Final = 12
"""Connections kept: as many as threads that block, or each further one is opened anew."""
_PRAGMAS: Final = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA trusted_schema=OFF",
)
_SESSION: Final = (
    # A writer that stops inside its transaction holds the log's lock: the server ends it.
    "SET lock_timeout = '5s'",
    "SET idle_in_transaction_session_timeout = '30s'",
    (
        "SELECT set_config('synchronous_commit', 'on', false)"
        " WHERE current_setting('synchronous_commit') = 'off'"
    ),
)
_REACH: Final = {"connect_timeout": 3, "keepalives_idle": 10, "tcp_user_timeout": 10_000}
_URLS: Final = (
    "a SQLite file (sqlite+aiosqlite:///privguard.db) "
    "or a PostgreSQL database (postgresql+asyncpg://USER@HOST/NAME)"
)


class Database(Protocol):
    """Where the tables are."""

    def create(self) -> None:
        """Makes the database if that is privguard's to do."""
        ...

    def guard(self) -> None:
        """Raises ConfigError if it is not there, or others may read it."""
        ...

    def engine(self) -> Engine:
        """Opens it; ``execution_options(writes=True)`` begins transactions that write."""
        ...

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Held around a transaction that writes."""
        ...

    def identity(self) -> Identity | None:
        """What changes when another database stands in its place.

        Raises:
            StoreUnavailableError: none does.
        """
        ...


def database(url: str) -> Database:
    """The database of a URL.

    Raises:
        ConfigError: the URL is not understood.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ConfigError(f"store.url is not a URL: it names {_URLS}.") from None
    if parsed.get_backend_name() == "postgresql" and parsed.database:
        return PostgresDatabase(parsed.set(drivername="postgresql+psycopg"))
    if parsed.get_backend_name() == "sqlite" and parsed.database and parsed.database != ":memory:":
        return SqliteFile(Path(parsed.database).absolute())
    raise ConfigError(f"store.url must name {_URLS}.")


class SqliteFile:
    """SQLite in WAL mode with ``synchronous=FULL``: a commit that returned survives a power cut.

    Writers take a ``flock`` on a file beside the database first, for SQLite's own waiting is unfair (p99 of
    859 against 34 ms).
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def create(self) -> None:
        """The file (0600) and its folder (0700)."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._path.exists():
            os.close(opened(self._path, self._path, os.O_RDWR))

    def guard(self) -> None:
        try:
            mode = self._path.stat().st_mode
        except OSError as error:
            raise ConfigError(
                f"{self._path}: {error.strerror}. Put the log back; `privguard db upgrade` makes a new one."
            ) from None
        if mode & 0o077:
            raise ConfigError(f"{self._path} may be read by others (`chmod 600 {self._path}`).")

    def engine(self) -> Engine:
        engine = create_engine(
            URL.create("sqlite+pysqlite", database=str(self._path)),
            hide_parameters=True,  # an exception of a statement would quote its values (L12)
            pool_size=_POOL,
            connect_args={"timeout": _BUSY_SECONDS},
        )
        event.listen(engine, "connect", self._connected)
        event.listen(engine, "begin", self._begin)
        return engine

    def lock(self) -> contextlib.AbstractContextManager[None]:
        return locked(self._path)

    def identity(self) -> Identity:
        """Device and inode: nobody finds what is written to a file that was moved away (L06)."""
        try:
            status = self._path.stat()
        except OSError:
            raise StoreUnavailableError("The database file is gone: put it back.") from None
        return status.st_dev, status.st_ino

    def _connected(self, connection: Any, record: object) -> None:
        connection.isolation_level = None  # transactions begin where _begin says
        for pragma in _PRAGMAS:
            connection.execute(pragma).close()

    def _begin(self, connection: Connection) -> None:
        if connection.get_execution_options().get("writes"):
            # Half of it costs an export 5 % CPU, twice as much saves none; who reads has SQLite's 2 MB.
            _run(connection, "PRAGMA cache_size=-8192")
            _run(connection, "BEGIN IMMEDIATE")
        else:
            _run(connection, "BEGIN")


def _run(connection: Connection, statement: str) -> None:
    """Through the driver: SQLAlchemy would take 10 µs more, as long again as all of a short read."""
    driver: Any = connection.connection.driver_connection
    driver.execute(statement)


class PostgresDatabase:
    """PostgreSQL. Writers of the log are kept apart by the lock on the row of ``tree_state``."""

    def __init__(self, url: URL) -> None:
        self._url = url

    def create(self) -> None:
        """Who runs the server made the database."""

    def guard(self) -> None:
        """Who may read it is the server's to say."""

    def engine(self) -> Engine:
        try:
            engine = create_engine(
                self._url,
                hide_parameters=True,
                pool_size=_POOL,
                connect_args=_REACH,
                isolation_level="READ COMMITTED",  # after the lock, what its last holder wrote is seen
            )
        except ModuleNotFoundError:
            raise ConfigError("PostgreSQL needs its driver: `pip install 'privguard[postgres]'`.") from None
        event.listen(engine, "connect", self._connected)
        return engine

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        yield

    def identity(self) -> None:
        return None

    def _connected(self, connection: Any, record: object) -> None:
        for setting in _SESSION:
            connection.execute(setting)
        connection.commit()
