"""The server over raw sockets: each way of S13 to be read twice, to be endless, or to be slow."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
import uvloop

from privguard.errors import ConfigError
from privguard.gateway import server
from privguard.gateway.server import make_server

Ask = Callable[..., Awaitable[bytes]]


class App:
    """Answers with what it was given; ``/hold`` waits until told, ``/early`` does not read the body."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.left: list[str] = []
        self.release = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for _ in range(2):
                message = await receive()
                await send({"type": f"{message['type']}.complete"})
            return
        self.paths.append(scope["path"])
        if scope["path"] == "/hold":
            await self.release.wait()
        body = b""
        while scope["path"] != "/early":
            message = await receive()
            if message["type"] == "http.disconnect":
                self.left.append(scope["path"])
                return
            body += message["body"]
            if not message["more_body"]:
                break
        names = sorted(name.decode() for name, _ in scope["headers"])
        out = json.dumps({"path": scope["path"], "names": names, "body": body.decode("latin-1")}).encode()
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-length", b"%d" % len(out))],
            }
        )
        await send({"type": "http.response.body", "body": out})


@asynccontextmanager
async def running(app: App) -> AsyncIterator[int]:
    """Serves on a free port of the loopback interface."""
    serving = make_server(app)
    task = asyncio.create_task(serving._serve())
    while not serving.started:  # noqa: ASYNC110  # uvicorn has nothing to wait for
        await asyncio.sleep(0.01)
    try:
        yield serving.servers[0].sockets[0].getsockname()[1]
    finally:
        app.release.set()
        serving.should_exit = True
        await task


