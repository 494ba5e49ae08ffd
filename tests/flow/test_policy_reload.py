"""The policy file vanishes, breaks or is replaced while the gateway serves (M13, M16)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.door import Gateway, ask, make_gateway
from tests.faults.test_l09_store import disk_full, hanging
from tests.recorder import DEMO, POLICY, STAFF, Recorder, Seen, as_json, client, crm, recording

STRICTER = POLICY.replace("show: {clear: [name], masked: [contact]}", "show: {masked: [name, contact]}")
"""The name is masked, too."""
CLOSED = POLICY.replace('passthrough: ["GET /public/*", "POST /public/*"]\n', "")


@pytest.fixture(scope="module")
def upstream() -> Iterator[Recorder]:
    with recording() as recorder:
        recorder.default = crm
        yield recorder


@pytest.fixture
def door(upstream: Recorder, own_folder: Path) -> Iterator[Gateway]:
    made = make_gateway(own_folder, upstream.port, policy=POLICY, identity=DEMO).start()
    yield made
    made.stop()
    made.verify()
    assert "Traceback" not in made.output


def get(door: Gateway, target: str = "/clients/1") -> Any:
    return ask(door.port, "GET", target, token=STAFF)


def put(door: Gateway, text: str) -> None:
    """Replaces the policy as an editor or a deployment does: whole and at once."""
    fresh = door.folder / "policy.new"
    fresh.write_text(text)
    fresh.rename(door.folder / "policy.yaml")


def eventually(holds: Callable[[], Any], seconds: float = 8) -> Any:
    until = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < until
        time.sleep(0.05)
    return found


def changes(door: Gateway) -> list[dict[str, Any]]:
    return [leaf for leaf in door.leaves() if leaf["action"].startswith("privguard:policy:")]


def changed(door: Gateway, number: int) -> dict[str, Any]:
    """The entry of the so many-th change; the first one is that of the start."""
    return eventually(lambda: changes(door)[number:])[0]  # type: ignore[no-any-return]


def test_m16_a_policy_that_vanishes_denies_everything(door: Gateway, upstream: Recorder) -> None:
    policy = door.folder / "policy.yaml"
    assert get(door).status == 200
    aside = policy.rename(door.folder / "aside.yaml")
    assert changed(door, 1)["action"] == "privguard:policy:withdraw"
    entries = len(door.leaves())
    with upstream.unasked():
        targets = ("/clients/1", "/clients", "/clients.csv", "/elsewhere", "/public/x", "//x")
        for target in targets:
            refused = get(door, target)
            assert (refused.status, refused.problem) == (503, "policy-unavailable"), target
            assert refused.json()["receipt"]["index"] == len(door.leaves()) - 1
    recorded = door.since(entries)
    assert [(leaf["problem"], leaf["status"]) for leaf in recorded] == [("policy-unavailable", 503)] * len(
        targets
    )
    assert {leaf["outcome"] for leaf in recorded} <= {"denied", "aborted"}
    ready = ask(door.port, "GET", "/_privguard/readyz")
    assert (ready.status, ready.json()["policy"] == "ok") == (503, False)
    assert b"privguard_policy_in_force 0.0" in ask(door.port, "GET", "/_privguard/metrics").body
    assert ask(door.port, "GET", "/_privguard/healthz").status == 200

    aside.rename(policy)
    assert changed(door, 2)["action"] == "privguard:policy:activate"
    assert get(door).json()["client"]["name"] == client(1)["name"]
    assert changes(door)[0]["policy"] == changes(door)[2]["policy"]


INVALID = {
    "empty": "",
    "bare": "privguard: 1\n",
    "half": POLICY[: len(POLICY) // 2],
    "a name that is none": POLICY.replace("staff-read", "staff read!"),
    "an unknown relation": POLICY.replace("same_branch, show", "no_such_relation, show"),
    "another version": POLICY.replace("privguard: 1", "privguard: 2"),
    "NUL": "\0",
    "deep": "[" * 5_000,
}


@pytest.mark.parametrize("text", INVALID.values(), ids=INVALID.keys())
def test_m16_a_policy_that_is_not_valid_leaves_the_one_before(door: Gateway, text: str) -> None:
    before = get(door)
    put(door, text)
    eventually(lambda: "policy-refused" in door.output)
    after = get(door)
    assert (after.status, after.body) == (200, before.body)
    assert len(changes(door)) == 1
    assert door.last()["policy"] == changes(door)[0]["policy"]
    assert ask(door.port, "GET", "/_privguard/readyz").status == 200
    time.sleep(1.5)
    assert door.output.count("policy-refused") == 1, "said once a change, not once a second"
    put(door, STRICTER)
    changed(door, 1)
    assert get(door).json()["client"]["name"] != client(1)["name"]


def test_m16_bytes_that_are_no_text_leave_the_one_before(door: Gateway) -> None:
    (door.folder / "policy.yaml").write_bytes(b"\xff\xfe" + POLICY.encode("utf-16-le"))
    eventually(lambda: "policy-refused" in door.output)
    assert get(door).status == 200


def test_m13_a_replacement_takes_effect_and_is_on_record(door: Gateway) -> None:
    assert get(door).json()["client"]["name"] == client(1)["name"]
    assert get(door, "/public/x").status == 200
    put(door, STRICTER)
    first, second = changes(door)[0], changed(door, 1)
    assert second["policy"] != first["policy"]
    shown = get(door)
    assert client(1)["name"] not in shown.body.decode()
    assert door.leaves()[shown.index]["policy"] == second["policy"]
    assert door.leaves()[shown.index]["groups"][0]["fields"]["name"].startswith("masked:")
    put(door, CLOSED)
    changed(door, 2)
    assert get(door, "/public/x").problem == "ungoverned-route"
    assert get(door).json()["client"]["name"] == client(1)["name"]


def test_m13_what_is_written_in_place_takes_effect_too(door: Gateway) -> None:
    """An editor that writes into the file; a reader may meet it half-written, and looks again."""
    with (door.folder / "policy.yaml").open("w") as file:
        for line in STRICTER.splitlines(keepends=True):
            file.write(line)
            file.flush()
            time.sleep(0.06)
    eventually(lambda: client(1)["name"] not in get(door).body.decode())


@pytest.mark.parametrize("then", [STRICTER, None])
def test_m13_an_access_under_way_ends_under_its_own_version(
    door: Gateway, upstream: Recorder, then: str | None
) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def slowly(_: Seen) -> bytes:
        asked.set()
        go_on.wait(20)
        return as_json({"client": client(2)})

    upstream.replies["/clients/2"] = slowly
    try:
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(get, door, "/clients/2")
            assert asked.wait(10)
            put(door, then) if then else (door.folder / "policy.yaml").unlink()
            changed(door, 1)
            assert get(door).status == (200 if then else 503)
            go_on.set()
            shown = waiting.result(20)
    finally:
        go_on.set()
        del upstream.replies["/clients/2"]
    assert shown.status == 200
    assert shown.json()["client"]["name"] == client(2)["name"]
    assert door.leaves()[shown.index]["policy"] == changes(door)[0]["policy"]


def test_m13_a_stream_ends_under_its_own_version(door: Gateway, upstream: Recorder) -> None:
    asked, go_on = threading.Event(), threading.Event()
    junk = "x" * 1_000

    def rows(start: int) -> bytes:
        made = (client(number) for number in range(start, start + 400))
        return "".join(f"{r['id']},{r['name']},{r['mobile']},north,{junk}\r\n" for r in made).encode()

    def slowly(_: Seen) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 X\r\nContent-Type: text/csv\r\n\r\nid,name,mobile,branch,junk\r\n" + rows(0)
        asked.set()
        go_on.wait(20)
        yield rows(400) + rows(800)

    upstream.replies["/clients.csv"] = slowly
    try:
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(get, door, "/clients.csv")
            assert asked.wait(10)
            put(door, STRICTER)
            changed(door, 1)
            go_on.set()
            shown = waiting.result(20)
    finally:
        go_on.set()
        del upstream.replies["/clients.csv"]
    assert shown.body.decode().count("客户") == 1_200
    parts = [leaf for leaf in door.leaves() if leaf.get("route") == "GET /clients.csv"]
    assert {part["policy"] for part in parts} == {changes(door)[0]["policy"]}
    assert parts[-1]["ts"] > changes(door)[1]["ts"]


@pytest.mark.parametrize("fault", [disk_full, hanging])
def test_a_change_that_could_not_be_recorded_is_recorded_later(
    upstream: Recorder, own_folder: Path, fault: Callable[[Gateway], AbstractContextManager[None]]
) -> None:
    """On a full disk the process cannot even print what is wrong; it goes on looking all the same."""
    made = make_gateway(own_folder, upstream.port, policy=POLICY, identity=DEMO)
    made.env["PRIVGUARD_AUDIT__DEADLINE_MS"] = "300"
    made.start()
    try:
        with fault(made):
            put(made, STRICTER)
            time.sleep(3)
            assert get(made).status == 503
        change = changed(made, 1)
        shown = eventually(lambda: (given := get(made)).status == 200 and given)
        assert made.leaves()[shown.index]["policy"] == change["policy"]
        assert client(1)["name"] not in shown.body.decode()
        put(made, POLICY)
        assert changed(made, 2)["policy"] == changes(made)[0]["policy"], "it still looks"
    finally:
        made.stop()


def test_every_worker_follows(upstream: Recorder, own_folder: Path) -> None:
    made = make_gateway(own_folder, upstream.port, policy=POLICY, identity=DEMO)
    made.workers = 2
    made.start()
    try:
        eventually(lambda: len(changes(made)) >= 3, 60)  # the command's own look, and two workers
        put(made, STRICTER)
        eventually(lambda: len(changes(made)) >= 5, 30)
        assert len({leaf["policy"] for leaf in changes(made)}) == 2
        for _ in range(20):
            assert client(1)["name"] not in get(made).body.decode()
    finally:
        made.stop()
