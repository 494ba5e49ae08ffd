"""The sample CRM behind a recorder that may say something else, and the gateway before it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.vouched import KEY, PROXY, Vouched
from tests.door import Gateway, Running, make_gateway
from tests.recorder import Recorder, recording, relay


@pytest.fixture(scope="session")
def _relay(bank: Running) -> Iterator[Recorder]:
    with recording() as recorder:
        recorder.default = relay(bank.port)
        yield recorder


@pytest.fixture
def stand(_relay: Recorder) -> Iterator[Recorder]:
    """What the gateway takes for the CRM: the CRM, unless the test says otherwise in ``replies``."""
    yield _relay
    _relay.replies.clear()
    _relay.seen.clear()


@pytest.fixture(scope="session")
def door(bank: Running, _relay: Recorder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway before the stand, under the bank profile; ``upstream`` asks the CRM itself."""
    made = make_gateway(tmp_path_factory.mktemp("door"), _relay.port).start()
    made.upstream_port = bank.port
    yield made
    made.stop()


@pytest.fixture(scope="session")
def odd(_relay: Recorder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vouched]:
    """A gateway before the same stand, under the policy of odd shapes; the test says who asks."""
    policy = Path(__file__).with_name("odd.yaml").read_text()
    made = make_gateway(tmp_path_factory.mktemp("odd"), _relay.port, policy=policy, identity=PROXY)
    key = made.folder / "proxy.key"
    key.write_text(KEY)
    key.chmod(0o600)
    yield Vouched(made.start())
    made.stop()