async def ask(port: int, *pieces: bytes, pause: float = 0.0, patience: float = 3.0) -> bytes:
    """Sends the pieces, gives what comes until the server closes; an open end shows as b'<open>'."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)
        found = b""
        try:
            async with asyncio.timeout(patience):
                while chunk := await reader.read(65_536):
                    found += chunk
        except TimeoutError:
            found += b"<open>"
        except ConnectionResetError:
            found += b"<reset>"
        return found
    except (ConnectionResetError, BrokenPipeError):
        return b"<reset>"
    finally:
        writer.close()


def run(test: Callable[[App, int], Awaitable[None]]) -> None:
    """Runs a test beside a server, on uvloop as in production."""

    async def beside() -> None:
        app = App()
        async with running(app) as port:
            await test(app, port)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(beside())


HOST = b"Host: crm\r\n"
REFUSED = {
    "absolute form": b"GET http://evil.example/x HTTP/1.1\r\n" + HOST + b"\r\n",
    "asterisk": b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n",
    "authority": b"CONNECT crm:443 HTTP/1.1\r\n" + HOST + b"\r\n",
    "no slash": b"GET x HTTP/1.1\r\n" + HOST + b"\r\n",
    "fragment": b"GET /x#y HTTP/1.1\r\n" + HOST + b"\r\n",
    "fragment in query": b"GET /x?y#z HTTP/1.1\r\n" + HOST + b"\r\n",
    "raw UTF-8": "GET /客 HTTP/1.1\r\n".encode() + HOST + b"\r\n",
    "lower-case method": b"get /x HTTP/1.1\r\n" + HOST + b"\r\n",
    "unknown method": b"FOO /x HTTP/1.1\r\n" + HOST + b"\r\n",
    "no host": b"GET /x HTTP/1.1\r\n\r\n",
    "no host, 1.0": b"GET /x HTTP/1.0\r\n\r\n",
    "two hosts": b"GET /x HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    "HTTP/0.9": b"GET /x\r\n\r\n",
    "HTTP/1.2": b"GET /x HTTP/1.2\r\n" + HOST + b"\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "CL and TE": b"POST /x HTTP/1.1\r\n"
    + HOST
    + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "TE and CL": b"POST /x HTTP/1.1\r\n"
    + HOST
    + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "TE twice": b"POST /x HTTP/1.1\r\n"
    + HOST
    + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "TE not last": b"POST /x HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "TE with tab": b"POST /x HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "TE with space": b"POST /x HTTP/1.1\r\n" + HOST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "CL twice": b"POST /x HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nA",
    "CL signed": b"POST /x HTTP/1.1\r\n" + HOST + b"Content-Length: +1\r\n\r\nA",
    "CL list": b"POST /x HTTP/1.1\r\n" + HOST + b"Content-Length: 1, 1\r\n\r\nA",
    "CL huge": b"POST /x HTTP/1.1\r\n" + HOST + b"Content-Length: 99999999999999999999\r\n\r\nA",
    "obs-fold": b"GET /x HTTP/1.1\r\n" + HOST + b"X-A: b\r\n c\r\n\r\n",
    "bare LF": b"GET /x HTTP/1.1\nHost: crm\n\n",
    "bare CR": b"GET /x HTTP/1.1\r\n" + HOST + b"X-A: b\rX-C: d\r\n\r\n",
    "NUL": b"GET /x HTTP/1.1\r\n" + HOST + b"X-A: b\x00c\r\n\r\n",
    "space in name": b"GET /x HTTP/1.1\r\n" + HOST + b"X A: b\r\n\r\n",
    "bad chunk": b"POST /x HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\nabc\r\n0\r\n\r\n",
    "negative chunk": b"POST /x HTTP/1.1\r\n"
    + HOST
    + b"Transfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n",
    "hex chunk": b"POST /x HTTP/1.1\r\n"
    + HOST
    + b"Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
    "huge chunk": b"POST /x HTTP/1.1\r\n"
    + HOST
    + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\na\r\n0\r\n\r\n",
    "long chunk": b"POST /x HTTP/1.1\r\n"
    + HOST
    + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcde\r\n0\r\n\r\n",
    "chunk with LF": b"POST /x HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n",
    "trailer": b"POST /x HTTP/1.1\r\n"
    + HOST
    + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nAuthorization: Bearer x\r\n\r\n",
    "websocket": b"GET /x HTTP/1.1\r\n" + HOST + b"Connection: upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    "h2c": b"GET /x HTTP/1.1\r\n"
    + HOST
    + b"Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
    "101 headers": b"GET /x HTTP/1.1\r\n" + HOST + b"".join(b"X-%d: a\r\n" % n for n in range(100)) + b"\r\n",
    "64 KB of headers": b"GET /x HTTP/1.1\r\n" + HOST + b"X-A: " + b"a" * 65_536 + b"\r\n\r\n",
    "64 KB of target": b"GET /" + b"a" * 65_530 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
}


def test_s13_refused_with_a_problem_and_closed() -> None:
    async def test(app: App, port: int) -> None:
        for name, raw in REFUSED.items():
            found = await ask(port, raw)
            head, _, body = found.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n"), (name, found[:200])
            assert b"connection: close" in head, name
            assert b"application/problem+json" in head, name
            assert json.loads(body)["type"] == "urn:privguard:problem:malformed-request", name
            assert app.paths == app.left, name  # an app that had begun was told to stop

    run(test)


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (b"GET /x HTTP/1.1\r\n" + HOST + b"\r\n", ""),
        (b"GET /x HTTP/1.0\r\n" + HOST + b"\r\n", ""),
        (b"\r\nGET /x HTTP/1.1\r\n" + HOST + b"\r\n", ""),
        (b"PUT /x HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabc", "abc"),
        (
            b"PUT /x HTTP/1.1\r\n"
            + HOST
            + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
            "abc",
        ),
        (b"GET /x HTTP/1.1\r\n" + HOST + b"".join(b"X-%d: a\r\n" % n for n in range(99)) + b"\r\n", ""),
    ],
)
def test_ordinary_requests_are_served(raw: bytes, body: str) -> None:
    async def test(app: App, port: int) -> None:
        found = await ask(port, raw, patience=0.4)
        head, _, answer = found.removesuffix(b"<open>").partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK")
        assert json.loads(answer)["body"] == body
        assert b"server:" not in head.lower()
        assert head.lower().count(b"date:") == 1

    run(test)


def test_a_body_may_be_announced_with_expect() -> None:
    async def test(app: App, port: int) -> None:
        found = await ask(
            port,
            b"PUT /x HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n",
            b"abc",
            pause=0.1,
            patience=0.4,
        )
        assert found.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")

    run(test)


def test_s13_after_a_body_that_was_announced_but_not_read_the_connection_ends() -> None:
    """Else the body, or its absence, could be taken for the next request."""

    async def test(app: App, port: int) -> None:
        found = await ask(
            port,
            b"PUT /early HTTP/1.1\r\n" + HOST + b"Content-Length: 60\r\nExpect: 100-continue\r\n\r\n",
            b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n",
            pause=0.1,
        )
        assert found.count(b"HTTP/1.1") == 1
        assert found.startswith(b"HTTP/1.1 200")
        assert app.paths == ["/early"]

    run(test)


def test_s13_pipelining_is_answered_in_order() -> None:
    async def test(app: App, port: int) -> None:
        requests = b"".join(b"GET /%d HTTP/1.1\r\n%s\r\n" % (n, HOST) for n in range(5))
        found = await ask(port, requests, patience=0.4)
        assert [f'"path": "/{n}"'.encode() in found for n in range(5)] == [True] * 5
        assert app.paths == ["/0", "/1", "/2", "/3", "/4"]

    run(test)


def test_s13_pipelining_is_bounded() -> None:
    async def test(app: App, port: int) -> None:
        requests = b"".join(b"GET /%d HTTP/1.1\r\n%s\r\n" % (n, HOST) for n in range(500))
        found = await ask(port, requests)
        assert app.paths == ["/0"]
        assert found.count(b"HTTP/1.1") == 1
        assert b"connection: close" in found

    run(test)


def test_s13_garbage_behind_a_request_does_not_get_its_answer() -> None:
    """A 400 written at once would be taken for the answer of the request before."""

    async def test(app: App, port: int) -> None:
        waiting = asyncio.create_task(ask(port, b"GET /hold HTTP/1.1\r\n" + HOST + b"\r\nxx\r\n\r\n"))
        await asyncio.sleep(0.2)
        app.release.set()
        found = await waiting
        assert found.startswith(b"HTTP/1.1 200 OK")
        assert found.count(b"HTTP/1.1") == 1
        assert b"connection: close" in found

    run(test)


def test_s13_the_app_hears_of_a_body_that_breaks() -> None:
    async def test(app: App, port: int) -> None:
        head = b"PUT /x HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"
        found = await ask(port, head, b"zz\r\n", pause=0.1)
        assert found.startswith(b"HTTP/1.1 400")
        assert app.left == ["/x"]

    run(test)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEADER_S", 0.4)
    monkeypatch.setattr(server, "BODY_S", 0.4)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [b"GET"],
        [b"GET /x HTTP/1.1\r\n", *([b"X-A: b\r\n"] * 12)],
        [*([b"\r\n"] * 12)],
        [b"GET /x HTTP/1.1\r\n" + HOST + b"\r\n", *([b"\r\n"] * 12)],
        [b"GET /x HTTP/1.1\r\n" + HOST + b"\r\n", b"GET /y HTT"],
        [b"PUT /x HTTP/1.1\r\n" + HOST + b"Content-Length: 9\r\n\r\nab"],
        [b"PUT /x HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab"],
        [b"PUT /early HTTP/1.1\r\n" + HOST + b"Content-Length: 99\r\n\r\n", *([b"a"] * 12)],
    ],
)
def test_s13_the_slow_are_cut_off(pieces: list[bytes]) -> None:
    """Twelve drips at 0.1 s each, against a deadline of 0.4 s."""

    async def test(app: App, port: int) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        found = await ask(port, *pieces, pause=0.1)
        assert not found.endswith(b"<open>")
        assert loop.time() - began < 2.5
        assert "/y" not in app.paths

    run(test)


@pytest.mark.usefixtures("hasty")
def test_s13_a_body_that_drips_must_earn_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def drip(port: int, size: int) -> bytes:
        head = b"PUT /x HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % (size * 12)
        return await ask(port, head, *([b"a" * size] * 12), pause=0.1, patience=0.5)

    async def test(app: App, port: int) -> None:
        assert (await drip(port, 100)).startswith(b"HTTP/1.1 200")
        assert not (await drip(port, 1)).startswith(b"HTTP/1.1 200")

    run(test)


@pytest.mark.usefixtures("hasty")
def test_an_answer_that_takes_its_time_is_not_cut_off() -> None:
    async def test(app: App, port: int) -> None:
        waiting = asyncio.create_task(
            ask(port, b"GET /hold HTTP/1.1\r\n" + HOST + b"\r\n", b"GET /2 HT", pause=0.1)
        )
        await asyncio.sleep(1.2)
        app.release.set()
        assert (await waiting).startswith(b"HTTP/1.1 200")

    run(test)


def test_s13_headers_and_chunk_framing_without_an_end_are_cut_off() -> None:
    async def test(app: App, port: int) -> None:
        endless = [b"GET /x HTTP/1.1\r\n" + HOST + b"X-A: ", *([b"a" * 30_000] * 12)]
        found = await ask(port, *endless, pause=0.02)
        assert found.startswith((b"HTTP/1.1 400", b"<reset>"))
        extension = [
            b"PUT /x HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n3;x=",
            *([b"a" * 30_000] * 12),
        ]
        found = await ask(port, *extension, pause=0.02)
        assert found.startswith((b"HTTP/1.1 400", b"<reset>"))
        assert app.paths == app.left

    run(test)


def test_a_caller_that_leaves_is_told_to_the_app_whose_answer_it_waits_for() -> None:
    async def test(app: App, port: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"PUT /x HTTP/1.1\r\n" + HOST + b"Content-Length: 9\r\n\r\nab")
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.close()
        await asyncio.sleep(0.2)
        assert app.left == ["/x"]

    run(test)


@pytest.mark.parametrize(
    "listen",
    ["", "8080", ":8080", "0.0.0.0", "127.0.0.1:", "127.0.0.1:x", "a.b:1", "::1:80x", "1.1.1.1:70000"],
)
def test_an_address_is_an_address(listen: str) -> None:
    with pytest.raises(ConfigError):
        make_server(App(), listen)


WORKER = """
import asyncio, os, sys
from privguard.gateway.server import serve

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        for _ in range(2):
            message = await receive()
            await send({"type": message["type"] + ".complete"})
        return
    if scope["path"] == "/slow":
        await asyncio.sleep(1)
    body = b"%d" % os.getpid()
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})

