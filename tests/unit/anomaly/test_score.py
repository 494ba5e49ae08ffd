"""The inline scorer: its rules, what it finds odd; it replays to the bit, never raises and stays small."""

from __future__ import annotations

import functools
import random
import re
import sys
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from privguard.anomaly.access import Access, Relation
from privguard.anomaly.counters import CELLS, KINDS
from privguard.anomaly.evidence import Cause, Evidence, Level, Risk
from privguard.anomaly.explain import sentence
from privguard.anomaly.features import DISTANCES, NEVER, PRIVATE, RELATED, distance
from privguard.anomaly.score import DAY, Rules, Scorer
from privguard.anomaly.simulate import SCENARIOS, World, days

T0 = 19_700 * DAY + 10 * 3600
LOOK = Access(T0, "a", "c1", "rm", "b1", relations=Relation.PORTFOLIO, device="d", zone="z")


def causes(risk: Risk) -> list[Cause]:
    return [each.cause for each in risk.evidence]


def office(scorer: Scorer, length: int = 40, seed: int = 1, start: int = 0) -> None:
    """Twenty relationship managers who look at 10 clients of their own a day, and hardly at another."""
    draws = random.Random(seed)
    for day in range(start, start + length):
        looks = [
            replace(LOOK, at_s=T0 + day * DAY + draws.randrange(0, 6 * 3600), actor=f"a{each}",
                    client=f"c{each}-{draws.randrange(0, 200)}", device=f"d{each}",
                    relations=Relation.BRANCH if draws.random() < 0.999 else 0)
            for each in range(20) for _ in range(draws.randrange(6, 15))
        ]  # fmt: skip
        for look in sorted(looks, key=lambda each: each.at_s):
            scorer.score(look)


def mine(at: int, client: str = "c0-1", **more: object) -> Access:
    return replace(LOOK, **{"at_s": at, "actor": "a0", "client": client, "device": "d0", **more})


# -- rules --------------------------------------------------------------------------------------------------


def test_a_honey_client_is_a_rule() -> None:
    risk = Scorer(Rules(honey=frozenset({"c1"}))).score(LOOK)
    assert (risk.level, causes(risk)) == (Level.RULE, [Cause.HONEY])


def test_a_leaver_is_a_rule() -> None:
    assert causes(Scorer(Rules(leavers=frozenset({"a"}))).score(LOOK)) == [Cause.LEAVER]


def test_a_cap_counts_different_clients_of_the_day() -> None:
    scorer = Scorer(Rules(caps={"rm": 3}))
    for client in ("c1", "c2", "c2", "c3", "c1"):
        assert scorer.score(replace(LOOK, client=client)).level is Level.LOW
    risk = scorer.score(replace(LOOK, client="c4"))
    assert (risk.level, risk.evidence[0].observed, risk.evidence[0].expected) == (Level.RULE, 4, 3)
    assert scorer.score(replace(LOOK, at_s=T0 + DAY)).level is Level.LOW


def test_a_dormant_account_is_a_rule() -> None:
    scorer = Scorer()
    scorer.score(LOOK)
    assert scorer.score(replace(LOOK, at_s=T0 + 89 * DAY)).level is Level.LOW
    assert causes(scorer.score(replace(LOOK, at_s=T0 + 180 * DAY))) == [Cause.DORMANT]


def test_two_places_at_once_are_a_rule() -> None:
    scorer = Scorer()
    scorer.score(LOOK)
    moved = replace(LOOK, at_s=T0 + 60, device="d2", zone="z2")
    assert causes(scorer.score(moved)) == [Cause.CONCURRENT]
    assert scorer.score(replace(moved, at_s=T0 + 9000, device="d")).level is Level.LOW


# -- statistics ---------------------------------------------------------------------------------------------


def test_nothing_is_said_before_anything_is_known() -> None:
    scorer = Scorer()
    assert {scorer.score(replace(LOOK, at_s=T0 + each)).level for each in range(200)} == {Level.LOW}


def test_bulk_is_severe_within_25_clients() -> None:
    scorer = Scorer()
    office(scorer)
    at = T0 + 41 * DAY
    levels = [scorer.score(mine(at + 10 * each, f"x{each}", relations=0)) for each in range(25)]
    assert any(risk.level is Level.SEVERE for risk in levels)
    worst = min(levels, key=lambda risk: risk.p)
    assert worst.evidence[0].cause in (Cause.UNRELATED, Cause.NEW, Cause.VIEWS)


