"""A bank that never was: seeded, streamed a day at a time, with scenarios, controls, and the truth beside it.

``world`` says who works there and for whom, ``ordinary`` what they do all day, ``scenarios`` what some of
them should not, ``controls`` what looks alike and is innocent, ``stream`` puts the days together.
Randomness is an argument: ``Streams`` gives a generator by name, so that one scenario more changes no other.
"""

from privguard.anomaly.simulate.controls import CONTROLS
from privguard.anomaly.simulate.draws import Draws, Streams
from privguard.anomaly.simulate.plan import Plan, Population
from privguard.anomaly.simulate.scenarios import SCENARIOS
from privguard.anomaly.simulate.stream import days, inject
from privguard.anomaly.simulate.world import World

__all__ = [
    "CONTROLS",
    "SCENARIOS",
    "Draws",
    "Plan",
    "Population",
    "Streams",
    "World",
    "days",
    "inject",
]
