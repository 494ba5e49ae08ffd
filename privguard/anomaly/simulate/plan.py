"""What a scenario says it will do, to any log: the simulator's or a real one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from msgspec import Struct, field

DAY: Final = 86_400
BUSY: Final = ""
"""In place of a client: one with work less than two days old, found when the day comes."""


class Look(Struct, frozen=True):
    """An access to be made."""

    at_s: int
    actor: str
    client: str
    clear: bool = False
    device: str = ""
    zone: str = ""


class Plan(Struct):
    """What one insider, or one group, will do.

    Attributes:
        quiet: (actor, first day, day after the last) in which ordinary work is left out.
        worked: what business event comes with each look, as in innocent work; a "call" before it, else after.
    """

    looks: list[Look] = field(default_factory=list)
    quiet: list[tuple[str, int, int]] = field(default_factory=list)
    worked: str = ""


class Population(Protocol):
    """Who works there, for whom, and when; ``days`` from ``start_s``, a midnight."""

    start_s: int
    days: int
    staff: Sequence[str]

    def role(self, actor: str) -> str:
        """What they are."""
        ...

    def team(self, actor: str) -> str:
        """Their branch or desk."""
        ...

    def stranger(self, actor: str, day: int, u: float) -> str:
        """A client whom the bank has on that day and the actor has nothing to do with; ``u`` in [0, 1)."""
        ...

    def close(self, actor: str, kind: str, u: float) -> str:
        """A client who is the actor's ``family``, ``colleague`` or ``neighbour``."""
        ...

    def segment(self, u: float, count: int) -> Sequence[str]:
        """Clients who have something in common."""
        ...

    def book(self, actor: str) -> Sequence[str]:
        """The clients whose work is the actor's."""
        ...

    def vip(self, u: float) -> str:
        """A client of public interest."""
        ...

    def honey(self) -> str:
        """A client who does not exist, planted."""
        ...

    def daily(self, actor: str) -> float:
        """How many views a day the actor makes on average."""
        ...

    def relations(self, actor: str, client: str, day: int) -> int:
        """What joins them on that day."""
        ...

    def workday(self, day: int) -> bool:
        """Whether most are at work."""
        ...
