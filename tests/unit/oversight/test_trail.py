from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privguard.audit.record import parse
from privguard.crypto.envelope import EnvelopeError
from privguard.errors import AuditUnavailableError, MalformedRequestError, NotOnRecordError
from privguard.model import FieldShown, Outcome, SubjectRef, View
from privguard.oversight.filters import Filter, cursor_of, index_of
from privguard.oversight.trail import Trail
from privguard.store.audit_log import SqlAuditLog
from privguard.store.subjects import SubjectKeys
from privguard.store.trail_reader import PAGE, TrailReader
from privguard.testing import FrozenClock
from tests.unit.audit.events import access, disclosure
from tests.unit.store.logs import KEYRING, SystemEntropy, disarm, leaves_of, open_log, raw, store_of

HOUR = 3_600_000_000


@pytest.fixture
def log(log_folder: Path) -> Iterator[SqlAuditLog]:
    opened = open_log(log_folder)
    yield opened
    opened.close()


@pytest.fixture
def trail(log_folder: Path, log: SqlAuditLog) -> Trail:
    reader = TrailReader(store_of(log_folder), SubjectKeys(KEYRING, SystemEntropy()))
    return Trail(reader, log, FrozenClock(), SystemEntropy(), who="officer")


def client(name: str) -> SubjectRef:
    return SubjectRef("client", name)


def fill(log: SqlAuditLog) -> None:
    """Ten entries, an hour apart, of two actors, three clients and several kinds."""
    kinds = (
        {"actor": "rm-1"}, {"actor": "rm-1", "purpose": "service", "system": "crm"},
        {"actor": "rm-2", "roles": ("rm", "lead")}, {"actor": "rm-2", "outcome": Outcome.DENIED},
        {"actor": "rm-1", "action": "gateway:client:export"},
    )  # fmt: skip
    for number in range(10):
        kind = kinds[number % len(kinds)]
        log.submit(access("abc"[number % 3], at_us=number * HOUR, **kind)).result(5)


def indexes(trail: Trail, **asked: object) -> list[int]:
    return [entry.index for entry in trail.search(Filter(**asked), limit=100).entries]  # type: ignore[arg-type]


def test_each_filter_gives_what_it_names(log: SqlAuditLog, trail: Trail) -> None:
    fill(log)
    assert indexes(trail, actor=("rm-2",)) == [8, 7, 3, 2]
    assert indexes(trail, actor=("rm-1", "rm-2")) == list(range(9, -1, -1))
    assert indexes(trail, role=("lead", "nobody")) == [7, 2]
    assert indexes(trail, outcome=(Outcome.DENIED,)) == [8, 3]
    assert indexes(trail, action=("gateway:client:export",)) == [9, 4]
    assert indexes(trail, action=("gateway:",), actor=("rm-2",)) == [8, 7, 3, 2]
    assert indexes(trail, action=("gateway:client",)) == []
    assert indexes(trail, action=("gateway:%",)) == []
    assert indexes(trail, purpose=("service",)) == indexes(trail, system=("crm",)) == [6, 1]
    assert indexes(trail, rule=("rm-read",), actor=("rm-1",)) == [9, 6, 5, 4, 1, 0]
    assert indexes(trail, field=("name",), actor=("rm-2",)) == [7, 2]  # clear, and let out
    assert indexes(trail, field=("mobile",)) == []  # masked only
    assert indexes(trail, since_us=3 * HOUR, until_us=5 * HOUR) == [4, 3]
    assert indexes(trail, until_us=0) == indexes(trail, tenant="other") == []


def test_a_clients_entries_are_found_by_its_chain_and_filtered_like_all(
    log: SqlAuditLog, trail: Trail
) -> None:
    fill(log)
    assert indexes(trail, client=client("a")) == [9, 6, 3, 0]
    assert indexes(trail, client=client("a"), actor=("rm-2",), outcome=(Outcome.DENIED,)) == [3]
    assert indexes(trail, client=client("nobody")) == []
    assert indexes(trail, client=SubjectRef("staff", "a")) == []


