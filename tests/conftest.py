"""The sample CRM and a gateway before it, started once a test process."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.door import Gateway, Running, make_gateway, start_bank
from tests.postgres import Server, postgres
from tests.unit.store.logs import OPENED


@pytest.fixture(scope="session")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The sample CRM with 200 clients, which knows nothing of privguard."""
    running = start_bank(tmp_path_factory.mktemp("bank"))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def gateway(bank: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway before the sample CRM under the bank profile; tests that change its state make their own."""
    made = make_gateway(tmp_path_factory.mktemp("gateway"), bank.port).start()
    yield made
    made.stop()


@pytest.fixture
def own_folder(tmp_path: Path) -> Path:
    """A folder for a gateway of the test's own."""
    return tmp_path / "own"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """A PostgreSQL server; tests make databases of their own in it."""
    with postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def log_folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A folder for a log (see ``logs.url_of``): in a file there, or in a PostgreSQL database of its own."""
    if request.param == "postgres":
        server: Server = request.getfixturevalue("postgres_server")
        (tmp_path / "url").write_text(server.create(f"log_{secrets.token_hex(8)}"))
    yield tmp_path
    while OPENED:
        OPENED.pop().close()


@pytest.fixture(scope="session")
def softhsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A security module's PKCS#11 library, with the token ``bank`` (PIN 1234)."""
    library = Path("/usr/lib/softhsm/libsofthsm2.so")
    if not library.exists():
        pytest.skip("SoftHSM is absent (.ci/servers.sh softhsm installs it)")
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    os.environ["SOFTHSM2_CONF"] = str(folder / "softhsm2.conf")  # read once, when the library is loaded
    words = ["--init-token", "--free", "--label", "bank", "--pin", "1234", "--so-pin", "5678"]
    subprocess.run(["softhsm2-util", *words], check=True, stdout=subprocess.DEVNULL)
    yield library
    del os.environ["SOFTHSM2_CONF"]
