"""How far a day of somebody is from an ordinary one, over all that is measured of it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from privguard.anomaly.measure import UserDay, quantile

ORDINARY: Final = 0.999
FLOORS: Final[Mapping[str, float]] = MappingProxyType(
    {"excess": 3.0, "drift": 5.0, "night": 3.0, "habit": 6.0, "shared": 6.0, "surge": 2.5}
)
"""What is measured, and what it takes at least for a level of 1, however calm the log was before."""
Statistics = Mapping[str, Mapping[UserDay, float]]


def levels(statistics: Statistics, calm: range) -> dict[UserDay, tuple[float, str]]:
    """The level of each user-day, and which statistic it is by: the highest.

    A statistic is measured by what one in a thousand user-days reached in ``calm`` days.
    """
    found: dict[UserDay, tuple[float, str]] = {}
    for name, values in statistics.items():
        unit = max(quantile((v for (day, _), v in values.items() if day in calm), ORDINARY), FLOORS[name])
        for key, value in values.items():
            if value / unit > found.get(key, (0.0, ""))[0]:
                found[key] = value / unit, name
    return found
