"""``privguard directory`` beside a gateway with two workers: who is on the staff decides at once."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from privguard.bootstrap import wire
from privguard.config import load_settings
from privguard.errors import AccessDeniedError
from privguard.model import Principal
from tests.command import privguard
from tests.door import Gateway, ask
from tests.recorder import OTHER, STAFF, client

TODAY = datetime.now(UTC).date()
HEAD = "id,roles,branch,status\n"


pytestmark = pytest.mark.xdist_group("staffed")


@pytest.fixture
def door(staffed: Gateway) -> Gateway:
    return staffed


def put(door: Gateway, *more: str, **files: str) -> Any:
    paths = []
    for name, text in files.items():
        paths.append(door.folder / f"{name}.csv")
        paths[-1].write_text(text)
    said = privguard("directory", "import", *paths, *more, "--config", door.config, "--json")
    return json.loads(said.stdout) if said.returncode == 0 else said


def both(door: Gateway, token: str = STAFF, target: str = "/clients/1") -> set[int]:
    """Statuses of sixteen requests at once, on both workers."""
    with ThreadPoolExecutor(16) as pool:
        answers = pool.map(lambda _: ask(door.port, "GET", target, token=token), range(16))
        return {answer.status for answer in answers}


def test_s08_who_is_not_or_no_longer_on_the_staff_is_refused_everywhere_at_once(door: Gateway) -> None:
    put(door, staff=HEAD + "somebody,staff,,\n")
    refused = ask(door.port, "GET", "/clients/1", token=STAFF)
    assert (refused.status, refused.problem) == (403, "not-permitted")
    leaf = door.leaves()[refused.json()["receipt"]["index"]]
    assert (leaf["actor"], leaf["outcome"], leaf.get("roles")) == ("e-17", "denied", ["staff"])

    staff = HEAD + "e-17,staff,north,active\ne-18,staff,south,active\n"
    clients = "staff,client,from,until\ne-17,1,,\ne-17,2,,\n"
    dry = put(door, "--dry-run", staff=staff, clients=clients)
    assert dry == {"changes": {"e-17": "added", "e-18": "added", "somebody": "removed"}, "index": None}
    assert both(door) == {403}
    index = put(door, staff=staff, clients=clients)["index"]
    leaf = door.leaves()[index]
    assert (leaf["action"], leaf["about"]["added"]) == ("oversight:directory:import", "2")
    assert leaf["about"]["removed"] == "1"
    assert both(door) == {200}
    assert both(door, target="/clients/3") == {404}
    assert both(door, OTHER) == {404}

    dismissed = staff.replace("e-17,staff,north,active", "e-17,staff,north,dismissed")
    assert put(door, staff=dismissed)["changes"] == {"e-17": "status"}
    assert both(door) == {403}
    with pytest.raises(AccessDeniedError):  # and for the library
        wiring = wire(load_settings(door.config))
        try:
            wiring.guard.disclose(
                Principal("e-17", frozenset({"staff"})), resource="client", record=client(1)
            )
        finally:
            wiring.close()
    asks = ("factor", "reset", "e-18", "--as", "e-17", "--config", door.config)  # and at the command line
    said = privguard(*asks, typed="123456")
    assert (said.returncode, b"not among the staff" in said.stderr) == (1, True), said
    leaf = door.leaves()[-1]
    assert (leaf["actor"], leaf["action"], leaf["outcome"]) == (
        "e-17",
        "stepup:factor_reset:request",
        "denied",
    )

    assert put(door, staff=staff.replace("e-17,staff", "e-17,"))["changes"] == {"e-17": "roles, status"}
    assert both(door) == {403}  # the role in the token does not count
    put(door, staff=staff)
    assert both(door) == {200}


def test_an_absence_gives_the_clients_to_the_cover_for_its_time(door: Gateway) -> None:
    put(door, staff=HEAD + "e-17,staff,,\ne-18,staff,,\n", clients="staff,client\ne-17,1\n")
    assert both(door, OTHER) == {404}
    days = f"{TODAY - timedelta(days=1)},{TODAY + timedelta(days=1)}"
    said = put(door, away=f"staff,cover,from,until\ne-17,e-18,{days}\n")
    assert said["changes"] == {"e-17": "absences +1 -0", "e-18": "covers +1 -0"}
    assert both(door, OTHER) == {200}
    shown = json.loads(privguard("directory", "show", "e-17", "--config", door.config, "--json").stdout)
    assert (shown["clients"], shown["covered_by"]) == (1, ["e-18"])
    past = f"{TODAY - timedelta(days=9)},{TODAY - timedelta(days=2)}"
    put(door, away=f"staff,cover,from,until\ne-17,e-18,{past}\n")
    assert both(door, OTHER) == {404}


def test_a_file_that_is_wrong_changes_nothing(door: Gateway) -> None:
    put(door, staff=HEAD + "e-17,staff,,\n", clients="staff,client\ne-17,1\n")
    before = len(door.leaves())
    said = put(door, staff=HEAD + "e-18,staff,,\n", clients="staff,client,from\ne-18,1,\ne-18,2,soon\n")
    assert said.returncode == 1
    assert b"clients.csv:3: no time" in said.stderr
    assert both(door) == {200}
    assert all(leaf["action"] != "oversight:directory:import" for leaf in door.since(before))
    text = privguard("directory", "show", "--config", door.config).stdout.decode()
    assert text == "e-17: active, staff, no branch, 1 clients\n"
    assert privguard("directory", "show", "nobody", "--config", door.config).returncode == 1
