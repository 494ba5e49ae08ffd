"""Requests a second, latency and the contender's own CPU time, all contenders in turn, round after round.

Callers and upstream share one core; a contender may use both, as its second thread (the log's) does.
CPU a request comes from /proc and is the fairer ratio: it depends least on what else the machine does.
"""

import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from benchmarks import results
from benchmarks.contenders import CONTENDERS, Server, check, running, upstream_running
from benchmarks.load import Report
from benchmarks.process import ROOT, NotMeasuredError, cores, cpu_seconds, pin


class Sample(msgspec.Struct):
    """One contender, one round: what the callers saw and the CPU seconds that it used."""

    report: Report
    cpu: float


_METRICS: dict[str, tuple[str, Callable[[Sample], float]]] = {
    "throughput": ("requests/s", lambda s: s.report.requests / s.report.seconds),
    "CPU": ("µs/request", lambda s: s.cpu / s.report.answered * 1e6),
    "p50": ("ms", lambda s: s.report.p50),
    "p99": ("ms", lambda s: s.report.p99),
}


@dataclass(frozen=True)
class Workload:
    """What is asked for, by how many callers at once, and which figures are kept of it."""

    name: str
    path: str
    ids: int
    callers: int
    metrics: tuple[str, ...]


_WORKLOADS = (
    Workload("one client (1 KB), 16 callers", "/clients/C{:06d}", 1000, 16, ("throughput", "CPU", "p99")),
    Workload("list of 100 (100 KB), 16 callers", "/clients", 1, 16, ("throughput", "CPU", "p99")),
    Workload("one client (1 KB), 1 caller", "/clients/C{:06d}", 1000, 1, ("p50", "p99")),
)


class Heat:
    """One workload's samples by contender, and why some contenders have none."""

    def __init__(self, absent: dict[str, str]) -> None:
        self.samples: dict[str, list[Sample]] = {}
        self.failed = dict(absent)

    def take(self, name: str, sample: Callable[[], Sample]) -> Sample | None:
        """Take a sample; where that fails, the contender is out of this workload, with all it had."""
        try:
            taken = sample()
        except NotMeasuredError as why:
            self.failed[name] = str(why)
            self.samples.pop(name, None)
            print(f"  {name}: {why}", file=sys.stderr)
            return None
        self.samples.setdefault(name, []).append(taken)
        return taken


def measure(quick: bool, folder: Path) -> list[results.Row]:
    """Every contender under every workload: 2 rounds of 1 s (quick) or 7 rounds of 3 s."""
    rounds, seconds = (2, 1.0) if quick else (7, 3.0)
    servers: dict[str, Server] = {}
    absent: dict[str, str] = {}
    rows: list[results.Row] = []
    with ExitStack() as stack:
        upstream = stack.enter_context(upstream_running(folder))
        for contender in CONTENDERS:
            try:
                servers[contender.name] = stack.enter_context(running(contender, upstream, folder))
            except NotMeasuredError as why:
                absent[contender.name] = str(why)
        for workload in _WORKLOADS:
            rows.extend(_rows(workload, _play(workload, rounds, seconds, servers, absent)))
    return rows


def _play(
    workload: Workload, rounds: int, seconds: float, servers: dict[str, Server], absent: dict[str, str]
) -> Heat:
    heat = Heat(absent)
    lengths: dict[str, int] = {}
    for name, server in servers.items():
        if heat.take(name, partial(_warm_up, workload, server, lengths, seconds / 3)):
            heat.samples[name].clear()
    for turn in range(rounds):
        names = list(heat.samples)
        first = turn % max(len(names), 1)
        for name in names[first:] + names[:first]:  # nobody always comes after the same other
            sample = heat.take(name, partial(_sample, workload, servers[name], lengths[name], seconds))
            if sample:
                _say(workload, turn, name, sample)
    return heat


def _warm_up(workload: Workload, server: Server, lengths: dict[str, int], seconds: float) -> Sample:
    lengths[server.contender.name] = check(server.contender, server.port, workload.path.format(0))
    return _sample(workload, server, lengths[server.contender.name], seconds)


def _sample(workload: Workload, server: Server, length: int, seconds: float) -> Sample:
    headers = [part for header in server.contender.headers for part in ("--header", header)]
    numbers: dict[str, float] = {"port": server.port, "ids": workload.ids, "length": length}
    numbers |= {"connections": workload.callers, "seconds": seconds}
    options = [part for name, value in numbers.items() for part in (f"--{name}", str(value))]
    argv = [sys.executable, "-m", "benchmarks.load", "--path", workload.path, *options, *headers]
    before = cpu_seconds(server.pid)
    report = msgspec.json.decode(_load(argv, seconds + 60), type=Report)
    if report.wrong or not report.requests:
        raise NotMeasuredError(report.wrong or "no answer came in time")
    return Sample(report, cpu_seconds(server.pid) - before)


def _load(argv: list[str], patience: float) -> bytes:
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE) as callers:
        pin(callers.pid, cores()[0])
        try:
            out, _ = callers.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            callers.kill()
            raise NotMeasuredError(f"the load generator did not end within {patience:.0f} s") from None
    if callers.returncode:
        raise NotMeasuredError(f"the load generator ended with code {callers.returncode}")
    return out


def _say(workload: Workload, turn: int, name: str, sample: Sample) -> None:
    figures = [f"{read(sample):,.4g} {unit}" for unit, read in _METRICS.values()]
    callers = sample.report.cpu / sample.report.answered * 1e6
    told = f"{', '.join(figures)}; the callers' own CPU {callers:.0f} µs/request"
    print(f"  {workload.name}, round {turn + 1}, {name}: {told}", flush=True)


def _rows(workload: Workload, heat: Heat) -> list[results.Row]:
    rows = []
    for metric in workload.metrics:
        unit, read = _METRICS[metric]
        figures = {name: [read(sample) for sample in samples] for name, samples in heat.samples.items()}
        for contender in CONTENDERS:
            title = f"{workload.name}, {metric}: {contender.name}"
            if contender.name not in figures:
                rows.append(results.missing(title, unit, heat.failed[contender.name]))
                continue
            own = figures[contender.name]
            rows.extend(
                results.row(title, unit, own, rival, figures.get(rival or ""))
                for rival in contender.against or (None,)
            )
    return rows
