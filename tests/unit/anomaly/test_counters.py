"""Counts merge in any order to the bit, and are what they say they are."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privguard.anomaly.counters import CELLS, HALF_LIVES, KINDS, Counted, Decayed, Distinct, client_key
from privguard.anomaly.tail import FLOOR, at_least_one, upper_tail

T0 = 1_700_000_000
BARS = [-1.0] * CELLS
"""Every new highest is told."""
Event = tuple[int, int, int]
"""Seconds, kinds as bits, client."""
events = st.lists(
    st.tuples(st.integers(T0, T0 + 40 * 86_400), st.integers(1, 31), st.integers(0, 300)), max_size=60
)


def count(state: Counted, event: Event) -> None:
    at, kinds, client = event
    key = client_key(str(client))
    state.turn(at // 86_400)
    if at // 86_400 == state.day:
        state.today.add(key)
    state.seen.add(at, key)
    state.strangers.add(at, key)
    state.decayed.add(at, [kind for kind in range(len(KINDS)) if kinds >> kind & 1], [0.0] * CELLS, BARS)
    state.last_s = max(state.last_s, at)


def counted(events: Sequence[Event]) -> Counted:
    state = Counted()
    for event in events:
        count(state, event)
    return state


def bits(state: Counted) -> object:
    """Everything in it."""
    decayed, seen, today = state.decayed, state.seen, state.today
    registers = today.registers and bytes(today.registers)
    return (
        decayed.spans, decayed.now, decayed.before, seen.quarter, bytes(seen.now), bytes(seen.before),
        state.day, list(today.keys), registers, state.last_s, list(state.strangers.looks),
    )  # fmt: skip


def merged(*parts: Counted) -> object:
    whole = Counted()
    for part in parts:
        whole.merge(part)
    return bits(whole)


@settings(max_examples=150, deadline=None)
@given(events, events, events)
def test_a_merge_in_any_order_is_what_one_worker_would_have_counted(
    a: list[Event], b: list[Event], c: list[Event]
) -> None:
    one = bits(counted(sorted(a + b + c)))
    parts = [counted(sorted(each)) for each in (a, b, c)]
    assert merged(*parts) == one
    assert merged(*reversed(parts)) == one
    assert merged(parts[1], parts[0], parts[2]) == one


@settings(max_examples=100, deadline=None)
@given(events, st.randoms(use_true_random=False))
def test_events_out_of_order_are_counted_alike(of: list[Event], shuffle: object) -> None:
    mixed = list(of)
    shuffle.shuffle(mixed)  # type: ignore[attr-defined]
    assert bits(counted(mixed)) == bits(counted(sorted(of)))


def test_a_decayed_count_halves_in_its_half_life() -> None:
    for horizon, half_life in enumerate(HALF_LIVES):
        for later in range(5):
            state, highest = Decayed(), [0.0] * CELLS
            for _ in range(64):
                state.add(T0, [0], highest, BARS)
            reached = [0.0] * CELLS
            state.add(T0 + later * half_life, [0], reached, BARS)
            assert reached[horizon * len(KINDS)] == pytest.approx(64 / 2**later + 1, rel=1e-3)


def test_the_hours_between_are_off_by_six_in_a_hundred_at_most() -> None:
    for passed in range(0, 3600, 100):
        state, reached = Decayed(), [0.0] * CELLS
        for _ in range(1000):
            state.add(T0 - T0 % 3600, [0], [0.0] * CELLS, BARS)
        state.add(T0 - T0 % 3600 + passed, [0], reached, BARS)
        assert reached[2 * len(KINDS)] == pytest.approx(1000 / 2 ** (passed / 3600), rel=0.065)


@pytest.mark.parametrize("number", [1, 60, 128, 129, 500, 3000, 50_000])
def test_distinct_clients_are_exact_and_then_near(number: int) -> None:
    state = Distinct()
    for each in range(number):
        state.add(client_key(f"c{each}"))
        state.add(client_key(f"c{each}"))
    assert state.count() == pytest.approx(number, rel=0 if number <= 128 else 0.1)


def test_a_client_is_new_once_and_again_after_two_quarters() -> None:
    state, key = Counted().seen, client_key("c1")
    quarter = state.SECONDS
    assert state.add(T0, key)
    assert not state.add(T0 + 60, key)
    assert not state.add(T0 + quarter, key)
    assert state.add(T0 + 3 * quarter, key)


def test_few_new_clients_are_taken_for_known() -> None:
    state = Counted().seen
    new = [state.add(T0, client_key(f"c{each}")) for each in range(2000)]
    assert 0.97 <= sum(new) / len(new) <= 1


# -- tails --------------------------------------------------------------------------------------------------


def exact(count: int, mean: float, shape: float) -> float:
    """One less the sum of the masses below."""
    p = shape / (shape + mean)
    log: Callable[[int], float] = lambda k: (  # noqa: E731
        math.lgamma(k + shape) - math.lgamma(shape) - math.lgamma(k + 1)
        + shape * math.log(p) + k * math.log(1 - p)
    )  # fmt: skip
    return 1 - math.fsum(math.exp(log(k)) for k in range(count))


@pytest.mark.parametrize(("mean", "shape"), [(0.05, 1.0), (0.5, 2.0), (3.0, 2.0), (12.0, 5.0), (5.0, 200.0)])
def test_the_tail_is_within_a_tenth_of_the_sum(mean: float, shape: float) -> None:
    for each in range(1, 120):
        truth = exact(each, mean, shape)
        if 1e-9 < truth < 0.3:
            assert upper_tail(each, mean, shape) == pytest.approx(truth, rel=0.1), each


@given(st.floats(0, 1e6), st.floats(0, 1e4), st.floats(0.2, 200))
def test_a_tail_is_a_probability_whatever_comes(count: float, mean: float, shape: float) -> None:
    assert FLOOR <= upper_tail(count, mean, shape) <= 1


def test_the_least_of_several_is_bounded() -> None:
    assert at_least_one([0.01, 0.5], 4) == 0.04
    assert at_least_one([0.5], 4) == at_least_one([], 4) == 1
