"""Calls an ASGI app in this process, as a server would, and takes the whole answer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from privguard.asgi.messages import ASGIApp, Message, Receive, Scope, Send


@dataclass(frozen=True)
class Response:
    status: int
    headers: dict[str, str]
    body: bytes

    def comparable(self) -> tuple[int, dict[str, str], bytes]:
        """All of it but Date and receipt."""
        kept = {k: v for k, v in self.headers.items() if k not in ("date", "privguard-receipt")}
        return self.status, kept, self.body


def call(
    app: ASGIApp,
    method: str,
    path: str,
    query: str = "",
    headers: tuple[tuple[str, str], ...] = (),
    body: bytes = b"",
) -> Response:
    """One request; raises what the app raises."""
    return asyncio.run(_call(app, method, path, query, headers, body))


async def _call(
    app: ASGIApp, method: str, path: str, query: str, headers: tuple[tuple[str, str], ...], body: bytes
) -> Response:
    messages: list[Message] = []
    given = False

    async def receive() -> Message:
        nonlocal given
        if given:
            await asyncio.sleep(3600)
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        messages.append(message)

    scope: dict[str, Any] = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", b"guard.test"), *((k.encode(), v.encode()) for k, v in headers)],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    await app(scope, receive, send)
    start = messages[0]
    joined = b"".join(m.get("body", b"") for m in messages[1:])
    return Response(start["status"], {k.decode(): v.decode() for k, v in start["headers"]}, joined)


def canned(
    body: bytes,
    media: str = "application/json",
    status: int = 200,
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> ASGIApp:
    """An app that always gives this answer."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        sent = [(b"content-type", media.encode()), (b"content-length", b"%d" % len(body)), *headers]
        await send({"type": "http.response.start", "status": status, "headers": sent})
        await send({"type": "http.response.body", "body": body})

    return app
