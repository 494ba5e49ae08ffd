"""Who follows the log passes over what it cannot read, once, and counts nothing twice."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, cast

import pytest

from privguard.anomaly import Risk, Sight, Watch
from privguard.anomaly.watch import Seen
from privguard.audit.record import Group, Leaf, encode
from privguard.model import Assessment, SubjectRef
from privguard.oversight import following
from privguard.oversight.following import ERASED, EXCUSED, WORK, Follower
from privguard.store.log_reader import Indexed, LogReader
from privguard.store.trail_reader import TrailReader


class Counting(Watch):
    def __init__(self) -> None:
        super().__init__()
        self.counted: list[str] = []

    def replay(self, entry: str, sight: Sight, clients: Iterable[Seen]) -> Risk | None:
        self.counted.append(entry)
        return super().replay(entry, sight, clients)


class Log:
    def __init__(self, entries: list[bytes]) -> None:
        self._entries = list(enumerate(entries))

    def head(self) -> tuple[int, bytes]:
        return len(self._entries), b""

    def append(self, entry: bytes) -> None:
        self._entries.append((len(self._entries), entry))

    def entries(self, start: int) -> Iterator[Indexed]:
        return iter(self._entries[start:])


class Trail:
    known: Mapping[str, SubjectRef] = {}
    asked: Collection[str] = ()

    def since(self, ts_us: int) -> int | None:
        return 0

    def floor(self) -> int:
        return 0

    def clients(self, tokens: Collection[str]) -> dict[str, Any]:
        self.asked = [*self.asked, *tokens]
        return {token: self.known[token] for token in tokens if token in self.known}


def leaf(name: str, *, tokens: Collection[str] = ("t",), **more: Any) -> bytes:
    group = Group(resource="client", subjects=[(token, 1, -1) for token in tokens])
    said = {"action": "gateway:client:read", "outcome": "permitted", **more}
    said = {"risk": Assessment(at=1_790_000_000, level="unknown"), **said}
    return encode(Leaf(actor="a", groups=[group], id=name, tenant="default", ts=1, v=1, **said))


def test_what_cannot_be_read_is_passed_over_and_nothing_counts_twice() -> None:
    unknown = {"actor": "a", "cause": "of another version", "until": "9"}
    odd = leaf("odd", action=EXCUSED, about=unknown, risk=None)
    watch = Counting()
    log = cast("LogReader", Log([leaf("1"), b"{}", leaf("2"), odd, leaf("3")]))
    follower = Follower(watch, log, cast("TrailReader", Trail()), 0)
    with pytest.raises(ValueError, match="of another version"):
        follower.refresh()
    assert not watch.awake
    follower.refresh()
    follower.refresh()
    assert watch.counted == ["1", "2", "3"]
    assert watch.awake


@pytest.mark.parametrize(("outcome", "kept"), [("permitted", False), ("denied", True)])
def test_whoever_is_erased_is_no_longer_known_by_name(outcome: str, kept: bool) -> None:
    """L13: what a process remembers goes as well; a client on hold stays."""
    watch, trail = Counting(), Trail()
    trail.known = {"t": SubjectRef("client", "1042")}
    sight = Sight(1_790_000_000, "default:a", "rm", "north")
    called = {"what": "call", "for": "a", "at": "1790000000"}
    entries = [leaf("0", action=WORK, about=called, risk=None), leaf("1")]
    log = Log(entries)
    follower = Follower(watch, cast("LogReader", log), cast("TrailReader", trail), 0)
    follower.refresh()
    watch.look("own", sight, [("client:1042", ())], frozenset())
    assert "1042" in f"{vars(watch)}{vars(follower)}"
    trail.known = {}
    log.append(leaf("2", action=ERASED, outcome=outcome, risk=None))
    follower.refresh()
    assert ("1042" in f"{vars(watch)}{vars(follower)}") is kept
    if not kept:  # as whoever replays the log from its beginning
        fresh = Counting()
        anew = Follower(fresh, cast("LogReader", log), cast("TrailReader", trail), 0)
        anew.refresh()
        fresh.look("own", sight, [("t", ())], frozenset())
        assert {**fresh._touched} == {**watch._touched}
        assert {**fresh._work} == {**watch._work}


LIST = Assessment(at=1_790_000_000, level="low", many=True)


def test_nobody_asks_whom_one_s_own_list_names() -> None:
    """Memory: an export of 200 MB names 180,000 clients, of whom the watch remembers none."""
    watch, trail, log = Counting(), Trail(), Log([])
    trail.known = {"t": SubjectRef("client", "1042")}
    follower = Follower(watch, cast("LogReader", log), cast("TrailReader", trail), 0)
    follower.refresh()
    watch.look("own", Sight(1_790_000_000, "default:a", "rm", many=True), [("client:1042", ())], frozenset())
    log.append(leaf("own", risk=LIST))
    follower.refresh()
    assert not trail.asked
    assert "1042" not in f"{vars(watch)}{vars(follower)}"
    log.append(leaf("another worker's", risk=LIST))
    follower.refresh()
    assert trail.asked == ["t"]


def test_of_others_lists_few_clients_are_known_by_name_and_none_who_was_erased(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(following, "LISTED", 100)
    watch, trail = Counting(), Trail()
    trail.known = {f"t{n}": SubjectRef("client", f"no. {n}") for n in range(950)}
    pages = [
        leaf(f"{at}", risk=LIST, tokens=[f"t{n}" for n in range(at, at + 50)]) for at in range(0, 950, 50)
    ]
    log = Log(pages)
    follower = Follower(watch, cast("LogReader", log), cast("TrailReader", trail), 0)
    follower.refresh()
    assert "no. " not in f"{vars(follower)}"
    trail.asked = ()
    for page in [*pages, leaf("once more", risk=LIST, tokens=["t949"])]:
        log.append(page)
    follower.refresh()
    assert len(trail.asked) == 950
    assert 0 < f"{vars(follower)}".count("no. ") <= 150
    assert "no. 949" in f"{vars(follower)}"
    log.append(leaf("erased", action=ERASED, outcome="permitted", risk=None, tokens=["t949"]))
    follower.refresh()
    assert "no. 949" not in f"{vars(watch)}{vars(follower)}"
