"""Masks the structs of one ruling column by column.

The rows are turned into columns, one for each field that leaves; every column becomes its masked self, which
lets an operator work on all values of a field at once; and rows of a second struct type are made of them,
which has only the fields that leave, in the policy's order. What a column cannot hold goes to ``walk``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain, islice
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import UNSET, Raw, Struct

from privguard.masking.operators import Operator
from privguard.masking.plan import HIDDEN, Array, Clear, Masking, Object, Shown
from privguard.masking.structs import EMPTY, Column, Kind, Layout, Row, Slot, turned
from privguard.masking.walk import CONTAINERS, Walk, first_byte, stands
from privguard.model import MISSING

Task: TypeAlias = Callable[[Column, Walk], Column]
_SCALAR: Final = (Kind.RAW, Kind.TYPED, Kind.READ)


class Program:
    """Masks structs of one layout as one ruling shows them."""

    def __init__(self, layout: Layout, shown: Object) -> None:
        named = dict(shown.named)
        used = [
            (at, slot, named[slot.name])
            for at, slot in enumerate(layout.slots)
            if slot.node and slot.name in named
        ]
        fields = [
            (slot.attr, Any, msgspec.field(name=slot.name, default=_default(slot, child)))
            for _, slot, child in used
        ]
        self._type = msgspec.defstruct("Masked", fields, gc=False, omit_defaults=True)
        self._ats = [at for at, _, _ in used]
        self._raws = [at for at, slot, child in used if slot.kind is Kind.RAW and isinstance(child, Clear)]
        self._scalars = list[tuple[int, int, Any, Task | None]]()
        """Place, field, what stands where there is none, and what is done to it if anything is."""
        self._others = list[tuple[int, Task]]()
        for place, (_, slot, child) in enumerate(used):
            if isinstance(child, Clear) and slot.kind in _SCALAR:
                self._scalars.append((place, child.index, _default(slot, child), None))
            elif isinstance(child, Masking) and slot.kind in (Kind.TYPED, Kind.READ):
                mask = _mask(child.operator, missing=slot.kind is Kind.READ)
                self._scalars.append((place, child.index, UNSET, mask))
            else:
                self._others.append((place, _task(slot, child)))
        self._visible = [(slot.attr, child) for _, slot, child in used if child is not HIDDEN]

    def run(self, columns: Sequence[Column], count: int, walk: Walk) -> list[Row]:
        """As many rows, as they leave."""
        if not count or not self._ats:
            return [self._type() for _ in range(count)]
        if self._raws and _held(chain.from_iterable([columns[at] for at in self._raws])):
            columns = list(columns)
            for at in self._raws:
                columns[at] = [_scalar(value, EMPTY if walk.hide is UNSET else None) for value in columns[at]]
        out = [columns[at] for at in self._ats]
        for place, index, absent, task in self._scalars:
            column = columns[self._ats[place]]
            if task is not None:
                out[place] = column = task(column, walk)
            if index not in walk.present and (column[0] is not absent or _any(column, absent)):
                walk.present.add(index)
        for place, other in self._others:
            out[place] = other(columns[self._ats[place]], walk)
        return list(map(self._type, *out))

    def shows(self, row: Row) -> bool:
        """Whether a masked row holds anything of the upstream's."""
        for attr, shown in self._visible:
            value = getattr(row, attr)
            if value is not UNSET and value is not EMPTY and stands(shown, value):
                return True
        return False


def _default(slot: Slot, shown: Shown) -> Any:
    """What stands in a column where the upstream has nothing; it is omitted when it is encoded."""
    if isinstance(shown, Clear):
        return {Kind.RAW: EMPTY, Kind.READ: MISSING}.get(slot.kind, UNSET)
    return UNSET


