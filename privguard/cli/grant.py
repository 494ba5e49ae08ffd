"""``privguard grant``: take grants back, and look at those of a broken glass."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec
from msgspec.structs import replace

from privguard.cli.options import (
    acted,
    config_option,
    json_option,
    settings_of,
    tenant_option,
)


@click.group()
def grant() -> None:
    """Revoke grants, and review those of who broke the glass."""


@grant.command()
@click.argument("staff_id", metavar="STAFF")
@click.option("--name", help="Only this one.")
@tenant_option
@config_option
def revoke(config: Path, staff_id: str, name: str | None, tenant: str) -> None:
    """Revoke somebody's grants, on every worker at once."""
    acted(
        config,
        lambda authority, who: authority.granting.revoke(replace(who, tenant=tenant), staff_id, name),
    )
    click.echo("revoked")


@grant.command()
@config_option
@json_option
def reviews(config: Path, as_json: bool) -> None:
    """List what is to be reviewed still; exit code 1 where a review is overdue."""
    from privguard.cli.opening import open_authority

    with open_authority(settings_of(config)) as (authority, _):
        due = authority.grants.due()
    late = 0
    for name, actor, due_us in due:
        overdue = due_us < time.time_ns() // 1000
        late += overdue
        until = datetime.fromtimestamp(due_us // 1_000_000, UTC)
        if as_json:
            row = {"name": name, "actor": actor, "due": until, "overdue": overdue}
            click.echo(msgspec.json.encode(row))
        else:
            click.echo(f"{name}  {actor}  due {until:%Y-%m-%d %H:%M}{'  OVERDUE' if overdue else ''}")
    if not due and not as_json:
        click.echo("nothing is to be reviewed", err=True)
    if late:
        raise SystemExit(1)


@grant.command()
@click.argument("name")
@click.option("--finding", required=True, help="What came of it; sealed.")
@config_option
def reviewed(config: Path, name: str, finding: str) -> None:
    """Note that a grant of a broken glass was looked at."""
    acted(config, lambda authority, who: authority.granting.reviewed(who, name, finding))
    click.echo("noted")
