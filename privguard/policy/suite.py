"""The tests beside a policy: a table of who asks what for, and what must come of it.

``NAME_test.yaml`` stands beside ``NAME.yaml``::

    actors: {lin: {id: rm.lin, roles: [rm]}}
    records: {zhang: {id: 1, rm_ids: [rm.lin], mobile: "13812345678"}}
    tests:
      - {as: lin, record: zhang, expect: {mobile: masked}, absent: [notes], rule: rm-read}
      - {as: lin, request: "GET /clients.csv", expect: not-permitted}

``expect`` is an answer (``permitted``, ``passthrough``, ``ungoverned-route``, or a problem's name) or a map
of field paths to a view or to the value that leaves (a list where the path has ``[*]``). ``absent`` lists
fields that must not leave. ``rule`` must be among the rules of the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from privguard.errors import PolicyError
from privguard.model import AccessRequest, Assurance, FieldView, Principal, Route, Verb, View
from privguard.policy import notation
from privguard.policy.decide import Policy
from privguard.policy.document import Duration, Label, Name, Part, given
from privguard.policy.explain import Trial, attempt, found
from privguard.policy.shape import build
from privguard.policy.source import InvalidPolicyError, Path, Source, read

Masker = Callable[[FieldView, object], object]
"""What leaves of a value in a view; ``msgspec.UNSET`` for nothing."""

VIEWS: Final = {view.label: view for view in View}


class ActorDef(Part, frozen=True, kw_only=True):
    """Who asks."""

    id: str | int = "someone"
    roles: tuple[Label, ...] = ()
    tenant: str = "default"
    branch: str | UnsetType = UNSET
    client_id: str | int | UnsetType = UNSET
    attributes: dict[str, Any] = msgspec.field(default_factory=dict)


class Context(Part, frozen=True, kw_only=True):
    """What the caller says and proves."""

    reason: str | UnsetType = UNSET
    ticket: str | UnsetType = UNSET
    reveal: tuple[str, ...] = ()
    mfa: Annotated[Duration | UnsetType, Meta(description="How long ago a second factor was given.")] = UNSET
    phishing_resistant: bool = False
    zone: str | UnsetType = UNSET


class Case(Part, frozen=True, kw_only=True):
    """One row."""

    actor: Name = msgspec.field(name="as")
    purpose: Name | UnsetType = UNSET
    context: Context = Context()
    request: Annotated[str | UnsetType, Meta(description="GET /clients/1")] = UNSET
    resource: Name | UnsetType = UNSET
    record: str | dict[str, Any] | UnsetType = UNSET
    expect: str | dict[str, Any] | UnsetType = UNSET
    absent: tuple[str, ...] = ()
    rule: Name | UnsetType = UNSET


class SuiteFile(Part, frozen=True, kw_only=True):
    """A test file."""

    now: str = "2026-01-05T09:00:00+00:00"
    actors: dict[Name, ActorDef]
    records: dict[Name, dict[str, Any]] = msgspec.field(default_factory=dict)
    tests: Annotated[tuple[Case, ...], Meta(min_length=1)]


class Suite(Struct, frozen=True, eq=False):
    """A test file as loaded; ``now_us`` is the time its rows happen at."""

    content: SuiteFile
    source: Source
    now_us: int

    def record(self, case: Case) -> dict[str, Any] | None:
        """The record of a row, by name or in place."""
        if case.record is UNSET:
            return None
        return self.content.records[case.record] if isinstance(case.record, str) else case.record

    def actor(self, name: str, context: Context | None = None) -> Principal:
        """An actor of the file, with what the context proves. Raises KeyError: there is none of the name."""
        said = context or Context()
        spec = self.content.actors[name]
        proven = Assurance()
        if said.mfa is not UNSET:
            at = self.now_us // 1_000_000 - notation.seconds(said.mfa)
            proven = Assurance(auth_time=at, multi_factor=True, phishing_resistant=said.phishing_resistant)
        return Principal(
            id=str(spec.id),
            roles=frozenset(spec.roles),
            tenant=spec.tenant,
            branch=given(spec.branch),
            client_id=None if spec.client_id is UNSET else spec.client_id,
            attributes=spec.attributes,
            assurance=proven,
        )


class Row(Struct, frozen=True):
    """How one row went: ``differs`` is empty when it went as it should."""

    where: str
    title: str
    differs: tuple[str, ...]


class Report(Struct, frozen=True):
    """How a suite went; ``untried`` names the rules that no row has seen at work."""

    rows: tuple[Row, ...]
    untried: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not any(row.differs for row in self.rows)


def load_suite(text: str, name: str) -> Suite:
    """Reads a test file.

    Raises:
        PolicyError: it is not one; InvalidPolicyError with every error found.
    """
    source = read(text, name)
    content = build(SuiteFile, source)
    errors = [
        PolicyError(f"there is no {what} `{wrong}`", source.where(path), notation.nearest(wrong, known))
        for path, what, wrong, known in _undefined(content)
    ]
    try:
        now = datetime.fromisoformat(content.now)
        now_us = int(now.timestamp() * 1_000_000) if now.tzinfo else None
    except (ValueError, OverflowError):
        now_us = None
    if now_us is None:
        mend = "such as 2026-01-05T09:00:00+00:00"
        errors.append(PolicyError("this is not a time with its zone", source.where(("now",)), mend))
    if errors or now_us is None:
        raise InvalidPolicyError(errors)
    return Suite(content, source, now_us)


def _undefined(content: SuiteFile) -> Iterator[tuple[Path, str, str, list[str]]]:
    for number, case in enumerate(content.tests):
        if case.actor not in content.actors:
            yield ("tests", number, "as"), "actor", case.actor, list(content.actors)
        if isinstance(case.record, str) and case.record not in content.records:
            yield ("tests", number, "record"), "record", case.record, list(content.records)


def run(policy: Policy, suite: Suite, mask: Masker | None = None) -> Report:
    """Runs a suite.

    Args:
        mask: what leaves of a value; without it rows may expect views only.
    """
    seen: set[str] = set()
    rows = tuple(
        Row(suite.source.where(("tests", number)), _title(case), tuple(check.differences()))
        for number, case in enumerate(suite.content.tests)
        for check in [_Check(policy, suite, case, mask, seen)]
    )
    return Report(rows, tuple(rule.id for rule in policy.rules if rule.id not in seen))


def _title(case: Case) -> str:
    what = case.request or (case.record if isinstance(case.record, str) else "a record")
    asked = f", reveal {', '.join(case.context.reveal)}" if case.context.reveal else ""
    return f"{case.actor}: {what}{f', for {case.purpose}' if case.purpose else ''}{asked}"


class _Check(Struct, frozen=True):
    """One row against the policy."""

    policy: Policy
    suite: Suite
    case: Case
    mask: Masker | None
    seen: set[str]

    def differences(self) -> Iterator[str]:
        case = self.case
        trial = self._trial()
        rules = trial.ruling.rules if trial.ruling is not None else ()
        self.seen.update(rules)
        if isinstance(case.expect, str):
            if case.expect != trial.answer:
                yield f"expected {case.expect}, got {_said(trial)}"
        elif trial.answer != "permitted":
            yield f"expected fields, got {_said(trial)}"
        else:
            yield from self._fields(trial, case.expect or {})
            yield from self._misshapen(trial)
        for path in case.absent:
            yield from self._absent(trial, path)
        if case.rule and case.rule not in rules:
            yield f"expected rule {case.rule}, got {', '.join(rules) or 'none'}"

    def _trial(self) -> Trial:
        case = self.case
        request = AccessRequest(
            purpose=case.purpose or None,
            reason=case.context.reason or None,
            ticket=case.context.ticket or None,
            reveal=case.context.reveal,
            zone=case.context.zone or None,
        )
        route = self._route()
        if isinstance(route, Trial):
            return route
        actor = self.suite.actor(case.actor, case.context)
        return attempt(self.policy, actor, route, request, self.suite.record(case), self.suite.now_us)

    def _route(self) -> Route | Trial:
        if not self.case.request:
            resource = self.case.resource or next(iter(self.policy.shapes))
            return Route(resource, Verb.READ, f"read {resource}")
        method, _, path = self.case.request.partition(" ")
        route = self.policy.match(method, path)
        if route is not None:
            return route
        return Trial("passthrough" if self.policy.is_passthrough(method, path) else "ungoverned-route")

    def _fields(self, trial: Trial, expected: Mapping[str, object]) -> Iterator[str]:
        views = {view.spec.path: view for view in trial.fields}
        for path, wanted in expected.items():
            view = views.get(path)
            if view is None:
                yield f"{path}: the resource has no such field"
            elif isinstance(wanted, str) and wanted in VIEWS:
                if view.view is not VIEWS[wanted]:
                    yield f"{path}: expected {wanted}, got {view.view.label}"
            else:
                yield from self._value(view, wanted)

    def _misshapen(self, trial: Trial) -> Iterator[str]:
        """Fields that are shown as one value where the record has a list or parts: those never leave."""
        record = self.suite.record(self.case) or {}
        for view in trial.fields:
            path = view.spec.path
            if view.view is View.WITHHELD or view.spec.nested is not None:
                continue
            if any(isinstance(value, list | dict) for value in found(record, notation.steps(path))):
                yield f"{path}: the record has no single value there (such as {path}[*], or {path}.part)"

    def _value(self, view: FieldView, wanted: object) -> Iterator[str]:
        path = view.spec.path
        record = self.suite.record(self.case)
        if self.mask is None or record is None:
            yield f"{path}: a value can only be expected of a record, by what masks it"
            return
        steps = notation.steps(path)
        leaving = [left for value in found(record, steps) if (left := self._left(view, value)) is not UNSET]
        many = any(step in ("[*]", "*") or step.startswith("<") for step in steps)
        got: object = leaving if many else (leaving[0] if leaving else "nothing")
        if got != wanted:
            yield f"{path}: expected {wanted}, got {got}"

    def _left(self, view: FieldView, value: object) -> object:
        return value if view.view is View.CLEAR or self.mask is None else self.mask(view, value)

    def _absent(self, trial: Trial, path: str) -> Iterator[str]:
        known = {view.spec.path: view.view for view in trial.fields}
        if path not in self._paths() and not self._in_record(path):
            yield f"{path}: neither the resource nor the record has it"
        elif known.get(path, View.WITHHELD) is not View.WITHHELD:
            yield f"{path}: expected nothing, got {known[path].label}"

    def _paths(self) -> set[str]:
        return {spec.path for shape in self.policy.shapes.values() for spec in shape.fields}

    def _in_record(self, path: str) -> bool:
        record = self.suite.record(self.case) or {}
        return next(found(record, notation.steps(path)), UNSET) is not UNSET


def _said(trial: Trial) -> str:
    reasons = [trial.detail] if trial.detail else []
    if trial.ruling is not None:
        reasons += [f"rule {rule}" for rule in trial.ruling.rules]
        reasons += [f"failed: {trial.ruling.failed}"] if trial.ruling.failed else []
    return f"{trial.answer} ({'; '.join(reasons)})" if reasons else trial.answer