def test_pages_follow_each_other_whatever_is_written_meanwhile(log: SqlAuditLog, trail: Trail) -> None:
    fill(log)
    for about in (Filter(actor=("rm-1",)), Filter(client=client("a"))):
        whole = [entry.index for entry in trail.search(about, limit=100).entries]
        seen, cursor = list[int](), None
        while True:
            page = trail.search(about, limit=2, cursor=cursor)
            seen += [entry.index for entry in page.entries]
            log.submit(access("a", actor="rm-1")).result(5)
            if (cursor := page.cursor) is None:
                break
        assert [index for index in seen if index <= max(whole)] == whole


def test_more_than_a_page_of_the_database_is_read(log_folder: Path, log: SqlAuditLog, trail: Trail) -> None:
    for future in [log.submit(access("a" if n % 2 else "b")) for n in range(2 * PAGE + 7)]:
        future.result(30)
    assert len(indexes(trail, client=client("a"))) == 100
    report = trail.report(client("a"))
    assert report.count == PAGE + 3 + 2  # the look before and this one are about the client too
    assert [entry.index for entry in report.entries][2:] == list(range(2 * PAGE + 5, 0, -2))
    receipt, entries = trail.every(Filter())
    assert [entry.index for entry in entries] == list(range(receipt.index))
    assert [entry.index for entry in trail.every(Filter(client=client("b")))[1]] == list(
        range(0, 2 * PAGE + 7, 2)
    )
    assert list(trail.every(Filter(client=client("nobody")))[1]) == []


def test_l15_every_look_is_on_the_trail_before_it_reads(
    log_folder: Path, log: SqlAuditLog, trail: Trail
) -> None:
    fill(log)
    trail.search(Filter(client=client("a"), actor=("rm-2",)), limit=5)
    trail.tail(Filter(), 3)
    trail.show("3")
    trail.report(client("b"))
    trail.every(Filter(purpose=("service",)))
    looks = [parse(leaf) for leaf in leaves_of(log_folder)[10:]]
    verbs = ["search", "tail", "show", "report", "export"]
    assert [(look.actor, look.action) for look in looks] == [
        ("officer", f"cli:audit:{verb}") for verb in verbs
    ]
    assert [len(look.groups) for look in looks] == [1, 0, 0, 1, 0]  # whose entries they were about
    asked = trail.show("10").detail
    assert asked is not None
    assert msgspec.json.decode(dict(asked)["filter"])["actor"] == ["rm-2"]


def test_l15_what_cannot_be_recorded_is_not_read(log: SqlAuditLog, trail: Trail) -> None:
    fill(log)
    log.close()
    for look in (
        lambda: trail.search(Filter(), limit=1), lambda: trail.tail(Filter(), 1), lambda: trail.show("0"),
        lambda: trail.report(client("a")), lambda: trail.every(Filter()),
    ):  # fmt: skip
        with pytest.raises(AuditUnavailableError):
            look()


def test_l15_a_cursor_is_bound_to_its_filter(log: SqlAuditLog, trail: Trail) -> None:
    fill(log)
    cursor = trail.search(Filter(actor=("rm-1",)), limit=1).cursor
    for other in (Filter(), Filter(actor=("rm-2",)), Filter(actor=("rm-1",), tenant="other")):
        with pytest.raises(MalformedRequestError, match="another filter"):
            trail.search(other, limit=1, cursor=cursor)
    for wrong in ("", "x", "é", "AAAA", (cursor or "")[:-1], "A" * 500):
        with pytest.raises(MalformedRequestError):
            trail.search(Filter(actor=("rm-1",)), limit=1, cursor=wrong)


