"""The linter: what it calls an error does not compile, what it warns of is worth a look."""

from __future__ import annotations

import re
from typing import Any

import pytest

from privguard.model import OPERATORS, Mask
from privguard.policy import InvalidPolicyError, compile_policy, lint, load
from privguard.policy.links import LEAVES, left_by
from tests.unit.policy.samples import CLASSES, FIELDS, RELATIONS, document, text

SHOW = {"id": "r", "roles": ["rm"], "relation": "assigned", "show": {"masked": ["name", "contact", "money"]}}
TOKENS = {"id": "t", "roles": ["rm"], "relation": "same_branch", "show": {"token": ["secret"]}}
SELF = {"id": "s", "forbid": "all", "relation": "flagged"}
CLEAN = [SHOW, TOKENS, SELF]
PLACE = re.compile(r"p\.yaml:[0-9]+:[0-9]+")


def findings(rules: list[dict[str, Any]] | None = None, **over: Any) -> list[str]:
    """Severity and message of each finding; every one has a place."""
    found = lint(load(text(document(CLEAN if rules is None else rules, **over)), "p.yaml"))
    assert all(PLACE.fullmatch(finding.where) for finding in found)
    return [
        f"{finding.severity}: {finding.message}" + (f" ({finding.mend})" if finding.mend else "")
        for finding in found
    ]


def only(rules: list[dict[str, Any]] | None = None, **over: Any) -> str:
    """The one finding."""
    found = findings(rules, **over)
    assert len(found) == 1, found
    return found[0]


def changed(base: dict[str, Any], **over: Any) -> list[dict[str, Any]]:
    """The clean rules, with one that differs from ``base``."""
    return [{**base, **over} if rule is base else rule for rule in CLEAN]


def test_a_clean_policy_has_no_findings() -> None:
    assert findings() == []


def test_a_record_that_is_changed_has_to_be_read_first() -> None:
    match = ["GET /clients/{no}", "PATCH /clients/{no}"]
    says = only(client={"match": match})
    assert says.startswith("warning: `PATCH /clients/{no}` changes a record that cannot be read first")
    assert "call the record's parameter {id}" in says
    assert findings(client={"match": [each.replace("no", "id") for each in match]}) == []


@pytest.mark.parametrize(
    ("rules", "over", "says"),
    [
        (
            changed(SHOW, show={"masked": ["nmae", "contact", "money"]}),
            {},
            "no class to mask `nmae` (did you mean `name`?)",
        ),
        (changed(SHOW, show={"clear": ["nmae"]}), {}, "no class `nmae`"),
        (changed(SHOW, relation="asigned"), {}, "no relation `asigned` (did you mean `assigned`?)"),
        (changed(SHOW, resource=["clinet"]), {}, "no resource `clinet` (did you mean `client`?)"),
        ([*CLEAN, {"id": "f", "forbid": ["moneyy"]}], {}, "no class to forbid `moneyy`"),
        ([*CLEAN, {"id": "f", "forbid": ["public"]}], {}, "no class to forbid `public`"),
        ([*CLEAN, {"id": "f", "reveal": ["public"]}], {}, "no class to reveal `public`"),
        (
            changed(SHOW, show={"masked": ["public"]}),
            {},
            "public fields are in clear for whoever may see the record",
        ),
        (None, {"roles": ["teller"]}, "no role `rm` (known: teller)"),
        (None, {"purposes": ["audit"]}, "no purpose `service`"),
        (changed(SHOW, purpose=["sevice"]), {"purposes": ["service"]}, "no purpose `sevice`"),
        (None, {"defaults": {}}, "no purpose is known (defaults: {purpose: service})"),
        (None, {"roles": ["rm"], "budgets": {"mr": {}}}, "no role `mr`"),
        (
            changed(SHOW, require={"approval": {"role": "bos"}}),
            {"roles": ["rm", "boss"]},
            "did you mean `boss`?",
        ),
        (
            None,
            {"classes": {**CLASSES, "name": {"mask": "email", "level": "C9"}}, "levels": ["C1"]},
            "no level `C9`",
        ),
        (
            None,
            {"classes": {**CLASSES, "name": {"mask": "email", "links": ["nam"]}}},
            "no class to link `nam`",
        ),
        (
            None,
            {"classes": {**CLASSES, "name": {"mask": "email", "links": ["name"]}}},
            "no class to link `name`",
        ),
        (None, {"client": {"fields": {**FIELDS, "x": "contcat"}}}, "did you mean `contact`?"),
        (None, {"client": {"fields": {**FIELDS, "x": {"class": "contcat"}}}}, "did you mean `contact`?"),
        (None, {"client": {"fields": {**FIELDS, "x[*]": {"resource": "cleint"}}}}, "no resource `cleint`"),
        (None, {"client": {"fields": {**FIELDS, "x.<contcat>.y": "name"}}}, "no class `contcat`"),
        (None, {"client": {"media": {"image/png": "foto"}}}, "no class `foto`"),
        (None, {"client": {"params": {"q": ["nmae"]}}}, "no field or class `nmae`"),
        (None, {"client": {"params": {"sort": "sortkeys"}}}, "did you mean `sort-keys`?"),
    ],
)
def test_names_that_nothing_defines_are_errors(
    rules: list[dict[str, Any]] | None, over: dict[str, Any], says: str
) -> None:
    found = findings(rules, **over)
    assert all(finding.startswith("error: ") for finding in found)
    assert any(says in finding for finding in found), found
    with pytest.raises(InvalidPolicyError):
        compile_policy(load(text(document(CLEAN if rules is None else rules, **over))))


