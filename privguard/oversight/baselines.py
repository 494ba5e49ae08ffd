"""What a detector has to be better than: a fixed threshold, one's own habit, an isolation forest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from sklearn.ensemble import IsolationForest

from privguard.anomaly.access import Day
from privguard.anomaly.measure import UserDay

Levels = dict[UserDay, float]
_KNOWN = 5
"""Days by which one's habit is known."""


def baselines(
    days: Sequence[Day], split: int, number: Callable[[str], int], seed: int
) -> dict[str, tuple[Levels, Levels]]:
    """The levels of each baseline before and after the split, over daily aggregates."""
    daily = _aggregates(days, number)
    clients = {key: values[0] for key, values in daily.items()}
    habits, early = _own_z(clients), [values for (day, _), values in daily.items() if day < split]
    forest = IsolationForest(n_estimators=100, random_state=seed).fit(early)
    # from 0 for the most ordinary to 1; 0.5 is what the forest takes for the border
    odd = dict(zip(daily, (-forest.score_samples(list(daily.values()))).tolist(), strict=True))
    return {
        name: ({k: v for k, v in of.items() if k[0] < split}, {k: v for k, v in of.items() if k[0] >= split})
        for name, of in (("static-threshold", clients), ("own-z", habits), ("isolation-forest", odd))
    }


def _aggregates(days: Sequence[Day], number: Callable[[str], int]) -> dict[UserDay, list[float]]:
    """Distinct clients, events, clients never seen before, events at night, clear values, new devices."""
    known: dict[int, set[str]] = defaultdict(set)
    devices: dict[int, set[str]] = defaultdict(set)
    daily: dict[UserDay, list[float]] = {}
    for day in days:
        today: dict[int, set[str]] = defaultdict(set)
        for each in day.accesses:
            access, actor = each.access, number(each.access.actor)
            row = daily.setdefault((day.number, actor), [0.0] * 6)
            row[0] += access.client not in today[actor]
            row[1] += 1
            row[2] += access.client not in known[actor]
            row[3] += not 5 <= access.at_s // 3600 % 24 < 22
            row[4] += access.clear
            row[5] += access.device not in devices[actor]
            today[actor].add(access.client)
            known[actor].add(access.client)
            devices[actor].add(access.device)
    return daily


def _own_z(clients: Levels) -> Levels:
    """How many standard deviations above the days before; 0 until there are some."""
    past: dict[int, list[float]] = defaultdict(list)
    found: Levels = {}
    for key, value in sorted(clients.items()):
        before = past[key[1]]
        if len(before) >= _KNOWN:
            mean = sum(before) / len(before)
            deviation = (sum((each - mean) ** 2 for each in before) / len(before)) ** 0.5
            found[key] = max(0.0, (value - mean) / max(1.0, deviation))
        else:
            found[key] = 0.0
        before.append(value)
    return found
