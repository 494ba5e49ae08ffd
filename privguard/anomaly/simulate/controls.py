"""What looks unusual and is innocent: an alert on it is a false one. Business events follow the looks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from privguard.anomaly.access import Relation
from privguard.anomaly.simulate.draws import Draws, chosen, sample
from privguard.anomaly.simulate.plan import DAY, Look, Plan
from privguard.anomaly.simulate.world import Duty, Member, World

Control = Callable[[World, Draws, tuple[int, int]], Plan]


def _of(world: World, draws: Draws, role: str) -> Member:
    return chosen(draws, [member for member in world.members.values() if member.role == role])


def _days(world: World, draws: Draws, span: tuple[int, int], low: int, high: int) -> list[int]:
    length = min(draws.randrange(low, high + 1), span[1] - span[0])
    first = span[0] + draws.randrange(0, span[1] - span[0] - length + 1)
    return [day for day in range(first, first + length) if world.workday(day)]


def _looks(
    world: World,
    draws: Draws,
    actor: str,
    days: list[int],
    clients: list[int],
    hours: tuple[int, int] = (9, 17),
) -> Plan:
    """Each client once, on one of the days."""
    plan = Plan(worked="transaction")
    for number in clients if days else ():
        at = world.start_s + chosen(draws, days) * DAY + draws.randrange(hours[0] * 3600, hours[1] * 3600)
        plan.looks.append(Look(at, actor, world.name(number)))
    return plan


def campaign(world: World, draws: Draws, span: tuple[int, int]) -> Plan:
    """A list of 150–300 clients to call in a week."""
    actor, days = _of(world, draws, "rm"), _days(world, draws, span, 5, 7)
    first = draws.randrange(0, world.clients - 300)
    listed = range(first, first + draws.randrange(150, 301))
    end = days[-1] + 1 if days else span[1]
    world.duties[actor.id].append(Duty(listed, Relation.CAMPAIGN, span[0], end))
    return _looks(world, draws, actor.id, days, list(listed))


def cover(world: World, draws: Draws, span: tuple[int, int]) -> Plan:
    """A colleague is away for 5–15 days, and their book is covered."""
    actor = _of(world, draws, "rm")
    away = chosen(draws, [m for m in world.members.values() if m.role == "rm" and m.id != actor.id])
    days = _days(world, draws, span, 5, 15)
    first, end = (days[0], days[-1] + 1) if days else span
    clients = world.duties[away.id][0].clients
    world.duties[actor.id].append(Duty(clients, Relation.COVER, first, end))
    plan = _looks(world, draws, actor.id, days, sample(draws, clients, 6 * len(days)))
    plan.quiet.append((away.id, first, end))
    return plan


def joiner(world: World, draws: Draws, span: tuple[int, int]) -> Plan:
    """Nothing is known of them: everything is new, and within their duties."""
    actor = _of(world, draws, "teller")
    first = span[0] + draws.randrange(0, max(1, (span[1] - span[0]) // 2))
    days = [day for day in range(first, min(first + 15, span[1])) if world.workday(day)]
    branch = world.branch_of(actor.branch * world.per_branch)
    plan = _looks(world, draws, actor.id, days, sample(draws, branch, 12 * len(days)))
    plan.quiet.append((actor.id, 0, first))
    return plan


def reassignment(world: World, draws: Draws, span: tuple[int, int]) -> Plan:
    """A portfolio of another branch becomes theirs, and is gone through in two weeks."""
    actor, days = _of(world, draws, "rm"), _days(world, draws, span, 14, 14)
    first = draws.randrange(0, world.clients - 250)
    clients = range(first, first + 250)
    world.duties[actor.id].append(Duty(clients, Relation.PORTFOLIO, days[0] if days else span[0]))
    return _looks(world, draws, actor.id, days, sample(draws, clients, 150))


def outage(world: World, draws: Draws, span: tuple[int, int]) -> Plan:
    """For a day the call centre has three times the calls."""
    plan, days = Plan(worked="call"), _days(world, draws, span, 7, 7)
    for member in [m for m in world.members.values() if m.role == "call"][:40]:
        clients = [draws.randrange(0, world.clients) for _ in range(round(world.daily(member.id) * 2))]
        plan.looks += _looks(world, draws, member.id, days[:1], clients, (8, 21)).looks
    return plan


def audit(world: World, draws: Draws, span: tuple[int, int]) -> Plan:
    """An auditor's sample of 200–400 files of all branches."""
    actor, days = _of(world, draws, "auditor"), _days(world, draws, span, 10, 15)
    clients = [draws.randrange(0, world.clients) for _ in range(draws.randrange(200, 401))]
    for number in clients:
        duty = Duty(range(number, number + 1), Relation.TASK, span[0], span[1])
        world.duties.setdefault(actor.id, []).append(duty)
    return _looks(world, draws, actor.id, days, clients)


def vip_manager(world: World, draws: Draws, span: tuple[int, int]) -> Plan:
    """The client in the news has a manager, who looks, several times a day."""
    number = int(world.vip(draws.random())[1:])
    actor, days = _of(world, draws, "rm"), _days(world, draws, span, 3, 5)
    world.duties[actor.id].append(Duty(range(number, number + 1), Relation.PORTFOLIO))
    return _looks(world, draws, actor.id, days, [number] * 5 * len(days))


CONTROLS: Final[Mapping[str, Control]] = MappingProxyType(
    {
        "campaign": campaign,
        "cover": cover,
        "joiner": joiner,
        "reassignment": reassignment,
        "outage": outage,
        "audit": audit,
        "vip-manager": vip_manager,
    }
)
