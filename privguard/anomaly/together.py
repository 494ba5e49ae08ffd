"""Who looks at the same clients without a reason: B3, surges around one client and groups, in ibis.

Both take visits that nothing explains, a few of a hundred, and ask what two actors' have in common.
"""

from __future__ import annotations

from typing import Final

import ibis
import ibis.expr.types as ir
from ibis import _

from privguard.anomaly.batch import MONTH, UNEXPLAINED

SURGE_DAYS: Final = 2
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

    Who looks at many clients shares some by chance: as many as the others' share of all clients makes.

    Returns:
        ``others``: with how many they share ``SHARED`` clients or more; ``shared``: clients, over all others,
        beyond chance.
    """
    odd = scored.filter(scored.score >= UNEXPLAINED).select("day", "actor", "client").distinct()
    mine, theirs = odd, odd.view()
    near = (mine.day - theirs.day < MONTH) & (theirs.day - mine.day < MONTH)
    met = mine.join(theirs, [mine.client == theirs.client, mine.actor != theirs.actor, near])
    pairs = met.select(
        day=ibis.greatest(mine.day, theirs.day), actor=mine.actor, other=theirs.actor, client=mine.client
    ).distinct()
    daily = pairs.group_by("actor", "other", "day").aggregate(new=_.client.nunique())
    month = ibis.range_window(preceding=MONTH - 1, following=0, group_by=["actor", "other"], order_by="day")
    grown = daily.mutate(common=daily.new.sum().over(month))
    grown = grown.filter(grown.common >= SHARED)
    found = grown.group_by("actor", "day").aggregate(others=_.count(), common=_.common.sum())
    return _beyond_chance(found, odd, scored)


def _beyond_chance(found: ir.Table, odd: ir.Table, scored: ir.Table) -> ir.Table:
    """Less what chance alone makes common: visits of one's own, times the others', over all clients."""
    clients = scored.aggregate(clients=_.client.nunique())
    month = {"preceding": MONTH - 1, "following": 0, "order_by": "day"}
    days = odd.group_by("day").aggregate(all=_.count())
    days = days.mutate(all=days.all.sum().over(ibis.range_window(**month)))
    own = odd.group_by("actor", "day").aggregate(own=_.count())
    own = own.mutate(own=own.own.sum().over(ibis.range_window(**month, group_by="actor")))
    known = found.left_join(own, ["actor", "day"]).select(*found.columns, "own")
    known = known.left_join(days, "day").select(*found.columns, "own", "all").cross_join(clients)
    own_visits = known.own.fill_null(0)
    chance = own_visits * (known.all.fill_null(0) - own_visits) / known.clients
    return known.select("actor", "day", "others", shared=ibis.greatest(0.0, known.common - chance))
