"""The start page, and the page of a challenge: what is asked for, proof of a factor, the grant."""

from __future__ import annotations

import msgspec
from fastapi import Response
from msgspec.structs import replace

from privguard.authority.enrolment import Enrolment
from privguard.authority.granting import Asked, Granting, Issued
from privguard.gateway.own import check_path
from privguard.gateway.pages.front import Front, Page, UnsaidError, Visit
from privguard.gateway.pages.proofs import Ways, proof_of, sent, ways
from privguard.gateway.stepup import clients_of, issued_view

_IN_WORDS = ("reason", "ticket")


def start_or_verify(front: Front, granting: Granting, enrolment: Enrolment) -> Page:
    """``/_privguard/stepup/``: with a challenge its page, else the start page."""

    async def show(visit: Visit) -> Response:
        text = visit.said("challenge")
        if not text:
            return front.page(visit, "start.html", waiting=len(await granting.waiting(visit.actor)))
        asked = await granting.asked(visit.actor, text)
        missing = {each.kind: each.detail for each in asked.terms.missing}
        return front.page(
            visit,
            "verify.html",
            asked=asked,
            asked_for=text,
            scope=asked.challenge.scope,
            clients=clients_of(asked.challenge.scope),
            say={kind: visit.words.detail(missing[kind]) for kind in _IN_WORDS if kind in missing},
            unmet=[f"{kind}: {detail}" for kind, detail in missing.items() if kind not in _IN_WORDS],
            ways=await _ways(enrolment, visit, asked, text),
            return_to=_return_to(visit),
        )

    async def act(visit: Visit) -> Response:
        text, back = visit.said("challenge"), _return_to(visit)
        asked = await granting.asked(visit.actor, text)
        if await sent(enrolment, visit, text):
            return await show(replace(visit, notice="proof.sent"))
        words = {kind: visit.form.get(kind, "") for kind in _IN_WORDS}
        if "options" in visit.form:  # the key signs what is typed
            options = await enrolment.assertion_options(
                visit.actor, text, reason=words["reason"], ticket=words["ticket"]
            )
            return Response(options, media_type="application/json")
        if any(each.kind == "reason" for each in asked.terms.missing) and not visit.form.get("reason"):
            raise UnsaidError("unsaid.reason")
        made = await granting.issue(
            visit.actor,
            text,
            proof_of(visit) if asked.terms.factor is not None else None,
            **words,
        )
        return front.page(visit, "granted.html", made=made, told=_told(made), return_to=back)

    return Page(show, act)


async def _ways(enrolment: Enrolment, visit: Visit, asked: Asked, text: str) -> Ways | None:
    return await ways(enrolment, visit, text, asked.methods) if asked.terms.factor is not None else None


def _told(made: Issued) -> str:
    """The grant, for the page's script, which hands it to the page that opened this one."""
    return msgspec.json.encode(issued_view(made)).decode()


def _return_to(visit: Visit) -> str:
    """Where the page leads back to: a path of this host (S14), or nowhere."""
    return_to = visit.said("return_to")
    if return_to:
        check_path(return_to)
    return return_to
