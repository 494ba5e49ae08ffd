"""Logs to measure by, a bank that never was or one's own, and what is planted in them after the split."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from privguard.anomaly.access import Day, Labelled
from privguard.anomaly.simulate import CONTROLS, SCENARIOS, Plan, Streams, World, inject
from privguard.anomaly.simulate import days as days_of
from privguard.anomaly.simulate.plan import Population
from privguard.oversight.protocol import FEW, INCIDENTS

Plans = Mapping[tuple[str, str], Plan]


class Source(NamedTuple):
    """A log to plant in; ``days`` are as they were without a plant, read again for each group."""

    name: str
    people: Population
    days: Sequence[Day]
    split: int


def streams_of(seed: int) -> Streams:
    """Generators by name, of a seed."""
    return lambda name: random.Random(f"{seed}:{name}")  # noqa: S311  # a simulation, no secret


def simulator(seed: int, *, staff: int = 150, clients: int = 30_000, days: int = 124) -> Source:
    """A bank that never was, of a seed."""
    streams = streams_of(seed)
    world = World(streams, staff=staff, clients=clients, days=days)
    return Source("simulator", world, list(days_of(world, streams)), days * 3 // 4)


def plans_of(
    source: Source, scenarios: Sequence[str], seed: int, controls: bool
) -> dict[tuple[str, str], Plan]:
    """What each incident of some scenarios will do, and each control if they are wanted."""
    people, span = source.people, (source.split, source.people.days)
    streams, plans = streams_of(seed), dict[tuple[str, str], Plan]()
    for name in scenarios:
        for number in range(FEW.get(name, INCIDENTS)):
            plans[name, str(number)] = SCENARIOS[name](people, streams(f"{name} {number}"), span)
    if controls and isinstance(people, World):
        for name, control in CONTROLS.items():
            plans[name, "0"] = control(people, streams(name), span)
    return plans


def with_plants(source: Source, plans: Plans, seed: int) -> Iterator[Day]:
    """The log with its plants, each access with the time since the team last had work with the client."""
    people, last = source.people, dict[tuple[str, str], int]()
    for day in inject(source.days, people, streams_of(seed), plans):
        work, looks = iter(day.work), list[Labelled]()
        done = next(work, None)
        for each in day.accesses:
            access = each.access
            while done is not None and done.at_s < access.at_s:
                if done.actor:
                    last[people.team(done.actor), done.client] = done.at_s
                done = next(work, None)
            since = last.get((access.team, access.client))
            idle = -1 if since is None else access.at_s - since
            looks.append(replace(each, access=replace(access, idle_s=idle)))
        for rest in (done, *work):
            if rest is not None and rest.actor:
                last[people.team(rest.actor), rest.client] = rest.at_s
        yield Day(day.number, looks, day.work)
