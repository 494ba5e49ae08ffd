"""Each upstream by itself: it starts, takes the seed and answers a list to its own staff."""

from pathlib import Path
from typing import Any

import pytest

from . import servers
from .crm import Crm
from .records import client_seed
from .wire import ask


def test_pocketbase_lists_the_seed(pocketbase: Crm) -> None:
    url = (
        f"{pocketbase.server.url}/api/collections/clients/records?perPage=20&sort=id&filter=id~%22client0%22"
    )
    page = ask("GET", url, token=pocketbase.staff["rm"].token).json()
    assert [item["id"] for item in page["items"]] == list(pocketbase.clients.values())
    _assert_seeded(page["items"])


def test_directus_lists_the_seed(directus: Crm) -> None:
    url = f"{directus.server.url}/items/clients?sort=id&limit=20"
    page = ask("GET", url, token=directus.staff["rm"].token).json()
    assert [str(item["id"]) for item in page["data"]] == list(directus.clients.values())
    _assert_seeded(page["data"])


def test_pocketbase_tells_who_holds_a_token(pocketbase: Crm) -> None:
    for staff in pocketbase.staff.values():
        url = f"{pocketbase.server.url}/api/collections/users/records"
        (record,) = ask("GET", url, token=staff.token).json()["items"]
        assert (record["id"], record["role"], record["branch"]) == (staff.id, staff.role, staff.branch)


def test_directus_tells_who_holds_a_token(directus: Crm) -> None:
    for staff in directus.staff.values():
        url = f"{directus.server.url}/users/me?fields=id,role.name,branch"
        answer = ask("GET", url, token=staff.token).json()
        assert answer["data"] == {"id": staff.id, "role": {"name": staff.role}, "branch": staff.branch}


def test_a_server_is_gone_when_its_block_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), servers.pocketbase(tmp_path) as server:
        assert ask("GET", server.url + "/api/health").status == 200
        raise ZeroDivisionError
    with pytest.raises(ConnectionRefusedError):
        ask("GET", server.url + "/api/health")


def test_a_server_that_does_not_start_names_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "POCKETBASE", Path("/bin/false"))
    with pytest.raises(servers.ServerError, match=r"pocketbase\.log"), servers.pocketbase(tmp_path):
        pass


def test_lock_names_no_host() -> None:
    lock = (servers.DIRECTUS_PINS / "package-lock.json").read_text()
    assert "://" not in lock
    assert '"resolved"' not in lock


def _assert_seeded(records: list[dict[str, Any]]) -> None:
    for number, record in enumerate(records, start=1):
        fields = client_seed(number).fields
        assert {name: record[name] for name in fields} == fields
