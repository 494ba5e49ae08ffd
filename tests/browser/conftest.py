"""A browser, and a gateway before a CRM whose page uses ``privguard.js`` as docs/how-to/front-end.md says."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.browser.chromium import COMMAND, Browser
from tests.door import BANK_POLICY, REPO, Gateway, Running, make_gateway
from tests.recorder import Reply, Seen, answer, recording, relay
from tests.visitor import Visitor

ONCE = BANK_POLICY.read_text().replace("grant: {ttl: 5m, reads: 10}", "grant: {ttl: 5m, reads: 1}")
SETTINGS = """
[stepup]
profile = "psd2"
factors = ["totp", "webauthn", "code", "recovery"]
reset_role = "compliance"
[stepup.sender]
file = "codes.ndjson"
"""


def example(kind: str) -> str:
    """The front end of the documentation."""
    page = (REPO / "docs" / "how-to" / "front-end.md").read_text()
    found = re.search(rf"^```{kind} front\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def front_end(port: int) -> Reply:
    """The CRM, with the page of the example."""
    crm = relay(port)
    files = {
        "/assets/front.html": (example("html"), "text/html"),
        "/assets/front.js": (example("js"), "text/javascript"),
        "/assets/addon.js": ((REPO / "privguard" / "cli" / "demo.js").read_text(), "text/javascript"),
    }

    def reply(seen: Seen) -> bytes:
        if seen.path in files:
            text, media = files[seen.path]
            return answer(200, text, f"{media}; charset=utf-8")
        said = crm(seen)
        assert isinstance(said, bytes)
        return said

    return reply


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if COMMAND is None:
        pytest.skip("Chromium is absent (.ci/servers.sh chromium installs it)")
    made = Browser(tmp_path_factory.mktemp("chromium"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def door(bank: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    assert "reads: 1}" in ONCE
    with recording() as crm:
        crm.default = front_end(bank.port)
        made = make_gateway(tmp_path_factory.mktemp("browser"), crm.port, policy=ONCE, extra=SETTINGS)
        made.upstream_port = bank.port
        here = f'[stepup]\npublic_url = "http://localhost:{made.port}"\n'
        made.config.write_text(made.config.read_text().replace("[stepup]\n", here))
        yield made.start()
        made.stop()
        made.verify()
        assert "Traceback" not in made.output


@pytest.fixture(scope="session")
def _rm(door: Gateway) -> Visitor:
    person = Visitor(door, "rm.li").sign_in()
    person.enrol()
    return person


@pytest.fixture
def rm(_rm: Visitor) -> Visitor:
    """A relationship manager with a phone, minutes after the test before; they have no other factor."""
    _rm.minutes_later()
    with _rm.store() as store:
        store.execute("DELETE FROM factor WHERE actor = ? AND id <> ?", (_rm.name, _rm.factor))
    return _rm


@pytest.fixture(scope="session")
def lead(door: Gateway) -> Visitor:
    person = Visitor(door, "amllead.gao").sign_in()
    person.enrol()
    return person


@pytest.fixture(scope="session")
def officer(door: Gateway) -> Visitor:
    person = Visitor(door, "aml.zhao", origin=f"http://localhost:{door.port}").sign_in()
    person.enrol()
    person.enrol_key()
    return person
