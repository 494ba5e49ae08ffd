"""Rows, `benchmarks/results.json` and the table in README.md."""

import os
import platform
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

_START, _END = "<!-- bench:start -->", "<!-- bench:end -->"


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
    """What a file holds of the last full run, with the rows of a later one, which say when that was."""
    if not path.exists():
        return fresh
    kept, names = msgspec.json.decode(path.read_bytes(), type=Results), {each.name for each in fresh.rows}
    when = f"{fresh.machine['date']}, {fresh.machine['mode']}, load {fresh.machine['load_before']} before"
    for each in fresh.rows:
        each.note = each.note or when
    return Results(kept.machine, [each for each in kept.rows if each.name not in names] + fresh.rows)


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
    """The rows as Markdown, under a line that names the machine."""
    of = results.machine
    where = f"{of['cores']} cores of {of['cpu']}, {of['memory_gb']} GB, Python {of['python']}"
    lines = [
        f"Measured {of['date']}, all processes on one machine: {where}.",
        "The median of the runs; ratios are taken within each round, and their median is shown.",
        "",
        "| What | Median | Unit | Min – max | Runs | Ratio |",
        "| --- | ---: | --- | --- | ---: | --- |",
        *(_line(entry) for entry in results.rows if _on_first_page(entry)),
    ]
    return "\n".join(lines)


def _on_first_page(entry: Row) -> bool:
    """The gateway's own rows and the stages; `results.json` has the others'."""
    compared = entry.ratio is not None or not entry.against
    ours = ": " not in entry.name or "privguard" in entry.name
    return compared and ours and entry.against != "upstream alone"


def _line(entry: Row) -> str:
    if entry.median is None:
        return f"| {entry.name} | – | {entry.unit} | not measured: {entry.note} | 0 | |"
    ratio = f"{_plain(entry.ratio)} × {entry.against}" if entry.against else ""
    spread = f"{_plain(entry.min)} – {_plain(entry.max)}"
    return f"| {entry.name} | {_plain(entry.median)} | {entry.unit} | {spread} | {entry.runs} | {ratio} |"


def _plain(number: float | None) -> str:
    return "–" if number is None else f"{number:,.10g}"


def _short(number: float) -> float:
    return float(f"{number:.4g}")


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
