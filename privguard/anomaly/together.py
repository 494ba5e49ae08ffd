"""Who looks at the same clients without a reason: B3, surges around one client and groups, in ibis.

Both take visits that nothing explains, a few of a hundred, and ask what two actors' have in common.
"""

from __future__ import annotations

from typing import Final

import ibis
import ibis.expr.types as ir
from ibis import _

UNEXPLAINED: Final = 0.5
"""From this score on a visit is rather somebody's who looks at random."""
SURGE_DAYS: Final = 2
MONTH: Final = 28
SHARED: Final = 2
"""Clients two actors have in common before it counts as more than chance."""


def surges(scored: ir.Table) -> ir.Table:
    """Clients whom several actors looked at within two days: ``actors``, and ``surge``, summed by score."""
    odd = scored.filter(scored.score >= UNEXPLAINED)
    days = ibis.union(*(
        odd.select(day=odd.day.cast("int64") + later, client="client", actor="actor", score="score")
        for later in range(SURGE_DAYS)
    ))  # fmt: skip
    once = days.group_by("day", "client", "actor").aggregate(score=_.score.max())
    found = once.group_by("day", "client").aggregate(actors=_.count(), surge=_.score.sum())
    return found.filter(found.actors > 1)


def company(scored: ir.Table) -> ir.Table:
    """Of each actor and day how many clients they share with others who had no reason either, in a month.

    Returns:
        ``others``: with how many they share ``SHARED`` clients or more; ``shared``: clients, over all others.
    """
    odd = scored.filter(scored.score >= UNEXPLAINED).select("day", "actor", "client").distinct()
    mine, theirs = odd, odd.view()
    near = (mine.day - theirs.day < MONTH) & (theirs.day - mine.day < MONTH)
    met = mine.join(theirs, [mine.client == theirs.client, mine.actor != theirs.actor, near])
    pairs = met.select(
        day=ibis.greatest(mine.day, theirs.day), actor=mine.actor, other=theirs.actor, client=mine.client
    ).distinct()
    first = pairs.group_by("actor", "other", "client").aggregate(day=_.day.min())
    daily = first.group_by("actor", "other", "day").aggregate(new=_.count())
    so_far = ibis.window(group_by=["actor", "other"], order_by="day", preceding=(None, 0))
    grown = daily.mutate(common=daily.new.sum().over(so_far))
    grown = grown.filter(grown.common >= SHARED)
    found: ir.Table = grown.group_by("actor", "day").aggregate(others=_.count(), shared=_.common.sum())
    return found
