"""Wrapping clients' keys anew, on both engines."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from privguard.crypto.envelope import EnvelopeError
from privguard.crypto.keyring import FileProvider, new_key_file
from privguard.errors import AuditUnavailableError, ConfigError
from privguard.keystore.keyset_file import KeysetFile
from privguard.model import SubjectRef
from privguard.oversight.key_custodian import KeyCustodian
from privguard.store import wrapped as wrapped_module
from privguard.store.audit_log import SqlAuditLog
from privguard.store.subjects import SubjectKeys
from privguard.store.trail_reader import TrailReader
from privguard.store.wrapped import LIVE_US, WrappedKeys, count_by_version
from privguard.testing import FrozenClock
from tests.unit.store.logs import (
    ORIGIN,
    SystemEntropy,
    check_whole,
    custody_of,
    open_log,
    raw,
    store_of,
    url_of,
)
from tests.unit.store.test_audit_log import access


class Keys:
    """A log whose keys are in a file, with a writer, the custodian, and a reader that was told of nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        provider = FileProvider()
        self.path = folder / "keys.json"
        self.file = KeysetFile(self.path, provider)
        self.file.create(lambda: new_key_file(provider, os.urandom))
        open_log(folder).close()
        self.log = self.writer()
        self.store = store_of(folder)
        self.wrapped = WrappedKeys(self.store, self.file.open(), SystemEntropy())
        self.clock = FrozenClock()
        self.custodian = self.made_custodian(self.wrapped)

    def made_custodian(self, wrapped: WrappedKeys) -> KeyCustodian:
        custody = custody_of(self.store, self.file.open())
        return KeyCustodian(custody, self.file, wrapped, self.clock, SystemEntropy(), who="officer")

    def writer(self) -> SqlAuditLog:
        """Of another process, with a keyring of its own."""
        keyring = KeysetFile(self.path, FileProvider()).open()
        return SqlAuditLog.open(url_of(self.folder), keyring, SystemEntropy(), origin=ORIGIN)

    def put(self, *names: str, log: SqlAuditLog | None = None) -> None:
        for name in names:
            (log or self.log).submit(access(name)).result(10)

    def read(self, *names: str) -> None:
        """By a process that remembers nothing."""
        keyring = KeysetFile(self.path, FileProvider()).open()
        reader = TrailReader(self.store, SubjectKeys(keyring, SystemEntropy()))
        for name in names:
            token = reader.token("default", SubjectRef("client", name))
            assert token is not None
            assert reader.clients([token]) == {token: SubjectRef("client", name)}

    def acts(self) -> list[tuple[str, str, str]]:
        from privguard.audit.record import parse

        leaves = [parse(leaf) for leaf in check_whole(self.folder)]
        return [
            (leaf.action.removeprefix("oversight:keys:"), leaf.outcome, leaf.about["key"].partition("/")[2])
            for leaf in leaves
            if leaf.action.startswith("oversight:keys:")
        ]


@pytest.fixture
def keys(log_folder: Path) -> Iterator[Keys]:
    made = Keys(log_folder)
    yield made
    made.log.close()


@pytest.fixture
def file_keys(tmp_path: Path) -> Iterator[Keys]:
    """On SQLite alone, where the engine does not matter."""
    made = Keys(tmp_path)
    yield made
    made.log.close()
    made.store.close()


NAMES = [f"client-{number}" for number in range(25)]


def test_l11_a_version_is_added_promoted_emptied_and_retired_and_each_act_is_on_record(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wrapped_module, "BATCH", 10)
    keys.put(*NAMES)
    assert keys.custodian.add() == 2
    keys.put("before")
    assert count_by_version(keys.store) == {1: 26}  # what is added wraps nothing
    assert keys.custodian.promote() == 2
    with pytest.raises(ConfigError, match="26 keys need this version"):
        keys.custodian.retire(1)
    assert keys.custodian.rewrap() == 26
    assert keys.custodian.rewrap() == 0
    keys.read(*NAMES, "before")
    keys.custodian.retire(1)
    keys.put("after", *NAMES[:2])
    assert count_by_version(keys.store) == {2: 27}
    keys.read(*NAMES, "before", "after")
    assert keys.acts() == [
        ("add", "intent", "2"), ("add", "permitted", "2"),
        ("promote", "intent", "2"), ("promote", "permitted", "2"),
        ("retire", "intent", "1"), ("retire", "aborted", "1"),
        ("rewrap", "intent", "2"), ("rewrap", "permitted", "2"),
        ("rewrap", "intent", "2"), ("rewrap", "permitted", "2"),
        ("retire", "intent", "1"), ("retire", "permitted", "1"),
    ]  # fmt: skip


