"""Looks back day by day: what stands out goes on record, into the cases, and to who is told.

Days are judged in order, each once, and only when the day after it is over: work that follows a look within
24 hours is a reason for it. What was judged is read off the log, so a look back that was cut off, or nights
without any, are made up for. Of many processes, the log lets one begin, and nobody say anything who was
stopped for so long that another has begun since.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Final

from privguard.anomaly.measure import Budget
from privguard.errors import AccessDeniedError
from privguard.oversight.cases import FINDING
from privguard.oversight.filters import Filter
from privguard.oversight.findings import Finding, found_in, iso
from privguard.oversight.tables import DAY_S, MOST_DAYS, kept
from privguard.oversight.trail import Entry, Trail
from privguard.ports import Clock
from privguard.store.claims import leased, renewed

BEGUN: Final = "oversight:look-back:begin"
JUDGED: Final = "oversight:look-back:end"
HELD_S: Final = 3_600
"""Who was cut off holds up nobody for longer; who takes longer says so halfway."""
_OTHERS: Final = "Another process looks back."
_TOLD: Final = 10
"""Findings in a message: a datagram and a telephone hold no more."""
_S: Final = 1_000_000


def look_back(trail: Trail, clock: Clock, budget: int, tenant: str, place: Path) -> list[Finding]:
    """Judges the days that are over and were not judged, and puts what stands out on record.

    Args:
        budget: findings a day that are in no open case.
        place: where what was read of the log stays: see ``tables.kept``.

    Raises:
        AccessDeniedError: another process does so now, or has begun while this one was stopped.
        NotOnRecordError: the log does not go back far enough.
    """
    now_us = clock.now_us()
    last = now_us // _S // DAY_S - 2
    turn = _Turn(trail, clock, tenant, iso(last))
    first = max(_judged(trail, tenant, now_us, last) + 1, last - MOST_DAYS + 1)
    if first > last:
        return []
    with kept(place, tenant) as tables:
        tables.follow(trail, tenant, now_us, last - first + 3, turn.kept)
        said = [one.leaf.about for one in _said(trail, tenant, now_us, FINDING)]
        before = {(one["for"], one["why"]): _day(one["day"]) for one in said if _day(one["day"]) < first}
        found = found_in(tables, first, last, Budget(budget, before))
    there = {(one["day"], one["for"]) for one in said}
    for each in found:
        if (each.day, each.actor) not in there:  # a look back that was cut off said it already
            turn.say(FINDING, _about(each))
    turn.say(JUDGED, {"day": iso(last), "found": str(len(found))})
    return found


class _Turn:
    """One process's turn to look back at a tenant's log, from its first entry on."""

    def __init__(self, trail: Trail, clock: Clock, tenant: str, day: str) -> None:
        self._trail, self._clock, self._tenant, self._day = trail, clock, tenant, day
        self._name, now_us = f"look-back {tenant}", clock.now_us()
        self._until_us = now_us + HELD_S * _S
        trail.note(BEGUN, {"day": day}, (), tenant, leased(self._name, now_us, self._until_us, _OTHERS))

    def kept(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """The entries, and the turn while they are read, however long that takes."""
        for each in entries:
            now_us = self._clock.now_us()
            if self._until_us - now_us < HELD_S * _S // 2:
                self.say(BEGUN, {"day": self._day}, until_us=now_us + HELD_S * _S)
            yield each

    def say(self, action: str, about: dict[str, str], until_us: int | None = None) -> None:
        """Puts on record what was found, if it is still this one's turn."""
        until_us = until_us or self._until_us
        claim = renewed(self._name, self._until_us, until_us, _OTHERS)
        self._trail.note(action, about, (), self._tenant, claim)
        self._until_us = until_us


def message(found: Sequence[Finding]) -> str:
    """What is told: who, when, why; of the clients nothing, which the entries name to who may ask."""
    said = [
        f"{each.day} {each.actor}: {each.unexplained:.1f} of {each.visits} looks unexplained, {each.why}."
        for each in found[:_TOLD]
    ]
    more = [f"And {len(found) - _TOLD} more."] if len(found) > _TOLD else []
    return " ".join(
        [f"Looking back, {len(found)} stand out.", *said, *more, "`privguard anomaly cases` has all."]
    )


def told(trail: Trail, clock: Clock, budget: int, tenant: str, place: Path) -> str:
    """Looks back, and says what there is to tell: nothing, where another process does so. Raises the rest."""
    try:
        found = look_back(trail, clock, budget, tenant, place)
    except AccessDeniedError:
        return ""
    new = [each for each in found if each.new]
    return message(new) if new else ""


def _judged(trail: Trail, tenant: str, now_us: int, last: int) -> int:
    """The last day that was judged; where none was of late, the one before ``last``."""
    days = [_day(one.leaf.about["day"]) for one in _said(trail, tenant, now_us, JUDGED)]
    return max(days, default=last - 1)


def _said(trail: Trail, tenant: str, now_us: int, action: str) -> Iterator[Entry]:
    since = now_us - (MOST_DAYS + 3) * DAY_S * _S
    return trail.every(Filter(tenant=tenant, action=(action,), since_us=since))[1]


def _day(said: str) -> int:
    return (date.fromisoformat(said) - date(1970, 1, 1)).days


def _about(each: Finding) -> dict[str, str]:
    return {
        "day": each.day,
        "for": each.actor,
        "level": f"{each.level:.1f}",
        "by": each.by,
        "why": each.why,
        "unexplained": f"{each.unexplained:.1f}",
        "expected": f"{each.expected:.1f}",
        "visits": str(each.visits),
        "entries": " ".join(map(str, each.entries)),
    }
