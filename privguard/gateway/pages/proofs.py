"""The part of a form in which somebody proves a factor: what they may use, and what they used."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec
from msgspec import Struct

from privguard.authority.enrolment import Enrolment
from privguard.errors import FactorRefusedError, MalformedRequestError
from privguard.gateway.pages.front import UnsaidError, Visit
from privguard.stepup.factor import Factor, Proof


class Way(Struct, frozen=True):
    """A code that would do; ``value`` names it in the form."""

    value: str
    kind: str
    label: str


class Ways(Struct, frozen=True):
    """All ways to prove oneself to a challenge.

    Attributes:
        key: options for ``navigator.credentials.get`` as JSON; empty: no key would do.
        senders: factors that a code can be sent by.
        optional: no proof is needed (the issuer vouches).
    """

    challenge: str
    codes: tuple[Way, ...]
    key: str
    senders: tuple[Factor, ...]
    optional: bool = False

    @property
    def none(self) -> bool:
        return not (self.codes or self.key or self.optional)


async def ways(
    enrolment: Enrolment, visit: Visit, challenge: str, kinds: Collection[str], *, optional: bool = False
) -> Ways:
    """The actor's ways to meet a challenge by a factor of these kinds."""
    mine = [one for one in await enrolment.mine(visit.actor) if one.state == "active" and one.kind in kinds]
    codes = [Way(f"{one.kind}:{one.id}", one.kind, one.data.label) for one in mine if one.kind != "webauthn"]
    codes += [Way("invite:", "invite", "")] if "invite" in kinds else []
    keys = any(one.kind == "webauthn" for one in mine)
    return Ways(
        challenge,
        tuple(sorted(codes, key=lambda way: way.kind == "recovery")),
        await enrolment.assertion_options(visit.actor, challenge) if keys else "",
        tuple(one for one in mine if one.kind == "code"),
        optional,
    )


def proof_of(visit: Visit) -> Proof:
    """What the form proves. Raises UnsaidError: nothing was typed, so nothing counts as a try."""
    if assertion := visit.form.get("assertion"):
        return Proof("webauthn", assertion=answer_of(assertion))
    method, _, factor = visit.form.get("way", "").partition(":")
    code = visit.form.get("code", "")
    if not code or not method:
        raise UnsaidError("unsaid.code")
    return Proof(method, factor=factor, code=code)


def answer_of(text: str) -> dict[str, Any]:
    """What the browser gave for a key. Raises MalformedRequestError, which does not quote it."""
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        pass
    raise MalformedRequestError("The browser's answer for the key is not JSON.")


async def sent(enrolment: Enrolment, visit: Visit, challenge: str) -> bool:
    """Sends a code, where that is what the form asks for."""
    if "send" not in visit.form:
        return False
    await enrolment.send_code(visit.actor, challenge, visit.form["send"])
    return True


def again(visit: Visit) -> str:
    """The form's challenge, where it can still be met: a code that was sent is good for that one alone."""
    kept = bool(visit.notice) or isinstance(visit.error, FactorRefusedError | UnsaidError)
    return visit.form.get("challenge", "") if kept else ""
