"""Budgets of clients, against a gateway with two workers on one store."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.door import BANK_POLICY, Gateway, Running, make_gateway

HOURLY = 12


@pytest.fixture(scope="module")
def guarded(bank: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    policy = BANK_POLICY.read_text().replace(
        "rm: {clients_per_hour: 60, clients_per_day: 200}",
        f"rm_manager: {{clients_per_hour: {HOURLY}}}\n  rm: {{clients_per_hour: 1000, clients_per_day: 5}}",
    )
    made = make_gateway(tmp_path_factory.mktemp("budgets"), bank.port, policy=policy)
    made.workers = 2
    yield made.start()
    made.stop()
    made.verify()
    assert "Traceback" not in made.output


def of_the_branch(guarded: Gateway) -> list[int]:
    """Clients that the branch's manager may see."""
    branch = guarded.upstream("mgr.chen", "GET", "/me").json()["branch"]
    listed = guarded.upstream("mgr.chen", "GET", f"/clients?branch={branch}&page=1&size=100").json()["items"]
    return [client["id"] for client in listed if client["tier"] != "private" and client["id"] != 14]


def test_no_more_clients_are_shown_than_the_budget_has_however_many_ask_at_once(guarded: Gateway) -> None:
    wait_for_room_in_the_hour()
    clients = of_the_branch(guarded)
    assert len(clients) > HOURLY + 5
    guarded.token("mgr.chen")
    with ThreadPoolExecutor(16) as pool:
        answers = dict(
            zip(clients, pool.map(lambda c: guarded.get("mgr.chen", f"/clients/{c}"), clients), strict=True)
        )
    shown = [client for client, answer in answers.items() if answer.status == 200]
    refused = [answer for answer in answers.values() if answer.status != 200]
    assert len(shown) == HOURLY
    assert {(answer.status, answer.problem) for answer in refused} == {(429, "too-many-disclosures")}
    assert all(0 < int(answer.headers["retry-after"]) <= 3600 for answer in refused)
    assert all(guarded.get("mgr.chen", f"/clients/{client}").status == 200 for client in shown)  # again
    listed = guarded.get("mgr.chen", "/clients?page=1&size=50")
    assert listed.problem == "too-many-disclosures"
    last = guarded.last()
    assert (last["outcome"], last["problem"]) == ("denied", "too-many-disclosures")
    assert all("fields" not in group for group in last["groups"])


def test_a_day_s_budget_counts_lists_too(guarded: Gateway) -> None:
    wait_for_room_in_the_hour()
    assert guarded.get("rm.li", "/clients?page=1&size=3").status == 200
    assert guarded.get("rm.li", "/clients?page=1&size=3").status == 200
    assert guarded.get("rm.li", "/clients?page=1&size=50").problem == "too-many-disclosures"
    assert guarded.get("comp.he", "/clients/1", headers={"Privguard-Purpose": "audit"}).status == 200  # none


def wait_for_room_in_the_hour() -> None:
    """An hour that ends within the test would begin the budget anew."""
    left = 3600 - time.time() % 3600
    if left < 15:
        time.sleep(left + 0.5)
