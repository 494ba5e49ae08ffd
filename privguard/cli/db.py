"""``privguard db``: the store's tables."""

from __future__ import annotations

import json
from pathlib import Path

import click

from privguard.cli.options import config_option, json_option, settings_of


@click.group()
def db() -> None:
    """Bring the store's tables up to date, or say where they stand."""


@db.command()
@config_option
def upgrade(config: Path) -> None:
    """Create or migrate the tables; safe to repeat."""
    from privguard.store import schema

    click.echo(f"tables are at revision {schema.upgrade(settings_of(config).store.url).current}")


@db.command()
@config_option
@json_option
def status(config: Path, as_json: bool) -> None:
    """Say which revision the tables are at and which this privguard needs; exit 1 if they differ."""
    from privguard.store import schema

    found = schema.status(settings_of(config).store.url)
    current = found.current or "none"
    if as_json:
        click.echo(json.dumps({"current": found.current, "needed": found.head}))
    else:
        click.echo(f"tables are at revision {current}, needed is {found.head}")
    if not found.ready:
        if not as_json:
            mend = "Install the release that made them" if found.later else "Run: privguard db upgrade"
            click.echo(mend, err=True)
        raise SystemExit(1)
