"""The upstream side over raw sockets: what goes on the wire, what comes back, and what is not followed."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import uvloop

from privguard.asgi.fetch import HttpUpstream, read_whole, tls_context
from privguard.asgi.messages import Message, RawHeaders
from privguard.config import Settings
from privguard.errors import ConfigError, MalformedRequestError, UpstreamUnavailableError
from privguard.gateway.upstream import UpstreamApp, upstream_app

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Crm:
    """An upstream that keeps the bytes it gets and answers with given ones.

    Attributes:
        answer: pieces; one of None holds the answer there until ``go`` is set.
        ended: set when the gateway closes a connection.
    """

    def __init__(self) -> None:
        self.got = b""
        self.answer: list[bytes | None] = [OK]
        self.go = asyncio.Event()
        self.ended = asyncio.Event()
        self.connections = 0
        self.hang_up = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.got = head
                lower = head.lower()
                if b"transfer-encoding: chunked" in lower:
                    self.got += await reader.readuntil(b"0\r\n\r\n")
                elif b"content-length: " in lower:
                    length = int(lower.partition(b"content-length: ")[2].partition(b"\r\n")[0])
                    self.got += await reader.readexactly(length)
                for piece in self.answer:
                    if piece is None:
                        await asyncio.wait(
                            [asyncio.ensure_future(self.go.wait()), asyncio.ensure_future(reader.read(1))],
                            return_when=asyncio.FIRST_COMPLETED,
                        )
                        if not self.go.is_set():
                            return
                    else:
                        writer.write(piece)
                        await writer.drain()
                if self.hang_up:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.ended.set()
            writer.close()


@asynccontextmanager
async def crm() -> AsyncIterator[tuple[Crm, str]]:
    """An upstream on a free port of the loopback interface, with its origin."""
    found = Crm()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    try:
        yield found, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        found.go.set()
        server.close()


Test = Callable[[Crm, HttpUpstream], Awaitable[None]]


def run(test: Test, **settings: Any) -> None:
    """Runs a test beside an upstream, on uvloop as in production."""

    async def beside() -> None:
        async with crm() as (peer, origin):
            upstream = HttpUpstream("crm", origin, **settings)
            try:
                await test(peer, upstream)
            finally:
                await upstream.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(beside())


async def take(upstream: HttpUpstream, target: bytes = b"/", headers: RawHeaders | None = None) -> bytes:
    response = await upstream.send("GET", target, headers or [])
    try:
        return await read_whole(response, 1_000_000)
    finally:
        response.close()


@pytest.mark.parametrize(
    "target",
    [
        b"/clients/42",
        b"/a/../b/./c",
        b"//evil.example/x",
        b"/%2e%2e/%2F%5c%00",
        b"/%E5%BC%A0?q=%e5%bc%a0+%20&a=[1]{2}|3^`",
        b"/a?b=/c?d=e@f:g",
        b"/@evil.example/:80",
        b"/a;b=c,d!$'()*",
        b"/x?a&&b=&=c",
        b"/a?x=%zz",
    ],
)
def test_s12_a_target_goes_on_byte_for_byte(target: bytes) -> None:
    async def test(peer: Crm, upstream: HttpUpstream) -> None:
        assert await take(upstream, target) == b"ok"
        assert peer.got.startswith(b"GET " + target + b" HTTP/1.1\r\n")

    run(test)


@pytest.mark.parametrize(
    "target",
    [b"@evil.example/", b".evil.example/x", b":1/x", b"http://evil/", b"", b"/\xff", b"/a#b", b"/a?"],
)
def test_s14_a_target_never_chooses_the_host(target: bytes) -> None:
    async def test(peer: Crm, upstream: HttpUpstream) -> None:
        with pytest.raises(MalformedRequestError):
            await take(upstream, target)
        assert peer.connections == 0

    run(test)


def test_nothing_is_added_decoded_or_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    packed = gzip.compress(b"record")

    async def test(peer: Crm, upstream: HttpUpstream) -> None:
        peer.answer = [
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nSet-Cookie: sid=1; Path=/\r\nX-Case: Kept\r\n"
            b"Content-Length: %d\r\n\r\n" % len(packed) + packed
        ]
        response = await upstream.send("GET", b"/", [(b"x-name", "张".encode()), (b"cookie", b'a=1;b="2"')])
        assert await read_whole(response, 1_000) == packed
        assert (b"X-Case", b"Kept") in response.headers
        response.close()
        host = peer.got.partition(b"Host: ")[2].partition(b"\r\n")[0]
        assert peer.got.split(b"\r\n")[1:-2] == [
            b"Host: " + host,
            b"x-name: " + "张".encode(),
            b'cookie: a=1;b="2"',
        ]
        await take(upstream)
        assert b"sid" not in peer.got
        assert peer.connections == 1

    run(test)


def test_s14_a_redirect_is_an_answer_like_any_other() -> None:
    async def test(peer: Crm, upstream: HttpUpstream) -> None:
        peer.answer = [
            b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n"
        ]
        response = await upstream.send("GET", b"/", [])
        response.close()
        assert (response.status, peer.connections) == (302, 1)

    run(test)


@pytest.mark.parametrize(
    "answer",
    [
        [b""],
        [b"SSH-2.0-x\r\n"],
        [b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhalf"],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 40_000 + b"\r\nContent-Length: 0\r\n\r\n"],
        [None, OK],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", None],
    ],
)
def test_an_answer_that_cannot_be_used_is_none(answer: list[bytes | None]) -> None:
    async def test(peer: Crm, upstream: HttpUpstream) -> None:
        peer.answer, peer.hang_up = answer, True
        with pytest.raises(UpstreamUnavailableError) as caught:
            await take(upstream)
        assert caught.value.detail == "The system crm does not answer, or not in time."
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__ or caught.value.__context__ is None

    run(test, begin_s=0.3, idle_s=0.3)


def test_nobody_listening_says_no_address() -> None:
    async def test() -> None:
        upstream = HttpUpstream("crm", "http://127.0.0.1:9")
        with pytest.raises(UpstreamUnavailableError) as caught:
            await upstream.send("GET", b"/", [])
        assert "127.0.0.1" not in str(caught.value)
        await upstream.close()

    asyncio.run(test())


def test_a_header_that_cannot_go_on_unchanged_is_refused() -> None:
    async def test(peer: Crm, upstream: HttpUpstream) -> None:
        with pytest.raises(MalformedRequestError):
            await take(upstream, headers=[(b"x-name", b"\xd5\xc5")])

    run(test)


@pytest.mark.parametrize("size", [0, 1, 70_000, 3_000_000])
def test_bodies_go_on_whole(size: int) -> None:
    async def test(peer: Crm, upstream: HttpUpstream) -> None:
        response = await upstream.send("PUT", b"/", [(b"content-type", b"a/b")], b"x" * size)
        response.close()
        head, _, body = peer.got.partition(b"\r\n\r\n")
        assert body == b"x" * size
        assert f"content-length: {size}".encode() in head.lower()
        assert head.lower().count(b"content-") == 2

    run(test)


def test_an_answer_longer_than_the_limit_is_none() -> None:
    async def test(peer: Crm, upstream: HttpUpstream) -> None:
        response = await upstream.send("GET", b"/", [])
        with pytest.raises(UpstreamUnavailableError):
            await read_whole(response, 1)
        response.close()

    run(test)


def test_tls_files_are_checked_at_the_start(tmp_path: Path) -> None:
    assert tls_context().verify_mode is ssl.CERT_REQUIRED
    (tmp_path / "not.pem").write_text("x")
    for ca, own in (
        (tmp_path / "none.pem", None),
        (tmp_path / "not.pem", None),
        (None, tmp_path / "not.pem"),
    ):
        with pytest.raises(ConfigError):
            tls_context(ca, own)


# -- as an ASGI app -----------------------------------------------------------------------------------------


class Caller:
    """The server's side of one request to the app."""

    def __init__(self, *messages: Message) -> None:
        self._incoming: asyncio.Queue[Message] = asyncio.Queue()
        for message in messages or ({"type": "http.request", "body": b"", "more_body": False},):
            self._incoming.put_nowait(message)
        self.sent: list[Message] = []
        self.heard = asyncio.Event()

    def say(self, **message: Any) -> None:
        self._incoming.put_nowait(message)

    async def receive(self) -> Message:
        return await self._incoming.get()

    async def send(self, message: Message) -> None:
        self.sent.append(message)
        self.heard.set()

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent[1:])


