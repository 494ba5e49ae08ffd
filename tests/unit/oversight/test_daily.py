"""The look back of each day: on record once, made up for where it was missed, part of the cases."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from privguard.anomaly.measure import Budget
from privguard.audit.record import parse
from privguard.errors import AccessDeniedError, NotOnRecordError, StoreUnavailableError
from privguard.model import AccessEvent, AuditReceipt
from privguard.oversight import daily
from privguard.oversight.cases import Verdict, cases, judge
from privguard.oversight.filters import Filter
from privguard.oversight.findings import Finding, iso
from privguard.oversight.nightly import AGAIN_S, Nightly, Told
from privguard.oversight.tables import NEEDED, Tables
from privguard.oversight.trail import Entry, Trail
from privguard.store.subjects import SubjectKeys
from privguard.store.trail_reader import TrailReader
from privguard.testing import FrozenClock
from tests.unit.oversight.test_findings import DAY, START, entry, ordinary
from tests.unit.store.logs import KEYRING, SystemEntropy, leaves_of, open_log, store_of

LAST = NEEDED + 4
DAY_SEEN = iso(START // DAY + LAST)


def snooping(day: int, actor: str = "rm-3") -> list[AccessEvent]:
    return [entry(START + day * DAY + 40_000 + 60 * at, actor, 300 + at) for at in range(9)]


class Kept:
    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, open_log(folder)
        self.place = folder / "look-back"
        self.clock = FrozenClock(datetime.fromtimestamp(START + (LAST + 2) * DAY + 9_000, UTC))
        reader = TrailReader(store_of(folder), SubjectKeys(KEYRING, SystemEntropy()))
        self.trail = Trail(reader, self.log, self.clock, SystemEntropy(), who="privguard")

    def add(self, events: list[AccessEvent]) -> None:
        for receipt in [self.log.submit(each) for each in events]:
            receipt.result(30)

    def look_back(self) -> list[tuple[str, str]]:
        found = daily.look_back(self.trail, self.clock, 2, "default", self.place)
        return [(each.day, each.actor) for each in found]

    def on_record(self) -> list[dict[str, str]]:
        leaves = map(parse, leaves_of(self.folder))
        return [dict(leaf.about) for leaf in leaves if leaf.action == daily.FINDING]


@pytest.fixture
def kept(log_folder: Path) -> Iterator[Kept]:
    made = Kept(log_folder)
    yield made
    made.log.close()


def test_a_day_is_judged_once_and_what_stands_out_is_a_case(kept: Kept) -> None:
    kept.add([*ordinary(LAST + 2), *snooping(LAST)])
    assert kept.look_back() == [(DAY_SEEN, "rm-3")]
    with pytest.raises(AccessDeniedError, match="Another process"):
        kept.look_back()
    kept.clock.now += timedelta(seconds=daily.HELD_S)
    assert kept.look_back() == []
    [said] = kept.on_record()
    assert said["for"] == "rm-3"
    assert len(said["entries"].split()) > 5
    [case] = cases(kept.trail)
    assert (case.actor, case.entries, case.verdict) == ("rm-3", 1, "")
    assert case.cause.startswith("looking back: ")
    judge(kept.trail, str(case.newest), Verdict.VIOLATION, "")
    assert [one.verdict for one in cases(kept.trail)] == ["violation"]


def test_nights_that_were_missed_are_made_up_for(kept: Kept) -> None:
    kept.add([*ordinary(LAST + 2)])
    assert kept.look_back() == []
    missed = [(iso(START // DAY + LAST + at), f"rm-{at}") for at in (1, 2)]
    kept.add([*snooping(LAST + 1, "rm-1"), *snooping(LAST + 2, "rm-2")])
    kept.clock.now += timedelta(days=2)
    assert [each for each in kept.look_back() if each in missed] == missed


def test_a_case_that_is_open_takes_no_findings_from_others(kept: Kept) -> None:
    kept.add([*ordinary(LAST + 3), *snooping(LAST), *snooping(LAST + 1), *snooping(LAST + 1, "rm-4")])

    def night() -> str:
        return daily.told(kept.trail, kept.clock, 1, "default", kept.place)

    assert "rm-3" in night()
    kept.clock.now += timedelta(days=1)
    told = night()
    assert "1 stand out" in told
    assert "rm-4" in told
    assert "rm-3" not in told
    assert sorted((one["day"], one["for"]) for one in kept.on_record()) == [
        (DAY_SEEN, "rm-3"), *[(iso(START // DAY + LAST + 1), who) for who in ("rm-3", "rm-4")]
    ]  # fmt: skip
    assert sorted((case.actor, case.entries) for case in cases(kept.trail)) == [("rm-3", 2), ("rm-4", 1)]


def test_a_look_back_that_was_cut_off_says_nothing_twice(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.add([*ordinary(LAST + 2), *snooping(LAST, "rm-3"), *snooping(LAST, "rm-4")])
    note, notes = kept.trail.note, list[str]()

    def cut(action: str, *args: object) -> object:
        notes.append(action)
        if notes.count(daily.FINDING) == 2:
            raise StoreUnavailableError("The power is off.")
        return note(action, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(kept.trail, "note", cut)
    with pytest.raises(StoreUnavailableError):
        kept.look_back()
    assert len(kept.on_record()) == 1
    monkeypatch.undo()
    kept.clock.now += timedelta(seconds=daily.HELD_S)
    assert len(kept.look_back()) == 2
    assert sorted(one["for"] for one in kept.on_record()) == ["rm-3", "rm-4"]


def test_one_that_takes_longer_than_an_hour_keeps_others_off(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.add([*ordinary(LAST + 2), *snooping(LAST)])
    every, others = kept.trail.every, list[str]()

    def slowly(asked: Filter) -> tuple[AuditReceipt, Iterator[Entry]]:
        receipt, entries = every(asked)
        return receipt, taking_hours(entries) if not (others or asked.action) else entries

    def taking_hours(entries: Iterator[Entry]) -> Iterator[Entry]:
        for at, each in enumerate(entries):
            if at % 200 == 0:  # an hour and a half in all
                kept.clock.now += timedelta(minutes=20)
            if at == 900:
                with pytest.raises(AccessDeniedError, match="Another process"):
                    kept.look_back()
                others.append("kept off")
            yield each

    monkeypatch.setattr(kept.trail, "every", slowly)
    assert kept.look_back() == [(DAY_SEEN, "rm-3")]
    assert others == ["kept off"]
    assert len(kept.on_record()) == 1


def test_one_that_was_stopped_and_overtaken_says_nothing(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.add([*ordinary(LAST + 2), *snooping(LAST)])
    found, overtaken = daily.found_in, list[str]()

    def stopped(tables: Tables, first: int, last: int, budget: Budget[tuple[str, str]]) -> list[Finding]:
        answer = found(tables, first, last, budget)
        if not overtaken:
            overtaken.append("")
            kept.clock.now += timedelta(seconds=daily.HELD_S)
            kept.place = kept.folder / "another machine's"
            kept.look_back()
        return answer

    monkeypatch.setattr(daily, "found_in", stopped)
    with pytest.raises(AccessDeniedError, match="Another process"):
        kept.look_back()
    assert len(kept.on_record()) == 1


def test_a_young_log_is_left_alone(kept: Kept) -> None:
    kept.add([entry(START + LAST * DAY, "rm-1", 1)])
    with pytest.raises(NotOnRecordError, match="two months"):
        kept.look_back()
    assert kept.on_record() == []


# -- when ------------------------------------------------------------------------------------------------


def _found() -> Told:
    return f"found at {os.nice(0)}", None


def _found_in_part() -> Told:
    return "found", StoreUnavailableError("The other tenant's log cannot be read.")


def _waits() -> Told:
    raise NotOnRecordError("too young")


def _fails() -> Told:
    raise ValueError("13800138000")


def _dies() -> Told:
    os._exit(9)


def _hangs() -> Told:
    time.sleep(60)
    return "", None


def nightly(work: Callable[[], Told], at_s: int = 9_000) -> tuple[Nightly, FrozenClock, list[str]]:
    told, clock = list[str](), FrozenClock(datetime(2026, 1, 5, tzinfo=UTC))
    return Nightly(work, at_s, clock, told.append), clock, told


def through(one: Nightly) -> None:
    """Until the process that looks back has answered."""
    one.refresh()
    deadline = time.monotonic() + 30
    while one._answer is not None and time.monotonic() < deadline:
        one.refresh()
        time.sleep(0.02)


def test_it_begins_when_it_is_time_and_again_the_next_day() -> None:
    one, clock, told = nightly(_found)
    one.refresh()
    assert one._answer is None
    clock.now += timedelta(seconds=9_000)
    through(one)
    assert told == ["found at 19"]  # it gives way to all others
    through(one)
    assert len(told) == 1
    clock.now += timedelta(days=1)
    through(one)
    assert len(told) == 2


@pytest.mark.parametrize(
    ("work", "said"), [(_fails, r"failed \(ValueError\)\.$"), (_dies, "was ended")], ids=["fails", "dies"]
)
def test_what_fails_says_so_without_its_words_and_begins_again_in_an_hour(
    work: Callable[[], Told], said: str
) -> None:
    one, clock, told = nightly(work, at_s=0)
    with pytest.raises(StoreUnavailableError, match=said):
        through(one)
    one.refresh()
    assert one._answer is None
    clock.now += timedelta(seconds=AGAIN_S)
    with pytest.raises(StoreUnavailableError, match=said):
        through(one)
    assert told == []


def test_what_hangs_is_ended_after_a_day() -> None:
    one, clock, _ = nightly(_hangs, at_s=0)
    one.refresh()
    one.refresh()
    assert one._answer is not None
    clock.now += timedelta(days=1)
    with pytest.raises(StoreUnavailableError, match="was ended"):
        through(one)
    assert one._answer is None
    clock.now += timedelta(seconds=AGAIN_S)
    for _ in range(3):
        one.refresh()
    assert one._answer is not None  # which has a day of its own
    clock.now += timedelta(days=1)
    with pytest.raises(StoreUnavailableError, match="was ended"):
        through(one)


def test_what_one_tenant_s_log_gave_is_told_though_another_s_failed() -> None:
    one, _, told = nightly(_found_in_part, at_s=0)
    with pytest.raises(StoreUnavailableError, match="other tenant"):
        through(one)
    assert told == ["found"]


def test_a_log_that_is_too_young_is_no_failure() -> None:
    one, clock, told = nightly(_waits, at_s=0)
    through(one)
    clock.now += timedelta(seconds=AGAIN_S)
    one.refresh()
    assert one._answer is None
    assert told == []
