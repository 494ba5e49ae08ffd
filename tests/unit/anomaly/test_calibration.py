"""A p is the share of ordinary looks, whatever the model got wrong; who was flagged teaches nothing."""

from __future__ import annotations

import random

import pytest

from privguard.anomaly.calibration import CHANCE, DOUBTLESS, FLAGGED, SPAN_DAYS, TESTS, Calibration
from privguard.anomaly.evidence import Cause, Evidence
from privguard.anomaly.features import NEVER, PRIVATE

LOOKS = 40_000


def learned(wrong: float, seed: int = 1, days: int = 40) -> tuple[Calibration, random.Random]:
    """Of a role whose model says p^wrong where the truth is p; one in fifty looks has evidence."""
    draws, role = random.Random(seed), Calibration()
    for day in range(days):
        role.turn(day)
        for actor in range(20):
            role.meet(f"a{actor}", day)
        for _ in range(LOOKS // days):
            far = 12 if draws.random() < 0.001 else 0
            role.see(f"a{draws.randrange(20)}", far, 0, modelled(draws.random(), wrong))
    role.turn(days)
    return role, draws


def modelled(p: float, wrong: float) -> list[Evidence]:
    return [Evidence(Cause.UNRELATED, p**wrong)] if p**wrong < 0.02 else []


@pytest.mark.parametrize("wrong", [0.8, 1.0, 1.5, 3.0])
def test_a_p_means_the_same_whatever_the_model_got_wrong(wrong: float) -> None:
    role, draws = learned(wrong)
    worth = [role.worth(each) for _ in range(200_000) for each in modelled(draws.random(), wrong)]
    for p in (3e-3, 1e-3, 3e-4):
        assert 0.4 < sum(each <= p for each in worth) / 200_000 / p < 1.6
    assert sum(each <= 1e-4 for each in worth) / 200_000 < 3e-4  # beyond what was seen, the tail goes on


def test_less_probable_by_the_model_is_less_probable() -> None:
    role, _ = learned(2.0)
    worth = [role.worth(Evidence(Cause.UNRELATED, 10.0**-each)) for each in range(2, 16)]
    assert worth == sorted(worth, reverse=True)
    assert worth[0] > 20 * worth[5] > 20 * worth[-1] > 0


def test_before_there_are_looks_the_model_has_the_word_and_only_the_doubtless_is_flagged() -> None:
    role = Calibration()
    assert role.worth(Evidence(Cause.NEW, 1e-5)) == 1e-5
    assert (role.flagged, role.share(Cause.DISTANCE, NEVER)) == (DOUBTLESS, 1.0)
    assert learned(1.0)[0].flagged == FLAGGED


def test_distances_and_days_are_shares_of_looks() -> None:
    role, _ = learned(1.0)
    assert 0.0005 < role.share(Cause.DISTANCE, 12) < 0.0015
    assert role.share(Cause.DISTANCE, NEVER) == 1 / (LOOKS + 1)
    assert role.share(Cause.DISTANCE, PRIVATE + 1) == 1 / (LOOKS + 1 + CHANCE)
    days = [role.share(Cause.AGAIN, each) for each in (1, 2, 3, 40)]
    assert days == sorted(days, reverse=True)
    assert days[0] < FLAGGED


def test_who_was_flagged_teaches_nothing_for_a_span_unless_half_of_the_role_was() -> None:
    role, _ = learned(1.0)
    role.suspect("a1", 40)
    assert not role.see("a1", NEVER, 0, [])
    assert role.see("a2", 0, 0, [])
    for actor in range(11):
        role.suspect(f"a{actor}", 40)
    assert role.see("a1", NEVER, 0, [])
    role.turn(40 + SPAN_DAYS)
    assert role.see("a1", 0, 0, [])


def test_a_month_of_strangers_makes_none_of_them_ordinary() -> None:
    """Poisoning: one of twenty looks at ten strangers a day, and is flagged on the first."""
    role, draws = learned(1.0)
    before = role.share(Cause.DISTANCE, 13)
    for day in range(41, 69):
        role.turn(day)
        for actor in range(20):
            role.meet(f"a{actor}", day)
        for _ in range(1000):
            role.see(f"a{draws.randrange(1, 20)}", 0, 0, [])
        for _ in range(10):
            if TESTS * role.share(Cause.DISTANCE, 13) < role.flagged:
                role.suspect("a0", day)
            role.see("a0", 13, 0, [])
    role.turn(69)
    assert role.share(Cause.DISTANCE, 13) <= 2 * before
