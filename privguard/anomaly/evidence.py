"""What a risk consists of: a level, a probability, and the evidence in the order it is told in."""

from __future__ import annotations

import enum
from typing import Final

from msgspec import Struct


class Level(enum.StrEnum):
    """What the policy gives an effect to; ``UNKNOWN`` is an error of the scorer, never silence."""

    LOW = "low"
    RAISED = "raised"
    HIGH = "high"
    SEVERE = "severe"
    RULE = "rule"
    UNKNOWN = "unknown"


class Cause(enum.StrEnum):
    """Why; each has its sentence in ``explain``. Those of rules come first."""

    HONEY = "honey"
    LEAVER = "leaver"
    CAP = "cap"
    DORMANT = "dormant"
    CONCURRENT = "concurrent"
    VIEWS = "views"
    NEW = "new"
    CLEAR = "clear"
    UNRELATED = "unrelated"
    ODD_HOURS = "odd-hours"
    REFUSED = "refused"
    DISTANCE = "distance"
    SURNAME = "surname"
    EMPLOYER = "employer"
    ADDRESS = "address"
    KIN = "kin"
    AGAIN = "again"
    HOUR = "hour"
    PLACE = "place"


BY_CLOSENESS: Final = (Cause.SURNAME, Cause.EMPLOYER, Cause.ADDRESS, Cause.KIN)
"""The cause of each distance from ``features.PRIVATE`` on."""
BY_KIND: Final = (Cause.VIEWS, Cause.NEW, Cause.CLEAR, Cause.UNRELATED, Cause.ODD_HOURS, Cause.REFUSED)
"""The cause of each kind of ``counters.KINDS``."""


class Evidence(Struct, frozen=True):
    """One thing that speaks against an access.

    Attributes:
        p: how improbable it is among ordinary ones; 0 of a rule.
        observed, expected: of this actor.
        window_s: half-life of what was counted, 0 where nothing was.
    """

    cause: Cause
    p: float
    observed: float = 0.0
    expected: float = 0.0
    peers: float = 0.0
    window_s: int = 0


class Risk(Struct, frozen=True):
    """The scorer's answer; ``p`` combined, ``evidence`` as ``score`` ranks it."""

    level: Level
    p: float = 1.0
    evidence: tuple[Evidence, ...] = ()


NOTHING: Final = Risk(Level.LOW)
UNKNOWN: Final = Risk(Level.UNKNOWN)
