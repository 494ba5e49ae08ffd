"""What a p is worth: the share of a role's ordinary looks for which a cause was as improbable (conformal).

A model's tail is as good as the model. So each cause's p is held against those that the role's looks of the
last weeks were given for the same cause: then a level means the same in every role, whatever the model got
wrong. Distances and days are no model's p, and are counted as they are.

Who was flagged is not learned from for a while, so that who goes on makes nothing ordinary (poisoning);
unless half of a role were, who then do what the role does now. Flagged looks of ordinary people are as rare
as ``FLAGGED``, which is added again: else each span's bound would be tighter than the last's. Beyond what
was seen, a model's tail goes on as it fell (Hill's estimate).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import add
from typing import Final

from privguard.anomaly.evidence import BY_KIND, Cause, Evidence
from privguard.anomaly.features import PRIVATE

FLAGGED: Final = 1e-4
"""What is less probable than this is flagged."""
DOUBTLESS: Final = 1e-9
"""The same, as long as a role is not known and the model's word is all there is."""
SPAN_DAYS: Final = 28
"""A role is known by the looks of this span and of the one before; who was flagged, is for so long."""
LEARNED: Final = 1000
"""Looks of a role below which a model's p is not held against others."""
CHANCE: Final = 10_000
"""Looks without kin, neighbour or colleague that a role is taken to have behind it: few clients are any.
So the first such look is raised, not high, and a role in which they are common learns so."""
_COUNTED: Final = (Cause.DISTANCE, Cause.AGAIN)
_MODELLED: Final = frozenset({*BY_KIND, Cause.HOUR, Cause.PLACE})
TESTS: Final = 4
"""Tests that an ordinary look is put to: distance, hour, place, and its counts together."""
_PER_DECADE: Final = 4
_BINS: Final = 15 * _PER_DECADE + 1
_EVIDENT: Final = 7
"""Bins before are no evidence."""
_SEEN: Final = 8
"""Looks that it takes to say how much of a model's tail is as improbable."""
_FALL_LEAST, _FALL_UNKNOWN, _FALL_MOST = 0.15, 0.5, 1.0
"""Decades that the share falls in a decade of a model's p; or in a step of what is counted."""
_RAISED: Final = 10 * FLAGGED / TESTS
_FEW: Final = 3
_MANY: Final = 0.5
"""More flagged actors than that, and than that share of all, are no few who do what others do not."""


