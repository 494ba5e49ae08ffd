"""Non-interference, through the ASGI stack: an answer never depends on what the actor may not see.

Two upstream answers that differ only in withheld fields that no condition reads (in value, type, presence,
order, length, or in headers) give byte-identical responses; a masked field's response depends only on what
its mask is documented to keep.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from privguard.asgi import PrivacyMiddleware
from privguard.guard import Door, Guard, Limits
from privguard.model import Principal
from privguard.testing import guard_core
from tests.flow.asgi_caller import Response, call, canned

NAMES = ("f0", "f1", "f2", "f3", "f4", "f5")
MASKS = (
    "cn_mobile_3_4",
    "cn_id_1_1",
    "email",
    "year",
    "pan_last4",
    "{constant: '***'}",
    "withhold",
    "scan",
    "band",
)
VIEWS = ("clear", "masked", "withheld")
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**20), 10**20), st.text(max_size=12),
    st.sampled_from(["13800138000", "110101199003074514", "a@b.example", "2001-02-03", "4111111111111111"]),
)  # fmt: skip
anything = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
)


class Actor:
    """Everybody is this member of staff."""

    async def identify(self, target: object, headers: object, body: bytes) -> Principal:
        return Principal(id="rm1", roles=frozenset({"rm"}), branch="north")


@st.composite
def policies(draw: st.DrawFn) -> tuple[str, dict[str, str]]:
    """A policy over six fields, and the view each leaves in for records of the actor's branch."""
    masks = {name: draw(st.sampled_from(MASKS)) for name in NAMES}
    views = {name: draw(st.sampled_from(VIEWS)) for name in NAMES}
    shown = {view: [f"c_{n}" for n in NAMES if views[n] == view] for view in ("clear", "masked")}
    show = ", ".join(f"{view}: [{', '.join(names)}]" for view, names in shown.items() if names)
    absent = draw(st.sampled_from(["absent", "null"]))
    rules = (
        f"  - {{id: look, roles: [rm], relation: near, purpose: [service], show: {{{show}}}}}\n"
        if show
        else ""
    )
    text = (
        "privguard: 1\nlevels: [public, C2]\n"
        f"defaults: {{purpose: service, withheld_as: {absent}}}\n"
        "classes:\n"
        + "".join(f"  c_{n}: {{level: C2, mask: {m}}}\n" for n, m in masks.items())
        + "  c_plain: {level: C2, mask: withhold}\n"
        "resources:\n  client:\n"
        '    match: ["GET /clients", "GET /clients/{id}"]\n'
        '    records: ["$.items[*]", "$.client"]\n    id: id\n    envelope: {page: public, total: count}\n'
        "    fields:\n      id: public\n      plain: c_plain\n"
        + "".join(f"      {n}: c_{n}\n" for n in NAMES)
        + "relations:\n  near: subject.branch == record.branch\nrules:\n"
        "  - {id: base, roles: [rm], relation: near, purpose: [service], show: {clear: [c_plain]}}\n" + rules
    )
    return text, views


