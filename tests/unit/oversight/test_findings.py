"""The look back over a log in the database: who stands out, why, and where to look."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from privguard.anomaly.measure import Budget
from privguard.cli import cli
from privguard.errors import NotOnRecordError
from privguard.model import AccessEvent, Assessment, Disclosure, FieldShown, Outcome, SubjectRef, View
from privguard.oversight.filters import Filter
from privguard.oversight.findings import Finding, found_in, iso
from privguard.oversight.lookback import Lookback
from privguard.oversight.tables import CLOSED, NEEDED, Tables, since_us
from privguard.oversight.trail import Trail
from privguard.store.audit_log import SqlAuditLog
from privguard.store.subjects import SubjectKeys
from privguard.store.trail_reader import TrailReader
from privguard.testing import FrozenClock
from tests.unit.store.logs import KEYRING, SystemEntropy, open_log, store_of

DAY = 86_400
START = 20_000 * DAY


def entry(at_s: int, actor: str, client: int, action: str = "read", *, many: bool = False) -> AccessEvent:
    return AccessEvent(
        event_id=os.urandom(16).hex(), at_us=at_s * 1_000_000, action=f"gateway:client:{action}",
        outcome=Outcome.PERMITTED, actor=actor, roles=("rm",), disclosures=(about(client),),
        risk=Assessment(at=at_s, team="north", many=many),
    )  # fmt: skip


def said(at_s: int, actor: str, client: int) -> AccessEvent:
    return AccessEvent(
        event_id=os.urandom(16).hex(), at_us=at_s * 1_000_000, action="crm:client:work",
        outcome=Outcome.PERMITTED, actor="crm", disclosures=(about(client),),
        about={"at": str(at_s), "for": actor, "what": "task"},
    )  # fmt: skip


def about(client: int) -> Disclosure:
    return Disclosure("client", (FieldShown("name", View.CLEAR),), (SubjectRef("client", f"C-{client}"),))


def ordinary(days: int) -> Iterator[AccessEvent]:
    """Six staff look at four clients a day; the CRM says why, or they write after; one of 60 has neither."""
    draws = random.Random(2)
    for day in range(days):
        for staff in range(6):
            for _ in range(4):
                at, client = START + day * DAY + draws.randrange(8 * 3600, 17 * 3600), draws.randrange(400)
                chance = draws.random()
                if chance < 0.5:
                    yield said(at - 900, f"rm-{staff}", client)
                yield entry(at, f"rm-{staff}", client)
                if chance > 0.5 + 1 / 60:
                    yield entry(at + 60, f"rm-{staff}", client, "update")


def looked_back(
    folder: Path, log: SqlAuditLog, events: list[AccessEvent], days: int = 3, budget: int = 2
) -> list[Finding]:
    for receipt in [log.submit(each) for each in events]:
        receipt.result(30)
    reader = TrailReader(store_of(folder), SubjectKeys(KEYRING, SystemEntropy()))
    trail = Trail(reader, log, FrozenClock(), SystemEntropy(), who="officer")
    with Lookback() as back:
        tables = Tables(back)
        tables.take(trail.every(Filter())[1])
        return found_in(tables, tables.last - days + 1, tables.last, Budget(budget))


@pytest.fixture
def log(log_folder: Path) -> Iterator[SqlAuditLog]:
    opened = open_log(log_folder)
    yield opened
    opened.close()


def test_who_looks_without_a_reason_is_found_with_the_entries(log_folder: Path, log: SqlAuditLog) -> None:
    last = NEEDED + 4
    snoop = [entry(START + last * DAY + 40_000 + 60 * at, "rm-3", 300 + at) for at in range(9)]
    listed = [entry(START + last * DAY + 30_000, "rm-4", at, many=True) for at in range(60)]
    events = [*ordinary(last + 1), *listed, *snoop]
    found = looked_back(log_folder, log, events)
    assert [(each.actor, each.day) for each in found] == [("rm-3", iso(20_000 + last))]
    assert found[0].level > 1
    assert found[0].unexplained > 5 > found[0].expected
    ids = {index: events[index].event_id for index in found[0].entries}
    assert set(ids.values()) <= {each.event_id for each in snoop}
    assert len(ids) > 5


def test_a_client_of_public_interest_is_one_in_the_tables(log_folder: Path, log: SqlAuditLog) -> None:
    look, flag = entry(START, "rm-1", 1), "private.sensitive"
    assert look.risk is not None
    vip = replace(
        entry(START, "rm-1", 2),
        disclosures=(replace(about(2), relations=(flag,)),),
        risk=replace(look.risk, relations={flag: 1024}),
    )
    for receipt in [log.submit(each) for each in (look, vip)]:
        receipt.result(30)
    reader = TrailReader(store_of(log_folder), SubjectKeys(KEYRING, SystemEntropy()))
    with Lookback() as back:
        Tables(back).take(Trail(reader, log, FrozenClock(), SystemEntropy(), who="o").every(Filter())[1])
        assert back.columns("SELECT sensitive FROM access ORDER BY client") == {"sensitive": [False, True]}


def test_a_short_log_says_how_long_it_takes(log_folder: Path, log: SqlAuditLog) -> None:
    with pytest.raises(NotOnRecordError, match=f"has 3 days .* takes {NEEDED + 2}"):
        looked_back(log_folder, log, list(ordinary(3)), days=2)


def test_the_command_line_says_what_is_missing(tmp_path: Path) -> None:
    assert CliRunner().invoke(cli, ["init", str(tmp_path / "new")]).exit_code == 0
    answer = CliRunner().invoke(cli, ["anomaly", "run", "--config", str(tmp_path / "new" / "privguard.toml")])
    assert "The log has 0 days with accesses" in str(answer.exception)


def test_entries_are_read_from_two_months_before() -> None:
    now = (START + 100 * DAY + 5) * 1_000_000
    assert since_us(now, 3) == (START + (100 - NEEDED - CLOSED - 4) * DAY) * 1_000_000
