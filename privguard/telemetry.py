"""The process's own log: what it does and what is wrong with it, never whose data (L12).

Accesses are not logged here; they are in the audit log. Nothing that came with a request, a record or an
answer may be handed to this logger: callers pass names of settings, rules and routes, counts and causes.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import IO, Any

import structlog

from privguard.errors import PrivguardError


class _Unfailing:
    """Takes lines for a file; a line that cannot be written (the disk is full: L09) stops nobody."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._file.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._file.flush()


def configure(*, json: bool) -> None:
    """Sends log lines to standard error, as JSON or for people."""
    render: Any = structlog.processors.JSONRenderer() if json else structlog.dev.ConsoleRenderer(colors=False)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            render,
        ],
        logger_factory=structlog.PrintLoggerFactory(_Unfailing(sys.stderr)),  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )


def logger() -> Any:
    """The process's logger."""
    return structlog.get_logger("privguard")


class Chore:
    """Work that is done again and again: a failure is logged once, until it is another, and raises nothing.

    Args:
        failed: name that a failure is logged by.
    """

    def __init__(self, failed: str, work: Callable[[], None]) -> None:
        self.failed = failed
        self._work = work
        self._said = ""

    def done(self) -> bool:
        """Does it; whether it went well."""
        cause = ""
        try:
            self._work()
        except PrivguardError as error:
            cause = error.detail
        except Exception as error:  # noqa: BLE001  # the watch must outlive whatever a file system does
            cause = type(error).__name__
        if cause and cause != self._said:
            logger().error(self.failed, cause=cause)
        self._said = cause
        return not cause