def respond(
    policy: str, answer: Any, path: str, headers: tuple[tuple[bytes, bytes], ...] = (), held: int = 1_048_576
) -> Response:
    core, _ = guard_core(policy)
    core.door = Door(identity=Actor(), limits=Limits(answer=held))
    body = json.dumps(answer, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return call(PrivacyMiddleware(canned(body, headers=headers), Guard(core)), "GET", path)


@st.composite
def twins(draw: st.DrawFn) -> tuple[str, Any, Any, str]:
    """A policy and two answers that differ only in what is withheld and what no condition reads."""
    policy, views = draw(policies())
    hidden = [n for n in NAMES if views[n] == "withheld"]

    def record(number: int) -> tuple[dict[str, Any], dict[str, Any]]:
        seen = {n: draw(scalars) for n in NAMES if views[n] != "withheld" and draw(st.booleans())}
        seen |= {"id": number, "plain": draw(scalars), "branch": draw(st.sampled_from(["north", "south"]))}
        pair = []
        for _ in range(2):
            secret = {n: draw(anything) for n in hidden if draw(st.booleans())}
            secret |= {f"unclassified{k}": draw(anything) for k in range(draw(st.integers(0, 2)))}
            keys = draw(st.permutations([*seen, *secret]))
            pair.append({k: {**secret, **seen}[k] for k in keys})
        return pair[0], pair[1]

    records = [record(number) for number in range(1, draw(st.integers(1, 3)) + 1)]
    if draw(st.booleans()):
        one, two = ({"items": [r[side] for r in records], "page": 1} for side in (0, 1))
        two = {**two, "total": draw(st.integers(0, 999)), "facets": draw(anything)}
        return policy, one, two, "/clients"
    return policy, {"client": records[0][0]}, {"client": records[0][1]}, "/clients/1"


@settings(max_examples=150, deadline=None)
@given(twins())
def test_what_is_withheld_changes_nothing(case: tuple[str, Any, Any, str]) -> None:
    policy, one, two, path = case
    first = respond(policy, one, path)
    second = respond(policy, two, path, headers=((b"etag", b'"1"'), (b"x-total", b"7"), (b"link", b"<x>")))
    assert first.comparable() == second.comparable()
    if path == "/clients":  # the same, too large to be held: masked in parts
        parts = [respond(policy, answer, path, held=1) for answer in (one, two)]
        assert parts[0].comparable() == parts[1].comparable()


KEPT = {
    "cn_mobile_3_4": (("13812345678", "13800005678"), "138****5678"),
    "cn_id_1_1": (("110101199003074514", "120102198011115514"), None),
    "year": (("2001-02-03", "2001-12-31"), "2001"),
    "pan_last4": (("4111111111111111", "5500000000001111"), None),
    "band": ((120000, 130000.55), None),
    "email": (("li.na@bank.example", "lou@bank.example"), None),
    "cjk_name": (("欧阳明月", "欧阳修"), None),
    "{partial: {first: 1, last: 2}}": (("abcdef99", "a-different-one99"), None),
    "{constant: '***'}": (("anything", "else entirely"), "***"),
}


def test_a_masked_field_tells_only_what_its_mask_keeps() -> None:
    for mask, (values, rendered) in KEPT.items():
        policy = (
            "privguard: 1\nlevels: [public, C2]\ndefaults: {purpose: service}\n"
            f"classes: {{c: {{level: C2, mask: {mask}}}}}\n"
            'resources:\n  client:\n    match: ["GET /clients/{id}"]\n    records: ["$.client"]\n    id: id\n'
            "    fields: {id: public, v: c}\n"
            "rules:\n  - {id: look, roles: [rm], purpose: [service], show: {masked: [c]}}\n"
        )
        first, second = (respond(policy, {"client": {"id": 1, "v": v}}, "/clients/1") for v in values)
        assert first.status == 200, (mask, first.body)
        assert first.comparable() == second.comparable(), mask
        shown = json.loads(first.body)["client"]["v"]
        assert shown not in values
        assert rendered is None or shown == rendered


def test_the_two_answers_do_differ_where_the_actor_may_see() -> None:
    """The test above can fail: a field that leaves clear does change the answer."""
    policy = (
        "privguard: 1\nlevels: [public, C2]\ndefaults: {purpose: service}\n"
        "classes: {c: {level: C2, mask: withhold}}\n"
        'resources:\n  client:\n    match: ["GET /clients/{id}"]\n    records: ["$.client"]\n    id: id\n'
        "    fields: {id: public, v: c}\n"
        "rules:\n  - {id: look, roles: [rm], purpose: [service], show: {clear: [c]}}\n"
    )
    one, two = (respond(policy, {"client": {"id": 1, "v": v}}, "/clients/1") for v in ("a", "b"))
    assert one.comparable() != two.comparable()
