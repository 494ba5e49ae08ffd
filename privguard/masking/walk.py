"""Masks values one by one, whatever they hold: the reference that the generated structs are held to.

A reader says how a value is opened: raw JSON level by level, so that a clear value keeps its exact bytes, or
Python values for the library door.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Protocol, TypeAlias

import msgspec
from msgspec import UNSET, Raw

from privguard.masking.ledger import Call, Refusal
from privguard.masking.plan import HIDDEN, Array, Clear, Hidden, Inner, Masking, Object, Packed, Shown
from privguard.model import MISSING

_OBJECT: Final = msgspec.json.Decoder(dict[str, Raw])
_ARRAY: Final = msgspec.json.Decoder(list[Raw])
_SCALAR: Final = msgspec.json.Decoder(str | int | float | bool | None)
_WHOLE: Final = msgspec.json.Decoder(Raw)
_PLAIN: Final = msgspec.json.Decoder(float_hook=Decimal)
ENCODE: Final = msgspec.json.Encoder(decimal_format="number").encode
CONTAINERS: Final = (b"{", b"[")


class Reader(Protocol):
    """How values are opened."""

    def members(self, value: Any) -> Mapping[str, Any] | None:
        """The members of an object; None if it is none."""
        ...

    def elements(self, value: Any) -> Sequence[Any] | None:
        """The elements of an array; None if it is none."""
        ...

    def scalar(self, value: Any) -> Any:
        """A text, number, boolean or null; UNSET for anything else."""
        ...

    def clear(self, value: Any, *, recode: bool) -> Any:
        """A scalar as it leaves unmasked; UNSET for anything else (a scalar was classified, nothing else)."""
        ...

    def plain(self, value: Any) -> Any:
        """Any value, for conditions: numbers with a point are Decimal.

        Raises:
            msgspec.DecodeError: the value cannot be held.
        """
        ...


class JsonReader:
    """Values are ``Raw``."""

    def members(self, value: Raw) -> Mapping[str, Raw] | None:
        try:
            return _OBJECT.decode(value)
        except msgspec.ValidationError:
            return None

    def elements(self, value: Raw) -> Sequence[Raw] | None:
        try:
            return _ARRAY.decode(value)
        except msgspec.ValidationError:
            return None

    def scalar(self, value: Raw) -> Any:
        try:
            return _SCALAR.decode(value)
        except msgspec.ValidationError:  # a container, or a number that no machine number holds
            return UNSET

    def clear(self, value: Raw, *, recode: bool) -> Any:
        try:
            scalar = _SCALAR.decode(value)
        except msgspec.ValidationError:
            return UNSET if first_byte(value) in CONTAINERS else value
        return scalar if recode and type(scalar) in (str, int) else value

    def plain(self, value: Raw) -> Any:
        return _PLAIN.decode(value)


Plain: TypeAlias = str | int | float | bool | Decimal | datetime.date | datetime.time | uuid.UUID | None


class ValueReader:
    """Values are Python's, as an ORM or an application holds them."""

    def members(self, value: Any) -> Mapping[str, Any] | None:
        return value if isinstance(value, Mapping) else None

    def elements(self, value: Any) -> Sequence[Any] | None:
        return value if isinstance(value, list | tuple) else None

    def scalar(self, value: Any) -> Any:
        match value:
            case None | bool():
                return value
            case str():
                return str.__str__(value)
            case int():
                return int(value)
            case float() | Decimal():
                return float(value)
            case datetime.date() | datetime.time():
                return value.isoformat()
            case uuid.UUID():
                return str(value)
        return UNSET

    def clear(self, value: Any, *, recode: bool) -> Any:  # Python values have one spelling
        return value if isinstance(value, Plain) else UNSET

    def plain(self, value: Any) -> Any:
        return value


JSON: Final = JsonReader()
VALUES: Final = ValueReader()


def first_byte(value: Raw) -> bytes:
    """The first byte of a raw value, which tells its JSON type."""
    return bytes(memoryview(value)[:1])


