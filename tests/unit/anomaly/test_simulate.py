"""The simulator does what the scenarios say, the same for the same seed, a day at a time."""

from __future__ import annotations

import random
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable

import pytest

from privguard.anomaly.access import CLOSE, REASONS, Day, Relation
from privguard.anomaly.simulate import CONTROLS, SCENARIOS, Plan, Streams, World, days, inject
from privguard.anomaly.simulate.draws import negative_binomial, poisson, zipf
from privguard.anomaly.simulate.plan import DAY, Look


def streams(seed: int) -> Streams:
    return lambda name: random.Random(f"{seed}:{name}")


def small(seed: int = 1, length: int = 130) -> World:
    return World(streams(seed), staff=150, clients=15_000, days=length)


def test_a_seed_is_a_log_and_another_seed_another() -> None:
    def log(seed: int) -> list[object]:
        return [day for _, day in zip(range(2), days(small(seed), streams(seed)), strict=False)]

    assert log(1) == log(1)
    assert log(1) != log(2)


def test_a_scenario_more_changes_no_ordinary_access() -> None:
    world = small()
    plan = SCENARIOS["bulk"](world, streams(1)("bulk"), (1, 2))
    plain = next(iter(days(world, streams(1))))
    log = days(world, streams(1), {("bulk", "1"): plan})
    first, second = next(log), next(log)
    assert first == plain
    injected = [each for each in second.accesses if each.scenario]
    assert [(o.scenario, o.incident) for o in injected] == [("bulk", "1")] * len(plan.looks)


def test_days_are_made_as_they_are_asked_for() -> None:
    made: list[str] = []

    def counted(name: str) -> random.Random:
        made.append(name)
        return random.Random(name)

    next(iter(days(small(), counted)))
    assert [name for name in made if name.startswith("day")] == ["day 0", "day 1", "day 2"]


def test_accesses_and_work_lie_in_their_day_in_order() -> None:
    world = small()
    for day, _ in zip(days(world, streams(1)), range(4), strict=False):
        times = [each.access.at_s for each in day.accesses]
        assert times == sorted(times)
        assert [each.at_s for each in day.work] == sorted(each.at_s for each in day.work)
        begin = world.start_s + day.number * DAY
        assert all(begin <= at < begin + DAY + 900 for at in times)
        if day.number:
            assert all(begin <= each.at_s < begin + DAY for each in day.work)


