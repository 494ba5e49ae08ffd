"""Door: the reverse proxy: the middleware around an upstream, plus its own routes below /_privguard/."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from privguard.asgi import PrivacyMiddleware
from privguard.asgi.messages import ASGIApp, Receive, Scope, Send
from privguard.gateway.own import PREFIX, own_routes
from privguard.guard import Guard
from privguard.telemetry import logger

REFRESH_S = 1.0
"""How often the policy file is looked at."""


class Gateway:
    """Tells its own routes from the guarded ones."""

    def __init__(self, guarded: ASGIApp, own: ASGIApp) -> None:
        self._guarded = guarded
        self._own = own

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        mine = scope["type"] == "lifespan" or scope.get("path", "").startswith(PREFIX)
        await (self._own if mine else self._guarded)(scope, receive, send)


def create_app(
    guard: Guard,
    upstream: ASGIApp,
    *,
    refresh: Callable[[], None],
    check: Callable[[], None],
    close: Callable[[], Awaitable[None]],
) -> ASGIApp:
    """The gateway as an ASGI app.

    Args:
        upstream: the CRM, e.g. ``UpstreamApp``; its lifespan is not run.
        refresh: looks at the policy file again.
        check: raises where the store takes no entries; may block.
        close: awaited at the end.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_app: object) -> AsyncIterator[None]:
        watching = asyncio.create_task(_watch(refresh))
        try:
            yield
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
            await close()

    return Gateway(PrivacyMiddleware(upstream, guard, source="gateway"), own_routes(guard, check, lifespan))


async def _watch(refresh: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(REFRESH_S)
        try:
            await asyncio.to_thread(refresh)
        except Exception as error:  # noqa: BLE001  # the watch must outlive whatever a file system does
            logger().error("policy-watch-failed", cause=type(error).__name__)
