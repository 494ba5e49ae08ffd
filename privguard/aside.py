"""Work that may block, beside an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple, TypeVar

T = TypeVar("T")
_AT_ONCE: Final = 32
"""Answers a loop is told of at once, at most: so many wait at worst for work that hangs."""


class _Work(NamedTuple):
    future: asyncio.Future[Any]
    do: Callable[..., Any]
    args: tuple[object, ...]


class _Answer(NamedTuple):
    future: asyncio.Future[Any]
    result: Any
    error: Exception | None


class Aside:
    """Does work in threads of its own, and tells a loop of all that is done by then at once.

    To wake a loop for each takes more than a read of the store does, for every wake-up makes two threads
    want the interpreter lock (ADR 17). The threads start with the first work, and end with this object.
    """

    def __init__(self, name: str, threads: int) -> None:
        self._name = name
        self._missing = threads
        self._queue: SimpleQueue[_Work | None] = SimpleQueue()
        weakref.finalize(self, self._queue.put, None)

    async def do(self, work: Callable[..., T], *args: object) -> T:
        """What the work gives, or raises; it is not begun if nobody waits any more."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.put(_Work(future, work, args))
        if self._missing:
            self._missing -= 1
            threading.Thread(target=_serve, args=(self._queue,), name=self._name, daemon=True).start()
        return await future


def _serve(queue: SimpleQueue[_Work | None]) -> None:
    done: list[_Answer] = []
    while True:
        try:
            work = queue.get(block=not done)
        except Empty:
            _tell(done)
            done = []
            continue
        if work is None:
            queue.put(None)  # for the other threads
            return _tell(done)
        if not work.future.cancelled():
            done.append(_answer(work))
        if len(done) == _AT_ONCE:
            _tell(done)
            done = []
        del work


def _answer(work: _Work) -> _Answer:
    try:
        return _Answer(work.future, work.do(*work.args), None)
    except Exception as error:  # noqa: BLE001  # who waits for it has it raised
        return _Answer(work.future, None, error)


def _tell(done: Iterable[_Answer]) -> None:
    loops: dict[asyncio.AbstractEventLoop, list[_Answer]] = {}
    for answer in done:
        loops.setdefault(answer.future.get_loop(), []).append(answer)
    for loop, answers in loops.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(_settle, answers)


def _settle(answers: Iterable[_Answer]) -> None:
    for future, result, error in answers:
        if future.done():
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
