"""Pages of step-up below ``/_privguard/stepup/``: for browsers what the JSON routes are, by the same calls.

A page works without a script, but for security keys, which browsers give to scripts alone. Who asks is known
by a cookie, so each form carries a token of its session (S09).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fastapi import FastAPI, Request, Response

from privguard.authority.enrolment import Enrolment
from privguard.authority.granting import Granting
from privguard.gateway.own import PREFIX
from privguard.gateway.pages import approvals, factors, verify
from privguard.gateway.pages.assets import ASSETS, Asset
from privguard.gateway.pages.front import AT, Front, Page
from privguard.gateway.stepup import Desk

_PAGES: Final[dict[str, Callable[[Front, Granting, Enrolment], Page]]] = {
    "": verify.start_or_verify,
    "factors": factors.listed,
    "factors/add": factors.add,
    "factors/confirm": factors.confirm,
    "factors/remove": factors.remove,
    "factors/lost": factors.lost,
    "approvals": approvals.listed,
    "approvals/decide": approvals.decide,
}
"""Path below ``/_privguard/stepup/`` and what makes its page."""


def add_pages(
    app: FastAPI, desk: Desk, granting: Granting, enrolment: Enrolment, *, key: bytes, login: str
) -> None:
    """Adds the pages, and the script and style that they and the CRM's front end use.

    Args:
        desk: knows who asks: as on the CRM's routes, or by who signed in with this browser.
        key: 32 bytes that the forms' tokens are made with, the same in every worker.
        login: path at which one signs in to the pages; empty: one does at the CRM.
    """
    front = Front(desk, key, login, granting.names)

    def add(path: str, made: Page) -> None:
        async def show(request: Request) -> Response:
            return await front.show(request, made)

        async def act(request: Request) -> Response:
            return await front.act(request, made)

        app.add_api_route(AT + path, show, methods=["GET"], include_in_schema=False)
        if made.act is not None:
            app.add_api_route(AT + path, act, methods=["POST"], include_in_schema=False)

    def serve(name: str, asset: Asset) -> None:
        async def file(request: Request) -> Response:
            return asset.answer(request.headers.get("if-none-match", ""))

        app.add_api_route(PREFIX + name, file, methods=["GET"], include_in_schema=False)

    for path, make in _PAGES.items():
        add(path, make(front, granting, enrolment))
    for name, asset in ASSETS.items():
        serve(name, asset)
