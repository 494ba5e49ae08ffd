"""An access that ends early is on record as aborted, also where parts of it are already."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.door import Gateway, make_gateway, raw
from tests.recorder import DEMO, POLICY, STAFF, Recorder, client, recording

ROW = "{id},{name},{mobile},{branch},{junk}\r\n"
HEAD = b"HTTP/1.1 200 X\r\nContent-Type: text/csv\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(text: str) -> bytes:
    data = text.encode()
    return b"%x\r\n%b\r\n" % (len(data), data)


def rows(start: int, stop: int) -> bytes:
    """Rows of 1 KB: some 250 of them are a part."""
    return chunk("".join(ROW.format(**client(number), junk="x" * 1_000) for number in range(start, stop)))


@pytest.fixture(scope="module")
def upstream() -> Iterator[Recorder]:
    with recording() as recorder:
        yield recorder


@pytest.fixture(scope="module", params=["enforce", "observe"])
def door(
    upstream: Recorder, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp(request.param)
    made = make_gateway(folder, upstream.port, policy=POLICY, identity=DEMO, mode=request.param).start()
    yield made
    made.stop()
    made.verify()
    assert "Traceback" not in made.output


def export(door: Gateway, upstream: Recorder, *pieces: bytes) -> bytes:
    upstream.default = lambda _: iter([HEAD, chunk("id,name,mobile,branch,junk\r\n"), *pieces])
    lines = ["GET /clients.csv HTTP/1.1", "Host: a", "Connection: close", f"Authorization: Bearer {STAFF}"]
    return raw(door.port, "\r\n".join(lines).encode() + b"\r\n\r\n", wait=10)


@pytest.mark.parametrize(
    ("end", "problem"),
    [
        ([], "upstream-unavailable"),
        ([b"zz\r\n"], "unreadable-response"),
        ([chunk('9,"unclosed\r\n'), b"0\r\n\r\n"], "unreadable-response"),
    ],
)
def test_a_stream_that_breaks_off(door: Gateway, upstream: Recorder, end: list[bytes], problem: str) -> None:
    entries = len(door.leaves())
    received = export(door, upstream, rows(0, 600), *end)
    assert received.startswith(b"HTTP/1.1 200 ")
    *parts, last = door.since(entries)
    assert {part["outcome"] for part in parts} == {"permitted"}
    assert parts
    assert (last["outcome"], last.get("problem")) == ("aborted", problem)
    assert last["route"] == "GET /clients.csv"
    assert not last.get("groups")
    if not door.config.read_text().count("observe"):
        assert not received.endswith(b"\r\n0\r\n\r\n"), "it looks whole"


def test_an_export_of_too_many_stops(door: Gateway, upstream: Recorder) -> None:
    """The limit is the policy's: what left before it is on record, and so is the refusal."""
    policy = door.folder / "policy.yaml"
    assert "max_clients: 100000" in policy.read_text()
    policy.write_text(POLICY.replace("max_clients: 100000", "max_clients: 700"))
    until = time.monotonic() + 10
    while not [leaf for leaf in door.leaves()[1:] if leaf["action"] == "privguard:policy:activate"]:
        assert time.monotonic() < until
        time.sleep(0.05)
    entries = len(door.leaves())
    received = export(door, upstream, rows(0, 2_000), b"0\r\n\r\n")
    *parts, last = door.since(entries)
    assert (last["outcome"], last["problem"]) in (("aborted", "not-permitted"), ("denied", "not-permitted"))
    assert 0 < sum(len(group["subjects"]) for part in parts for group in part.get("groups", ())) <= 700
    if door.config.read_text().count("observe"):
        assert received.count(b",1990") == 2_000
    else:
        assert 0 < received.count(b",199****") <= 700
