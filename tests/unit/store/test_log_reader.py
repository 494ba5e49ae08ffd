from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Select, select

from privguard.audit.verify import verify_log
from privguard.errors import StoreUnavailableError
from privguard.store.engine import Store
from privguard.store.log_reader import PAGE, Indexed, LogReader, Span, first_since, of_actors
from privguard.store.tables import BLOCK_EVENTS, event
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


LOG = 20 * BLOCK_EVENTS + 777
BUSY = range(9 * BLOCK_EVENTS + 5, 9 * BLOCK_EVENTS + 5 + 3 * PAGE)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, dict[str, list[int]]]]:
    """A table of entries of one who is seldom there, one who is often at once, and of others."""
    folder = tmp_path_factory.mktemp("blocks")
    open_log(folder).close()
    places = {"seldom": [0, *range(4095, LOG, 7 * BLOCK_EVENTS), LOG - 1], "busy": list(BUSY), "none": []}
    places["others"] = sorted(set(range(3, LOG, 97)) - {each for some in places.values() for each in some})
    database = sqlite3.connect(folder / "log.db")
    database.executemany(
        "INSERT INTO event VALUES (?, ?, 0, 0, 'default', ?, 'a:b:read', 'permitted', '', '')",
        [(index, str(index), actor) for actor, indexes in places.items() for index in indexes],
    )
    database.commit()
    database.close()
    store = store_of(folder)
    yield store, places
    store.close()


@given(
    st.sampled_from(["seldom", "busy", "none"]),
    st.tuples(st.integers(0, LOG), st.integers(0, LOG)) | st.just((0, LOG)),
    st.booleans(),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_actors_entries_are_found_block_by_block(
    rows: tuple[Store, dict[str, list[int]]], actor: str, span: tuple[int, int], newest_first: bool
) -> None:
    store, places = rows
    query = select(event.c.idx, event.c.leaf).where(event.c.tenant == "default", event.c.actor == actor)
    read: list[str] = []
    with store.read() as connection:

        def run(part: Select[int, bytes]) -> Sequence[Indexed]:
            said = str(part.compile(connection, compile_kwargs={"literal_binds": True}))
            read.extend(row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {said}"))
            return connection.execute(part).all()

        found = [index for index, _ in of_actors(run, query, Span(*span), newest_first=newest_first)]
    expected = [index for index in places[actor] if span[0] <= index < span[1]]
    assert found == (expected[::-1] if newest_first else expected)
    searches = [each for each in read if "event" in each]
    assert all("INDEX event_actor (<expr>=? AND tenant=? AND actor=?" in each for each in searches), searches


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


TIMES = (0, 10, 11, 20, 21, 30, 31)


def test_a_log_time_is_found_by_halves(log_folder: Path) -> None:
    log = open_log(log_folder, deadline_s=30)
    for at in (10, 20, 20, 20, 30):
        log.submit(access("a", at_us=at)).result(30)
    log.close()
    store = store_of(log_folder)
    with store.read() as connection:
        found = {(ts, start): first_since(connection, ts, start) for ts in TIMES for start in (0, 2)}
        assert connection.execute(select(event.c.ts_us)).scalars().all() == [10, 20, 20, 20, 30]
    store.close()
    assert [found[ts, 0] for ts in TIMES] == [0, 0, 1, 1, 4, 4, None]
    assert [found[ts, 2] for ts in TIMES] == [2, 2, 2, 2, 4, 4, None]
