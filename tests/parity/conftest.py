"""One server of each upstream a test session, and a gateway before it, started when the first test asks."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import servers
from .crm import Crm
from .guarded import Guarded, guarded
from .seed_directus import seed_directus
from .seed_pocketbase import seed_pocketbase

UPSTREAMS = ("pocketbase", "directus")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Send all tests of one upstream to the same xdist worker, so that it is started once.

    pytest 9.2 with xdist 3.8 ignores groups (pytest-xdist issue 1386): then each worker starts its own.
    """
    for item in items:
        for name in UPSTREAMS:
            if name in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.xdist_group(name))


@pytest.fixture(scope="session")
def pocketbase(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crm]:
    """PocketBase with the seed; shared by the session, so a test that writes makes its own records."""
    with servers.pocketbase(tmp_path_factory.mktemp("pocketbase")) as server:
        yield seed_pocketbase(server)


@pytest.fixture(scope="session")
def directus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crm]:
    """Directus with the seed; shared as above; absent, it is a failure in CI and a skip elsewhere."""
    if not servers.directus_installed() and os.environ.get("CI") != "true":
        pytest.skip(servers.DIRECTUS_ABSENT)
    with servers.directus(tmp_path_factory.mktemp("directus")) as server:
        yield seed_directus(server)


POCKETBASE_IDENTITY = {  # it has no who-am-I route, but a list of accounts that holds the caller alone
    "whoami": "/api/collections/users/records?perPage=2",
    "id": "items[*].id",
    "roles": "items[*].role",
    "branch": "items[*].branch",
}
DIRECTUS_IDENTITY = {
    "whoami": "/users/me?fields=id,role.name,branch",
    "credentials": ["authorization", "cookie:directus_session_token"],
    "id": "data.id",
    "roles": "data.role.name",
    "branch": "data.branch",
}
IN_PARTS = "max_body = 1024"


@pytest.fixture(scope="session")
def guarded_pocketbase(pocketbase: Crm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """The gateway before PocketBase."""
    folder = tmp_path_factory.mktemp("gateway") / "whole"
    with guarded(pocketbase, folder, "pocketbase", POCKETBASE_IDENTITY) as door:
        yield door


@pytest.fixture
def pocketbase_in_parts(pocketbase: Crm, tmp_path: Path) -> Iterator[Guarded]:
    """The same, but nearly every answer is larger than what is held, and leaves in parts."""
    with guarded(
        pocketbase, tmp_path / "parts", "pocketbase", POCKETBASE_IDENTITY, settings=IN_PARTS
    ) as door:
        yield door


@pytest.fixture(scope="session")
def guarded_directus(directus: Crm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """The gateway before Directus; its accounts sign in with a token or a session cookie."""
    folder = tmp_path_factory.mktemp("gateway") / "whole"
    with guarded(directus, folder, "directus", DIRECTUS_IDENTITY) as door:
        yield door


@pytest.fixture
def directus_in_parts(directus: Crm, tmp_path: Path) -> Iterator[Guarded]:
    """The same, but nearly every answer is larger than what is held, and leaves in parts."""
    with guarded(directus, tmp_path / "parts", "directus", DIRECTUS_IDENTITY, settings=IN_PARTS) as door:
        yield door