class Calibration:
    """Of one role: its looks of two spans of days, and how improbable they were, by cause."""

    __slots__ = (
        "_actors",
        "_before",
        "_few",
        "_looks",
        "_looks_before",
        "_now",
        "_span",
        "_suspects",
        "_tables",
    )

    def __init__(self) -> None:
        self._span = self._looks = self._looks_before = 0
        self._now: dict[Cause, list[int]] = {}
        self._before: dict[Cause, list[int]] = {}
        self._tables: dict[Cause, list[float]] = {}
        self._actors: dict[str, int] = {}
        self._suspects: dict[str, int] = {}
        self._few = True

    @property
    def flagged(self) -> float:
        """What is less probable is flagged."""
        return FLAGGED if len(self._tables) > len(_COUNTED) else DOUBTLESS

    def turn(self, day: int) -> None:
        """Begins a day: what is how rare is counted anew."""
        span = day // SPAN_DAYS
        if span > self._span:
            follows = span == self._span + 1
            self._before, self._looks_before = (self._now, self._looks) if follows else ({}, 0)
            self._now, self._looks, self._span = {}, 0, span
        lately = day - SPAN_DAYS
        self._actors = {actor: last for actor, last in self._actors.items() if last > lately}
        self._suspects = {actor: last for actor, last in self._suspects.items() if last > lately}
        self._few = len(self._suspects) <= max(_FEW, _MANY * len(self._actors))
        if looks := self._looks + self._looks_before:
            self._tables = {cause: self._table(cause, looks) for cause in _COUNTED}
            if looks >= LEARNED:
                self._tables |= {cause: self._table(cause, looks) for cause in _MODELLED}

    def _table(self, cause: Cause, looks: int) -> list[float]:
        none = [0] * _BINS
        seen = list(map(add, self._now.get(cause, none), self._before.get(cause, none)))
        if cause is Cause.DISTANCE:
            return _of_distances(seen, looks)
        if cause is Cause.AGAIN:
            return _of_days(seen, looks)
        return _of_model(seen, looks, cause is Cause.HOUR)

    def share(self, cause: Cause, number: int) -> float:
        """The share of ordinary looks that were at this distance, or on so many days before, or beyond."""
        return self._tables[cause][min(number, _BINS - 1)] if self._tables else 1.0

    def worth(self, evidence: Evidence) -> float:
        """The share of ordinary looks that were as improbable by the same cause, or more."""
        p, table = evidence.p, self._tables.get(evidence.cause)
        if table is None or evidence.cause not in _MODELLED:
            return p
        at = min(-math.log10(p) * _PER_DECADE, _BINS - 2.0)
        low = int(at)
        worth: float = table[low] * (table[low + 1] / table[low]) ** (at - low)
        return worth

    def meet(self, actor: str, day: int) -> None:
        """Takes note that an actor is at work."""
        self._actors[actor] = day

    def suspect(self, actor: str, day: int) -> None:
        """Takes note that an actor was flagged."""
        self._suspects[actor] = day
        self._few = len(self._suspects) <= max(_FEW, _MANY * len(self._actors))

    def see(self, actor: str, distance: int, again: int, evidence: Sequence[Evidence]) -> bool:
        """Learns from a look, with the p that the model gave it; False if it is not to be learned from."""
        if self._few and actor in self._suspects:
            return False
        self._looks += 1
        self._count(Cause.DISTANCE, distance)
        if again and self.share(Cause.AGAIN, again) >= _RAISED:  # who comes back does so slowly
            self._count(Cause.AGAIN, again)
        if evidence:
            least = dict[Cause, float]()
            for each in evidence:
                if each.cause in _MODELLED and each.p < least.get(each.cause, 2.0):
                    least[each.cause] = each.p
            for cause, p in least.items():
                self._count(cause, int(-math.log10(p) * _PER_DECADE))
        return True

    def _count(self, cause: Cause, at: int) -> None:
        of = self._now.get(cause) or self._now.setdefault(cause, [0] * _BINS)
        of[min(at, _BINS - 1)] += 1


def _of_distances(seen: list[int], looks: int) -> list[float]:
    """The share at each distance or beyond; of private ones, less than any that is not."""
    above, table = looks, list[float]()
    for at, count in enumerate(seen):
        behind = looks + 1 + (CHANCE if at > PRIVATE else 0)  # surnames are common
        table.append((above + 1) / behind)
        above -= count
    return table


def _of_days(seen: list[int], looks: int) -> list[float]:
    """The share that came back on so many days or more; a day more than was seen is rarer each time."""
    above = sum(seen)
    table = [1.0, (above + 1) / (looks + 1)]
    for count in seen[1:-1]:
        above -= count
        table.append((above + 1) / (looks + 1) if above else table[-1] * 10**-_FALL_UNKNOWN)
    return table


def _of_model(seen: list[int], looks: int, hours: bool) -> list[float]:
    """The share of each p or less; of hours, which are shares themselves, one look will do."""
    few, flagged = (1, FLAGGED / TESTS) if hours else (_SEEN, FLAGGED)
    some = seen[_EVIDENT:]
    decades = sum((at + 0.5) * count for at, count in enumerate(some)) / _PER_DECADE
    fall = sum(some) / (math.log(10) * decades) if sum(some) > 2 * _SEEN else _FALL_UNKNOWN
    step = 10 ** (-min(_FALL_MOST, max(_FALL_LEAST, fall)) / _PER_DECADE)
    above, table = sum(seen), list[float]()
    for at, count in enumerate(seen):
        known = above >= few or at <= _EVIDENT
        table.append(min(1.0, (above + 1) / (looks + 1) + flagged) if known else table[-1] * step)
        above -= count
    return table
