"""Figures of a ranking, against small ones worked out by hand and a slow definition."""

from __future__ import annotations

import math
import random

import pytest

from privguard.anomaly.measure import (
    Incident,
    alerts,
    average_precision,
    detected,
    discoveries,
    median,
    quantile,
    spread,
)


def test_average_precision_of_known_rankings() -> None:
    assert average_precision([(3, True), (2, True), (1, False)]) == 1.0
    assert average_precision([(3, False), (2, True), (1, False)]) == 0.5
    assert average_precision([(1, True), (1, False)]) == 0.5  # a tie is one step
    assert average_precision([(1, False)]) is None
    assert average_precision([(1, True)]) == 1.0


def test_average_precision_is_the_mean_precision_at_each_positive() -> None:
    draws = random.Random(1)
    ranked = [(draws.random(), draws.random() < 0.2) for _ in range(200)]
    ordered = sorted(ranked, reverse=True)
    at = [place for place, (_, positive) in enumerate(ordered, start=1) if positive]
    assert average_precision(ranked) == pytest.approx(
        sum(found / place for found, place in enumerate(at, start=1)) / len(at)
    )


def test_average_precision_at_a_share_is_that_of_a_log_with_so_many_positives() -> None:
    """Each positive ten times, and each negative once, at ten times the share."""
    few = [(5.0, True), (4.0, False), (3.0, True), (2.0, False), (1.0, False), (0.0, False)]
    many = [each for each in few for _ in range(10 if each[1] else 1)]
    assert average_precision(few, 20 / 24) == pytest.approx(average_precision(many))


def test_discoveries_are_those_of_benjamini_and_hochberg() -> None:
    ps = dict(enumerate((0.01, 0.02, 0.03, 0.05, 0.2)))
    days = {(1, actor): p for actor, p in ps.items()}
    assert discoveries(days, 0.05) == [(1, 0), (1, 1), (1, 2)]  # bounds 0.01, 0.02, 0.03, 0.04, 0.05
    assert discoveries(days, 0.001) == []
    assert discoveries({}, 0.05) == []


@pytest.mark.parametrize("rate", [0.1, 0.3])
def test_discoveries_hold_no_more_false_ones_than_said(rate: float) -> None:
    """Twenty true ones of a hundred, over 400 logs."""
    draws, shares = random.Random(3), list[float]()
    for _ in range(400):
        ps = {(1, n): draws.random() * (1e-3 if n < 20 else 1.0) for n in range(100)}
        found = discoveries(ps, rate)
        shares.append(sum(actor >= 20 for _, actor in found) / max(1, len(found)))
    assert rate * 0.6 < sum(shares) / len(shares) < rate


def test_a_budget_takes_the_highest_of_each_day() -> None:
    levels = {(1, 1): 0.5, (1, 2): 3.0, (1, 3): 2.0, (2, 1): 0.1, (2, 2): 0.0}
    assert alerts(levels, 1, {}) == {(1, 2), (2, 1)}
    assert alerts(levels, 2, {}) == {(1, 2), (1, 3), (2, 1)}
    assert alerts(levels, 2, {}, 1.0) == {(1, 2), (1, 3)}


def test_a_case_that_is_open_takes_no_alert_from_others() -> None:
    levels = {(day, actor): 3.0 - actor for day in (1, 2, 3) for actor in (0, 1, 2)}
    assert alerts(levels, 1, {}) == {(1, 0), (2, 1), (3, 2)}
    assert alerts(levels, 1, {(2, 0): "new"}) == {(1, 0), (2, 0), (3, 1)}


def test_a_case_closes_after_a_quiet_week() -> None:
    assert alerts({(1, 0): 1.0, (8, 0): 1.0, (15, 0): 1.0}, 1, {}) == {(1, 0)}
    assert alerts({(1, 0): 1.0, (9, 0): 1.0}, 1, {}) == {(1, 0), (9, 0)}
    below = {(day, 0): 0.1 for day in range(2, 9)} | {(day, 1): 9.0 for day in range(2, 9)}
    levels = {(1, 0): 1.0, **below, (9, 0): 1.0}  # what is no alert on its day keeps no case open
    assert alerts(levels, 1, {}, 0.5) == {(1, 0), (2, 1), (9, 0)}


def test_what_is_detected_when_and_why() -> None:
    early = Incident("slow", {(1, 7): [(0, 100)], (3, 7): [(1, 101)]})
    never = Incident("slow", {(2, 8): [(2, 100)]})
    levels = {(1, 7): 0.1, (1, 1): 0.2, (1, 2): 0.3, (3, 7): 2.0, (2, 8): 0.0, (2, 1): 0.1}
    found = detected(
        [early, never],
        levels,
        {},
        lambda a, b: b - a,
        lambda each, key: key[0],
        lambda each, key: key[0] == 3,
    )
    assert found.recall_at_k == {"1": 0.5, "2": 0.5, "5": 0.5}
    assert found.precision_at_k["1"] == pytest.approx(1 / 3)
    assert (found.days_to_detect, found.slowest, found.days_to_level_1) == (2, None, 2)
    assert (found.clients_exposed, found.top_reason_accuracy) == (3, 1.0)


def test_medians_and_quantiles_are_values_that_were_there() -> None:
    assert median([4, 1, 3, 2]) == 2
    assert math.isnan(median([]))
    assert quantile(range(1, 1001), 0.999) == 999
    assert quantile([], 0.5) == 0.0
    assert spread([1.0, None, 2.0]) == {"median": 2.0, "p10": 1.0, "p90": None, "min": 1.0, "max": None}