def test_a_night_is_found_odd() -> None:
    scorer = Scorer()
    office(scorer)
    night = T0 + 41 * DAY + 16 * 3600
    risks = [scorer.score(mine(night + 120 * each, f"c0-{each}")) for each in range(12)]
    assert risks[-1].level in (Level.HIGH, Level.SEVERE)
    assert causes(min(risks, key=lambda risk: risk.p))[0] is Cause.ODD_HOURS


def test_an_ordinary_day_is_low() -> None:
    scorer = Scorer()
    office(scorer)
    at = T0 + 41 * DAY
    assert {scorer.score(mine(at + 1800 * each, f"c0-{each}")).level for each in range(10)} == {Level.LOW}


def test_public_interest_weighs() -> None:
    scorer, other = Scorer(), Scorer()
    office(scorer), office(other)
    look = mine(T0 + 41 * DAY, "x", relations=0)
    plain, public = scorer.score(look), other.score(replace(look, sensitive=True))
    assert public.p == plain.p / 4 < 1


def test_a_flagged_day_is_not_learned_from() -> None:
    scorer = Scorer()
    office(scorer)
    before = scorer.actors["a0"].sums.days
    for each in range(60):
        scorer.score(mine(T0 + 41 * DAY + 10 * each, f"x{each}", relations=0))
    for day, learned in (
        (42, 1),
        (43, 1),
        (44, 2),
    ):  # what is left of its counts on the day after is not, either
        scorer.score(mine(T0 + day * DAY))
        assert scorer.actors["a0"].sums.days == before + learned


def test_the_day_after_is_not_held_against_whom_the_day_before_was() -> None:
    scorer = Scorer()
    office(scorer)
    for each in range(200):
        scorer.score(mine(T0 + 41 * DAY + 10 * each, f"x{each}", relations=0))
    after = [scorer.score(mine(T0 + 42 * DAY + 1800 * each, f"c0-{each}")) for each in range(10)]
    assert {risk.level for risk in after} == {Level.LOW}


def test_who_comes_back_to_a_stranger_is_found() -> None:
    scorer = Scorer()
    office(scorer)
    risks = []
    for day in range(41, 69, 4):
        risks.append(scorer.score(mine(T0 + day * DAY, "x", relations=0)))
        office(scorer, 4, day, day)
    assert risks[0].level in (Level.LOW, Level.RAISED)
    assert (causes(risks[-1])[0], risks[-1].evidence[0].observed) == (Cause.AGAIN, len(risks))
    assert [risk.level for risk in risks[-2:]] == [Level.SEVERE, Level.SEVERE] or risks[-1].p < risks[
        1
    ].p / 30


def test_work_of_a_task_is_no_count_against_anybody() -> None:
    scorer = Scorer()
    office(scorer)
    at = T0 + 41 * DAY
    calls = [scorer.score(mine(at + 60 * each, f"x{each}", relations=Relation.CALL)) for each in range(60)]
    assert {risk.level for risk in calls} == {Level.LOW}


