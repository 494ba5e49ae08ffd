"""Why: the rules in the policy's order with what each did, and the views that follow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec
from msgspec import Struct

from privguard.errors import AccessDeniedError
from privguard.model import (
    MISSING,
    AccessRequest,
    Decision,
    FieldView,
    Obligation,
    Outcome,
    Principal,
    Route,
    Verb,
    View,
)
from privguard.policy import notation
from privguard.policy.conditions import FAILURES, ConditionError
from privguard.policy.decide import Policy
from privguard.policy.rules import Rule


class RuleReport(Struct, frozen=True):
    """What one rule did.

    Attributes:
        applied: it took part in the answer.
        why: why not, or what it did; in words.
    """

    id: str
    effect: str
    applied: bool
    why: str


class Explanation(Struct, frozen=True):
    """The answer for one actor, resource and purpose, with its reasons.

    Attributes:
        answer: ``permitted``, or the name of the problem.
        detail: the refusal in words.
        fields: path, view, mask; for no record the strongest any record could give.
    """

    resource: str
    action: str
    purpose: str
    answer: str
    detail: str
    rules: tuple[RuleReport, ...]
    fields: tuple[tuple[str, str, str], ...]
    missing: tuple[Obligation, ...]
    offered: tuple[str, ...]
    failed: str | None


def explain(
    policy: Policy,
    actor: Principal,
    resource: str,
    purpose: str | None,
    record: Mapping[str, object] | None,
    *,
    request: AccessRequest | None = None,
    action: Verb = Verb.READ,
    now_us: int = 0,
) -> Explanation:
    """Explains what ``actor`` gets of a record (None: of any record).

    Args:
        purpose: as the caller would name it; None: the policy's default.
        request: what else the caller says (reason, ticket, fields asked for).
        now_us: microseconds since the epoch.
    """
    asked = request or AccessRequest()
    request = AccessRequest(
        purpose=purpose, reason=asked.reason, ticket=asked.ticket, reveal=asked.reveal, zone=asked.zone
    )
    trial = attempt(policy, actor, Route(resource, action, f"{action} {resource}"), request, record, now_us)
    ruling = trial.ruling
    named = purpose or policy.default_purpose or ""
    reporter = _Reporter(policy, actor, resource, named, action, record, request, now_us)
    return Explanation(
        resource=resource,
        action=action.value,
        purpose=named,
        answer=trial.answer,
        detail=trial.detail,
        rules=tuple(reporter.report(rule) for rule in policy.rules),
        fields=tuple((f.spec.path, f.view.label, f.mask.operator) for f in trial.fields),
        missing=ruling.missing if ruling is not None else (),
        offered=ruling.offered if ruling is not None else (),
        failed=ruling.failed if ruling is not None else None,
    )


class Trial(Struct, frozen=True):
    """One access tried out.

    Attributes:
        answer: ``permitted``, or the name of the problem.
        ruling: None where no record was given or it was not asked for.
        fields: of the record; without one, the strongest any could give.
    """

    answer: str
    detail: str = ""
    ruling: Decision | None = None
    fields: tuple[FieldView, ...] = ()


def attempt(
    policy: Policy,
    actor: Principal,
    route: Route,
    request: AccessRequest,
    record: Mapping[str, object] | None,
    now_us: int,
) -> Trial:
    """Tries an access out, as the doors would answer it."""
    try:
        plan = policy.plan(actor, route, request, now_us)
    except AccessDeniedError as error:
        return Trial(error.problem, error.detail)
    if record is None:
        return Trial("permitted", fields=plan.strongest())
    ruling = plan.judge(actor, values(plan.reads, record))
    hidden = [f for f in ruling.fields if _asked(f, request.reveal) and f.view is not View.CLEAR]
    if hidden and ruling.outcome is Outcome.PERMITTED:
        return Trial(_problem(ruling.missing), ruling=ruling, fields=ruling.fields)
    return Trial(answered(ruling), ruling=ruling, fields=ruling.fields)


def answered(ruling: Decision) -> str:
    """``permitted``, or the problem that a door answers with."""
    if ruling.outcome is Outcome.CHALLENGED:
        return _problem(ruling.missing)
    return "permitted" if ruling.outcome is Outcome.PERMITTED else "not-permitted"


def _problem(missing: tuple[Obligation, ...]) -> str:
    kinds = {obligation.kind for obligation in missing}
    if "mfa" in kinds:
        return "step-up-required"
    return "reason-required" if kinds & {"reason", "ticket"} else "not-permitted"


def _asked(field: FieldView, reveal: tuple[str, ...]) -> bool:
    return field.spec.nested is None and (field.spec.path in reveal or field.spec.cls.name in reveal)


def values(reads: tuple[str, ...], record: Mapping[str, object]) -> list[object]:
    """The record's values at these paths; MISSING where there is none."""
    return [next(found(record, notation.steps(path)), MISSING) for path in reads]