def test_break_glass_names_are_checked() -> None:
    glass = {
        "roles": ["mr"],
        "reveal": ["contcat"],
        "require": {"reason": {}},
        "ttl": "5m",
        "alert": ["bos"],
        "review_within": "1d",
    }
    found = findings(roles=["rm", "boss"], break_glass=glass)
    assert len(found) == 3
    never = findings(break_glass={**glass, "reveal": ["secret"]})
    assert never == ["error: `secret` says `reveal: never` (remove it here)"]


@pytest.mark.parametrize(
    ("over", "says"),
    [
        ({"client": {"match": ["GET /a/{id}", "GET /a/{no}"]}}, "`GET /a/{no}` is there already"),
        ({"client": {"match": ["GET /a", "GET /a"]}}, "`GET /a` is there already"),
        (
            {"passthrough": ["GET /clients/{x}"]},
            "passthrough `GET /clients/{x}` overlaps `GET /clients/{id}`",
        ),
        ({"passthrough": ["GET /*"]}, "passthrough `GET /*` overlaps"),
        (
            {
                "client": {
                    "fields": {"name": "name", "mobile": "contact", "balance": "money", "cvv": "secret"}
                }
            },
            "nothing says whose record a `client` is",
        ),
        ({"client": {"id": "{no}"}}, "`GET /clients` has no parameter {no}"),
        ({"client": {"fields": {**FIELDS, "name.x": "name"}}}, "another path says that this is one value"),
        (
            {"client": {"fields": {**FIELDS, "a.b": "name", "a": "name"}}},
            "other paths say that this has parts",
        ),
        ({"client": {"fields": {**FIELDS, '"name"': "name"}}}, "this stands here twice"),
        ({"client": {"fields": {**FIELDS, "a[*]": "name", "a.b": "name"}}}, "something else stands here"),
        (
            {"client": {"fields": {**FIELDS, "a.<contact>": "name", "a.b": "name"}}},
            "something else stands here",
        ),
        (
            {"client": {"fields": {**FIELDS, "a{json}.x": "name", "a.b": "name"}}},
            "something else stands here",
        ),
        (
            {"client": {"records": ["$.items[*]"], "envelope": {"items": "count"}}},
            "other paths say that this has parts",
        ),
        (
            {"client": {"records": ["$.data[*]", "$.data"]}},
            "a list and one record at the same place are two resources",
        ),
        ({"classes": {**CLASSES, "name": {"mask": "clear"}}}, "`clear` is no mask"),
        (
            {"client": {"fields": {**FIELDS, "name": {"class": "name", "mask": "clear"}}}},
            "`clear` is no mask",
        ),
    ],
)
def test_what_cannot_be_is_an_error(over: dict[str, Any], says: str) -> None:
    found = findings(**over)
    assert any(finding.startswith("error") and says in finding for finding in found), found


