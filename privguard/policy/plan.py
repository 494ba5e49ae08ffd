"""The compiled plan: judges records by the outcomes of the conditions that matter, one ruling per outcome.

How a record is judged (``_decide``; the numbers stand at the code):

1. A forbid of the record that holds ends it.
2. The strongest view any rule that holds gives counts; forbidden classes are withheld.
3. In a bulk answer a rule that permits the export must hold as well.
4. A record nothing is shown of is refused; or challenged, when rules with unmet requirements would show it.
5. A gate that holds and is unmet challenges what would otherwise be seen.
6. What rules with unmet requirements would give in clear beyond it is offered.

A condition that fails denies the record before any of this (M16).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec.structs import replace

from privguard.model import (
    PRIVATE,
    AccessPlan,
    Decision,
    FieldView,
    Obligation,
    Outcome,
    Principal,
    ResourceShape,
    Verb,
    View,
)
from privguard.policy.candidates import Candidate, Candidates, Views
from privguard.policy.conditions import FAILURES, Condition, ConditionError
from privguard.policy.requirements import merge
from privguard.policy.rules import Rule

TIER = "record.tier"
"""Names the condition on the tier; no relation can have a dot in its name."""
Holds = Callable[[Candidate], bool]
Check = Callable[[Sequence[object]], object]
"""Gives the outcome of a condition for a record's values: whether a relation holds, which tier it is."""
Bound = tuple[Principal | None, tuple[Check, ...], Callable[[Sequence[object]], tuple[object, ...]]]
"""The checks for an actor, each by itself and all as one."""
_UNBOUND: Bound = (None, (), lambda values: ())


