"""What staff do all day: contacts with clients at the hours of their role, and the work that comes of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from privguard.anomaly.access import Access, Labelled, Relation, Work
from privguard.anomaly.simulate.draws import Draws, chosen, negative_binomial, weighted, zipf
from privguard.anomaly.simulate.plan import DAY
from privguard.anomaly.simulate.world import DAILY, Member, World

SPREAD: Final = 2.5
"""Shape of the negative binomial of a day."""
POPULARITY: Final = 0.75
"""Zipf's exponent: how much more some clients come than others."""
UNEXPLAINED: Final[Mapping[str, float]] = MappingProxyType(
    {"teller": 0.03, "rm": 0.05, "call": 0.02, "back": 0.02, "compliance": 0.06, "auditor": 0.04}
)
"""Share of contacts that no business event accounts for."""
LATE: Final = 0.05
"""Share of transactions that are booked hours later, up to a day."""
_OFFICE: Final = (*(0.0,) * 8, 0.06, 0.12, 0.14, 0.12, 0.06, 0.10, 0.13, 0.13, 0.09, 0.04, 0.01, *(0.0,) * 5)
_LONG: Final = (*(0.0,) * 7, 0.03, 0.06, 0.08, 0.09, 0.08, 0.07, 0.07, 0.08, 0.08, 0.08, 0.08, 0.07, 0.06,
                0.04, 0.03, 0.0, 0.0)  # fmt: skip


def at_work(world: World, member: Member, day: int) -> float:
    """How busy the day is against an ordinary one: 0 where the role is not at work."""
    weekday, of_month = world.weekday(day), world.day_of_year(day) % 30
    if not world.workday(day):
        saturday = weekday == 5
        return {"call": 0.4, "teller": 0.3}.get(member.role, 0.0) if saturday else 0.0
    busy = (1.15, 1.0, 0.95, 1.0, 1.05)[weekday]
    if member.role in ("teller", "call", "back"):
        busy *= 1.3 if of_month in (24, 25) else 1.2 if of_month >= 28 else 1.0  # payday, end of month
    return busy


def contacts(
    world: World, member: Member, day: int, draws: Draws, rate: float
) -> Iterator[tuple[Labelled | None, Work | None]]:
    """A member's day, as accesses and the business events around them."""
    hours = _LONG if member.role == "call" else _OFFICE
    for _ in range(negative_binomial(draws, DAILY[member.role] * member.pace * rate, SPREAD)):
        at = world.start_s + day * DAY + weighted(draws, hours) * 3600 + draws.randrange(0, 3600)
        number = _whose(world, member, day, draws)
        yield from _contact(world, member, at, day, number, draws)


def _whose(world: World, member: Member, day: int, draws: Draws) -> int:
    duties = world.own(member.id, day)
    if duties and draws.random() < (0.8 if member.role == "rm" else 0.5):
        clients = chosen(draws, duties).clients
    elif member.branch >= 0:
        clients = world.branch_of(member.branch * world.per_branch)
    else:
        clients = range(world.clients)
    # the busiest differ by branch and book, so ranks are spread by a step that is prime
    return clients[zipf(draws, len(clients), POPULARITY) * 7919 % len(clients)] if len(clients) else 0


def _contact(
    world: World, member: Member, at: int, day: int, number: int, draws: Draws
) -> Iterator[tuple[Labelled | None, Work | None]]:
    client, role = world.name(number), member.role
    relations = world.relations(member.id, client, day)
    explained = draws.random() >= UNEXPLAINED[role]
    before = role in ("call", "back", "compliance", "auditor") or (role == "rm" and draws.random() < 0.6)
    if explained and before:
        relations |= Relation.CALL if role == "call" else Relation.TASK
        ahead = draws.randrange(5, 60) if role == "call" else draws.randrange(600, 2 * DAY)
        yield None, Work(at - ahead, client, member.id, "call" if role == "call" else "task")
    clear = role in ("rm", "back", "call") and draws.random() < 0.1
    for view in range(1 + (draws.random() < 0.3) + (draws.random() < 0.1)):
        yield Labelled(
            Access(at + view * draws.randrange(5, 300), member.id, client, role, world.team(member.id),
                   clear=clear and view == 0, relations=int(relations), device=f"d-{member.id}",
                   zone=f"z-{world.team(member.id)}", sensitive=world.sensitive(number))
        ), None  # fmt: skip
    if explained and (not before or draws.random() < 0.7 or clear):
        late = draws.randrange(3600, DAY) if draws.random() < LATE else draws.randrange(30, 1800)
        yield None, Work(at + late, client, member.id, "transaction")