def scope(method: str = "GET", headers: RawHeaders | None = None, **more: Any) -> dict[str, Any]:
    return {
        "type": "http",
        "method": method,
        "scheme": "http",
        "raw_path": b"/clients/42",
        "query_string": b"a=1",
        "client": ("127.0.0.1", 5),
        "headers": [(b"host", b"gateway.example"), *(headers or [])],
        **more,
    }


def test_a_request_goes_on_and_its_answer_comes_back() -> None:
    async def test(peer: Crm, upstream: HttpUpstream) -> None:
        peer.answer = [
            b"HTTP/1.1 201 Made\r\nContent-Length: 2\r\nX-Own: 1\r\nPrivguard-Receipt: x\r\n\r\nok"
        ]
        caller = Caller({"type": "http.request", "body": b"{}", "more_body": False})
        app = UpstreamApp(upstream, added=[(b"x-system", b"privguard")])
        headers = [
            (b"content-length", b"2"),
            (b"authorization", b"Bearer x"),
            (b"privguard-purpose", b"service"),
        ]
        await app(scope("PATCH", headers), caller.receive, caller.send)
        assert caller.sent == [
            {
                "type": "http.response.start",
                "status": 201,
                "headers": [(b"content-length", b"2"), (b"x-own", b"1")],
            },
            {"type": "http.response.body", "body": b"ok", "more_body": False},
        ]
        head, _, body = peer.got.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        assert body == b"{}"
        assert lines[0] == b"patch /clients/42?a=1 http/1.1"
        assert {
            b"authorization: bearer x",
            b"x-system: privguard",
            b"x-forwarded-host: gateway.example",
        } <= set(lines)
        assert head.lower().count(b"host: ") == 2  # the upstream's own, and x-forwarded-host
        assert head.lower().count(b"content-length") == 1
        assert b"privguard-purpose" not in head.lower()

    run(test)