@pytest.mark.parametrize(
    ("rules", "over", "says"),
    [
        (
            None,
            {"client": {"match": ["GET /a/{x}/c", "GET /a/b/{y}"]}},
            "what is exact further to the left wins",
        ),
        (None, {"classes": {**CLASSES, "spare": {"mask": "email"}}}, "no field is of class `spare`"),
        (
            None,
            {"relations": {**RELATIONS, "spare": "subject.id == record.id"}},
            "no rule uses relation `spare`",
        ),
        (
            None,
            {"relations": {**RELATIONS, "flagged": "subject.clientid == record.id"}},
            "did you mean `client_id`?",
        ),
        (
            None,
            {"classes": {**CLASSES, "name": {"mask": "email", "search": "any"}}},
            "search: exact, or none: prefixes tell it (M01)",
        ),
        (
            None,
            {"classes": {**CLASSES, "money": {"mask": "band", "sort": "allow"}}},
            "the order tells the value (M02)",
        ),
        (
            None,
            {"classes": {**CLASSES, "name": {"mask": {"partial": {"first": 6, "last": 4}}}}},
            "leaves 10 characters",
        ),
        (changed(SHOW, show={"masked": ["name", "contact", "money", "secret"]}), {}, "its mask withholds it"),
        ([*CLEAN, {"id": "all", "show": {"masked": ["name"]}}], {}, "shows every record to everybody"),
        (
            [
                *CLEAN,
                {**SHOW, "id": "dead", "purpose": ["x"]},
                {"id": "f", "forbid": "all", "purpose": ["x"]},
            ],
            {},
            "`dead` can never match: `f` forbids all of it",
        ),
        (
            [
                *CLEAN,
                {**SHOW, "id": "typo", "roles": ["rmm_manager"]},
                {**SHOW, "id": "r2", "roles": ["rm_manager"]},
            ],
            {},
            "role `rm_manager` is almost `rmm_manager`",
        ),
    ],
)
def test_what_is_worth_a_look_is_a_warning(
    rules: list[dict[str, Any]] | None, over: dict[str, Any], says: str
) -> None:
    found = only(rules, **over)
    assert found.startswith("warning: ")
    assert says in found


def test_a_class_that_never_leaves_in_clear_is_shown_so_nowhere() -> None:
    for effect in ({"reveal": ["secret"]}, {"show": {"clear": ["secret"]}}):
        found = findings([*CLEAN, {"id": "x", "roles": ["rm"], **effect}])
        message = "error: rule `x` lets `secret` leave in clear, which says `reveal: never`"
        assert found == [f"{message} (remove it from the rule)"]


def test_a_gate_or_forbid_for_tiers_needs_a_tier_everywhere() -> None:
    over = {
        "resources": {
            "client": document(CLEAN)["resources"]["client"],
            "visit": {"fields": {"id": "public", "x": "name"}},
        }
    }
    gate = {"id": "g", "gate": "all", "tier": ["private"], "require": {"reason": {}}}
    assert "visit has none" in only([*CLEAN, gate], **over)
    assert only([*CLEAN, gate], **over).startswith("error")
    assert findings([*CLEAN, {**gate, "resource": ["client"]}], **over) == []
    permit = {**SHOW, "id": "p", "resource": ["visit"], "tier": ["private"]}
    assert only([*CLEAN, permit], **over).startswith(
        "warning: rule `p` can never match: none of its resources has a tier"
    )


def test_tiers_of_public_interest_need_a_resource_with_a_tier() -> None:
    over = {"resources": {"visit": {"fields": {"id": "public", "x": "name"}}}}
    assert findings([], anomaly={"sensitive": ["private"]}) == findings([])
    assert "error: no resource has a tier (say where it is: `tier: PATH`)" in findings(
        [], anomaly={"sensitive": ["private"]}, **over
    )


def test_a_rule_for_classes_its_resources_do_not_have_never_matches() -> None:
    over = {
        "resources": {
            "client": document(CLEAN)["resources"]["client"],
            "visit": {"fields": {"id": "public", "x": "name"}},
        }
    }
    found = only([*CLEAN, {**SHOW, "id": "v", "resource": ["visit"], "show": {"masked": ["money"]}}], **over)
    assert "rule `v` can never match: its resources have no field of its classes" in found


def test_a_resource_nobody_sees_is_worth_a_look() -> None:
    over = {
        "resources": {
            "client": document(CLEAN)["resources"]["client"],
            "visit": {"fields": {"id": "public", "x": "name"}},
        }
    }
    rules = [{**rule, "resource": ["client"]} for rule in CLEAN]
    assert "no rule shows anything of `visit`" in only(rules, **over)


def test_who_writes_what_rules_decide_by_decides_who_sees() -> None:
    fields = {**FIELDS, "branch": "name"}
    clear = changed(SHOW, show={"clear": ["name"], "masked": ["contact", "money"]})
    assert "rules decide by `branch`" in only(clear, client={"fields": fields})
    listed = {**FIELDS, "rm_ids[*]": "name"}
    assert "rules decide by `rm_ids[*]`" in only(clear, client={"fields": listed})
    assert findings(client={"fields": fields}) == []  # nobody sees it in clear, so nobody may write it
    never = {**CLASSES, "name": {"mask": "email", "write": "never"}}
    assert findings(clear, client={"fields": fields}, classes=never) == []
    assert findings([{**rule, "action": ["read"]} for rule in clear], client={"fields": fields}) == []


