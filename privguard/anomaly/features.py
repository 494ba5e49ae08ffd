"""What is read off one access before anything is counted: how far the client is from the actor's work."""

from __future__ import annotations

from typing import Final

from privguard.anomaly.access import CLOSE, REASONS, Access, Relation

DISTANCES: Final = 19
RELATED: Final = 0
UNRELATED: Final = 10
"""From here on, nobody of the team has had work with the client for 256 hours."""
NEVER: Final = 14
PRIVATE: Final = 15
"""From here on the client is close in private, by what weighs least: surname, employer, address, kin."""
_CLOSE: Final = tuple(
    enumerate(
        (int(Relation.SURNAME), int(Relation.EMPLOYER), int(Relation.ADDRESS), int(Relation.KIN)), PRIVATE
    )
)[::-1]
TASKS: Final = int(Relation.TASK | Relation.CALL | Relation.COVER | Relation.CAMPAIGN)
"""Reasons for one client at one time, which no count of looks holds against anybody."""
ASSIGNED: Final = int(Relation.PORTFOLIO)
"""Who is new and of the portfolio was assigned: to meet them once may be too many for an hour, for no day."""
_WEEK_H: Final = 168


def distance(access: Access) -> int:
    """0 for a client of one's own work, 1–13 by the time since the team's last work, 14 never, then private.

    Who is close in private and not of one's tasks is furthest, the own branch or portfolio notwithstanding.
    """
    if access.relations & CLOSE and not access.relations & TASKS:
        return next(far for far, relation in _CLOSE if access.relations & relation)
    if access.relations & REASONS:
        return RELATED
    if access.idle_s < 0:
        return NEVER
    return min(13, 1 + (access.idle_s // 3600).bit_length())


def hour_of_week(at_s: int) -> int:
    """0–167, UTC; it only has to recur."""
    return at_s // 3600 % _WEEK_H
