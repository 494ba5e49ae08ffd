"""Resident memory of a contender's process tree while a 200 MB answer passes through it."""

import threading
import time
from pathlib import Path

import msgspec

from benchmarks import results
from benchmarks.contenders import CONTENDERS, Contender, running, upstream_running
from benchmarks.process import NotMeasuredError, connection, forget_peak, resident

_FILES = {"CSV": "/clients.csv", "JSON array": "/clients.json"}
_MB = 1e6


class Passage(msgspec.Struct):
    """One large answer: MB at rest before it, MB at the peak, MB/s of body received."""

    rest: float
    peak: float
    rate: float


def measure(quick: bool, folder: Path) -> list[results.Row]:
    """Every streaming contender and both files, in fresh processes: 40 MB once (quick), 200 MB thrice."""
    size, rounds = (40, 1) if quick else (200, 3)
    passages: dict[tuple[str, str], list[Passage]] = {}
    failed: dict[str, str] = {}
    streaming = [contender for contender in CONTENDERS if contender.streams]
    for _ in range(rounds):
        for contender in streaming:
            for kind, path in _FILES.items():
                try:
                    passages.setdefault((contender.name, kind), []).append(
                        _serve(contender, path, size, folder)
                    )
                except NotMeasuredError as why:
                    failed[contender.name] = str(why)
    return [
        entry for kind in _FILES for each in streaming for entry in _rows(each, kind, size, passages, failed)
    ]


def _serve(contender: Contender, path: str, size: int, folder: Path) -> Passage:
    with (
        upstream_running(folder, size) as upstream,
        running(contender, upstream, folder) as server,
    ):
        return passage(server.pid, server.port, path, contender.headers)


def passage(pid: int, port: int, path: str, headers: tuple[str, ...]) -> Passage:
    """Fetch one large answer from a running process and watch its tree's memory.

    The peak is the greater of the sampled sums (every 20 ms) and the members' own high-water marks.

    Raises:
        NotMeasuredError: another status than 200, or a body that ends early.
    """
    forget_peak(pid)
    rest = resident(pid)
    peaks = [rest]
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(pid, done, peaks))
    watcher.start()
    try:
        received, seconds = _drain(port, path, headers)
    finally:
        done.set()
        watcher.join()
    peak = max(*peaks, resident(pid, "VmHWM"))
    return Passage(rest / _MB, peak / _MB, received / _MB / seconds)


def _watch(pid: int, done: threading.Event, peaks: list[int]) -> None:
    while not done.wait(0.02):
        peaks.append(resident(pid))


def _drain(port: int, path: str, headers: tuple[str, ...]) -> tuple[int, float]:
    began, received = time.perf_counter(), 0
    with connection(port) as caller:
        caller.request("GET", path, headers=dict(header.split(": ", 1) for header in headers))
        answer = caller.getresponse()
        if answer.status != 200:
            raise NotMeasuredError(f"{path} answered {answer.status}")
        buffer = bytearray(1 << 18)
        while count := answer.readinto(buffer):
            received += count
    if not received:
        raise NotMeasuredError(f"{path} came back empty")
    return received, time.perf_counter() - began


def _rows(
    contender: Contender,
    kind: str,
    size: int,
    passages: dict[tuple[str, str], list[Passage]],
    failed: dict[str, str],
) -> list[results.Row]:
    name = f"{size} MB {kind}, {{}}: {contender.name}"
    if contender.name in failed:
        return [results.missing(name.format("peak memory"), "MB", failed[contender.name])]
    rows = []
    for figure, unit in (("peak", "MB"), ("rate", "MB/s")):
        own = [getattr(each, figure) for each in passages[contender.name, kind]]
        for rival in contender.against:
            base = [getattr(each, figure) for each in passages.get((rival, kind), ())]
            title = name.format("peak memory" if figure == "peak" else "rate")
            rows.append(results.row(title, unit, own, rival, base if len(base) == len(own) else None))
    return rows
