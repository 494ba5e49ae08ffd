from __future__ import annotations

import asyncio
import hashlib
import json
import os
import stat
import threading
import warnings
from concurrent.futures import wait
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from privguard.audit.merkle import root_of
from privguard.audit.record import parse
from privguard.crypto.envelope import unseal
from privguard.crypto.keyring import Keyring
from privguard.errors import AuditUnavailableError
from privguard.model import AuditReceipt, Disclosure, Outcome, SubjectRef
from privguard.store.audit_log import BATCH_EVENTS, SqlAuditLog
from privguard.store.engine import Store
from privguard.store.ledger import Ledger, prepare
from privguard.store.subjects import SubjectKeys
from tests.unit.audit.events import access, accesses, disclosure, refs
from tests.unit.store.logs import (
    KEYRING,
    ORIGIN,
    SystemEntropy,
    check_whole,
    leaves_of,
    open_log,
    raw,
    store_of,
    url_of,
)


def test_a_receipt_is_for_an_entry_that_is_there(log_folder: Path) -> None:
    log = open_log(log_folder)
    event = access("a")
    receipt = log.submit(event).result(5)
    leaves = leaves_of(log_folder)
    assert receipt == AuditReceipt(ORIGIN, 0, 1, root_of(leaves)[1])
    assert parse(leaves[0]).id == event.event_id
    log.close()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(accesses, max_size=20, unique_by=lambda event: (event.event_id, event.part)))
def test_everything_in_the_database_follows_from_the_leaves(tmp_path_factory, events) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path_factory.mktemp("log")
    log = open_log(folder)
    receipts = [future.result(5) for future in [log.submit(event) for event in events]]
    log.close()
    leaves = check_whole(folder)
    for event, receipt in zip(events, receipts, strict=True):
        leaf = parse(leaves[receipt.index])
        assert (leaf.id, leaf.part, leaf.actor) == (event.event_id, event.part, event.actor)
        assert root_of(leaves[: receipt.size])[1] == receipt.root


def test_many_entries_fill_tiles_and_many_threads_may_hand_them_in(log_folder: Path) -> None:
    log = open_log(log_folder, deadline_s=60)
    done: list[AuditReceipt] = []

    def hand_in(name: str) -> None:
        futures = [log.submit(access(f"{name}{number % 7}", at_us=number)) for number in range(300)]
        done.extend(future.result(60) for future in futures)

    threads = [threading.Thread(target=hand_in, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    assert sorted(receipt.index for receipt in done) == list(range(900))
    leaves = check_whole(log_folder)
    for receipt in done[::50]:
        assert root_of(leaves[: receipt.size])[1] == receipt.root


def test_event_loops_append_without_blocking(log_folder: Path) -> None:
    log = open_log(log_folder)
    count = BATCH_EVENTS + 50

    async def run() -> None:
        receipts = await asyncio.gather(*(log.append(access("a", at_us=number)) for number in range(count)))
        assert sorted(receipt.index for receipt in receipts) == list(range(count))
        abandoned = asyncio.create_task(log.append(access("b")))
        await asyncio.sleep(0)
        abandoned.cancel()
        last = await log.append(access("c"))
        assert last.size == count + 2, "an entry that nobody waits for is written all the same"

    asyncio.run(run())
    log.close()
    with pytest.raises(AuditUnavailableError, match="closed"):
        asyncio.run(log.append(access("d")))
    check_whole(log_folder)


def test_an_entry_that_is_handed_in_again_is_there_once(log_folder: Path) -> None:
    log = open_log(log_folder)
    event = access("a", "b", detail=(("reason", "r"),))
    first, twin = [future.result(5) for future in [log.submit(event), log.submit(event)]]
    log.submit(access("a")).result(5)
    again = log.submit(event).result(5)
    log.close()
    assert first.index == twin.index == again.index
    leaves = check_whole(log_folder)
    assert len(leaves) == 2
    assert root_of(leaves[: again.size])[1] == again.root
    reopened = open_log(log_folder)
    assert reopened.submit(event).result(5).index == first.index
    reopened.close()


def test_an_entry_that_is_handed_in_again_holds_up_nobody_in_its_batch(log_folder: Path) -> None:
    open_log(log_folder).close()
    ledger = Ledger(store_of(log_folder), KEYRING, SystemEntropy(), ORIGIN)
    event = access("a", "b")
    ledger.append([prepare(event)])
    again, new, reused = ledger.append(
        [prepare(event), prepare(access("b", "c")), prepare(access("a", event_id=event.event_id))]
    )
    assert isinstance(again, AuditReceipt)
    assert isinstance(new, AuditReceipt)
    assert (again.index, new.index, type(reused)) == (0, 1, AuditUnavailableError)
    assert len(check_whole(log_folder)) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"actor": "other"},
        {"disclosures": (disclosure("b"),)},
        {"disclosures": (disclosure("a", "b"),)},
        {"at_us": 7},
        {"disclosures": (disclosure(*(str(number) for number in range(2000))),)},
    ],
)
@pytest.mark.parametrize("together", [True, False])
def test_an_id_used_for_another_entry_is_refused(
    log_folder: Path, changes: dict[str, object], together: bool
) -> None:
    log = open_log(log_folder)
    first = log.submit(access("a", event_id="e" * 32))
    if not together:
        first.result(5)
    other = log.submit(access(**{"disclosures": (disclosure("a"),), "event_id": "e" * 32, **changes}))
    with pytest.raises(AuditUnavailableError, match="two different entries"):
        other.result(5)
    assert log.submit(access("b")).result(5).index == 1
    log.close()
    assert len(check_whole(log_folder)) == 2


