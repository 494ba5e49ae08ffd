"""Start and stop the real upstream CRMs, each with its data in a folder of the caller's.

Loopback only, no telemetry, no outgoing connection: Directus is started below its own command line because
that one asks a package registry for newer versions first.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from tests.door import free_port

from .wire import ask

START_SECONDS = 60.0
STOP_SECONDS = 10.0
ROOT = Path(__file__).parents[2]
POCKETBASE = Path(sys.executable).with_name("pocketbase")
DIRECTUS = ROOT / "tests" / ".cache" / "directus"
DIRECTUS_PINS = Path(__file__).parent / "directus"
DIRECTUS_CLI = DIRECTUS / "node_modules" / "@directus" / "api" / "dist" / "cli" / "run.js"
DIRECTUS_ABSENT = "Directus is not installed: run .ci/servers.sh"

ADMIN_EMAIL = "admin@example.org"
ADMIN_PASSWORD = "parity-admin-password"
ADMIN_TOKEN = "parity-admin-token"


@dataclass(frozen=True)
class RunningServer:
    """An upstream that answers, with its administrator; `token` goes out as a bearer token."""

    url: str
    email: str
    password: str
    token: str
    log: Path


class ServerError(Exception):
    """An upstream did not start, or did not answer in time; the message names its log."""


def directus_installed() -> bool:
    """Whether the installed Directus is the one that the committed lock names."""
    stamp = DIRECTUS / "installed"
    lock = hashlib.sha256((DIRECTUS_PINS / "package-lock.json").read_bytes()).hexdigest()
    return stamp.is_file() and stamp.read_text().split() == [lock]


@contextmanager
def pocketbase(folder: Path) -> Iterator[RunningServer]:
    """PocketBase with a superuser, on a free loopback port, until the block ends."""
    log = folder / "pocketbase.log"
    places = [f"--{name}Dir={folder / name}" for name in ("hooks", "migrations", "public")]
    command = [str(POCKETBASE), f"--dir={folder / 'data'}", "--automigrate=false", *places]
    environment = {"HOME": str(folder)}
    _prepare([*command, "superuser", "upsert", ADMIN_EMAIL, ADMIN_PASSWORD], folder, environment, log)
    address = f"127.0.0.1:{free_port()}"
    with _serving([*command, "serve", f"--http={address}"], folder, environment, log) as process:
        url = f"http://{address}"
        _wait_until_healthy(process, url + "/api/health", log)
        login = {"identity": ADMIN_EMAIL, "password": ADMIN_PASSWORD}
        answer = ask("POST", f"{url}/api/collections/_superusers/auth-with-password", body=login)
        yield RunningServer(url, ADMIN_EMAIL, ADMIN_PASSWORD, answer.json()["token"], log)


@contextmanager
def directus(folder: Path) -> Iterator[RunningServer]:
    """Directus on SQLite with an administrator, on a free loopback port, until the block ends."""
    if not directus_installed():
        raise ServerError(DIRECTUS_ABSENT)
    node = shutil.which("node")
    if node is None:
        raise ServerError("node is not installed: Directus needs Node.js 20")
    log = folder / "directus.log"
    port = free_port()
    environment = _directus_environment(folder, port)
    command = [node, str(DIRECTUS_CLI)]
    _prepare([*command, "bootstrap"], folder, environment, log)
    with _serving([*command, "start"], folder, environment, log) as process:
        url = f"http://127.0.0.1:{port}"
        _wait_until_healthy(process, url + "/server/health", log)
        yield RunningServer(url, ADMIN_EMAIL, ADMIN_PASSWORD, ADMIN_TOKEN, log)


def _directus_environment(folder: Path, port: int) -> dict[str, str]:
    for name in ("uploads", "extensions"):
        (folder / name).mkdir()
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "NODE_ENV": "production",
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "PUBLIC_URL": f"http://127.0.0.1:{port}",
        "DB_CLIENT": "sqlite3",
        "DB_FILENAME": str(folder / "data.db"),
        "KEY": "parity",
        "SECRET": "parity",
        "ADMIN_EMAIL": ADMIN_EMAIL,
        "ADMIN_PASSWORD": ADMIN_PASSWORD,
        "ADMIN_TOKEN": ADMIN_TOKEN,
        "STORAGE_LOCATIONS": "local",
        "STORAGE_LOCAL_ROOT": str(folder / "uploads"),
        "EXTENSIONS_PATH": str(folder / "extensions"),
        "EMAIL_VERIFY_SETUP": "false",
        "PRESSURE_LIMITER_ENABLED": "false",  # answers 503 on a slow machine
        "SERVE_APP": "false",
        "TELEMETRY": "false",
        "LOG_STYLE": "raw",
    }


def _prepare(command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path) -> None:
    with _serving(command, folder, environment, log) as process:
        try:
            code = process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            raise ServerError(f"not set up in {START_SECONDS:.0f} s: read {log}") from None
    if code != 0:
        raise ServerError(f"setting up ended with {code}: read {log}")


@contextmanager
def _serving(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        # The group outlives its leader where a child lingers: signal it even when the leader is gone.
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            break
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue


def _wait_until_healthy(process: subprocess.Popen[bytes], health: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServerError(f"the server ended with {process.returncode} before it answered: read {log}")
        try:
            if ask("GET", health).status == 200:
                return
        except (OSError, HTTPException):
            pass  # not listening yet
        time.sleep(0.05)
    raise ServerError(f"no healthy answer from {health} in {START_SECONDS:.0f} s: read {log}")
