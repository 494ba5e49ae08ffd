"""L09: the store is full, read-only, locked, gone or hangs: 503 in time, nothing released, then it goes on.

Each fault is made from outside, on a gateway that runs: nothing in it knows that it is tested.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.door import Answer, Gateway, ask, make_gateway, raw
from tests.recorder import DEMO, OTHER, POLICY, STAFF, Recorder, Seen, answer, client, crm, recording

DEADLINE_S = 0.6
MARGIN_S = 1.4
"""Beyond the deadline, on a machine that does other things too."""
TRACES = ("1990", "客户", "north")
"""What every client's record holds; not even its masked form may leave."""
CSV = "id,name,mobile,branch\r\n" + "".join(f"{n},客户{n:05d},1990{n:07d},north\r\n" for n in range(2_000))


@contextmanager
def disk_full(door: Gateway) -> Iterator[None]:
    """No file of the gateway's process may grow, or be written to beyond its first bytes."""
    assert door.running is not None
    pid, (soft, hard) = door.running.process.pid, resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (64, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def read_only(door: Gateway) -> Iterator[None]:
    """The files may only be read; what is open would go on writing, so a fault before makes it close them."""
    with disk_full(door):
        assert get(door).status == 503
        files = [file for file in door.folder.glob("privguard.db*") if not file.name.endswith("-lock")]
        for file in files:
            file.chmod(0o400)
    try:
        yield
    finally:
        for file in files:
            if file.exists():
                file.chmod(0o600)


@contextmanager
def locked(door: Gateway) -> Iterator[None]:
    """Another process writes, and does not end."""
    with contextlib.closing(sqlite3.connect(door.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            other.execute("ROLLBACK")


@contextmanager
def hanging(door: Gateway) -> Iterator[None]:
    """Another process holds the writers' lock file: waiting for it has no end."""
    lock = os.open(f"{door.database}-lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


@contextmanager
def moved_away(door: Gateway) -> Iterator[None]:
    aside = door.folder / "aside.db"
    door.database.rename(aside)
    try:
        yield
    finally:
        aside.rename(door.database)


@contextmanager
def no_space(folder: Path) -> Iterator[Callable[[], None]]:
    """A file system without a free block; to be filled again when the log's own files gave some back."""
    filler = folder / "filler"

    def fill() -> None:
        with filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(4096)):
                pass

    fill()
    try:
        yield fill
    finally:
        filler.unlink()


Fault = Callable[[Gateway], AbstractContextManager[None]]
FAULTS: list[Fault] = [disk_full, read_only, locked, hanging, moved_away]


def crm_with_csv(seen: Seen) -> bytes:
    return answer(200, CSV, "text/csv; charset=utf-8") if seen.path == "/clients.csv" else crm(seen)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Recorder]:
    with recording() as recorder:
        recorder.default = crm_with_csv
        yield recorder


def _privileges_dropped() -> list[str]:
    """For root, whom no permission stops: a gateway without that right, as one runs it."""
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("runs as root, and there is no setpriv to make permissions count")
    rights = "-dac_override,-dac_read_search"
    return [setpriv, f"--inh-caps={rights}", f"--bounding-set={rights}"]


def make_door(folder: Path, upstream: Recorder, **more: Any) -> Gateway:
    made = make_gateway(folder, upstream.port, policy=POLICY, identity=DEMO, **more)
    made.env["PRIVGUARD_AUDIT__DEADLINE_MS"] = str(int(DEADLINE_S * 1000))
    made.wrapper = _privileges_dropped()
    return made.start()


@pytest.fixture(scope="module")
def door(upstream: Recorder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    made = make_door(tmp_path_factory.mktemp("l09"), upstream)
    yield made
    made.stop()
    assert "Traceback" not in made.output


def get(door: Gateway, target: str = "/clients/42", method: str = "GET", **more: Any) -> Answer:
    return ask(door.port, method, target, token=STAFF, timeout=DEADLINE_S + MARGIN_S + 5, **more)


def readiness(door: Gateway) -> int:
    return ask(door.port, "GET", "/_privguard/readyz").status


PATCH: dict[str, Any] = {"body": '{"mobile": "19900001234"}', "headers": {"Content-Type": "application/json"}}
ACCESSES: dict[str, Callable[[Gateway], Answer]] = {
    "record": get,
    "list": lambda door: get(door, "/clients"),
    "stream": lambda door: get(door, "/clients.csv"),
    "head": lambda door: get(door, method="HEAD"),
    "write": lambda door: get(door, method="PATCH", **PATCH),
    "refusal by the record": lambda door: ask(door.port, "GET", "/clients/42", token=OTHER),
    "refusal without it": lambda door: get(door, "/nowhere"),
    "malformed": lambda door: get(door, "//clients/42"),
    "nobody": lambda door: ask(door.port, "GET", "/clients/42"),
}


def timed(call: Callable[[Gateway], Answer], door: Gateway) -> tuple[Answer, float]:
    began = time.monotonic()
    return call(door), time.monotonic() - began


def assert_withheld(given: Answer, how: str) -> None:
    assert given.status == 503, (how, given)
    assert how == "head" or given.problem == "audit-unavailable", (how, given)
    assert "privguard-receipt" not in given.headers
    assert b"receipt" not in given.body
    assert "privguard-fields" not in given.headers
    for trace in TRACES:
        assert trace.encode() not in given.body, how
        assert trace not in str(given.headers), how


def assert_recovers(door: Gateway) -> Answer:
    """It goes on by itself, at once as a rule."""
    until = time.monotonic() + 5
    while (given := get(door)).status != 200:
        assert time.monotonic() < until, given
        time.sleep(0.05)
    while readiness(door) != 200:
        assert time.monotonic() < until, "not ready again"
        time.sleep(0.05)
    return given


def assert_whole(door: Gateway, *released: Answer) -> None:
    """The log verifies, and every answer that left stands in it."""
    leaves = door.leaves()
    assert door.verify() >= len(leaves)
    for given in released:
        assert leaves[given.index]["route"] == "GET /clients/{id}"
        assert leaves[given.index]["outcome"] == "permitted"


@pytest.mark.parametrize("fault", FAULTS)
def test_l09_nothing_leaves_that_is_not_on_record(door: Gateway, upstream: Recorder, fault: Fault) -> None:
    before = assert_recovers(door)
    with fault(door):
        since = len(upstream.seen)
        for how, call in ACCESSES.items():
            given, seconds = timed(call, door)
            assert_withheld(given, how)
            assert seconds < DEADLINE_S + MARGIN_S, how
        assert not [line for line in upstream.lines(since) if line.startswith("PATCH")]
        passed, seconds = timed(lambda door: get(door, "/public/x"), door)
        assert (passed.status, seconds < 1) == (200, True)  # it holds no client data, and needs no record
        assert ask(door.port, "GET", "/_privguard/healthz").status == 200
    assert_whole(door, before, assert_recovers(door))


@pytest.mark.parametrize("fault", FAULTS)
def test_l09_readyz_says_so(door: Gateway, fault: Fault) -> None:
    """A load balancer must not send clients' data this way; it learns so within the deadline."""
    assert_recovers(door)
    assert readiness(door) == 200
    with fault(door):
        for _ in range(2):
            given, seconds = timed(lambda door: ask(door.port, "GET", "/_privguard/readyz"), door)
            assert given.status == 503, given
            assert given.json()["store"] != "ok"
            assert seconds < DEADLINE_S + MARGIN_S
    assert_recovers(door)


def test_l09_a_store_that_hangs_costs_no_thread_a_question_and_no_end(
    upstream: Recorder, own_folder: Path
) -> None:
    made = make_door(own_folder, upstream)
    try:
        assert made.running is not None
        process = made.running.process
        tasks = Path(f"/proc/{process.pid}/task")
        assert readiness(made) == 200
        with hanging(made):
            before = len(list(tasks.iterdir()))
            with ThreadPoolExecutor(24) as pool:
                assert set(pool.map(lambda _: readiness(made), range(24))) == {503}
            assert len(list(tasks.iterdir())) <= before + 2
            process.terminate()
            assert process.wait(10) == 0
        assert "Traceback" not in made.output
    finally:
        made.stop()


@pytest.mark.parametrize("fault", FAULTS)
def test_l09_callers_wait_side_by_side(door: Gateway, fault: Fault) -> None:
    """The deadline is each one's own: forty do not wait forty times as long, and none is forgotten."""
    assert_recovers(door)
    with fault(door), ThreadPoolExecutor(40) as pool:
        began = time.monotonic()
        given = list(pool.map(lambda _: get(door), range(40)))
        assert time.monotonic() - began < DEADLINE_S + MARGIN_S + 1
        for one in given:
            assert_withheld(one, "record")
    with ThreadPoolExecutor(8) as pool:
        assert_recovers(door)
        after = list(pool.map(lambda _: get(door), range(16)))
    assert {one.status for one in after} == {200}
    assert_whole(door, *after)


@pytest.mark.parametrize("fault", [disk_full, hanging])
def test_l09_a_stream_breaks_off_where_its_record_ends(
    door: Gateway, upstream: Recorder, fault: Fault
) -> None:
    assert_recovers(door)
    entries, go_on = len(door.leaves()), threading.Event()

    def slowly(_: Seen) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 X\r\nContent-Type: text/csv\r\nConnection: close\r\n\r\n"
        rows = CSV.encode() * 20  # the header once more is a row like any other
        yield rows[: len(rows) // 2]
        go_on.wait(20)
        yield rows[len(rows) // 2 :]

    upstream.replies["/clients.csv"] = slowly
    request = f"GET /clients.csv HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {STAFF}\r\n\r\n".encode()
    try:
        with ThreadPoolExecutor(1) as pool:
            given = pool.submit(raw, door.port, request, wait=20)
            while len(door.leaves()) < entries + 3:
                time.sleep(0.01)
            time.sleep(0.2)
            with fault(door):
                go_on.set()
                received = given.result()
    finally:
        del upstream.replies["/clients.csv"]
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert not body.endswith(b"\r\n0\r\n\r\n"), "it looks whole"
    assert_recovers(door)
    streamed = [leaf for leaf in door.since(entries) if leaf["route"] == "GET /clients.csv"]
    recorded = sum(len(group["subjects"]) for leaf in streamed for group in leaf.get("groups", ()))
    rows = body.count("客户".encode())
    assert 0 < rows <= recorded
    assert_whole(door)


def test_l09_a_write_whose_outcome_cannot_be_recorded_stands_as_intent(
    door: Gateway, upstream: Recorder
) -> None:
    assert_recovers(door)
    entries = len(door.leaves())
    with contextlib.ExitStack() as stack:

        def write_then_hang(_: Seen) -> bytes:
            stack.enter_context(hanging(door))
            return crm(Seen("GET", b"/clients/42", (), b""))

        upstream.replies["PATCH /clients/42"] = write_then_hang
        try:
            given, seconds = timed(ACCESSES["write"], door)
        finally:
            del upstream.replies["PATCH /clients/42"]
        assert_withheld(given, "write")
        assert seconds < DEADLINE_S + MARGIN_S
        (intent,) = [leaf for leaf in door.since(entries) if leaf["outcome"] == "intent"]
        assert intent["route"] == "PATCH /clients/{id}"
    assert_recovers(door)


def test_l09_a_gateway_does_not_start_that_cannot_record(upstream: Recorder, own_folder: Path) -> None:
    made = make_gateway(own_folder, upstream.port, policy=POLICY, identity=DEMO)
    made.env["PRIVGUARD_AUDIT__DEADLINE_MS"] = "300"
    with hanging(made):
        with pytest.raises(AssertionError, match="ended at once"):
            made.start()
        assert "Traceback" not in made.output
        assert made.output.strip()


def test_l09_observe_mode_withholds_too(upstream: Recorder, own_folder: Path) -> None:
    made = make_door(own_folder, upstream, mode="observe")
    try:
        before = get(made)
        assert (before.status, before.json()["client"]) == (200, client("42"))
        with hanging(made):
            since = len(upstream.seen)
            for how, call in ACCESSES.items():
                assert_withheld(call(made), how)
            assert not [line for line in upstream.lines(since) if line.startswith("PATCH")]
        until = time.monotonic() + 5
        while get(made).status != 200:
            assert time.monotonic() < until
    finally:
        made.stop()
    assert made.verify() > 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1.5 MB; only root may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1536k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root may mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_l09_a_disk_without_space(upstream: Recorder, small_disk: Path) -> None:
    made = make_door(small_disk / "own", upstream)
    try:
        before = [get(made) for _ in range(3)]
        with no_space(small_disk) as fill:
            for _ in range(2_000):  # the log's own files may have room for some more entries
                if (given := get(made)).status != 200:
                    break
                before.append(given)
                fill()
            for how, call in ACCESSES.items():
                fill()
                assert_withheld(call(made), how)
            fill()
            assert get(made, "/public/x").status == 200
            assert readiness(made) == 503
        assert_whole(made, *before, assert_recovers(made))
    finally:
        made.stop()
