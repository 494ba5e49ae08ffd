"""The protocol's fixed points: what is planted together, which reasons name it, the gates, and the report."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from privguard.anomaly.batch import Why
from privguard.anomaly.evidence import Cause
from privguard.anomaly.measure import spread

TRAIN_SEED: Final = 1
TEST_SEED: Final = 1001
GROUPS: Final = (
    ("family", "colleague", "neighbour", "bulk", "off-hours", "honey"),
    ("slow", "mimicry", "takeover", "vip"),
    ("unrelated", "leaver", "dormant", "reveal-abuse"),
    ("collusion", "intesa"),
)
"""Planted together, so that each log holds a few insiders among many."""
FEW: Final = {"vip": 1, "collusion": 1}
INCIDENTS: Final = 3
CALM: Final = 30
"""Days before the split by which levels are measured."""
FALSE: Final = 0.1
"""The share of false ones that inline's alerts may hold by their p: what they hold is measured."""
_GATES: Final = (
    *(
        (f"{name}: events", name, detector, "event_pr_auc", True, bound)
        for name in ("family", "colleague", "neighbour")
        for detector, bound in (("batch", 0.80), ("inline", 0.60))
    ),
    ("bulk: user-days", "bulk", "inline", "user_day_pr_auc", True, 0.99),
    ("bulk: clients exposed", "bulk", "inline", "clients_exposed", False, 25.0),
    ("off-hours: user-days", "off-hours", "inline", "user_day_pr_auc", True, 0.90),
    ("off-hours: user-days", "off-hours", "batch", "user_day_pr_auc", True, 0.90),
    ("mimicry: events", "mimicry", "batch", "event_pr_auc", True, 0.60),
    ("intesa: working days to detect, of the slowest insider", "intesa", "batch", "slowest", False, 5.0),
    *(
        (f"{name}: top reason", name, detector, "top_reason_accuracy", True, 0.80)
        for name, detector in (
            ("family", "batch"), ("bulk", "inline"), ("off-hours", "batch"), ("slow", "batch"),
            ("mimicry", "batch"), ("vip", "batch"), ("collusion", "batch"), ("intesa", "batch"),
            ("reveal-abuse", "inline"), ("takeover", "inline"), ("honey", "inline"),
        )
    ),
)  # fmt: skip
"""Name, scenario, detector, figure, whether it must be at least the bound, and the bound."""
_UNRELATED: Final = frozenset({Cause.UNRELATED, Cause.DISTANCE, Why.NOBODY, Why.NO_FOLLOW_UP})
_PRIVATE: Final = _UNRELATED | {Why.PRIVATE, Cause.AGAIN}
EXPECTED: Final[Mapping[str, frozenset[str]]] = {
    "vip": frozenset({"surge"}),
    "family": _PRIVATE | {Cause.KIN},
    "colleague": _PRIVATE | {Cause.EMPLOYER},
    "neighbour": _PRIVATE | {Cause.ADDRESS},
    "bulk": _UNRELATED | {Cause.VIEWS, Cause.NEW, Cause.CAP},
    "slow": _UNRELATED,
    "off-hours": frozenset({Cause.ODD_HOURS, Cause.HOUR, Why.ODD_HOUR}),
    "unrelated": _UNRELATED,
    "takeover": frozenset({Cause.PLACE, Cause.CONCURRENT, Cause.VIEWS}),
    "dormant": frozenset({Cause.DORMANT}),
    "leaver": frozenset({Cause.VIEWS, Cause.NEW, Cause.LEAVER}),
    "collusion": frozenset({"shared"}),
    "reveal-abuse": frozenset({Cause.CLEAR}),
    "honey": frozenset({Cause.HONEY}),
    "mimicry": frozenset({Why.NO_FOLLOW_UP, Why.TEAM_WORK}),
    "intesa": _UNRELATED | {Cause.NEW, Cause.AGAIN},
}
"""Which top reasons name what was planted."""