def factory():
    return app

if __name__ == "__main__":
    serve(factory, sys.argv[1], int(sys.argv[2]))
"""


def get(port: int, path: str) -> bytes:
    with closing(socket.create_connection(("127.0.0.1", port), timeout=5)) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: crm\r\nConnection: close\r\n\r\n".encode())
        found = b""
        while chunk := connection.recv(65_536):
            found += chunk
    return found.partition(b"\r\n\r\n")[2]


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            get(port, "/")
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the server does not listen")


@pytest.mark.parametrize("workers", [1, 2])
def test_it_serves_with_workers_and_stops_when_requests_have_ended(workers: int, tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    root = Path(__file__).parents[3]
    process = subprocess.Popen(
        [sys.executable, str(script), f"127.0.0.1:{port}", str(workers)],
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        wait_for(port)
        served_by = int(get(port, "/"))
        assert (served_by == process.pid) is (workers == 1)
        with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as connection:
            connection.sendall(b"GET /slow HTTP/1.1\r\nHost: crm\r\n\r\n")
            time.sleep(0.3)
            process.send_signal(signal.SIGTERM)
            assert connection.recv(65_536).startswith(b"HTTP/1.1 200 OK")
        assert process.wait(15) == 0
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.communicate()


def test_an_address_in_use_is_said(tmp_path: Path) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError, match="listen"):
            server.serve(App, f"127.0.0.1:{taken.getsockname()[1]}")
