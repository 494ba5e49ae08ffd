"""``privguard demo``: a sample bank CRM with privguard before it, on this machine and nowhere else."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from privguard.cli.options import acted
from privguard.cli.playing import COOKIE, Stage
from privguard.cli.shipped import shipped
from privguard.errors import ConfigError
from privguard.files import write_new

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
mode = "upstream"

[identity.upstream]
whoami = "/me"
credentials = ["authorization", "cookie:{cookie}"]

[stepup]
public_url = "http://localhost:{port}"

[alerts]
file = "alerts.ndjson"
"""
_BRANCH = "pudong"
_PLANTED = 19
"""A client of that branch, whom no member of staff of the tour has work with."""
_WATCHING_S = 30


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
    crm = _crm()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # it ends what it started, as by Ctrl-C
    with tempfile.TemporaryDirectory(prefix="privguard-demo-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        port, crm_port = _free_port(port), _free_port(0)
        click.echo("Starting a CRM with 5,000 made-up clients, and privguard before it ...")
        crm_command = ["bank_crm", "--port", str(crm_port), "--addon", str(Path(__file__).with_suffix(".js"))]
        stack.enter_context(_running(folder, "crm", crm_command, crm_port))
        branch = _clients_of_branch(crm_port, crm.SAMPLES)
        _prepare(folder, port, crm_port, crm.SAMPLES, branch)
        serve = ["privguard", "serve", "--config", str(folder / "privguard.toml")]
        gateway = stack.enter_context(_running(folder, "gateway", serve, port))
        _await_watch(folder / "gateway.log")
        invited = {each: _invitation(folder, each) for each in (crm.SAMPLES.rm, crm.SAMPLES.manager)}
        if once:
            sys.exit(0 if _tour(folder, port, crm.SAMPLES, invited, branch) else 1)
        click.echo(_greeting(folder, port, crm_port, crm.SAMPLES, invited))
        with contextlib.suppress(KeyboardInterrupt):
            gateway.wait()


def _tour(folder: Path, port: int, samples: Any, invited: dict[str, str], branch: tuple[int, ...]) -> bool:
    from privguard.cli.playing import play
    from privguard.cli.tour import steps

    stage = Stage(port, folder, {})
    for name in (samples.rm, samples.staff_client, samples.manager, samples.teller, samples.analyst):
        stage.sign_in(name, samples.password)
    stage.enrol(samples.rm, invited[samples.rm])
    trust = stage.command("audit", "trust")
    write_new(folder / "trust", trust.body, secret=False)
    return play(stage, steps(samples, _PLANTED, branch))


def _crm() -> Any:
    sys.path.insert(0, str(shipped("bank_crm").parent))
    return importlib.import_module("bank_crm")


def _clients_of_branch(crm_port: int, samples: Any) -> tuple[int, ...]:
    """Of the mass market, so that nothing but the checker asks for more; asked of the CRM itself."""
    crm = Stage(crm_port, Path(), {})
    crm.sign_in(samples.manager, samples.password)
    token = crm.accounts[samples.manager].token
    listed = crm.ask("GET", f"/clients?branch={_BRANCH}&tier=mass&size=200", token, None, {}).json["items"]
    own = max(samples.staff_client_id, samples.unassigned) + 8  # the clients that the tour is about
    return tuple(record["id"] for record in listed if record["id"] > own)


def _prepare(folder: Path, port: int, crm_port: int, samples: Any, branch: tuple[int, ...]) -> None:
    """Writes configuration, policy, keys and a log with a month of work."""
    from privguard.audit.signing_keys import new_signing_keys
    from privguard.cli import history
    from privguard.crypto.keyring import new_keyring
    from privguard.store import schema

    config = _CONFIG.format(port=port, crm_port=crm_port, cookie=COOKIE)
    policy = (shipped("policies") / "bank.yaml").read_text("utf-8")
    policy = policy.replace("\nanomaly:\n", f'\nanomaly:\n  honey: {{client: ["{_PLANTED}"]}}\n')
    write_new(folder / "privguard.toml", config.encode(), secret=True)
    write_new(folder / "policy.yaml", policy.encode(), secret=False)
    write_new(folder / "keys.json", new_keyring(os.urandom), secret=True)
    write_new(folder / "signing.json", new_signing_keys(os.urandom), secret=True)
    schema.upgrade(f"sqlite+aiosqlite:///{folder / 'privguard.db'}")
    history.write(folder / "privguard.toml", (samples.manager, "mgr.other"), _BRANCH, branch)


def _invitation(folder: Path, name: str) -> str:
    """To enrol a first factor, as ``privguard factor invite`` says it."""
    config = folder / "privguard.toml"
    return acted(config, lambda authority, who: authority.enrolment.invite(who, name, "default"))


def _await_watch(log: Path) -> None:
    """Until the checker has read the log: what is asked before has an unknown risk."""
    deadline = time.monotonic() + _WATCHING_S
    while "watching" not in log.read_text(errors="replace") and time.monotonic() < deadline:
        time.sleep(0.05)


def _greeting(folder: Path, port: int, crm_port: int, samples: Any, invited: dict[str, str]) -> str:
    """What the demo prints: where, who and what to try."""
    url, own, planted = f"http://localhost:{port}", samples.assigned, _PLANTED
    return f"""
privguard   {url}          (health: {url}/_privguard/readyz)
the CRM     http://127.0.0.1:{crm_port}          (what it says to anybody who signs in, unguarded)
everything  {folder}          (configuration, policy, keys, log; removed when you stop)

Accounts, all with the password {samples.password}:
  {samples.rm}, {samples.other_rm} (relationship managers), {samples.manager} (branch manager),
  {samples.teller}, {samples.compliance}, {samples.analyst}

In a browser:
  1. {url}/  sign in as {samples.rm} and choose client {own}: masked
  2. {url}/_privguard/stepup/  add a phone, with the invitation {invited[samples.rm]}
  3. back to client {own}: "Show in clear" asks for a code of the phone; ten answers later it asks again
  {samples.manager}'s invitation: {invited[samples.manager]}

With curl, signed in with the CRM's own cookie:
  curl -s -c jar -d 'username={samples.rm}&password={samples.password}' {url}/login
  curl -s -b jar {url}/clients/{own}      # theirs: masked
  curl -s -b jar {url}/clients/{samples.unassigned}     # another's: not there
  curl -s -b jar '{url}/clients?sort=-balance'      # an oracle: refused
  curl -s -b jar -X PATCH -H 'Content-Type: application/json' \\
       -d '{{"mobile": "199****7919"}}' {url}/clients/{own}      # a mask written back: refused
  curl -si -b jar -H 'Privguard-Reveal: mobile' \\
       -H 'Privguard-Reason: "asked for a call back"' {url}/clients/{own}      # clear: step-up
  curl -s -b jar {url}/clients/{planted}      # planted, nobody's: an alert, in {folder}/alerts.ndjson

What is on record, in another terminal:
  cd {folder}
  {Path(sys.executable).parent / "privguard"} audit search
  {Path(sys.executable).parent / "privguard"} anomaly cases --open

`privguard demo --once` plays a longer tour and verifies the log. Ctrl-C stops and removes everything."""


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
