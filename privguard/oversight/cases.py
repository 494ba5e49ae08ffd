"""Cases: what belongs together of the unusual, and what people found. The log alone says both."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from privguard.anomaly import Level
from privguard.anomaly.measure import QUIET_DAYS
from privguard.errors import NotOnRecordError
from privguard.oversight.filters import Filter
from privguard.oversight.rows import time_of
from privguard.oversight.trail import Entry, Trail

QUIET_US: Final = QUIET_DAYS * 86_400_000_000
"""After so long without anything unusual a new case begins."""
FEEDBACK: Final = "oversight:anomaly:feedback"
FINDING: Final = "oversight:look-back:finding"
"""Action of an entry that says whose day stood out when the log was looked back over."""
ALARMING: Final = (Level.HIGH, Level.SEVERE, Level.RULE)
_GRAVITY: Final = {level.value: place for place, level in enumerate(ALARMING)}


class Verdict(enum.StrEnum):
    """What somebody who looked into a case found."""

    EXPECTED = "expected"
    POLICY_GAP = "policy-gap"
    VIOLATION = "violation"
    UNCLEAR = "unclear"


class Case(Struct):
    """Unusual accesses of one actor for one cause, or days of theirs that stood out when looked back at.

    Attributes:
        level: the gravest.
        since, last: log time of the first and the newest entry, ISO 8601, UTC.
        clients: how many different ones stand in its entries, or in those that a look back names.
        newest: index of the newest entry.
        verdict: the last that was given of any of its entries; empty: nobody has looked into it.
    """

    actor: str
    cause: str
    level: str
    since: str
    last: str
    entries: int
    clients: int
    newest: int
    verdict: str = ""


class _Open:
    def __init__(self, entry: Entry) -> None:
        self.first_us = self.last_us = entry.leaf.ts
        self.indexes: list[int] = []
        self.tokens: set[str] = set()
        self.level = ""

    def take(self, entry: Entry) -> None:
        leaf = entry.leaf
        self.last_us = leaf.ts
        self.indexes.append(entry.index)
        self.tokens.update(token for group in leaf.groups for token, _, _ in group.subjects)
        self.tokens.update(leaf.about.get("entries", "").split())  # of a look back: one a client
        level = leaf.risk.level if leaf.risk is not None else Level.HIGH
        if _GRAVITY.get(level, -1) >= _GRAVITY.get(self.level, -1):
            self.level = level


def cases(trail: Trail, *, tenant: str = "default", since_us: int | None = None) -> list[Case]:
    """The cases of a tenant, newest first.

    Raises:
        AuditUnavailableError: the looks could not be put on record.
    """
    _, entries = trail.every(Filter(tenant=tenant, risk=ALARMING, since_us=since_us))
    opened = _grouped(entries)
    _, back = trail.every(Filter(tenant=tenant, action=(FINDING,), since_us=since_us))
    opened += _grouped(back)
    _, said = trail.every(Filter(tenant=tenant, action=(FEEDBACK,), since_us=since_us))
    verdicts = {int(entry.leaf.about["entry"]): entry.leaf.about["verdict"] for entry in said}
    found = [
        Case(
            actor,
            cause,
            each.level,
            time_of(each.first_us),
            time_of(each.last_us),
            len(each.indexes),
            len(each.tokens),
            each.indexes[-1],
            next((verdicts[index] for index in reversed(each.indexes) if index in verdicts), ""),
        )
        for (actor, cause), each in opened
    ]
    return sorted(found, key=lambda case: case.newest, reverse=True)


def _grouped(entries: Iterable[Entry]) -> list[tuple[tuple[str, str], _Open]]:
    """The entries, oldest first, by actor and cause, a quiet week apart."""
    newest: dict[tuple[str, str], _Open] = {}
    every: list[tuple[tuple[str, str], _Open]] = []
    for entry in entries:
        risk, about = entry.leaf.risk, entry.leaf.about
        if risk is not None:
            key = entry.leaf.actor, risk.why[0].cause if risk.why else risk.level
        elif entry.leaf.action == FINDING:
            key = about["for"], f"looking back: {about['why']}"
        else:
            continue
        one = newest.get(key)
        if one is None or entry.leaf.ts - one.last_us > QUIET_US:
            one = newest[key] = _Open(entry)
            every.append((key, one))
        one.take(entry)
    return every


def judge(trail: Trail, wanted: str, verdict: Verdict, note: str, tenant: str = "default") -> int:
    """Puts on record what somebody found of an entry, and with it of its case; the index of that.

    Args:
        wanted: index or event id of an entry that was unusual.
        note: for who may read details; sealed.

    Raises:
        NotOnRecordError: there is no such entry, or it was not unusual.
    """
    entry = trail.show(wanted, tenant).parts[0]
    level = entry.leaf.risk.level if entry.leaf.risk is not None else ""
    if level not in ALARMING and entry.leaf.action != FINDING:
        raise NotOnRecordError(
            f"Entry {entry.index} was not unusual: `privguard anomaly cases` says which were."
        )
    about = {"entry": str(entry.index), "verdict": verdict.value}
    return trail.note(FEEDBACK, about, (("note", note),) if note else (), tenant).index
