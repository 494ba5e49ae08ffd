"""What is ordinary: for each actor, peers and role, the highest count of a day, and how far days differ.

An actor's expectation shrinks towards their peers', and the peers' towards the role's, as long as there are
few days to go by. Own days weigh at most three times what the peers' do, so that who ramps up slowly for
months moves their own bound, and not beyond what peers allow (poisoning).
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from operator import add
from typing import Final

from privguard.anomaly.calibration import Calibration
from privguard.anomaly.counters import CELLS
from privguard.anomaly.tail import upper_tail

PEER_DAYS: Final = 20.0
"""Days of peers' that the role's expectation is worth."""
OWN_DAYS: Final = 10.0
"""Days of one's own that the peers' expectation is worth."""
OWN_AT_MOST: Final = 30.0
LEARNED: Final = 30
"""Actor-days of a role below which nothing is said."""
STRANGERS: Final = 0.5
"""Square of the coefficient of variation between peers: how far from them somebody new may be."""
WEEK_DAYS: Final = 28
"""Days after which hours are told apart by the day of the week."""
LEAST: Final = 0.05
"""Never is less expected than this: what was not seen in a month may still happen on a good day."""
_SIGMAS: Final = 2.0
"""Below so many standard deviations above the mean no tail is computed."""
_NOTHING: Final = [0.0] * CELLS
_ENDLESS: Final = [math.inf] * CELLS


class Sums:
    """Days, and the sum of each cell over them."""

    __slots__ = ("days", "total")

    def __init__(self) -> None:
        self.days = 0
        self.total = array("d", _NOTHING)


class Role:
    """A role's days, how far they were from what was expected, and its hours.

    Attributes:
        square, excess: sums of ``mean²`` and of ``(count - mean)² - mean``, whose ratio is 1/shape.
        rare: for each hour of the week, the share of accesses in hours as rare; of the days before this one.
    """

    __slots__ = (
        "accesses", "calibration", "day", "excess", "first", "hours", "new_places", "rare", "square", "sums",
    )  # fmt: skip

    def __init__(self) -> None:
        self.sums = Sums()
        self.square = [0.0] * CELLS
        self.excess = [0.0] * CELLS
        self.accesses = 0
        self.new_places = 0
        self.hours = [0] * 168
        self.rare = [1.0] * 168
        self.day = self.first = 0
        self.calibration = Calibration()

    def shape(self, cell: int) -> float:
        """Of the Gamma–Poisson: how little days differ beyond chance."""
        excess = self.excess[cell]
        return min(200.0, max(0.2, self.square[cell] / excess)) if excess > 0 else 200.0

    def turn(self, day: int) -> None:
        """Begins a day: what hours are rare is counted anew."""
        if day <= self.day:
            return
        self.calibration.turn(day)
        self.day, self.first, total, below = day, self.first or day, sum(self.hours), 0.0
        hours: Sequence[float] = self.hours
        if day - self.first < WEEK_DAYS:
            hours = [sum(self.hours[hour % 24 :: 24]) / 7 for hour in range(168)]
        for hour in sorted(range(168), key=hours.__getitem__):
            below += hours[hour]
            self.rare[hour] = (below + 1) / (total + 1)

    def see(self, hour: int) -> None:
        """Learns from an access that nothing speaks against."""
        self.accesses += 1
        self.hours[hour] += 1


class Expectation:
    """What an actor's day should be: ``mean`` of each cell.

    Attributes:
        high: for each cell the count from which on a tail is computed; -1 before it was asked for.
    """

    __slots__ = ("_unsure", "high", "known", "mean", "role")

    def __init__(self, own: Sums, peers: Sums, role: Role) -> None:
        self.role, self.known = role, role.sums.days >= LEARNED
        self.mean, self.high = _NOTHING, _ENDLESS
        self._unsure = STRANGERS * OWN_DAYS / (OWN_DAYS + own.days)
        if not self.known:
            return
        weight = min(1.0, OWN_AT_MOST / own.days) if own.days else 0.0
        whole = OWN_DAYS + own.days * weight
        of_peers = OWN_DAYS / whole / (PEER_DAYS + peers.days)
        of_role, of_own = of_peers * PEER_DAYS / role.sums.days, weight / whole
        self.mean = [
            max(LEAST, of_role * r + of_peers * p + of_own * o)
            for r, p, o in zip(role.sums.total, peers.total, own.total, strict=True)
        ]
        self.high = [-1.0] * CELLS

    def p(self, cell: int, count: float) -> float:
        """How improbable it is that the day's highest count is this one or more; 1 if it is not high."""
        if not self.known:
            return 1.0
        high = self.high[cell]
        if high < 0:
            mean = self.mean[cell]
            high = mean + _SIGMAS * math.sqrt(mean + mean * mean / self._shape(cell)) + 0.5
            self.high[cell] = high
        return upper_tail(count, self.mean[cell], self._shape(cell)) if count > high else 1.0

    def _shape(self, cell: int) -> float:
        return 1.0 / (1.0 / self.role.shape(cell) + self._unsure)


def learn(highest: list[float], expected: Expectation, own: Sums, peers: Sums, role: Role) -> None:
    """Takes a day in: what was expected of it is what its surprise is measured by."""
    for each in (own, peers, role.sums):
        each.days += 1
        each.total = array("d", map(add, each.total, highest))
    if expected.known:
        mean = expected.mean
        role.square = [square + m * m for square, m in zip(role.square, mean, strict=True)]
        role.excess = [e + (x - m) ** 2 - m for e, x, m in zip(role.excess, highest, mean, strict=True)]