@given(st.integers(0, 2**63), st.text(max_size=3), st.text(max_size=60))
def test_a_cursor_gives_its_index_or_is_refused(index: int, actor: str, wrong: str) -> None:
    asked = Filter(actor=(actor,))
    assert index_of(asked, cursor_of(asked, index)) == index
    with pytest.raises(MalformedRequestError):
        index_of(Filter(actor=(actor, "x")), cursor_of(asked, index))
    with pytest.raises(MalformedRequestError):
        index_of(asked, wrong)


def test_an_entry_is_shown_whole_with_what_the_keys_open(log: SqlAuditLog, trail: Trail) -> None:
    fields = tuple(FieldShown(f"f{n}", View.CLEAR) for n in range(9))
    many = [f"c{n}" for n in range(2_500)]
    event = access(disclosures=(disclosure(*many, fields=fields),), detail=(("reason", "因为客户来电"),))
    log.submit(event).result(30)
    for wanted in (event.event_id, "0", "1"):
        shown = trail.show(wanted)
        assert [part.index for part in shown.parts] == [0, 1, 2]
        assert shown.detail == (("reason", "因为客户来电"),)
        assert {ref.id for ref in shown.clients.values()} == set(many)
    for wanted in ("77", "0" * 32, "", "'"):
        with pytest.raises(NotOnRecordError):
            trail.show(wanted)
    with pytest.raises(NotOnRecordError):
        trail.show("0", tenant="other")


def test_a_detail_that_was_deleted_is_said_to_be(log_folder: Path, log: SqlAuditLog, trail: Trail) -> None:
    log.submit(access("a", detail=(("reason", "x"),))).result(5)
    with raw(log_folder) as database:
        disarm(database)
        database.execute("DELETE FROM secret")
    assert trail.show("0").detail is None


def test_a_report_is_complete_or_fails(log_folder: Path, log: SqlAuditLog, trail: Trail) -> None:
    fill(log)
    report = trail.report(client("a"))
    assert report.count == 5
    assert [entry.index for entry in report.entries] == [10, 9, 6, 3, 0]
    with pytest.raises(NotOnRecordError):
        trail.report(client("nobody"))
    with raw(log_folder) as database:
        disarm(database)
        database.execute("UPDATE event_subject SET prev = 0 WHERE prev = 3")
    with pytest.raises(AuditUnavailableError, match="Entry 2 of this client is missing"):
        list(trail.report(client("a")).entries)


def test_l01_a_client_who_is_given_anothers_token_is_not_reported_on(
    log_folder: Path, log: SqlAuditLog, trail: Trail
) -> None:
    """Whoever swaps two rows would have a whole report of somebody else's accesses, and the log verify."""
    fill(log)
    with raw(log_folder) as connection:
        disarm(connection)
        (one, first), (two, second) = connection.execute(
            "SELECT ref_hmac, tok FROM subject LIMIT 2"
        ).fetchall()
        connection.execute(f"UPDATE subject SET tok = 'none' WHERE ref_hmac = '{one}'")
        connection.execute(f"UPDATE subject SET tok = '{first}' WHERE ref_hmac = '{two}'")
        connection.execute(f"UPDATE subject SET tok = '{second}' WHERE ref_hmac = '{one}'")
    refused = 0
    for name in "abc":
        try:
            trail.search(Filter(client=client(name)), limit=100)
        except EnvelopeError as error:
            refused += "another's token" in error.detail
    assert refused == 2


def test_l01_a_detail_that_was_changed_is_told_from_an_erased_one(
    log_folder: Path, log: SqlAuditLog, trail: Trail
) -> None:
    log.submit(access("a", detail=(("reason", "client asked"),))).result(5)
    assert trail.show("0").detail == (("reason", "client asked"),)
    with raw(log_folder) as connection:
        disarm(connection)
        connection.execute("UPDATE secret SET ct = substr(ct, 2)")
    with pytest.raises(EnvelopeError, match="was changed"):
        trail.show("0")
