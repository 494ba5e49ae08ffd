from __future__ import annotations

from pathlib import Path

import pytest

from privguard.audit.record import parse
from privguard.audit.verify import verify_log
from privguard.errors import StoreUnavailableError
from privguard.model import Disclosure, FieldShown, Outcome, View
from privguard.store.log_reader import PAGE, LogReader
from tests.unit.audit.events import access, disclosure, refs
from tests.unit.store.logs import leaves_of, open_log, raw, store_of


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
    assert [index for index, _ in read.find(parse(leaves[5]).id)] == [5]
    assert list(read.find("0" * 32)) == []


def test_an_empty_log(log_folder: Path) -> None:
    open_log(log_folder).close()
    read = reader(log_folder)
    assert read.head()[0] == 0
    assert list(read.entries()) == list(read.last(5)) == list(read.of_client("x", 5)) == []
    assert read.distinct_clients("rm-1", 0) == 0


def test_a_clients_entries_are_found_by_its_chain(log_folder: Path) -> None:
    log = open_log(log_folder)
    for number in range(40):
        log.submit(access("b" if number % 4 else "a", "c")).result(5)
    log.close()
    read = reader(log_folder)
    token = parse(leaves_of(log_folder)[0]).groups[0].subjects[0][0]
    found = read.of_client(token, 100)
    assert [index for index, _ in found] == list(range(36, -1, -4))
    assert list(read.of_client(token, 3)) == list(found[:3])
    assert list(read.of_client("nobody", 3)) == []


def test_distinct_clients_counts_whom_an_actor_was_shown(log_folder: Path) -> None:
    masked = FieldShown("name", View.MASKED, "m")
    log = open_log(log_folder)
    for event in (
        access("a", "b", at_us=100),
        access("b", "c", at_us=200),
        access("x", at_us=200, actor="other"),
        access("x", at_us=200, tenant="other"),
        access("x", at_us=200, outcome=Outcome.DENIED),
        access(at_us=200, disclosures=(Disclosure("client", (masked,), refs("x"), outcome=Outcome.DENIED),)),
        access(at_us=200, disclosures=(disclosure("x", fields=()),)),
        access(at_us=300, disclosures=(disclosure("d", fields=(masked,)),)),
    ):
        log.submit(event).result(5)
    log.close()
    read = reader(log_folder)
    assert [read.distinct_clients("rm-1", since) for since in (0, 100, 101, 201, 301)] == [4, 4, 3, 1, 0]
    assert read.distinct_clients("rm-1", 0, "other") == read.distinct_clients("other", 0) == 1


@pytest.mark.parametrize("query", ["distinct_clients", "of_client"])
def test_the_queries_go_by_an_index(tmp_path: Path, query: str) -> None:
    open_log(tmp_path).close()
    statements: list[str] = []
    store = store_of(tmp_path)
    with store.read() as connection:
        driver = connection.connection.driver_connection
        driver.set_trace_callback(statements.append)  # type: ignore[union-attr]
    read = LogReader(store)
    (read.distinct_clients("rm-1", 5) if query == "distinct_clients" else read.of_client("x", 5))
    (statement,) = [one for one in statements if "event" in one]
    with raw(tmp_path) as connection:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
    searched = [step for step in plan if step.startswith("SEARCH")]
    assert searched
    assert all("USING" in step for step in searched), plan
    assert all("anon" in step for step in plan if step.startswith("SCAN")), plan


def test_l09_a_reader_of_a_lost_database_says_so(tmp_path: Path) -> None:
    open_log(tmp_path).close()
    read = reader(tmp_path)
    for file in tmp_path.iterdir():
        file.unlink()
    (tmp_path / "log.db").write_bytes(b"not a database" * 100)
    with pytest.raises(StoreUnavailableError, match="restore a backup"):
        read.head()
