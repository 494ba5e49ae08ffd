"""Builds the Structs of a file from its plain values, and finds every error instead of the first.

msgspec's own ``convert`` stops at the first error and does not say under which key of a mapping it stood, so
containers are walked here and only leaves are given to it.
"""

from __future__ import annotations

import enum
from decimal import Decimal
from types import UnionType
from typing import Annotated, Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct, UnsetType

from privguard.errors import PolicyError
from privguard.policy.notation import nearest
from privguard.policy.source import InvalidPolicyError, Path, Source

T = TypeVar("T", bound=Struct)
_NOUNS: Final = {
    dict: "a mapping",
    list: "a list",
    str: "text",
    int: "a whole number",
    Decimal: "a number",
    bool: "true or false",
    type(None): "nothing",
}


def build(kind: type[T], source: Source) -> T:
    """Builds a Struct from a source's tree.

    Raises:
        InvalidPolicyError: every key and value that does not fit, in the order of the text.
    """
    shaper = _Shaper(source)
    built = shaper.build(kind, (), source.tree)
    if shaper.errors or not isinstance(built, kind):
        raise InvalidPolicyError(error for _, error in sorted(shaper.errors, key=lambda item: item[0]))
    return built


class _Shaper:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.errors: list[tuple[tuple[int, int], PolicyError]] = []

    def build(self, kind: Any, path: Path, value: object) -> Any:
        """The value as ``kind``, containers part by part; None where it does not fit."""
        bare = _bare(kind)
        if bare is Any:
            return value
        if get_origin(bare) in (Union, UnionType):
            return self._one_of(kind, path, value)
        if isinstance(bare, type) and issubclass(bare, Struct) and isinstance(value, dict):
            return self._struct(bare, path, value)
        origin = get_origin(bare)
        if origin is dict and isinstance(value, dict):
            key_kind, item_kind = get_args(bare)
            return self._sized(kind, path, self._mapping(key_kind, item_kind, path, value))
        if origin is tuple and isinstance(value, list):
            items = tuple(self.build(get_args(bare)[0], (*path, n), item) for n, item in enumerate(value))
            return self._sized(kind, path, items)
        return self._leaf(kind, path, value)

    def _mapping(self, key_kind: Any, kind: Any, path: Path, value: dict[str, object]) -> dict[str, Any]:
        built = {}
        for key, item in value.items():
            place = (*path, key)
            built[self._leaf(key_kind, place, key, of_key=True)] = self.build(kind, place, item)
        return built

    def _one_of(self, kind: Any, path: Path, value: object) -> Any:
        """The member of a union that takes this sort of value."""
        members = _members(_bare(kind))
        for member in members:
            if isinstance(value, _taken_by(member)):
                return self.build(member, path, value)
        wanted = " or ".join(dict.fromkeys(_noun(member) for member in members))
        self._wrong(path, f"{_given(value)} stands where {wanted} is expected", of_key=value is None)
        return None

    def _struct(self, kind: type[Struct], path: Path, value: dict[str, object]) -> Any:
        hints = get_type_hints(kind, include_extras=True)
        fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
        for key in value:
            if key not in fields:
                self._wrong(
                    (*path, key), f"`{_clip(key)}` is not known here", nearest(key, fields), of_key=True
                )
        arguments = {}
        for key, field in fields.items():
            if key in value:
                arguments[field.name] = self.build(hints[field.name], (*path, key), value[key])
            elif field.required:
                self._wrong(path, f"`{key}` is missing")
        return None if self.errors else kind(**arguments)

    def _leaf(self, kind: Any, path: Path, value: object, *, of_key: bool = False) -> Any:
        taken = _taken_by(kind)
        if not isinstance(value, taken) or (isinstance(value, bool) and bool not in taken):
            # An empty value has no place of its own worth showing: its key has.
            empty = value is None
            self._wrong(
                path, f"{_given(value)} stands where {_noun(kind)} is expected", _hint(kind), of_key=empty
            )
            return None
        choices = _choices(kind)
        if choices and value not in choices:
            mend = nearest(str(value), [str(choice) for choice in choices if choice is not None])
            self._wrong(path, f"`{_clip(str(value))}` is not possible here", mend, of_key=of_key)
            return None
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError:
            self._wrong(path, f"`{_clip(str(value))}` does not fit", _hint(kind), of_key=of_key)
            return None

    def _sized(self, kind: Any, path: Path, value: Any) -> Any:
        least = max((meta.min_length or 0 for meta in _metas(kind)), default=0)
        if len(value) < least:
            self._wrong(path, "there is nothing in it", "name something, or leave the key out")
        return value

    def _wrong(self, path: Path, detail: str, mend: str = "", *, of_key: bool = False) -> None:
        place = (self.source.keys if of_key else self.source.places).get(path, (0, 0))
        self.errors.append((place, PolicyError(detail, self.source.where(path, key=of_key), mend)))


def _bare(kind: Any) -> Any:
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _members(union: Any) -> list[Any]:
    return [member for member in get_args(union) if member is not UnsetType]


def _metas(kind: Any) -> list[Meta]:
    return [meta for meta in getattr(kind, "__metadata__", ()) if isinstance(meta, Meta)]


def _hint(kind: Any) -> str:
    """The description of a constrained value, as the mend."""
    return next((meta.description for meta in _metas(kind) if meta.description), "").rstrip(".")


def _choices(kind: Any) -> tuple[object, ...]:
    bare = _bare(kind)
    if get_origin(bare) is Literal:
        return get_args(bare)
    choices: list[Any] = list(bare) if isinstance(bare, enum.EnumMeta) else []
    return tuple(choice.value for choice in choices)


def _taken_by(kind: Any) -> tuple[type, ...]:
    """The sorts of plain value that a kind is built from."""
    bare = _bare(kind)
    origin = get_origin(bare)
    if origin in (Union, UnionType):
        return tuple(sort for member in _members(bare) for sort in _taken_by(member))
    if origin is Literal:
        return tuple({type(choice) for choice in get_args(bare)})
    if origin in (dict, tuple):
        return (dict,) if origin is dict else (list,)
    if issubclass(bare, Struct):
        return (dict,)
    return (str,) if issubclass(bare, str) else (bare,)


def _noun(kind: Any) -> str:
    return " or ".join(dict.fromkeys(_NOUNS.get(sort, sort.__name__) for sort in _taken_by(kind)))


def _given(value: object) -> str:
    return _NOUNS.get(type(value), "this")


def _clip(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
