"""Each upstream by itself: it starts, takes the seed and answers a list to its own staff."""

from typing import Any

from . import servers
from .crm import Crm
from .records import CLIENT_COUNT, client_seed
from .wire import ask


def test_pocketbase_lists_the_seed(pocketbase: Crm) -> None:
    url = f"{pocketbase.server.url}/api/collections/clients/records?perPage=50&sort=id"
    page = ask("GET", url, token=pocketbase.staff["rm"].token).json()
    assert (page["page"], page["totalItems"]) == (1, CLIENT_COUNT)
    assert [item["id"] for item in page["items"]] == list(pocketbase.clients.values())
    _assert_seeded(page["items"])


def test_directus_lists_the_seed(directus: Crm) -> None:
    url = f"{directus.server.url}/items/clients?sort=id&meta=total_count"
    page = ask("GET", url, token=directus.staff["rm"].token).json()
    assert page["meta"] == {"total_count": CLIENT_COUNT}
    assert [str(item["id"]) for item in page["data"]] == list(directus.clients.values())
    _assert_seeded(page["data"])


def test_upstreams_refuse_a_stranger(pocketbase: Crm) -> None:
    answer = ask("GET", f"{pocketbase.server.url}/api/collections/clients/records")
    assert answer.json()["totalItems"] == 0


def test_lock_names_no_host() -> None:
    lock = (servers.DIRECTUS_PINS / "package-lock.json").read_text()
    assert "://" not in lock
    assert '"resolved"' not in lock


def _assert_seeded(records: list[dict[str, Any]]) -> None:
    for number, record in enumerate(records, start=1):
        fields = client_seed(number).fields
        assert {name: record[name] for name in fields} == fields
