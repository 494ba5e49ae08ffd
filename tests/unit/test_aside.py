"""Work beside an event loop: answered, told of together, and no more than it must hold up."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

import pytest

from privguard.aside import Aside


def looped(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @wraps(test)
    def run(**fixtures: Any) -> None:
        asyncio.run(test(**fixtures))

    return run


def named(name: str) -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == name]


@looped
async def test_each_has_its_own_answer_or_error() -> None:
    aside = Aside("a", threads=2)
    answers = await asyncio.gather(
        *(aside.do(divmod, 100, each % 5) for each in range(100)), return_exceptions=True
    )
    for each, answer in enumerate(answers):
        if each % 5:
            assert answer == divmod(100, each % 5)
        else:
            assert isinstance(answer, ZeroDivisionError)


@looped
async def test_a_loop_is_woken_once_for_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    aside, loop, begun = Aside("a", threads=1), asyncio.get_running_loop(), threading.Event()
    woken: list[int] = []
    tell = loop.call_soon_threadsafe

    def counted(call: Any, answers: Any) -> Any:
        woken.append(len(answers))
        return tell(call, answers)

    monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
    first = asyncio.ensure_future(aside.do(begun.wait, 10))
    rest = [asyncio.ensure_future(aside.do(abs, -each)) for each in range(50)]
    await asyncio.sleep(0)  # all are queued
    begun.set()
    assert await first
    assert await asyncio.gather(*rest) == list(range(50))
    assert woken == [32, 19]


@looped
async def test_what_hangs_holds_up_the_other_thread_not() -> None:
    aside, hung = Aside("a", threads=2), threading.Event()
    waits = asyncio.ensure_future(aside.do(hung.wait, 10))
    try:
        for each in range(10):
            assert await asyncio.wait_for(aside.do(abs, -each), 5) == each
    finally:
        hung.set()
    assert await waits


@looped
async def test_what_nobody_waits_for_is_not_begun() -> None:
    aside, hung = Aside("a", threads=1), threading.Event()
    done: list[int] = []
    waits = asyncio.ensure_future(aside.do(hung.wait, 10))
    left = asyncio.ensure_future(aside.do(done.append, 1))
    await asyncio.sleep(0)
    left.cancel()
    await asyncio.sleep(0)
    hung.set()
    await waits
    await aside.do(done.append, 2)
    assert done == [2]


def test_a_loop_that_is_gone_ends_no_thread() -> None:
    aside, hung = Aside("a", threads=1), threading.Event()

    left: list[asyncio.Future[bool]] = []

    async def leave() -> None:
        left.append(asyncio.ensure_future(aside.do(hung.wait, 10)))
        await asyncio.sleep(0)

    asyncio.run(leave())
    hung.set()
    assert asyncio.run(aside.do(abs, -1)) == 1


def test_its_threads_end_with_it() -> None:
    async def use() -> None:
        aside = Aside("ends", threads=2)
        await asyncio.gather(aside.do(abs, -1), aside.do(abs, -1))
        assert len(named("ends")) == 2

    asyncio.run(use())
    gc.collect()
    for each in named("ends"):
        each.join(5)
    assert not named("ends")
