"""Looks back day by day: what stands out goes on record, into the cases, and to who is told.

Days are judged in order, each once, and only when the day after it is over: work that follows a look within
24 hours is a reason for it. What was judged is read off the log, so a look back that was cut off, or nights
without any, are made up for; of many processes, the log lets one begin.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Final

from privguard.errors import AccessDeniedError
from privguard.oversight.cases import FINDING
from privguard.oversight.filters import Filter
from privguard.oversight.findings import DAY_S, Finding, Findings, iso, since_us
from privguard.oversight.lookback import Lookback
from privguard.oversight.trail import Entry, Trail
from privguard.ports import Clock
from privguard.store.claims import leased

BEGUN: Final = "oversight:look-back:begin"
JUDGED: Final = "oversight:look-back:end"
MOST_DAYS: Final = 30
"""Days that are made up for at most; older ones would be judged by what came long after."""
HELD_S: Final = 3_600
"""Who was cut off holds up nobody for longer."""
_TOLD: Final = 10
"""Findings in a message: a datagram and a telephone hold no more."""
_S: Final = 1_000_000


def look_back(trail: Trail, clock: Clock, budget: int, tenant: str) -> list[Finding]:
    """Judges the days that are over and were not judged, and puts what stands out on record.

    Args:
        budget: findings a day.

    Raises:
        AccessDeniedError: another process does so now.
        NotOnRecordError: the log does not go back far enough.
    """
    now_us = clock.now_us()
    last = now_us // _S // DAY_S - 2
    claim = leased(f"look-back {tenant}", now_us, now_us + HELD_S * _S, "Another process looks back.")
    trail.note(BEGUN, {"day": iso(last)}, (), tenant, claim)
    first = max(_judged(trail, tenant, now_us, last) + 1, last - MOST_DAYS + 1)
    if first > last:
        return []
    with Lookback() as back:
        findings = Findings(back)
        findings.take(trail.every(Filter(tenant=tenant, since_us=since_us(now_us, last - first + 3)))[1])
        found = findings.found(first, last, budget)
    there = {(one.leaf.about["day"], one.leaf.about["for"]) for one in _said(trail, tenant, now_us, FINDING)}
    for each in found:
        if (each.day, each.actor) not in there:  # a look back that was cut off said it already
            trail.note(FINDING, _about(each), (), tenant)
    trail.note(JUDGED, {"day": iso(last), "found": str(len(found))}, (), tenant)
    return found


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


def told(trail: Trail, clock: Clock, budget: int, tenant: str) -> str:
    """Looks back, and says what there is to tell: nothing, where another process does so. Raises the rest."""
    try:
        found = look_back(trail, clock, budget, tenant)
    except AccessDeniedError:
        return ""
    return message(found) if found else ""


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
