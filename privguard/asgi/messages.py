"""The ASGI message types, and an app's answer taken whole."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from msgspec import Struct

from privguard.errors import UnreadableResponseError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
RawHeaders = list[tuple[bytes, bytes]]


class WholeAnswer(Struct, frozen=True):
    """An answer with its whole body."""

    status: int
    headers: RawHeaders
    body: bytes


async def ask(app: ASGIApp, scope: Scope, limit: int) -> WholeAnswer:
    """Asks an app without a request body and takes the whole answer, of at most ``limit`` bytes.

    Raises:
        UnreadableResponseError: no answer, or a longer one.
    """
    status, headers, chunks, size = 0, [], list[bytes](), 0

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status, headers, size
        if message["type"] == "http.response.start":
            status, headers = message["status"], list(message.get("headers", ()))
        elif message["type"] == "http.response.body":
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > limit:
                raise UnreadableResponseError("The record is larger than max_body.")
            chunks.append(chunk)

    await app(scope, receive, send)
    if not status:
        raise UnreadableResponseError("The app behind gave no answer.")
    return WholeAnswer(status, headers, b"".join(chunks))