def test_who_ramps_up_for_60_days_is_still_caught() -> None:
    """Poisoning: strangers' records, at first one in three days, and every week one more a day."""
    scorer = Scorer()
    office(scorer)
    found = set()
    for day in range(41, 101):
        office(scorer, 1, day, day)
        for each in range((day - 38) // 7 + (day % 3 == 0)):
            risk = scorer.score(mine(T0 + day * DAY + 1200 * each, f"x{day}-{each}", relations=0))
            if risk.level in (Level.HIGH, Level.SEVERE):
                found.add(day)
    assert found
    assert min(found) < 90


def test_refusals_are_counted_among_refusals_and_nowhere_else() -> None:
    scorer, undisturbed = Scorer(), Scorer()
    office(scorer)
    office(undisturbed)
    at = T0 + 41 * DAY
    risks = [scorer.score(mine(at + 10 * each, "", refused=True)) for each in range(200)]
    assert risks[0].level is Level.LOW
    found = next(each for each, risk in enumerate(risks) if risk.level in (Level.HIGH, Level.SEVERE))
    assert found < 20
    assert {risk.evidence[0].cause for risk in risks[found:]} == {Cause.REFUSED}
    assert "refusals in the last" in sentence(risks[-1].evidence[0])
    later = [mine(at + 3000 + 10 * each, f"x{each}", relations=0) for each in range(20)]
    assert [scorer.score(each) for each in later] == [undisturbed.score(each) for each in later]


def test_a_role_that_is_often_refused_is_known_for_it() -> None:
    scorer = Scorer()
    for day in range(40):
        for each in range(20):
            scorer.score(mine(T0 + day * DAY + 60 * each, f"c{each}"))
            scorer.score(mine(T0 + day * DAY + 60 * each + 1, "", refused=True))
    usual = [scorer.score(mine(T0 + 40 * DAY + 60 * each, "", refused=True)) for each in range(20)]
    assert {risk.level for risk in usual} == {Level.LOW}


def test_distances() -> None:
    assert distance(LOOK) == RELATED
    assert distance(replace(LOOK, relations=0)) == NEVER
    assert distance(replace(LOOK, relations=0, idle_s=60)) == 1
    assert distance(replace(LOOK, relations=0, idle_s=10**9)) == 13
    assert distance(replace(LOOK, relations=Relation.SURNAME | Relation.PORTFOLIO)) == PRIVATE
    assert distance(replace(LOOK, relations=Relation.KIN | Relation.SURNAME)) == DISTANCES - 1
    assert distance(replace(LOOK, relations=Relation.KIN | Relation.TASK)) == RELATED


# -- laws ---------------------------------------------------------------------------------------------------


@functools.cache
def log() -> Sequence[Access]:
    world = World(lambda name: random.Random(f"5:{name}"), staff=40, clients=4_000, days=16)
    plan = SCENARIOS["off-hours"](world, random.Random(5), (12, 16))
    return [
        each.access
        for day in days(world, lambda name: random.Random(f"5:{name}"), {("off-hours", "1"): plan})
        for each in day.accesses
    ]


@pytest.mark.parametrize(
    ("scenario", "cause"),
    [("family", Cause.KIN), ("neighbour", Cause.ADDRESS), ("colleague", Cause.EMPLOYER)],
)
def test_a_snoop_is_named_for_whom_they_look_at(scenario: str, cause: Cause) -> None:
    streams = {number: lambda name, n=number: random.Random(f"{n}:{name}") for number in (71, 72)}
    top = []
    for number, stream in streams.items():
        world = World(stream, staff=30, clients=3_000, days=34)
        plans = {
            (scenario, str(each)): SCENARIOS[scenario](world, random.Random(f"{number} {each}"), (20, 34))
            for each in range(5)
        }
        scorer = Scorer()
        for day in days(world, stream, plans):
            for look in day.accesses:
                risk = scorer.score(look.access)
                if look.scenario:
                    top.append(risk.evidence[0].cause if risk.evidence else None)
    assert len(top) >= 15
    assert top.count(cause) / len(top) >= 0.8, top


def test_a_replay_gives_the_same_scores_to_the_bit() -> None:
    events = log()
    first, second = Scorer(), Scorer()
    risks = [first.score(each) for each in events]
    assert [second.score(each) for each in events] == risks
    assert {risk.level for risk in risks} > {Level.LOW, Level.HIGH}


def test_workers_together_have_counted_what_one_has() -> None:
    events = log()
    one, two, whole = Scorer(), Scorer(), Scorer()
    for place, each in enumerate(events):
        (one, two)[place % 2].score(each)
        whole.score(each)
    one.merge(two)
    assert one.actors.keys() == whole.actors.keys()
    for name, actor in one.actors.items():
        expected = whole.actors[name].counted
        mine, theirs = actor.counted.decayed, expected.decayed
        for cell in range(CELLS):
            kind, of_day = KINDS[cell % len(KINDS)], cell >= CELLS - len(KINDS)
            if kind == "clear values" or (kind == "views" and not of_day):
                assert (mine.now[cell], mine.before[cell]) == (theirs.now[cell], theirs.before[cell])
            elif kind == "views":  # who is met for the first time depends on what a worker knows, as all else
                assert mine.now[cell] <= theirs.now[cell]
        assert actor.counted.today.count() == expected.today.count()
        assert actor.counted.seen.now == expected.seen.now


@pytest.mark.parametrize("broken", [None, 3, "x"])
def test_what_fails_is_a_risk_that_nobody_knows(broken: object) -> None:
    assert Scorer().score(replace(LOOK, client=broken)).level is (  # type: ignore[arg-type]
        Level.UNKNOWN if broken != "x" else Level.LOW
    )


def test_an_actor_takes_less_than_10_kb() -> None:
    scorer = Scorer()
    office(scorer)
    for each in range(2000):
        scorer.score(mine(T0 + 41 * DAY + each, f"x{each}", device=f"d{each}"))
    assert (
        size(scorer.actors["a0"], shared={id(scorer.actors["a0"].role), id(scorer.actors["a0"].peers)})
        < 10_000
    )


def size(value: object, shared: set[int]) -> int:
    """Bytes of it and of what it holds, each once."""
    if id(value) in shared:
        return 0
    shared.add(id(value))
    inner: list[object] = [
        getattr(value, name) for name in getattr(type(value), "__slots__", ()) if hasattr(value, name)
    ]
    if isinstance(value, list | tuple):
        inner += value
    return sys.getsizeof(value) + sum(size(each, shared) for each in inner)


# -- explanations -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cause", Cause)
def test_every_cause_has_a_sentence_and_what_clears_it(cause: Cause) -> None:
    evidence = Evidence(cause, 0.0012, 40, 3.25, 2.5, 3600)
    english, chinese = sentence(evidence), sentence(evidence, "zh")
    assert re.fullmatch(r"[A-Z0-9][^{}]*\. Cleared by [a-z][^{}]*\.", english)
    assert re.fullmatch(r"[^{}A-Za-z]*。排除方式：[^{}A-Za-z]+。", chinese)


def test_a_piece_of_evidence_is_explained_with_its_figures() -> None:
    new = Evidence(Cause.NEW, 1e-6, 40, 3.25, 2.5, 3600)
    assert sentence(new) == (
        "40 clients never seen before in the last hour; 3.2 are usual, 2.5 of peers."
        " Cleared by a new portfolio, a campaign or a cover on record."
    )
    assert sentence(new, "zh") == (
        "近一小时内查看 40 位从未查看过的客户，通常为 3.2，同岗人员为 2.5。"
        "排除方式：登记新接手的客户、营销活动或代班。"
    )


def test_a_portfolio_that_is_taken_over_may_be_gone_through() -> None:
    """Clients of one's own are met once: twice as many a day are no alert, all of them in an hour are."""
    scorer = Scorer()
    office(scorer)

    def looks(day: int, count: int, pause_s: int, name: str) -> list[Risk]:
        at = T0 + day * DAY
        own = {"relations": int(Relation.PORTFOLIO)}
        return [scorer.score(mine(at + pause_s * n, f"{name}{n}", **own)) for n in range(count)]

    for day in range(41, 46):
        assert {risk.level for risk in looks(day, 24, 800, f"of {day}, ")} <= {Level.LOW, Level.RAISED}
    assert looks(47, 150, 20, "swept ")[-1].level is Level.SEVERE
    assert causes(looks(49, 60, 300, "swept ")[-1])[0] is Cause.VIEWS, "who is known counts for the day, too"


# -- what is told first -------------------------------------------------------------------------------------


def strangers(scorer: Scorer, day: int, count: int = 100, **more: object) -> Risk:
    """The least probable of a day's looks at clients whom nobody knows."""
    at = T0 + day * DAY
    looks = [mine(at + 60 * each, f"{day}-{each}", relations=0, **more) for each in range(count)]
    return min((scorer.score(look) for look in looks), key=lambda risk: risk.p or 1.0)


def test_what_is_odd_about_the_account_is_told_first_for_the_day() -> None:
    """A hundred strangers are less probable; that it is another's machine is what there is to do about it."""
    scorer = Scorer()
    office(scorer)
    scorer.score(mine(T0 + 41 * DAY - 3600))
    risk = strangers(scorer, 41, device="thief", zone="abroad")
    assert risk.evidence[0].cause is Cause.PLACE
    assert risk.evidence[0].p > risk.evidence[1].p
    assert Cause.PLACE not in causes(strangers(scorer, 42))


def test_an_account_that_slept_is_told_of_for_a_week() -> None:
    scorer = Scorer()
    office(scorer)
    told = [causes(strangers(scorer, day))[0] for day in (140, 141, 146, 147)]
    assert told[:3] == [Cause.DORMANT] * 3
    assert told[3] is not Cause.DORMANT


def test_of_two_as_grave_the_narrower_is_told_first() -> None:
    scorer = Scorer()
    office(scorer)
    risks = [scorer.score(mine(T0 + 41 * DAY + 20 * each, f"x{each}", clear=True)) for each in range(200)]
    found = causes(risks[-1])
    assert found.index(Cause.CLEAR) < found.index(Cause.VIEWS)
    assert risks[-1].evidence[0].cause is Cause.CLEAR