def test_clients_a_day_are_as_in_the_log_of_a_real_bank() -> None:
    """BPI Challenge 2012 has p50 12 and p99 77 distinct clients a user-day."""
    seen: dict[tuple[str, int], set[str]] = defaultdict(set)
    world = World(streams(3), staff=600, clients=60_000, days=3)
    for day in days(world, streams(3)):
        for each in day.accesses:
            seen[each.access.actor, day.number].add(each.access.client)
    counts = sorted(map(len, seen.values()))
    assert 9 <= statistics.median(counts) <= 15
    assert 60 <= counts[len(counts) * 99 // 100] <= 95


def test_most_accesses_have_a_reason_or_work_that_follows() -> None:
    log = [day for _, day in zip(range(3), days(small(), streams(1)), strict=False)]
    worked: dict[tuple[str, str], list[int]] = defaultdict(list)
    for day in log:
        for done in day.work:
            worked[done.actor, done.client].append(done.at_s)
    looks = [each.access for each in log[1].accesses]
    explained = [
        any(-2 * DAY <= at - each.at_s <= DAY for at in worked[each.actor, each.client]) for each in looks
    ]
    assert 0.94 <= statistics.mean(explained) <= 0.985
    assert statistics.mean(bool(each.relations & REASONS) for each in looks) > 0.85


# -- scenarios: each as its definition says ------------------------------------------------------------------

SPAN = (10, 120)
Rule = Callable[[World, Plan], bool]


def actors(plan: Plan) -> int:
    return len({look.actor for look in plan.looks})


def lasts(plan: Plan) -> float:
    return (max(look.at_s for look in plan.looks) - min(look.at_s for look in plan.looks)) / DAY


def a_day(world: World, plan: Plan) -> list[int]:
    """Looks of an actor on a day."""
    return list(Counter((look.actor, (look.at_s - world.start_s) // DAY) for look in plan.looks).values())


def hour(world: World, look: Look) -> int:
    return (look.at_s - world.start_s) // 3600 % 24


def steady(plan: Plan) -> bool:
    gaps = [b.at_s - a.at_s for a, b in zip(plan.looks, plan.looks[1:], strict=False)]
    return statistics.stdev(gaps) / statistics.mean(gaps) < 0.3


def linked(relation: int) -> Rule:
    def rule(world: World, plan: Plan) -> bool:
        known = {(look.actor, look.client) for look in plan.looks}
        weeks = Counter((look.at_s - world.start_s) // DAY // 7 for look in plan.looks)
        [(actor, client)] = known
        return bool(world.relations(actor, client, 0) & relation & CLOSE) and max(weeks.values()) <= 4

    return rule


DEFINED: dict[str, Rule] = {
    "vip": lambda w, p: 5 <= actors(p) <= 25 and lasts(p) <= 2 and len({o.client for o in p.looks}) == 1
    and w.sensitive(w.number(p.looks[0].client)),
    "family": linked(Relation.KIN),
    "colleague": linked(Relation.EMPLOYER),
    "neighbour": linked(Relation.ADDRESS),
    "bulk": lambda w, p: 95 <= len({o.client for o in p.looks}) <= 500 and lasts(p) <= 1 / 24,
    "slow": lambda w, p: actors(p) == 1 and 5 <= min(a_day(w, p)) <= max(a_day(w, p)) <= 15,
    "off-hours": lambda w, p: all(hour(w, o) >= 22 or hour(w, o) < 5 for o in p.looks) and lasts(p) < 5,
    "unrelated": lambda w, p: lasts(p) <= 20
    and 0.1 < a_day(w, p)[0] / (a_day(w, p)[0] + w.daily(p.looks[0].actor)) < 0.55,
    "takeover": lambda w, p: steady(p) and {o.device for o in p.looks} == {"d-unknown"},
    "dormant": lambda w, p: 0 < p.quiet[0][1] <= (p.looks[0].at_s - w.start_s) // DAY - 90
    and min(a_day(w, p)) >= 20,
    "leaver": lambda w, p: len({o.client for o in p.looks}) >= 0.59 * len(w.book(p.looks[0].actor))
    and p.quiet[0][2] == w.days,
    "collusion": lambda w, p: 3 <= actors(p) <= 6 and 10 <= min(a_day(w, p)) <= max(a_day(w, p)) <= 20,
    "reveal-abuse": lambda w, p: all(o.clear for o in p.looks) and not p.worked,
    "honey": lambda w, p: len(p.looks) == 1 and w.number(p.looks[0].client) == -1,
    "mimicry": lambda w, p: {o.client for o in p.looks} == {""} and set(a_day(w, p)) == {10},
    "intesa": lambda w, p: set(a_day(w, p)) == {11}
    and 5.5 < len({o.client for o in p.looks}) / len(a_day(w, p)) <= 6,
}  # fmt: skip


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_is_what_its_definition_says(name: str) -> None:
    for seed in range(8):
        world = small(seed)
        plan = SCENARIOS[name](world, streams(seed)(name), SPAN)
        assert plan.looks
        assert not plan.worked
        assert DEFINED[name](world, plan), seed


def test_mimicry_is_of_clients_with_fresh_work() -> None:
    world = small()
    plan = Plan([Look(world.start_s + 2 * DAY + 40_000, world.staff[0], "") for _ in range(5)])
    log = [day for _, day in zip(range(3), days(world, streams(1), {("mimicry", "1"): plan}), strict=False)]
    looked = {each.access.client for each in log[2].accesses if each.scenario}
    assert looked
    assert looked <= {done.client for day in log[:2] for done in day.work}


@pytest.mark.parametrize("name", CONTROLS)
def test_a_control_is_work(name: str) -> None:
    world = World(streams(5), staff=150, clients=15_000, days=40)
    plan = CONTROLS[name](world, streams(5)(name), (5, 30))
    assert plan.looks
    assert plan.worked
    if name == "outage":  # the calls' clients are anybody's, and each is a call on record before the look
        day = (plan.looks[0].at_s - world.start_s) // DAY
        (outage,) = inject([Day(day, [], [])], world, streams(5), {(name, "1"): plan})
        calls = {(done.actor, done.client): done.at_s for done in outage.work if done.kind == "call"}
        looks = [each.access for each in outage.accesses]
        assert all(calls[look.actor, look.client] < look.at_s + DAY for look in looks)
        assert {(look.actor, look.client) for look in looks} == calls.keys()
    else:
        reasons = [
            world.relations(o.actor, o.client, (o.at_s - world.start_s) // DAY) & REASONS for o in plan.looks
        ]
        assert all(reasons)
    log = inject(iter(()), world, streams(5), {(name, "1"): plan})
    assert list(log) == []


def test_who_is_away_does_nothing() -> None:
    world = small()
    gone = world.staff[1]
    log = days(world, streams(1), {("leaver", "1"): Plan(quiet=[(gone, 1, 9)])})
    seen = [{each.access.actor for each in day.accesses} for _, day in zip(range(3), log, strict=False)]
    assert gone not in seen[1] | seen[2]


# -- distributions ------------------------------------------------------------------------------------------


def test_distributions_have_their_moments() -> None:
    draws = random.Random(7)
    counts = [poisson(draws, 40.0) for _ in range(4000)]
    assert statistics.mean(counts) == pytest.approx(40, rel=0.02)
    assert statistics.variance(counts) == pytest.approx(40, rel=0.1)
    wide = [negative_binomial(draws, 10.0, 2.5) for _ in range(4000)]
    assert statistics.mean(wide) == pytest.approx(10, rel=0.06)
    assert statistics.variance(wide) == pytest.approx(10 + 100 / 2.5, rel=0.15)


def test_zipf_falls_by_its_exponent() -> None:
    """Of ranks in [0, n) with density x^-s, the share below n/10 is (1/10)^(1-s)."""
    draws = random.Random(7)
    low = statistics.mean(zipf(draws, 1000, 0.75) < 100 for _ in range(20_000))
    assert low == pytest.approx(0.1**0.25, abs=0.02)
