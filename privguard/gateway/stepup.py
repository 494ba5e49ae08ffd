"""The gateway's own routes for challenges, grants, approvals and factors: JSON in, JSON out.

Who asks is known as on the CRM's own routes, so a grant is of the very session that it will be used in. A
browser sends cookies along with requests that other sites make it send, so whatever comes from another site
is refused (S09).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

import msgspec
from fastapi import FastAPI, Request, Response
from msgspec import Struct

from privguard.asgi.canonical import read_target
from privguard.authority.enrolment import Enrolment
from privguard.authority.granting import Granting, Issued
from privguard.authority.requesting import APPROVE_S
from privguard.errors import (
    AccessDeniedError,
    FactorRefusedError,
    MalformedRequestError,
    contained,
)
from privguard.gateway.own import PREFIX, problem
from privguard.model import Principal
from privguard.ports import IdentityProvider
from privguard.stepup import webauthn as _loaded  # noqa: F401  # takes 0.2 s: before anybody waits for it
from privguard.stepup.factor import Factor, Proof
from privguard.stepup.grant import Scope
from privguard.store.grants import Standing

API: Final = f"{PREFIX}v1/stepup/"
FLOOR_S: Final = 0.25
"""No refusal of a factor comes sooner, whatever was wrong with it."""
MAX_BODY: Final = 65_536
T = TypeVar("T")


class GrantBody(Struct, frozen=True, forbid_unknown_fields=True):
    challenge_id: str
    proof: Proof | None = None
    reason: str = ""
    ticket: str = ""


class ChallengeBody(Struct, frozen=True, forbid_unknown_fields=True):
    """``action``: ``add`` or ``remove`` a factor, or ``decide`` on the request ``name``."""

    action: str
    name: str = ""


class OptionsBody(Struct, frozen=True, forbid_unknown_fields=True):
    challenge_id: str
    method: str
    factor: str = ""
    reason: str = ""
    ticket: str = ""
    approve: bool = True


class FactorBody(Struct, frozen=True, forbid_unknown_fields=True):
    kind: str
    challenge_id: str
    label: str = ""
    address: str = ""
    proof: Proof | None = None


class ConfirmBody(Struct, frozen=True, forbid_unknown_fields=True):
    code: str = ""
    attestation: Mapping[str, Any] = {}


class ProofBody(Struct, frozen=True, forbid_unknown_fields=True):
    challenge_id: str
    proof: Proof


class ResetBody(Struct, frozen=True, forbid_unknown_fields=True):
    pass


class DecisionBody(Struct, frozen=True, forbid_unknown_fields=True):
    challenge_id: str
    proof: Proof
    approve: bool


class Desk:
    """Knows who asks.

    Args:
        identity: as on the CRM's own routes.
    """

    def __init__(self, identity: IdentityProvider) -> None:
        self._identity = identity

    async def who(self, request: Request, body: bytes, *, form: bool = False) -> Principal:
        """Who asks. Raises UnauthenticatedError, or MalformedRequestError for another site's request.

        Args:
            form: see ``same_site``.
        """
        if request.method not in ("GET", "HEAD"):
            same_site(request, form=form)
        return await self._identity.identify(read_target(request.scope), request.scope["headers"], body)


async def judged(work: Awaitable[T]) -> T:
    """Awaits work; a refused factor is refused no sooner than ``FLOOR_S`` after the call."""
    began = time.monotonic()
    try:
        return await work
    except FactorRefusedError:
        await asyncio.sleep(max(0.0, began + FLOOR_S - time.monotonic()))
        raise


def same_site(request: Request, *, form: bool = False) -> None:
    """Refuses what another site made a browser send (S09).

    Args:
        form: a page's own form sends it, with a token of its session: browsers name no origin there, since
            the page has no referrer (Fetch §3.2, "append a request `Origin` header").
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    host = request.headers.get("host", "")
    if form and origin == "null":
        origin = None
    if site not in (None, "same-origin", "none") or (
        origin is not None and origin.partition("://")[2].lower() != host.lower()
    ):
        raise MalformedRequestError("This comes from another site: use the gateway's own pages.")


