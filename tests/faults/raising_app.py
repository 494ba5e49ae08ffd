"""A CRM behind the middleware, in a process of its own, that fails in every way and says a value each time.

python -m tests.faults.raising_app CONFIG LISTEN CANARY
"""

from __future__ import annotations

import functools
import json
import sys
from typing import Any

from privguard import telemetry
from privguard.asgi import PrivacyMiddleware
from privguard.asgi.messages import ASGIApp, Receive, Scope, Send
from privguard.bootstrap import build
from privguard.gateway.server import serve


class SpeakingError(Exception):
    """Says the value in every form that a handler might print."""

    def __init__(self, value: str) -> None:
        super().__init__(value, {value: value})
        self.value = value
        self.add_note(value)

    def __repr__(self) -> str:
        return f"SpeakingError({self.value})"


async def crm(canary: str, scope: Scope, receive: Receive, send: Send) -> None:
    """Fails as the last part of the path says."""
    if scope["type"] == "lifespan":
        for _ in range(2):
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
        return
    how = scope["path"].rpartition("/")[2]
    body = json.dumps({"client": {"id": "1", "name": canary, "mobile": canary, "branch": "north"}}).encode()
    head: dict[str, Any] = {
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"content-type", b"text/csv" if how == "clients.csv" else b"application/json")],
    }
    match how:
        case "at-once":
            raise SpeakingError(canary)
        case "chained":
            try:
                raise SpeakingError(canary)
            except SpeakingError as error:
                raise ValueError(f"while reading {canary}") from error
        case "group":
            raise ExceptionGroup(canary, [SpeakingError(canary), ValueError(canary)])
        case "after-the-head":
            await send(head)
            raise SpeakingError(canary)
        case "in-the-body" | "clients.csv":
            await send(head)
            await send({"type": "http.response.body", "body": body[:20], "more_body": True})
            raise SpeakingError(canary)
        case "after-the-end":
            await send(head)
            await send({"type": "http.response.body", "body": body})
            raise SpeakingError(canary)
        case "wrong-message":
            await send({"type": f"http.{canary}", "body": canary.encode()})
        case "wrong-head":
            await send({"type": "http.response.start", "status": canary, "headers": canary})
        case "wrong-headers":
            await send(
                {**head, "headers": [(canary.encode(), b"x\r\ny"), (b"content-type", canary.encode())]}
            )
        case "wrong-body":
            await send(head)
            await send({"type": "http.response.body", "body": canary})
        case "no-answer":
            return
        case _:
            await send(head)
            await send({"type": "http.response.body", "body": body})


def main(config: str, listen: str, canary: str) -> None:
    telemetry.configure(json=False)
    app: ASGIApp = PrivacyMiddleware(functools.partial(crm, canary), build(config))
    serve(lambda: app, listen)


if __name__ == "__main__":
    main(*sys.argv[1:])
