"""Door: the reverse proxy: the middleware around an upstream, plus its own routes below /_privguard/."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from privguard.asgi import PrivacyMiddleware
from privguard.asgi.messages import ASGIApp, Receive, Scope, Send
from privguard.authority.enrolment import Enrolment
from privguard.authority.granting import Granting
from privguard.gateway.login import Login, add_login
from privguard.gateway.own import PREFIX, own_routes
from privguard.gateway.pages import add_pages
from privguard.gateway.stepup import Acts, Desk, add_stepup
from privguard.gateway.work import add_work
from privguard.guard import AsyncGuard, Guard
from privguard.ports import IdentityProvider
from privguard.store.tree_reader import TreeReader
from privguard.telemetry import Chore

REFRESH_S = 1.0
"""How often files are looked at again, and the log is signed."""


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
    watch: Mapping[str, Callable[[], None]],
    check: Callable[[], None],
    tree: TreeReader,
    close: Callable[[], Awaitable[None]],
    login: tuple[Login, IdentityProvider] | None,
    authority: tuple[Granting, Enrolment],
    form_key: bytes,
    work_key: bytes,
) -> ASGIApp:
    """The gateway as an ASGI app.

    Args:
        upstream: the CRM, e.g. ``UpstreamApp``; its lifespan is not run.
        watch: work that is done once a second, each by itself, under the name its failure is logged by.
        check: raises where the store takes no entries; may block.
        tree: what anybody may read of the log.
        close: awaited at the end.
        authority: who issues grants and enrols factors.
        login: how staff sign in to the gateway's own pages, and who they are there; None: as on the CRM's.
        form_key: 32 bytes that the pages' forms are marked with, the same in every worker.
        work_key: what the CRM signs with that says what work there is; empty: it is not listened to.
    """

    failures: Counter[str] = Counter(dict.fromkeys(watch, 0))

    @contextlib.asynccontextmanager
    async def lifespan(_app: object) -> AsyncIterator[None]:
        watching = [asyncio.create_task(_watch(Chore(*each), failures)) for each in watch.items()]
        try:
            yield
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)
            await close()

    own = own_routes(guard, check, tree, lifespan, failures)
    if login is not None:
        add_login(own, AsyncGuard(guard.core), *login)
    door = guard.core.door
    if door is not None:
        add_stepup(own, Desk(door.identity), Acts(*authority, guard.core.clock.now_us))
        where = f"{PREFIX}login" if login is not None else ""
        desk = Desk(login[1] if login is not None else door.identity)
        add_pages(own, desk, *authority, key=form_key, login=where)
    if work_key:
        add_work(own, AsyncGuard(guard.core), work_key)
    return Gateway(PrivacyMiddleware(upstream, guard, source="gateway"), own)


async def _watch(chore: Chore, failures: Counter[str]) -> None:
    while True:
        await asyncio.sleep(REFRESH_S)
        failures[chore.failed] += not await asyncio.to_thread(chore.done)
