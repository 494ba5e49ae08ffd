"""``privguard audit prune``: seals old entries in an archive, as far as [audit.retention] says."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from privguard.cli.options import ANY_FOLDER, config_option, json_option, settings_of
from privguard.errors import ConfigError

_DAY_US = 86_400_000_000


@click.command()
@click.argument("folder", type=ANY_FOLDER)
@config_option
@json_option
def prune(config: Path, folder: Path, as_json: bool) -> None:
    """Seal what is older than [audit.retention] says in a new folder in FOLDER, and delete it here."""
    from privguard.cli.opening import open_pruner
    from privguard.machine import SystemClock

    settings = settings_of(config)
    days: dict[str, int | None] = settings.audit.retention.model_dump()
    if all(each is None for each in days.values()):
        raise ConfigError("Nothing may be pruned: [audit.retention] says of no entries how long they stay.")
    now = SystemClock().now_us()
    keep_from = {name: None if each is None else now - each * _DAY_US for name, each in days.items()}
    with open_pruner(settings) as pruner:
        done = pruner.prune(keep_from, folder)
    if as_json:
        click.echo(msgspec.json.encode(done))
    elif done.archive is None:
        click.echo(f"nothing to prune: the log begins at {done.floor}; what stays next is kept by {done.why}")
    else:
        click.echo(f"{done.count} entries are sealed in {done.archive}, sha256 of `sealed`: {done.digest}")
        click.echo(f"the log begins at {done.floor}; what stays next is kept by {done.why}")
