"""Somebody's own factors: what they have, adding one, confirming it, removing one."""

from __future__ import annotations

from typing import Final

from fastapi import Response
from msgspec.structs import replace

from privguard.authority.enrolment import Begun, Enrolment
from privguard.authority.granting import Granting
from privguard.errors import MalformedRequestError, NotOnRecordError
from privguard.gateway.pages.front import Front, Page, Visit
from privguard.gateway.pages.proofs import Ways, again, answer_of, proof_of, sent, ways
from privguard.stepup.factor import Proof

_DONE: Final = ("added", "removed", "asked")


def listed(front: Front, _granting: Granting, enrolment: Enrolment) -> Page:
    """``factors``"""

    async def show(visit: Visit) -> Response:
        done = visit.query.get("done", "")
        said = replace(visit, notice=f"factors.done.{done}" if done in _DONE else "")
        return front.page(said, "factors.html", mine=await enrolment.mine(visit.actor), kinds=enrolment.kinds)

    return Page(show)


def add(front: Front, _granting: Granting, enrolment: Enrolment) -> Page:
    """``factors/add?kind=``"""

    async def show(visit: Visit) -> Response:
        kind = _kind(enrolment, visit)
        return front.page(visit, "add.html", kind=kind, ways=await _ways(enrolment, visit, "add"))

    async def act(visit: Visit) -> Response:
        kind, text = _kind(enrolment, visit), visit.form.get("challenge", "")
        if await sent(enrolment, visit, text):
            return await show(replace(visit, notice="proof.sent"))
        begun = await enrolment.begin(
            visit.actor,
            kind,
            label=visit.form.get("label", ""),
            address=visit.form.get("address", ""),
            text=text,
            proof=await _proof(enrolment, visit),
        )
        if begun.codes:
            return front.page(visit, "codes.html", codes=begun.codes)
        return front.page(visit, "confirm.html", begun=begun, picture=_picture(begun))

    return Page(show, act)


def confirm(front: Front, _granting: Granting, enrolment: Enrolment) -> Page:
    """``factors/confirm``: reached by the form of ``factors/add`` alone."""

    async def show(visit: Visit) -> Response:
        kind = _kind(enrolment, visit)
        begun = Begun(visit.form.get("id", ""), kind, options=visit.form.get("options", ""))
        if not begun.id:
            raise NotOnRecordError("No factor waits to be confirmed: begin again.")
        return front.page(visit, "confirm.html", begun=begun, picture="")

    async def act(visit: Visit) -> Response:
        kind = _kind(enrolment, visit)
        answer = visit.form.get("attestation", "") if kind == "webauthn" else ""
        code = "" if kind == "webauthn" else proof_of(visit).code
        if answer:
            answer_of(answer)
        await enrolment.confirm(visit.actor, visit.form.get("id", ""), code=code, answer=answer or "{}")
        return front.done(visit, "factors", "added")

    return Page(show, act)


def remove(front: Front, _granting: Granting, enrolment: Enrolment) -> Page:
    """``factors/remove?factor=``"""

    async def show(visit: Visit) -> Response:
        one = next(
            (each for each in await enrolment.mine(visit.actor) if each.id == visit.said("factor")), None
        )
        if one is None:
            raise NotOnRecordError("You have no factor of this name.")
        return front.page(visit, "remove.html", one=one, ways=await _ways(enrolment, visit, "remove"))

    async def act(visit: Visit) -> Response:
        text = visit.form.get("challenge", "")
        if await sent(enrolment, visit, text):
            return await show(replace(visit, notice="proof.sent"))
        await enrolment.remove(visit.actor, visit.said("factor"), text=text, proof=proof_of(visit))
        return front.done(visit, "factors", "removed")

    return Page(show, act)


def lost(front: Front, _granting: Granting, enrolment: Enrolment) -> Page:
    """``factors/lost``: who has none left asks that they be reset."""

    async def show(visit: Visit) -> Response:
        return front.page(visit, "lost.html", mine=await enrolment.mine(visit.actor))

    async def act(visit: Visit) -> Response:
        await enrolment.ask_reset(visit.actor)
        return front.done(visit, "factors", "asked")

    return Page(show, act)


def _kind(enrolment: Enrolment, visit: Visit) -> str:
    kind = visit.said("kind")
    if kind not in enrolment.kinds:
        raise MalformedRequestError("Factors of this kind are not in use here ([stepup] factors).")
    return kind


async def _ways(enrolment: Enrolment, visit: Visit, action: str) -> Ways:
    text = again(visit) or enrolment.challenge(visit.actor, action)
    vouched = action == "add" and await enrolment.vouched(visit.actor)
    return await ways(enrolment, visit, text, await enrolment.proofs(visit.actor, action), optional=vouched)


async def _proof(enrolment: Enrolment, visit: Visit) -> Proof | None:
    said = visit.form.get("code") or visit.form.get("assertion")
    return None if not said and await enrolment.vouched(visit.actor) else proof_of(visit)


def _picture(begun: Begun) -> str:
    """The QR code of an authenticator app's key: dark on white in every theme, or no camera reads it."""
    if not begun.uri:
        return ""
    import segno  # only who enrols needs it

    return segno.make(begun.uri, error="m", micro=False).svg_data_uri(scale=4, dark="#000", light="#fff")
