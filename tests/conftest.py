"""The sample CRM and a gateway before it, started once a test process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.door import Gateway, Running, make_gateway, start_bank


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
