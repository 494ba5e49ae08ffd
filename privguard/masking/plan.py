"""What a plan's rulings do to a record: its tree, dressed for one ruling.

    a resource's fields  --grow-->  Members, Items, Text, Leaf, Nested            once per plan (tree)
    tree + ruling        --dress->  Object, Array, Packed, Clear, Masking, ...    once per distinct ruling

A dressed tree holds only what leaves under its ruling. Nothing in it names a withheld field, so neither the
value, type, length, order nor presence of one can reach the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from msgspec import UNSET, Struct

from privguard.masking.operators import MaskTools, Operator, Use, accepted, make_operator
from privguard.masking.tree import Items, Leaf, Members, Nested, Node, Text
from privguard.model import PUBLIC, AccessPlan, Decision, FieldView, Mask, ResourceShape, View

# -- what the plan may do to each field ---------------------------------------------------------------------


class Reach(Struct, frozen=True):
    """What any ruling of a plan may do to one field.

    Attributes:
        types: what its masks take; empty if no ruling masks it.
    """

    ever_shown: bool
    ever_clear: bool
    always_clear: bool
    types: frozenset[type]


def reaches(plan: AccessPlan) -> tuple[Reach, ...]:
    """For each field of the plan's shape."""
    views = zip(plan.strongest(), plan.weakest(), strict=True)
    return tuple(_reach(strongest, weakest) for strongest, weakest in views)


def _reach(strongest: FieldView, weakest: FieldView) -> Reach:
    masks = [mask for mask in (_mask(strongest), _mask(weakest), strongest.spec.mask) if mask is not None]
    types = [accepted(mask) for mask in masks if mask.operator not in ("clear", "withhold")]
    return Reach(
        ever_shown=strongest.view is not View.WITHHELD and (is_clear(strongest) or bool(types)),
        ever_clear=is_clear(strongest),
        always_clear=is_clear(weakest),
        types=frozenset().union(*types),
    )


def _mask(view: FieldView) -> Mask | None:
    return view.mask if view.view in (View.MASKED, View.TOKEN) else None


def is_clear(view: FieldView) -> bool:
    return view.view is View.CLEAR or (view.view is View.MASKED and view.mask.operator == "clear")


def _is_withheld(view: FieldView) -> bool:
    return view.view is View.WITHHELD or (view.view is not View.CLEAR and view.mask.operator == "withhold")


# -- a record dressed for one ruling ------------------------------------------------------------------------


class Clear(Struct, frozen=True):
    """A scalar that leaves as it came.

    Attributes:
        recode: its text is decoded and encoded again (one of the plan's rulings needs it decoded).
    """

    index: int
    recode: bool


class Masking(Struct, frozen=True):
    """A scalar that leaves masked."""

    index: int
    operator: Operator


class Hidden(Struct, frozen=True):
    """A member that leaves as null, whatever the upstream has (``withheld_as: null``)."""


class Inner(Struct, frozen=True):
    """A record of another resource, with the masker of its own plan."""

    masker: Any


class Object(Struct, frozen=True):
    """An object of which some members leave.

    Attributes:
        other: what stands under any other key; None if nothing does.
        ordinals: keys leave as 1, 2, 3 ...
        hollow: what stands for it when no member leaves: UNSET, or None where withheld members are null.
    """

    named: tuple[tuple[str, Shown], ...]
    other: Shown | None
    ordinals: bool
    hollow: Any


class Array(Struct, frozen=True):
    """An array; its length leaves."""

    each: Shown


class Packed(Struct, frozen=True):
    """A string that holds JSON."""

    inner: Shown


Shown: TypeAlias = Clear | Masking | Hidden | Inner | Object | Array | Packed
HIDDEN: Final = Hidden()


class Wardrobe(Struct, frozen=True):
    """What a plan needs to dress its tree.

    Attributes:
        recoded: fields whose clear text is encoded anew, see ``Clear``.
        inner: the masker of a resource that stands inside; None if the actor may see nothing of it.
    """

    shape: ResourceShape
    tree: Members
    reaches: tuple[Reach, ...]
    recoded: frozenset[int]
    tools: MaskTools
    inner: Callable[[str], Any]

    def dress(self, ruling: Decision, tenant: str) -> Object:
        """The tree as this ruling shows it; its root is always an object."""
        dressed = _Dressing(self, ruling.fields, tenant).of(self.tree)
        return dressed if isinstance(dressed, Object) else Object((), None, ordinals=False, hollow=UNSET)


class _Dressing:
    def __init__(self, wardrobe: Wardrobe, views: Sequence[FieldView], tenant: str) -> None:
        self._wardrobe = wardrobe
        self._views = views
        self._tenant = tenant
        self._withheld: Shown | None = HIDDEN if wardrobe.shape.withheld_as == "null" else None

    def of(self, node: Node) -> Shown | None:
        """The node as it leaves; ``_withheld`` if nothing of it does."""
        match node:
            case Leaf(index):
                return self._leaf(index)
            case Nested(index):
                masker = self._wardrobe.inner(self._wardrobe.shape.fields[index].nested or "")
                return self._withheld if masker is None else Inner(masker)
            case Items(each):
                return self._around(Array, self.of(each))
            case Text(inner):
                return self._around(Packed, self.of(inner))
        return self._members(node) if isinstance(node, Members) else None

    def _leaf(self, index: int) -> Shown | None:
        view = self._views[index]
        if _is_withheld(view) or not self._wardrobe.reaches[index].ever_shown:
            return self._withheld
        if is_clear(view):
            return Clear(index, index in self._wardrobe.recoded)
        use = Use(self._tenant, view.spec.cls.name, self._wardrobe.tools)
        return Masking(index, make_operator(view.mask, use))

    def _around(self, kind: Callable[[Shown], Shown], inside: Shown | None) -> Shown | None:
        return self._withheld if inside is None or inside is HIDDEN else kind(inside)

    def _members(self, node: Members) -> Shown | None:
        dressed = {name: self.of(child) for name, child in node.named.items()}
        named = tuple((name, child) for name, child in dressed.items() if child is not None)
        other = self.of(node.other) if node.other is not None else None
        if other is HIDDEN:
            other = None  # which keys a map has must not depend on what is withheld under them
        if other is None and all(child is HIDDEN for _, child in named) and node is not self._wardrobe.tree:
            return self._withheld
        hollow = None if any(_hides(child) for _, child in named) else UNSET
        ordinals = node.key_class is not None and not class_is_clear(self._views, node.key_class)
        return Object(named, other, ordinals=ordinals, hollow=hollow)


def class_is_clear(views: Sequence[FieldView], cls: str) -> bool:
    """Whether every field of the class leaves clear, so that its data may stand in keys too (M05)."""
    of_class = [view for view in views if view.spec.cls.name == cls and view.spec.nested is None]
    return cls == PUBLIC.name or (bool(of_class) and all(map(is_clear, of_class)))


def _hides(shown: Shown) -> bool:
    return shown is HIDDEN or (isinstance(shown, Object) and shown.hollow is None)


def indexes(shown: Shown) -> Mapping[int, Operator | None]:
    """The fields that leave in this part, with their operators."""
    match shown:
        case Clear(index):
            return {index: None}
        case Masking(index, operator):
            return {index: operator}
        case Object(named, other):
            parts = [child for _, child in named] + ([other] if other is not None else [])
            return {index: operator for part in parts for index, operator in indexes(part).items()}
        case Array(inside) | Packed(inside):
            return indexes(inside)
        case _:
            return {}