def _task(slot: Slot, shown: Shown) -> Task:
    """What is to be done to one column."""
    match slot.kind, shown:
        case _, shown if shown is HIDDEN:
            return lambda column, _walk: [None] * len(column)
        case Kind.RAWS, Array(Clear(index)):
            return _clear_lists(index)
        case ((Kind.TYPEDS | Kind.READ), Array(Clear(index))):
            return _keep_lists(index)
        case Kind.TYPEDS, Array(Masking(index, operator)):
            return _mask_lists(index, operator.column)
        case Kind.READ, Array(Masking(index, operator)):
            return _mask_lists(index, lambda values: [operator.of(value) for value in values])
        case Kind.OBJECT, Object() if slot.child is not None:
            return _objects(Program(slot.child, shown), shown.hollow)
        case Kind.OBJECTS, Array(Object() as each) if slot.child is not None:
            return _object_lists(Program(slot.child, each))
    return lambda column, walk: [
        walk.absent(shown) if value is EMPTY else walk.of(shown, value) for value in column
    ]


def _any(column: Column, absent: Any) -> bool:
    return any(value is not absent for value in column)


def _note(index: int, column: Column, absent: Any, walk: Walk) -> None:
    """Notes the field as present if any of its values is not ``absent``."""
    if index not in walk.present and _any(column, absent):
        walk.present.add(index)


def _mask(operator: Operator, *, missing: bool) -> Task:
    def task(column: Column, walk: Walk) -> Column:
        if missing:
            column = [UNSET if value is MISSING else value for value in column]
            masked = [operator.of(value) for value in column]
        else:
            masked = operator.column(column)
        return _hidden(column, masked) if walk.hide is None else masked

    return task


def _hidden(column: Column, masked: Column) -> list[Any]:
    """The masks, with null for what could not be masked."""
    pairs = zip(column, masked, strict=True)
    return [None if mask is UNSET and value is not UNSET else mask for value, mask in pairs]


def _held(raws: Iterable[Any]) -> bool:
    """Whether there may be a container among raw values."""
    held = b"".join(raws)
    return b"{" in held or b"[" in held


def _scalar(value: Raw, hide: Any) -> Any:
    """A raw value, or what stands for it if it is a container where a scalar was classified."""
    return hide if value is not EMPTY and first_byte(value) in CONTAINERS else value


def _lists(column: Column) -> list[list[Any]]:
    return [value for value in column if type(value) is list]


def _relisted(column: Column, values: list[Any]) -> list[Any]:
    """The values in lists as long as those of the column; anything else there is taken out."""
    rest = iter(values)
    return [list(islice(rest, len(value))) if type(value) is list else UNSET for value in column]


def _clear_lists(index: int) -> Task:
    def task(column: Column, walk: Walk) -> Column:
        flat = list(chain.from_iterable(_lists(column)))
        if _held(flat):
            flat = [_scalar(value, None) for value in flat]
        _note(index, flat, None, walk)
        return _relisted(column, flat)

    return task


def _keep_lists(index: int) -> Task:
    def task(column: Column, walk: Walk) -> Column:
        lists = _lists(column)
        if any(lists):
            walk.present.add(index)
        return column if len(lists) == len(column) else [v if type(v) is list else UNSET for v in column]

    return task


def _mask_lists(index: int, mask: Callable[[list[Any]], list[Any]]) -> Task:
    def task(column: Column, walk: Walk) -> Column:
        masked = mask(list(chain.from_iterable(_lists(column))))
        if walk.hide is None:  # a null in the place of what cannot be masked tells that there is something
            masked = [None if value is UNSET else value for value in masked]
        _note(index, masked, UNSET, walk)
        return _relisted(column, [None if value is UNSET else value for value in masked])

    return task


def _objects(program: Program, hollow: Any) -> Task:
    def task(column: Column, walk: Walk) -> Column:
        held = [value for value in column if isinstance(value, Struct)]
        masked = iter(program.run(turned(held), len(held), walk))
        rows = [next(masked) if isinstance(value, Struct) else None for value in column]
        return [row if row is not None and program.shows(row) else hollow for row in rows]

    return task


def _object_lists(program: Program) -> Task:
    def task(column: Column, walk: Walk) -> Column:
        flat = list(chain.from_iterable(_lists(column)))
        return _relisted(column, program.run(turned(flat), len(flat), walk))

    return task
