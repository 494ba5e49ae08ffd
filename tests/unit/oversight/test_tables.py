"""What a look back has read stays: the next reads what came since, and finds what reading all would find."""

from __future__ import annotations

import os
import shutil
import signal
import stat
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path

import pytest

from privguard.anomaly.measure import Budget
from privguard.audit.floor import Sealed
from privguard.errors import StoreUnavailableError
from privguard.model import AccessEvent
from privguard.oversight import tables
from privguard.oversight.findings import Finding, found_in
from privguard.oversight.lookback import Lookback
from privguard.oversight.tables import NEEDED, Tables, kept
from privguard.oversight.trail import Entry, Trail
from privguard.store.subjects import SubjectKeys
from privguard.store.trail_reader import TrailReader
from privguard.testing import FrozenClock
from tests.unit.oversight.test_daily import snooping
from tests.unit.oversight.test_findings import DAY, START, entry, ordinary
from tests.unit.store.logs import KEYRING, SystemEntropy, open_log, store_of

LAST = NEEDED + 6


class Bank:
    """A log, and a look back at it whose files are in a folder of their own."""

    def __init__(self, folder: Path, files: Path) -> None:
        self.log, self.place, self.read = open_log(folder), files / "look-back", 0
        self.clock = FrozenClock(datetime.fromtimestamp(START + (LAST + 1) * DAY, UTC))
        reader = TrailReader(store_of(folder), SubjectKeys(KEYRING, SystemEntropy()))
        self.trail = Trail(reader, self.log, FrozenClock(), SystemEntropy(), who="privguard")

    def add(self, events: Iterable[AccessEvent]) -> None:
        for receipt in [self.log.submit(each) for each in events]:
            receipt.result(30)

    def count(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        self.read = 0
        for each in entries:
            self.read += 1
            yield each

    def follow(self, made: Tables, days: int = 3) -> list[Finding]:
        made.follow(self.trail, "default", self.clock.now_us(), days, self.count)
        return found_in(made, made.last - days + 1, made.last, Budget(3))

    def look_back(self, days: int = 3) -> list[Finding]:
        with kept(self.place, "default") as made:
            return self.follow(made, days)

    def anew(self) -> list[Finding]:
        with Lookback() as back:
            return self.follow(Tables(back))

    @property
    def file(self) -> Path:
        [file] = self.place.parent.glob("*.duckdb")
        return file


def weeks(first: int, last: int) -> list[AccessEvent]:
    """Ordinary days, and who snoops on the last."""
    events = [each for each in ordinary(last + 1) if each.at_us >= (START + first * DAY) * 1_000_000]
    return [*events, *snooping(last, f"rm-{last % 6}")]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of two months, to be copied."""
    folder = tmp_path_factory.mktemp("written")
    made = Bank(folder, folder)
    made.add(weeks(0, LAST))
    made.log.close()
    return folder


@pytest.fixture
def bank(written: Path, tmp_path: Path) -> Iterator[Bank]:
    shutil.copytree(written, tmp_path / "log")
    (tmp_path / "files").mkdir()
    made = Bank(tmp_path / "log", tmp_path / "files")
    yield made
    made.log.close()


def test_the_next_look_back_reads_what_came_since_and_finds_the_same(bank: Bank) -> None:
    assert [each.actor for each in bank.look_back()] == [f"rm-{LAST % 6}"]
    whole = bank.read
    bank.add(weeks(LAST + 1, LAST + 1))
    bank.clock.now += timedelta(days=1)
    found = bank.look_back()
    assert bank.read < whole / 20
    assert {each.actor for each in found} == {f"rm-{LAST % 6}", f"rm-{(LAST + 1) % 6}"}
    assert found == bank.anew()
    assert bank.look_back() == found  # though nothing came


def test_days_that_nobody_asks_for_any_more_go(bank: Bank) -> None:
    bank.look_back(days=1)
    bank.clock.now += timedelta(days=60)
    bank.add(weeks(LAST + 1, LAST + 60))
    assert bank.look_back(days=1) == bank.look_back(days=1)
    with kept(bank.place, "default") as made:
        assert made.first == START // DAY + LAST + 61 - (33 + NEEDED + tables.CLOSED + 1)
        names = made.back.database.execute("SELECT count(*), max(number) FROM name").fetchone()
        tokens = "SELECT client FROM access UNION SELECT client FROM work"
        asked = f"SELECT count(*) FROM ({tokens}) WHERE client NOT IN (SELECT number FROM name)"
        assert made.back.database.execute(asked).fetchone() == (0,)
    assert names is not None
    assert names[0] > 400


def test_more_days_than_were_read_are_read(bank: Bank) -> None:
    bank.look_back(days=1)
    assert len(bank.look_back(days=5)) == 1
    assert bank.read > 1000


def _killed(folder: Path, files: Path) -> None:
    tables._BATCH = 400
    flush, done = Tables._flush, list[int]()

    def once_more(self: Tables, last: Entry) -> None:
        flush(self, last)
        done.append(last.index)
        if len(done) == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    Tables._flush = once_more  # type: ignore[method-assign]
    Bank(folder, files).look_back()


def test_one_that_was_killed_goes_on_where_it_was(bank: Bank, tmp_path: Path) -> None:
    process = get_context("spawn").Process(target=_killed, args=(tmp_path / "log", tmp_path / "files"))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    found = bank.look_back()
    left = bank.read
    assert found == bank.anew()
    assert len(found) == 1
    assert bank.read * 0.4 < left < bank.read * 0.8


@pytest.mark.parametrize("how", ["torn", "older", "another log"])
def test_what_cannot_be_used_is_made_anew(bank: Bank, how: str) -> None:
    found = bank.look_back()
    whole = bank.read
    if how == "torn":
        bank.file.write_bytes(bank.file.read_bytes()[:5_000])
    else:
        with Lookback(str(bank.file)) as back:
            changed = "form = 0" if how == "older" else "leaf = 'another'::BLOB"
            back.database.execute(f"UPDATE taken SET {changed}")
    assert bank.look_back() == found
    assert bank.read >= whole
    bank.look_back()
    assert bank.read < 20


def test_what_the_log_was_pruned_of_goes(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    bank.look_back()
    whole = bank.read
    for floor, again in ((0, False), (5, True)):
        sealed = Sealed(floor, "", "", floor, 0)
        monkeypatch.setattr(bank.trail, "sealed", lambda sealed=sealed: sealed)
        bank.look_back()
        assert (bank.read >= whole) is again


def test_a_query_that_fails_costs_no_night_but_this(bank: Bank) -> None:
    with (
        pytest.raises(StoreUnavailableError, match="reads all it needs anew"),
        kept(bank.place, "default") as made,
    ):
        bank.follow(made)
        made.back.database.execute("SELECT 1 FROM nothing")
    assert len(bank.look_back()) == 1


def test_a_file_is_its_owner_s_and_names_no_client(bank: Bank) -> None:
    bank.add(
        [*weeks(0, LAST), *(entry(START + LAST * DAY + at, "rm-1", 1390000000 + at) for at in range(50))]
    )
    umask = os.umask(0)
    try:
        bank.look_back()
        assert os.umask(0) == 0
    finally:
        os.umask(umask)
    files = list(bank.place.parent.iterdir())
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    content = b"".join(file.read_bytes() for file in files)
    assert b"rm-1" in content
    assert b"C-13900000" not in content


def test_each_tenant_has_a_file_of_its_own(bank: Bank) -> None:
    bank.look_back()
    with kept(bank.place, "other") as made:
        made.follow(bank.trail, "other", bank.clock.now_us(), 1)
        assert made.last == -1
    assert len(list(bank.place.parent.glob("*.duckdb"))) == 2


def test_a_place_that_cannot_be_written_is_named(bank: Bank) -> None:
    with (
        pytest.raises(StoreUnavailableError, match=r"\[anomaly\] look_back_file"),
        kept(bank.place.parent / "none" / "look-back", "default"),
    ):
        pass
