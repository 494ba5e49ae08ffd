"""Judges and masks the records of one plan, wherever they stand.

Records of the usual form go through generated structs (``structs``), all others value by value (``walk``).
The two give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct

from privguard.errors import AccessDeniedError
from privguard.masking.columns import Program
from privguard.masking.ledger import Call, Refusal
from privguard.masking.operators import MaskTools
from privguard.masking.paths import parse_value, route_parameter
from privguard.masking.plan import Object, Wardrobe, indexes, reaches
from privguard.masking.structs import OddError, decoder, lay_out, turned
from privguard.masking.tree import grow
from privguard.masking.walk import JSON, JsonReader, Reader, Walk
from privguard.model import (
    MISSING,
    AccessPlan,
    Decision,
    FieldShown,
    Outcome,
    View,
)

T = TypeVar("T")
_NO_ID: Final = Decision(outcome=Outcome.DENIED, failed="id")
_NO_RECORD: Final = Decision(outcome=Outcome.DENIED, failed="record")
_LARGEST_ID: Final = 10**64
_MOST_RULINGS: Final = 1024
"""Rulings a plan keeps a program for; a policy gives few, so more is a defect that must not eat memory."""


class _Style(Struct, frozen=True):
    """What one ruling does to records, ready to be applied."""

    shown: Object
    program: Program
    fields: Mapping[int, FieldShown]


class RecordMasker:
    """Masks records of one plan's resource.

    Args:
        family: the maskers of all plans that stand inside each other, by plan.
    """

    def __init__(
        self, plan: AccessPlan, tools: MaskTools, family: dict[AccessPlan, RecordMasker] | None = None
    ) -> None:
        self.plan = plan
        self.shape = plan.shape
        self._family = family if family is not None else {}
        self._family[plan] = self
        self._tools = tools
        self._hide: Any = None if self.shape.withheld_as == "null" else UNSET
        self._tree = grow(self.shape)
        self._reads = [parse_value(path) for path in plan.reads]
        self._id_param = route_parameter(self.shape.id)
        self._id = parse_value(self.shape.id) if self._id_param is None else ()
        reads = [path[0] for path in (*self._reads, self._id) if path]
        reached = reaches(plan)
        self.layout = lay_out(self._tree, reached, reads, nulls=self._hide is None)
        self._decode = decoder(self.layout.type).decode
        self._wardrobe = Wardrobe(self.shape, self._tree, reached, self.layout.recoded, tools, self._inner)
        self._styles: dict[tuple[str, Decision], _Style] = {}

    def _inner(self, resource: str) -> RecordMasker | None:
        try:
            plan = self.plan.nested(resource)
        except AccessDeniedError:
            return None
        return self._family.get(plan) or RecordMasker(plan, self._tools, self._family)

    # judging

    def look(self, value: Any, reader: Reader, call: Call) -> tuple[Decision, str | None]:
        """The ruling on one record, and whose record it is."""
        members = reader.members(value)
        if members is None:
            return _NO_RECORD, None
        try:
            owner = _identity(self._from(call) if self._id_param else _read(members, self._id, reader))
            values = [_read(members, path, reader) for path in self._reads]
        except msgspec.DecodeError:
            return _NO_RECORD, None
        return (_NO_ID if owner is None else self.plan.judge(call.actor, values)), owner

    def _from(self, call: Call) -> object:
        return call.route.get(self._id_param or "", MISSING)

    # masking

    def records(self, values: Sequence[Any], reader: Reader, call: Call) -> list[Any]:
        """Masks records that may have any form.

        Returns:
            For each a struct or dictionary to be encoded, or a ``Refusal``.
        """
        if not isinstance(reader, JsonReader):
            return self.walk(values, reader, call)
        rows = list(map(self._row, values))
        fitting = [at for at, row in enumerate(rows) if row is not None]
        others = [at for at, row in enumerate(rows) if row is None]
        left: list[Any] = [None] * len(rows)
        for ats, masked in (
            (fitting, self.structs([rows[at] for at in fitting], call)),
            (others, self.walk([values[at] for at in others], reader, call)),
        ):
            for at, each in zip(ats, masked, strict=True):
                left[at] = each
        return left

    def _row(self, value: Raw) -> Any:
        """The record as a struct; None if it does not fit."""
        try:
            row = self._decode(value)
            self.layout.settle(turned([row]))
        except (msgspec.ValidationError, OddError):
            return None
        return row

    def walk(self, values: Sequence[Any], reader: Reader, call: Call) -> list[Any]:
        """The same value by value."""
        looks = [self.look(value, reader, call) for value in values]
        rulings, owners = [ruling for ruling, _ in looks], [owner for _, owner in looks]
        return self.walked(values, rulings, owners, reader, call)

    def walked(
        self,
        values: Sequence[Any],
        rulings: Sequence[Decision],
        owners: Sequence[str | None],
        reader: Reader,
        call: Call,
    ) -> list[Any]:
        """The same for records that are judged already."""

        def mask(style: _Style, group: Sequence[Any], walk: Walk) -> Sequence[Any]:
            return [walk.record(style.shown, value) for value in group]

        return self._grouped(values, rulings, owners, mask, reader, call)

    def structs(self, rows: Sequence[Any], call: Call) -> list[Any]:
        """The same for rows of the generated struct.

        Raises:
            OddError: one of them does not fit after all; nothing has been noted.
        """
        if not rows:
            return []
        columns = turned(rows)
        self.layout.settle(columns)
        owners: Sequence[Any] = (
            self.layout.read(self._id, columns) if self._id else [self._from(call)] * len(rows)
        )
        if set(map(type, owners)) != {str} or "" in owners:
            owners = list(map(_identity, owners))
        judge, actor = self.plan.judge, call.actor
        reads = [self.layout.read(path, columns) for path in self._reads]
        rulings = [
            judge(actor, values) for values in (zip(*reads, strict=True) if reads else [()] * len(rows))
        ]
        if None in owners:
            rulings = [
                _NO_ID if owner is None else ruling for ruling, owner in zip(rulings, owners, strict=True)
            ]

        def mask(style: _Style, group: Sequence[Any], walk: Walk) -> Sequence[Any]:
            return style.program.run(columns if group is rows else turned(group), len(group), walk)

        return self._grouped(rows, rulings, owners, mask, JSON, call)

    def _grouped(
        self,
        values: Sequence[Any],
        rulings: Sequence[Decision],
        owners: Sequence[Any],
        mask: Callable[[_Style, Sequence[Any], Walk], Sequence[Any]],
        reader: Reader,
        call: Call,
    ) -> list[Any]:
        """Masks the records of each ruling together."""
        distinct = dict.fromkeys(rulings)
        if len(distinct) == 1:
            return self._group(values, rulings[0], owners, mask, reader, call)
        left: list[Any] = [None] * len(values)
        for ruling in distinct:
            ats = [at for at, each in enumerate(rulings) if each is ruling]
            group = [values[at] for at in ats]
            masked = self._group(group, ruling, [owners[at] for at in ats], mask, reader, call)
            for at, each in zip(ats, masked, strict=True):
                left[at] = each
        return left

    def _group(
        self,
        values: Sequence[Any],
        ruling: Decision,
        owners: Sequence[Any],
        mask: Callable[[_Style, Sequence[Any], Walk], Sequence[Any]],
        reader: Reader,
        call: Call,
    ) -> list[Any]:
        if ruling.outcome is not Outcome.PERMITTED:
            return [Refusal(ruling, owner) for owner in owners]
        style = self._style(ruling, call.actor.tenant)
        present = call.ledger.open(self.shape, ruling, style.fields, owners)
        return list(mask(style, values, Walk(reader, call, self._hide, present)))

    def _style(self, ruling: Decision, tenant: str) -> _Style:
        style = self._styles.get((tenant, ruling))
        if style is None:
            if len(self._styles) >= _MOST_RULINGS:
                self._styles.clear()
            shown = self._wardrobe.dress(ruling, tenant)
            fields = {
                index: FieldShown(
                    ruling.fields[index].spec.path,
                    View.CLEAR if operator is None else ruling.fields[index].view,
                    "" if operator is None else operator.name,
                )
                for index, operator in indexes(shown).items()
            }
            style = self._styles[tenant, ruling] = _Style(shown, Program(self.layout, shown), fields)
        return style


def _identity(value: object) -> str | None:
    """The id as the log holds it; None if a record with it could not be put on record."""
    if isinstance(value, str):
        return value or None
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return str(value) if abs(value) < _LARGEST_ID else None


def _read(members: Mapping[str, Any], path: Sequence[str], reader: Reader) -> Any:
    value = members.get(path[0], MISSING)
    if value is not MISSING:
        value = reader.plain(value)
    for name in path[1:]:
        value = value.get(name, MISSING) if isinstance(value, Mapping) else MISSING
    return value
