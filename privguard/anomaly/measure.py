"""How good a ranking is: average precision, alerts under a budget, days and clients until the alert."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Final, Generic, TypeVar

from msgspec import Struct, field

BUDGETS: Final = (1, 2, 5)
"""Alerts a day."""
BUDGET: Final = 2
"""The one by which time to detect is taken."""
UserDay = tuple[int, int]
"""Day and actor."""
Matter = TypeVar("Matter", bound=Hashable)
"""An actor, and what there is to look into."""
QUIET_DAYS: Final = 7
"""A case is open for so long after the last that went into it."""


class Incident(Struct):
    """What one insider, or one group, did: distinct clients by user-day, in the order of time."""

    scenario: str
    days: dict[UserDay, list[tuple[int, int]]] = field(default_factory=dict)
    """(event, client) of the user-day's planted events."""


class Detected(Struct, frozen=True):
    """What alerts make of a scenario's incidents; None where nothing was found, or there was nothing.

    Attributes:
        days_to_detect: working days until the first alert under the budget, of the median incident.
        slowest: of the slowest one.
        days_to_level_1: until the level reaches 1, of the median incident.
        clients_exposed: distinct clients seen before that first alert, of the median incident.
    """

    recall_at_k: dict[str, float]
    precision_at_k: dict[str, float]
    days_to_detect: float | None
    slowest: float | None
    days_to_level_1: float | None
    clients_exposed: float | None
    top_reason_accuracy: float | None


def average_precision(ranked: Iterable[tuple[float, bool]], share: float | None = None) -> float | None:
    """Area under precision and recall; those of equal score count as one step. None without a positive.

    Args:
        share: weigh the positives as if they were that share of all; precision depends on how rare they are.
    """
    ordered = sorted(ranked, key=lambda each: -each[0])
    positives = sum(positive for _, positive in ordered)
    if not positives or len(ordered) == positives:
        return 1.0 if positives else None
    weight = 1.0 if share is None else share / (1.0 - share) * (len(ordered) - positives) / positives
    found = seen = area = 0.0
    for _, tied in groupby(ordered, key=lambda each: each[0]):
        group = list(tied)
        new = sum(positive for _, positive in group)
        found, seen = found + new * weight, seen + new * weight + len(group) - new
        area += new * found / seen
    return area / positives


def discoveries(ps: Mapping[UserDay, float], rate: float) -> list[UserDay]:
    """The least p first, as many as hold at most this share of false ones (Benjamini and Hochberg 1995)."""
    ordered = sorted(ps, key=lambda key: (ps[key], key))
    bounds = (at for at, key in enumerate(ordered, 1) if ps[key] <= rate * at / len(ordered))
    return ordered[: max(bounds, default=0)]


class Budget(Generic[Matter]):
    """Alerts of a day: spent on what is in no open case; who looks into cases has the rest before them.

    Args:
        newest: of the cases that may be open, the day of the last that went into them.
    """

    def __init__(self, a_day: int, newest: Mapping[Matter, int] | None = None) -> None:
        self._a_day, self._newest = a_day, dict(newest or {})

    def on(self, day: int, ranked: Iterable[Matter]) -> tuple[list[Matter], list[Matter]]:
        """Of what stands out on a day, the gravest first: what is new, and what goes into open cases.

        Days in their order.
        """
        new, known = list[Matter](), list[Matter]()
        for place, matter in enumerate(ranked):
            if len(new) == self._a_day:
                break
            if day - self._newest.get(matter, -math.inf) > QUIET_DAYS:
                new.append(matter)
            elif place < self._a_day:
                known.append(matter)
            else:
                continue
            self._newest[matter] = day
        return new, known


def alerts(
    levels: Mapping[UserDay, float], budget: int, reasons: Mapping[UserDay, str], least: float = 0.0
) -> set[UserDay]:
    """The highest of each day that are in no open case, at most ``budget``, and only what is above ``least``.

    Args:
        reasons: what a user-day would be alerted of for; none where a detector gives none.
    """
    days: dict[int, list[tuple[float, int]]] = defaultdict(list)
    for (day, actor), level in levels.items():
        if level > least:
            days[day].append((-level, actor))
    spent = Budget[tuple[int, str]](budget)
    return {
        (day, actor)
        for day in sorted(days)
        for actor, _ in spent.on(day, [(who, reasons.get((day, who), "")) for _, who in sorted(days[day])])[0]
    }


def detected(
    incidents: Sequence[Incident],
    levels: Mapping[UserDay, float],
    reasons: Mapping[UserDay, str],
    workdays: Callable[[int, int], int],
    exposed: Callable[[Incident, UserDay], int],
    reason: Callable[[Incident, UserDay], bool] | None,
) -> Detected:
    """What a ranking of user-days finds.

    Args:
        levels: of the days on which nothing else was planted.
        workdays: how many lie from a day to another.
        exposed: how many clients an incident has seen before the alert on a user-day.
        reason: whether the top reason on a user-day is what was planted, asked of the strongest alert; None
            where none is given.
    """
    raised = {budget: alerts(levels, budget, reasons) for budget in BUDGETS}
    alarmed = {key for key, level in levels.items() if level >= 1.0}
    true = {each for incident in incidents for each in incident.days}
    first = [min(each.days.keys() & raised[BUDGET], default=None) for each in incidents]
    told = list[bool]()
    for each in incidents:
        if reason and (found := each.days.keys() & raised[BUDGET]):
            told.append(reason(each, max(found, key=lambda key: (levels[key], -key[0]))))

    def delays(among: set[UserDay]) -> list[float]:
        days = [(min(each.days), min(each.days.keys() & among, default=None)) for each in incidents]
        return [workdays(a[0], b[0]) if b else math.inf for a, b in days]

    return Detected(
        {str(k): _share(bool(each.days.keys() & raised[k]) for each in incidents) for k in BUDGETS},
        {str(k): _share(each in true for each in raised[k]) for k in BUDGETS},
        _finite(median(delays(raised[BUDGET]))),
        _finite(max(delays(raised[BUDGET]), default=math.nan)),
        _finite(median(delays(alarmed))),
        _finite(
            median(exposed(i, day) if day else math.inf for i, day in zip(incidents, first, strict=True))
        ),
        _share(told) if told else None,
    )


def median(values: Iterable[float]) -> float:
    """The lower of two middle ones, so that it is one of them; nan of none."""
    ordered = sorted(values)
    return ordered[(len(ordered) - 1) // 2] if ordered else math.nan


def quantile(values: Iterable[float], share: float) -> float:
    """The least of the values that this share is not above; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


def spread(values: Iterable[float | None]) -> dict[str, float | None]:
    """Median, lowest, highest and tenth and ninetieth percentile over seeds; None counts as not reached."""
    known = [math.inf if each is None else each for each in values]
    if not known:
        return {}
    shares = {"median": median(known), "p10": quantile(known, 0.1), "p90": quantile(known, 0.9)}
    return {name: _finite(value) for name, value in {**shares, "min": min(known), "max": max(known)}.items()}


def _share(values: Iterable[bool]) -> float:
    all_of = list(values)
    return sum(all_of) / len(all_of) if all_of else 0.0


def _finite(value: float) -> float | None:
    return None if math.isinf(value) or math.isnan(value) else round(value, 6)
