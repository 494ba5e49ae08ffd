"""``privguard anomaly evaluate``: the protocol, from the command line."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast
from xml.etree.ElementTree import ParseError

import click
import msgspec

from privguard.anomaly.simulate import SCENARIOS
from privguard.cli.options import ANY_FOLDER, FILE, json_option
from privguard.errors import ConfigError

if TYPE_CHECKING:
    from privguard.oversight.planting import Source
    from privguard.oversight.protocol import Report


@click.command()
@click.option(
    "--log",
    type=FILE,
    help="A bank's own event log, .xes or .xes.gz; the simulator's without it.",
)
@click.option(
    "--inject",
    "scenarios",
    multiple=True,
    type=click.Choice(list(SCENARIOS)),
    help="A scenario to plant; may repeat, all by default.",
)
@click.option("--seeds", default=20, show_default=True, type=click.IntRange(1, 1000), help="How many seeds.")
@click.option("--train", is_flag=True, help="Seeds to choose thresholds by, not those that are reported.")
@click.option("--plot", type=ANY_FOLDER, help="Write precision-recall curves here (SVG).")
@json_option
def evaluate(
    log: Path | None, scenarios: tuple[str, ...], seeds: int, train: bool, plot: Path | None, as_json: bool
) -> None:
    """Plant what staff should not do in a log, and measure what is noticed, when, and why.

    A seed takes about a minute. Exit 1 when a gate is missed.
    """
    from privguard.oversight.evaluation import evaluate
    from privguard.oversight.planting import simulator
    from privguard.oversight.protocol import TEST_SEED, TRAIN_SEED

    source = None if log is None else _bank(log)
    first = TRAIN_SEED if train else TEST_SEED
    curves: dict[str, dict[str, list[tuple[float, bool]]]] = {}
    report = evaluate(
        simulator if source is None else lambda _: source,
        scenarios or list(SCENARIOS),
        range(first, first + seeds),
        lambda line: click.echo(line, err=True),
        None if plot is None else curves,
    )
    if plot is not None:
        _draw(plot, curves)
    click.echo(msgspec.json.encode(report) if as_json else _table(report))
    raise SystemExit(0 if all(gate.met for gate in report.gates) else 1)


def _bank(path: Path) -> Source:
    from privguard.anomaly.bank_log import BankLog, read_xes
    from privguard.oversight.planting import Source

    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            bank = BankLog(read_xes(cast("IO[bytes]", file)))
    except (ParseError, KeyError, ValueError, IndexError, gzip.BadGzipFile, EOFError):
        raise ConfigError(
            f"{path.name} is no event log: give XES (IEEE 1849), whose events have concept:name and"
            " time:timestamp, as .xes or .xes.gz"
        ) from None
    return Source(path.name, bank, list(bank.log()), bank.split)


def _draw(folder: Path, curves: dict[str, dict[str, list[tuple[float, bool]]]]) -> None:
    from privguard.oversight.curves import picture

    folder.mkdir(parents=True, exist_ok=True)
    for scenario, ranked in curves.items():
        (folder / f"{scenario}.svg").write_text(picture(scenario, ranked), encoding="utf-8")


def _table(report: Report) -> str:
    """For people: the medians, and the gates."""
    columns = ("event_pr_auc", "user_day_pr_auc", "days_to_detect", "clients_exposed", "top_reason_accuracy")
    lines = [f"{'scenario':14}{'detector':18}" + "".join(f"{name:>21}" for name in columns)]
    for scenario, own in report.scenarios.items():
        others = {name: table[scenario] for name, table in report.baselines.items()}
        for detector, figures in {**own, **others}.items():
            cells = "".join(f"{_median(figures[name]):>21}" for name in columns)
            lines.append(f"{scenario:14}{detector:18}{cells}")
    lines.append("")
    lines += [
        f"{'met   ' if gate.met else 'MISSED'}  {gate.name}: {_number(gate.figure)} (must be {gate.bound})"
        for gate in report.gates
    ]
    return "\n".join(lines)


def _median(spread: dict[str, Any] | None) -> str:
    return _number(spread["median"] if spread else None)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
