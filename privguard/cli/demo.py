"""``privguard demo``: a sample bank CRM with privguard before it, on this machine and nowhere else."""

from __future__ import annotations

import contextlib
import importlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from privguard.cli.init import write_new
from privguard.cli.shipped import shipped
from privguard.errors import ConfigError

_CONFIG = """\
[gateway]
listen = "127.0.0.1:{port}"

[[systems]]
name = "crm"
upstream = "http://127.0.0.1:{crm_port}"
policy = "policy.yaml"

[audit]
origin = "demo.invalid/log"
signing_keys = "signing.json"

[identity]
mode = "demo"
"""
_ACCOUNT = """
[[identity.demo]]
token = "{token}"
id = "{id}"
roles = {roles}
branch = "{branch}"
{client}training = {{privacy = "{trained}"}}
"""


@click.command()
@click.option("--once", is_flag=True, help="Play a guided tour, verify the log, and end.")
@click.option(
    "--port",
    default=0,
    show_default=True,
    type=click.IntRange(0, 65_535),
    help="Port of the gateway; a free one if 0.",
)
def demo(once: bool, port: int) -> None:
    """Run a sample bank CRM behind privguard: URLs, accounts and what to try."""
    from privguard.cli import tour

    crm = _crm()
    with tempfile.TemporaryDirectory(prefix="privguard-demo-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        port, crm_port = _free_port(port), _free_port(0)
        tokens = _prepare(folder, port, crm_port, crm.SAMPLES)
        click.echo("Starting a CRM with 5,000 made-up clients, and privguard before it ...")
        stack.enter_context(
            _running(folder, "crm", ["bank_crm", "--port", str(crm_port), "--no-auth"], crm_port)
        )
        serve = ["privguard", "serve", "--config", str(folder / "privguard.toml")]
        gateway = stack.enter_context(_running(folder, "gateway", serve, port))
        if once:
            sys.exit(0 if tour.play(port, crm.SAMPLES, tokens, folder) else 1)
        click.echo(tour.invitation(port, crm_port, crm.SAMPLES, tokens, folder))
        with contextlib.suppress(KeyboardInterrupt):
            gateway.wait()


def _crm() -> Any:
    sys.path.insert(0, str(shipped("bank_crm").parent))
    return importlib.import_module("bank_crm")


def _prepare(folder: Path, port: int, crm_port: int, samples: Any) -> dict[str, str]:
    """Writes configuration, policy, keys and an empty log; gives the accounts' tokens."""
    from privguard.audit.signing_keys import new_signing_keys
    from privguard.crypto.keyring import new_keyring
    from privguard.store import schema

    trained = datetime.fromtimestamp(time.time(), UTC).date() - timedelta(days=30)
    accounts = {
        samples.rm: ("rm", "pudong", None),
        samples.staff_client: ("rm", "xujiahui", samples.staff_client_id),
        samples.manager: ("rm_manager", "pudong", None),
        samples.teller: ("teller", "pudong", None),
        samples.compliance: ("compliance", "pudong", None),
        samples.analyst: ("analyst", "pudong", None),
    }
    tokens = {name: f"demo-{name}-{secrets.token_hex(8)}" for name in accounts}
    text = _CONFIG.format(port=port, crm_port=crm_port) + "".join(
        _ACCOUNT.format(
            token=tokens[name],
            id=name,
            roles=f'["{role}"]',
            branch=branch,
            client=f"client_id = {client}\n" if client is not None else "",
            trained=trained,
        )
        for name, (role, branch, client) in accounts.items()
    )
    write_new(folder / "privguard.toml", text.encode(), secret=True)
    write_new(folder / "policy.yaml", (shipped("policies") / "bank.yaml").read_bytes(), secret=False)
    write_new(folder / "keys.json", new_keyring(os.urandom), secret=True)
    write_new(folder / "signing.json", new_signing_keys(os.urandom), secret=True)
    schema.upgrade(f"sqlite+aiosqlite:///{folder / 'privguard.db'}")
    return tokens


@contextlib.contextmanager
def _running(folder: Path, name: str, module: list[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A child process that listens on a loopback port; ended with the demo."""
    log = folder / f"{name}.log"
    path = os.pathsep.join((str(shipped("bank_crm").parent), str(Path(__file__).parent.parent.parent)))
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603  # our own modules
            [sys.executable, "-m", *module],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, "PYTHONPATH": path},
        )
    try:
        _await_port(process, port, name, log)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(25)
        except subprocess.TimeoutExpired:
            process.kill()


def _await_port(process: subprocess.Popen[bytes], port: int, name: str, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise ConfigError(f"The demo's {name} does not start:\n{log.read_text(errors='replace')[-1500:]}")


def _free_port(port: int) -> int:
    """A port nobody listens on: this one, or any if 0."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ConfigError(f"Port {port}: {error.strerror}. Name another one with --port.") from None
        return int(probe.getsockname()[1])