class Walk:
    """Masks records of one group, all under the same ruling.

    Attributes:
        present: indexes of the fields that left in at least one of them.
        hide: what stands for a value that cannot be shown: UNSET, or None where withheld fields are null.
    """

    def __init__(self, reader: Reader, call: Call, hide: Any, present: set[int]) -> None:
        self.reader = reader
        self.call = call
        self.hide = hide
        self.present = present

    def record(self, shown: Object, value: Any) -> dict[str, Any]:
        """A record, which leaves as an object even if it is empty."""
        return self._object(shown, value)[0] or {}

    def of(self, shown: Shown, value: Any) -> Any:
        """The value as it leaves, or UNSET."""
        return _WAYS[type(shown)](self, shown, value)

    def absent(self, shown: Shown) -> Any:
        """What stands for a member that the upstream does not have."""
        if isinstance(shown, Object):
            return shown.hollow
        if isinstance(shown, Inner):
            return self.hide  # as for a refused one (M12)
        return None if shown is HIDDEN else UNSET

    def _clear(self, shown: Clear, value: Any) -> Any:
        return self._kept(shown.index, self.reader.clear(value, recode=shown.recode))

    def _masked(self, shown: Masking, value: Any) -> Any:
        return self._kept(shown.index, shown.operator.of(self.reader.scalar(value)))

    def _kept(self, index: int, value: Any) -> Any:
        if value is UNSET:
            value = self.hide
        if value is not UNSET:
            self.present.add(index)
        return value

    def _member(self, shown: Object, value: Any) -> Any:
        members, visible = self._object(shown, value)
        return members if visible else shown.hollow

    def _object(self, shown: Object, value: Any) -> tuple[dict[str, Any] | None, bool]:
        """The members that leave, and whether any of them is the upstream's."""
        members = self.reader.members(value)
        if members is None:
            return None, False
        out: dict[str, Any] = {}
        visible = False
        for name, child in shown.named:
            member = members.get(name, MISSING)
            left = self.absent(child) if member is MISSING else self.of(child, member)
            if left is not UNSET:
                out[name] = left
                visible = visible or stands(child, left)
        if shown.other is not None:
            visible = self._others(shown, members, out) or visible
        return out, visible

    def _others(self, shown: Object, members: Mapping[str, Any], out: dict[str, Any]) -> bool:
        named = {name for name, _ in shown.named}
        keys = [key for key in members if isinstance(key, str) and key not in named]
        lefts = self._each(shown.other, [members[key] for key in keys])
        kept = [(key, left) for key, left in zip(keys, lefts, strict=True) if left is not UNSET]
        for number, (key, left) in enumerate(kept, 1):
            out[str(number) if shown.ordinals else key] = left
        return bool(kept)

    def _array(self, shown: Array, value: Any) -> Any:
        each = shown.each
        elements = self.reader.elements(value)
        if elements is None:
            return UNSET
        lefts = self._each(each, elements)
        if isinstance(each, Inner):
            return [left for left in lefts if left is not UNSET]  # refused records are left out
        return [None if left is UNSET else left for left in lefts]

    def _each(self, shown: Any, values: Sequence[Any]) -> list[Any]:
        """Values of an array or map: an object stands even if it is empty, since their number is known."""
        if isinstance(shown, Inner):
            return [UNSET if left is None else left for left in self._nested(shown.masker, values)]
        if isinstance(shown, Object):
            lefts = [self._object(shown, value)[0] for value in values]
            return [UNSET if left is None else left for left in lefts]
        return [self.of(shown, value) for value in values]

    def _nested(self, masker: Any, values: Sequence[Any]) -> list[Any]:
        lefts: list[Any] = masker.records(values, self.reader, self.call)
        return [self.hide if isinstance(left, Refusal) else left for left in lefts]

    def _inner(self, shown: Inner, value: Any) -> Any:
        return self._nested(shown.masker, [value])[0]

    def _packed(self, shown: Packed, value: Any) -> Any:
        text = self.reader.scalar(value)
        raw = parse_text(text) if isinstance(text, str) else None
        if raw is None:
            return self.hide
        outer, self.reader = self.reader, JSON
        try:
            left = self.of(shown.inner, raw)
        finally:
            self.reader = outer
        return left if left is UNSET or left is None else ENCODE(left).decode()


_WAYS: Final[Mapping[type, Callable[[Walk, Any, Any], Any]]] = {
    Clear: Walk._clear,
    Masking: Walk._masked,
    Hidden: lambda _walk, _shown, _value: None,
    Object: Walk._member,
    Array: Walk._array,
    Packed: Walk._packed,
    Inner: Walk._inner,
}


def parse_text(text: str) -> Raw | None:
    """The JSON that a string holds; None if it is none."""
    try:
        return _WHOLE.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None


def stands(shown: Shown, left: Any) -> bool:
    """Whether a member that leaves shows something of the upstream's."""
    return shown is not HIDDEN and not (left is None and isinstance(shown, Object | Inner))