class CompiledPlan:
    """The ``AccessPlan`` of the policy stage.

    Args:
        candidates: the rules that can apply.
        relations: the policy's conditions by relation name.
        nested: finds the plan of a resource inside this one.
    """

    def __init__(
        self,
        candidates: Candidates,
        relations: Mapping[str, Condition],
        purpose: str,
        nested: Callable[[str], AccessPlan],
    ) -> None:
        self.shape: ResourceShape = candidates.shape
        self.purpose: str | None = purpose
        self.candidates = candidates
        self.rules = tuple(dict.fromkeys(candidate.rule.id for candidate in candidates))
        self._nested = nested
        conditional = [candidate.rule for candidate in candidates if candidate.conditional]
        self._conditions = {name: relations[name] for name in _relations(conditional)}
        self._tiers = frozenset(tier for rule in conditional for tier in rule.tiers or ())
        if self.shape.tier is None:
            self._tiers = frozenset()
        self.reads = self._paths()
        self._names = (*self._conditions, *([TIER] if self._tiers else []))
        self._bound = _UNBOUND
        self._rulings: dict[tuple[object, ...], Decision] = {}
        self._distinct: dict[tuple[object, ...], Decision] = {}
        self._close: dict[tuple[Decision, tuple[str, ...]], Decision] = {}
        self._unread: Decision | None = None
        always = self._decide(lambda candidate: True) if not self._names else None
        self.sees_all = always is not None and always.outcome is Outcome.PERMITTED
        self.export = _formats(candidates.exports)

    def judge(self, actor: Principal, values: Sequence[object]) -> Decision:
        """What the policy says of the record with these ``reads``; never raises: an error is a denial."""
        bound = self._bound
        if bound[0] is not actor:
            bound = self._bind(actor)
        try:
            outcomes = bound[2](values)
        except (ConditionError, *FAILURES):
            return self._failure(bound[1], values)
        ruling = self._rulings.get(outcomes)
        return ruling if ruling is not None else self._judge(outcomes)

    def unread(self) -> Decision:
        """The ruling where no record can be read: no condition of a permit holds.

        Conditions of forbids and gates hold then, because nobody can tell (M16); save for a create, where
        there is no record yet for them to hold for.
        """
        if self._unread is None:
            closed = self.candidates.verb is not Verb.CREATE
            self._unread = self._decide(
                lambda candidate: (
                    not candidate.conditional or (closed and candidate.rule.effect in ("forbid", "gate"))
                )
            )
        return self._unread

    def strongest(self) -> tuple[FieldView, ...]:
        """For each field the strongest view that any record could give this actor."""
        hidden = _hidden(c for c in self.candidates.forbids if not c.conditional)
        views = self.candidates.combine(_met(self.candidates.shows), hidden)
        return self.candidates.views(views or self.candidates.nothing())

    def weakest(self) -> tuple[FieldView, ...]:
        """For each field the weakest view that any permitted record gives; a lower bound, never too high.

        Every record has what unconditional rules give it. Where that is nothing, a permitted record holds by
        at least one conditional rule, so it has the weakest of theirs. Any forbid may hold.
        """
        shows = _met(self.candidates.shows)
        hidden = _hidden(self.candidates.forbids)
        base = self.candidates.combine([c for c in shows if not c.conditional], hidden)
        if base is None:
            each = [views for c in shows if (views := self.candidates.combine([c], hidden)) is not None]
            base = tuple(map(min, zip(*each, strict=True))) or None
        return self.candidates.views(base or self.candidates.nothing())

    def nested(self, resource: str) -> AccessPlan:
        """The plan of a resource that stands inside this one, for the same actor and purpose."""
        return self._nested(resource)

    # inside

    def _paths(self) -> tuple[str, ...]:
        paths = [path for condition in self._conditions.values() for path in condition.reads]
        if self._tiers and self.shape.tier is not None:
            paths.append(self.shape.tier)
        paths += [path for _, parts in self.shape.private for path in parts]
        return tuple(dict.fromkeys(paths))

    def _bind(self, actor: Principal) -> Bound:
        """The checks for one actor; kept, because an answer's records are all judged for the same."""
        positions = {path: position for position, path in enumerate(self.reads)}
        checks: list[Check] = [condition.bind(actor, positions) for condition in self._conditions.values()]
        if self._tiers and self.shape.tier is not None:
            checks.append(_tier(self._tiers, positions[self.shape.tier]))
        if actor.private is not None:
            checks += [
                _shared(actor.private, kind, [positions[path] for path in parts])
                for kind, parts in self.shape.private
            ]
        self._bound = (actor, tuple(checks), _together(checks))
        return self._bound

    def _failure(self, checks: Sequence[Check], values: Sequence[object]) -> Decision:
        named = zip(self._names, checks, strict=False)  # what is private never fails
        failed = next((name for name, check in named if _fails(check, values)), self._names[0])
        return self._ruling(Outcome.DENIED, self._using(failed), failed=failed)

    def _using(self, name: str) -> list[Candidate]:
        def uses(rule: Rule) -> bool:
            return rule.relation == name or (name == TIER and rule.tiers is not None)

        return [candidate for candidate in self.candidates if uses(candidate.rule)]

    def _judge(self, outcomes: tuple[object, ...]) -> Decision:
        known = dict(zip(self._names, outcomes, strict=False))
        ruling = self._decide(lambda candidate: _holds(candidate.rule, known))
        shared = zip(self.shape.private, outcomes[len(self._names) :], strict=False)
        if close := tuple(f"{PRIVATE}{kind}" for (kind, _), holds in shared if holds):
            held = replace(ruling, relations=(*ruling.relations, *close))
            ruling = self._close.setdefault((ruling, close), held)
        self._rulings[outcomes] = ruling
        return ruling

    def _decide(self, holds: Holds) -> Decision:
        these = self.candidates
        forbids = [c for c in these.forbids if holds(c)]
        if whole := [c for c in forbids if c.whole]:  # 1
            return self._ruling(Outcome.DENIED, whole)
        hidden = _hidden(forbids)
        holding = [c for c in these.shows if holds(c)]
        views = these.combine(_met(holding), hidden)  # 2
        exports = [c for c in these.exports if holds(c)]
        barred = these.verb is Verb.EXPORT and not _met(exports)  # 3
        challengers = [c for c in exports if c.unmet] if barred else []
        if barred and not challengers:
            return self._ruling(Outcome.DENIED)
        offers = [c for c in holding if c.unmet] + [c for c in these.reveals if holds(c)]
        if views is None:  # 4
            wanted = offers if these.asked is not None else [c for c in offers if c.rule.effect == "show"]
            if these.combine(wanted, hidden) is None:
                return self._ruling(Outcome.DENIED)
            challengers += wanted
        offered = self._offered(offers, views or these.nothing(), hidden)
        if gates := [c for c in these.gates if holds(c)]:  # 5
            return self._challenge([*challengers, *gates], offered if views is None else ())
        if challengers:
            return self._challenge(challengers, offered)
        offerers = [c for c in offers if any(c.gives[n] is View.CLEAR for n in offered)]  # 6
        gave = [*_met(holding), *_met(exports), *(c for c in forbids if c.hides)]
        return self._ruling(
            Outcome.PERMITTED,
            [*gave, *offerers] if these.asked is not None else gave,
            views=views,
            missing=merge(r for c in offerers for r in c.unmet),
            offered=self._named(offered),
            offerers=[c.rule.id for c in offerers],
        )

    def _challenge(self, challengers: Sequence[Candidate], offered: Sequence[int]) -> Decision:
        missing = merge(requirement for c in challengers for requirement in c.unmet)
        return self._ruling(
            Outcome.CHALLENGED,
            challengers,
            missing=missing,
            offered=self._named(offered),
            offerers=[c.rule.id for c in challengers],
        )

    def _offered(self, offers: Sequence[Candidate], views: Views, hidden: frozenset[int]) -> Sequence[int]:
        """Fields that the offers would give in clear and that are not yet."""
        asked = self.candidates.asked
        return [
            n
            for n, view in enumerate(views)
            if view is not View.CLEAR
            and n not in hidden
            and (asked is None or n in asked)
            and any(c.gives[n] is View.CLEAR for c in offers)
        ]

    def _named(self, positions: Iterable[int]) -> tuple[str, ...]:
        return tuple(self.shape.fields[position].path for position in positions)

    def _ruling(
        self,
        outcome: Outcome,
        because: Sequence[Candidate] = (),
        *,
        views: Views | None = None,
        missing: tuple[Obligation, ...] = (),
        offered: tuple[str, ...] = (),
        offerers: Iterable[str] = (),
        failed: str | None = None,
    ) -> Decision:
        """One object per distinct answer."""
        rules = tuple(dict.fromkeys(candidate.rule.id for candidate in because))
        relations = tuple(_relations(candidate.rule for candidate in because))
        by = tuple(dict.fromkeys(offerers))
        key = (outcome, views, rules, relations, missing, offered, by, failed)
        if key not in self._distinct:
            fields = self.candidates.views(views) if views is not None else ()
            self._distinct[key] = Decision(outcome, fields, rules, relations, missing, offered, by, failed)
        return self._distinct[key]