class Gate(Struct, frozen=True):
    """What must hold of the median over seeds; ``figure`` None where it was not reached, or not measured."""

    name: str
    bound: str
    figure: float | None
    met: bool


class Report(Struct):
    """One object for all; numbers over seeds are spreads."""

    log: dict[str, Any]
    seeds: dict[str, Any]
    scenarios: dict[str, dict[str, dict[str, Any]]]
    baselines: dict[str, dict[str, dict[str, Any]]]
    controls: dict[str, Any]
    calibration: dict[str, Any]
    false_discovery_rate: dict[str, Any]
    inline_us: dict[str, Any]
    gates: list[Gate]


def report_of(
    gathered: Mapping[tuple[str, str], list[dict[str, Any]]],
    sums: Mapping[str, list[float]],
    about: dict[str, Any],
    seeds: Sequence[int],
) -> Report:
    tables: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for (detector, scenario), runs in gathered.items():
        tables[detector][scenario] = {key: _spread_of([run[key] for run in runs]) for key in runs[0]}
    own = {scenario: {d: tables[d][scenario] for d in ("inline", "batch")} for scenario in tables["inline"]}
    kind = "test" if min(seeds) >= TEST_SEED else "train"
    report = Report(
        log=about,
        seeds={"kind": kind, "first": min(seeds), "count": len(seeds)},
        scenarios=own,
        baselines={name: dict(table) for name, table in tables.items() if name not in ("inline", "batch")},
        controls={
            of: {name: _with_mean(sums[f"{part} {name}"]) for name in ("inline", "batch")}
            for of, part in (
                ("false_alerts_per_1000_staff_days", "controls"),
                ("ordinary_alerts_per_1000_staff_days", "ordinary"),
            )
        },
        calibration={p: spread(sums[f"p {p}"]) for p in ("0.001", "0.0001")},
        false_discovery_rate={
            "target": FALSE,
            "measured": _with_mean(sums["false"]),
            "alerts_a_day": spread(sums["discoveries"]),
        },
        inline_us={name: spread(sums[name]) for name in ("mean", "p99")},
        gates=[],
    )
    report.gates = gates(report)
    return report


def gates(report: Report) -> list[Gate]:
    """The gates of what was planted, by the medians of a report; by the worst seed, of ``slowest``."""
    found = list[Gate]()
    for name, scenario, detector, figure, least, bound in _GATES:
        if scenario in report.scenarios:
            value = report.scenarios[scenario][detector].get(figure)
            reached = value.get("max" if figure == "slowest" else "median") if value else None
            met = reached is not None and (reached >= bound if least else reached <= bound)
            found.append(Gate(f"{name}, {detector}", f"{'>=' if least else '<='} {bound:g}", reached, met))
    rest: list[tuple[str, dict[str, Any], float]] = [
        (f"false alerts per 1,000 staff-days of controls, {name}", figures, 1.0)
        for name, figures in report.controls["false_alerts_per_1000_staff_days"].items()
    ]
    rest += [("mean of the inline scorer, µs", report.inline_us["mean"], 10.0)]
    rest += [("p99 of the inline scorer, µs", report.inline_us["p99"], 50.0)]
    for name, figures, bound in rest:
        if not figures:  # a log without controls
            continue
        # a seed has some 60 staff-days of controls: most have no alert, so it is the mean that counts them
        value = figures.get("mean", figures.get("median"))
        found.append(Gate(name, f"<= {bound:g}", value, value is not None and value <= bound))
    return found


def _with_mean(values: Sequence[float]) -> dict[str, float | None]:
    return {**spread(values), "mean": round(sum(values) / len(values), 6)} if values else {}


def _spread_of(values: Sequence[Any]) -> Any:
    if values and isinstance(values[0], dict):
        return {key: _spread_of([value[key] for value in values]) for key in values[0]}
    if all(value is None for value in values):
        return None
    return spread(values)
