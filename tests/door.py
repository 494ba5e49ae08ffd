"""The running gateway as a user meets it: real processes, real HTTP on loopback, a real database."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

from tests.zygote import Forked, Zygote

REPO = Path(__file__).parent.parent
BANK_POLICY = REPO / "policies" / "bank.yaml"
PASSWORD = "demo"


@dataclass(frozen=True)
class Answer:
    """What came back; header names in lower case, repeated ones joined by a comma."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def problem(self) -> str:
        """NAME of the problem document, or nothing."""
        if self.headers.get("content-type") != "application/problem+json" or not self.body:
            return ""
        return str(self.json()["type"]).removeprefix("urn:privguard:problem:")

    @property
    def index(self) -> int:
        """Where the receipt says this disclosure stands in the log."""
        return int(self.headers["privguard-receipt"].split("index=")[1].split(",")[0])


def ask(
    port: int,
    method: str,
    target: str,
    *,
    token: str | None = None,
    body: bytes | str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 30,
) -> Answer:
    """One request on a connection of its own; the target goes out as it is."""
    sent = dict(headers or {})
    if token is not None:
        sent.setdefault("Authorization", f"Bearer {token}")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, target, body, sent)
        answer = connection.getresponse()
        merged: dict[str, str] = {}
        for name, value in answer.getheaders():
            key = name.lower()
            merged[key] = f"{merged[key]}, {value}" if key in merged else value
        return Answer(answer.status, merged, answer.read())
    finally:
        connection.close()


def raw(port: int, data: bytes, *, wait: float = 5.0) -> bytes:
    """Sends bytes and gives what comes back until the other side closes or is silent for ``wait`` seconds."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=wait) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(data)
        with contextlib.suppress(OSError):
            while chunk := connection.recv(65_536):
                received += chunk
    return received


def free_port() -> int:
    """A port for a server that may be down for a while, as a killed gateway is until it is started again.

    It is none of those that systems hand out by themselves (Linux from 32,768, others from 49,152): meanwhile
    nobody else is given it, and a caller who waits for the server cannot be connected to itself.
    """
    lane = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    while True:
        port = random.SystemRandom().randrange(10_000 + lane % 10, 30_000, 10)
        if port not in _GIVEN:
            with contextlib.suppress(OSError), socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
                _GIVEN.add(port)
                return port


_GIVEN: Final[set[int]] = set()


@dataclass
class Running:
    """A process that serves on a port; its output is in ``log``."""

    process: subprocess.Popen[bytes] | Forked
    port: int
    log: Path

    def stop(self) -> None:
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(25)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """kill -9, the whole process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def start(arguments: list[str], port: int, log: Path, *, env: Mapping[str, str] | None = None) -> Running:
    """Starts a server process and waits until it accepts connections."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env={**os.environ, **(env or {})},
        )
    return _listening(Running(process, port, log))


@cache
def _zygote() -> Zygote:
    """What gateways are forked from; it ends with this process, whose pipe it reads."""
    return Zygote()


def _listening(running: Running) -> Running:
    """Waits until it accepts connections."""
    process, port, log = running.process, running.port, running.log
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(f"the server ended at once:\n{log.read_text()[-2000:]}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return running
        time.sleep(0.02)
    running.stop()
    raise AssertionError(f"the server does not listen:\n{log.read_text()[-2000:]}")


def start_bank(folder: Path, *, clients: int = 200, auth: bool = True) -> Running:
    """The sample CRM."""
    port = free_port()
    arguments = [sys.executable, "-m", "bank_crm", "--port", str(port), "--clients", str(clients)]
    if not auth:
        arguments.append("--no-auth")
    return start(arguments, port, folder / "crm.log", env={"PYTHONPATH": str(REPO / "examples")})


WHOAMI = """
[identity]
mode = "upstream"

