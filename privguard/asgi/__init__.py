"""Door: pure ASGI middleware, the one HTTP enforcement path (the gateway is this around an upstream).

The flow of a governed request; the numbers stand at the code that does each step:

    1 the target is read once, and refused where it can be read in two ways   canonical
    2 who asks                                                                 access
    3 what it is, may they, how much; parameters                               exchange.decide
    4 writes: the record as it stands, write-back guard, intent on record      exchange.judge_write
    5 the app behind answers                                                   answer
    6 the answer is masked, whole or in parts                                  exchange.mask_...
    7 the disclosure is on record, durably                                     guard.record
    8 release: only now does a byte leave                                      exchange.release
"""

from __future__ import annotations

from privguard.asgi.access import Access
from privguard.asgi.messages import ASGIApp, Receive, Scope, Send
from privguard.errors import ConfigError
from privguard.guard import AsyncGuard, Guard


class PrivacyMiddleware:
    """Guards an ASGI app.

    Args:
        app: the app behind: an ordinary CRM, or the gateway's upstream.
        guard: what ``bootstrap.build`` gives; a synchronous guard is driven asynchronously here.
        source: how the log names this door.
    """

    def __init__(self, app: ASGIApp, guard: Guard | AsyncGuard, source: str = "middleware") -> None:
        if guard.core.door is None:
            raise ConfigError(
                "This guard does not know who asks over HTTP: set [identity], or give it a Door."
            )
        self.app = app
        self.guard = guard if isinstance(guard, AsyncGuard) else AsyncGuard(guard.core)
        self.door = guard.core.door
        self.source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await Access(self.app, self.guard, self.door, self.source, scope, receive, send).run()
        elif scope["type"] == "websocket":  # S14: a socket would carry records past the mask
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "lifespan":
            await self.app(scope, receive, send)


__all__ = ["PrivacyMiddleware"]