async def read_body(request: Request) -> bytes:
    """The whole body, bounded. Raises MalformedRequestError."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise MalformedRequestError(f"The request body may have {MAX_BODY} bytes at most here.")
    return bytes(body)


def read(body: bytes, kind: type[T]) -> T:
    """A JSON body of a form. Raises MalformedRequestError, which does not quote it."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        pass
    raise MalformedRequestError(f"The body is not as docs/reference/http.md has it ({kind.__name__}).")


class Acts:
    """What is done for who asks: each by what they say, and by the name in the path, where there is one.

    Args:
        clock: microseconds since the epoch.
    """

    def __init__(self, granting: Granting, enrolment: Enrolment, clock: Callable[[], int]) -> None:
        self._granting = granting
        self._enrolment = enrolment
        self._clock = clock

    async def challenge(self, actor: Principal, said: ChallengeBody) -> object:
        """A challenge for one's own factors, or for a decision."""
        if said.action == "decide":
            waiting = {each.name: each for each in await self._granting.waiting(actor)}
            if said.name not in waiting:
                raise AccessDeniedError("Nothing of this name waits for you.")
            scope = self._granting.decision_scope(actor, waiting[said.name])
        elif said.action in ("add", "remove"):
            scope = self._enrolment.scope(actor, said.action)
        else:
            raise MalformedRequestError("action is add, remove or decide.")
        return await self._granting.describe_own(scope, actor)

    async def options(self, actor: Principal, said: OptionsBody) -> object:
        """What a method needs first: a WebAuthn key's options, or a code that is sent."""
        if said.method == "code":
            await self._enrolment.send_code(actor, said.challenge_id, said.factor)
            return {"sent": True}
        options = await self._enrolment.assertion_options(
            actor, said.challenge_id, reason=said.reason, ticket=said.ticket, approve=said.approve
        )
        return Response(options, media_type="application/json")

    async def issue(self, actor: Principal, said: GrantBody) -> object:
        """Meets a challenge: 201 with the grant, or 202 where somebody has to approve it."""
        made = await self._granting.issue(
            actor, said.challenge_id, said.proof, reason=said.reason, ticket=said.ticket
        )
        return _reply(issued_view(made), 202 if made.waits else 201)

    async def standing(self, actor: Principal, name: str) -> object:
        """How a grant of one's own stands: 202 while it waits."""
        found = await self._granting.standing(actor, name)
        state = found.state(self._clock())
        return _reply({"state": state, "reads": found.reads_left}, 202 if state == "pending" else 200)

    async def revoke(self, actor: Principal, name: str) -> object:
        """Gives a grant back."""
        await self._granting.standing(actor, name)
        await self._granting.revoke(actor, actor.id, name)
        return {"state": "revoked"}

    async def approvals(self, actor: Principal) -> object:
        """What waits for whoever asks, with its scope in full."""
        return {"approvals": [_waiting(each) for each in await self._granting.waiting(actor)]}

    async def decide(self, actor: Principal, said: DecisionBody, name: str) -> object:
        """Approves or refuses, with one's own factor."""
        approve = said.approve
        await self._granting.decide(actor, name, approve=approve, text=said.challenge_id, proof=said.proof)
        return {"state": "approved" if approve else "refused"}

    async def factors(self, actor: Principal) -> object:
        """One's own factors."""
        return {"factors": [_listed(each) for each in await self._enrolment.mine(actor)]}

    async def begin(self, actor: Principal, said: FactorBody) -> object:
        """Begins to add a factor."""
        text, named = said.challenge_id, {"label": said.label, "address": said.address}
        return await self._enrolment.begin(actor, said.kind, **named, text=text, proof=said.proof)

    async def confirm(self, actor: Principal, said: ConfirmBody, name: str) -> object:
        """Confirms a factor by its first use."""
        answer = msgspec.json.encode(said.attestation).decode()
        await self._enrolment.confirm(actor, name, code=said.code, answer=answer)
        return {"state": "active"}

    async def reset(self, actor: Principal, _said: ResetBody) -> object:
        """Asks for the reset of one's own factors, by who lost them."""
        return {"request": await self._enrolment.ask_reset(actor), "expires_in": APPROVE_S}

    async def remove(self, actor: Principal, said: ProofBody, name: str) -> object:
        """Removes a factor, proved by one that is there."""
        await self._enrolment.remove(actor, name, text=said.challenge_id, proof=said.proof)
        return {"state": "removed"}


