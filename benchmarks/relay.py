"""The bare relay: the gateway's stack (uvicorn, httptools, uvloop, aiohttp, msgspec) without privguard.

A JSON body of known length is decoded and encoded without loss; what comes in chunks goes on as it comes.
What the gateway costs beyond this is what privguard costs.
"""

import argparse
from collections.abc import Awaitable, Callable, MutableMapping
from decimal import Decimal
from typing import Any

import aiohttp
import msgspec
import uvicorn
from yarl import URL

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_HOP_BY_HOP = frozenset({b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade"})
_NOT_REQUEST = _HOP_BY_HOP | {b"host", b"content-length"}
_NOT_ANSWER = _HOP_BY_HOP | {b"content-length", b"date", b"server"}
_decode = msgspec.json.Decoder(float_hook=Decimal).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode


class Relay:
    """A raw ASGI application that sends every request on to `upstream`."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            await self._relay(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._session.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _relay(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if self._session is None:
            raise RuntimeError("the relay needs uvicorn's lifespan events")
        query = scope["query_string"]
        target = scope["raw_path"] + (b"?" + query if query else b"")
        url = URL(self._upstream + target.decode("latin-1"), encoded=True)
        headers = [
            (k.decode("latin-1"), v.decode("latin-1")) for k, v in scope["headers"] if k not in _NOT_REQUEST
        ]
        body = await _read(receive)
        async with self._session.request(
            scope["method"], url, headers=headers, data=body or None, allow_redirects=False
        ) as answer:
            await _pass_on(answer, send)


async def _read(receive: Receive) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def _pass_on(answer: aiohttp.ClientResponse, send: Send) -> None:
    headers = [(k.lower(), v) for k, v in answer.raw_headers if k.lower() not in _NOT_ANSWER]
    start = {"type": "http.response.start", "status": answer.status, "headers": headers}
    if answer.content_length is None or answer.content_type != "application/json":
        await send(start)
        async for chunk in answer.content.iter_any():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body"})
        return
    body = _encode(_decode(await answer.read()))
    headers.append((b"content-length", b"%d" % len(body)))
    await send(start)
    await send({"type": "http.response.body", "body": body})


def main() -> None:
    """`python -m benchmarks.relay --port N --upstream URL`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True, help="for example http://127.0.0.1:9000")
    args = parser.parse_args()
    uvicorn.run(
        Relay(args.upstream),
        host="127.0.0.1",
        port=args.port,
        loop="uvloop",
        http="httptools",
        lifespan="on",
        log_level="warning",
        access_log=False,
    )


if __name__ == "__main__":
    main()
