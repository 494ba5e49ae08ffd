"""L08: kill -9 of the gateway under load: whatever a caller received is on record, and the log goes on.

Callers ask for records, lists, streams and writes at once; the gateway is killed at a random moment, started
again on the same log, and so on. What each caller received, to the last byte that came, is then held against
the log: the response's receipt, the entry at its index, the clients in it.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import re
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.door import Gateway, ask, make_gateway
from tests.recorder import POLICY, Recorder, Seen, as_json, client, recording
from tests.zygote import Zygote, alive, kill, zygote

CALLERS = 6
ROUNDS = 25
"""Kills of each of two gateways: fifty in all."""
ROWS = 1_500
BUSY_S = 0.8
"""At most so long the gateway is under load before it is killed."""
STARTING_S = 0.25


@dataclass
class Received:
    """What came back of one request, whole or not.

    Attributes:
        index: of its receipt; None where not even that came.
        clients: whose data came.
    """

    kind: str
    actor: str
    status: int
    index: int | None
    problem: str
    clients: int
    whole: bool
    round: int


def csv_rows() -> Iterator[bytes]:
    """A stream of many parts: a row has 1 KB, most of which the policy does not know."""
    yield b"HTTP/1.1 200 X\r\nContent-Type: text/csv\r\nConnection: close\r\n\r\n"
    yield b"id,name,mobile,branch,junk\r\n"
    for start in range(0, ROWS, 100):
        rows = (client(number) for number in range(start, start + 100))
        yield "".join(f"{r['id']},{r['name']},{r['mobile']},north,{'x' * 1_000}\r\n" for r in rows).encode()
        time.sleep(0.002)


def cheap(seen: Seen) -> bytes | Iterator[bytes]:
    if seen.path == "/clients.csv":
        return csv_rows()
    if seen.path == "/clients":
        return _LIST
    return as_json({"client": client(seen.path.rpartition("/")[2])})


_LIST = as_json({"items": [client(number) for number in range(1, 21)]})

KINDS = {
    "record": ("GET", "/clients/42", "GET /clients/{id}"),
    "list": ("GET", "/clients?page=1", "GET /clients"),
    "stream": ("GET", "/clients.csv", "GET /clients.csv"),
    "write": ("PATCH", "/clients/42", "PATCH /clients/{id}"),
    "refused": ("GET", "/elsewhere", ""),
}
MIX = ("record", "list", "write", "record", "refused", "list", "record", "write")


def token(caller: int) -> str:
    return f"token-of-caller-{caller:04d}"


def identity() -> str:
    """As many members of staff as there are callers: an entry's actor then tells whose it is."""
    accounts = "".join(
        f'[[identity.demo]]\ntoken = "{token(caller)}"\nid = "e-{caller}"\n'
        'roles = ["staff"]\nbranch = "north"\n'
        for caller in range(CALLERS)
    )
    return f'[identity]\nmode = "demo"\n{accounts}'


def exchange(port: int, kind: str, caller: int) -> bytes | None:
    """Sends one request; gives all that comes until the connection ends, or None if there was none."""
    method, target, _ = KINDS[kind]
    body = b'{"mobile": "19900001234"}' if method == "PATCH" else b""
    lines = [
        f"{method} {target} HTTP/1.1", "Host: crm.test", f"Authorization: Bearer {token(caller)}",
        "Connection: close",
    ]  # fmt: skip
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    received = None
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", port), timeout=20) as connection,
    ):
        received = b""
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        while chunk := connection.recv(1 << 17):
            received += chunk
    return received


def read(kind: str, caller: int, raw: bytes, round_: int) -> Received | None:
    """What was received; None where not even the head of an answer came."""
    head, separator, body = raw.partition(b"\r\n\r\n")
    if not separator:
        return None
    top = head.decode("latin-1").lower()
    found = re.search(r"privguard-receipt: .*index=(\d+)", top)
    if "transfer-encoding: chunked" in top:
        body, whole = dechunked(body)
    else:
        whole = len(body) == int(re.search(r"content-length: (\d+)", top)[1])  # type: ignore[index]
    index, problem, clients = (int(found[1]) if found else None), "", 0
    if kind == "stream":
        clients = body.count(b",199****")
    elif whole and b"problem+json" in head:
        said = json.loads(body)
        problem = said["type"].rpartition(":")[2]
        index = said["receipt"]["index"]
    elif whole:
        said = json.loads(body)
        clients = len(said["items"]) if "items" in said else 1
    return Received(kind, f"e-{caller}", int(head.split()[1]), index, problem, clients, whole, round_)


