"""What is refused without asking the upstream, because no record could change the answer.

In this order: nothing for this role, purpose and action; a forbid of everything; a gate of everything; a bulk
answer nobody permits; all permits unmet; a clear value asked for that no rule gives.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from privguard.errors import AccessDeniedError, ReasonRequiredError, StepUpRequiredError
from privguard.model import Obligation, Verb, View
from privguard.policy.candidates import Candidate, Candidates
from privguard.policy.requirements import BY_GRANT, merge

Refusal = Callable[[], AccessDeniedError]
"""Makes the error anew for each request, so that no traceback outlives its own."""
_SAY = ("reason", "ticket")


def refusal(candidates: Candidates, purpose: str) -> Refusal | None:
    """The refusal that holds for every record, if there is one."""
    shape, verb = candidates.shape, candidates.verb
    permits = [*candidates.shows, *(candidates.reveals if candidates.asked is not None else ())]
    if not permits:
        return _denied(f"No rule gives this role anything of {shape.name} ({verb}) for purpose {purpose}.")
    if any(c.whole and not c.conditional for c in candidates.forbids):
        return _denied(f"A rule forbids this role all of {shape.name}.")
    if gates := [c for c in candidates.gates if not c.conditional]:
        return demanded(merge(r for c in gates for r in c.unmet), (), tuple(c.rule.id for c in gates))
    if verb is Verb.EXPORT:
        if not candidates.exports:
            return _denied(f"No rule permits this role to export {shape.name} for purpose {purpose}.")
        if all(c.unmet for c in candidates.exports):
            return _cheapest(candidates.exports, ())
    if not any(not c.unmet for c in permits) and not candidates.reveals:
        return _cheapest(permits, ())
    return _unrevealable(candidates)


def unknown_field() -> AccessDeniedError:
    """The refusal of a reveal that names what the resource does not have."""
    return AccessDeniedError("Privguard-Reveal names something this resource has no field or class of.")


def demanded(missing: Sequence[Obligation], fields: tuple[str, ...], rules: tuple[str, ...] = ()) -> Refusal:
    """The refusal that names all that is missing, by what comes first.

    That is what cannot be met now, else words, else what a grant is issued for: a second factor, an approval.

    Args:
        rules: ids of the rules that ask for it.
    """
    words = "; ".join(f"{o.kind}: {o.detail}" if o.detail else o.kind for o in missing)
    kinds = {obligation.kind for obligation in missing}
    if kinds - BY_GRANT:
        return _denied(f"Missing: {words}.")
    if kinds & {*_SAY}:
        return lambda: ReasonRequiredError(f"Missing: {words}.")
    factor = next((obligation for obligation in missing if obligation.kind == "mfa"), Obligation("mfa"))
    acr = "phishing-resistant" if factor.phishing_resistant else "mfa"
    return lambda: StepUpRequiredError(
        f"Missing: {words}.", fields=fields, rules=rules, max_age=factor.max_age or 0, acr_values=acr
    )


def _denied(detail: str) -> Refusal:
    return lambda: AccessDeniedError(detail)


def _cheapest(candidates: Iterable[Candidate], fields: tuple[str, ...]) -> Refusal:
    cheapest = min(candidates, key=_effort)
    return demanded(merge(cheapest.unmet), fields, (cheapest.rule.id,))


def _effort(candidate: Candidate) -> tuple[bool, bool, int]:
    """What asks least first: nothing that cannot be met now, no second factor, few obligations."""
    kinds = {requirement.obligation.kind for requirement in candidate.unmet}
    return bool(kinds - BY_GRANT), not kinds <= {*_SAY}, len(kinds)


def _unrevealable(candidates: Candidates) -> Refusal | None:
    """For each field asked for that no record shows in clear: some rule must be able to.

    A reason or ticket that every such rule misses is asked for before anybody is sent to prove who they are;
    the second factor itself is asked for record by record.
    """
    already = candidates.combine((c for c in candidates.shows if not c.unmet), ())
    for position in sorted(candidates.asked or ()):
        if already is not None and already[position] is View.CLEAR:
            continue
        path = candidates.shape.fields[position].path
        able = [c for c in (*candidates.shows, *candidates.reveals) if c.gives[position] is View.CLEAR]
        if not able or _forbidden(candidates, position):
            return _denied(f"No rule lets this role see {path} in clear.")
        easiest = min(able, key=_effort)
        kinds = {requirement.obligation.kind for requirement in easiest.unmet}
        if "training" in kinds or kinds & {*_SAY}:
            unmet = [r for r in easiest.unmet if r.obligation.kind in ("training", *_SAY)]
            return demanded(merge(unmet), (path,))
    return None


def _forbidden(candidates: Candidates, position: int) -> bool:
    hidden: Collection[Candidate] = [c for c in candidates.forbids if not c.conditional]
    return any(position in c.hides for c in hidden)
