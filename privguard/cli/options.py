"""Options that every command spells the same."""

from __future__ import annotations

import os
import pwd
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


def system_account() -> str:
    """Who runs the command, by the system's own account: the environment could name anybody."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"
