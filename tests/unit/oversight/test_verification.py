"""Verifying the log where it is, in this process and in others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from privguard.audit.verify import Pin
from privguard.errors import StoreUnavailableError
from privguard.oversight import verification
from privguard.oversight.completeness import commit_map
from privguard.oversight.verification import verify_store
from privguard.store.map_keeper import MapKeeper
from privguard.testing import FrozenClock
from tests.unit.audit.events import access
from tests.unit.store.logs import SystemEntropy, disarm, open_log, raw, store_of, url_of


def fill(folder: Path) -> Pin:
    log = open_log(folder, deadline_s=30)
    for number in range(40):
        log.submit(access("ab"[number % 2], "c", at_us=number))
    log.submit(access("a", at_us=50)).result(30)
    commit_map(MapKeeper(store_of(folder)), log, FrozenClock(), SystemEntropy(), 30)
    log.close()
    with store_of(folder).read() as connection:
        size, root = connection.exec_driver_sql("SELECT size, root FROM tree_state").one()
    assert size == 42
    return Pin(size, root)


def test_the_log_verifies_and_its_faults_are_named_by_other_processes_too(log_folder: Path) -> None:
    url, pin = url_of(log_folder), fill(log_folder)
    assert verify_store(url, pin.size, [pin], alone=0).ok
    with raw(log_folder) as database:
        disarm(database)
        database.execute("UPDATE event_subject SET view = 0 WHERE idx = 30")
        database.execute("UPDATE event SET actor = 'x' WHERE idx = 31")
    found = verify_store(url, pin.size, [pin])
    assert (found.kind, found.first_bad) == ("columns", 30)
    with raw(log_folder) as database:
        disarm(database)
        database.execute("UPDATE event SET leaf = (SELECT leaf FROM event WHERE idx = 20) WHERE idx = 19")
    found = verify_store(url, pin.size, [pin])
    assert (found.kind, found.first_bad) == ("edited", 19)
    with raw(log_folder) as database:
        disarm(database)
        database.execute(
            "UPDATE event SET leaf_hash = (SELECT leaf_hash FROM event WHERE idx = 21) WHERE idx = 18"
        )
    found = verify_store(url, pin.size, [pin], alone=0)
    assert (found.kind, found.first_bad) == ("reordered", 18)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE subject_head SET count = 20, last_idx = 38 WHERE last_idx = 40",
        "DELETE FROM subject_head WHERE last_idx = 40",
    ],
)
def test_l01_a_client_whose_last_entry_is_hidden_from_reports_is_named(log_folder: Path, change: str) -> None:
    """Reports go from the end of a client's chain: whoever sets it back hides what came after."""
    url, pin = url_of(log_folder), fill(log_folder)
    with raw(log_folder) as database:
        disarm(database)
        assert database.execute(change).rowcount == 1
    found = verify_store(url, pin.size, [pin])
    assert (found.ok, found.kind, found.first_bad) == (False, "ends", 40)


def test_an_empty_log_verifies(log_folder: Path) -> None:
    open_log(log_folder).close()
    with store_of(log_folder).read() as connection:
        root = connection.exec_driver_sql("SELECT root FROM tree_state").scalar_one()
    assert verify_store(url_of(log_folder), 0, [Pin(0, root)]).ok


def stop(url: str) -> None:
    os._exit(9)


def test_l09_a_reading_process_that_is_killed_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin = fill(tmp_path)
    monkeypatch.setattr(verification, "_open", stop)
    with pytest.raises(StoreUnavailableError, match="was ended"):
        verify_store(url_of(tmp_path), pin.size, [pin], 0)
