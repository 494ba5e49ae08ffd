"""Logs to measure by, a bank that never was or one's own, and what is planted in them after the split."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

from privguard.anomaly.access import Day
from privguard.anomaly.simulate import CONTROLS, SCENARIOS, Plan, Streams, World
from privguard.anomaly.simulate import days as days_of
from privguard.anomaly.simulate.plan import Population
from privguard.oversight.protocol import FEW, INCIDENTS


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
