"""The protocol of evaluation, on a bank small enough to be judged in seconds."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from privguard.oversight.evaluation import Curves, evaluate
from privguard.oversight.planting import simulator
from privguard.oversight.protocol import TRAIN_SEED, Report

ASKED = ("bulk", "honey", "family")
PER_SCENARIO = {
    "event_pr_auc", "user_day_pr_auc", "incident_pr_auc", "recall_at_k", "precision_at_k", "days_to_detect",
    "clients_exposed", "top_reason_accuracy",
}  # fmt: skip


@pytest.fixture(scope="module")
def judged() -> tuple[Report, Curves, list[str]]:
    said: list[str] = []
    curves: Curves = {}
    report = evaluate(
        lambda seed: simulator(seed, staff=30, clients=3_000, days=104),
        ASKED,
        [TRAIN_SEED],
        said.append,
        curves,
    )
    return report, curves, said


def test_one_object_has_what_an_evaluation_says(judged: tuple[Report, Curves, list[str]]) -> None:
    said: dict[str, Any] = json.loads(msgspec.json.encode(judged[0]))
    assert set(said["scenarios"]) == set(ASKED)
    for own in said["scenarios"].values():
        assert set(own) == {"inline", "batch"}
        assert all(set(figures) >= PER_SCENARIO for figures in own.values())
    assert set(said["baselines"]) == {"static-threshold", "own-z", "isolation-forest"}
    assert all(set(table) == set(ASKED) for table in said["baselines"].values())
    assert set(said["controls"]["false_alerts_per_1000_staff_days"]) == {"inline", "batch"}
    assert set(said["calibration"]) == {"0.001", "0.0001"}
    assert said["inline_us"]["mean"]["median"] > 0
    assert said["seeds"] == {"kind": "train", "first": 1, "count": 1}
    assert {gate["name"].partition(":")[0] for gate in said["gates"]} >= set(ASKED[::2])


def test_what_is_plain_is_found(judged: tuple[Report, Curves, list[str]]) -> None:
    report, curves, said = judged
    honey, bulk = (report.scenarios[name]["inline"] for name in ("honey", "bulk"))
    assert honey["clients_exposed"]["max"] == honey["days_to_detect"]["max"] == 0
    assert honey["top_reason_accuracy"]["min"] == 1.0
    assert bulk["recall_at_k"]["5"]["min"] == 1.0
    assert bulk["user_day_pr_auc"]["min"] > report.baselines["own-z"]["honey"]["user_day_pr_auc"]["max"]
    assert len(said) >= 2
    assert all(sum(true for _, true in curves[name]["inline"]) > 0 for name in ASKED)
