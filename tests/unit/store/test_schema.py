from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.schema import CreateIndex

import privguard.store
from privguard.errors import ConfigError
from privguard.store import schema
from privguard.store.audit_log import SqlAuditLog
from privguard.store.engine import Store
from privguard.store.tables import metadata
from tests.unit.store.logs import KEYRING, SystemEntropy, open_log, raw, url_of


def test_an_upgrade_makes_the_database_and_can_be_repeated(tmp_path: Path) -> None:
    url = url_of(tmp_path / "deep" / "er")
    assert schema.upgrade(url) == schema.Status(schema.HEAD, schema.HEAD)
    assert schema.upgrade(url).ready
    assert schema.status(url).ready


@pytest.mark.filterwarnings("ignore:.*expression-based index")
def test_the_migrations_lead_to_the_tables(tmp_path: Path) -> None:
    schema.upgrade(url_of(tmp_path))
    store = Store(url_of(tmp_path))
    by_actor = next(each for each in metadata.tables["event"].indexes if each.name == "event_actor")
    with store.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        query = text("SELECT sql FROM sqlite_master WHERE name = 'event_actor'")
        made = connection.execute(query).scalar_one()  # Alembic does not compare indexes of expressions
        wanted = str(CreateIndex(by_actor).compile(connection))
        assert re.sub(r"[\s()]", "", made) == re.sub(r"[\s()]", "", wanted)
    store.close()


def test_the_version_asked_for_is_the_last_migration() -> None:
    folder = Path(privguard.store.__file__).parent / "migrations"
    assert ScriptDirectory(str(folder)).get_heads() == [schema.HEAD]


def open_for_writing(folder: Path) -> SqlAuditLog:
    return SqlAuditLog.open(url_of(folder), KEYRING, SystemEntropy(), origin="test.invalid/log")


def test_a_log_without_a_database_names_the_mend(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="privguard db upgrade"):
        open_for_writing(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM alembic_version",
        "DROP TABLE alembic_version",
        "UPDATE alembic_version SET version_num = '0000'",
    ],
)
def test_old_tables_are_refused_with_the_mend(tmp_path: Path, change: str) -> None:
    schema.upgrade(url_of(tmp_path))
    with raw(tmp_path) as connection:
        connection.execute(change)
    assert not schema.status(url_of(tmp_path)).ready
    with pytest.raises(ConfigError, match="privguard db upgrade"):
        open_for_writing(tmp_path)


def test_tables_of_a_later_release_are_left_alone_and_the_release_is_the_mend(tmp_path: Path) -> None:
    schema.upgrade(url_of(tmp_path))
    with raw(tmp_path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    assert schema.status(url_of(tmp_path)).later
    with pytest.raises(ConfigError, match="Install the release that made them"):
        schema.upgrade(url_of(tmp_path))
    with pytest.raises(ConfigError, match="Install the release that made them"):
        open_for_writing(tmp_path)


def test_a_file_that_others_may_read_is_refused_with_the_mend(tmp_path: Path) -> None:
    open_log(tmp_path).close()
    (tmp_path / "log.db").chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        open_for_writing(tmp_path)
    with pytest.raises(ConfigError, match="chmod 600"):
        schema.status(url_of(tmp_path))


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", "sqlite+aiosqlite://", "sqlite:///:memory:", "mysql://h/d", "sqlite+aiosqlite:///"],
)
def test_a_url_that_names_no_sqlite_file_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=re.escape("store.url")):
        schema.upgrade(url)


def test_the_migrations_run_from_a_package_that_is_no_source_tree(tmp_path: Path) -> None:
    package = Path(privguard.store.__file__).parent.parent
    with zipfile.ZipFile(tmp_path / "privguard.zip", "w") as archive:  # as a wheel holds it: only its files
        for file in package.rglob("*.py"):
            archive.write(file, file.relative_to(package.parent))
    zipfile.ZipFile(tmp_path / "privguard.zip").extractall(tmp_path / "site")
    made = f"schema.upgrade({url_of(tmp_path)!r}).ready"
    script = f"from privguard.store import schema; print(schema.__file__, {made})"
    run = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        check=True,
    )
    assert run.stdout.split() == [str(tmp_path / "site/privguard/store/schema.py"), "True"]
