"""What parameters tell, and which go upstream (M01-M04, M11)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privguard.errors import AccessDeniedError, FilterNotPermittedError
from privguard.masking.request_guard import check_query, check_reveal, is_page, is_plain, looks_up
from privguard.model import PUBLIC, AccessRequest, ClassSpec, FieldSpec, FieldView, Mask, ResourceShape, View

NAME = ClassSpec("name", search="any")
IDENTITY = ClassSpec("identity", search="exact")
CONTACT = ClassSpec("contact")
MONEY = ClassSpec("money")
TIER = ClassSpec("tier", sort="allow")
FIELDS = (
    FieldSpec("id"),
    FieldSpec("name", NAME),
    FieldSpec("id_no", IDENTITY),
    FieldSpec("mobile", CONTACT),
    FieldSpec("address.line1", CONTACT),
    FieldSpec("balance", MONEY),
    FieldSpec("tier", TIER),
    FieldSpec("relatives[*]", nested="client"),
)
PARAMS = (
    ("q", ("name",)),
    ("name_or_mobile", ("name", "mobile")),
    ("id_no", ("identity",)),
    ("id_no[eq]", ("id_no",)),
    ("mobile", ("contact",)),
    ("balance", ("balance",)),
    ("relative", ("relatives[*]",)),
    ("gone", ("no_such_class",)),
    ("sort", ("sort-keys",)),
    ("page", ("paging",)),
    ("fields", ("fields",)),
    ("format", ("format",)),
    ("lang", ("public",)),
    ("filter[*]", ("name", "id_no")),
    ("page[*]", ("paging",)),
    ("utm_*", ("public",)),
)


class Plan:
    """Only what the request guard reads."""

    def __init__(
        self,
        strongest: dict[str, View] | None = None,
        weakest: dict[str, View] | None = None,
        unknown: str = "deny",
        export: tuple[tuple[str, int | None], ...] = (),
    ) -> None:
        self.shape = ResourceShape(
            "client", "client", ("$.items[*]",), FIELDS, params=PARAMS, unknown_params=unknown
        )
        self.export = export
        self._strongest = strongest or {}
        self._weakest = weakest or {}

    def strongest(self) -> tuple[FieldView, ...]:
        return self._views(self._strongest, View.MASKED)

    def weakest(self) -> tuple[FieldView, ...]:
        return self._views(self._weakest, View.WITHHELD)

    def _views(self, views: dict[str, View], otherwise: View) -> tuple[FieldView, ...]:
        def view(spec: FieldSpec) -> View:
            return View.CLEAR if spec.cls is PUBLIC else views.get(spec.path, otherwise)

        return tuple(FieldView(spec, view(spec), Mask("withhold")) for spec in FIELDS)


def ask(*query: tuple[str, str], plan: Any = None) -> tuple[tuple[str, str], ...]:
    return check_query(plan or Plan(), AccessRequest(query=query))


def refused(*query: tuple[str, str], plan: Any = None) -> FilterNotPermittedError:
    with pytest.raises(FilterNotPermittedError) as caught:
        ask(*query, plan=plan)
    return caught.value


def test_parameters_that_pass_keep_their_order_and_bytes() -> None:
    query = (("sort", "-tier,id"), ("q", "王%"), ("page", "2"), ("lang", "a b"), ("lang", ""))
    assert ask(*query) == query


@pytest.mark.parametrize(
    "name", ["ID_NO", "id_no[]", "id_no[gte]", "id_no__gte", "id_no.like", "id_no ", "$filter", "", "search"]
)
def test_m01_another_form_of_a_name_is_unknown(name: str) -> None:
    refused((name, "110105194912310025"))


def test_a_name_that_the_policy_writes_out_is_known() -> None:
    assert ask(("id_no[eq]", "110105194912310025"))


@pytest.mark.parametrize("name", ["q", "id_no", "sort", "page", "fields", "format"])
def test_m01_a_repeated_parameter_is_refused(name: str) -> None:
    value = {"sort": "id", "page": "1", "fields": "id", "format": "json"}.get(name, "x")
    assert ask((name, value))
    assert refused((name, value), (name, value)).parameters == (name,)


def test_unknown_parameters_are_left_out_where_the_policy_drops_them() -> None:
    plan = Plan(unknown="drop")
    assert ask(("utm", "1"), ("page", "1"), ("balance[gte]", "1"), plan=plan) == (("page", "1"),)
    assert refused(("utm", "1"), ("balance", "1"), plan=plan).parameters == ("balance",)


def test_a_star_in_a_name_is_one_word_and_one_that_names_a_field_filters_by_it() -> None:
    assert ask(("filter[id_no]", "110105194912310025"), ("page[size]", "5"), ("utm_source", "x%"))
    for name in (
        "filter[id_no][gte]",
        "filter[id_no__like]",
        "filter[]",
        "filter[*]",
        "filter[a.b]",
        "page[]",
    ):
        refused((name, "1"))
    assert refused(("filter[balance]", "1")).parameters == ("filter[balance]",)
    refused(("filter[id_no]", "11%"))
    refused(("utm_balance", "1"))
    refused(("page[size]", "x"))


def test_search_none_needs_the_clear_view_of_every_record() -> None:
    refused(("mobile", "13800138000"))
    refused(("mobile", "13800138000"), plan=Plan({"mobile": View.CLEAR, "address.line1": View.CLEAR}))
    always = {"mobile": View.CLEAR, "address.line1": View.CLEAR}
    assert ask(("mobile", "like:138%"), plan=Plan(always, always))
    refused(("mobile", "138"), plan=Plan(always, {"mobile": View.CLEAR}))  # the class has two fields


def test_m03_a_search_over_several_fields_needs_all_of_them() -> None:
    assert ask(("q", "wang"))
    refused(("name_or_mobile", "wang"))


@pytest.mark.parametrize("view", [View.WITHHELD, View.TOKEN])
def test_a_field_that_no_rule_shows_even_masked_is_not_searched(view: View) -> None:
    assert refused(("id_no", "110105194912310025"), plan=Plan({"id_no": view})).parameters == ("id_no",)
    refused(("q", "wang"), plan=Plan({"name": view}))


@pytest.mark.parametrize("name", ["relative", "gone"])
def test_m16_a_meaning_that_is_no_field_refuses(name: str) -> None:
    always = {spec.path: View.CLEAR for spec in FIELDS}
    assert refused((name, "x"), plan=Plan(always, always)).parameters == (name,)


PATTERNS = [
    "like:11%", "11%", "11*", "11_105", "1?", "^11", "11$", "~11", "11~2", ">=11", "<11", "!=11", "!11",
    "gte:11", "gte.11", "not.eq.11", "eq.11", "LIKE.11", "in.(1,2)", "1,2", "1|2", "1;2", "[1 TO 2]", "1..2",
    "1 OR 2", "1 or 2", "between 1 and 2", "gt 11", "/11.*/", "(11)", "{11}", '"11"', "11\\", "`11`", "a:b",
    "", " 11", "11 ", "11\n", "1\u200b1", "１１０１０５", "ﬁ", "e\u0301", "1" * 129, "\x00", "\ud800", "%31",
]  # fmt: skip


@pytest.mark.parametrize("value", PATTERNS)
def test_m01_an_exact_look_up_takes_no_pattern(value: str) -> None:
    assert not is_plain(value)
    error = refused(("id_no", value))
    assert error.parameters == ("id_no",)


@pytest.mark.parametrize(
    "value",
    ["110105194912310025", "11010519491231002X", "王晓明", "Anna-Maria O'Neill", "+86 138-0013-8000",
     "zhang.san@mail.example", "阿卜杜拉·买买提", "é", "1980-01-01", "GB29NWBK60161331926819", "हिन्दी"],
)  # fmt: skip
def test_plain_values_pass(value: str) -> None:
    assert is_plain(value)
    assert ask(("id_no", value)) == (("id_no", value),)


@settings(deadline=None)
@given(st.text(max_size=40))
def test_a_plain_value_is_made_of_letters_digits_and_little_else(value: str) -> None:
    if is_plain(value):
        assert not set(value) & set('%_*?^$~<>=!,;|:()[]{}"\\`/&#\x00\n\r\t')


@pytest.mark.parametrize(
    "value",
    ["balance", "-balance", "+balance", "balance:desc", "balance desc", "balance.asc", "tier,balance",
     "tier,-balance", "Balance", "TIER", "tier.x", "no_such", "", ",", "tier,", "--tier", "relatives[*]",
     "tier nulls first", "length(balance)", "address.line1", "mobile,asc", "tier;balance"],
)  # fmt: skip
def test_m02_sorting_by_a_masked_or_unknown_field_is_refused(value: str) -> None:
    assert refused(("sort", value)).parameters == ("sort",)


@pytest.mark.parametrize(
    "value",
    [
        "tier",
        "-tier",
        "+tier",
        " tier",
        "tier:DESC",
        "tier desc",
        "tier,desc",
        "id,-tier",
        "id, tier",
        "desc",
    ],
)
def test_sorting_by_what_may_be_sorted_passes(value: str) -> None:
    assert ask(("sort", value))


def test_m02_sorting_needs_the_clear_view_of_every_record() -> None:
    clear = {"balance": View.CLEAR}
    refused(("sort", "balance"), plan=Plan(clear))
    assert ask(("sort", "-balance"), plan=Plan(clear, clear))


@pytest.mark.parametrize(
    "value",
    [
        "",
        "-1",
        "1.5",
        "1e9",
        "1234567890",
        "13800138000",
        "１",
        "eyJiYWxhbmNlIjoxMDB9",
        "1,2",
        "0x10",
        " 1",
        "1\n",
    ],
)
def test_m02_only_a_number_is_a_page(value: str) -> None:
    assert not is_page(value)
    refused(("page", value))


@pytest.mark.parametrize("value", ["0", "1", "100", "999999999"])
def test_page_numbers_pass(value: str) -> None:
    assert ask(("page", value))


@pytest.mark.parametrize(
    "value",
    ["a:id_no", "id_no as x", "sum(balance)", "*", "relatives.*", "", "id,,name", "x{y}", "@id", "1"],
)
def test_m04_a_projection_renames_and_computes_nothing(value: str) -> None:
    refused(("fields", value))


def test_a_projection_of_plain_names_passes() -> None:
    assert ask(("fields", "id,name,address.line1,relatives,unknown,full-name"))


def test_a_format_must_be_one_that_may_be_exported() -> None:
    plan = Plan(export=(("csv", 200),))
    assert ask(("format", "csv"), plan=plan)
    assert ask(("format", "json"))
    for value in ("csv", "ndjson", "CSV", ""):
        refused(("format", value))
    refused(("format", "ndjson"), plan=plan)


@pytest.mark.parametrize("value", ["\x00", "a\r\nb", "\u202e", "x" * 1025])
@pytest.mark.parametrize("name", ["lang", "q"])
def test_no_parameter_takes_control_characters_or_reams(name: str, value: str) -> None:
    refused((name, value))


def test_l12_an_error_names_parameters_and_never_values() -> None:
    error = refused(("13800138000", "1"), ("王晓明", "2"), ("id_no", "like:1101%"), ("cards[0]", "3"))
    assert error.parameters == ("id_no",)
    assert refused(("13800138000", "1")).parameters == ()
    for text in ("13800138000", "王晓明", "1101", "cards"):
        assert text not in str(error)


@settings(deadline=None)
@given(st.text(max_size=20), st.text(max_size=60))
def test_nothing_but_known_names_ever_passes(name: str, value: str) -> None:
    try:
        passed = ask((name, value))
    except FilterNotPermittedError:
        return
    assert name in dict(PARAMS) or name.startswith(("filter[", "page[", "utm_"))
    assert passed == ((name, value),)


def reveal(*names: str) -> None:
    check_reveal(Plan(), AccessRequest(reveal=names))  # type: ignore[arg-type]


def test_fields_and_classes_may_be_asked_for_in_clear() -> None:
    reveal("mobile", "identity", "address.line1")


@pytest.mark.parametrize(
    "name", ["client", "relatives[*]", "Mobile", "mobile ", "", "*", "id_no.x", "13800138000"]
)
def test_m11_nothing_else_may_be_asked_for_in_clear(name: str) -> None:
    with pytest.raises(AccessDeniedError) as caught:
        reveal("mobile", name)
    assert "13800138000" not in str(caught.value)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ((), False), ((("page", "1"), ("sort", "id_no"), ("lang", "x")), False), ((("unknown", "1"),), False),
        ((("q", "a"),), False), ((("id_no", "1"),), True), ((("name_or_mobile", "1"),), True),
        ((("filter[id_no]", "1"),), True), ((("page", "1"), ("balance", "1")), True),
    ],
)  # fmt: skip
def test_a_filter_by_what_is_not_seen_clear_is_a_look_up(
    query: tuple[tuple[str, str], ...], expected: bool
) -> None:
    plan: Any = Plan(weakest={"name": View.CLEAR, "mobile": View.MASKED})
    assert looks_up(plan, AccessRequest(query=query)) is expected
