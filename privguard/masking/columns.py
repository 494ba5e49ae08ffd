"""Masks the structs of one ruling column by column, in place.

Each field of a struct type gets one task for the ruling; an operator then works on all values of the field at
once. What a column cannot hold is given to ``walk``, value by value.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, islice, repeat
from operator import attrgetter
from typing import Any, TypeAlias

from msgspec import UNSET, Raw, Struct

from privguard.masking.operators import Operator
from privguard.masking.plan import HIDDEN, Array, Clear, Masking, Object, Shown
from privguard.masking.structs import EMPTY, Kind, Layout, Row, Slot, column, several
from privguard.masking.walk import CONTAINERS, Walk, first_byte, stands
from privguard.model import MISSING

Task: TypeAlias = Callable[[Sequence[Row], Walk], None]


_ABSENT = frozenset({id(UNSET), id(EMPTY), id(MISSING)})
"""What stands for an absent member: three objects that live as long as the process."""


def _put(rows: Sequence[Row], attr: str, values: Iterable[Any]) -> None:
    deque(map(setattr, rows, repeat(attr), values), maxlen=0)


class Program:
    """Masks structs of one layout as one ruling shows them."""

    def __init__(self, layout: Layout, shown: Object) -> None:
        named = dict(shown.named)
        raws: list[str] = []
        leaves: list[tuple[int, str]] = []
        self._tasks: list[Task] = []
        self._visible: list[tuple[str, Shown]] = []
        for slot in layout.slots:
            child = named.get(slot.name) if slot.node is not None else None
            if child is not None and child is not HIDDEN:
                self._visible.append((slot.attr, child))
            if isinstance(child, Clear | Masking):
                leaves.append((child.index, slot.attr))
            if isinstance(child, Clear) and slot.kind is Kind.RAW:
                raws.append(slot.attr)
            elif not isinstance(child, Clear):
                self._tasks.append(_task(slot, child))
        if raws:
            self._tasks.append(_clear_raws(raws))
        self._leaves = leaves
        self._leaf_values = several([attr for _, attr in leaves])

    def run(self, rows: Sequence[Row], walk: Walk) -> None:
        """Masks the rows in place."""
        if not rows:
            return
        for task in self._tasks:
            task(rows, walk)
        self._note(rows, walk.present)

    def _note(self, rows: Sequence[Row], present: set[int]) -> None:
        """Notes the fields that at least one row has; mostly the first has them all."""
        for (index, _), value in zip(self._leaves, self._leaf_values(rows[0]), strict=True):
            if value is not UNSET and value is not EMPTY and value is not MISSING:
                present.add(index)
        if len(rows) > 1:
            for index, attr in self._leaves:
                if index not in present and not _ABSENT.issuperset(map(id, column(rows, attr))):
                    present.add(index)

    def shows(self, row: Row) -> bool:
        """Whether a masked row holds anything of the upstream's."""
        for attr, shown in self._visible:
            value = getattr(row, attr)
            if value is not UNSET and value is not EMPTY and stands(shown, value):
                return True
        return False


def _task(slot: Slot, shown: Shown | None) -> Task:
    """What is to be done to one field."""
    if shown is None or shown is HIDDEN:
        return _set_all(slot.attr, UNSET if shown is None else None)
    match slot.kind, shown:
        case Kind.TYPED, Masking(operator=operator):
            return _mask_column(slot.attr, operator)
        case Kind.READ, Masking(operator=operator):
            return _mask_read(slot.attr, operator)
        case Kind.RAWS, Array(Clear(index)):
            return _clear_lists(slot.attr, index)
        case ((Kind.TYPEDS | Kind.READ), Array(Clear(index))):
            return _keep_lists(slot.attr, index)
        case Kind.TYPEDS, Array(Masking(index, operator)):
            return _mask_lists(slot.attr, index, operator.column)
        case Kind.READ, Array(Masking(index, operator)):
            return _mask_lists(slot.attr, index, lambda values: [operator.of(value) for value in values])
        case Kind.OBJECT, Object() if slot.child is not None:
            return _objects(slot.attr, Program(slot.child, shown), shown.hollow)
        case Kind.OBJECTS, Array(Object() as each) if slot.child is not None:
            return _object_lists(slot.attr, Program(slot.child, each))
    return _walk_raws(slot.attr, shown)


