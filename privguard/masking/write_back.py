"""Judges a write before the upstream sees it: an actor changes what they may, and never writes a mask back.

A front end that shows ``138****8000`` and saves the form would overwrite the number with its mask; one that
saves guesses and looks at what comes back would learn the value (M07). So, field by field:

1. An unclassified field is refused (mass assignment), and so is the id, unless it is the record's.
2. What the actor sees in clear and leaves unchanged is fine.
3. The class's ``write`` decides: ``any`` for all who see something of the field, ``clear_only`` for those who
   see it in clear, ``never`` for nobody.
4. A masked value is refused wherever it stands: one that equals the mask of a current value, or has the looks
   of such a mask.
5. An array is replaced as a whole, so every field below it must be writable.

A refusal names places, never values, and depends on nothing that the actor may not see.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any, Final

import msgspec
from msgspec import Struct

from privguard.errors import (
    AccessDeniedError,
    MalformedRequestError,
    MaskedValueInWriteError,
    UnreadableResponseError,
)
from privguard.masking.operators import MaskTools, Use, looks_masked, make_operator
from privguard.masking.paths import Key, parse_place
from privguard.masking.tree import Items, Leaf, Members, Nested, Node, Text, grow
from privguard.masking.write_body import Action, Change, read_json, read_write
from privguard.model import MISSING, AccessPlan, Decision, FieldView, Mask, ResourceShape, View

_PLAIN_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,8}|-")
_CANONICAL: Final = msgspec.json.Encoder(decimal_format="number", order="deterministic").encode
_LIKE_VALUES: Final = frozenset({"year", "age_band", "band"})
"""Operators whose outputs are values as well: seen in another field, they prove nothing."""


def check_write(
    plan: AccessPlan,
    ruling: Decision,
    media: str,
    body: bytes,
    current: bytes | None,
    id_text: str | None,
) -> None:
    """Lets a write pass, or refuses it.

    Args:
        ruling: what the policy says of the record as it stands; ``plan.unread()`` to create one.
        media: Content-Type of the body.
        current: the record as it stands, raw JSON; None to create one.
        id_text: the record's id as the route names it.

    Raises:
        MaskedValueInWriteError: names every place that may not be written so.
        MalformedRequestError: the body cannot be read, or in two ways.
        UnreadableResponseError: the current record cannot be read.
    """
    judge = _Judge(plan, ruling, _record(current), id_text)
    for change in read_write(media, body):
        judge.change(change)
    if judge.refused:
        places = tuple(sorted(judge.refused))
        raise MaskedValueInWriteError(
            f"This actor may not write {', '.join(places)}, or not such a value.", paths=places
        )


def check_replacement(shape: ResourceShape, ruling: Decision, current: bytes) -> None:
    """Lets a PUT pass, or refuses it: what it leaves out is erased, and nobody erases what they do not see.

    Raises:
        MaskedValueInWriteError: the record has a field that the actor does not see in clear.
    """
    unseen = {view.spec.path for view in ruling.fields if view.view is not View.CLEAR}
    members = _record(current)
    if isinstance(members, dict):
        known = {spec.path.partition(".")[0].partition("[")[0].partition("{")[0] for spec in shape.fields}
        present = {path for path in unseen if path.partition(".")[0].partition("[")[0] in members}
        unknown = not known.issuperset(members)
        if not present and not unknown:
            return
        unseen = present
    raise MaskedValueInWriteError(
        "A PUT would erase what this actor does not see: send the changed fields with PATCH.",
        paths=tuple(sorted(unseen)),
    )


def _record(current: bytes | None) -> Any:
    if current is None:
        return MISSING
    try:
        return read_json(current)
    except MalformedRequestError:
        raise UnreadableResponseError("The record that the write is for cannot be read.") from None


class _Field(Struct, frozen=True):
    """What the ruling says of a field, as far as a write is concerned.

    Attributes:
        masks: what its value may look like where it is masked.
        writable: the actor may change it.
    """

    path: str
    view: View
    mask: Mask
    masks: tuple[Mask, ...]
    cls: str
    nested: str | None
    writable: bool


def _fields(plan: AccessPlan, ruling: Decision) -> list[_Field]:
    """In the order of the shape; nothing is visible where the ruling shows nothing."""
    views = ruling.fields or [FieldView(spec, View.WITHHELD, spec.mask) for spec in plan.shape.fields]
    return [_field(plan, each) for each in views]


def _field(plan: AccessPlan, each: FieldView) -> _Field:
    spec, view = each.spec, each.view
    if view in (View.MASKED, View.TOKEN) and each.mask.operator in ("clear", "withhold"):
        view = View.CLEAR if each.mask.operator == "clear" else View.WITHHELD
    permitted = (spec.cls.write == "any" and view > View.WITHHELD) or (
        spec.cls.write == "clear_only" and view is View.CLEAR
    )
    return _Field(
        path=spec.path,
        view=view,
        mask=each.mask,
        masks=tuple({each.mask, spec.mask}),
        cls=spec.cls.name,
        nested=spec.nested,
        writable=permitted and spec.nested is None and spec.path != plan.shape.id,
    )


class _Target(Struct, frozen=True):
    """A place of the record.

    Attributes:
        element: it is an element of an array.
    """

    node: Node
    place: str = ""
    old: Any = MISSING
    element: bool = False


class _Judge:
    """Judges the changes of one write.

    Attributes:
        refused: the places that may not be written so.
    """

    def __init__(self, plan: AccessPlan, ruling: Decision, current: Any, id_text: str | None) -> None:
        self.refused: set[str] = set()
        self._plan = plan
        self._fields = _fields(plan, ruling)
        self._root = _Target(grow(plan.shape), old=current)
        self._id_text = id_text
        self._renderings = frozenset(self._rendered(self._root.node, current))
        self._marks = [
            field.mask
            for field in self._fields
            if View.WITHHELD < field.view < View.CLEAR and field.mask.operator not in _LIKE_VALUES
        ]
        self._texts = False

    def change(self, change: Change) -> None:
        """Judges one change."""
        self._texts = change.texts
        if change.action is Action.SET and not change.steps:
            self._set(self._root, self._unwrapped(change.value))
        elif target := self._resolve(change.steps):
            self._at(target, change)

    def _at(self, target: _Target, change: Change) -> None:
        match change.action:
            case Action.INSERT if target.element:
                self._replace(msgspec.structs.replace(target, old=MISSING), change.value)
            case Action.SET if target.element:
                self._replace(target, change.value)
            case Action.INSERT | Action.SET:
                self._set(target, change.value)
            case Action.REMOVE:
                self._refuse_unless(target, self._replaceable(target.node))
            case Action.TEST:  # an oracle: the upstream says whether the guess is right
                self._refuse_unless(target, self._all_clear(target.node))
            case _:  # TRANSFER: the value does not stand in the write, so it cannot be judged
                self.refused.add(target.place)

    # where

    def _unwrapped(self, value: Any) -> Any:
        """The record, where a body wraps it like an answer (``{"client": {...}}`` for ``$.client``)."""
        for place in self._plan.shape.records:
            inner = value
            for step in parse_place(place):
                if not isinstance(step, Key) or not isinstance(inner, dict) or list(inner) != [step.name]:
                    break
                inner = inner[step.name]
            else:
                value = inner
                break
        if not isinstance(value, dict):
            raise MalformedRequestError("A write is one JSON object: the record, or what of it changes.")
        return value

    def _resolve(self, steps: Sequence[str]) -> _Target | None:
        """What stands at a place; None if nothing does, which has then been refused."""
        target: _Target | None = self._root
        for step in steps:
            target = self._below(target, step) if target is not None else None
        return target

    def _below(self, target: _Target, step: str) -> _Target | None:
        node, old = target.node, target.old
        if isinstance(node, Items) and _INDEX.fullmatch(step):
            return _Target(node.each, f"{target.place}[*]", _element(old, step), element=True)
        if isinstance(node, Members):
            value = old.get(step, MISSING) if isinstance(old, dict) else MISSING
            if step in node.named:
                return _Target(node.named[step], _join(target.place, step), value)
            if node.other is not None and node.key_class is None:  # keys that are data are not written (M05)
                return _Target(node.other, _join(target.place, "*"), value)
        known = _PLAIN_NAME.fullmatch(step) is not None
        self.refused.add(_join(target.place, step if known else "?"))
        return None

    # what

    def _set(self, target: _Target, new: Any) -> None:
        """Judges a value that is merged into what stands there."""
        match target.node:
            case Leaf(index):
                self._refuse_unless(target, self._may_set(self._fields[index], new, target.old))
            case Members() if isinstance(new, dict):
                for key, value in new.items():
                    if below := self._below(target, key):
                        self._set(below, value)
            case Items() | Text():
                self._replace(target, new)
            case node:
                self._refuse_unless(
                    target, self._unchanged(target, new) or (new is None and self._replaceable(node))
                )

    def _replace(self, target: _Target, new: Any) -> None:
        """Judges a value that stands for all there was: what the actor does not see would be lost."""
        node = target.node
        if self._unchanged(target, new):
            return
        if not self._replaceable(node):
            self.refused.add(target.place)
        elif isinstance(node, Items) and new is not None:
            elements = _elements(new, numbered=self._texts)
            self._refuse_unless(target, elements is not None)
            for element in elements or ():
                self._set(_Target(node.each, f"{target.place}[*]"), element)
        elif isinstance(node, Text) and new is not None:
            inner = _parsed(new)
            self._refuse_unless(target, inner is not MISSING)
            self._set(_Target(node.inner, target.place), inner)
        elif new is not None:
            self._set(target, new)

    def _may_set(self, field: _Field, new: Any, old: Any) -> bool:
        if isinstance(new, dict | list):
            return False
        if field.path == self._plan.shape.id and self._id_text is not None:
            return new is not None and _text(new) == self._id_text
        if field.view is View.CLEAR and self._same(new, old):
            return True
        return field.writable and not self._is_mask(field, new)

    def _is_mask(self, field: _Field, new: Any) -> bool:
        return (
            new in self._renderings
            or any(looks_masked(mask, new) for mask in field.masks)
            or any(looks_masked(mask, new) for mask in self._marks)
        )

    def _unchanged(self, target: _Target, new: Any) -> bool:
        return self._all_clear(target.node) and self._same(new, target.old)

    def _same(self, new: Any, old: Any) -> bool:
        """Whether nothing changes, digits and types included; in a form all is text."""
        if old is MISSING:
            return False
        return new == _texts(old) if self._texts else _CANONICAL(new) == _CANONICAL(old)

    def _replaceable(self, node: Node) -> bool:
        return all(index is not None and self._fields[index].writable for index in _indexes(node))

    def _all_clear(self, node: Node) -> bool:
        return all(index is not None and self._is_clear(self._fields[index]) for index in _indexes(node))

    def _is_clear(self, field: _Field) -> bool:
        if field.nested is None:
            return field.view is View.CLEAR
        try:
            inner = self._plan.nested(field.nested)
        except AccessDeniedError:
            return False
        # The record that stands here is not judged itself, so all of its kind must be clear.
        return inner.sees_all and all(
            view.view is View.CLEAR and view.spec.nested is None for view in inner.weakest()
        )

    def _rendered(self, node: Node, value: Any) -> Iterator[str]:
        """What the masked fields of the current record look like."""
        match node:
            case Leaf(index) if View.WITHHELD < self._fields[index].view < View.CLEAR:
                field = self._fields[index]
                masked = make_operator(field.mask, Use("", field.cls, _NO_TOOLS)).of(value)
                if isinstance(masked, str):
                    yield masked
            case Members() if isinstance(value, dict):
                for key, inner in value.items():
                    if child := node.named.get(key, node.other):
                        yield from self._rendered(child, inner)
            case Items(each) if isinstance(value, list):
                for inner in value:
                    yield from self._rendered(each, inner)
            case Text(inner_node):
                yield from self._rendered(inner_node, _parsed(value))

    def _refuse_unless(self, target: _Target, permitted: bool) -> None:
        if not permitted:
            self.refused.add(target.place or "$")


def _indexes(node: Node) -> Iterator[int | None]:
    """The fields at and below a node; None for a map whose keys are data."""
    if isinstance(node, Leaf | Nested):
        yield node.index
    if isinstance(node, Members) and node.key_class is not None:
        yield None
    for child in _children(node):
        yield from _indexes(child)


def _children(node: Node) -> list[Node]:
    if isinstance(node, Members):
        return [*node.named.values(), *([node.other] if node.other is not None else [])]
    return [node.each] if isinstance(node, Items) else [node.inner] if isinstance(node, Text) else []


def _join(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _element(array: Any, index: str) -> Any:
    position = len(array) if index == "-" or not isinstance(array, list) else int(index)
    return array[position] if isinstance(array, list) and position < len(array) else MISSING


def _elements(value: Any, *, numbered: bool) -> list[Any] | None:
    """The elements of an array; a form may number them (``cards[0][pan]``)."""
    if numbered and isinstance(value, dict) and all(map(_INDEX.fullmatch, value)):
        return list(value.values())
    return value if isinstance(value, list) else None


def _parsed(text: Any) -> Any:
    """The JSON within a string; MISSING if there is none."""
    try:
        return read_json(text) if isinstance(text, str) else MISSING
    except MalformedRequestError:
        return MISSING


def _text(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case _:
            return str(value)


def _texts(value: Any) -> Any:
    """The value as a form has it."""
    if isinstance(value, dict):
        return {key: _texts(inner) for key, inner in value.items()}
    return [_texts(inner) for inner in value] if isinstance(value, list) else _text(value)


def _no_date() -> date:
    raise LookupError


def _no_token(_tenant: str, _cls: str, _value: str) -> str:
    raise LookupError


_NO_TOOLS: Final = MaskTools(today=_no_date, token=_no_token)
"""Ages and tokens are told by their looks: an operator that fails renders nothing."""
