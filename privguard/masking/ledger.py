"""Notes down, while an answer is masked, whose records left, in which views and under which ruling."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from privguard.model import Decision, Disclosure, FieldShown, Obligation, Principal, ResourceShape, SubjectRef


class Refusal(Struct, frozen=True):
    """Stands where a record was: the ruling, and whose record it is as far as that is known."""

    ruling: Decision
    id: str | None = None


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
                fields=tuple(group.fields[index] for index in sorted(group.present)),
                subjects=tuple([SubjectRef(group.shape.kind, each) for each in group.ids]),
                rules=ruling.rules,
                relations=ruling.relations,
            )
            for ruling, group in self._groups.items()
        )

    def offered(self) -> tuple[str, ...]:
        """Paths of fields of which a clear value could be had, over all rulings."""
        return tuple(dict.fromkeys(path for ruling in self._groups for path in ruling.offered))

    def missing(self) -> tuple[Obligation, ...]:
        """What would have to be met for those, over all rulings."""
        return tuple(dict.fromkeys(each for ruling in self._groups for each in ruling.missing))


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