def found(value: object, steps: tuple[str, ...]) -> Iterator[object]:
    """Every value at the steps below a value."""
    if not steps:
        yield value
        return
    step, rest = steps[0], steps[1:]
    inner: list[object] = []
    if step == "[*]":
        inner = list(value) if isinstance(value, list) else []
    elif step == "{json}":
        inner = [_parsed(value)] if isinstance(value, str) else []
    elif isinstance(value, Mapping) and (step == "*" or step.startswith("<")):
        inner = list(value.values())
    elif isinstance(value, Mapping):
        inner = [value[step]] if step in value else []
    for each in inner:
        yield from found(each, rest)


def _parsed(text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return None


class _Reporter(Struct, frozen=True):
    """What is needed to say what a rule did."""

    policy: Policy
    actor: Principal
    resource: str
    purpose: str
    action: Verb
    record: Mapping[str, object] | None
    request: AccessRequest
    now_us: int

    def report(self, rule: Rule) -> RuleReport:
        why = self._why_not(rule)
        return RuleReport(rule.id, rule.effect, not why, why or _did(rule))

    def _why_not(self, rule: Rule) -> str:
        misfit = rule.misfit(self.actor.roles, self.resource, self.action, self.purpose)
        if misfit is not None:
            return f"is for another {misfit}"
        return self._condition(rule) or self._tier(rule) or self._unmet(rule)

    def _condition(self, rule: Rule) -> str:
        if rule.relation is None or self.record is None:
            return ""
        condition = self.policy.relations[rule.relation]
        positions = {path: position for position, path in enumerate(condition.reads)}
        try:
            holds = condition.bind(self.actor, positions)(values(condition.reads, self.record))
        except (ConditionError, *FAILURES):
            return f"relation `{rule.relation}` cannot be evaluated: the record is denied"
        return "" if holds else f"relation `{rule.relation}` does not hold"

    def _tier(self, rule: Rule) -> str:
        path = self.policy.shapes[self.resource].tier if self.resource in self.policy.shapes else None
        if rule.tiers is None or path is None or self.record is None:
            return ""
        [tier] = values((path,), self.record)
        if not isinstance(tier, str | int | None):
            return "the tier cannot be read: the record is denied"
        return "" if str(tier) in rule.tiers else "is for other tiers"

    def _unmet(self, rule: Rule) -> str:
        unmet = [r.obligation for r in rule.requires if not r.met(self.actor, self.request, self.now_us)]
        if rule.effect == "gate":
            return "" if unmet else "is met"
        words = "; ".join(f"{o.kind}: {o.detail}" if o.detail else o.kind for o in unmet)
        return f"needs {words}" if unmet else ""


def _did(rule: Rule) -> str:
    if rule.effect == "forbid":
        return f"forbids {', '.join(sorted(rule.withholds)) if rule.withholds else 'the record'}"
    if rule.effect == "export":
        return f"permits {', '.join(rule.formats)}"
    if rule.effect == "gate":
        return "asks for more first"
    return ", ".join(f"{name} {view.label}" for name, view in rule.views.items())
