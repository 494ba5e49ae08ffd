from __future__ import annotations

from pathlib import Path

import pytest

from privguard.audit.verify import verify_log
from privguard.errors import StoreUnavailableError
from privguard.store.log_reader import PAGE, LogReader
from tests.unit.audit.events import access
from tests.unit.store.logs import leaves_of, open_log, store_of


def reader(folder: Path) -> LogReader:
    return LogReader(store_of(folder))


def test_entries_are_read_in_order_and_verify_against_the_head(log_folder: Path) -> None:
    log = open_log(log_folder, deadline_s=30)
    count = PAGE * 2 + 3
    for future in [log.submit(access("a", at_us=number)) for number in range(count)]:
        future.result(30)
    log.close()
    read = reader(log_folder)
    leaves = leaves_of(log_folder)
    size, root = read.head()
    assert list(read.entries()) == list(enumerate(leaves))
    assert verify_log(lambda: (leaf for _, leaf in read.entries()), size, root).ok
    assert list(read.entries(PAGE - 1, PAGE + 2)) == list(enumerate(leaves))[PAGE - 1 : 2 * PAGE + 1]
    assert list(read.entries(count - 1, 9)) == [(count - 1, leaves[-1])]
    assert list(read.entries(count)) == list(read.entries(3, 0)) == []
    assert list(read.last(2)) == list(enumerate(leaves))[-2:]


def test_an_empty_log(log_folder: Path) -> None:
    open_log(log_folder).close()
    read = reader(log_folder)
    assert read.head()[0] == 0
    assert list(read.entries()) == list(read.last(5)) == []


def test_l09_a_reader_of_a_lost_database_says_so(tmp_path: Path) -> None:
    open_log(tmp_path).close()
    read = reader(tmp_path)
    for file in tmp_path.iterdir():
        file.unlink()
    (tmp_path / "log.db").write_bytes(b"not a database" * 100)
    with pytest.raises(StoreUnavailableError, match="restore a backup"):
        read.head()
