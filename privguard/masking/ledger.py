"""Notes down, while an answer is masked, whose records left, in which views and under which ruling."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from privguard.model import Decision, Disclosure, FieldShown, Obligation, Principal, ResourceShape, SubjectRef


class Refusal(Struct, frozen=True):
    """Stands where a record was: the ruling, and whose record it is as far as that is known."""

    ruling: Decision
    id: str | None = None


class Offers(Struct, frozen=True):
    """Clear values that could be had.

    Attributes:
        fields: paths.
        missing: obligations that would have to be met.
        rules: ids of the rules that ask for these.
        clients: whose values.
    """

    fields: tuple[str, ...] = ()
    missing: tuple[Obligation, ...] = ()
    rules: tuple[str, ...] = ()
    clients: tuple[SubjectRef, ...] = ()


NO_OFFERS: Final = Offers()


class _Group(Struct):
    """Records of one resource that left under one ruling."""

    shape: ResourceShape
    fields: Mapping[int, FieldShown]
    ids: dict[str, None]
    present: set[int]


class Ledger:
    """The disclosures of one answer, one for each ruling that something left under."""

    def __init__(self) -> None:
        self._groups: dict[Decision, _Group] = {}

    def open(
        self, shape: ResourceShape, ruling: Decision, fields: Mapping[int, FieldShown], ids: Iterable[str]
    ) -> set[int]:
        """Notes that records with these ids leave.

        Returns:
            Where to note the indexes of the fields that at least one of them has.
        """
        group = self._groups.get(ruling)
        if group is None:
            group = self._groups[ruling] = _Group(shape, fields, {}, set())
        group.ids.update(dict.fromkeys(ids))
        return group.present

    def disclosures(self) -> tuple[Disclosure, ...]:
        """One for each ruling, in the order of their first records."""
        return tuple(
            Disclosure(
                resource=group.shape.name,
                fields=tuple(map(group.fields.__getitem__, sorted(group.present))),
                subjects=tuple([SubjectRef(group.shape.kind, each) for each in group.ids]),
                rules=ruling.rules,
                relations=ruling.relations,
            )
            for ruling, group in self._groups.items()
        )

    def offers(self, shape: ResourceShape) -> Offers:
        """What could be had of this resource's records; those inside are asked for by themselves."""
        groups = {r: g for r, g in self._groups.items() if r.offered and g.shape.name == shape.name}
        if not groups:
            return NO_OFFERS
        return Offers(
            fields=tuple(dict.fromkeys(path for ruling in groups for path in ruling.offered)),
            missing=tuple(dict.fromkeys(each for ruling in groups for each in ruling.missing)),
            rules=tuple(dict.fromkeys(each for ruling in groups for each in ruling.offerers)),
            clients=tuple([SubjectRef(g.shape.kind, each) for g in groups.values() for each in g.ids]),
        )


class Call(Struct, frozen=True):
    """One answer being masked: for whom, on which route, and what has left so far."""

    actor: Principal
    route: Mapping[str, str]
    ledger: Ledger


def refused(shape: ResourceShape, refusal: Refusal) -> tuple[Disclosure, ...]:
    """The disclosure that says that nothing left."""
    subjects: Sequence[SubjectRef] = () if refusal.id is None else (SubjectRef(shape.kind, refusal.id),)
    return (
        Disclosure(
            resource=shape.name,
            fields=(),
            subjects=tuple(subjects),
            rules=refusal.ruling.rules,
            relations=refusal.ruling.relations,
            outcome=refusal.ruling.outcome,
        ),
    )
