"""Which accesses nothing explains, of a whole log: B1, templates with a look ahead, as expressions of ibis.

The unit is the visit: one actor, one client, one day. What explains it is work with the same client: the
actor's own, their team's, anybody's; on the day itself, the two days before, the day after (the look ahead),
or in the month before; and the relations on record. Together they are the visit's *cell*. How far a cell
speaks for a reason is learned, not set: a sample of visits is joined to clients of other visits, as somebody
would see who looks at random, and the score of a cell is the share of those among all that fall into it.

Nothing here touches data: ``run`` the expressions where the log is. Each is a function of the days around a
visit alone, so that a log taken day by day gives what it gives at once; keys are compared and joined by
equality, which is what every engine does fast. Days of work are bits of one number, and a look at the days
around a visit is a shift: a range join or a sort of the same rows took 6 to 100 times longer (ADR 0015).
"""

from __future__ import annotations

import enum
from typing import Any, Final

import ibis
import ibis.expr.operations as ops
import ibis.expr.types as ir
from ibis import _

from privguard.anomaly.access import CLOSE, REASONS, Relation

MONTH: Final = 28
"""Days of memory, from the third before a visit backwards; and the most days of one span."""
BEFORE: Final = MONTH + 2
"""Days of work before a span that its visits are judged by."""
AFTER: Final = 1
SAMPLE: Final = 8
"""Each so many-th second's visits are put to strangers."""
PRIVATE_ODDS: Final = 20.0
"""People look at their kin, neighbours and colleagues that much sooner than at anybody."""
SENSITIVE_ODDS: Final = 4.0
ODD_HOUR_ODDS: Final = 10.0
"""And who has no reason looks rather when nobody is there."""
ODD_HOURS: Final = 0.005
"""An hour of the day with less than this share of a role's accesses is odd."""
UNEXPLAINED: Final = 0.5
"""From this score on a visit is rather somebody's who looks at random."""
_NEAR: Final = 0b1011
"""Of the days from two before to one after: all but the day itself, which is compared by time."""
_BITS: Final = (
    "own_day", "own_near", "own_month", "team_day", "team_near", "team_month", "any_near", "any_month",
)  # fmt: skip
OWN: Final = 0b111
"""Bits of a cell: work of the actor's own."""
_OWN_LATELY: Final = 0b011
_BRANCH, _REASON, _CELLS = 1 << len(_BITS), 2 << len(_BITS), 3 << len(_BITS)
_TOP: Final = BEFORE + MONTH + AFTER
_HOUR: Final = 40
"""Bits are shifted down from ones that only 64 bits hold: engines take the least type for a number, and
PostgreSQL shifts by no more than 32 bits' worth."""
_NOBODY: Final = -1
"""After the last row; not every engine says null there."""
_MOST: Final = 0.97
"""No cell speaks for a stranger more than thirty to one: what was hardly seen is hardly known."""
_PRIOR: Final = 2.0
"""Visits that a kind weighs as, in each of its cells."""
ACCESS: Final = {
    "day": "int32", "at_s": "int64", "actor": "int32", "client": "int32", "role": "int32", "team": "int32",
    "relations": "int32", "sensitive": "boolean",
}  # fmt: skip
"""Columns of the table of accesses; ``day`` counts the bank's own days. Keys are numbers: text takes three
times as long."""
WORK: Final = {"day": "int32", "at_s": "int64", "client": "int32", "actor": "int32", "team": "int32"}
"""Columns of the table of work done with clients; ``actor`` is -1 where nobody in particular did it."""


class Why(enum.StrEnum):
    """What explains a visit, best first; the last four are what is missing."""

    RELATION = "relation"
    OWN_WORK = "own-work"
    OWN_BEFORE = "own-work-before"
    TEAM_WORK = "team-work"
    BRANCH = "branch"
    NO_FOLLOW_UP = "no-work-of-their-own"
    NOBODY = "nobody-had-work"
    PRIVATE = "private-relation"
    ODD_HOUR = "odd-hour"


def sql(expression: ir.Table, dialect: str) -> str:
    """An expression in the words of ``duckdb``, ``postgres``, ``clickhouse``, ``trino`` or ``pyspark``."""
    if dialect == "pyspark":  # which has the function, though ibis does not know it there
        expression = expression.op().replace(_spark).to_expr()
    return str(ibis.to_sql(expression, dialect=dialect))


@ibis.udf.agg.builtin(name="bit_or")  # type: ignore[untyped-decorator]
def _bit_or(bits: int) -> int:  # type: ignore[empty-body]
    ...


def _spark(node: ops.Node, changed: dict[str, Any] | None) -> ops.Node:
    made = node.__recreate__(changed) if changed else node
    return _bit_or(made.arg.to_expr()).op() if isinstance(made, ops.BitOr) else made


