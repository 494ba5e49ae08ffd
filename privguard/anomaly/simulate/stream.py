"""The days of a log, one after another, with what was planned put among them."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping

from msgspec.structs import replace

from privguard.anomaly.access import Access, Day, Labelled, Work, in_order
from privguard.anomaly.simulate.draws import Draws, Streams, chosen
from privguard.anomaly.simulate.ordinary import at_work, contacts
from privguard.anomaly.simulate.plan import BUSY, DAY, Look, Plan, Population
from privguard.anomaly.simulate.world import World

_AHEAD = 2
"""Days: a task may be made that long before its client is looked at."""
Plans = Mapping[tuple[str, str], Plan]
"""By scenario and incident."""


def days(world: World, streams: Streams, plans: Plans | None = None) -> Iterator[Day]:
    """The simulator's log; memory holds three days of it."""
    work: dict[int, list[Work]] = defaultdict(list)
    looks: deque[list[Labelled]] = deque()
    quiet = _quiet(plans or {})

    def ordinary() -> Iterator[Day]:
        for day in range(world.days + _AHEAD):
            if day < world.days:
                looks.append(_ordinary(world, streams, day, quiet, work))
            if day >= _AHEAD:
                done = sorted(work.pop(day - _AHEAD, []), key=lambda each: (each.at_s, each.client))
                yield Day(day - _AHEAD, in_order(looks.popleft()), done)

    return inject(ordinary(), world, streams, plans or {})


def _ordinary(
    world: World, streams: Streams, day: int, quiet: Mapping[str, list[range]], work: dict[int, list[Work]]
) -> list[Labelled]:
    draws, made = streams(f"day {day}"), list[Labelled]()
    for member in world.members.values():
        rate = at_work(world, member, day)
        if not rate or any(day in away for away in quiet.get(member.id, ())):
            continue
        for look, done in contacts(world, member, day, draws, rate):
            if look is not None:
                made.append(look)
            if done is not None:
                work[max(0, (done.at_s - world.start_s) // DAY)].append(done)
    return made


def inject(log: Iterable[Day], people: Population, streams: Streams, plans: Plans) -> Iterator[Day]:
    """Any log, with the planned looks among its own, and without the ordinary work of who is to be quiet."""
    planned: dict[int, list[tuple[str, str, str, Look]]] = defaultdict(list)
    for (scenario, incident), plan in plans.items():
        for look in plan.looks:
            on = (look.at_s - people.start_s) // DAY
            planned[on].append((scenario, incident, plan.worked, look))
    quiet, draws, recent = _quiet(plans), streams("inject"), deque[list[str]](maxlen=2)
    for day in log:
        ordinary = [each for each in day.accesses if not _away(quiet, each.access.actor, day.number)]
        busy = [client for each in recent for client in each]
        recent.append([each.client for each in day.work])
        work, looks = list(day.work), list(ordinary)
        for scenario, incident, worked, look in planned.get(day.number, ()):
            found = _look(people, draws, busy, day.number, look)
            if found is None:
                continue
            looks.append(Labelled(found, scenario, incident))
            if worked:
                ahead = -draws.randrange(5, 60) if worked == "call" else draws.randrange(30, 1800)
                work.append(Work(found.at_s + ahead, found.client, found.actor, worked))
        work.sort(key=lambda each: (each.at_s, each.client))
        yield Day(day.number, in_order(looks), work)


def _look(people: Population, draws: Draws, busy: list[str], day: int, look: Look) -> Access | None:
    """The access; None where nobody had work lately."""
    client = look.client
    if client == BUSY:
        if not busy:
            return None
        client = chosen(draws, busy)
    made = Access(
        look.at_s, look.actor, client, people.role(look.actor), people.team(look.actor), clear=look.clear,
        relations=people.relations(look.actor, client, day), device=look.device or f"d-{look.actor}",
        zone=look.zone or f"z-{people.team(look.actor)}",
    )  # fmt: skip
    if isinstance(people, World):
        return replace(made, sensitive=people.sensitive(people.number(client)))
    return made


def _quiet(plans: Plans) -> dict[str, list[range]]:
    away: dict[str, list[range]] = defaultdict(list)
    for plan in plans.values():
        for actor, first, end in plan.quiet:
            away[actor].append(range(first, end))
    return away


def _away(quiet: Mapping[str, list[range]], actor: str, day: int) -> bool:
    return any(day in each for each in quiet.get(actor, ()))
