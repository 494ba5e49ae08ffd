"""``privguard anomaly``: what the anomaly checker makes of the log."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from privguard.cli.evaluation import evaluate
from privguard.cli.options import config_option, json_option


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
