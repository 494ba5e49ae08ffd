"""Brings the tables to the version this release needs (Alembic; the migrations are in the package)."""

from __future__ import annotations

from typing import Final

from msgspec import Struct
from sqlalchemy import Connection, inspect, text

from privguard.errors import ConfigError
from privguard.store.engine import Store

HEAD: Final = "0022"
"""The version this release needs."""


class Status(Struct, frozen=True):
    """Versions of the tables: as they are (empty: there are none), and as they must be."""

    current: str
    head: str

    @property
    def ready(self) -> bool:
        return self.current == self.head

    @property
    def later(self) -> bool:
        """Whether a later release made the tables."""
        return self.current > self.head  # four digits each


def upgrade(url: str) -> Status:
    """Makes the database if it is not there, and brings its tables to this release's version.

    Raises:
        ConfigError: the URL is not understood, others may read the file, or a later release made the tables.
    """
    from alembic import command  # takes a third of a second to load: only here
    from alembic.config import Config

    store = Store(url, create=True)
    try:
        with store.write() as connection:
            _refuse_later(_status(connection))
            config = Config(attributes={"connection": connection})
            config.set_main_option("script_location", "privguard.store:migrations")
            command.upgrade(config, "head")
            return _status(connection)
    finally:
        store.close()


def status(url: str) -> Status:
    """The versions of the tables.

    Raises:
        ConfigError: there is no database, or others may read it.
    """
    store = Store(url)
    try:
        with store.read() as connection:
            return _status(connection)
    finally:
        store.close()


def require_current(connection: Connection) -> None:
    """Raises ConfigError, with the mend, unless the tables are of this release's version."""
    found = _status(connection)
    _refuse_later(found)
    if not found.ready:
        raise ConfigError(
            f"The database's tables are of version {found.current or 'none'}, this release needs "
            f"{found.head} (`privguard db upgrade`)."
        )


def _refuse_later(found: Status) -> None:
    if found.later:
        raise ConfigError(
            f"The database's tables are of version {found.current}, this release knows {found.head} at most. "
            "Install the release that made them, or a later one: there is no way back but a backup."
        )


def _status(connection: Connection) -> Status:
    if not inspect(connection).has_table("alembic_version"):
        return Status("", HEAD)
    current = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return Status(current or "", HEAD)
