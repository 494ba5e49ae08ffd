"""Two small things that answers from elsewhere need: to be remembered for a while, and asked for once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class ExpiringCache(Generic[T]):
    """Remembers at most ``capacity`` values, each until a time; the oldest goes first."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._held: dict[bytes, tuple[float, T]] = {}

    def get(self, key: bytes, now: float) -> T | None:
        """The value, or None where there is none any more."""
        found = self._held.get(key)
        if found is None or found[0] <= now:
            return None
        return found[1]

    def put(self, key: bytes, value: T, until: float) -> None:
        """Remembers the value until this time."""
        self._held.pop(key, None)
        while len(self._held) >= self._capacity:
            del self._held[next(iter(self._held))]
        self._held[key] = (until, value)

    def clear(self) -> None:
        """Forgets everything."""
        self._held.clear()


class SingleFlight(Generic[T]):
    """Whoever asks while the same question is under way gets its answer; one who leaves does not stop it."""

    def __init__(self) -> None:
        self._flights: dict[bytes, asyncio.Task[T]] = {}

    async def do(self, key: bytes, ask: Callable[[], Awaitable[T]]) -> T:
        """The answer of ``ask``, or of the one under way for this key."""
        task = self._flights.get(key)
        if task is None:
            task = self._flights[key] = asyncio.ensure_future(_run(ask))
            task.add_done_callback(lambda done: self._landed(key, done))
        return await asyncio.shield(task)

    def _landed(self, key: bytes, done: asyncio.Task[T]) -> None:
        del self._flights[key]
        if not done.cancelled():
            done.exception()  # looked at, even where everybody who asked has left


async def _run(ask: Callable[[], Awaitable[T]]) -> T:
    return await ask()
