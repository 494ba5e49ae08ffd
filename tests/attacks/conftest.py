"""The sample CRM behind a recorder that may say something else, and the gateway before it."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.vouched import KEY, PROXY, Vouched
from tests.door import Gateway, Running, make_gateway
from tests.recorder import HOP_BY_HOP, Recorder, Reply, Seen, recording


def relay(port: int) -> Reply:
    """Hands a request on to the CRM as it came, and its answer back whole."""

    def ask(seen: Seen) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in seen.headers}
        connection.request(seen.method, seen.target.decode("latin-1"), seen.body, headers)
        answer = connection.getresponse()
        body = answer.read()
        kept = [f"{name}: {value}" for name, value in answer.getheaders() if name.lower() not in _FRAMING]
        connection.close()
        head = [f"HTTP/1.1 {answer.status} X", f"Content-Length: {len(body)}", *kept]
        return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body

    return ask


_FRAMING = (*HOP_BY_HOP, "content-length", "date", "server")


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
