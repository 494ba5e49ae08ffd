"""Tells people what they have to know or do: of unusual accesses also in the process's log, at once."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from privguard.anomaly import Cause, Evidence
from privguard.anomaly.explain import sentence
from privguard.errors import CodeNotSentError
from privguard.model import AccessEvent, Reason
from privguard.ports import CodeSender
from privguard.telemetry import logger

QUIET_US: Final = 3_600_000_000
"""Of the same actor, cause and level nobody is told again so soon; how often it happened is said then."""
_WAITING: Final = 1_000
"""Messages that are kept while nothing delivers them; the oldest give way, and the log has all."""


class Alarm(Struct, frozen=True):
    """A message, and the role that is told."""

    role: str
    text: str


class Alarms:
    """Tells each role once an hour of an actor, a cause and a level: what grows worse is told of at once.

    Args:
        senders: bring messages to roles, each for itself; without any the process's log alone has them.
    """

    def __init__(self, *senders: CodeSender) -> None:
        self._queues = [(sender, deque[Alarm](maxlen=_WAITING)) for sender in senders]
        self._told: dict[tuple[str, str, str, str], tuple[int, int]] = {}

    def tell(self, event: AccessEvent, index: int, roles: Sequence[str]) -> None:
        """Takes note of an unusual access that is on record; never blocks."""
        if event.risk is None:
            return
        theme = event.risk.why[0].cause if event.risk.why else event.risk.level
        key = event.tenant, event.actor, theme, event.risk.level
        since_us, count = self._told.get(key, (0, 0))
        if event.at_us - since_us < QUIET_US:
            self._told[key] = since_us, count + 1
            return
        if len(self._told) >= _WAITING:
            self._told.clear()
        self._told[key] = event.at_us, 0
        logger().warning(
            "UNUSUAL-ACCESS",
            actor=event.actor,
            level=event.risk.level,
            entry=index,
            causes=[each.cause for each in event.risk.why],
            before=count,
            tell=", ".join(roles),
        )
        self.say(roles, message(event, index, count))

    def say(self, roles: Iterable[str], text: str) -> None:
        """Takes a message for each of the roles; never blocks."""
        alarms = [Alarm(role, text) for role in roles]
        for _, waiting in self._queues:
            waiting.extend(alarms)

    def deliver(self) -> None:
        """Hands on what waits; called once a second, may block.

        A role that cannot be reached holds up its own messages alone.

        Raises:
            CodeNotSentError: something was not taken; it waits.
        """
        missed: set[str] = set()
        for sender, waiting in self._queues:
            missed |= _delivered(sender, waiting)
        if missed:
            count = sum(len(waiting) for _, waiting in self._queues)
            raise CodeNotSentError(
                f"Alarms for {', '.join(sorted(missed))} wait, {count} in all: "
                "what delivers them does not take them."
            )


def _delivered(sender: CodeSender, waiting: deque[Alarm]) -> set[str]:
    """Hands on what one sender takes; the roles that it does not reach."""
    missed: set[str] = set()
    for alarm in tuple(waiting):
        if alarm.role in missed:
            continue
        try:
            sender.send(alarm.role, alarm.text, "")
        except CodeNotSentError:
            missed.add(alarm.role)
        else:
            with contextlib.suppress(ValueError):  # it gave way to newer ones meanwhile
                waiting.remove(alarm)
    return missed


def message(event: AccessEvent, index: int, before: int) -> str:
    """What is told: who, how unusual, why; of the client nothing, which the entry names to who may ask."""
    risk, roles = event.risk, ", ".join(event.roles)
    level, why = (risk.level, risk.why) if risk is not None else ("", ())
    said = [f"{event.actor} ({roles}): entry {index}, {event.outcome}, risk {level}."]
    said += map(sentence, evidence_of(why))
    return " ".join(said + ([f"{before} more since the last message."] if before else []))


def evidence_of(why: Sequence[Reason]) -> list[Evidence]:
    """What an entry says as evidence, to be explained."""
    return [
        Evidence(Cause(each.cause), each.p, each.observed, each.expected, each.peers, each.window_s)
        for each in why
        if each.cause in frozenset(Cause)
    ]
