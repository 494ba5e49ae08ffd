"""What stands where in an answer: paths grown into a tree.

A leaf of the tree is whatever the caller puts at the end of a path: a field of a record, a record, or
something beside the records.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from msgspec import Struct, field

from privguard.errors import PolicyError
from privguard.masking.paths import ClassKey, Each, InText, Key, Path, Step, parse_path
from privguard.model import ResourceShape


class Leaf(Struct, frozen=True):
    """The field with this index in ``shape.fields``: a scalar."""

    index: int


class Nested(Struct, frozen=True):
    """The field with this index: a record of another resource."""

    index: int


class Place(Struct, frozen=True):
    """A record of the answer's own resource."""


class Aside(Struct, frozen=True):
    """Something beside the records; ``kind`` as in ``ResourceShape.envelope``."""

    kind: str


class Members(Struct):
    """An object with named members; or a map, whose keys are any, or data of a class themselves."""

    named: dict[str, Node] = field(default_factory=dict)
    other: Node | None = None
    key_class: str | None = None


class Items(Struct):
    """An array."""

    each: Node


class Text(Struct):
    """A string that holds JSON."""

    inner: Node


End: TypeAlias = Leaf | Nested | Place | Aside
Node: TypeAlias = End | Members | Items | Text


def grow(shape: ResourceShape) -> Members:
    """The tree of a resource's fields.

    Raises:
        PolicyError: a path is malformed, named twice, or both a value and something with parts.
    """
    root = Members()
    for index, spec in enumerate(shape.fields):
        end = Nested(index) if spec.nested else Leaf(index)
        graft(root, parse_path(spec.path), end, f"{shape.name}: {spec.path}")
    return root


def graft(node: Node | None, steps: Path, end: End, where: str) -> Node:
    """The node (None: nothing is there yet) with ``end`` at these steps below it.

    Raises:
        PolicyError: something else stands there; ``where`` says which path is at fault.
    """
    if not steps:
        if node is not None:
            raise PolicyError("stands here twice, or has parts and is a value as well", where)
        return end
    step, rest = steps[0], steps[1:]
    match step:
        case Each():
            return Items(graft(_expect(node, Items, where).each if node else None, rest, end, where))
        case InText():
            return Text(graft(_expect(node, Text, where).inner if node else None, rest, end, where))
        case _:
            return _graft_member(_expect(node, Members, where) if node else Members(), step, rest, end, where)


def _graft_member(node: Members, step: Step, rest: Path, end: End, where: str) -> Node:
    if isinstance(step, Key):
        if node.key_class is not None:
            raise PolicyError("a map keyed by data has no named members", where)
        node.named[step.name] = graft(node.named.get(step.name), rest, end, where)
        return node
    cls = step.cls if isinstance(step, ClassKey) else None
    if (node.other is not None and node.key_class != cls) or (cls and node.named):
        raise PolicyError("the keys of one map are of one kind", where)
    node.key_class = cls
    node.other = graft(node.other, rest, end, where)
    return node


def _expect(node: Node, kind: Any, where: str) -> Any:
    if not isinstance(node, kind):
        raise PolicyError("another path says that something else stands here", where)
    return node
