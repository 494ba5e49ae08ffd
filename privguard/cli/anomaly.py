"""``privguard anomaly``: what the anomaly checker makes of the log."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec
from msgspec.structs import replace

from privguard.cli.evaluation import evaluate
from privguard.cli.options import (
    as_option,
    asked,
    config_option,
    json_option,
    say,
    settings_of,
    tenant_option,
    trail_of,
)

_EXCUSABLE = (
    *("views", "new", "clear", "unrelated", "odd-hours", "refused", "distance", "again"),
    *("surname", "employer", "address", "kin", "hour", "place"),
)
"""Causes, but for those of rules; not read off ``Cause``: to load it would slow every command's start."""


@click.group()
def anomaly() -> None:
    """Unusual look-ups: what the checker makes of the log."""


anomaly.add_command(evaluate)


@anomaly.command()
@config_option
@json_option
def replay(config: Path, as_json: bool) -> None:
    """Build the checker's state anew from the log, and compare each score with the one on record.

    They differ where several workers had not yet seen each other's entries, and at a worker's first entries.
    """
    from privguard.bootstrap import open_follower

    follower, _ = open_follower(settings_of(config))
    counts = dict.fromkeys(("entries", "compared", "different"), 0)
    first: int | None = None
    for index, leaf, risk in follower.replayed():
        said = leaf.risk
        if said is None or risk is None:
            continue
        counts["entries"] += 1
        if said.level == "unknown" or leaf.part or any(each.cause == "honey" for each in said.why):
            continue
        counts["compared"] += 1
        if (said.level, said.p) != (risk.level.value, risk.p):
            counts["different"] += 1
            first = index if first is None else first
    if as_json:
        click.echo(msgspec.json.encode({**counts, "first_different": first}))
    else:
        click.echo(
            f"{counts['entries']} entries replayed; of {counts['compared']} scores on record ", nl=False
        )
        click.echo("none differs" if first is None else f"{counts['different']} differ, first entry {first}")


@anomaly.command()
@click.option("--open", "only_open", is_flag=True, help="Only those nobody has looked into.")
@tenant_option
@config_option
@json_option
def cases(config: Path, as_json: bool, tenant: str, only_open: bool) -> None:
    """What was unusual, by actor and cause, newest first, and what people found."""
    from privguard.oversight.cases import cases as cases_of

    with trail_of(config) as trail:
        found = [case for case in cases_of(trail, tenant=tenant) if not (only_open and case.verdict)]
    for case in found:
        if as_json:
            click.echo(msgspec.json.encode(case))
            continue
        click.echo(
            f"{case.last}  {case.actor}  {case.cause}  {case.level}  {case.entries} entries, "
            f"{case.clients} clients since {case.since}  newest {case.newest}  {case.verdict or 'open'}"
        )
    if not found and not as_json:
        click.echo("no case", err=True)


@anomaly.command()
@click.argument("entry")
@click.argument("verdict", type=click.Choice(["expected", "policy-gap", "violation", "unclear"]))
@click.option("--note", default="", help="What was found, in words; kept sealed.")
@tenant_option
@config_option
def judge(config: Path, tenant: str, entry: str, verdict: str, note: str) -> None:
    """Put on record what was found of an unusual ENTRY, and so of its case."""
    from privguard.oversight.cases import Verdict
    from privguard.oversight.cases import judge as put

    with trail_of(config) as trail:
        index = put(trail, entry, Verdict(verdict), note, tenant)
    click.echo(f"on record as entry {index}")


@anomaly.command()
@click.argument("staff_id", metavar="STAFF")
@click.argument(
    "cause",
    type=click.Choice(_EXCUSABLE, case_sensitive=True),
)
@click.option("--days", default=30, show_default=True, type=click.IntRange(1, 90), help="For how long.")
@click.option("--reason", required=True, help="Why it is expected, for who approves it.")
@as_option
@tenant_option
@config_option
@json_option
def excuse(
    config: Path, as_json: bool, tenant: str, staff_id: str, cause: str, days: int, reason: str, by: str
) -> None:
    """Ask that CAUSE count as expected of STAFF for a while; who has [anomaly] excuse_role approves it."""
    said = {"purpose": staff_id, "fields": (cause,), "ticket": str(days), "reason": reason}
    name = asked(config, by, tenant, lambda own: replace(own, **said), "excuse")
    say(as_json, {"request": name}, f"request {name} waits an hour for whoever may approve it")


@anomaly.command()
@click.option(
    "--days", default=1, show_default=True, type=click.IntRange(1, 120), help="Days to look back at."
)
@click.option(
    "--budget", default=5, show_default=True, type=click.IntRange(1, 1000), help="Findings a day, at most."
)
@tenant_option
@config_option
@json_option
def run(config: Path, as_json: bool, days: int, budget: int, tenant: str) -> None:
    """Look back over the log: whose looks nothing on record explains, with the entries. This is on record.

    Days are UTC; of the last one, what follows it is not known yet.
    """
    from privguard.anomaly.measure import Budget
    from privguard.machine import SystemClock
    from privguard.oversight.findings import found_in
    from privguard.oversight.tables import kept

    place = settings_of(config).anomaly.look_back_file
    with trail_of(config) as trail, kept(place, tenant) as tables:
        tables.follow(trail, tenant, SystemClock().now_us(), days)
        found = found_in(tables, tables.last - days + 1, tables.last, Budget(budget))
    for each in found:
        if as_json:
            click.echo(msgspec.json.encode(each))
        else:
            entries = ", ".join(map(str, each.entries))
            click.echo(
                f"{each.day}  {each.actor}  level {each.level:.1f} by {each.by}: {each.unexplained:.1f} of"
                f" {each.visits} visits unexplained ({each.expected:.1f} expected), mostly {each.why};"
                f" entries {entries}"
            )
    if not found and not as_json:
        click.echo("nothing stands out")
