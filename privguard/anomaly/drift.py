"""Who looks without a reason more and more, or ever again: B2, a CUSUM for each actor, in ibis.

What is summed is how far the unexplained visits of a day exceed those to be expected of so many visits. What
is to be expected comes from the role's last months, and from the actor's own as long as it is not beyond
three times the role's: who ramps up slowly moves their own bound, and not beyond that (poisoning).
"""

from __future__ import annotations

from typing import Any, Final

import ibis
import ibis.expr.types as ir
from ibis import _

DAYS: Final = 60
"""Days an actor or a role is known by."""
LATELY: Final = 5
"""Own days that are not yet learned from."""
OWN_AT_MOST: Final = 3.0
_WEIGHT: Final = 50.0
"""So many visits the role's rate weighs against the actor's own."""
_SLACK, _MOST = 0.5, 5.0
"""What a day adds beyond chance, and at most: one day alone is not a drift."""


def actor_days(scored: ir.Table) -> ir.Table:
    """Of each actor and day: visits, and how many of them are unexplained; each counts by its score."""
    days: ir.Table = scored.group_by("day", "actor", "role").aggregate(
        visits=_.count(), unexplained=_.score.sum()
    )
    return days


def drift(days: ir.Table) -> ir.Table:
    """``actor_days`` with ``expected``, ``excess`` (of that day alone, in standard deviations) and ``drift``.

    Args:
        days: all of the last 30 to 180 days; the sum begins with them.
    """
    role_days = days.group_by("role", "day").aggregate(of=_.visits.sum(), bad=_.unexplained.sum())
    before = ibis.window(group_by="role", order_by="day", preceding=(DAYS, 1))
    role_rate = role_days.mutate(
        rate=(role_days.bad.sum().over(before).fill_null(role_days.bad) + 0.5)
        / (role_days.of.sum().over(before).fill_null(role_days.of) + 25.0)
    ).select("role", "day", "rate")
    mine = ibis.window(group_by="actor", order_by="day", preceding=(DAYS, LATELY + 1))
    known = days.left_join(role_rate, ["role", "day"]).select(*days.columns, "rate")
    own = (known.unexplained.sum().over(mine).fill_null(0.0) + _WEIGHT * known.rate) / (
        known.visits.sum().over(mine).fill_null(0) + _WEIGHT
    )
    known = known.mutate(expected=known.visits * ibis.least(own, OWN_AT_MOST * known.rate))
    known = known.mutate(excess=(known.unexplained - known.expected) / (known.expected + 1.0).sqrt())
    return _cusum(known.drop("rate"))


def _cusum(known: Any) -> ir.Table:
    """max(0, sum so far), in closed form: the sum less its lowest so far, which any engine has."""
    so_far = ibis.window(group_by="actor", order_by="day", preceding=(None, 0))
    step = ibis.least(known.excess, _MOST) - _SLACK
    summed = known.mutate(total=step.sum().over(so_far))
    found: ir.Table = summed.mutate(
        drift=summed.total - ibis.least(0.0, summed.total.min().over(so_far))
    ).drop("total")
    return found