def test_a_large_disclosure_becomes_parts_in_one_transaction(log_folder: Path) -> None:
    log = open_log(log_folder, deadline_s=30)
    event = access(*(str(number) for number in range(2500)), detail=(("reason", "r"),))
    receipt = log.submit(event).result(30)
    assert log.submit(event).result(30).index == receipt.index
    log.close()
    leaves = [parse(leaf) for leaf in check_whole(log_folder)]
    assert [(leaf.id, leaf.part, bool(leaf.detail)) for leaf in leaves] == [
        (event.event_id, part, part == 0) for part in range(3)
    ]
    assert (receipt.index, receipt.size) == (2, 3)


def test_the_detail_opens_for_key_holders_only_with_the_keys_of_all_its_clients(log_folder: Path) -> None:
    log = open_log(log_folder)
    event = access("a", "b", detail=(("reason", "because"),))
    log.submit(event).result(5)
    nobody = access(detail=(("q", "text"),))
    log.submit(nobody).result(5)
    log.close()
    leaves = [parse(leaf) for leaf in check_whole(log_folder)]
    keys = SubjectKeys(KEYRING, SystemEntropy())
    with raw(log_folder) as connection:
        sealed = [ct for (ct,) in connection.execute("SELECT ct FROM secret ORDER BY idx")]
        rows = {
            name: (wrapped, ref)
            for name, wrapped, ref in connection.execute("SELECT ref_hmac, wrapped_dek, ref FROM subject")
        }
    assert [hashlib.sha256(ct).hexdigest() for ct in sealed] == [leaf.detail for leaf in leaves]
    held = []
    for client in ("a", "b"):
        name = keys.name(("default", "client", client))
        key = keys.unwrap("default", name, rows[name][0])
        assert keys.client("default", name, key, rows[name][1]) == SubjectRef("client", client)
        held.append(key.key)
    text = unseal(keys.detail_key("default", held), sealed[0], event.event_id.encode())
    assert json.loads(text) == [["reason", "because"]]
    for fewer in (held[:1], held[1:], []):
        with pytest.raises(Exception, match="does not open"):
            unseal(keys.detail_key("default", fewer), sealed[0], event.event_id.encode())
    assert b"text" in unseal(keys.detail_key("default", []), sealed[1], nobody.event_id.encode())


def test_clients_of_two_tenants_have_nothing_in_common(log_folder: Path) -> None:
    log = open_log(log_folder)
    for tenant in ("one", "two"):
        log.submit(access("a", tenant=tenant)).result(5)
    log.close()
    with raw(log_folder) as connection:
        names = connection.execute(
            "SELECT count(DISTINCT ref_hmac), count(DISTINCT tok) FROM subject"
        ).fetchone()
    assert names == (2, 2)


def test_one_bad_entry_does_not_hold_up_the_others(log_folder: Path) -> None:
    log = open_log(log_folder)
    before, bad, after = (
        log.submit(event)
        for event in (
            access("a"),
            access(disclosures=(Disclosure("client", (), refs("ok", "\ud800")),)),
            access("b"),
        )
    )
    assert {before.result(5).index, after.result(5).index} == {0, 1}
    with pytest.raises(AuditUnavailableError, match="Unicode"):
        bad.result(5)
    worse = log.submit(access("a", actor=object()))
    with pytest.raises(AuditUnavailableError):
        worse.result(5)
    log.close()
    check_whole(log_folder)