[identity.upstream]
whoami = "/me"
credentials = ["authorization", "cookie:crm_session"]
cache_seconds = 60
"""


@dataclass
class Gateway:
    """A gateway process in a folder of its own; may be stopped and started again on the same log."""

    folder: Path
    port: int
    upstream_port: int
    running: Running | None = None
    workers: int = 1
    tokens: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    """Settings from the environment, e.g. ``PRIVGUARD_AUDIT__DEADLINE_MS``."""
    wrapper: list[str] = field(default_factory=list)
    """A command that runs the gateway, e.g. without a privilege."""

    @property
    def config(self) -> Path:
        return self.folder / "privguard.toml"

    @property
    def database(self) -> Path:
        return self.folder / "privguard.db"

    def start(self) -> Gateway:
        log = self.folder / "gateway.log"
        if not self.wrapper and self.workers == 1:  # loading alone costs a start two seconds
            forked = Forked(_zygote(), self.config, log, self.env)
            self.running = _listening(Running(forked, self.port, log))
            return self
        arguments = [*self.wrapper, sys.executable, "-m", "privguard", "serve", "--config", str(self.config)]
        if self.workers > 1:
            arguments += ["--workers", str(self.workers)]
        self.running = start(arguments, self.port, log, env=self.env)
        return self

    def stop(self) -> None:
        if self.running is not None:
            self.running.stop()

    def kill(self) -> None:
        if self.running is not None:
            self.running.kill()

    def token(self, user: str) -> str:
        """The CRM's session token of a member of staff, got through the gateway as their browser would."""
        if user not in self.tokens:
            form = json.dumps({"username": user, "password": PASSWORD})
            answer = ask(self.port, "POST", "/login", body=form, headers={"Content-Type": "application/json"})
            assert answer.status == 200, answer
            self.tokens[user] = answer.json()["token"]
        return self.tokens[user]

    def ask(self, user: str | None, method: str, target: str, **more: Any) -> Answer:
        """A request by a member of staff; body may be given as ``json=``."""
        if "json" in more:
            more["body"] = json.dumps(more.pop("json"))
            more["headers"] = {"Content-Type": "application/json", **(more.get("headers") or {})}
        token = self.token(user) if user is not None else None
        return ask(self.port, method, target, token=token, **more)

    def get(self, user: str | None, target: str, **more: Any) -> Answer:
        return self.ask(user, "GET", target, **more)

    def upstream(self, user: str, method: str, target: str, **more: Any) -> Answer:
        """The same request to the CRM itself, past the gateway: what the truth is."""
        return ask(self.upstream_port, method, target, token=self.token(user), **more)

    def raw(self, data: bytes, *, wait: float = 5.0) -> bytes:
        return raw(self.port, data, wait=wait)

    def leaves(self) -> list[dict[str, Any]]:
        """All entries of the log, read from the database file as an auditor would."""
        return [json.loads(leaf) for leaf in self._log()[0]]

    def since(self, size: int) -> list[dict[str, Any]]:
        """The entries since the log had this size, without what it says of itself each minute."""
        return [leaf for leaf in self.leaves()[size:] if leaf["action"] != "privguard:map:commit"]

    def last(self) -> dict[str, Any]:
        """The newest entry, such a one aside."""
        return self.since(0)[-1]

    def verify(self) -> int:
        """Holds the log to the offline verifier; gives its size."""
        from privguard.audit.verify import verify_log

        leaves, size, root = self._log()
        verified = verify_log(lambda: leaves, size, root)
        assert verified.ok, verified
        return size

    def _log(self) -> tuple[list[bytes], int, bytes]:
        """All leaves, and the size and root of the tree, of one moment."""
        import sqlite3

        with contextlib.closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:
            connection.execute("BEGIN")
            leaves = [leaf for (leaf,) in connection.execute("SELECT leaf FROM event ORDER BY idx")]
            size, root = connection.execute("SELECT size, root FROM tree_state").fetchone()
        return leaves, size, root

    @property
    def output(self) -> str:
        """What the gateway's process has printed."""
        return (self.folder / "gateway.log").read_text()


def make_gateway(
    folder: Path,
    upstream_port: int,
    *,
    policy: str | None = None,
    identity: str = WHOAMI,
    mode: str = "enforce",
    gateway: str = "",
    extra: str = "",
) -> Gateway:
    """Writes a folder with configuration, policy and keys, and its store; does not start it.

    Args:
        policy: text of the policy; the bank profile if there is none.
        gateway: further lines of ``[gateway]``; ``extra``: further sections.
    """
    from privguard.audit.signing_keys import new_signing_keys
    from privguard.crypto.keyring import new_keyring
    from privguard.store import schema

    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    (folder / "privguard.toml").write_text(
        f'[gateway]\nlisten = "127.0.0.1:{port}"\nmode = "{mode}"\n{gateway}\n'
        f'[[systems]]\nname = "crm"\nupstream = "http://127.0.0.1:{upstream_port}"\npolicy = "policy.yaml"\n'
        f'{identity}\n[store]\nurl = "sqlite+aiosqlite:///privguard.db"\n'
        f'[audit]\norigin = "test.invalid/log"\nsigning_keys = "signing.json"\n'
        f'[keys]\nprovider = "file"\nfile = "keys.json"\n{extra}\n'
    )
    (folder / "policy.yaml").write_text(policy if policy is not None else BANK_POLICY.read_text())
    keys = folder / "keys.json"
    keys.write_bytes(new_keyring(os.urandom))
    keys.chmod(0o600)
    signing = folder / "signing.json"
    signing.write_bytes(new_signing_keys(os.urandom))
    signing.chmod(0o600)
    made = Gateway(folder, port, upstream_port)
    schema.upgrade(f"sqlite+aiosqlite:///{made.database}")
    return made


def remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
