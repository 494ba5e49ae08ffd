"""Small plans for the tests of masking: rulings given outright instead of compiled from a policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from datetime import date

from privguard.masking import MaskTools
from privguard.model import (
    MISSING,
    PUBLIC,
    ClassSpec,
    Decision,
    FieldSpec,
    FieldView,
    Mask,
    Outcome,
    Principal,
    ResourceShape,
    View,
)

ACTOR = Principal(id="rm01", tenant="bank-a")
TOOLS = MaskTools(today=lambda: date(2026, 1, 5), token=lambda *parts: f"<{'/'.join(parts)}>")
TOKEN = Mask("hash_token")
W, T, M, C = View.WITHHELD, View.TOKEN, View.MASKED, View.CLEAR


def spec(
    path: str, mask: str | Mask | None = None, cls: str | None = None, nested: str | None = None
) -> FieldSpec:
    """A field: public if it has no mask, else of a class that is named as the field is."""
    if mask is None and nested is None and cls is None:
        return FieldSpec(path, PUBLIC, Mask("clear"))
    mask = mask if isinstance(mask, Mask) else Mask(mask or "withhold")
    return FieldSpec(path, ClassSpec(cls or path.replace(".", "-"), mask=mask), mask, nested)


def views(fields: Sequence[FieldSpec], given: Mapping[str, View]) -> tuple[FieldView, ...]:
    """Public fields clear, the others masked, or as given."""
    chosen = [(each, given.get(each.path, C if each.cls is PUBLIC or each.nested else M)) for each in fields]
    return tuple(FieldView(each, view, TOKEN if view is T else each.mask) for each, view in chosen)


def permit(fields: Sequence[FieldSpec], given: Mapping[str, View] = {}, **more: object) -> Decision:
    """A ruling that permits."""
    return Decision(outcome=Outcome.PERMITTED, fields=views(fields, given), **more)  # type: ignore[arg-type]


DENIED = Decision(outcome=Outcome.DENIED, rules=("no-self",))
CHALLENGED = Decision(outcome=Outcome.CHALLENGED, rules=("vip-gate",))


class Plan:
    """An ``AccessPlan`` of given rulings.

    Args:
        choose: which of the rulings a record has, by the values read of it; the first if there is none.
    """

    def __init__(
        self,
        shape: ResourceShape,
        rulings: Sequence[Decision] = (),
        *,
        reads: Sequence[str] = (),
        choose: Callable[[Sequence[object]], int] | None = None,
        sees_all: bool = False,
        nested: Mapping[str, Plan] | None = None,
        unread: Decision | None = None,
    ) -> None:
        self.shape = shape
        self.rulings = tuple(rulings) or (permit(shape.fields),)
        self.reads = tuple(reads)
        self.sees_all = sees_all
        self.rules = ("all",)
        self.purpose = "service"
        self.export = ()
        self.seen: list[Sequence[object]] = []
        self._choose = choose
        self._nested = nested if nested is not None else {}
        self._unread = unread or self.rulings[0]

    def judge(self, actor: Principal, values: Sequence[object]) -> Decision:
        self.seen.append(tuple(value if value is MISSING else deepcopy(value) for value in values))
        return self.rulings[self._choose(values) if self._choose else 0]

    def unread(self) -> Decision:
        return self._unread

    def strongest(self) -> tuple[FieldView, ...]:
        return self._of(max)

    def weakest(self) -> tuple[FieldView, ...]:
        return self._of(min)

    def nested(self, resource: str) -> Plan:
        return self._nested[resource]

    def _of(self, pick: Callable[..., FieldView]) -> tuple[FieldView, ...]:
        shown = [ruling.fields for ruling in self.rulings if ruling.outcome is Outcome.PERMITTED]
        if not shown:
            return views(self.shape.fields, {each.path: W for each in self.shape.fields})
        return tuple(pick(column, key=lambda view: view.view) for column in zip(*shown, strict=True))
