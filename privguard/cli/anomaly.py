"""``privguard anomaly``: what the anomaly checker makes of the log."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from privguard.cli.evaluation import evaluate
from privguard.cli.options import config_option, json_option, system_account

tenant_option = click.option("--tenant", default="default", show_default=True, help="The tenant.")


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
    from privguard.config import load_settings

    follower, _ = open_follower(load_settings(config))
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
    from privguard.bootstrap import open_trail
    from privguard.config import load_settings
    from privguard.oversight.cases import cases as cases_of

    with open_trail(load_settings(config), system_account()) as trail:
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
    from privguard.bootstrap import open_trail
    from privguard.config import load_settings
    from privguard.oversight.cases import Verdict
    from privguard.oversight.cases import judge as put

    with open_trail(load_settings(config), system_account()) as trail:
        index = put(trail, entry, Verdict(verdict), note, tenant)
    click.echo(f"on record as entry {index}")


@anomaly.command()
@click.argument("staff_id", metavar="STAFF")
@click.argument(
    "cause",
    type=click.Choice(
        ["views", "new", "clear", "unrelated", "odd-hours", "distance", "hour", "place"], case_sensitive=True
    ),
)
@click.option("--days", default=30, show_default=True, type=click.IntRange(1, 90), help="For how long.")
@click.option("--reason", required=True, help="Why it is expected, for who approves it.")
@tenant_option
@config_option
@json_option
def excuse(
    config: Path, as_json: bool, tenant: str, staff_id: str, cause: str, days: int, reason: str
) -> None:
    """Ask that CAUSE count as expected of STAFF for a while; who has [anomaly] excuse_role approves it."""
    import asyncio

    from msgspec.structs import replace

    from privguard.bootstrap import open_authority
    from privguard.config import load_settings

    with open_authority(load_settings(config), system_account()) as (authority, who):
        scope = authority.enrolment.scope(replace(who, tenant=tenant), "excuse")
        asked = replace(scope, purpose=staff_id, fields=(cause,), ticket=str(days), reason=reason)
        name = asyncio.run(authority.granting.request_excuse(who, asked))
    if as_json:
        click.echo(msgspec.json.encode({"request": name}))
    else:
        click.echo(f"request {name} waits an hour for whoever may approve it")


@anomaly.command()
@click.option(
    "--days", default=1, show_default=True, type=click.IntRange(1, 120), help="Days to look back at."
)
@click.option(
    "--budget", default=5, show_default=True, type=click.IntRange(1, 1000), help="Findings a day, at most."
)
@click.option("--tenant", default="default", show_default=True, help="The tenant.")
@config_option
@json_option
def run(config: Path, as_json: bool, days: int, budget: int, tenant: str) -> None:
    """Look back over the log: whose looks nothing on record explains, with the entries. This is on record.

    Days are UTC; of the last one, what follows it is not known yet.
    """
    from privguard.bootstrap import SystemClock, open_trail
    from privguard.config import load_settings
    from privguard.oversight.filters import Filter
    from privguard.oversight.findings import Findings, since_us
    from privguard.oversight.lookback import Lookback

    asked = Filter(tenant=tenant, since_us=since_us(SystemClock().now_us(), days))
    with open_trail(load_settings(config), system_account()) as trail, Lookback() as back:
        findings = Findings(back)
        findings.take(trail.every(asked)[1])
        found = findings.found(days, budget)
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