def dechunked(body: bytes) -> tuple[bytes, bool]:
    """The bytes of all chunks as far as they came, and whether the last one did."""
    pieces: list[bytes] = []
    while match := re.match(rb"([0-9a-f]+)\r\n", body):
        size = int(match[1], 16)
        if size == 0:
            return b"".join(pieces), body[match.end() :] == b"\r\n"
        pieces.append(body[match.end() : match.end() + size])
        body = body[match.end() + size + 2 :]
    return b"".join(pieces), False


@dataclass
class Load:
    """Callers that ask without pause, on one gateway."""

    gateway: Gateway
    received: list[Received] = field(default_factory=list)
    cut: int = 0

    def run(self, until: threading.Event, round_: int) -> list[threading.Thread]:
        threads = [
            threading.Thread(target=self._ask, args=(caller, until, round_)) for caller in range(CALLERS)
        ]
        for thread in threads:
            thread.start()
        return threads

    def _ask(self, caller: int, until: threading.Event, round_: int) -> None:
        kinds = itertools.cycle(MIX[caller:] + MIX[:caller]) if caller else itertools.repeat("stream")
        for kind in kinds:
            if until.is_set():
                return
            raw = exchange(self.gateway.port, kind, caller)
            if raw is None:
                time.sleep(0.005)
                continue
            one = read(kind, caller, raw, round_)
            if one is not None:
                self.received.append(one)
            if one is None or not one.whole:
                self.cut += 1


