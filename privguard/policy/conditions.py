"""The condition language: Python's expression syntax, parsed with ``ast`` and turned into closures.

Names are ``subject.…`` (the actor), ``record.…`` (the record as the CRM sent it) and literals;
``record["a.b"]`` for keys that are no identifiers. Operators: ``== != < <= > >= in``, ``not in``, ``and``,
``or``, ``not`` and ``has(path)``: there is a value, neither absent nor null.

- An attribute the subject does not have is null. Null equals nothing, itself included: an actor without a
  branch shares no branch. Ordering null, or comparing sorts that do not compare, fails.
- A record path that is absent fails, unless ``has`` guards it.
- ``int`` and ``str`` compare equal by text: CSV and tokens carry ids as text.

A condition that fails denies the record (M16); it is never skipped.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from operator import ge, gt, le, lt
from typing import Any, Final

from msgspec import Struct

from privguard.model import MISSING, Principal
from privguard.policy.notation import NotationError, nearest, record_value

Check = Callable[[Sequence[object]], bool]
"""Whether a condition holds for a record's values; raises ``ConditionError``."""
Bind = Callable[[Principal, Mapping[str, int]], Check]
Get = Callable[[Sequence[object]], object]

FAILURES: Final = (ArithmeticError, LookupError, TypeError, ValueError, RecursionError)
"""What evaluating can raise besides ``ConditionError``, on huge numbers or misshapen values."""
OWN: Final = ("id", "roles", "tenant", "branch", "client_id")
"""What every subject has; other names are looked up among its claims."""
_PLAIN: Final = re.compile(r'[^\s."\[\]{}<>*$]+')
Order = Callable[[Any, Any], Any]
_ORDER: Final[Mapping[type[ast.cmpop], Order]] = {ast.Lt: lt, ast.LtE: le, ast.Gt: gt, ast.GtE: ge}


class ConditionError(Exception):
    """A condition could not be evaluated; carries nothing, because values are client data."""


class Condition(Struct, frozen=True, eq=False):
    """A parsed condition.

    Attributes:
        reads: record paths it reads, in order of first mention.
        claims: subject paths it reads.
        bind: makes the check for one actor, given where in ``values`` each record path stands.
    """

    text: str
    reads: tuple[str, ...]
    claims: tuple[str, ...]
    bind: Bind


def parse(text: str) -> Condition:
    """Reads a condition.

    Raises:
        NotationError: it is not of this language.
    """
    reader = _Reader()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            tree = ast.parse(" ".join(text.split()), mode="eval").body
        bind = reader.boolean(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError, Warning):
        mend = "such as subject.id in record.rm_ids"
        raise NotationError("the condition is not an expression", mend) from None
    return Condition(text, tuple(reader.reads), tuple(reader.claims), bind)


class _Operand(Struct, frozen=True):
    """``kind`` is ``record | subject | literal``."""

    kind: str
    path: tuple[str, ...] = ()
    value: object = None

    def get(self, actor: Principal, positions: Mapping[str, int]) -> Get:
        if self.kind == "record":
            position = positions[join(self.path)]
            return lambda values: values[position]
        constant = attribute(actor, self.path) if self.kind == "subject" else self.value
        return lambda values: constant


