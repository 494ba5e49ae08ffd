"""A plan under a grant: the clients it covers are judged with what it gives, all others as ever (S08)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from privguard.model import AccessPlan, Decision, FieldView, Outcome, Principal, View

_NOTHING: Final = Decision(Outcome.DENIED)


class GrantedPlan:
    """An ``AccessPlan`` of two; which one judges a record depends on whose it is.

    Whom the grant covers stands on the actor (``Principal.granted``), so that the plan, and the masker made
    of it, serve every grant under the same rules.

    Args:
        plain: what the actor may without the grant; None: nothing.
        granted: what the actor may with it.
        here: the route says whose record it is, and whether it is covered; None: the record says it.
    """

    def __init__(self, plain: AccessPlan | None, granted: AccessPlan, *, here: bool | None = None) -> None:
        self.shape = granted.shape
        self.sees_all = plain is not None and plain.sees_all
        self.rules = granted.rules
        self.purpose = granted.purpose
        self.export = granted.export
        self._plain = plain
        self._granted = granted
        self._else = granted if plain is None else plain
        self._here = here
        own = () if here is not None else (self.shape.id,)
        self.reads = tuple(dict.fromkeys((*own, *granted.reads, *(plain.reads if plain is not None else ()))))
        self._by_plain = _positions(plain, self.reads)
        self._by_granted = _positions(granted, self.reads)
        self._nested: dict[tuple[AccessPlan | None, AccessPlan], GrantedPlan] = {}

    def judge(self, actor: Principal, values: Sequence[object]) -> Decision:
        """What the policy says of the record with these ``reads``; never raises."""
        if self._covers(actor, values):
            return self._granted.judge(actor, [values[position] for position in self._by_granted])
        if self._plain is None:
            return _NOTHING
        return self._plain.judge(actor, [values[position] for position in self._by_plain])

    def unread(self) -> Decision:
        """The ruling where no record can be read: with the grant only where the route says whose it is."""
        if self._here:
            return self._granted.unread()
        return _NOTHING if self._plain is None else self._plain.unread()

    def strongest(self) -> tuple[FieldView, ...]:
        """For each field the strongest view that any record could give this actor."""
        both = zip(self._granted.strongest(), self._else.strongest(), strict=True)
        return tuple(max(pair, key=_view) for pair in both)

    def weakest(self) -> tuple[FieldView, ...]:
        """For each field the weakest view that any permitted record gives."""
        both = zip(self._granted.weakest(), self._else.weakest(), strict=True)
        return tuple(min(pair, key=_view) for pair in both)

    def nested(self, resource: str) -> AccessPlan:
        """The plan of a resource inside: its records are of clients of their own."""
        granted = self._granted.nested(resource)
        plain = self._plain.nested(resource) if self._plain is not None else None
        if plain is granted:
            return granted
        found = self._nested.get((plain, granted))
        if found is None:
            found = self._nested[plain, granted] = GrantedPlan(plain, granted)
        return found

    def _covers(self, actor: Principal, values: Sequence[object]) -> bool:
        if self._here is not None:
            return self._here
        own = values[0]
        return type(own) in (str, int) and (self.shape.kind, str(own)) in actor.granted


def _view(field: FieldView) -> View:
    return field.view


def _positions(plan: AccessPlan | None, reads: Sequence[str]) -> tuple[int, ...]:
    return tuple(reads.index(path) for path in plan.reads) if plan is not None else ()
