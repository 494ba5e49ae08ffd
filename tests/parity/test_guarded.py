"""What the parity tests stand on can fail: the sweep sees clear values, and the relay sees requests."""

import pytest

from tests.door import Answer

from . import wire
from .guarded import Guarded
from .records import client_seed

ONE = "/api/collections/clients/records/client000000001"
HEADERS = {"cache-control": "no-store"}


@pytest.mark.parametrize("who", ["rm", "other_rm", "rm_manager", None])
def test_the_sweep_sees_what_the_upstream_itself_says(guarded_pocketbase: Guarded, who: str | None) -> None:
    token = guarded_pocketbase.crm.staff["rm"].token
    body = wire.ask("GET", guarded_pocketbase.crm.server.url + ONE, token=token).body
    with pytest.raises(AssertionError):
        guarded_pocketbase.sweep(who, Answer(200, HEADERS, body))


def test_the_sweep_sees_names_of_others_clients_and_headers(guarded_pocketbase: Guarded) -> None:
    name = str(client_seed(2).fields["name"]).encode()
    guarded_pocketbase.sweep("other_rm", Answer(200, HEADERS, name))
    for answer in (
        Answer(200, HEADERS, name),
        Answer(200, {**HEADERS, "etag": "x"}, b""),
        Answer(200, {**HEADERS, "x": "13800138001"}, b""),
    ):
        with pytest.raises(AssertionError):
            guarded_pocketbase.sweep("rm", answer)


def test_the_relay_sees_what_reaches_the_upstream(guarded_pocketbase: Guarded) -> None:
    with pytest.raises(AssertionError), guarded_pocketbase.unasked():
        guarded_pocketbase.get("rm", ONE)
    with guarded_pocketbase.unasked("PATCH"):
        guarded_pocketbase.get("rm", ONE)
    assert guarded_pocketbase.relay.requests()[-1] == f"GET {ONE}"


def test_the_search_of_the_folder_sees_a_value(guarded_pocketbase: Guarded) -> None:
    left = guarded_pocketbase.gateway.folder / "left.log"
    left.write_text("%E7%8E%8B%E5%BB%BA%E5%9B%BD")
    try:
        with pytest.raises(AssertionError, match=r"left\.log"):
            guarded_pocketbase.assert_nothing_kept()
    finally:
        left.unlink()
