"""In-memory ports and a frozen clock, for privguard's tests and its users'."""

from __future__ import annotations

import hashlib
from concurrent.futures import Future
from datetime import UTC, date, datetime

from privguard.errors import AuditUnavailableError, PrivguardError
from privguard.guard import AsyncGuard, Guard, GuardCore
from privguard.masking import MaskTools
from privguard.model import AccessEvent, AuditReceipt
from privguard.policy import compile_policy, load
from privguard.ports import Claim


class FrozenClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: datetime | None = None) -> None:
        self.now = now or datetime(2026, 1, 5, 9, 0, tzinfo=UTC)

    def now_us(self) -> int:
        return int(self.now.timestamp() * 1_000_000)

    def today(self) -> date:
        return self.now.date()


class CountingEntropy:
    """Bytes that are unique and the same in every run."""

    def __init__(self) -> None:
        self._drawn = 0

    def token(self, size: int) -> bytes:
        self._drawn += 1
        return self._drawn.to_bytes(size, "big")


class MemoryLog:
    """A log that keeps its events in a list; ``failing`` makes it unavailable."""

    def __init__(self) -> None:
        self.events: list[AccessEvent] = []
        self.failing = False

    def submit(self, event: AccessEvent, claim: Claim | None = None) -> Future[AuditReceipt]:
        future: Future[AuditReceipt] = Future()
        try:
            if self.failing:
                raise AuditUnavailableError("The log of this test is switched off.")
            if claim is not None:
                claim(None)
        except PrivguardError as error:
            future.set_exception(error)
            return future
        self.events.append(event)
        size = len(self.events)
        root = hashlib.sha256(str(size).encode()).digest()
        future.set_result(AuditReceipt(origin="test.invalid/log", index=size - 1, size=size, root=root))
        return future

    async def append(self, event: AccessEvent, claim: Claim | None = None) -> AuditReceipt:
        return self.submit(event, claim).result()


class MemoryLookups:
    """Look-ups counted in a dictionary, by hour."""

    def __init__(self) -> None:
        self.taken: dict[tuple[str, str, int], int] = {}

    def take(self, tenant: str, actor: str, limit: int, now_us: int) -> int:
        key = tenant, actor, now_us // 3_600_000_000
        taken = self.taken.get(key, 0)
        if taken >= limit:
            return 3600 - now_us // 1_000_000 % 3600
        self.taken[key] = taken + 1
        return 0


def mask_tools(clock: FrozenClock | None = None) -> MaskTools:
    """Tools whose tokens are a plain hash: the same in every run, and no secret."""
    ticking = clock or FrozenClock()
    return MaskTools(
        today=ticking.today,
        token=lambda tenant, cls, value: hashlib.sha256(f"{tenant}|{cls}|{value}".encode()).hexdigest()[:22],
    )


def guard_core(policy: str, *, mode: str = "enforce") -> tuple[GuardCore, MemoryLog]:
    """A core under the given policy text, with its log.

    The entry that puts the policy in force is taken out of the log again, so that a test finds its own first.
    """
    log, clock = MemoryLog(), FrozenClock()
    core = GuardCore(
        log, clock, CountingEntropy(), mask_tools(clock), system="test", mode=mode, lookups=MemoryLookups()
    )
    core.use(compile_policy(load(policy)))
    log.events.clear()
    return core, log


__all__ = [
    "AsyncGuard",
    "CountingEntropy",
    "FrozenClock",
    "Guard",
    "MemoryLog",
    "MemoryLookups",
    "guard_core",
    "mask_tools",
]