def hours(access: ir.Table) -> ir.Table:
    """The hours of the day at which each role works, as bits; by any clock, as they only have to recur."""
    of = access.group_by("role", hour=_.at_s // 3600 % 24).aggregate(looks=_.count())
    share = of.looks / of.looks.sum().over(ibis.window(group_by="role"))
    bit = ibis.literal(1 << _HOUR) >> (_HOUR - of.hour).cast("int32")
    known: ir.Table = of.mutate(share=share, bit=bit).filter(_.share >= ODD_HOURS)
    return known.group_by("role").aggregate(hours=_.bit.bit_or())


def visits(access: ir.Table, usual: ir.Table) -> ir.Table:
    """One row for each actor, client and day: when first and last, how often, by which relations.

    Args:
        usual: ``hours`` of a time before; a role that was not there then has no odd hours.
    """
    joined = access.left_join(usual, "role")
    hour = (joined.at_s // 3600 % 24).cast("int32")
    odd = ((joined.hours.fill_null((1 << 24) - 1) >> hour) & 1) == 0
    access = joined.select(*access.columns, odd=_one(odd))
    relations = access.relations
    seen: ir.Table = access.group_by("day", "actor", "client", "role", "team").aggregate(
        first_s=access.at_s.min(),
        last_s=access.at_s.max(),
        looks=_.count(),
        related=_flag(relations, int(REASONS & ~Relation.BRANCH)).max(),
        branch=_flag(relations, int(Relation.BRANCH)).max(),
        private=_flag(relations, CLOSE).max(),
        sensitive=_one(access.sensitive).max(),
        odd_hour=access.odd.max(),
    )
    return seen.mutate(stranger=ibis.literal(0, "int64"))


def _flag(relations: Any, mask: int) -> Any:
    return _one((relations & mask) != 0)


def _one(true: Any) -> Any:
    """1 or 0; not every engine casts a truth to a number."""
    return ibis.ifelse(true, 1, 0)


def judged(visit: ir.Table, work: ir.Table, first: int) -> ir.Table:
    """The visits of up to ``MONTH`` days from ``first``, with the cell that work and relations put them in.

    Args:
        visit: of those days only; with ``strangers`` to learn from them.
    """
    near = work.filter(work.day >= first - BEFORE, work.day < first + MONTH + AFTER)
    bit = ibis.literal(1 << _TOP) >> ((first - BEFORE + _TOP) - near.day)
    days: ir.Table = near.mutate(days=bit)
    records, found = _records(visit, near), visit
    for who, keys in (("own", ("client", "actor")), ("team", ("client", "team")), ("any", ("client",))):
        known = days.group_by(*keys).aggregate(days=_.days.bit_or())
        found = _around(found, known, who, keys, first)
        if who == "team":
            days = known  # of these there are fewer
        if who != "any":
            found = _on_the_day(found, records, who, keys)
    cell = ibis.literal(0, "int64")
    for place, name in enumerate(_BITS):
        cell = cell + found[name] * (1 << place)
    cell = cell + ibis.cases((found.related > 0, _REASON), (found.branch > 0, _BRANCH), else_=0)
    return found.mutate(cell=cell.cast("int64"))


def _around(visit: ir.Table, worked: ir.Table, who: str, keys: tuple[str, ...], first: int) -> ir.Table:
    """Whether there was work on the day, and on those around."""
    joined = visit.left_join(worked, list(keys))
    mask, at = joined.days.fill_null(0), joined.day - (first - BEFORE)
    found = {
        f"{who}_day": ((mask >> at) & 1) != 0,
        f"{who}_near": ((mask >> (at - 2)) & _NEAR) != 0,
        f"{who}_month": ((mask >> (at - BEFORE)) & ((1 << MONTH) - 1)) != 0,
    }
    kept = {name: joined[name] for name in visit.columns}
    return joined.select(**kept, **{name: _one(true) for name, true in found.items()})


def _records(visit: ir.Table, work: ir.Table) -> ir.Table:
    """When there was work with a client, on the days on which some was at the moment of a visit's only look.

    Mostly these are few; all others are worth no comparison by time.
    """
    only = visit.filter(visit.first_s == visit.last_s).select("day", "client", at_s="first_s")
    met = work.semi_join(only, ["day", "client", "at_s"])
    return work.semi_join(met, ["day", "client"])


def _on_the_day(visit: ir.Table, records: ir.Table, who: str, keys: tuple[str, ...]) -> ir.Table:
    """No work on the day, if all was at the visit's only moment: a record explains no record."""
    on = records.group_by("day", *keys).aggregate(begun=_.at_s.min(), ended=_.at_s.max())
    joined = visit.left_join(on, ["day", *keys])
    other = (joined.begun < joined.last_s) | (joined.ended > joined.first_s)
    kept = {name: joined[name] for name in visit.columns}
    kept[f"{who}_day"] = ibis.ifelse(other.fill_null(True), joined[f"{who}_day"], 0)
    return joined.select(**kept)


def strangers(visit: ir.Table) -> ir.Table:
    """A sample of visits as they would be of somebody who looks at random: at clients of other visits.

    One half looks at clients who were visited next on the same day, the other at some of another day.
    """
    sample = visit.filter(visit.first_s % SAMPLE == 0)
    today = ibis.window(group_by="day", order_by=[sample.first_s, sample.actor, sample.client])
    other = ibis.window(order_by=[sample.first_s % 86_400, sample.actor, sample.client, sample.day])
    return ibis.union(*(_swapped(sample, window) for window in (today, other)))


def _swapped(sample: ir.Table, window: Any) -> ir.Table:
    lead = {name: sample[name].lead().over(window) for name in ("team", "actor", "branch")}
    lead["client"] = sample.client.lead(default=_NOBODY).over(window)
    both = sample.mutate(**{f"other_{name}": column for name, column in lead.items()})
    both = both.filter(both.other_client != _NOBODY, both.other_actor != both.actor)
    inside = (both.other_team == both.team) & (both.other_branch > 0)
    changed = both.mutate(
        client=both.other_client, related=0, private=0, branch=_one(inside), stranger=1
    )  # fmt: skip
    return changed.select(*sample.columns).cast(sample.schema())


def learned(judged: ir.Table) -> ir.Table:
    """What each cell is worth, of ``judged`` visits and strangers: its share of strangers, from 0 to 1.

    Work of the actor's own explains, whatever else is on record: all its cells are worth the same. Of the
    others one that hardly anybody fell into is worth what all with the same relations are.
    """
    counted = judged.group_by("cell").aggregate(strangers=_.stranger.sum(), visits=_.count())
    cells = ibis.range(_CELLS).unnest().name("cell").as_table().mutate(cell=_.cell.cast("int64"))
    joined = cells.left_join(counted, "cell")
    strangers, visits = joined.strangers.fill_null(0), joined.visits.fill_null(0)
    of = joined.select("cell", strangers=strangers, real=visits - strangers, kind=_kind(joined.cell))
    every, kind = ibis.window(), ibis.window(group_by="kind")
    # whole numbers are summed, so that the same log gives the same to the bit
    all_one, all_two = of.strangers.sum().over(every), of.real.sum().over(every)
    unit = 1.0 / all_two
    kind_one = of.strangers.sum().over(kind) / all_one + 0.5 * unit
    kind_two = of.real.sum().over(kind) / all_two + 0.5 * unit
    prior = kind_one / (kind_one + kind_two)
    one = of.strangers / all_one + _PRIOR * unit * prior
    two = of.real / all_two + _PRIOR * unit * (1.0 - prior)
    weighed: ir.Table = of.select("cell", score=ibis.ifelse(of.kind < 0, prior, one / (one + two)))
    return weighed


def _kind(cell: ir.Value) -> ir.Value:
    """-1 with work of the actor's own on the days around, else what relations there are."""
    return ibis.ifelse((cell & _OWN_LATELY) != 0, -1, cell >> len(_BITS))


def scored(visit: ir.Table, weights: ir.Table) -> ir.Table:
    """Judged visits with ``score``, from 0 (a reason is on record) to 1, and ``why``; no strangers."""
    visit = visit.filter(visit.stranger == 0)
    joined = visit.left_join(weights.select("cell", worth=weights.score), "cell")
    worth = ibis.least(joined.worth, _MOST)
    private = (joined.private > 0) & (joined.own_day + joined.own_near == 0) & (joined.related == 0)
    odds = worth / (1.0 - worth)
    for given, factor in (
        (private, PRIVATE_ODDS), (joined.sensitive > 0, SENSITIVE_ODDS), (joined.odd_hour > 0, ODD_HOUR_ODDS)
    ):  # fmt: skip
        odds = odds * ibis.ifelse(given, factor, 1.0)
    score = odds / (1.0 + odds)
    why = ibis.cases(
        (private, Why.PRIVATE.value),
        ((joined.odd_hour > 0) & (score >= UNEXPLAINED), Why.ODD_HOUR.value),
        (joined.related > 0, Why.RELATION.value),
        (joined.own_day + joined.own_near > 0, Why.OWN_WORK.value),
        (joined.own_month > 0, Why.OWN_BEFORE.value),
        (joined.team_day + joined.team_near > 0, Why.TEAM_WORK.value),
        (joined.branch > 0, Why.BRANCH.value),
        (joined.any_near > 0, Why.NO_FOLLOW_UP.value),
        else_=Why.NOBODY.value,
    )
    kept = ("day", "actor", "client", "role", "team", "looks", "cell", "odd_hour")
    return joined.select(*kept, score=score, why=why)