# linked classes (M10)

LINKED = {
    "name": {"mask": "year"},
    "contact": {"mask": "cn_id_1_1", "links": ["name"]},
    **{k: CLASSES[k] for k in ("money", "secret")},
}


def linked(*shows: dict[str, Any], **masks: Any) -> list[str]:
    """Findings on a birth date (name) linked with an identity number (contact), for these show rules."""
    classes = {name: {**spec, **masks.get(name, {})} for name, spec in LINKED.items()}
    rules = [{"id": f"r{n}", "roles": ["rm"], "relation": "assigned", **show} for n, show in enumerate(shows)]
    rest = {
        "id": "rest",
        "roles": ["x"],
        "relation": "same_branch",
        "show": {"masked": ["money"], "token": ["secret"]},
    }
    return findings([*rules, rest, SELF], classes=classes)


BOTH_MASKED = {"show": {"masked": ["name", "contact"]}}
MANY = {"mask": {"partial": {"first": 6, "last": 2}}}


def test_the_masks_of_a_resident_number_and_a_birth_year_leave_enough_open() -> None:
    assert linked(BOTH_MASKED) == []


@pytest.mark.parametrize(
    "shows",
    [
        [{"show": {"clear": ["name"], "masked": ["contact"]}}],
        [{"show": {"clear": ["contact"], "masked": ["name"]}}],
        [{"show": {"masked": ["contact"]}}, {"show": {"clear": ["name"]}}],
        [{"show": {"masked": ["contact"]}}, {"show": {"clear": ["name"]}, "roles": ["rm", "y"]}],
        [
            {"show": {"masked": ["contact"]}, "purpose": ["a"]},
            {"show": {"clear": ["name"]}, "purpose": ["b"]},
        ],
    ],
)
def test_a_clear_value_beside_its_linked_mask_is_refused(shows: list[dict[str, Any]]) -> None:
    found = linked(*shows)
    assert len(found) == 1
    assert "error: `contact` and `name` reveal each other for rm" in found[0]


@pytest.mark.parametrize(
    "shows",
    [
        [{"show": {"clear": ["name", "contact"]}}],
        [{"show": {"clear": ["name"], "token": ["contact"]}}],
        [{"show": {"masked": ["contact"]}}, {"show": {"clear": ["name"]}, "roles": ["y"]}],
        [{"show": {"masked": ["contact"]}}, {"show": {"clear": ["name"]}, "action": ["create"]}],
        [{"show": {"masked": ["contact"]}}, {"reveal": ["name"]}],
    ],
)
def test_what_adds_nothing_to_a_linked_mask_is_not(shows: list[dict[str, Any]]) -> None:
    assert linked(*shows) == []


def test_masks_that_leave_too_much_between_them_are_refused() -> None:
    assert "reveal each other" in linked(BOTH_MASKED, contact=MANY)[0]
    assert linked(BOTH_MASKED, contact=MANY, name={"mask": {"constant": "born"}}) == []


def test_what_each_mask_leaves_is_known() -> None:
    assert set(LEAVES) | {"partial"} == set(OPERATORS)
    assert left_by(Mask("partial", (("first", 2), ("last", 3)))) == 5


def _below(match: str, below: str | None = None) -> dict[str, Any]:
    hanging: dict[str, Any] = {"match": [match], "fields": {"id": "public", "name": "name"}}
    if below is not None:
        hanging["below"] = below
    return {**document([])["resources"], "visit": hanging}


@pytest.mark.parametrize(
    ("match", "below", "said"),
    [
        (
            "GET /clients/{id}/visits",
            None,
            "warning: `GET /clients/{id}/visits` tells whether there is a client",
        ),
        ("GET /clients/{id}/visits", "GET /clients", "error: `GET /clients` shows no record"),
        ("GET /clients/{id}/visits", "PATCH /clients/{id}", "error: `PATCH /clients/{id}` shows no record"),
        ("GET /visits", "GET /clients/{id}", "error: `GET /visits` does not go on from `GET /clients/{id}`"),
    ],
)
def test_what_hangs_on_a_record_says_so(match: str, below: str | None, said: str) -> None:
    assert any(finding.startswith(said) for finding in findings(resources=_below(match, below)))


@pytest.mark.parametrize("match", ["GET /clients/{id}/visits", "POST /clients/{id}/visits"])
def test_what_hangs_on_a_record_and_says_so_is_fine(match: str) -> None:
    found = findings(resources=_below(match, "GET /clients/{id}"))
    assert not [finding for finding in found if "client" in finding]
