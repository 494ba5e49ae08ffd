"""Retention: what is sealed, what stays, what is noticed, and what an ended run leaves (L01, L08, L13)."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from privguard.audit.floor import sealed
from privguard.audit.merkle import leaf_hash
from privguard.audit.proof import ProofError, check_inclusion, inclusion
from privguard.audit.record import parse
from privguard.audit.report_proof import check_report
from privguard.audit.signing_keys import log_keys_of, new_signing_keys
from privguard.audit.stretch import STRETCH
from privguard.audit.verify import Pin, Verification
from privguard.errors import ConfigError, NotOnRecordError, OnHoldError, StoreUnavailableError
from privguard.model import SubjectRef
from privguard.oversight import retention as pruning
from privguard.oversight import verification
from privguard.oversight.bundle import check_folder, write_bundle
from privguard.oversight.completeness import commit_map, prove_report
from privguard.oversight.custodian import Custodian
from privguard.oversight.filters import Filter
from privguard.oversight.retention import Pruned, Pruner, begin_of
from privguard.oversight.trail import Trail, entry_of
from privguard.oversight.verification import verify_store
from privguard.store.custody import Custody
from privguard.store.engine import Store
from privguard.store.log_reader import LogReader
from privguard.store.map_keeper import MapKeeper
from privguard.store.publisher import Publisher
from privguard.store.retention import Retention
from privguard.store.signer_state import SignerState
from privguard.store.subjects import SubjectKeys
from privguard.store.trail_reader import TrailReader
from privguard.store.tree_reader import TreeReader
from privguard.testing import FrozenClock
from tests.unit.audit.events import access
from tests.unit.store.logs import KEYRING, ORIGIN, SystemEntropy, custody_of, disarm, open_log, raw, url_of

ENTROPY = SystemEntropy()
KEYS = log_keys_of(new_signing_keys(os.urandom), ORIGIN)
TRUST = KEYS.trust
DAY = 1_700_000_000_000_000
"""Log time of the first entry; each is a second after the one before."""
CLOCK = FrozenClock(datetime.fromtimestamp(DAY // 1_000_000 + 100_000, UTC))


def fill(folder: Path, count: int) -> None:
    """Entries of eleven clients, of one who is seen once, and of one who is seen only at the end."""
    log = open_log(folder, deadline_s=30)
    for number in range(count):
        who = "once" if number == 5 else f"c{number % 11}"
        waiting = log.submit(access(who, at_us=DAY + number * 1_000_000, detail=(("reason", "r"),)))
        if number % 2000 == 0:
            waiting.result(30)
    waiting.result(30)
    with closing(Store(url_of(folder))) as store:
        commit_map(MapKeeper(store), log, CLOCK, ENTROPY, 30)
    log.submit(access("late", "c1", at_us=CLOCK.now_us())).result(30)
    log.close()


class Kept:
    """A log with what keeps it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder, Store(url_of(folder))
        self.tree = TreeReader(self.store)
        self.custody = custody_of(self.store)
        self.archives = folder / "archives"

    def publish(self) -> Any:
        state = SignerState(self.folder / "signer.state")
        return Publisher(self.tree, state, lambda: KEYS).publish(CLOCK.now_us() // 1_000_000)

    def prune(self, stretches: int = 1) -> Pruned:
        """As far as so many stretches and some more."""
        until = DAY + int((stretches + 0.05) * STRETCH) * 1_000_000
        pruner = Pruner(self.store, self.custody, TRUST, CLOCK, ENTROPY, "officer")
        keep_from = {"disclosures": until, "administration": until, "other": until}
        return pruner.prune(keep_from, self.archives)

    def verify(self) -> Verification:
        published = self.tree.published()
        assert published is not None
        signed, (size, root) = TRUST.accept(published.note).checkpoint, self.tree.head()
        pins = [Pin(signed.size, signed.root, "forked"), Pin(size, root)]
        return verify_store(url_of(self.folder), size, pins)

    def said(self) -> list[dict[str, str]]:
        with raw(self.folder) as database:
            leaves = database.execute("SELECT leaf FROM event ORDER BY idx DESC LIMIT 20").fetchall()
        parsed = [parse(bytes(leaf)) for (leaf,) in leaves]
        return [dict(leaf.about) for leaf in parsed if sealed(leaf)]


@contextmanager
def kept(folder: Path) -> Iterator[Kept]:
    made = Kept(folder)
    try:
        yield made
    finally:
        made.store.close()


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("old")
    fill(folder, STRETCH + 900)
    with kept(folder) as log:
        log.publish()
    return folder


@pytest.fixture
def log(old: Path, tmp_path: Path) -> Iterator[Kept]:
    shutil.copytree(old, tmp_path / "log")
    with kept(tmp_path / "log") as made:
        yield made


def rows_below(log: Kept, floor: int) -> int:
    with raw(log.folder) as database:
        count = "SELECT count(*) FROM {} WHERE idx < {}"
        return sum(
            database.execute(count.format(table, floor)).fetchone()[0]
            for table in ("event", "event_subject", "secret")
        )


def test_l01_a_pruned_log_verifies_from_its_floor_and_its_archives_before(log_folder: Path) -> None:
    fill(log_folder, 2 * STRETCH + 100)
    with kept(log_folder) as log:
        log.publish()
        sealed_leaf = next(LogReader(log.store).entries(7, 1))[1]
        first = log.prune(1)
        assert (first.floor, first.count, first.swept) == (STRETCH, STRETCH, STRETCH)
        assert rows_below(log, STRETCH) == 0
        assert log.verify().ok
        log.publish()
        second = log.prune(2)
        assert (second.floor, second.count) == (2 * STRETCH, STRETCH)
        assert log.verify().ok
        published = log.publish()
        assert log.prune(2).archive is None
        for made, held in ((first, (0, STRETCH)), (second, (STRETCH, 2 * STRETCH))):
            _, found, seal = check_folder(Path(str(made.archive)), TRUST)
            assert found.ok, found
            assert seal is not None
            assert (seal.start, seal.stop) == held
        checkpoint = TRUST.accept(published.note).checkpoint
        path = inclusion(7, checkpoint.size, log.tree.entries)  # what was sealed stays provable
        check_inclusion(7, checkpoint.size, leaf_hash(sealed_leaf), path, checkpoint.root)
        bundle, floor = log_folder / "bundle", second.floor
        leaves = (leaf for _, leaf in LogReader(log.store).entries(floor, checkpoint.size - floor))
        begin = begin_of(log.store, log.tree, checkpoint.size)
        entries = log.tree.entries
        write_bundle(bundle, published.note, "", checkpoint.size, leaves, entries, floor, begin)
        assert check_folder(bundle, TRUST)[1].ok
        text = json.loads((bundle / "begin").read_bytes())
        for name, value in (("heads", text["heads"][1:]), ("edge", text["edge"] * 2), ("floor", STRETCH)):
            (bundle / "begin").write_bytes(json.dumps(text | {name: value}).encode())
            with pytest.raises(ProofError):
                check_folder(bundle, TRUST)
        (bundle / "begin").unlink()
        assert not check_folder(bundle, TRUST)[1].ok


def test_l03_an_archive_that_was_changed_is_not_taken(log: Kept) -> None:
    pruned = log.prune()
    archive = Path(str(pruned.archive))
    assert [said["archive"] for said in log.said()] == [pruned.digest]
    file = archive / "tile/entries/000"
    whole = file.read_bytes()
    for wrong in (whole.replace(b"rm-1", b"rm-2", 1), whole[:-9], b""):
        file.write_bytes(wrong)
        assert not check_folder(archive, TRUST)[1].ok
    file.write_bytes(whole)
    seal = json.loads((archive / "sealed").read_bytes())
    for name, value in (("stop", 256), ("start", 256), ("root", seal["proof"][0]), ("v", 2)):
        (archive / "sealed").write_bytes(json.dumps(seal | {name: value}).encode())
        with pytest.raises(ProofError):
            check_folder(archive, TRUST)


TAMPERED = {
    "the floor moved a little": ("UPDATE tree_state SET floor = 8448", "floor"),
    "the floor moved back": ("UPDATE tree_state SET floor = 0", "missing"),
    "a client made unseen": ("UPDATE subject_head SET count = 0, last_idx = -1 WHERE count = 1", "floor"),
    "the leaf of it removed": ("DELETE FROM event WHERE action = 'oversight:log:prune'", "floor"),
    "an entry above it removed": ("DELETE FROM event WHERE idx = 9000", "missing"),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_l01_a_floor_that_the_log_does_not_say_is_named(log: Kept, how: str) -> None:
    statement, kind = TAMPERED[how]
    log.prune()
    assert log.verify().ok
    with raw(log.folder) as database:
        disarm(database)
        database.execute(statement)
    found = log.verify()
    assert (found.ok, found.kind) == (False, kind)


def test_l01_a_floor_moved_in_a_log_that_was_never_pruned_is_named(log: Kept) -> None:
    with raw(log.folder) as database:
        database.execute("UPDATE tree_state SET floor = 8192")
        database.execute("DELETE FROM event WHERE idx < 8192")
    assert log.verify().kind == "floor"


def test_a_log_that_is_pruned_while_it_is_verified_is_not_called_wrong(
    log: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = verification.join

    def meanwhile(*read: Any) -> Verification:
        log.prune()
        return real(*read)

    monkeypatch.setattr(verification, "join", meanwhile)
    with pytest.raises(StoreUnavailableError, match="pruned meanwhile"):
        log.verify()


def hold(log: Kept, who: str, *, on: bool = True) -> None:
    custodian = Custodian(log.custody, CLOCK, ENTROPY, who="officer")
    custodian.hold(SubjectRef("client", who), "case 7", on=on)


def test_l13_nothing_of_a_client_on_hold_is_pruned(log: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    hold(log, "once")
    kept_back = log.prune()
    assert (kept_back.floor, kept_back.why) == (0, "hold")
    hold(log, "once", on=False)
    due = Retention.due

    def then_held(self: Retention, keep_from: Any, below: int) -> tuple[int, str]:
        found = due(self, keep_from, below)
        hold(log, "once")
        return found

    monkeypatch.setattr(Retention, "due", then_held)
    with pytest.raises(OnHoldError):
        log.prune()
    assert rows_below(log, STRETCH) == 3 * STRETCH
    assert log.said() == []
    assert log.verify().ok


def test_each_category_keeps_its_time_and_what_comes_after(log: Kept) -> None:
    retention, until = Retention(log.store), DAY + 8_500 * 1_000_000
    size = log.tree.head()[0]
    assert retention.due({"disclosures": until}, size) == (STRETCH, "disclosures")
    assert retention.due({"disclosures": None}, size) == (0, "disclosures")
    assert retention.due({"disclosures": CLOCK.now_us() + 1}, size) == (STRETCH, "checkpoint")
    assert retention.due({"disclosures": until}, STRETCH) == (0, "checkpoint")
    assert retention.due({"other": None, "administration": None}, size) == (STRETCH, "other")


STEPS: list[tuple[type | Any, str]] = [
    (Retention, "sweep"),
    (Pruner, "_write"),
    (pruning, "_to_disk"),
    (Path, "rename"),
    (Pruner, "_raise"),
    (Retention, "raise_to"),
    (Custody, "record"),
]


class KilledError(BaseException):
    """Nothing catches it, as nothing catches a kill; what a transaction holds is undone all the same."""


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("place", "name"), STEPS, ids=[name for _, name in STEPS])
def test_l08_whatever_ends_a_run_the_next_goes_on_from_there(
    log: Kept, place: Any, name: str, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., Any] = getattr(place, name)

    def failing(*args: Any, **named: Any) -> Any:
        if after:
            real(*args, **named)
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(place, name, failing)
        patch.setattr("privguard.oversight.export.shutil.rmtree", lambda *_, **__: None)  # as a kill
        with pytest.raises(KilledError):
            log.prune()
    assert log.verify().ok
    log.prune()
    assert log.verify().ok
    assert rows_below(log, STRETCH) == 0
    assert [said["floor"] for said in log.said()] == [str(STRETCH)]
    assert check_folder(log.archives / f"entries-0-{STRETCH}", TRUST)[1].ok
    assert len(list(log.archives.iterdir())) == 1


def test_l08_a_sweep_that_was_interrupted_shows_nothing_that_is_sealed(
    log: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Retention, "sweep", lambda _: 0)
    log.prune()
    assert rows_below(log, STRETCH) == 3 * STRETCH
    look_at_it(log)


def test_the_trail_says_where_older_entries_are(log: Kept) -> None:
    log.prune()
    look_at_it(log)


def look_at_it(kept: Kept) -> None:
    log = open_log(kept.folder)
    try:
        reader = TrailReader(kept.store, SubjectKeys(KEYRING, ENTROPY))
        trail = Trail(reader, log, CLOCK, ENTROPY, who="officer")
        said = trail.sealed()
        assert said is not None
        assert said.floor == STRETCH
        assert min(entry.index for entry in trail.every(Filter())[1]) == STRETCH
        c3 = Filter(client=SubjectRef("client", "c3"))
        assert min(entry.index for entry in trail.every(c3)[1]) >= STRETCH
        for wanted in ("5", "8191"):
            with pytest.raises(NotOnRecordError, match=r"below 8192 were sealed on .* archive"):
                trail.show(wanted)
        once = trail.report(SubjectRef("client", "once"))
        assert (once.count, len(list(once.entries))) == (2, 1)  # the look itself
        report = trail.report(SubjectRef("client", "c3"))
        assert report.sealed == said
        keeper = MapKeeper(kept.store)
        state, receipt = commit_map(keeper, log, CLOCK, ENTROPY, 5, always=True)
        assert receipt is not None
        published = kept.publish()
        [commitment] = map(entry_of, LogReader(kept.store).entries(receipt.index, 1))
        found = Retention(kept.store).said()
        assert found is not None
        proof = prove_report(
            report.token, report.entries, state, commitment, published, keeper, kept.tree, found[0]
        )
        checked = check_report(msgspec.json.encode(proof), TRUST)
        assert (checked.count + checked.older, checked.floor) == (report.count, STRETCH)
        assert checked.older > 700
        for shorter in (proof.entries[1:], proof.entries[:-1]):
            wrong = msgspec.structs.replace(proof, entries=shorter)
            with pytest.raises(ProofError):
                check_report(msgspec.json.encode(wrong), TRUST)
        with pytest.raises(ProofError):
            check_report(msgspec.json.encode(msgspec.structs.replace(proof, sealed=None)), TRUST)
        with pytest.raises(ProofError):
            check_report(msgspec.json.encode(msgspec.structs.replace(proof, sealed=proof.map)), TRUST)
    finally:
        log.close()


def test_l09_an_archive_that_cannot_be_written_leaves_all_as_it_was(log: Kept) -> None:
    log.archives.write_text("a file")
    with pytest.raises((ConfigError, OSError)):
        log.prune()
    assert rows_below(log, STRETCH) == 3 * STRETCH
    assert log.verify().ok
