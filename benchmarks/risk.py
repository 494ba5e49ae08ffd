"""The risk of one look-up: CPU time of each call, on days of a simulated bank that it has not seen."""

from __future__ import annotations

import gc
import random
import statistics
import time
from pathlib import Path

from benchmarks.results import Row, row
from privguard.anomaly import Access, Scorer
from privguard.anomaly.simulate import World, days


def measure(quick: bool, _folder: Path) -> list[Row]:
    """Mean and 99th percentile of 3 or 9 rounds; a round learns from 20 days of 60 staff, then scores 5."""
    log = _log()
    gc.collect()
    gc.freeze()  # as the server does: what lives as long as the process is not looked through again
    means, tails = list[float](), list[float]()
    for _ in range(3 if quick else 9):
        taken = _round(log)
        means.append(statistics.fmean(taken) / 1e3)
        tails.append(statistics.quantiles(taken, n=100)[98] / 1e3)
    name = "risk of one look-up, inline"
    return [row(f"{name}: mean", "µs", means), row(f"{name}: p99", "µs", tails)]


def _log() -> list[Access]:
    def streams(name: str) -> random.Random:
        return random.Random(f"1:{name}")

    world = World(streams, staff=60, clients=6_000, days=25)
    return [each.access for day in days(world, streams) for each in day.accesses]


def _round(log: list[Access]) -> list[int]:
    scorer, known, taken = Scorer(), len(log) * 4 // 5, list[int]()
    for each in log[:known]:
        scorer.score(each)
    for each in log[known:]:
        began = time.thread_time_ns()
        scorer.score(each)
        taken.append(time.thread_time_ns() - began)
    return taken
