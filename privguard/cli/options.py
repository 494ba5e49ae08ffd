"""Options that every command spells the same."""

from __future__ import annotations

from pathlib import Path

import click

config_option = click.option(
    "--config",
    default="privguard.toml",
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The configuration file.",
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="JSON for programs: one object, or one a line."
)
