"""Policy files in: what is accepted, and that every error has its place and its mend."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privguard.errors import PolicyError
from privguard.policy import InvalidPolicyError, json_schema, load
from privguard.policy.notation import field_path, mask, quota, seconds, steps, template
from privguard.policy.source import read
from tests.unit.policy.samples import document, text

POLICIES = Path(__file__).parents[3] / "policies"
SHOW = {"id": "r", "roles": ["rm"], "show": {"clear": ["name"]}}
PLACE = re.compile(r"p\.yaml:[1-9][0-9]*:[1-9][0-9]*")


def changed(path: str, value: Any) -> str:
    """A valid policy with the part at ``path`` replaced; ``value`` of ... removes it."""
    content = json.loads(text(document([SHOW])))
    part: Any = content
    *way, last = [int(key) if key.isdigit() else key for key in path.split("/")]
    for key in way:
        part = part.setdefault(key, {}) if isinstance(part, dict) else part[key]
    if value is ...:
        del part[last]
    else:
        part[last] = value
    return text(content)


def test_a_policy_is_read() -> None:
    loaded = load(text(document([SHOW])), "p.yaml")
    assert loaded.name == "p.yaml"
    assert loaded.content.rules[0].id == "r"
    assert loaded.content.defaults.withheld_as == "absent"


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        # shape
        ("privguard", 2, "`2` is not possible here"),
        ("privguard", ..., "`privguard` is missing"),
        ("ruels", [], "`ruels` is not known here (did you mean `rules`?)"),
        ("classes/name/maks", "email", "did you mean `mask`?"),
        ("classes/name/search", "exakt", "did you mean `exact`?"),
        ("classes/1st", {"mask": "email"}, "`1st` does not fit (A name: a letter"),
        ("classes/name", None, "nothing stands where a mapping is expected"),
        ("rules/0/roles", None, "nothing stands where a list is expected"),  # `roles:` is not everybody
        ("rules/0/roles", [], "there is nothing in it"),
        ("rules/0/roles", "rm", "text stands where a list is expected"),
        ("rules/0/purpose", [1], "a whole number stands where text is expected"),
        ("rules/0/id", True, "true or false stands where text is expected"),
        ("rules/0/action", ["raed"], "did you mean `read`?"),
        ("rules/0/quota", "30/month", "A number per hour or day: 30/day"),
        ("rules/0/require", {"mfa": {"max_age": "30"}}, "A duration such as 90s, 30m, 12h or 365d"),
        ("rules/0/require", {"reason": {"min": 0}}, "`0` does not fit"),
        ("rules/0/forbid", {"a": 1}, "a mapping stands where text or a list is expected"),
        ("rules", {}, "a mapping stands where a list is expected"),
        ("resources/client/fields/name", 3, "a whole number stands where text or a mapping is expected"),
        ("resources", {}, "there is nothing in it"),
        ("defaults/unclassified", "public", "`public` is not possible here"),  # deny by default stays
        ("relations/long", "x" * 501, "does not fit"),
        # notations
        ("classes/name/mask", "cjk_nam", "there is no mask `cjk_nam` (did you mean `cjk_name`?)"),
        ("classes/name/mask", {"partial": {"frist": 1}}, "no argument `frist` (did you mean `first`?)"),
        ("classes/name/mask", {"partial": 3}, "`partial` needs its arguments by name"),
        ("classes/name/mask", {"partial": {"first": -1}}, "a whole number from 0 to 100"),
        ("classes/name/mask", {"partial": {"fill": "**"}}, "`fill` of `partial` is one character"),
        ("classes/name/mask", {"band": {"steps": [5, 5]}}, "ascending whole numbers"),
        ("classes/name/mask", {"band": {"steps": []}}, "ascending whole numbers"),
        ("classes/name/mask", {"age_band": 0}, "a whole number from 1 to 100"),
        ("classes/name/mask", "constant", "`constant` needs its text"),
        ("classes/name/mask", {"year": {}, "email": {}}, "a mask is one operator"),
        ("classes/public", {}, "`public` is built in"),
        ("resources/client/match/0", "GET clients", "is not a route"),
        ("resources/client/match/0", "FETCH /clients", "does not begin with a method"),
        ("resources/client/match/0", "HEAD /clients", "HEAD is matched by the route's GET"),
        ("resources/client/match/0", "GET /clients?x=1", "is not a route"),
        ("resources/client/match/0", "GET /clients//x", "empty or dot segment"),
        ("resources/client/match/0", "GET /clients/../x", "empty or dot segment"),
        ("resources/client/match/0", "GET /clients/x{id}", "is not a segment"),
        ("resources/client/match/0", "GET /{id}/{id}", "names a parameter twice"),
        ("resources/client/match/0", "GET /clients/*", "`*` is for passthrough only"),
        ("resources/client/records/0", "items[*]", "begin with $"),
        ("resources/client/records/0", "$.items[0]", "is not a place"),
        ("resources/client/envelope", {"a b": "count"}, "is not a field path"),
        ("resources/client/id", "cards[*].id", "is not a path to one value"),
        ("resources/client/tier", "a..b", "is not a path to one value"),
        ("resources/client/params", {"*": "public"}, "is not a parameter"),
        ("resources/client/params", {"a*b*": "public"}, "is not a parameter"),
        ("resources/client/media", {"PNG": "name"}, "is not a media type"),
        ("resources/client/columns", {"a[*]": ";"}, "is not a path to one value"),
        ("resources/client/fields/a b", "name", "is not a field path"),
        ("resources/client/fields/cards[0].pan", "name", "is not a field path"),
        ("resources/client/fields/name", {"mask": "email"}, "a field has a class, or a resource"),
        ("resources/client/fields/name", {"class": "name", "resource": "client"}, "a class, or a resource"),
        ("resources/client/fields/name", {"resource": "client", "mask": "email"}, "no mask of its own"),
        ("relations/bad", "subject.id ==", "not an expression"),
        ("relations/bad", "recrod.x == 1", "did you mean `record`?"),
        ("passthrough", ["/login"], "does not begin with a method"),
        # rules
        ("rules/0/show", ..., "rule `r` does nothing"),
        ("rules/0/reveal", ["name"], "rule `r` does show and reveal at once"),
        ("rules/0/show", {}, "rule `r` shows nothing"),
        ("rules/0/show", {"clear": ["name"], "masked": ["name"]}, "`name` stands twice in this rule"),
        ("rules/0/grant", {"ttl": "5m"}, "only a `reveal` rule has a grant"),
        ("rules/0/quota", "30/day", "only a `reveal` rule has a quota"),
        ("rules/0/require", {}, "nothing is required here"),
        ("rules/0/require", {"ticket": "AML-("}, "not a regular expression"),
        ("rules", [{"id": "f", "forbid": "all", "require": {"reason": {}}}], "a forbid has no way out"),
        ("rules", [{"id": "g", "gate": "all"}], "gate `g` asks for nothing"),
        ("rules", [SHOW, SHOW], "there are two rules `r`"),
    ],
)  # fmt: skip
def test_an_error_names_its_place_and_the_mend(path: str, value: Any, says: str) -> None:
    with pytest.raises(InvalidPolicyError) as caught:
        load(changed(path, value), "p.yaml")
    assert says in str(caught.value), str(caught.value)
    assert all(PLACE.fullmatch(error.where) for error in caught.value.errors)
    assert any(error.mend or error.message for error in caught.value.errors)


def test_errors_stand_where_the_text_is_wrong() -> None:
    lines = [
        "privguard: 1",
        "classes:",
        "  name: {mask: emial}",
        "resources:",
        "  client:",
        "    fields: {id: public, 'a b': name}",
        "relations:",
        "  mine: me.id == record.id",
    ]
    with pytest.raises(InvalidPolicyError) as caught:
        load("\n".join(lines), "p.yaml")
    assert [error.where for error in caught.value.errors] == ["p.yaml:3:16", "p.yaml:6:33", "p.yaml:8:9"]


def test_all_errors_of_the_shape_are_found_at_once() -> None:
    with pytest.raises(InvalidPolicyError) as caught:
        load("privguard: 3\nclasses: {a: {x: 1}, b: {y: 1}}\nresources: {c: {fields: {}, id: 1}}\n", "p.yaml")
    assert [error.where for error in caught.value.errors] == [
        "p.yaml:1:12", "p.yaml:2:15", "p.yaml:2:26", "p.yaml:3:33",
    ]  # fmt: skip


def test_withheld_as_null_may_be_written_as_null() -> None:
    assert load(changed("defaults/withheld_as", None)).content.defaults.withheld_as is None
    assert load(changed("defaults/withheld_as", "null")).content.defaults.withheld_as == "null"


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab*[]{}$. ", max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("abc*", min_size=1, max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
CLIENT = (
    "match", "records", "envelope", "id", "tier", "params", "media", "columns", "fields", "fields/name",
)  # fmt: skip
PATHS = st.sampled_from([
    "levels", "defaults", "defaults/purpose", "classes", "classes/name", "classes/name/mask",
    "classes/name/links", "resources", "resources/client", *(f"resources/client/{key}" for key in CLIENT),
    "relations", "relations/assigned", "rules", "rules/0", "rules/0/show", "rules/0/require", "rules/0/tier",
    "break_glass", "passthrough", "budgets",
])  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(PATHS, JUNK)
def test_whatever_stands_in_a_policy_is_read_or_refused_with_places(path: str, junk: Any) -> None:
    try:
        load(changed(path, junk), "p.yaml")
    except PolicyError as error:
        errors = error.errors if isinstance(error, InvalidPolicyError) else (error,)
        assert errors
        assert all(PLACE.fullmatch(each.where) for each in errors)


def test_the_schema_file_is_generated_from_the_structs() -> None:
    assert json.loads((POLICIES / "schema.json").read_text("utf-8")) == json_schema(), (
        "write json_schema() to policies/schema.json"
    )


@settings(max_examples=100, deadline=None)
@given(PATHS, JUNK)
def test_what_loads_fits_the_schema(path: str, junk: Any) -> None:
    made = changed(path, junk)
    try:
        load(made)
    except PolicyError:
        return
    assert jsonschema_rs.is_valid(json_schema(), read(made, "p").tree)


@pytest.mark.parametrize("file", sorted(POLICIES.glob("*.yaml")), ids=lambda file: file.stem)
def test_shipped_policies_fit_the_schema(file: Path) -> None:
    if not file.stem.endswith("_test"):
        jsonschema_rs.validate(json_schema(), read(file.read_text("utf-8"), file.name).tree)


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("cards[*].pan", ("cards", "[*]", "pan")),
        ("matrix[*][*]", ("matrix", "[*]", "[*]")),
        ("by_mobile.<contact>.balance", ("by_mobile", "<contact>", "balance")),
        ("limits.*", ("limits", "*")),
        ("payload{json}.mobile", ("payload", "{json}", "mobile")),
        ("payload{json}[*].x", ("payload", "{json}", "[*]", "x")),
        ('"a.b".c', ("a.b", "c")),
        ('"*".x', ('"*"', "x")),
        ("客户.姓名", ("客户", "姓名")),
    ],
)
def test_field_paths(path: str, parts: tuple[str, ...]) -> None:
    field_path(path)
    assert steps(path) == parts


def test_durations_and_quotas() -> None:
    assert [seconds(each) for each in ("90s", "30m", "12h", "365d")] == [90, 1800, 43_200, 31_536_000]
    assert quota("30/day") == (30, 86_400)
    assert quota("5/hour") == (5, 3600)


def test_masks() -> None:
    assert mask("band").args == ()
    assert mask({"constant": "***"}).args == (("text", "***"),)
    assert mask({"constant": {"text": "***"}}) == mask({"constant": "***"})
    assert mask({"partial": {"last": 2, "first": 1}}).args == (("first", 1), ("last", 2))
    assert mask({"band": {"steps": [10, 20]}}) == mask({"band": [10, 20]})
    assert mask({"band": [10, 20]}).args == (("steps", (10, 20)),)


def test_verbs_of_routes() -> None:
    verbs = {text: template(text).verb.value for text in (
        "GET /a", "POST /a", "PUT /a/{id}", "PATCH /a/{id}", "DELETE /a/{id}",
        "GET /a.csv", "GET /a.xlsx", "GET /a/all.ndjson", "GET /a.xml", "POST /a.csv",
    )}  # fmt: skip
    assert list(verbs.values()) == [
        "read", "create", "update", "update", "delete", "export", "export", "export", "export", "create",
    ]  # fmt: skip
