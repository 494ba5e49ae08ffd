"""Two records that differ only in what is withheld give the same bytes, lengths and disclosures."""

from __future__ import annotations

import json
from collections.abc import Mapping

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from privguard.masking import compile_masker
from privguard.model import Decision, Mask, ResourceShape, View
from tests.unit.masking.plans import ACTOR, TOOLS, Plan, spec
from tests.unit.masking.shapes import ID, INNER_FIELDS, Twin, objects, rulings_of, specs, trees, values_of

SETTINGS = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def by_path(ruling: Decision) -> Mapping[str, View]:
    return {view.spec.path: view.view for view in ruling.fields}


@SETTINGS
@given(st.data())
def test_what_is_withheld_changes_nothing(data: st.DataObject) -> None:
    tree = data.draw(objects(trees()))
    fields = (spec(f'"{ID}"'), *specs(tree))
    nulls = data.draw(st.sampled_from(("absent", "null")))
    shape = ResourceShape("outer", "client", ("$.items[*]",), fields, id=f'"{ID}"', withheld_as=nulls)
    [inner] = data.draw(rulings_of(INNER_FIELDS))[:1]
    plans: dict[str, Plan] = {}
    inner_shape = ResourceShape("inner", "person", (), INNER_FIELDS, withheld_as=nulls)
    plans["inner"] = Plan(inner_shape, [inner], nested=plans)
    rulings = data.draw(rulings_of(fields))
    which = data.draw(st.integers(0, len(rulings) - 1))
    plan = Plan(shape, rulings, reads=("which",), choose=lambda values: int(str(values[0])), nested=plans)
    masker = compile_masker(plan, TOOLS)

    twin = Twin(data.draw, fields, by_path(rulings[which]), by_path(inner))
    value = data.draw(values_of(tree).filter(lambda drawn: isinstance(drawn, dict)))
    other = twin.of(tree, value)
    known = {ID: "c1", "which": which}
    bodies = [json.dumps({"items": [known | value]}), json.dumps({"items": [other | known]})]
    one, two = (masker.json(body.encode(), ACTOR, {}) for body in bodies)
    assert one.body == two.body, bodies
    assert one.disclosures == two.disclosures


@SETTINGS
@given(st.text(max_size=30), st.text(max_size=30), st.integers(), st.integers())
def test_lengths_of_hidden_parts_do_not_show(one: str, two: str, first: int, second: int) -> None:
    """Values that do not have the form an operator knows are all alike."""
    names = ("pan_last4", "pan_bin_last4", "cn_id_1_1", "year", "iban")
    fields = (
        spec("id"),
        *(spec(name, name) for name in names),
        spec("c", Mask("constant", (("text", "-"),))),
    )
    masker = compile_masker(Plan(ResourceShape("r", "client", ("$",), fields)), TOOLS)
    bodies = [
        json.dumps({"id": "c1"} | dict.fromkeys((*names, "c"), value)).encode()
        for value in (f"~{one}", f"~{two}", f"~{first}", f"~{second}")
    ]
    assert len({masker.json(body, ACTOR, {}).body for body in bodies}) == 1
