"""What the scorer sees of one look-up, and what business says about it; pseudonyms suffice for both."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Final

from msgspec import Struct


class Relation(enum.IntFlag):
    """What joins an actor and a client, as the directory and the CRM's business events say it."""

    PORTFOLIO = 1
    BRANCH = 2
    TASK = 4
    CALL = 8
    COVER = 16
    CAMPAIGN = 32
    KIN = 64
    ADDRESS = 128
    EMPLOYER = 256
    SURNAME = 512
    SENSITIVE = 1024


REASONS: Final = 1 | 2 | 4 | 8 | 16 | 32
"""Relations that give a reason to look."""
CLOSE: Final = 64 | 128 | 256 | 512
"""Relations that make a look doubtful."""


class Access(Struct, frozen=True):
    """One look-up.

    Attributes:
        at_s: seconds since the epoch, UTC.
        actor, client: pseudonyms or names; only compared.
        team: branch or desk: the peers.
        clear: whether a value left clear.
        relations: of ``Relation``; an int, whose tests are ten times faster than the enum's.
        idle_s: seconds since the actor's team last had work with the client; -1: it never had.
        sensitive: a client of public interest.
        refused: nothing was shown; counts as a refusal and as nothing else.
    """

    at_s: int
    actor: str
    client: str
    role: str = ""
    team: str = ""
    clear: bool = False
    relations: int = 0
    idle_s: int = -1
    device: str = ""
    zone: str = ""
    sensitive: bool = False
    refused: bool = False


class Work(Struct, frozen=True):
    """A business event: somebody, or nobody in particular (""), had work with a client."""

    at_s: int
    client: str
    actor: str = ""
    kind: str = ""


class Labelled(Struct, frozen=True):
    """An access with the truth beside it.

    Attributes:
        scenario: what it was injected as, "" for ordinary work. A name of ``CONTROLS`` is innocent.
        incident: one insider's doing; "" for ordinary work.
    """

    access: Access
    scenario: str = ""
    incident: str = ""


class Day(Struct, frozen=True):
    """One day of a log, each list in the order of time; ``number`` counts from the log's first day."""

    number: int
    accesses: list[Labelled]
    work: list[Work]


def in_order(accesses: Iterable[Labelled]) -> list[Labelled]:
    """By time; ties by actor and client, so that the order is one."""
    return sorted(accesses, key=lambda each: (each.access.at_s, each.access.actor, each.access.client))
