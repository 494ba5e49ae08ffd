"""What is remembered is bounded and ends; what is asked at once is asked once."""

from __future__ import annotations

import asyncio

import pytest

from privguard.asgi.caching import ExpiringCache, SingleFlight


def test_a_value_is_remembered_until_its_time() -> None:
    cache: ExpiringCache[str] = ExpiringCache(4)
    cache.put(b"a", "x", until=10)
    assert cache.get(b"a", 9.9) == "x"
    assert cache.get(b"a", 10) is None
    assert cache.get(b"b", 0) is None


def test_the_oldest_goes_first() -> None:
    cache: ExpiringCache[int] = ExpiringCache(2)
    for number, key in enumerate((b"a", b"b", b"a", b"c")):
        cache.put(key, number, until=10)
    assert [cache.get(key, 0) for key in (b"a", b"b", b"c")] == [2, None, 3]
    cache.clear()
    assert cache.get(b"c", 0) is None


def test_one_flight_serves_all_who_ask_meanwhile() -> None:
    async def test() -> None:
        asked, go = 0, asyncio.Event()
        flights: SingleFlight[int] = SingleFlight()

        async def ask() -> int:
            nonlocal asked
            asked += 1
            await go.wait()
            return asked

        waiting = [asyncio.create_task(flights.do(b"k", ask)) for _ in range(5)]
        other = asyncio.create_task(flights.do(b"other", ask))
        await asyncio.sleep(0)
        waiting[0].cancel()  # who leaves does not stop it
        await asyncio.sleep(0)
        go.set()
        assert await asyncio.gather(*waiting[1:], other) == [2, 2, 2, 2, 2]
        assert await flights.do(b"k", ask) == 3

    asyncio.run(test())


def test_a_failure_goes_to_all_and_is_not_kept() -> None:
    async def test() -> None:
        flights: SingleFlight[int] = SingleFlight()

        async def fail() -> int:
            await asyncio.sleep(0)
            raise ValueError

        found = await asyncio.gather(*(flights.do(b"k", fail) for _ in range(3)), return_exceptions=True)
        assert [type(one) for one in found] == [ValueError] * 3
        with pytest.raises(ValueError):
            await flights.do(b"k", fail)

    asyncio.run(test())
