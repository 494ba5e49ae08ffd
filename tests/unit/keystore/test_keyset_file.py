from __future__ import annotations

import os
from pathlib import Path

import pytest

from privguard.crypto.keyring import FileProvider, added, new_key_file, promoted, retired
from privguard.errors import ConfigError, StoreUnavailableError
from privguard.keystore.keyset_file import KeysetFile

WHERE = ("t", "client", "subject", "wrapped_dek")
KEY, NONCE = b"k" * 32, b"n" * 12


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "keys.json"
    fresh(made)
    return made


def fresh(path: Path) -> None:
    provider = FileProvider()
    KeysetFile(path, provider).create(lambda: new_key_file(provider, os.urandom))


def keyset(path: Path) -> KeysetFile:
    return KeysetFile(path, FileProvider())


def add(file: KeysetFile) -> None:
    file.change(lambda was: added(was, file.provider, os.urandom))


def promote(file: KeysetFile) -> None:
    file.change(lambda was: promoted(was, file.provider, os.urandom))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o610, 0o601, 0o620, 0o602])
def test_s15_a_key_file_that_others_may_read_write_or_run_is_refused(path: Path, mode: int) -> None:
    path.chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600"):
        keyset(path).open()


def test_s15_a_key_file_is_its_owners_alone_whatever_the_umask_and_after_each_change(path: Path) -> None:
    before = os.umask(0)
    try:
        stale = path.with_name("keys.json.new")
        stale.touch(0o666)
        add(keyset(path))
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert not stale.exists()


def test_nothing_is_written_over(path: Path) -> None:
    content = path.read_bytes()
    with pytest.raises(ConfigError, match="left alone"):
        fresh(path)
    assert path.read_bytes() == content


def test_l11_a_version_goes_through_its_life_while_another_process_follows(path: Path) -> None:
    mine, other = keyset(path), keyset(path)
    here, there = mine.open(), other.open()
    first = there.wrap(KEY, NONCE, WHERE)
    add(mine)
    assert here.primary == there.primary == 1  # an added version wraps nothing
    promote(mine)
    second = here.wrap(KEY, NONCE, WHERE)
    assert there.primary == 1
    assert there.unwrap(second, WHERE) == KEY  # looks again: it is not told
    assert there.primary == 2
    assert here.unwrap(first, WHERE) == KEY
    mine.change(lambda was: retired(was, 1))
    other.refresh()
    assert there.unwrap(second, WHERE) == KEY
    with pytest.raises(StoreUnavailableError, match=r"Version 1 .* not in the key file"):
        there.unwrap(first, WHERE)


def test_l11_who_wraps_by_a_retired_version_looks_again_or_is_refused(path: Path) -> None:
    mine, other = keyset(path), keyset(path)
    there = other.open()
    with pytest.raises(StoreUnavailableError, match=r"Version 1 .* is retired"):
        there.wrap(KEY, NONCE, WHERE, floor=2)
    add(mine)
    promote(mine)
    assert there.wrap(KEY, NONCE, WHERE, floor=2)[1:5] == (2).to_bytes(4, "big")


@pytest.mark.parametrize("spoil", ["readable", "broken", "other", "gone"])
def test_a_file_that_cannot_be_used_leaves_the_keys_known_before_in_use(path: Path, spoil: str) -> None:
    file = keyset(path)
    keyring = file.open()
    wrapped = keyring.wrap(KEY, NONCE, WHERE)
    if spoil == "readable":
        path.chmod(0o644)
        os.utime(path, (1, 1))
    elif spoil == "broken":
        path.write_bytes(b"{")
    else:
        path.unlink()
        if spoil == "other":
            fresh(path)
    file.refresh()
    assert keyring.unwrap(wrapped, WHERE) == KEY


def test_a_number_is_never_used_for_two_keys(path: Path) -> None:
    file = keyset(path)
    add(file)
    promote(file)
    file.change(lambda was: retired(was, 1))
    add(file)
    assert sorted(file.read().keks) == [2, 3]
