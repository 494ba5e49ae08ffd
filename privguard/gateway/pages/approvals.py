"""What waits for a second person, and their decision (four-eyes)."""

from __future__ import annotations

from typing import Final

from fastapi import Response
from msgspec.structs import replace

from privguard.authority.enrolment import Enrolment
from privguard.authority.granting import Granting
from privguard.errors import AccessDeniedError
from privguard.gateway.pages.front import Front, Page, UnsaidError, Visit
from privguard.gateway.pages.proofs import again, proof_of, sent, ways
from privguard.gateway.stepup import clients_of
from privguard.store.grants import Standing

_DONE: Final = ("approved", "refused")


def listed(front: Front, granting: Granting, _enrolment: Enrolment) -> Page:
    """``approvals``"""

    async def show(visit: Visit) -> Response:
        done = visit.query.get("done", "")
        said = replace(visit, notice=f"approvals.done.{done}" if done in _DONE else "")
        waiting = [(each, clients_of(each.scope)) for each in await granting.waiting(visit.actor)]
        return front.page(said, "approvals.html", waiting=waiting)

    return Page(show)


def decide(front: Front, granting: Granting, enrolment: Enrolment) -> Page:
    """``approvals/decide?name=``"""

    async def find(visit: Visit) -> Standing:
        for each in await granting.waiting(visit.actor):
            if each.name == visit.said("name"):
                return each
        raise AccessDeniedError("Nothing of this name waits for you: it is decided, over, or your own.")

    async def show(visit: Visit) -> Response:
        each = await find(visit)
        scope = granting.decision_scope(visit.actor, each)
        told = await granting.describe_own(scope, visit.actor)
        text = again(visit) or str(told["challenge_id"])
        usable = await ways(enrolment, visit, text, told["methods"])  # type: ignore[arg-type]
        clients = clients_of(each.scope)
        return front.page(visit, "decide.html", each=each, clients=clients, ways=usable)

    async def act(visit: Visit) -> Response:
        text = visit.form.get("challenge", "")
        if await sent(enrolment, visit, text):
            return await show(replace(visit, notice="proof.sent"))
        choice = visit.form.get("approve", "")
        if "options" in visit.form:  # the key signs what is chosen
            options = await enrolment.assertion_options(visit.actor, text, approve=choice == "yes")
            return Response(options, media_type="application/json")
        if choice not in ("yes", "no"):
            raise UnsaidError("unsaid.choice")
        await granting.decide(
            visit.actor, visit.said("name"), approve=choice == "yes", text=text, proof=proof_of(visit)
        )
        return front.done(visit, "approvals", "approved" if choice == "yes" else "refused")

    return Page(show, act)
