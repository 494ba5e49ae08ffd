"""Generated shapes, rulings and records for the laws of masking."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from privguard.model import Decision, FieldSpec, Mask, ResourceShape, View
from tests.unit.masking.plans import CHALLENGED, DENIED, Plan, permit, spec

NAMES = ("a", "b", "c", "名", "d.e")
MASKS = (
    "clear", "withhold", "cn_mobile_3_4", "cn_id_1_1", "cjk_name", "email", "year", "band", "scan",
    "hash_token", "pan_last4", Mask("partial", (("first", 1), ("last", 2))),
    Mask("constant", (("text", "x"),)), Mask("age_band", (("width", 5),)), None,
)  # fmt: skip
VIEWS = (View.WITHHELD, View.TOKEN, View.MASKED, View.CLEAR)
TEXTS = (
    '"13800138000"', '"张三丰"', '"\\u5f20\\u4e09"', '"1985-04-12"', '"2000-02-30T00:00:00Z"',
    '"zhang@example.com"', '"11010519491231002X"', '"6222000000000018"', '"call 138-0013-8000 [now] {ok}"',
    '""', '"\\n\\"\\\\"',
    '"１３８００１３８０００"', '"\\ud83d\\ude00"', '"12.50"', '"{\\"a\\":1}"', '"[1,2]"', '"nope{"',
)  # fmt: skip
NUMBERS = (
    "0", "-0", "17", "13800138000", "100.00", "-0.0", "1E400", "1e-400", "99999.99999999999999999", "1.50E+2",
    "1" * 40, "1" * 5000,
)  # fmt: skip
OTHERS = ("true", "false", "null", "{}", "[]", '{"x":{"y":[1]}}', "[1,[2],{}]", '[{"a":1},null]')
SCALARS = st.sampled_from(TEXTS + NUMBERS + OTHERS[:3])
ANYTHING = st.sampled_from(TEXTS + NUMBERS + OTHERS)


@dataclass
class Tree:
    """A node of a generated shape: ``kind`` is leaf, object, array, map, text or nested."""

    kind: str
    named: dict[str, Tree] = field(default_factory=dict)
    inside: Tree | None = None
    cls: str | None = None
    mask: Any = None


def trees(depth: int = 3) -> st.SearchStrategy[Tree]:
    """Objects of up to ``depth`` levels."""
    leaf = st.builds(lambda mask: Tree("leaf", mask=mask), st.sampled_from(MASKS))
    if depth == 0:
        return leaf
    inner = trees(depth - 1)
    return st.one_of(
        leaf,
        objects(inner),
        st.builds(lambda inside: Tree("array", inside=inside), inner),
        st.builds(lambda inside: Tree("text", inside=inside), inner),
        st.builds(
            lambda inside, cls: Tree("map", inside=inside, cls=cls),
            inner,
            st.sampled_from((None, "key", "public")),
        ),
        st.just(Tree("nested")),
    )


def objects(inner: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    """Objects with some of a few member names."""
    members = st.dictionaries(st.sampled_from(NAMES), inner, min_size=1, max_size=4)
    return members.map(lambda named: Tree("object", named=named))


def specs(tree: Tree, path: str = "") -> list[FieldSpec]:
    """The field specs that a policy would hold for the tree."""
    if tree.kind == "leaf":
        return [spec(path, tree.mask, cls="key" if tree.mask in ("clear", "email") else None)]
    if tree.kind == "nested":
        return [spec(path, nested="inner")]
    if tree.kind == "object":
        pairs = [(f'"{name}"' if "." in name else name, child) for name, child in tree.named.items()]
        return [each for name, child in pairs for each in specs(child, f"{path}.{name}" if path else name)]
    suffix = {"array": "[*]", "text": "{json}", "map": ".*" if tree.cls is None else f".<{tree.cls}>"}[
        tree.kind
    ]
    return specs(_inside(tree), path + suffix)


def _inside(tree: Tree) -> Tree:
    if tree.inside is None:
        raise TypeError(tree.kind)
    return tree.inside


INNER_FIELDS = (
    spec("id"),
    spec("mobile", "cn_mobile_3_4"),
    spec("secret", "withhold"),
    spec("inner", nested="inner"),
)
ID = "the id"


@st.composite
def rulings_of(draw: st.DrawFn, fields: Sequence[FieldSpec], least: int = 1) -> list[Decision]:
    """Rulings with any views."""
    return [
        permit(fields, {each.path: draw(st.sampled_from(VIEWS)) for each in fields}, rules=(f"r{number}",))
        for number in range(draw(st.integers(least, 3)))
    ]


def choose_by(rulings: Sequence[Decision]) -> Callable[[Sequence[object]], int]:
    """A choice that depends on the values read and on nothing else."""
    return lambda values: len(repr(list(values))) % len(rulings)


@dataclass
class World:
    """A generated shape with its plan."""

    tree: Tree
    shape: ResourceShape
    plan: Plan


@st.composite
def worlds(draw: st.DrawFn, *, reads: bool = True, refusals: bool = True) -> World:
    """Plans over generated shapes, with nested records of another resource."""
    tree = draw(objects(trees()))
    fields = (spec(f'"{ID}"'), *specs(tree))
    nulls = draw(st.sampled_from(("absent", "null")))
    places = ("$.items[*]", "$.one", "$.wraps[*].row", *draw(st.sampled_from(((), ("$", "$[*]")))))
    shape = ResourceShape(
        "outer", "client", places, fields, id=f'"{ID}"',
        envelope=(("total", "count"), ("page.next", "public")), withheld_as=nulls,
    )  # fmt: skip
    inner_shape = ResourceShape("inner", "person", (), INNER_FIELDS, withheld_as=nulls)
    others = [DENIED, CHALLENGED] if refusals else []
    inner_rulings = draw(rulings_of(INNER_FIELDS)) + others
    maskers: dict[str, Plan] = {}
    maskers["inner"] = Plan(
        inner_shape, inner_rulings, reads=("secret",) if reads else (),
        choose=choose_by(inner_rulings) if reads else None, nested=maskers,
    )  # fmt: skip
    rulings = draw(rulings_of(fields)) + others
    readable = [name for name in NAMES if "." not in name]
    read = (
        tuple(draw(st.lists(st.sampled_from([*readable, "a.b", "zz"]), unique=True, max_size=3)))
        if reads
        else ()
    )
    plan = Plan(
        shape, rulings, reads=read, choose=choose_by(rulings) if read else None, nested=maskers,
        sees_all=draw(st.booleans()),
    )  # fmt: skip
    return World(tree, shape, plan)


# -- records as JSON text -----------------------------------------------------------------------------------


@st.composite
def texts_of(draw: st.DrawFn, tree: Tree) -> str:
    """JSON text that mostly fits the tree."""
    if draw(st.integers(0, 9)) == 0:
        return draw(ANYTHING)
    if tree.kind == "leaf":
        return draw(SCALARS)
    if tree.kind == "nested":
        return draw(inner_records())
    if tree.kind == "object":
        present = [name for name in tree.named if draw(st.integers(0, 5))]
        pairs = [(name, draw(texts_of(tree.named[name]))) for name in draw(st.permutations(present))]
        if draw(st.booleans()):
            pairs.append(("unknown", draw(ANYTHING)))
        return draw(written(pairs))
    count = draw(st.integers(0, 3))
    inside = [draw(texts_of(_inside(tree))) for _ in range(count)]
    if tree.kind == "array":
        return f"[{' , '.join(inside)}]"
    if tree.kind == "text":
        return json.dumps(inside[0] if inside else "{oops", ensure_ascii=draw(st.booleans()))
    keys = draw(
        st.lists(st.sampled_from(("x", "13800138000", "张", "1", "2")), min_size=count, max_size=count)
    )
    return draw(written(list(zip(keys, inside, strict=True))))


@st.composite
def written(draw: st.DrawFn, pairs: Sequence[tuple[str, str]]) -> str:
    """An object, its keys spelled plainly or escaped."""
    ascii_only = draw(st.booleans())
    return (
        "{" + ", ".join(f"{json.dumps(key, ensure_ascii=ascii_only)}: {value}" for key, value in pairs) + "}"
    )


def inner_records() -> st.SearchStrategy[str]:
    """Records of the resource that stands inside."""
    secrets = SCALARS.map(lambda text: f'"secret": {text}')
    mobiles = SCALARS.map(lambda text: f'"mobile": {text}')
    ids = st.sampled_from(('"id": "p1"', '"id": 7', '"id": "p2"', '"x": 1'))
    deeper = st.sampled_from(('"inner": {"id": "q", "mobile": "13900139000"}', '"inner": null', '"y": []'))
    return st.tuples(ids, mobiles, secrets, deeper).map(lambda parts: "{" + ", ".join(parts) + "}")


@st.composite
def records_of(draw: st.DrawFn, tree: Tree) -> str:
    """A record with its id, most of the time."""
    text = draw(texts_of(Tree("object", named=tree.named)))
    if not text.startswith("{"):
        return text
    identity = draw(st.sampled_from(('"c1"', '"c2"', "3", "-0", "4.5", "null", '"c1"', '"c1"', '"c9"')))
    rest = text[1:-1]
    return f'{{"{ID}": {identity}{", " if rest.strip() else ""}{rest}}}'


@st.composite
def bodies_of(draw: st.DrawFn, tree: Tree) -> bytes:
    """Answers: lists, single records, wrapped records, and what stands beside them."""
    form = draw(st.integers(0, 9))
    if form == 0:
        return draw(records_of(tree)).encode()
    if form == 1:
        return f"[{', '.join(draw(st.lists(records_of(tree), max_size=4)))}]".encode()
    parts = []
    if draw(st.integers(0, 4)):
        parts.append(f'"items": [{", ".join(draw(st.lists(records_of(tree), max_size=4)))}]')
    if draw(st.integers(0, 4)) == 0:
        parts.append(f'"one": {draw(records_of(tree))}')
    if draw(st.integers(0, 4)) == 0:
        rows = [f'{{"row": {each}, "note": 1}}' for each in draw(st.lists(records_of(tree), max_size=2))]
        parts.append(f'"wraps": [{", ".join(rows)}]')
    parts += [
        f'"total": {draw(ANYTHING)}',
        f'"page": {{"next": {draw(ANYTHING)}}}',
        f'"facets": {draw(ANYTHING)}',
    ]
    return ("{" + ", ".join(draw(st.permutations(parts))) + "}").encode()


# -- two records that differ only in what is withheld -------------------------------------------------------

ATOMS = st.sampled_from(
    (
        "13800138000",
        "13900139000",
        "张三丰",
        "1985-04-12",
        "a@b.example",
        17,
        100.5,
        True,
        None,
        "",
        "{",
        "x" * 40,
    )
)
JUNK = st.one_of(
    ATOMS, st.lists(ATOMS, max_size=3), st.dictionaries(st.sampled_from(NAMES), ATOMS, max_size=3)
)
ABSENT = object()


def is_shown(tree: Tree, views: Mapping[str, View], path: str = "") -> bool:
    """Whether any part of the tree leaves under these views."""
    return any(each.nested or leaves(each, views[each.path]) for each in specs(tree, path))


def leaves(each: FieldSpec, view: View) -> bool:
    """Whether a field leaves in this view."""
    return view in (View.TOKEN, View.CLEAR) or (view is View.MASKED and each.mask.operator != "withhold")


@st.composite
def values_of(draw: st.DrawFn, tree: Tree) -> Any:
    """A value that mostly fits the tree."""
    if draw(st.integers(0, 11)) == 0:
        return draw(JUNK)
    if tree.kind == "leaf":
        return draw(ATOMS)
    if tree.kind == "nested":
        return {"id": draw(st.sampled_from(("p1", "p2"))), "mobile": draw(ATOMS), "secret": draw(ATOMS)}
    if tree.kind == "object":
        return {name: draw(values_of(child)) for name, child in tree.named.items() if draw(st.integers(0, 3))}
    inside = [draw(values_of(_inside(tree))) for _ in range(draw(st.integers(0, 3)))]
    if tree.kind == "array":
        return inside
    if tree.kind == "text":
        return json.dumps(inside[0]) if inside else "{"
    return {f"key{number}": each for number, each in enumerate(inside)}


class Twin:
    """Changes everything in a value that is withheld under these views, and nothing else.

    Args:
        draw: Hypothesis's.
        views: the view of each of the fields of the record.
        inner: the view of each field of a nested record.
    """

    def __init__(
        self,
        draw: Callable[..., Any],
        fields: Sequence[FieldSpec],
        views: Mapping[str, View],
        inner: Mapping[str, View],
    ) -> None:
        self._draw = draw
        self._fields = fields
        self._views = views
        self._inner = inner

    def of(self, tree: Tree, value: Any, path: str = "") -> Any:
        """The twin; ABSENT where it may as well not be there."""
        if tree.kind != "nested" and path and not is_shown(tree, self._views, path):
            return ABSENT if self._draw(st.booleans()) else self._draw(JUNK)
        if tree.kind == "leaf":
            return value
        if tree.kind == "object":
            return self._object(tree, value, path)
        if tree.kind == "nested":
            return self._nested(value)
        return self._container(tree, value, path)

    def _object(self, tree: Tree, value: Any, path: str) -> Any:
        if value is ABSENT:
            value = {} if self._draw(st.booleans()) else ABSENT
        if not isinstance(value, dict):
            return value
        twin = {}
        for name, child in tree.named.items():
            below = f'"{name}"' if "." in name else name
            member = self.of(child, value.get(name, ABSENT), f"{path}.{below}" if path else below)
            if member is not ABSENT:
                twin[name] = member
        if self._draw(st.booleans()):
            twin["unknown"] = self._draw(JUNK)
        return dict(self._draw(st.permutations(list(twin.items()))))

    def _nested(self, value: Any) -> Any:
        if not isinstance(value, dict) or "id" not in value:
            return value
        hidden = [
            each.path for each in INNER_FIELDS if not each.nested and not leaves(each, self._inner[each.path])
        ]
        return value | {name: self._draw(JUNK) for name in hidden if name != "id"}

    def _container(self, tree: Tree, value: Any, path: str) -> Any:
        inside, suffix = _inside(tree), {"array": "[*]", "text": "{json}"}.get(tree.kind)
        if tree.kind == "array" and isinstance(value, list):
            return [self._element(inside, each, path + "[*]") for each in value]
        if tree.kind == "text" and isinstance(value, str):
            return self._text(inside, value, f"{path}{suffix}")
        if tree.kind == "map" and isinstance(value, dict):
            below = path + (".*" if tree.cls is None else f".<{tree.cls}>")
            keys = {key: f"{key}{'?' * self._draw(st.integers(0, 9))}" for key in value}
            hidden = tree.cls == "key" and not self._key_is_clear()
            return {
                keys[key] if hidden else key: self._element(inside, each, below)
                for key, each in value.items()
            }
        return value

    def _element(self, tree: Tree, value: Any, path: str) -> Any:
        twin = self.of(tree, value, path)
        return value if twin is ABSENT else twin  # the number of elements is not withheld

    def _text(self, inside: Tree, text: str, path: str) -> str:
        try:
            value = json.loads(text)
        except ValueError:
            return text
        twin = self.of(inside, value, path)
        return text if twin is ABSENT else json.dumps(twin, indent=self._draw(st.sampled_from((None, 2))))

    def _key_is_clear(self) -> bool:
        clear = [
            self._views[each.path] is View.CLEAR
            or (self._views[each.path] is View.MASKED and each.mask.operator == "clear")
            for each in self._fields
            if each.cls.name == "key"
        ]
        return bool(clear) and all(clear)