def test_s16_a_client_whose_key_row_was_swapped_cannot_be_put_on_record(log_folder: Path) -> None:
    log = open_log(log_folder)
    log.submit(access("a", "b")).result(5)
    log.close()
    with raw(log_folder) as connection:
        (one, first), (two, second) = connection.execute(
            "SELECT ref_hmac, wrapped_dek FROM subject"
        ).fetchall()
        connection.execute(f"UPDATE subject SET wrapped_dek = '{first}' WHERE ref_hmac = '{two}'")
        connection.execute(f"UPDATE subject SET wrapped_dek = '{second}' WHERE ref_hmac = '{one}'")
    log = open_log(log_folder)
    swapped, other = log.submit(access("a")), log.submit(access("c"))
    with pytest.raises(AuditUnavailableError, match="does not open"):
        swapped.result(5)
    assert other.result(5).index == 1
    log.close()


def test_s16_a_wrapping_key_that_is_missing_is_named(log_folder: Path) -> None:
    log = open_log(log_folder)
    log.submit(access("a")).result(5)
    log.close()
    other = Keyring(KEYRING.id, KEYRING.suite, KEYRING.root, {2: KEYRING.keks[1]}, 2)
    log = SqlAuditLog.open(url_of(log_folder), other, SystemEntropy(), origin=ORIGIN)
    with pytest.raises(AuditUnavailableError, match="Version 1 of the wrapping key"):
        log.submit(access("a")).result(5)
    log.submit(access("b")).result(5)
    log.close()
    check_whole(log_folder)


def erase_every_client(folder: Path) -> None:
    with raw(folder) as connection:
        connection.execute("DELETE FROM subject")
        connection.execute("UPDATE tree_state SET erasures = erasures + 1")


def test_l13_keys_that_were_destroyed_are_forgotten_by_a_running_writer(log_folder: Path) -> None:
    log = open_log(log_folder)
    log.submit(access("a")).result(5)
    erase_every_client(log_folder)
    log.submit(access("a")).result(5)
    log.close()
    first, second = [parse(leaf).groups[0].subjects[0] for leaf in check_whole(log_folder, erased=1)]
    assert first[0] != second[0]
    assert second[1:] == (1, -1)


def test_a_key_made_for_an_entry_that_is_not_written_is_not_used_later(log_folder: Path) -> None:
    log = open_log(log_folder)
    event = access("a")
    log.submit(event).result(5)
    erase_every_client(log_folder)
    with pytest.raises(AuditUnavailableError, match="two different entries"):
        log.submit(event).result(5)
    log.submit(access("a")).result(5)
    log.close()
    check_whole(log_folder, erased=1)


def test_files_are_their_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        log = open_log(tmp_path / "new")
        log.submit(access("a")).result(5)
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "new").iterdir()}
        assert modes == {"log.db": 0o600, "log.db-wal": 0o600, "log.db-shm": 0o600, "log.db-lock": 0o600}
        assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
        log.close()
    finally:
        os.umask(before)


def test_a_fork_appends_with_threads_and_connections_of_its_own(log_folder: Path) -> None:
    log = open_log(log_folder)
    log.submit(access("a")).result(5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of what is tested here
        child = os.fork()
    if child == 0:
        try:
            futures = [log.submit(access("b")) for _ in range(20)]
            wait(futures, 5)
            os._exit(0 if all(future.done() and future.exception() is None for future in futures) else 1)
        finally:
            os._exit(2)
    for future in [log.submit(access("c")) for _ in range(20)]:
        future.result(5)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    log.close()
    assert len(check_whole(log_folder)) == 41


def test_closing_writes_what_has_queued_and_takes_no_more(log_folder: Path) -> None:
    log = open_log(log_folder)
    futures = [log.submit(access("a")) for _ in range(300)]
    log.close()
    assert {future.result(0).index for future in futures} == set(range(300))
    with pytest.raises(AuditUnavailableError, match="closed"):
        log.submit(access("a")).result(0)
    log.close()
    Store(url_of(log_folder)).close()


def test_refusals_are_on_record_too(log_folder: Path) -> None:
    log = open_log(log_folder)
    denied = access(outcome=Outcome.DENIED, status=404, problem="not-permitted", disclosures=())
    log.submit(denied).result(5)
    log.close()
    (leaf,) = check_whole(log_folder)
    assert (parse(leaf).outcome, parse(leaf).status, parse(leaf).problem) == ("denied", 404, "not-permitted")
