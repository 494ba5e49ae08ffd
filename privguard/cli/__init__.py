"""The command line: one module a command group, loaded when it is called so that ``--help`` is fast."""

from __future__ import annotations

import importlib
import sys

import click

from privguard import __version__
from privguard.errors import PrivguardError

_COMMANDS = {
    "demo": "Run a sample bank CRM behind privguard, on this machine.",
    "init": "Write a first configuration, policy and keys into a folder.",
    "serve": "Run the gateway.",
    "doctor": "Check configuration, policy, keys, store, clock, upstream, identity and disk.",
    "policy": "Check, test and explain policies.",
    "audit": "Search, show, report and export the trail; every look is on it.",
    "witness": "Cosign checkpoints of logs, on another machine than theirs.",
    "client": "Hold, erase, or hand out what the log knows of a client.",
    "directory": "Import and show the staff directory: roles, training, assignments, cover.",
    "factor": "Invite staff to enrol a second factor, list what they have, ask for a reset.",
    "grant": "Revoke grants, and review those of who broke the glass.",
    "anomaly": "Say what the checker of unusual look-ups makes of the log, and how good it is.",
    "keys": "Make, list, rotate and retire the keys that wrap clients' keys.",
    "signing": "Rotate, retire and list the keys that sign the log; go on from old keys to new ones.",
    "db": "Bring the store's tables up to date, or say where they stand.",
}
_GATEWAY = frozenset({"aiohttp", "httptools", "prometheus_client", "uvicorn", "uvloop", "multidict", "yarl"})
_ANALYTICS = frozenset({"ibis", "duckdb", "pyarrow", "sklearn"})
"""What only the extras of these names install."""


class _Lazy(click.Group):
    """Names every command at once and imports only the one that is called."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if any("\udc80" <= sign <= "\udcff" for arg in args for sign in arg):
            raise click.UsageError("An argument is not UTF-8: nobody and nothing is named by it.", ctx)
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"privguard.cli.{cmd_name}")
        command = getattr(module, cmd_name)
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="privguard")
@click.option("--debug", is_flag=True, help="Show a traceback when something fails.")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """Know, limit and prove who saw which client's data."""
    ctx.obj = {"debug": debug}


def main() -> None:
    """Runs the command line; exit codes: 0 done, 1 the check or action failed, 2 the call was wrong."""
    try:
        cli(standalone_mode=True)
    except PrivguardError as error:
        if "--debug" in sys.argv[1:]:
            raise
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
    except ModuleNotFoundError as error:
        if "--debug" in sys.argv[1:] or error.name not in _GATEWAY | _ANALYTICS:
            raise
        extra = "gateway" if error.name in _GATEWAY else "analytics"
        click.echo(
            f"Error: this needs {error.name}. Install privguard with its extra: 'privguard[{extra}]'.",
            err=True,
        )
        sys.exit(1)
