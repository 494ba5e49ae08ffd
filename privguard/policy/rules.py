"""A rule as it decides: names resolved to sets, views by class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import UNSET, Struct, UnsetType

from privguard.model import Verb, View
from privguard.policy.document import BreakGlassDef, RuleDef, given
from privguard.policy.notation import quota, seconds
from privguard.policy.requirements import Requirement, Requirements

SHOWN: Final = frozenset({Verb.READ, Verb.UPDATE, Verb.EXPORT})
"""The actions of a show or reveal rule that names none."""
_ACTIONS: Final[Mapping[str, frozenset[Verb]]] = {
    "forbid": frozenset(Verb),
    "gate": frozenset(Verb),
    "show": SHOWN,
    "reveal": SHOWN,
    "export": frozenset({Verb.EXPORT}),
}
_VIEWS: Final = {"clear": View.CLEAR, "masked": View.MASKED, "token": View.TOKEN}


class Rule(Struct, frozen=True, eq=False, kw_only=True):
    """A rule; a set that is None restricts nothing.

    Attributes:
        effect: ``forbid | gate | show | reveal | export``.
        views: what it gives, by class.
        withholds: classes a forbid withholds; None: the record.
        formats, max_clients: of an export.
        grant: seconds and reads of the grant a reveal asks for.
        quota: number and seconds.
        emergency: it applies to whoever breaks the glass alone.
    """

    id: str
    effect: str
    actions: frozenset[Verb]
    requires: tuple[Requirement, ...]
    views: Mapping[str, View] = {}
    withholds: frozenset[str] | None = None
    roles: frozenset[str] | None = None
    resources: frozenset[str] | None = None
    purposes: frozenset[str] | None = None
    relation: str | None = None
    tiers: frozenset[str] | None = None
    formats: tuple[str, ...] = ()
    max_clients: int | None = None
    grant: tuple[int, int] | None = None
    quota: tuple[int, int] | None = None
    emergency: bool = False

    def misfit(self, roles: frozenset[str], resource: str, verb: Verb, purpose: str) -> str | None:
        """Why it cannot apply, whatever the record: ``resource | action | role | purpose``; None: it can."""
        if self.resources is not None and resource not in self.resources:
            return "resource"
        if verb not in self.actions and not (self.effect == "export" and verb is Verb.READ):
            return "action"
        if self.roles is not None and self.roles.isdisjoint(roles):
            return "role"
        return "purpose" if self.purposes is not None and purpose not in self.purposes else None


def compile_rule(rule: RuleDef, requirements: Requirements) -> Rule:
    """Resolves a rule as written."""
    effect = next(name for name in _ACTIONS if getattr(rule, name) is not UNSET)
    export = given(rule.export)
    return Rule(
        id=rule.id,
        effect=effect,
        views=_views(rule),
        withholds=_set(rule.forbid) if isinstance(rule.forbid, tuple) else None,
        roles=_set(rule.roles),
        resources=_set(rule.resource),
        actions=_ACTIONS[effect] if rule.action is UNSET else frozenset(rule.action),
        purposes=_set(rule.purpose),
        relation=given(rule.relation),
        tiers=_set(rule.tier),
        requires=requirements.of(given(rule.require), reveal=effect == "reveal"),
        formats=export.formats if export else (),
        max_clients=given(export.max_clients) if export else None,
        grant=None if rule.grant is UNSET else (seconds(rule.grant.ttl), rule.grant.reads),
        quota=None if rule.quota is UNSET else quota(rule.quota),
    )


BREAK_GLASS: Final = "break-glass"
"""Id of the rule that a policy's ``break_glass`` is."""
BREAK_GLASS_READS: Final = 50


def compile_break_glass(written: BreakGlassDef, requirements: Requirements) -> Rule:
    """The rule of an emergency: clear values of any client, whatever the relation; forbids hold as ever."""
    return Rule(
        id=BREAK_GLASS,
        effect="reveal",
        views=dict.fromkeys(written.reveal, View.CLEAR),
        roles=frozenset(written.roles),
        actions=frozenset({Verb.READ}),
        requires=requirements.of(written.require, reveal=True),
        grant=(seconds(written.ttl), BREAK_GLASS_READS),
        emergency=True,
    )


def _set(names: tuple[str, ...] | UnsetType) -> frozenset[str] | None:
    return None if names is UNSET else frozenset(names)


def _views(rule: RuleDef) -> Mapping[str, View]:
    if rule.reveal is not UNSET:
        return dict.fromkeys(rule.reveal, View.CLEAR)
    if rule.show is UNSET:
        return {}
    return {name: view for key, view in _VIEWS.items() for name in getattr(rule.show, key) or ()}
