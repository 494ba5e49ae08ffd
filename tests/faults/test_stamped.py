"""Time stamps beside the log: asked for once an interval, held to what was signed, and never waited for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from privguard.audit.signing_keys import log_keys_of, new_signing_keys
from privguard.audit.timestamp import StampAuthority, StampError, Stamps, check_stamps, request_of
from privguard.errors import AuditUnavailableError, ConfigError
from privguard.oversight.timestamps import Timestamping, stamped_of
from privguard.sinks.timestamp import HttpTimestamps
from privguard.store.engine import Store
from privguard.store.publisher import Publisher
from privguard.store.signer_state import SignerState
from privguard.store.tree_reader import TreeReader
from privguard.testing import FrozenClock
from tests.stamper import NOW, Authority, served
from tests.unit.audit.events import access
from tests.unit.store.logs import ORIGIN, open_log, raw, url_of

KEYS = log_keys_of(new_signing_keys(os.urandom), ORIGIN)
ROOTS = Authority().root


class Kept:
    """A signed log with an authority that counts what it is asked."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store, self.clock = folder, Store(url_of(folder)), FrozenClock(NOW)
        self.tree, self.asked = TreeReader(self.store), 0

    def grow(self) -> None:
        with closing(open_log(self.folder)) as log:
            log.submit(access("a")).result(5)
        state = SignerState(self.folder / "signer.state")
        assert Publisher(self.tree, state, lambda: KEYS).publish(1_700_000_000) is not None

    def ask(self, request: bytes) -> bytes:
        self.asked += 1
        return Authority(at=self.clock.now)(request)

    def stamping(self, roots: bytes = ROOTS) -> Timestamping:
        return Timestamping(self.tree, self.ask, StampAuthority(roots), self.clock, 3600)

    def checked(self, roots: bytes = ROOTS) -> Stamps:
        published = self.tree.published()
        assert published is not None
        accepted = KEYS.trust.accept(published.note)
        stamped = stamped_of(self.tree, accepted.checkpoint.size)
        return check_stamps(stamped, accepted, KEYS.trust, StampAuthority(roots))


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    open_log(tmp_path).close()
    made = Kept(tmp_path)
    yield made
    made.store.close()


def test_a_stamp_an_interval_is_asked_for_by_one_process_of_several(kept: Kept) -> None:
    one, other = kept.stamping(), kept.stamping()
    one.refresh()
    assert kept.asked == 0, "nothing is signed yet"
    for passed, asked in ((61, 1), (1, 1), (3598, 1), (1, 2), (1, 2)):
        kept.clock.now += timedelta(seconds=passed)
        kept.grow()
        one.refresh()
        other.refresh()
        assert kept.asked == asked
    kept.stamping().refresh()
    assert kept.asked == 2, "nor does a process ask that was started again"
    assert kept.checked() == Stamps(2, 4, NOW + timedelta(seconds=61 + 3600))


def test_an_authority_that_gives_none_is_asked_again_in_a_minute(kept: Kept) -> None:
    kept.grow()
    wrongs = [b"", b"garbage", Authority("other")(request_of(b"x"))]

    def ask(_: bytes) -> bytes:
        kept.asked += 1
        return wrongs.pop()

    stamping = Timestamping(kept.tree, ask, StampAuthority(ROOTS), kept.clock, 3600)
    for asked in range(1, 4):
        with pytest.raises(AuditUnavailableError, match="does not hold"):
            stamping.refresh()
        stamping.refresh()
        assert kept.asked == asked
        kept.clock.now += timedelta(seconds=60)
    assert kept.checked() == Stamps(), "what does not hold is not kept"
    kept.grow()  # and the log goes on
    kept.stamping().refresh()
    assert kept.checked().count == 1


def test_where_no_authority_answers_the_error_says_so() -> None:
    with served(lambda _: b"x" * 100_000) as url:
        assert len(HttpTimestamps(url).ask(b"")) < 70_000
        with pytest.raises(AuditUnavailableError, match=r"\[audit.timestamps\] url"):
            HttpTimestamps("http://127.0.0.1:1/").ask(b"")
    for wrong in ("file:///etc/passwd", "ftp://x", "x"):
        with pytest.raises(ConfigError, match="http or https"):
            HttpTimestamps(wrong)


def test_l01_l04_a_stamp_is_held_to_its_checkpoint_and_to_the_log(kept: Kept) -> None:
    """Stamps that were moved, cut, or made of what this log did not sign or does not go on from."""
    for _ in range(2):
        kept.grow()
        kept.stamping().refresh()
        kept.clock.now += timedelta(seconds=3600)
    assert kept.checked().count == 2
    with pytest.raises(StampError, match="at 1: unable to get local issuer certificate"):
        kept.checked(Authority("other").root)
    with raw(kept.folder) as database:
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f"DROP TRIGGER {name}")
        whole = database.execute("SELECT size, note, timestamp_token FROM checkpoint").fetchall()
    stranger = log_keys_of(new_signing_keys(os.urandom), ORIGIN)
    forged = {
        "Mismatch between messages": (whole[0][1], whole[1][2]),
        "it is none": (whole[0][1], whole[0][2][:-3]),
        "no trusted key": _stamped_note(kept, stranger),
        "does not go on|differ": _stamped_note(kept, KEYS),
    }
    for why, (note, answer) in forged.items():
        with raw(kept.folder) as database:
            database.execute(
                "UPDATE checkpoint SET note = ?, timestamp_token = ? WHERE size = 1", (note, answer)
            )
        with pytest.raises(StampError, match=f"at 1: .*({why})"):
            kept.checked()
    with raw(kept.folder) as database:
        database.execute("UPDATE checkpoint SET note = ?, timestamp_token = ? WHERE size = 1", whole[0][1:])
    assert kept.checked().count == 2


def _stamped_note(kept: Kept, keys: object) -> tuple[str, bytes]:
    from privguard.store.publisher import sign

    note = str(sign(keys, 1, b"f" * 32, 0))  # type: ignore[arg-type]
    return note, kept.ask(request_of(note.encode()))
