"""Starts what looks back over the log, once a day, beside the gateway and out of its way."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Final

from privguard.errors import NotOnRecordError, PrivguardError, StoreUnavailableError
from privguard.ports import Clock
from privguard.telemetry import logger

AGAIN_S: Final = 3_600
"""After a failure."""
_DAY_S: Final = 86_400

Told = tuple[str, PrivguardError | None]
"""What there is to tell, and what failed beside: what was found is told all the same."""


class Nightly:
    """Looks back in a process of its own, which gives way to all others and ends with this one.

    Args:
        work: what looks back, and gives what there is to tell, if there is; it is pickled.
        at_s: from which second of the day (UTC).
        tell: hears it.
    """

    def __init__(
        self, work: Callable[[], Told], at_s: int, clock: Clock, tell: Callable[[str], None]
    ) -> None:
        self._work = work
        self._clock = clock
        self._tell = tell
        self._due = self._next = self._now() // _DAY_S * _DAY_S + at_s
        self._answer: Connection | None = None
        self._process: SpawnProcess | None = None
        self._began = 0

    def refresh(self) -> None:
        """Begins when it is time, and hears what came of it; called once a second.

        Raises:
            PrivguardError: it failed; it begins again in an hour.
        """
        now = self._now()
        if self._answer is None or self._process is None:
            if now >= self._next:
                self._begin(now)
            return
        if now >= self._began + _DAY_S:  # it hangs: nobody waits for ever
            self._process.kill()
            self._process.join()
        if self._answer.poll():
            self._done(self._answer, now)

    def _begin(self, now: int) -> None:
        context = get_context("spawn")
        self._answer, theirs = context.Pipe(duplex=False)
        self._process = context.Process(target=_apart, args=(self._work, theirs), daemon=True)
        self._process.start()
        self._began = now
        theirs.close()

    def _done(self, answer: Connection, now: int) -> None:
        self._answer, self._next = None, now + AGAIN_S
        with answer:
            try:
                said, error = answer.recv()
            except EOFError:
                raise StoreUnavailableError(
                    "What looked back was ended: for want of memory, or as it took a day."
                ) from None
        if said:
            self._tell(said)
        if isinstance(error, NotOnRecordError):
            logger().info("look-back-waits", cause=error.detail)
        elif error is not None:
            raise error
        while self._due <= now:
            self._due += _DAY_S
        self._next = self._due

    def _now(self) -> int:
        return self._clock.now_us() // 1_000_000


def _apart(work: Callable[[], Told], answer: Connection) -> None:
    os.nice(19)
    try:
        told = work()
    except PrivguardError as error:
        told = "", error
    except Exception as error:  # noqa: BLE001  # its message may quote data (L12)
        told = "", StoreUnavailableError(f"Looking back failed ({type(error).__name__}).")
    with contextlib.suppress(OSError):  # nobody waits any more
        answer.send(told)
