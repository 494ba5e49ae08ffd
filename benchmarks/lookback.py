"""The look back over a log (B1 to B3), from 10^5 to 10^7.5 accesses.

Logs are made by DuckDB with the proportions of 20 million accesses, 3,000 staff, 1 million clients, 180 days:
tellers, managers with a book of clients, a call centre and back office; three accesses in a hundred have no
work. Each size runs in a process of its own, as `python -m benchmarks.lookback SIZE FOLDER`.
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.process import ROOT
from benchmarks.results import Row, missing, row
from privguard.anomaly.batch import BEFORE, MONTH
from privguard.oversight.lookback import Lookback

DAYS = 180
_SHARES = {"staff": 3_000 / 20e6, "clients": 1_000_000 / 20e6}
_SIZES = (100_000, 316_000, 1_000_000, 3_160_000, 10_000_000, 20_000_000, 31_600_000)
_ROUNDS = 3
AT = "look back, "
_MEMORY = "1600MB"
_ACCESS = """
INSERT INTO access
WITH drawn AS (
  SELECT i, (random() * {staff})::BIGINT % {staff} AS actor, (random() * {days})::BIGINT % {days} AS day,
         random() AS popular, random() AS own, (random() * 28800)::BIGINT AS second
  FROM range({size}) t(i)
), staffed AS (
  SELECT *, actor % 100 AS kind, actor % {branches} AS branch FROM drawn
)
SELECT day, day * 86400 + 28800 + second, actor,
  CASE WHEN kind < 30 AND own < 0.8
         THEN branch * {per} + (actor // {branches} * 250 + (250 * popular ** 4)::BIGINT) % {per}
       WHEN kind < 63 THEN branch * {per} + ((popular ** 4 * {per})::BIGINT * 7919) % {per}
       ELSE ((popular ** 4 * {clients})::BIGINT * 7919) % {clients} END,
  CASE WHEN kind < 30 THEN 1 WHEN kind < 63 THEN 2 WHEN kind < 80 THEN 3 ELSE 4 END,
  CASE WHEN kind < 63 THEN branch WHEN kind < 80 THEN -3 ELSE -4 END,
  CASE WHEN kind < 30 AND own < 0.8 THEN 3 WHEN kind < 63 THEN 2 ELSE 0 END,
  popular > 0.997
FROM staffed ORDER BY day
"""
_WORK = """
INSERT INTO work
SELECT day, at_s + (random() * 1800)::BIGINT - 900, client, actor, team FROM access WHERE random() < 0.97
"""


def measure(quick: bool, folder: Path) -> list[Row]:
    """Rows of each size; 10^6 at most if quick."""
    rows: list[Row] = []
    for size in _SIZES[:3] if quick else _SIZES:
        name = f"{AT}{size:,} events"
        command = [sys.executable, "-m", "benchmarks.lookback", str(size), str(folder)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            rows.append(missing(name, "s", done.stderr.strip().rpartition("\n")[2]))
            continue
        found = json.loads(done.stdout)
        rows += [
            row(f"{name}: all of {DAYS} days", "s", found["all"]),
            row(f"{name}: CPU", "s", found["cpu"]),
            row(f"{name}: CPU, each", "µs", [cpu / size * 1e6 for cpu in found["cpu"]]),
            row(f"{name}: one day more", "s", found["day"]),
            row(f"{name}: a night, CPU", "s", found["night"]),
            row(f"{name}: peak memory", "MB", found["peak"]),
            row(f"{name}: database", "MB", found["file"]),
        ]
    return rows


def _run(size: int, folder: Path) -> dict[str, list[float]]:
    staff = max(20, round(size * _SHARES["staff"]))
    clients = max(2_000, round(size * _SHARES["clients"]))
    branches = max(1, staff // 15)
    people = {"staff": staff, "clients": clients, "branches": branches, "per": clients // branches}
    file, found = folder / f"look-back-{size}.duckdb", dict[str, list[float]]()
    try:
        with Lookback(str(file), memory=_MEMORY) as back:
            back.database.execute(_ACCESS.format(size=size, days=DAYS, **people))
            back.database.execute(_WORK)
        for _ in range(_ROUNDS):
            for name, value in _round(file).items():
                found.setdefault(name, []).append(value)
    finally:
        file.unlink(missing_ok=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return {**found, "peak": [peak]}


def _round(file: Path) -> dict[str, float]:
    with Lookback(str(file), memory=_MEMORY) as back:
        began, cpu = time.perf_counter(), time.process_time()
        back.learn(BEFORE)
        back.judge(BEFORE, DAYS)
        back.trends()
        took, burnt = time.perf_counter() - began, time.process_time() - cpu
        began = time.perf_counter()
        back.judge(DAYS - 2, DAYS - 1)
        alone, last, cpu = time.perf_counter() - began, DAYS - 2, time.process_time()
        back.learn(last - MONTH)  # as a night does, once it has read the day
        back.judge(last - MONTH, last + 1)
        back.trends()
        night = time.process_time() - cpu
    return {"all": took, "cpu": burnt, "day": alone, "night": night, "file": file.stat().st_size / 1e6}


if __name__ == "__main__":
    print(json.dumps(_run(int(sys.argv[1]), Path(sys.argv[2]))))
