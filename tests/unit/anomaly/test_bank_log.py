"""A bank's event log as a population, and the protocol over one that is made up here."""

from __future__ import annotations

import gzip
import io
import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from privguard.anomaly.bank_log import BankLog, Event, read_xes
from privguard.anomaly.simulate import SCENARIOS, Streams
from privguard.cli import cli
from privguard.cli.anomaly import anomaly

START = datetime(2012, 1, 2, 9, tzinfo=UTC)
HEAD = '<log xmlns="http://www.xes-standard.org/"><global scope="event"><string key="x" value="y"/></global>'


def event(at: datetime, actor: str | None, name: str = "W_call") -> str:
    who = f'<string key="org:resource" value="{actor}"/>' if actor else ""
    return (
        f'<event>{who}<string key="concept:name" value="{name}"/>'
        f'<date key="time:timestamp" value="{at:%Y-%m-%dT%H:%M:%S}.250+02:00"/></event>'
    )


def trace(client: str, *events: str) -> str:
    return f'<trace><string key="concept:name" value="{client}"/>{"".join(events)}</trace>'


SMALL = (
    HEAD
    + trace("a", event(START, "112", "A_new"), event(START + timedelta(hours=1), "ann"), event(START, None))
    + trace("b", event(START + timedelta(days=1), "bob"), event(START + timedelta(days=2), "ann"))
    + trace("c", event(START + timedelta(days=2), "112", "A_new"))
    + "</log>"
)


def small() -> BankLog:
    return BankLog(read_xes(io.BytesIO(SMALL.encode())))


def test_events_are_read_by_the_banks_own_clock() -> None:
    first = next(iter(read_xes(io.BytesIO(SMALL.encode()))))
    assert first == Event(int(START.timestamp()), "112", "a", "A_new")


def test_persons_look_and_automation_only_works() -> None:
    bank = small()
    days = list(bank.log())
    assert [[each.access.actor for each in day.accesses] for day in days] == [["ann"], ["bob"], ["ann"]]
    assert [sorted(each.actor for each in day.work) for day in days] == [
        ["", "", "ann"],
        ["bob"],
        ["", "ann"],
    ]
    assert list(bank.staff) == ["ann", "bob"]


def test_a_stranger_is_a_client_the_bank_has_and_the_actor_never_worked_with() -> None:
    bank = small()
    assert {bank.stranger("bob", 1, u / 10) for u in range(10)} == {"a"}
    assert {bank.stranger("bob", 2, u / 10) for u in range(10)} == {"a", "c"}
    assert bank.stranger("ann", 0, 0.0) == "a"  # there is nobody else


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_fits_a_banks_log(name: str) -> None:
    bank = BankLog(made(110, staff=3))
    streams: Streams = lambda name: random.Random(name)  # noqa: E731
    assert SCENARIOS[name](bank, streams(name), (bank.split, bank.days)).looks


def made(days: int, staff: int = 8, clients: int = 900) -> Iterator[Event]:
    """Each has work with eight clients a day, in two steps; a client is new for a few days."""
    draws, start = random.Random(5), 1_325_462_400
    for day in range(days):
        for actor in range(staff):
            for _ in range(8):
                at = start + day * 86_400 + draws.randrange(9 * 3600, 17 * 3600)
                client = (
                    f"k{draws.randrange(max(0, day - 5), day + 1) * clients // days + draws.randrange(4)}"
                )
                yield Event(at, f"s{actor}", client, f"W_{actor % 2}")
                yield Event(at + 300, f"s{actor}", client, f"W_{actor % 2}")


def test_evaluate_plants_measures_and_says_what_it_missed(tmp_path: Path) -> None:
    traces: dict[str, list[str]] = {}
    for each in made(116):
        at = datetime.fromtimestamp(each.at_s, UTC)
        traces.setdefault(each.client, []).append(event(at, each.actor, each.activity))
    log = tmp_path / "log.xes.gz"
    with gzip.open(log, "wt") as file:
        file.write(HEAD + "".join(trace(client, *events) for client, events in traces.items()) + "</log>")
    asked = ["evaluate", "--log", str(log), "--inject", "slow", "--seeds", "1", "--train", "--json"]
    answer = CliRunner().invoke(anomaly, [*asked, "--plot", str(tmp_path / "curves")])
    report = json.loads(answer.stdout)
    assert report["seeds"] == {"kind": "train", "first": 1, "count": 1}
    assert report["log"]["events"] == 116 * 8 * 16
    slow = report["scenarios"]["slow"]
    assert slow["batch"]["event_pr_auc"]["median"] > 0.8
    assert slow["batch"]["days_to_detect"]["median"] <= 2
    assert set(report["baselines"]) == {"static-threshold", "own-z", "isolation-forest"}
    assert answer.exit_code == (0 if all(gate["met"] for gate in report["gates"]) else 1)
    assert "<polyline" in (tmp_path / "curves" / "slow.svg").read_text()


def test_a_file_that_is_no_event_log_is_refused_with_the_mend(tmp_path: Path) -> None:
    wrong = tmp_path / "log.xes"
    wrong.write_text("not a log")
    answer = CliRunner().invoke(cli, ["anomaly", "evaluate", "--log", str(wrong)])
    assert "give XES" in str(answer.exception)