def test_l11_only_what_wraps_no_more_can_be_retired(file_keys: Keys) -> None:
    for version in (1, 2, 7):
        with pytest.raises(ConfigError, match="there are: none"):
            file_keys.custodian.retire(version)
    file_keys.custodian.add()
    with pytest.raises(ConfigError, match="there are: none"):
        file_keys.custodian.retire(2)


def test_l11_who_did_not_see_the_rotation_cannot_wrap_by_what_is_retired(keys: Keys, tmp_path: Path) -> None:
    copied = tmp_path / "elsewhere.json"
    copied.write_bytes(keys.path.read_bytes())
    copied.chmod(0o600)
    stale = KeysetFile(copied, FileProvider())
    log = SqlAuditLog.open(url_of(keys.folder), stale.open(), SystemEntropy(), origin=ORIGIN)
    keys.put("known", log=log)
    keys.custodian.add()
    keys.custodian.promote()
    keys.custodian.rewrap()
    keys.custodian.retire(1)
    with pytest.raises(AuditUnavailableError, match="is retired: bring this process's key file up to date"):
        keys.put("new", log=log)
    keys.put("known", log=log)  # whom it remembers it still serves
    copied.write_bytes(keys.path.read_bytes())
    keys.put("new", log=log)
    log.close()
    keys.read("known", "new")


def test_l11_a_version_is_promoted_once_every_running_process_knows_it(file_keys: Keys) -> None:
    now = file_keys.clock.now_us()
    file_keys.wrapped.saw("here:1", 1, now)
    file_keys.wrapped.saw("gone:2", 1, now - LIVE_US - 1)
    file_keys.custodian.add()
    assert file_keys.custodian.behind() == ["here:1"]
    with pytest.raises(ConfigError, match="not known yet to here:1"):
        file_keys.custodian.promote()
    file_keys.wrapped.saw("here:1", 2, now)
    assert file_keys.custodian.promote() == 2


class BreakingKeys(WrappedKeys):
    """Ends in the middle, as a killed process does."""

    def _page(self, after: str) -> list[tuple[str, str, str]]:
        if after:
            raise KeyboardInterrupt
        return super()._page(after)


def test_l11_a_rewrap_that_was_interrupted_goes_on(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wrapped_module, "BATCH", 10)
    keys.put(*NAMES)
    keys.custodian.add()
    keys.custodian.promote()
    breaking = keys.made_custodian(BreakingKeys(keys.store, keys.file.open(), SystemEntropy()))
    with pytest.raises(KeyboardInterrupt):
        breaking.rewrap()
    assert count_by_version(keys.store) == {1: 15, 2: 10}
    keys.read(*NAMES)
    assert keys.custodian.rewrap() == 15
    keys.read(*NAMES)
    check_whole(keys.folder)


class LateKeys(WrappedKeys):
    """Between reading and writing a page, somebody erases a client of it."""

    def __init__(self, folder: Path, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self._folder = folder

    def _page(self, after: str) -> list[tuple[str, str, str]]:
        rows = super()._page(after)
        if rows:
            with raw(self._folder) as connection:
                connection.execute(f"DELETE FROM subject WHERE ref_hmac = '{rows[0][0]}'")
        return rows


def test_l13_a_client_erased_in_the_middle_of_a_rewrap_stays_erased(keys: Keys) -> None:
    keys.put(*NAMES[:5])
    keys.custodian.add()
    keys.custodian.promote()
    late = keys.made_custodian(LateKeys(keys.folder, keys.store, keys.file.open(), SystemEntropy()))
    assert late.rewrap() == 4
    assert count_by_version(keys.store) == {2: 4}


def test_s16_a_row_that_was_moved_stops_the_rewrap(file_keys: Keys) -> None:
    file_keys.put("a", "b")
    with raw(file_keys.folder) as connection:
        (first,) = connection.execute("SELECT wrapped_dek FROM subject").fetchone()
        connection.execute(f"UPDATE subject SET wrapped_dek = '{first}'")
    file_keys.custodian.add()
    file_keys.custodian.promote()
    with pytest.raises(EnvelopeError):
        file_keys.custodian.rewrap()
    assert file_keys.acts()[-1] == ("rewrap", "aborted", "2")


def test_l11_the_database_takes_no_retirement_back(keys: Keys) -> None:
    keys.custodian.add()
    keys.custodian.promote()
    keys.custodian.retire(1)
    with raw(keys.folder) as connection, pytest.raises(Exception, match="append-only"):
        connection.execute("UPDATE tree_state SET kek_floor = 0")
