"""The command line within this process: a start of its own costs each call a second or more.

What only a process shows (exit code, start-up, no traceback) is held in tests/flow/test_cli.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from click.testing import CliRunner

from privguard.cli import cli
from privguard.errors import PrivguardError


@dataclass(frozen=True)
class Said:
    """What a command came to; the names are those of ``subprocess.CompletedProcess``."""

    returncode: int
    stdout: bytes
    stderr: bytes


def privguard(*arguments: object, typed: str = "") -> Said:
    """Runs a command as ``privguard.cli.main`` does; ``typed`` answers what it asks."""
    result = CliRunner().invoke(cli, list(map(str, arguments)), typed, prog_name="privguard")
    if isinstance(result.exception, PrivguardError):
        return Said(1, result.stdout_bytes, result.stderr_bytes + f"Error: {result.exception}\n".encode())
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Said(result.exit_code, result.stdout_bytes, result.stderr_bytes)
