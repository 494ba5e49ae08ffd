"""Rows, `benchmarks/results.json` and the table in README.md."""

import os
import platform
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

_START, _END = "<!-- bench:start -->", "<!-- bench:end -->"
_SHOWN = (
    *("throughput: privguard", "p99: privguard", "peak memory: privguard", "start-up: privguard"),
    *("plan look-up", "decode + mask", "who asks", "risk", "TOTP", "clear under a grant", "rewrap"),
    *("128 in flight: append", "128 in flight: p99", "1 in flight: p50", "1,000,000 events: verify"),
    *("10,000,000 events: first page of 10,000", "10,000,000 events: inclusion"),
    *(f"look back, 20,000,000 events: {each}" for each in ("all of", "one day more", "peak memory")),
)
"""Parts of the names of rows that README shows; ``results.json`` has all."""
_OTHERS = ("raw insert", "1 caller,")


class Row(msgspec.Struct):
    """One figure: `value` is the median of `runs` samples, `ratio` the median of the round-by-round `ratios`.

    A ratio is this row's sample divided by the sample of `against` in the same round.
    Nulls and a `note` stand where something could not be measured.
    """

    name: str
    value: float | None
    unit: str
    against: str | None
    ratio: float | None
    runs: int
    min: float | None
    median: float | None
    max: float | None
    ratios: list[float] = []
    note: str = ""


class Results(msgspec.Struct):
    """What `results.json` holds."""

    machine: dict[str, str | int | float]
    rows: list[Row]


def row(
    name: str,
    unit: str,
    samples: Sequence[float],
    against: str | None = None,
    base: Sequence[float] | None = None,
) -> Row:
    """The row of samples taken in rounds, and its ratio to those of another contender in the same rounds."""
    ratios = [_short(mine / theirs) for mine, theirs in zip(samples, base or (), strict=bool(base)) if theirs]
    middle = _short(statistics.median(samples))
    ratio = _short(statistics.median(ratios)) if ratios else None
    low, high = _short(min(samples)), _short(max(samples))
    return Row(
        name, middle, unit, against if ratios else None, ratio, len(samples), low, middle, high, ratios
    )


def missing(name: str, unit: str, why: str) -> Row:
    """The row of something that could not be measured."""
    return Row(name, None, unit, None, None, 0, None, None, None, [], why)


def machine(quick: bool) -> dict[str, str | int | float]:
    """What the figures were measured on."""
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(pages / 2**30, 1),
        "python": platform.python_version(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "load_before": round(os.getloadavg()[0], 2),
        "mode": "quick" if quick else "full",
    }


def merged(fresh: Results, path: Path) -> Results:
    """What a file holds, with the rows of a later run in place of those of before; each says when it was."""
    if not path.exists():
        return fresh
    kept, names = msgspec.json.decode(path.read_bytes(), type=Results), {each.name for each in fresh.rows}
    when = f"{fresh.machine['date']}, {fresh.machine['mode']}, load {fresh.machine['load_before']} before"
    for each in fresh.rows:
        each.note = each.note or when
    for each in kept.rows:
        each.note = each.note or str(kept.machine["date"])
    return Results(fresh.machine, [each for each in kept.rows if each.name not in names] + fresh.rows)


def write_json(results: Results, path: Path) -> None:
    """Write `results.json`, indented."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")


def write_readme(results: Results, path: Path) -> str:
    """Replace what stands between the two markers of README.md; the answer says what was done."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    before, start, rest = text.partition(_START)
    _, end, after = rest.partition(_END)
    if not start or not end:
        return f"{path.name} keeps no table: put the lines {_START} and {_END} where it should stand"
    path.write_text(f"{before}{_START}\n{table(results)}\n{_END}{after}", encoding="utf-8")
    return f"{path.name}: table written"


def table(results: Results) -> str:
    """What README shows of the rows, as Markdown, under a line that names the machine."""
    of = results.machine
    where = f"{of['cores']} cores of {of['cpu']}, {of['memory_gb']} GB, Python {of['python']}"
    shown: dict[str, list[Row]] = {}
    for each in results.rows:
        if any(part in each.name for part in _SHOWN) and not any(part in each.name for part in _OTHERS):
            shown.setdefault(each.name, []).append(each)
    return "\n".join(
        [
            f"All processes on one machine: {where}.",
            "Medians; ratios are taken within each round: their median, the least and the greatest.",
            "",
            "| What | Median | Min – max | Runs | Beside it in the same rounds | When |",
            "| --- | ---: | ---: | ---: | --- | --- |",
            *(_line(name, rows, str(of["date"])) for name, rows in shown.items()),
        ]
    )


def _line(name: str, rows: Sequence[Row], date: str) -> str:
    first, what = rows[0], name.replace(": privguard", "").replace(": append", ", append")
    when = first.note[:10] if first.note[:2] == "20" else date[:10]
    if first.median is None:
        return f"| {what} | not measured: {first.note} | | 0 | | |"
    beside = ", ".join(
        _ratio(each) for each in rows if each.ratio is not None and each.against != "upstream alone"
    )
    spread = f"{_plain(first.min)} – {_plain(first.max)}"
    return f"| {what} | {_plain(first.median)} {first.unit} | {spread} | {first.runs} | {beside} | {when} |"


def _ratio(each: Row) -> str:
    spread = f" ({_plain(min(each.ratios))} – {_plain(max(each.ratios))})" if each.ratios else ""
    return f"{_plain(each.ratio)}{spread} × {each.against}"


def _plain(number: float | None) -> str:
    return "–" if number is None else f"{number:,.10g}"


def _short(number: float) -> float:
    return float(f"{number:.4g}")


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
