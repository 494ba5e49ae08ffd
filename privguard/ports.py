"""What the shell must provide: each port's docstring says what holds when it returns."""

from __future__ import annotations

from concurrent.futures import Future
from datetime import date
from typing import Protocol

from privguard.model import AccessEvent, AuditReceipt, Principal


class Clock(Protocol):
    """The time of day."""

    def now_us(self) -> int:
        """Microseconds since the epoch, UTC; may go backwards (L07), users must bear it."""
        ...

    def today(self) -> date:
        """The calendar date in UTC."""
        ...


class Entropy(Protocol):
    """Unpredictable bytes."""

    def token(self, size: int) -> bytes:
        """``size`` bytes from the operating system's generator."""
        ...


class AuditLog(Protocol):
    """The append-only log."""

    def submit(self, event: AccessEvent) -> Future[AuditReceipt]:
        """Queues an entry; never blocks.

        The future's result exists only once the entry is durable: it survives a power cut. It fails with
        AuditUnavailableError when the entry could not be made durable; the entry may still be in the log
        then (a lost answer), never twice.
        """
        ...

    async def append(self, event: AccessEvent) -> AuditReceipt:
        """The same for event loops: returns once the entry is durable, or raises AuditUnavailableError."""
        ...


class RequestTarget(Protocol):
    """What an assertion about a request covers of its request line."""

    @property
    def method(self) -> str: ...

    @property
    def raw(self) -> bytes: ...


class IdentityProvider(Protocol):
    """Tells who asks."""

    async def identify(
        self, target: RequestTarget, headers: list[tuple[bytes, bytes]], body: bytes
    ) -> Principal:
        """The actor whom a request proves.

        Args:
            headers: names in lower case.
            body: whole, as it came; a proxy's assertion covers it.

        Raises:
            UnauthenticatedError: nothing, or nothing that holds.
            UpstreamUnavailableError: whoever vouches for actors does not answer.
        """
        ...