def _together(checks: Sequence[Check]) -> Callable[[Sequence[object]], tuple[object, ...]]:
    if len(checks) == 1:  # as mostly: a third less for each record of a list
        [only] = checks
        return lambda values: (only(values),)
    return lambda values: tuple([check(values) for check in checks])


def _tier(tiers: frozenset[str], position: int) -> Check:
    def check(values: Sequence[object]) -> object:
        tier = values[position]
        if type(tier) is int:
            tier = str(tier)
        if type(tier) is str:
            return tier if tier in tiers else None
        if tier is None:
            return None
        raise ConditionError

    return check


def _shared(private: Callable[[str, object], bool], kind: str, positions: Sequence[int]) -> Check:
    def check(values: Sequence[object]) -> bool:
        parts = [values[position] for position in positions]
        if len(parts) == 1:
            return private(kind, parts[0])
        return private(kind, " ".join(str(part) for part in parts if isinstance(part, str | int)))

    return check


def _fails(check: Check, values: Sequence[object]) -> bool:
    try:
        check(values)
    except (ConditionError, *FAILURES):
        return True
    return False


def _holds(rule: Rule, outcomes: Mapping[str, object]) -> bool:
    if rule.relation is not None and outcomes[rule.relation] is not True:
        return False
    # Without a tier path only forbids and gates remain, and they hold (see Candidates).
    return rule.tiers is None or TIER not in outcomes or outcomes[TIER] in rule.tiers


def _relations(rules: Iterable[Rule]) -> list[str]:
    return list(dict.fromkeys(rule.relation for rule in rules if rule.relation is not None))


def _met(candidates: Iterable[Candidate]) -> list[Candidate]:
    return [candidate for candidate in candidates if not candidate.unmet]


def _hidden(forbids: Iterable[Candidate]) -> frozenset[int]:
    return frozenset(position for candidate in forbids for position in candidate.hides)


def _formats(exports: Iterable[Candidate]) -> tuple[tuple[str, int | None], ...]:
    """Each format with its limit; of several the largest, none where one rule sets none."""
    limits: dict[str, int | None] = {}
    for candidate in _met(exports):
        for name in candidate.rule.formats:
            mine = candidate.rule.max_clients
            known = limits.get(name, 0)
            limits[name] = None if mine is None or known is None else max(known, mine)
    return tuple(sorted(limits.items()))
