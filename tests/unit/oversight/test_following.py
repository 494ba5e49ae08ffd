"""Who follows the log passes over what it cannot read, once, and counts nothing twice."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any, cast

import pytest

from privguard.anomaly import Risk, Sight, Watch
from privguard.anomaly.watch import Seen
from privguard.audit.record import Group, Leaf, encode
from privguard.model import Assessment
from privguard.oversight.following import EXCUSED, Follower
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

    def entries(self, start: int) -> Iterator[Indexed]:
        return iter(self._entries[start:])


class Trail:
    def since(self, ts_us: int) -> int | None:
        return 0

    def floor(self) -> int:
        return 0

    def clients(self, tokens: Collection[str]) -> dict[str, Any]:
        return {}


def leaf(name: str, **more: Any) -> bytes:
    group = Group(resource="client", subjects=[("t", 1, -1)])
    said = {"action": "gateway:client:read", "risk": Assessment(at=1_790_000_000, level="unknown"), **more}
    return encode(
        Leaf(actor="a", groups=[group], id=name, outcome="permitted", tenant="default", ts=1, v=1, **said)
    )


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
