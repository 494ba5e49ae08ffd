"""May they, and how much: finds the plan for an actor's request; a dictionary look-up when warm.

Two steps, each cached: (roles, resource, verb, purpose) gives the rules that can apply; of their requirements
the request meets some, and (met, asked for in clear) gives the plan.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from msgspec import Struct

from privguard.errors import AccessDeniedError, PurposeRequiredError
from privguard.model import AccessPlan, AccessRequest, Principal, ResourceShape, Route, Verb
from privguard.policy.candidates import Candidates
from privguard.policy.conditions import Condition, attribute
from privguard.policy.document import BudgetDef, Document, given
from privguard.policy.effects import Effect
from privguard.policy.plan import CompiledPlan
from privguard.policy.refuse import Refusal, refusal, unknown_field
from privguard.policy.requirements import BY_GRANT, Requirement
from privguard.policy.routes import Router
from privguard.policy.rules import Rule

_NONE: Final[frozenset[str]] = frozenset()
_MET_NONE: Final[frozenset[int]] = frozenset()
LOOKUPS: Final = 60
"""Exact look-ups an hour where the policy says nothing."""
_MOST: Final = 4096
"""Entries a cache may hold; its keys come from tokens and requests, so it is emptied beyond."""


class Scope(Struct, eq=False):
    """The rules that can apply for one role set, resource, verb and purpose.

    Attributes:
        requirements: of these rules and of those of the resources nested inside, in order of number.
        plans: by requirements met and names asked for in clear.
    """

    shape: ResourceShape
    verb: Verb
    purpose: str
    roles: frozenset[str]
    rules: tuple[Rule, ...]
    requirements: tuple[Requirement, ...] = ()
    broken: bool = False
    plans: dict[tuple[frozenset[int], frozenset[str]], tuple[CompiledPlan, Refusal | None]] = {}


class Policy:
    """A compiled policy: one version, never changed.

    Attributes:
        digest: SHA-256 of the policy file, hex.
        shapes: resources by name.
        rules: in the policy's order.
        relations: conditions by name.
        roles, purposes: every name the policy knows.
        budgets: as written.
        break_glass: as written; ``emergency`` is its rule.
        statement: what a client may be handed, as written; None where nothing is said.
        effects: what a level of risk leads to; those without one lead to nothing.
        honey: clients whom nobody has work with, by kind.
        sensitive: tiers of public interest.
        related: what relations are to the anomaly checker, as written.
    """

    def __init__(
        self,
        document: Document,
        *,
        shapes: Mapping[str, ResourceShape],
        rules: Iterable[Rule],
        emergency: Rule | None,
        effects: Mapping[str, Effect],
        relations: Mapping[str, Condition],
        router: Router,
        purposes: Iterable[str],
    ) -> None:
        content = document.content
        self.document = document
        self.digest = document.source.digest
        self.shapes = shapes
        self.rules = tuple(rules)
        self.emergency = emergency
        self.relations = relations
        self.purposes = frozenset(purposes)
        self.roles = frozenset(role for rule in self.rules for role in rule.roles or ())
        self.default_purpose = given(content.defaults.purpose)
        self.budgets: Mapping[str, BudgetDef] = content.budgets
        self._limits: dict[frozenset[str], tuple[tuple[str, int], ...]] = {}
        self.break_glass = given(content.break_glass)
        self.statement = given(content.statement)
        self.effects = effects
        self.honey = {kind: frozenset(ids) for kind, ids in content.anomaly.honey.items()}
        self.sensitive = frozenset(content.anomaly.sensitive)
        self.related: Mapping[str, str] = content.anomaly.relations
        self.match = router.match
        self.is_passthrough = router.is_passthrough
        self._narrow = {name: resource.narrow for name, resource in content.resources.items()}
        self._scopes: dict[tuple[frozenset[str], str, Verb, str, bool], Scope] = {}

    def rule(self, rule_id: str) -> Rule:
        """The rule of this id, with the grant and quota it sets.

        Raises:
            KeyError: there is none.
        """
        every = (*self._all_rules(), *(effect.rule for effect in self.effects.values()))
        return {rule.id: rule for rule in every}[rule_id]

    def plan(
        self,
        actor: Principal,
        route: Route,
        request: AccessRequest,
        now_us: int,
        granted: Collection[str] = (),
    ) -> AccessPlan:
        """The plan this request is judged by.

        Args:
            route: as ``match`` gave it, or made for a library call.
            now_us: microseconds since the epoch.
            granted: ids of the rules that a grant was issued under.

        Raises:
            PurposeRequiredError: no purpose is named and the policy has no default.
            AccessDeniedError: no record could be seen under it; ReasonRequiredError or StepUpRequiredError
                where the caller can do something about that.
        """
        purpose = request.purpose or self.default_purpose
        if purpose is None:
            raise PurposeRequiredError("Say what for: Privguard-Purpose names one of the policy's purposes.")
        broken = request.break_glass
        scope = self._scopes.get((actor.roles, route.resource, route.verb, purpose, broken))
        if scope is None:
            scope = self.scope(actor.roles, route.resource, route.verb, purpose, broken=broken)
        met = _MET_NONE
        if scope.requirements:
            met = frozenset([r.number for r in scope.requirements if r.met(actor, request, now_us)])
            if granted:
                met |= self._by_grant(granted)
        asked = frozenset(request.reveal) if request.reveal else _NONE
        found = scope.plans.get((met, asked))
        if found is None:
            found = self._compile(scope, met, asked)
        if found[1] is not None:
            raise found[1]()
        return found[0]

    def lookups(self, actor: Principal) -> int:
        """How many exact look-ups by masked fields the actor has in an hour."""
        said = [self.budgets[role].lookups_per_hour for role in actor.roles & self.budgets.keys()]
        limits = [limit for limit in said if isinstance(limit, int)]
        return max(limits, default=LOOKUPS)

    def client_limits(self, actor: Principal) -> tuple[tuple[str, int], ...]:
        """How many distinct clients the actor may be shown in an hour and in a day; nothing: any number."""
        found = self._limits.get(actor.roles)
        if found is None:
            if len(self._limits) >= _MOST:
                self._limits.clear()
            found = self._limits[actor.roles] = self._client_limits(actor.roles)
        return found

    def _client_limits(self, roles: frozenset[str]) -> tuple[tuple[str, int], ...]:
        said = [self.budgets[role] for role in sorted(roles & self.budgets.keys())]
        hours = [b.clients_per_hour for b in said if isinstance(b.clients_per_hour, int)]
        days = [b.clients_per_day for b in said if isinstance(b.clients_per_day, int)]
        return tuple((span, max(limits)) for span, limits in (("hour", hours), ("day", days)) if limits)

    def narrowing(self, actor: Principal, resource: str) -> tuple[str, str] | None:
        """The parameter, and its value, that lists of a resource are narrowed by for this actor.

        None where the policy says none, or several: which of those shows all that the actor may see?
        """
        fitting = [each for each in self._narrow[resource] if not actor.roles.isdisjoint(each.roles)]
        if len(fitting) != 1:
            return None
        value = attribute(actor, fitting[0].by.split(".")[1:])
        return (fitting[0].param, value) if isinstance(value, str) and value else None

    def scope(
        self, roles: frozenset[str], resource: str, verb: Verb, purpose: str, *, broken: bool = False
    ) -> Scope:
        """The rules that can apply; with those of an emergency where the glass is ``broken``.

        Raises:
            AccessDeniedError: the policy does not know the resource or the purpose.
        """
        if resource not in self.shapes:
            raise AccessDeniedError("The policy has no such resource.")
        if purpose not in self.purposes:
            raise AccessDeniedError("The policy has no such purpose.")  # M11
        if len(self._scopes) >= _MOST:
            self._scopes.clear()
        known = roles & self.roles
        scope = self._scopes.get((known, resource, verb, purpose, broken))
        if scope is None:
            scope = self._open(known, resource, verb, purpose, broken)
        self._scopes[known, resource, verb, purpose, broken] = scope
        self._scopes[roles, resource, verb, purpose, broken] = scope
        return scope

    def _open(self, roles: frozenset[str], resource: str, verb: Verb, purpose: str, broken: bool) -> Scope:
        inside = _inside(self.shapes, resource)
        rules = self._all_rules() if broken else self.rules
        fitting = {
            name: tuple(rule for rule in rules if rule.misfit(roles, name, verb, purpose) is None)
            for name in inside
        }
        numbered = {r.number: r for rules in fitting.values() for rule in rules for r in rule.requires}
        requirements = tuple(numbered[number] for number in sorted(numbered))
        return Scope(self.shapes[resource], verb, purpose, roles, fitting[resource], requirements, broken, {})

    def _all_rules(self) -> tuple[Rule, ...]:
        return self.rules if self.emergency is None else (*self.rules, self.emergency)

    def _by_grant(self, granted: Collection[str]) -> frozenset[int]:
        """Numbers of the requirements that a grant under these rules meets."""
        rules = [rule for rule in self._all_rules() if rule.id in granted]
        return frozenset(r.number for rule in rules for r in rule.requires if r.obligation.kind in BY_GRANT)

    def _compile(
        self, scope: Scope, met: frozenset[int], asked: frozenset[str]
    ) -> tuple[CompiledPlan, Refusal | None]:
        positions = frozenset(
            position
            for position, spec in enumerate(scope.shape.fields)
            if not spec.nested and (spec.path in asked or spec.cls.name in asked)
        )
        names = {name for position in positions for name in _names(scope.shape, position)}
        if not asked <= names:
            # Not kept: the names are the caller's, and there is no end to them.
            raise unknown_field()
        if len(scope.plans) >= _MOST:
            scope.plans.clear()
        made = self._made(scope, met, asked, positions if asked else None)
        scope.plans[met, asked] = made
        return made

    def _made(
        self, scope: Scope, met: frozenset[int], asked: frozenset[str], positions: frozenset[int] | None
    ) -> tuple[CompiledPlan, Refusal | None]:
        candidates = Candidates(scope.rules, scope.shape, scope.verb, met, positions)

        def nested(resource: str) -> AccessPlan:
            return self._nested(scope, resource, met, asked)

        plan = CompiledPlan(candidates, self.relations, scope.purpose, nested)
        return plan, refusal(candidates, scope.purpose)

    def _nested(self, outer: Scope, resource: str, met: frozenset[int], asked: frozenset[str]) -> AccessPlan:
        """The plan for records inside: whatever cannot be seen of them is left out, nothing is refused."""
        scope = self.scope(outer.roles, resource, outer.verb, outer.purpose, broken=outer.broken)
        shape = scope.shape
        own = frozenset(n for position in range(len(shape.fields)) for n in _names(shape, position)) & asked
        met = met & {requirement.number for requirement in scope.requirements}
        found = scope.plans.get((met, own))
        return found[0] if found is not None else self._compile(scope, met, own)[0]


def _names(shape: ResourceShape, position: int) -> tuple[str, ...]:
    spec = shape.fields[position]
    return () if spec.nested else (spec.path, spec.cls.name)


def _inside(shapes: Mapping[str, ResourceShape], resource: str) -> Collection[str]:
    """The resource and all that stand inside it, at any depth."""
    found = {resource: None}
    queue = [resource]
    while queue:
        for spec in shapes[queue.pop()].fields:
            if spec.nested is not None and spec.nested not in found:
                found[spec.nested] = None
                queue.append(spec.nested)
    return found