def test_the_gateways_own_credentials_replace_the_callers() -> None:
    async def test(peer: Crm, upstream: HttpUpstream) -> None:
        peer.answer = [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: sid=crm\r\n\r\n"]
        caller = Caller()
        app = UpstreamApp(upstream, own=(b"x-api-key", b"secret"))
        headers = [(b"authorization", b"Bearer staff"), (b"cookie", b"a=1"), (b"x-api-key", b"staff")]
        await app(scope(headers=headers), caller.receive, caller.send)
        assert b"staff" not in peer.got
        assert b"cookie" not in peer.got.lower()
        assert peer.got.count(b"x-api-key: secret") == 1
        assert caller.sent[0]["headers"] == [(b"content-length", b"0")]
        assert caller.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}

    run(test)


def test_bodies_are_streamed_both_ways() -> None:
    async def test(peer: Crm, upstream: HttpUpstream) -> None:
        peer.answer = [
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
            None,
            b"1\r\nc\r\n0\r\n\r\n",
        ]
        caller = Caller({"type": "http.request", "body": b"one", "more_body": True})
        running = asyncio.create_task(UpstreamApp(upstream)(scope("PUT"), caller.receive, caller.send))
        await asyncio.sleep(0.1)
        caller.say(type="http.request", body=b"two", more_body=False)
        await caller.heard.wait()
        await asyncio.sleep(0.1)
        assert caller.body == b"ab"  # before the answer has ended
        peer.go.set()
        await running
        assert caller.body == b"abc"
        assert caller.sent[-1]["more_body"] is False
        assert peer.got.endswith(b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")

    run(test)


def test_a_stream_with_a_length_keeps_it() -> None:
    async def test(peer: Crm, upstream: HttpUpstream) -> None:
        caller = Caller(
            {"type": "http.request", "body": b"one", "more_body": True},
            {"type": "http.request", "body": b"", "more_body": False},
        )
        headers = [(b"content-length", b"3")]
        await UpstreamApp(upstream)(scope("PUT", headers), caller.receive, caller.send)
        assert b"content-length: 3" in peer.got.lower()
        assert peer.got.endswith(b"\r\n\r\none")

    run(test)


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_the_upstream_stops_when_the_caller_goes_away(method: str) -> None:
    async def test(peer: Crm, upstream: HttpUpstream) -> None:
        peer.answer = [None]
        first = {"type": "http.request", "body": b"x", "more_body": method == "PUT"}
        caller = Caller(first)
        running = asyncio.create_task(UpstreamApp(upstream)(scope(method), caller.receive, caller.send))
        await asyncio.sleep(0.1)
        assert not running.done()
        caller.say(type="http.disconnect")
        await asyncio.wait_for(running, 2)
        await asyncio.wait_for(peer.ended.wait(), 2)
        assert caller.sent == []

    run(test)


def test_a_cancellation_from_outside_is_not_swallowed() -> None:
    async def test(peer: Crm, upstream: HttpUpstream) -> None:
        peer.answer = [None]
        caller = Caller()
        running = asyncio.create_task(UpstreamApp(upstream)(scope(), caller.receive, caller.send))
        await asyncio.sleep(0.1)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    run(test)


def test_a_receive_that_never_waits_does_not_hang_the_loop() -> None:
    """As where the middleware asks for a record without a caller's body."""

    async def test(peer: Crm, upstream: HttpUpstream) -> None:
        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        caller = Caller()
        await asyncio.wait_for(UpstreamApp(upstream)(scope(), receive, caller.send), 2)
        assert caller.body == b"ok"

    run(test)


def test_a_failure_is_raised_for_the_middleware_to_answer() -> None:
    async def test(peer: Crm, upstream: HttpUpstream) -> None:
        peer.answer, peer.hang_up = [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"], True
        caller = Caller()
        with pytest.raises(UpstreamUnavailableError):
            await UpstreamApp(upstream)(scope(), caller.receive, caller.send)
        assert caller.sent[-1].get("more_body", True)

    run(test)


def test_a_failure_of_the_caller_gives_the_connection_up() -> None:
    async def test(peer: Crm, upstream: HttpUpstream) -> None:
        peer.answer = [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", None]

        async def send(_: Message) -> None:
            raise OSError

        with pytest.raises(OSError):
            await UpstreamApp(upstream)(scope(), Caller().receive, send)
        await asyncio.wait_for(peer.ended.wait(), 2)

    run(test)


def test_s14_a_websocket_is_closed() -> None:
    async def test(peer: Crm, upstream: HttpUpstream) -> None:
        caller = Caller()
        await UpstreamApp(upstream)({"type": "websocket"}, caller.receive, caller.send)
        assert caller.sent == [{"type": "websocket.close", "code": 1008}]
        assert peer.connections == 0

    run(test)


@pytest.mark.parametrize(
    ("peer_address", "given", "seen"),
    [
        ("127.0.0.1", None, b"127.0.0.1"),
        ("127.0.0.1", b"203.0.113.9", b"203.0.113.9"),
        ("127.0.0.1", b"6.6.6.6, 203.0.113.9, 10.1.2.3", b"203.0.113.9"),
        ("198.51.100.1", b"203.0.113.9", b"198.51.100.1"),
        ("127.0.0.1", b"10.0.0.1", b"10.0.0.1"),
        ("127.0.0.1", b"203.0.113.9, unknown", b"127.0.0.1"),
        ("127.0.0.1", b"203.0.113.9, x, 10.0.0.1", b"10.0.0.1"),
    ],
)
def test_s11_forwarded_addresses_are_believed_from_trusted_proxies(
    peer_address: str, given: bytes | None, seen: bytes
) -> None:
    async def test(peer: Crm, upstream: HttpUpstream) -> None:
        trusted = (ip_network("127.0.0.0/8"), ip_network("10.0.0.0/8"))
        headers = [(b"x-forwarded-for", given)] if given else []
        caller = Caller()
        app = UpstreamApp(upstream, trusted=trusted)
        await app(scope(headers=headers, client=(peer_address, 1)), caller.receive, caller.send)
        lines = [line for line in peer.got.lower().split(b"\r\n") if line.startswith(b"x-forwarded-for")]
        assert lines == [b"x-forwarded-for: " + seen]

    run(test)


def test_it_is_wired_from_the_settings(tmp_path: Path) -> None:
    secret = tmp_path / "crm.key"
    secret.write_text("Token abc\n")
    secret.chmod(0o600)

    def settings(**more: Any) -> Settings:
        system = {
            "name": "crm",
            "upstream": "https://crm.example",
            "policy": "p.yaml",
            **more.pop("system", {}),
        }
        return Settings(systems=(system,), **more)

    own = {"credentials": {"header": "Authorization", "from_file": secret}}
    assert isinstance(upstream_app(settings(system=own)), UpstreamApp)
    with pytest.raises(ConfigError, match="trusted_proxies"):
        upstream_app(settings(gateway={"trusted_proxies": ("proxy.example",)}))
    secret.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        upstream_app(settings(system=own))
    secret.chmod(0o600)
    secret.write_text("")
    with pytest.raises(ConfigError, match="one line"):
        upstream_app(settings(system=own))
    secret.unlink()
    with pytest.raises(ConfigError, match="No such file"):
        upstream_app(settings(system=own))