_ROUTES: Final[tuple[tuple[str, str, type[Struct] | None, int, Callable[..., Awaitable[object]]], ...]] = (
    ("POST", "challenges", ChallengeBody, 200, Acts.challenge),
    ("POST", "options", OptionsBody, 200, Acts.options),
    ("POST", "grants", GrantBody, 201, Acts.issue),
    ("GET", "grants/{name}", None, 200, Acts.standing),
    ("DELETE", "grants/{name}", None, 200, Acts.revoke),
    ("GET", "approvals", None, 200, Acts.approvals),
    ("POST", "approvals/{name}", DecisionBody, 200, Acts.decide),
    ("GET", "factors", None, 200, Acts.factors),
    ("POST", "factors", FactorBody, 201, Acts.begin),
    ("POST", "factors/{name}", ConfirmBody, 200, Acts.confirm),
    ("POST", "resets", ResetBody, 202, Acts.reset),
    ("DELETE", "factors/{name}", ProofBody, 200, Acts.remove),
)
"""Method, path below ``/_privguard/v1/stepup/``, the form of the body, the usual status, the act."""


def add_stepup(app: FastAPI, desk: Desk, acts: Acts) -> None:
    """Adds the routes below ``/_privguard/v1/stepup/``."""

    def add(
        method: str, path: str, form: type[Struct] | None, status: int, act: Callable[..., Awaitable[object]]
    ) -> None:
        async def endpoint(request: Request) -> Response:
            try:
                body = b"" if method == "GET" else await read_body(request)
                actor = await desk.who(request, body)
                said = () if form is None else (read(body, form),)
                value = await judged(act(acts, actor, *said, *request.path_params.values()))
                return value if isinstance(value, Response) else _reply(value, status)
            except Exception as error:  # noqa: BLE001  # bad input never gives a 500
                return problem(contained(error))

        app.add_api_route(API + path, endpoint, methods=[method], name=act.__name__, description=act.__doc__)

    for route in _ROUTES:
        add(*route)


def _reply(value: object, status: int) -> Response:
    kept = {"cache-control": "no-store"}
    return Response(msgspec.json.encode(value), status, kept, media_type="application/json")


def issued_view(made: Issued) -> dict[str, object]:
    """A grant as its holder is told of it."""
    told: dict[str, object] = {
        "grant": made.secret,
        "name": made.name,
        "expires_in": made.seconds,
        "reads": made.reads,
        "fields": made.fields,
    }
    return {**told, "status_uri": f"{API}grants/{made.name}"} if made.waits else told


def clients_of(scope: Scope) -> list[str]:
    """Whose records a scope names."""
    return [f"{client.kind} {client.id}" for client in scope.clients]


def _waiting(each: Standing) -> dict[str, object]:
    """A request as who may approve it sees it: with its scope in full."""
    scope = each.scope
    return {
        "name": each.name,
        "actor": scope.actor,
        "action": scope.action,
        "resource": scope.resource,
        "clients": clients_of(scope),
        "fields": scope.fields,
        "purpose": scope.purpose,
        "ticket": scope.ticket,
        "reason": scope.reason,
        "until": each.until_us // 1_000_000,
    }


def _listed(factor: Factor) -> dict[str, object]:
    return {
        "id": factor.id,
        "kind": factor.kind,
        "label": factor.data.label,
        "state": factor.state,
        "since": factor.created_us // 1_000_000,
    }
