"""A month of made-up work, on record before the demo begins: what is unusual is told by what is usual."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from privguard.cli.options import settings_of
from privguard.model import AccessEvent, Assessment, Disclosure, FieldShown, Outcome, SubjectRef, View

DAY_S: Final = 86_400
DAYS: Final = 30
ROUNDS: Final = 8
"""Times a day that somebody looks at some clients, forty minutes apart."""
_ROLE: Final = "rm_manager"


def write(config: Path, actors: Sequence[str], branch: str, clients: Sequence[int]) -> None:
    """Puts the work of branch managers on record: lists, and some twenty clients a day each."""
    from privguard.bootstrap import open_log, read_keys

    settings, now_s = settings_of(config), int(time.time())
    chance = random.Random(1)  # noqa: S311  # it is to look like work, and the same each time
    log, waiting = open_log(settings, read_keys(settings)), []
    try:
        for day in range(DAYS, 0, -1):
            for actor in actors:
                for round_ in range(ROUNDS):
                    at_s = now_s - day * DAY_S + (round_ - 2) * 2_400
                    for more in range(chance.choice((1, 1, 2, 3, 5))):
                        seen = [chance.choice(clients)]
                        waiting.append(log.submit(_look(actor, branch, at_s + 15 * more, seen)))
                    if round_ in (day % 4, 5):
                        waiting.append(log.submit(_look(actor, branch, at_s, clients, many=True)))
        for each in waiting:
            each.result(30)
    finally:
        log.close()


def _look(actor: str, branch: str, at_s: int, clients: Iterable[int], *, many: bool = False) -> AccessEvent:
    shown = Disclosure(
        "client",
        (FieldShown("name", View.CLEAR),),
        tuple(SubjectRef("client", str(client)) for client in clients),
        relations=("same_branch",),
    )
    return AccessEvent(
        event_id=os.urandom(16).hex(),
        at_us=at_s * 1_000_000,
        action="gateway:client:read",
        outcome=Outcome.PERMITTED,
        actor=actor,
        roles=(_ROLE,),
        system="crm",
        purpose="service",
        disclosures=(shown,),
        risk=Assessment(at=at_s, level="unknown", many=many, relations={"same_branch": 2}, team=branch),
    )
