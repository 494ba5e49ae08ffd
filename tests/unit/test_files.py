"""Files that a service and whoever keeps it both change."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from privguard import files
from privguard.errors import StoreUnavailableError
from privguard.store import schema
from privguard.store.databases import database
from privguard.store.signer_state import SignerState

SERVICE = (4711, 4712)
"""User and group of the service."""

root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to somebody else")


def owner(path: Path) -> tuple[int, int]:
    return path.stat().st_uid, path.stat().st_gid


@root
def test_s15_what_root_replaces_stays_its_owners_with_its_mode(tmp_path: Path) -> None:
    file = tmp_path / "signing.json"
    for mode in (0o600, 0o640):
        file.write_bytes(b"old")
        file.chmod(mode)
        os.chown(file, *SERVICE)
        files.put_secret(file, b"new")
        assert (file.read_bytes(), owner(file), file.stat().st_mode & 0o777) == (b"new", SERVICE, mode)


@root
def test_s15_what_root_makes_is_the_folders_owners(tmp_path: Path) -> None:
    os.chown(tmp_path, *SERVICE)
    state = SignerState(tmp_path / "signer.state")
    with state.held():
        state.swap(b"note")
    schema.upgrade(f"sqlite+aiosqlite:///{tmp_path / 'log.db'}")
    with database(f"sqlite+aiosqlite:///{tmp_path / 'log.db'}").lock():
        pass
    assert {file.name: owner(file) for file in tmp_path.iterdir()} == dict.fromkeys(
        ("signer.state", "signer.state-lock", "log.db", "log.db-lock"), SERVICE
    )
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in tmp_path.iterdir())


@pytest.mark.parametrize("name", ["signer.state.new", "signer.state-lock"])
def test_s15_a_link_in_the_folder_leads_nobody_to_another_file(tmp_path: Path, name: str) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"of root")
    (tmp_path / name).symlink_to(other)
    state = SignerState(tmp_path / "signer.state")
    with pytest.raises(StoreUnavailableError, match="must be writable"), state.held():
        state.swap(b"note")
    assert other.read_bytes() == b"of root"