def listening(gateway: Gateway, pid: int) -> None:
    """Waits until the gateway serves."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        assert alive(pid), gateway.output[-2000:]
        try:
            socket.create_connection(("127.0.0.1", gateway.port), timeout=1).close()
        except OSError:
            time.sleep(0.005)
        else:
            assert alive(pid), gateway.output[-2000:]
            return
    raise AssertionError(gateway.output[-2000:])


def check(gateway: Gateway, upstream: Recorder, received: list[Received]) -> None:
    """Everything that left is on record, as what it was; every write was announced."""
    leaves = gateway.leaves()
    for one in received:
        if one.index is None:
            assert not one.whole, one
            assert not one.clients, one
            continue
        leaf = leaves[one.index]
        assert leaf["actor"] == one.actor, (one, leaf)
        assert leaf.get("route", "") == KINDS[one.kind][2], (one, leaf)
        assert leaf["status"] == one.status, (one, leaf)
        assert leaf.get("problem", "") == one.problem, (one, leaf)
        assert (leaf["outcome"] == "permitted") is (not one.problem), (one, leaf)
        if one.kind == "stream" and one.status == 200:
            assert one.clients <= recorded_stream(leaves, one), one
        elif one.whole:
            assert subjects(leaf) == one.clients + (one.kind == "refused" and subjects(leaf)), (one, leaf)
    indexes = [one.index for one in received if one.index is not None]
    assert len(indexes) == len(set(indexes)), "two answers with one receipt"
    for leaf in leaves:
        if leaf.get("route", "").startswith("PATCH") and leaf["outcome"] != "intent":
            intent = leaves[leaf["intent"]]
            assert (intent["outcome"], intent["actor"]) == ("intent", leaf["actor"])
    intents = Counter(leaf["actor"] for leaf in leaves if leaf["outcome"] == "intent")
    written = Counter(
        f"e-{int(seen.values('authorization')[0][-4:])}" for seen in upstream.seen if seen.method == "PATCH"
    )
    assert written <= intents, (written, intents)


def subjects(leaf: dict[str, Any]) -> int:
    return sum(len(group["subjects"]) for group in leaf.get("groups", ()))


def recorded_stream(leaves: list[dict[str, Any]], one: Received) -> int:
    """Clients in the entries of a stream: its first part and those that follow it, by the same actor."""
    assert one.index is not None
    total, part = 0, leaves[one.index]["part"]
    for leaf in leaves[one.index :]:
        if leaf["actor"] != one.actor or leaf["outcome"] != "permitted":
            continue
        if leaf.get("part", 0) != part:
            break
        total, part = total + subjects(leaf), part + 1
    return total


def die_again_and_again(folder: Path, source: Zygote, seed: int, rounds: int) -> dict[str, float]:
    """Kills a gateway so many times; gives figures."""
    chance = random.Random(seed)
    with recording() as upstream:
        upstream.default = cheap
        gateway = make_gateway(folder, upstream.port, policy=POLICY, identity=identity())
        gateway.env["PRIVGUARD_AUDIT__DEADLINE_MS"] = "5000"
        load, size, early = Load(gateway), 0, 0
        for round_ in range(rounds):
            pid = source.fork(gateway.config, folder / "gateway.log")
            stop = threading.Event()
            if starting := round_ % 5 == 4:
                early += 1
                time.sleep(chance.uniform(0, STARTING_S))
            else:
                listening(gateway, pid)
                before, size = size, gateway.verify()
                assert size > before, "it does not go on"
                threads = load.run(stop, round_)
                time.sleep(chance.uniform(0.01, BUSY_S))
            kill(pid)
            stop.set()
            if not starting:
                for thread in threads:
                    thread.join(30)
                    assert not thread.is_alive(), "a caller hangs"
        pid = source.fork(gateway.config, folder / "gateway.log")
        listening(gateway, pid)
        after = ask(gateway.port, "GET", "/clients/42", token=token(0))
        assert after.status == 200
        assert after.index == gateway.verify() - 1
        check(gateway, upstream, load.received)
        kill(pid)
        assert "Traceback" not in gateway.output
        return {
            "kills": rounds,
            "while starting": early,
            "received": len(load.received),
            "whole": sum(one.whole for one in load.received),
            "cut": load.cut,
            "entries": after.index + 1,
            "writes": sum(seen.method == "PATCH" for seen in upstream.seen),
        }


@pytest.mark.parametrize(
    ("lane", "rounds"),
    [*((lane, ROUNDS) for lane in range(2)), pytest.param(2, 300, marks=pytest.mark.slow)],
)
def test_l08_whatever_was_received_is_on_record(
    lane: int, rounds: int, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    began = time.monotonic()
    with zygote() as source:
        figures = die_again_and_again(tmp_path / "own", source, seed, rounds)
    figures["seconds"] = round(time.monotonic() - began, 1)
    for name, figure in figures.items():
        record_property(name, figure)
    print(f"seed {seed}:", figures)
    assert figures["whole"] > 10 * rounds, "hardly any load"
    assert figures["cut"] > rounds / 2, "the kills met nothing under way"
    assert figures["writes"] > rounds


def workers(gateway: Gateway) -> list[int]:
    """The supervisor's children that serve (Python's resource tracker is another child)."""
    assert gateway.running is not None
    pid = gateway.running.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def test_l08_a_worker_that_dies_takes_nothing_with_it(tmp_path: Path) -> None:
    """Of two workers one is killed under load; the other serves on, and a new one takes its place."""
    with recording() as upstream:
        upstream.default = cheap
        gateway = make_gateway(tmp_path / "own", upstream.port, policy=POLICY, identity=identity())
        gateway.env["PRIVGUARD_AUDIT__DEADLINE_MS"] = "5000"
        gateway.workers = 2
        gateway.start()
        try:
            load, stop = Load(gateway), threading.Event()
            for number in range(2):
                until = time.monotonic() + 60
                while len(workers(gateway)) < 2:
                    assert time.monotonic() < until, "no new worker"
                    time.sleep(0.02)
                threads, before = load.run(stop, number), len(load.received)
                while len(load.received) < before + 30:
                    time.sleep(0.01)
                os.kill(random.choice(workers(gateway)), signal.SIGKILL)
                before = len(load.received)
                while len(load.received) < before + 10:
                    assert time.monotonic() < until, "nobody serves"
                    time.sleep(0.01)
                stop.set()
                for thread in threads:
                    thread.join(30)
                stop.clear()
            check(gateway, upstream, load.received)
            gateway.verify()
        finally:
            gateway.stop()
