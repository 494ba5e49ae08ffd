"""The staff directory in the store, on both engines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from privguard.audit.record import parse
from privguard.crypto.envelope import EnvelopeError
from privguard.errors import ConfigError
from privguard.identity.directory import NotAdmittedError
from privguard.model import Principal
from privguard.oversight.registrar import Registrar
from privguard.store.directory import SqlDirectory
from privguard.testing import FrozenClock
from tests.unit.store.logs import (
    KEYRING,
    SystemEntropy,
    check_whole,
    custody_of,
    open_log,
    raw,
    store_of,
)

STAFF = b"id,roles,status\nrm.li,rm,active\nrm.wang,rm,active\nrm.old,rm,dismissed\n"
CLIENTS = b"staff,client,from,until\nrm.li,CANARY-1,,2026-05-31\nrm.wang,CANARY-2,,\n"
LI = Principal("rm.li", frozenset({"token-role"}))


class Kept:
    def __init__(self, folder: Path) -> None:
        open_log(folder).close()
        self.folder = folder
        self.clock = FrozenClock(datetime(2026, 5, 1, tzinfo=UTC))
        store = store_of(folder)
        self.directory = SqlDirectory(store, KEYRING, SystemEntropy())
        custody = custody_of(store)
        self.registrar = Registrar(custody, self.directory, self.clock, SystemEntropy(), who="hr")

    def put(self, **files: bytes) -> dict[str, str]:
        planned = self.registrar.plan(files)
        self.registrar.apply(planned)
        return dict(planned.changes)

    def clients(self, actor: Principal = LI) -> object:
        return self.directory.admit(actor, self.clock.now_us()).attributes["clients"]


@pytest.fixture
def kept(log_folder: Path) -> Kept:
    return Kept(log_folder)


def test_an_import_is_in_force_at_once_for_who_remembers_too_and_is_on_record(kept: Kept) -> None:
    with pytest.raises(NotAdmittedError) as refused:
        kept.clients()
    assert refused.value.actor == LI
    kept.put(staff=STAFF, clients=CLIENTS)
    admitted = kept.directory.admit(LI, kept.clock.now_us())
    assert (admitted.roles, admitted.attributes["clients"]) == ({"rm"}, {"CANARY-1"})
    kept.clock.now += timedelta(days=31)
    assert kept.clients() == frozenset()  # an assignment ends by itself
    for gone in ("rm.old", "nobody"):
        with pytest.raises(NotAdmittedError):
            kept.clients(Principal(gone))
    with pytest.raises(NotAdmittedError):
        kept.clients(Principal("rm.li", tenant="other"))
    assert kept.put(staff=STAFF.replace(b"rm.li,rm,active", b"rm.li,rm,dismissed")) == {"rm.li": "status"}
    with pytest.raises(NotAdmittedError):
        kept.clients()
    assert kept.put(staff=b"id,roles\nrm.li,rm\n") == {
        "rm.li": "status",
        "rm.old": "removed",
        "rm.wang": "removed",
    }
    kept.clients()
    leaves = [parse(leaf) for leaf in check_whole(kept.folder)]
    assert {leaf.action for leaf in leaves} == {"oversight:directory:import"}
    assert [leaf.about["added"] + leaf.about["changed"] + leaf.about["removed"] for leaf in leaves] == [
        "300", "010", "012",
    ]  # fmt: skip
    assert len(leaves[0].about["staff"]) == len(leaves[0].about["assignments"]) == 64


def test_l12_no_client_and_no_course_stands_in_the_table(kept: Kept) -> None:
    kept.put(staff=STAFF, clients=CLIENTS)
    with raw(kept.folder) as connection:
        rows = connection.execute("SELECT * FROM staff").fetchall()
    assert len(rows) == 3
    assert "CANARY" not in str(rows)


def test_l12_what_staff_share_with_clients_is_no_text_once_it_is_read(kept: Kept) -> None:
    kept.put(staff=b"id,roles,kin,address,surname\nrm.li,rm,CANARY-9,CANARY street 1,CANARYSSON\n")
    snapshot = kept.directory.snapshot("default")
    assert "canary" not in str(snapshot).lower()
    admitted = kept.directory.admit(LI, kept.clock.now_us())
    assert admitted.private is not None
    assert admitted.private("address", "Canary Street 1")
    assert admitted.private("surname", "Eva Canarysson")
    assert not admitted.private("kin", "CANARY-8")
    known = set(snapshot.staff["rm.li"].private["address"])
    assert kept.directory.token("default")("address", "canarystreet1") in known
    assert kept.directory.token("other")("address", "canarystreet1") not in known
    assert kept.directory.token("default")("employer", "canarystreet1") not in known


def test_s16_a_record_put_in_anothers_row_does_not_open(kept: Kept) -> None:
    kept.put(staff=STAFF, clients=CLIENTS)
    with raw(kept.folder) as connection:
        connection.execute(
            "UPDATE staff SET version = version + 1,"
            " record = (SELECT record FROM staff WHERE id = 'rm.wang') WHERE id = 'rm.li'"
        )
    with pytest.raises(EnvelopeError):
        kept.clients()


def test_of_two_imports_at_once_one_is_refused_and_changes_nothing(kept: Kept) -> None:
    one, other = (kept.registrar.plan({"staff": text}) for text in (STAFF, b"id,roles\nrm.new,rm\n"))
    kept.registrar.apply(one)
    with pytest.raises(ConfigError, match="changed meanwhile"):
        kept.registrar.apply(other)
    assert kept.directory.snapshot("default").staff.keys() == {"rm.li", "rm.old", "rm.wang"}
    assert len(check_whole(kept.folder)) == 1