class _Reader:
    """Turns a syntax tree into binders, and notes what it reads."""

    def __init__(self) -> None:
        self.reads: dict[str, None] = {}
        self.claims: dict[str, None] = {}

    def boolean(self, node: ast.expr) -> Bind:
        if isinstance(node, ast.BoolOp):
            return _junction(isinstance(node.op, ast.And), [self.boolean(part) for part in node.values])
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return _negation(self.boolean(node.operand))
        if isinstance(node, ast.Compare):
            return self._comparison(node)
        if isinstance(node, ast.Call):
            return self._has(node)
        return _truth(self._operand(node))

    def _comparison(self, node: ast.Compare) -> Bind:
        if len(node.ops) != 1:
            raise NotationError("a chain of comparisons", "join two comparisons with `and`")
        operator, right_node = type(node.ops[0]), node.comparators[0]
        if operator in (ast.In, ast.NotIn):
            return _membership(self._operand(node.left), self._container(right_node), operator is ast.NotIn)
        left, right = self._operand(node.left), self._operand(right_node)
        if operator in (ast.Eq, ast.NotEq):
            return _equality(left, right, operator is ast.NotEq)
        if operator in _ORDER:
            return _ordering(_ORDER[operator], left, right)
        raise NotationError("this comparison is not in the language", "== != < <= > >= in, not in")

    def _has(self, node: ast.Call) -> Bind:
        if not (isinstance(node.func, ast.Name) and node.func.id == "has"):
            raise NotationError("has() is the only function", "has(record.branch)")
        if len(node.args) != 1 or node.keywords:
            raise NotationError("has() takes one path", "has(record.branch)")
        operand = self._operand(node.args[0])
        if operand.kind == "literal":
            raise NotationError("has() takes a path", "has(record.branch)")
        return _presence(operand)

    def _container(self, node: ast.expr) -> _Operand:
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
            return _Operand("literal", (), tuple(self._literal(item) for item in node.elts))
        operand = self._operand(node)
        if operand.kind == "literal":
            raise NotationError("`in` needs a list", 'record.branch in ["east", "west"]')
        return operand

    def _operand(self, node: ast.expr) -> _Operand:
        path = _path(node)
        if path is None or path in (("true",), ("false",), ("null",)):
            return _Operand("literal", (), self._literal(node))
        root, rest = path[0], path[1:]
        if root not in ("subject", "record"):
            mend = nearest(root, ("subject", "record")) if len(path) > 1 else "put texts in quotes"
            raise NotationError(f"`{root[:40]}` is neither subject nor record", mend)
        if not rest:
            raise NotationError(f"`{root}` alone is not a value", f"name what of it: {root}.id")
        record_value(join(rest))
        noted = self.reads if root == "record" else self.claims
        noted[join(rest)] = None
        return _Operand(root, rest)

    def _literal(self, node: ast.expr) -> str | int | Decimal | bool:
        if isinstance(node, ast.Name) and node.id in ("true", "false"):
            return node.id == "true"
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            number = self._literal(node.operand)
            if isinstance(number, int | Decimal) and not isinstance(number, bool):
                return -number
        value = node.value if isinstance(node, ast.Constant) else None
        if isinstance(value, str | int | float):
            return Decimal(repr(value)) if isinstance(value, float) else value
        if isinstance(node, ast.Constant) or (isinstance(node, ast.Name) and node.id == "null"):
            raise NotationError("nothing equals null", "ask with has(…) or not has(…)")
        raise NotationError(
            "only paths, texts, numbers, true and false may be compared", "subject.id == record.owner"
        )


def _path(node: ast.expr) -> tuple[str, ...] | None:
    """``record.a["b"]`` as ``("record", "a", "b")``; None for what is no path."""
    key: object
    if isinstance(node, ast.Name):
        return (node.id,)
    if isinstance(node, ast.Attribute):
        base, key = _path(node.value), node.attr
    elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        base, key = _path(node.value), node.slice.value
    else:
        return None
    return (*base, key) if base is not None and isinstance(key, str) else None


def join(path: Sequence[str]) -> str:
    """A record path in the notation of field paths."""
    return ".".join(key if _PLAIN.fullmatch(key) else f'"{key}"' for key in path)


def attribute(actor: Principal, path: Sequence[str]) -> object:
    """What the subject has at the path, null where it has nothing; its own names go before its claims."""
    if path[0] in OWN:
        value: object = getattr(actor, path[0])
    else:
        value = actor.attributes.get(path[0])
    for key in path[1:]:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


# -- what the operators mean -----------------------------------------------------------------------------


def same(a: object, b: object) -> bool:
    """Equality of the language."""
    if a is MISSING or b is MISSING:
        raise ConditionError
    if a is None or b is None:
        return False
    kinds = (type(a), type(b))
    if bool in kinds:
        if kinds != (bool, bool):
            raise ConditionError
    elif str in kinds:
        if int in kinds:
            return str(a) == str(b)
        if kinds != (str, str):
            raise ConditionError
    elif not (_number(a) and _number(b)):
        raise ConditionError
    return a == b


def _member(item: object, container: object) -> bool:
    if isinstance(container, list | tuple | set | frozenset):
        if item is MISSING:
            raise ConditionError
        return _holds(container, item)
    if container is None and item is not MISSING:
        return False
    raise ConditionError


def _holds(container: Iterable[object], item: object) -> bool:
    """Whether one equals; if none does, one that does not compare is a failure."""
    failed = False
    for other in container:
        try:
            if same(item, other):
                return True
        except ConditionError:
            failed = True
    if failed:
        raise ConditionError
    return False


