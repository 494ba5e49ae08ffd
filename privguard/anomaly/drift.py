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

from privguard.anomaly.batch import MONTH, OWN, UNEXPLAINED

DAYS: Final = 60
"""Days an actor or a role is known by."""
LATELY: Final = 5
"""Own days that are not yet learned from."""
OWN_AT_MOST: Final = 3.0
_WEIGHT: Final = 50.0
"""So many visits the role's rate weighs against the actor's own."""
_AGAIN = 4.0
"""How much sooner a look is somebody's own business for each day more on which it was looked."""
_LIFT = 100.0
"""Neither a busy day nor a habit makes more of an access than that."""
SLACK: Final = 0.5
"""Standard deviations that chance adds to a day, and that the sum leaves out."""
_MOST = 5.0
"""What a day adds at most: one day alone is not a drift."""


def actor_days(scored: ir.Table) -> ir.Table:
    """Of each actor and day: visits, how many nothing explains (by score), how many of those at odd hours.

    What is explained leaves nothing behind: a hundred good reasons are not one missing one.
    """
    odd = ibis.ifelse(scored.score >= UNEXPLAINED, scored.score, 0.0)
    days: ir.Table = scored.group_by("day", "actor", "role").aggregate(
        visits=_.count(), unexplained=odd.sum(), night=(odd * scored.odd_hour).sum()
    )
    return days


def drift(days: ir.Table) -> ir.Table:
    """``actor_days`` with ``expected``, ``excess`` (of that day alone, in standard deviations) and ``drift``.

    Args:
        days: all of the last 30 to 180 days; the sum begins with them.
    """
    role_days = days.group_by("role", "day").aggregate(of=_.visits.sum(), bad=_.unexplained.sum())
    before = ibis.window(group_by="role", order_by="day", preceding=(DAYS, 1))
    first = role_days.count().over(before) == 0  # of no rows, engines sum to null or to 0
    bad, of = (
        ibis.ifelse(first, own, own.sum().over(before).fill_null(0)) for own in (role_days.bad, role_days.of)
    )
    role_rate = role_days.mutate(rate=(bad + 0.5) / (of + 25.0)).select("role", "day", "rate")
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
    step = ibis.least(known.excess, _MOST) - SLACK
    summed = known.mutate(total=step.sum().over(so_far))
    found: ir.Table = summed.mutate(
        drift=summed.total - ibis.least(0.0, summed.total.min().over(so_far))
    ).drop("total")
    return found


def doubts(scored: ir.Table, days: ir.Table) -> ir.Table:
    """The visits that nothing explains, in the light of all else that is known.

    Of an actor with ten unexplained visits where one is usual, nine of ten are the unusual ones; and who
    looks at the same client without a reason on several days has more than one look to explain.

    Args:
        days: their ``drift``.

    Returns:
        ``doubt`` from 0 to 1, by the month before and the month after; ``habit``, in natural logarithms of
        odds, as it was known on the day, and without the actor's other visits.
    """
    odd = scored.filter(scored.score >= UNEXPLAINED)
    never = odd.filter(odd.cell & OWN == 0).mutate(one=ibis.literal(1, "int64"))
    pair = ["actor", "client"]
    lately = ibis.range_window(preceding=MONTH - 1, following=0, group_by=pair, order_by="day")
    around = ibis.range_window(preceding=MONTH - 1, following=MONTH - 1, group_by=pair, order_by="day")
    one = never.one.sum()
    again = never.select("day", *pair, again=one.over(around), so_far=one.over(lately))
    known = odd.left_join(again, ["day", "actor", "client"]).select(*odd.columns, "again", "so_far")
    known = known.left_join(days.select("day", "actor", "unexplained", "expected"), ["day", "actor"])
    usual = ibis.greatest(1.0, ibis.least(_LIFT, known.unexplained / (known.expected + 0.1)))
    odds = known.score / (1.0 - known.score)
    lifted = odds * usual * ibis.least(_LIFT, _AGAIN ** (known.again.fill_null(1) - 1))
    then = odds * ibis.least(_LIFT, _AGAIN ** (known.so_far.fill_null(1) - 1))
    doubted: ir.Table = known.select("day", "actor", "client", doubt=lifted / (1.0 + lifted), habit=then.ln())
    return doubted
