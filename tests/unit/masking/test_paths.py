"""Field paths and record places."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privguard.errors import PolicyError
from privguard.masking.paths import (
    AnyKey,
    ClassKey,
    Each,
    InText,
    Key,
    parse_path,
    parse_place,
    parse_value,
    route_parameter,
)


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("mobile", (Key("mobile"),)),
        ("address.city", (Key("address"), Key("city"))),
        ("cards[*].pan", (Key("cards"), Each(), Key("pan"))),
        ("rows[*][*]", (Key("rows"), Each(), Each())),
        ("limits.*", (Key("limits"), AnyKey())),
        ("*.sum[*]", (AnyKey(), Key("sum"), Each())),
        ("by_no.<contact>.sum", (Key("by_no"), ClassKey("contact"), Key("sum"))),
        ("payload{json}.x", (Key("payload"), InText(), Key("x"))),
        ("logs[*]{json}[*].x", (Key("logs"), Each(), InText(), Each(), Key("x"))),
        ('"quoted.name".客户号', (Key("quoted.name"), Key("客户号"))),
        ('"*"', (Key("*"),)),
        ('"a b[*]"[*]', (Key("a b[*]"), Each())),
        ("a-b_c:d@e", (Key("a-b_c:d@e"),)),
    ],
)
def test_field_paths(text: str, steps: tuple[object, ...]) -> None:
    assert parse_path(text) == steps


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("$", ()),
        ("$[*]", (Each(),)),
        ("$.items[*]", (Key("items"), Each())),
        ("$.client", (Key("client"),)),
        ("$.data[*].row", (Key("data"), Each(), Key("row"))),
        ("total", (Key("total"),)),
    ],
)
def test_places(text: str, steps: tuple[object, ...]) -> None:
    assert parse_place(text) == steps


@pytest.mark.parametrize(
    "text",
    ["", ".", "a.", ".a", "a..b", "a[0]", "a[*", "a]", "a{xml}", "<>", "<a", "a<b>", "a b", '"', '"a', 'a"b"',
     "$.a", "a[*]b", "**", "a.*b", "a\\b", '"a\\"b"', "a\n"],
)  # fmt: skip
def test_what_is_no_field_path(text: str) -> None:
    with pytest.raises(PolicyError):
        parse_path(text)


@pytest.mark.parametrize("text", ["$.", "$a", "$$", "$..a", "$.items[*].", "$[0]"])
def test_what_is_no_place(text: str) -> None:
    with pytest.raises(PolicyError):
        parse_place(text)


def test_errors_show_where_and_how() -> None:
    with pytest.raises(PolicyError, match=r"`cards\[0\].pan` cannot be read from character 1 on"):
        parse_path("cards[0].pan")


def test_paths_to_one_value_have_only_names() -> None:
    assert parse_value("profile.tier") == ("profile", "tier")
    for text in ("a[*]", "a.*", "<c>", "a{json}"):
        with pytest.raises(PolicyError, match="is not a path to one value"):
            parse_value(text)


def test_route_parameters_are_told_from_paths() -> None:
    assert route_parameter("{client_id}") == "client_id"
    assert [route_parameter(text) for text in ("id", "{}", "{a}b", "{a-b}", "{json}x")] == [None] * 5


@settings(deadline=None)
@given(st.text(st.characters(exclude_characters='"\\', exclude_categories=("Cc", "Cs")), min_size=1))
def test_any_name_can_be_quoted(name: str) -> None:
    assert parse_path(f'a."{name}"[*]') == (Key("a"), Key(name), Each())


@settings(deadline=None)
@given(st.text(max_size=20))
def test_no_text_makes_it_fail_otherwise(text: str) -> None:
    for parse in (parse_path, parse_place):
        with contextlib.suppress(PolicyError):
            assert isinstance(parse(text), tuple)