def _number(value: object) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _compare(order: Order, a: object, b: object) -> bool:
    if not ((isinstance(a, str) and isinstance(b, str)) or (_number(a) and _number(b))):
        raise ConditionError
    return bool(order(a, b))


# -- binders ---------------------------------------------------------------------------------------------


def _junction(conjunction: bool, parts: Sequence[Bind]) -> Bind:
    first, second = parts[0], parts[1] if len(parts) == 2 else _junction(conjunction, parts[1:])

    def bind(actor: Principal, positions: Mapping[str, int]) -> Check:
        a, b = first(actor, positions), second(actor, positions)
        if conjunction:
            return lambda values: a(values) and b(values)
        return lambda values: a(values) or b(values)

    return bind


def _negation(part: Bind) -> Bind:
    def bind(actor: Principal, positions: Mapping[str, int]) -> Check:
        check = part(actor, positions)
        return lambda values: not check(values)

    return bind


def _truth(operand: _Operand) -> Bind:
    def bind(actor: Principal, positions: Mapping[str, int]) -> Check:
        get = operand.get(actor, positions)

        def check(values: Sequence[object]) -> bool:
            value = get(values)
            if isinstance(value, bool):
                return value
            raise ConditionError

        return check

    return bind


def _presence(operand: _Operand) -> Bind:
    def bind(actor: Principal, positions: Mapping[str, int]) -> Check:
        get = operand.get(actor, positions)
        return lambda values: (value := get(values)) is not None and value is not MISSING

    return bind


def _ordering(order: Order, left: _Operand, right: _Operand) -> Bind:
    def bind(actor: Principal, positions: Mapping[str, int]) -> Check:
        a, b = left.get(actor, positions), right.get(actor, positions)
        return lambda values: _compare(order, a(values), b(values))

    return bind


def _equality(left: _Operand, right: _Operand, negated: bool) -> Bind:
    if left.kind == "record" and right.kind != "record":
        left, right = right, left

    def bind(actor: Principal, positions: Mapping[str, int]) -> Check:
        a, b = left.get(actor, positions), right.get(actor, positions)
        if left.kind == "record" or right.kind != "record":
            return lambda values: same(a(values), b(values)) is not negated
        return _equals(a(()), positions[join(right.path)], negated)

    return bind


def _equals(known: object, position: int, negated: bool) -> Check:
    """The commonest conditions, ``subject.x == record.y``, without a detour when both are of one sort."""
    kind = type(known) if type(known) in (str, int) else None

    def check(values: Sequence[object]) -> bool:
        value = values[position]
        if type(value) is kind:
            return (value == known) is not negated
        return same(known, value) is not negated

    def null(values: Sequence[object]) -> bool:
        if values[position] is MISSING:
            raise ConditionError
        return negated

    return null if known is None else check


def _membership(item: _Operand, container: _Operand, negated: bool) -> Bind:
    def bind(actor: Principal, positions: Mapping[str, int]) -> Check:
        a, b = item.get(actor, positions), container.get(actor, positions)
        if item.kind == "record" and container.kind == "subject":
            return _among(b(()), positions[join(item.path)], negated)
        if item.kind == "record" or container.kind != "record":
            return lambda values: _member(a(values), b(values)) is not negated
        return _contains(a(()), positions[join(container.path)], negated)

    return bind


def _among(known: object, position: int, negated: bool) -> Check:
    """Idem for ``record.id in subject.clients``: hundreds of texts are looked up in, not looked through."""
    texts: frozenset[str] = frozenset()
    if isinstance(known, frozenset) and all(type(one) is str for one in known):
        texts = known

    def check(values: Sequence[object]) -> bool:
        value = values[position]
        if texts and type(value) in (str, int):
            return (str(value) in texts) is not negated
        return _member(value, known) is not negated

    return check


def _contains(known: object, position: int, negated: bool) -> Check:
    """Idem for ``subject.x in record.list``: a list of texts needs no look at each."""
    text = type(known) is str

    def check(values: Sequence[object]) -> bool:
        value = values[position]
        if text and type(value) is list:
            if known in value:
                return not negated
            for item in value:
                if type(item) is not str:
                    break
            else:
                return negated
        return _member(known, value) is not negated

    return check