def _set_all(attr: str, value: Any) -> Task:
    return lambda rows, _walk: _put(rows, attr, repeat(value, len(rows)))


def _mask_column(attr: str, operator: Operator) -> Task:
    get = attrgetter(attr)

    def task(rows: Sequence[Row], walk: Walk) -> None:
        if len(rows) == 1 and walk.hide is UNSET:  # a single record: half of a detail's masking time
            value = get(rows[0])
            if value is not None and value is not UNSET:
                setattr(rows[0], attr, operator.kept(value))
            return
        values = list(map(get, rows))
        masked = operator.column(values)
        _put(rows, attr, _hidden(values, masked) if walk.hide is None else masked)

    return task


def _mask_read(attr: str, operator: Operator) -> Task:
    def task(rows: Sequence[Row], walk: Walk) -> None:
        values = [UNSET if value is MISSING else value for value in column(rows, attr)]
        masked = [operator.of(value) for value in values]
        _put(rows, attr, _hidden(values, masked) if walk.hide is None else masked)

    return task


def _hidden(values: Sequence[Any], masked: Sequence[Any]) -> list[Any]:
    """The masks, with null for what could not be masked."""
    pairs = zip(values, masked, strict=True)
    return [None if mask is UNSET and value is not UNSET else mask for value, mask in pairs]


def _clear_raws(attrs: Sequence[str]) -> Task:
    get = several(attrs)

    def task(rows: Sequence[Row], walk: Walk) -> None:
        held = b"".join(chain.from_iterable(map(get, rows)))
        if b"{" in held or b"[" in held:  # in a text, or a container where a scalar was classified
            for attr in attrs:
                _put(rows, attr, [_scalar(value, walk.hide) for value in column(rows, attr)])

    return task


def _scalar(value: Raw, hide: Any) -> Any:
    return hide if value is not EMPTY and first_byte(value) in CONTAINERS else value


def _clear_lists(attr: str, index: int) -> Task:
    def task(rows: Sequence[Row], walk: Walk) -> None:
        lists = _lists(rows, attr)
        held = b"".join(chain.from_iterable(lists))
        if b"{" in held or b"[" in held:
            for each in lists:
                each[:] = [_scalar(value, None) for value in each]
        if any(value is not None for each in lists for value in each):
            walk.present.add(index)

    return task


def _keep_lists(attr: str, index: int) -> Task:
    def task(rows: Sequence[Row], walk: Walk) -> None:
        if any(_lists(rows, attr)):
            walk.present.add(index)

    return task


def _mask_lists(attr: str, index: int, mask: Callable[[list[Any]], list[Any]]) -> Task:
    def task(rows: Sequence[Row], walk: Walk) -> None:
        lists = _lists(rows, attr)
        masked = mask(list(chain.from_iterable(lists)))
        if any(value is not UNSET for value in masked):
            walk.present.add(index)
        left = iter([None if value is UNSET else value for value in masked])
        for each in lists:
            each[:] = islice(left, len(each))

    return task


def _lists(rows: Sequence[Row], attr: str) -> list[list[Any]]:
    """The lists in a field; anything else there is taken out."""
    values = column(rows, attr)
    lists = [value for value in values if type(value) is list]
    if len(lists) < len(values):
        _put(rows, attr, [value if type(value) is list else UNSET for value in values])
    return lists


def _objects(attr: str, program: Program, hollow: Any) -> Task:
    def task(rows: Sequence[Row], walk: Walk) -> None:
        values = column(rows, attr)
        program.run([value for value in values if isinstance(value, Struct)], walk)
        shown = [isinstance(value, Struct) and program.shows(value) for value in values]
        _put(rows, attr, [value if shows else hollow for value, shows in zip(values, shown, strict=True)])

    return task


def _object_lists(attr: str, program: Program) -> Task:
    def task(rows: Sequence[Row], walk: Walk) -> None:
        program.run(list(chain.from_iterable(_lists(rows, attr))), walk)

    return task


def _walk_raws(attr: str, shown: Shown) -> Task:
    def task(rows: Sequence[Row], walk: Walk) -> None:
        values = column(rows, attr)
        _put(
            rows, attr, [walk.absent(shown) if value is EMPTY else walk.of(shown, value) for value in values]
        )

    return task
