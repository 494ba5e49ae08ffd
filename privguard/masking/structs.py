"""Generated structs: what leaves clear stays raw bytes, what is masked is decoded, the rest is dropped in C.

One struct type serves a plan's every ruling; ``columns`` then makes of its rows what leaves under one.

What a struct cannot take (another JSON type, a map, JSON within a string, a nested resource) is left to
``walk``: a whole record if its type differs (``msgspec.ValidationError``, ``OddError``), else a raw field.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from functools import reduce
from itertools import chain
from operator import or_
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import UNSET, Raw, Struct
from msgspec.structs import astuple

from privguard.masking.plan import Reach
from privguard.masking.tree import Aside, Items, Leaf, Members, Node, Place, Text
from privguard.masking.walk import JSON
from privguard.model import MISSING

EMPTY: Final = Raw(b"")
"""The default of raw fields, left out when it is encoded."""
Row: TypeAlias = Any
Column: TypeAlias = Sequence[Any]
_PLAIN: Final = frozenset({str, int, bool, type(None), type(MISSING)})


class OddError(Exception):
    """A value that only the walk keeps exact, such as a number with a point that a condition reads."""


class Kind(enum.Enum):
    """How a field of a struct is decoded."""

    RAW = enum.auto()
    TYPED = enum.auto()
    READ = enum.auto()
    """Anything: a condition reads it."""
    OBJECT = enum.auto()
    OBJECTS = enum.auto()
    RAWS = enum.auto()
    TYPEDS = enum.auto()


class Slot(Struct, frozen=True):
    """A field of a struct; ``node`` is None where it is only read."""

    attr: str
    name: str
    kind: Kind
    node: Node | None
    types: frozenset[type] = frozenset()
    child: Layout | None = None


class Layout(Struct, frozen=True):
    """A struct type and what its fields are for; positions are those in ``slots``.

    Attributes:
        singles: of the fields that are read and may leave clear, the scalars.
        lists: idem, the lists.
        weighed: raw fields that are read.
        recoded: fields of the policy whose clear text is decoded and encoded again.
    """

    type: type[Struct]
    slots: tuple[Slot, ...]
    singles: tuple[int, ...]
    lists: tuple[int, ...]
    weighed: tuple[int, ...]
    recoded: frozenset[int]

    def settle(self, columns: Sequence[Column]) -> None:
        """Refuses rows whose read values would not leave as exactly as raw ones do.

        Raises:
            OddError: one of them is neither text, whole number, boolean nor null (or a list of those).
            msgspec.ValidationError: one of them cannot be held.
        """
        for at in self.weighed:
            for value in columns[at]:
                if value is not EMPTY:
                    JSON.plain(value)
        if not _PLAIN.issuperset(map(type, chain.from_iterable([columns[at] for at in self.singles]))):
            raise OddError
        for at in self.lists:
            held = chain.from_iterable(value for value in columns[at] if value is not MISSING)
            if not {list, type(MISSING)}.issuperset(map(type, columns[at])) or not _PLAIN.issuperset(
                map(type, held)
            ):
                raise OddError

    def read(self, path: Sequence[str], columns: Sequence[Column]) -> Column:
        """The values at a record path; MISSING where it is not there."""
        at, slot = next((at, slot) for at, slot in enumerate(self.slots) if slot.name == path[0])
        values = columns[at]
        if slot.kind is Kind.RAW:
            values = [MISSING if value is EMPTY else JSON.plain(value) for value in values]
        return values if len(path) == 1 else [reduce(_member, path[1:], value) for value in values]


def _member(value: Any, name: str) -> Any:
    return value.get(name, MISSING) if isinstance(value, Mapping) else MISSING


def turned(rows: Sequence[Row]) -> Sequence[Column]:
    """The columns of rows, one for each slot of their layout; none if there are no rows."""
    return list(zip(*map(astuple, rows), strict=True))


def lay_out(tree: Members, reaches: Sequence[Reach], reads: Iterable[str], *, nulls: bool) -> Layout:
    """The struct of a record.

    Args:
        reads: names of the members that are read, for conditions or as the id.
        nulls: withheld members leave as null and so need a field.
    """
    return _Drawing(reaches, frozenset(reads), nulls).layout(tree)


class _Drawing:
    def __init__(self, reaches: Sequence[Reach], reads: frozenset[str], nulls: bool) -> None:
        self._reaches = reaches
        self._reads = reads
        self._nulls = nulls

    def layout(self, tree: Members) -> Layout:
        drawn = [self._slot(f"f{n}", name, node) for n, (name, node) in enumerate(tree.named.items())]
        only_read = sorted(self._reads - tree.named.keys())
        slots = [slot for slot in drawn if slot is not None]
        slots += [Slot(f"r{n}", name, Kind.READ, None) for n, name in enumerate(only_read)]
        settled = [
            (at, slot.node)
            for at, slot in enumerate(slots)
            if slot.kind is Kind.READ and slot.node and self._reaches[_index(slot.node)].ever_clear
        ]
        exact = [slot for slot in slots if slot.kind in (Kind.TYPED, Kind.TYPEDS, Kind.READ) and slot.node]
        return Layout(
            type=msgspec.defstruct("Record", [_field(slot) for slot in slots], gc=False, omit_defaults=True),
            slots=tuple(slots),
            singles=tuple(at for at, node in settled if isinstance(node, Leaf)),
            lists=tuple(at for at, node in settled if isinstance(node, Items)),
            weighed=tuple(
                at for at, slot in enumerate(slots) if slot.kind is Kind.RAW and slot.name in self._reads
            ),
            recoded=frozenset(_index(slot.node) for slot in exact).union(
                *(slot.child.recoded for slot in slots if slot.child is not None)
            ),
        )

    def _slot(self, attr: str, name: str, node: Node) -> Slot | None:
        read = name in self._reads
        match node:
            case Leaf(index):
                return self._scalar(attr, name, node, self._reaches[index], (Kind.RAW, Kind.TYPED), read)
            case Items(Leaf(index)):
                return self._scalar(attr, name, node, self._reaches[index], (Kind.RAWS, Kind.TYPEDS), read)
            case Members(other=None) if not read:
                return self._object(attr, name, node, node, Kind.OBJECT)
            case Items(Members(other=None) as each) if not read:
                return self._object(attr, name, node, each, Kind.OBJECTS)
        return Slot(attr, name, Kind.RAW, node) if read or self._needed(node) else None

    def _scalar(
        self, attr: str, name: str, node: Node, reach: Reach, kinds: tuple[Kind, Kind], read: bool
    ) -> Slot | None:
        raw, typed = kinds
        if read:
            return Slot(attr, name, Kind.READ, node)
        if not reach.ever_shown:
            return Slot(attr, name, Kind.RAW, node) if self._nulls else None
        if reach.always_clear:
            return Slot(attr, name, raw, node)
        if reach.ever_clear and not reach.types <= {str}:  # a clear number must keep its digits
            return Slot(attr, name, Kind.RAW, node)
        return Slot(attr, name, typed, node, reach.types)

    def _object(self, attr: str, name: str, node: Node, inside: Members, kind: Kind) -> Slot | None:
        if not self._shows(inside):
            return Slot(attr, name, Kind.RAW, node) if self._nulls else None
        inner = _Drawing(self._reaches, frozenset(), self._nulls)
        return Slot(attr, name, kind, node, child=inner.layout(inside))

    def _needed(self, node: Node) -> bool:
        return self._nulls or self._shows(node)

    def _shows(self, node: Node) -> bool:
        """Whether any ruling shows anything of this part."""
        match node:
            case Leaf(index):
                return self._reaches[index].ever_shown
            case Items(inside) | Text(inside):
                return self._shows(inside)
            case Members(named, other):
                return any(map(self._shows, named.values())) or (other is not None and self._shows(other))
        return not isinstance(node, Place | Aside)


def _index(node: Node | None) -> int:
    """The field of a scalar, or of an array of scalars."""
    leaf = node.each if isinstance(node, Items) else node
    return leaf.index if isinstance(leaf, Leaf) else -1


def _field(slot: Slot) -> tuple[str, Any, Any]:
    scalar: Any = reduce(or_, slot.types, None) if slot.types else None
    child: Any = slot.child.type if slot.child is not None else None
    kind, default = {
        Kind.RAW: (Raw, EMPTY),
        Kind.READ: (Any, MISSING),
        Kind.TYPED: (scalar, UNSET),
        Kind.TYPEDS: (list[scalar] | None, UNSET),
        Kind.RAWS: (list[Raw] | None, UNSET),
        Kind.OBJECT: (child | None if child else None, UNSET),
        Kind.OBJECTS: (list[child] | None, UNSET),
    }[slot.kind]
    return slot.attr, kind, msgspec.field(name=slot.name, default=default)


def decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    """A decoder in which only what is read can be a Decimal."""
    return msgspec.json.Decoder(kind, float_hook=Decimal)
