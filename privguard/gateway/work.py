"""The gateway's own route by which the CRM says what work there is with clients: reasons to look at them.

Posts are signed as Standard Webhooks 1.0 has it (standardwebhooks.com). What they say is an entry of the log,
so each worker learns of it there, it is erased with the client, and a replay knows it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from typing import Annotated, Final, Literal

import msgspec
from fastapi import FastAPI, Request, Response
from msgspec import Meta, Struct

from privguard.errors import AuditUnavailableError, MalformedRequestError, UnauthenticatedError, contained
from privguard.gateway.own import PREFIX, problem
from privguard.gateway.stepup import read_body
from privguard.guard import AsyncGuard
from privguard.model import AccessEvent, Disclosure, Outcome, SubjectRef
from privguard.oversight.following import WORK
from privguard.sinks.send import webhook_signature
from privguard.store.ledger import REUSED

LATE_S: Final = 300
"""How far a post's time may be from now."""
_NAMED: Final = r"^[^\x00-\x1f\x7f]*$"
Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=_NAMED)]


class Work(Struct, frozen=True, forbid_unknown_fields=True):
    """Work with a client.

    Attributes:
        client: (kind, id), as the policy and the CRM name them.
        actor: whose it is; empty: nobody's in particular, such as a campaign's.
        at: seconds since the epoch.
    """

    client: tuple[Name, Name]
    what: Literal["call", "task", "campaign", "cover"]
    at: Annotated[int, Meta(ge=0, le=1 << 40)]
    actor: Annotated[str, Meta(max_length=200, pattern=_NAMED)] = ""


class Post(Struct, frozen=True):
    """What the CRM sends."""

    data: Annotated[tuple[Work, ...], Meta(min_length=1, max_length=500)]


def add_work(app: FastAPI, guard: AsyncGuard, key: bytes) -> None:
    """Adds ``POST /_privguard/v1/work``.

    Args:
        key: what posts are signed with.
    """

    @app.post(f"{PREFIX}v1/work")
    async def work(request: Request) -> Response:
        """Takes note of work with clients, from the CRM."""
        try:
            body = await read_body(request)
            name = _genuine(request, body, key, guard.core.clock.now_us() // 1_000_000)
            for number, event in enumerate(_events(guard, _read(body))):
                event_id = hashlib.sha256(f"{name} {number}".encode()).hexdigest()[:32]
                await _once(guard, msgspec.structs.replace(event, event_id=event_id))
        except Exception as error:  # noqa: BLE001  # bad input never gives a 500
            return problem(contained(error))
        return Response(status_code=204)


def _genuine(request: Request, body: bytes, key: bytes, now_s: int) -> str:
    """Name of a post that who holds the key has made lately. Raises UnauthenticatedError."""
    name = request.headers.get("webhook-id", "")
    stamp = request.headers.get("webhook-timestamp", "")
    said = request.headers.get("webhook-signature", "")
    if name.isascii() and name and stamp.isdecimal() and stamp.isascii() and len(stamp) < 16:
        right = webhook_signature(key, name, int(stamp), body)
        signed = [hmac.compare_digest(one.encode(), right.encode()) for one in said.split(" ")]
        if any(signed) and abs(now_s - int(stamp)) <= LATE_S:
            return name
    raise UnauthenticatedError("The post is not signed with [anomaly] work_secret, or not lately.")


def _read(body: bytes) -> Post:
    try:
        return msgspec.json.decode(body, type=Post)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        pass
    raise MalformedRequestError("The body is not as docs/reference/http.md has it.")


def _events(guard: AsyncGuard, post: Post) -> Iterable[AccessEvent]:
    """One for all clients of whom the same is said."""
    core = guard.core
    alike: dict[tuple[str, str, int], list[SubjectRef]] = {}
    for each in post.data:
        alike.setdefault((each.what, each.actor, each.at), []).append(SubjectRef(*each.client))
    for (what, actor, at), clients in alike.items():
        yield AccessEvent(
            event_id="",
            at_us=core.clock.now_us(),
            action=WORK,
            outcome=Outcome.PERMITTED,
            actor="crm",
            system=core.system,
            mode=core.mode,
            disclosures=(Disclosure("client", (), tuple(dict.fromkeys(clients))),),
            about={"what": what, "for": actor, "at": str(at)},
        )


async def _once(guard: AsyncGuard, event: AccessEvent) -> None:
    """Records it, if it is not on record: a post that was not answered comes again."""
    try:
        await guard.record(event)
    except AuditUnavailableError as error:
        if error.detail != REUSED:
            raise
