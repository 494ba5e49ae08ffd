"""What each operator keeps, and that it keeps nothing else."""

from __future__ import annotations

import json
import re
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET
from ruamel.yaml import YAML

from privguard.errors import PolicyError
from privguard.masking import MaskTools, looks_masked
from privguard.masking.formats import FULL
from privguard.masking.operators import KINDS, Operator, Use, make_operator
from privguard.model import OPERATORS, Mask
from tests.unit.masking.plans import TOOLS

USE = Use("bank-a", "contact", TOOLS)
DOCS = Path(__file__).parents[3] / "docs" / "reference" / "masks.md"
ROW = re.compile(
    r"\| `(?P<name>\w+)` \| ?(?P<args>[^|]*?) ?\| (?P<takes>[^|]*) \| [^|]+ \| ?(?P<example>[^|]*?) ?\|"
)
EXAMPLE = re.compile(r"(?:`(?P<args>\{[^`]*\})`: )?`(?P<value>[^`]+)` → `(?P<masked>[^`]+)`")
ARGS: dict[str, dict[str, Any]] = {
    "partial": {"first": 1, "last": 2},
    "constant": {"text": "hidden"},
    "age_band": {"width": 7},
    "band": {"steps": (-5, 0, 1000)},
}
REVERSIBLE = ("clear", "withhold")


def mask(name: str, **args: Any) -> Mask:
    return Mask(name, tuple((args or ARGS.get(name, {})).items()))


def operator(name: str, **args: Any) -> Operator:
    return make_operator(mask(name, **args), USE)


WELL_FORMED: dict[str, st.SearchStrategy[str]] = {
    "cn_mobile_3_4": st.from_regex(r"1[3-9][0-9]{9}", fullmatch=True),
    "cn_id_1_1": st.from_regex(r"[1-9][0-9]{16}[0-9Xx]", fullmatch=True),
    "pan_last4": st.from_regex(r"[0-9]{13,19}", fullmatch=True),
    "pan_bin_last4": st.from_regex(r"[0-9]{15,19}", fullmatch=True),
    "email": st.from_regex(r"[a-z][a-z0-9.]{2,20}@[a-z]{1,10}\.(com|cn)", fullmatch=True),
    "cjk_name": st.text("王李欧阳诸葛明芳", min_size=2, max_size=4)
    | st.from_regex(r"[A-Z][a-z]{1,9} [A-Z]", fullmatch=True),
    "iban": st.from_regex(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}", fullmatch=True),
    "year": st.dates(date(1900, 1, 1), date(2025, 1, 1)).map(str),
    "age_band": st.dates(date(1900, 1, 1), date(2025, 1, 1)).map(str),
    "band": st.decimals(-10, 10**12, places=2).map(str),
    "partial": st.text("abcdefgh张12", min_size=7, max_size=40),
    "scan": st.text("电话 13800138000@a.b-", max_size=40),
}
ODD = st.text(max_size=25) | st.sampled_from(
    ("１３８００１３８０００", "13800138000\n", "138001380001", "a\nb@c.d", "\ud83d")
)


def texts(name: str) -> st.SearchStrategy[str]:
    """Values that have the operator's form, and ones that do not."""
    return WELL_FORMED.get(name, ODD) | ODD


def test_every_operator_of_the_model_is_here() -> None:
    assert KINDS.keys() == OPERATORS.keys()


def test_the_page_lists_every_operator_with_its_arguments() -> None:
    rows = {row["name"]: row for row in ROW.finditer(DOCS.read_text())}
    assert rows.keys() == KINDS.keys()
    for name, row in rows.items():
        assert tuple(re.findall(r"`(\w+)`", row["args"])) == OPERATORS[name]
        takes = {"anything": {str, int, float}, "text": {str}, "text, number": {str, int, float}}
        assert KINDS[name].accepts == takes.get(row["takes"], {str, int})


def test_the_page_shows_what_operators_give() -> None:
    examples = [(row["name"], EXAMPLE.search(row["example"])) for row in ROW.finditer(DOCS.read_text())]
    found = [(name, example) for name, example in examples if example]
    assert len(found) == len(KINDS) - 2  # withhold gives nothing, hash_token depends on a key
    for name, example in found:
        args = YAML(typ="safe").load(example["args"]) if example["args"] else {}
        given = Mask(name, tuple((key, tuple(v) if isinstance(v, list) else v) for key, v in args.items()))
        assert make_operator(given, USE).of(example["value"]) == example["masked"], name


@pytest.mark.parametrize(
    ("name", "value", "masked"),
    [
        ("cn_mobile_3_4", 13800138000, "138****8000"),
        ("cn_mobile_3_4", "+86 138 0013 8000", "138****8000"),
        ("cn_mobile_3_4", "008613800138000", "138****8000"),
        ("cn_mobile_3_4", "12800138000", FULL),
        ("cn_mobile_3_4", "1380013800", FULL),
        ("cn_mobile_3_4", "１３８００１３８０００", FULL),
        ("cn_mobile_3_4", "", FULL),
        ("cn_id_1_1", "110105491231002", FULL),
        ("cn_id_1_1", 110105194912310029, "1****9"),
        ("pan_last4", "6222 0212 3456 7890", "****7890"),
        ("pan_last4", "622202123456", FULL),
        ("pan_bin_last4", "62220212345678", FULL),
        ("email", "ab@example.com", FULL),
        ("email", "zhang@localhost", FULL),
        ("email", "张三@example.com", FULL),
        ("cjk_name", "王小明", "王**"),
        ("cjk_name", "欧阳", "欧**"),
        ("cjk_name", "司马相如", "司马**"),
        ("cjk_name", "阿不都·热合曼", "阿**"),
        ("cjk_name", "John Smith", "J**"),
        ("cjk_name", "王", FULL),
        ("cjk_name", "王1", FULL),
        ("cjk_name", "J", FULL),
        ("iban", "gb29 nwbk 6016 1331 9268 19", "GB****6819"),
        ("iban", "GB29", FULL),
        ("year", "1985-04-12T08:00:00+08:00", "1985"),
        ("year", "1985-04-12 08:00", "1985"),
        ("year", "1985/04/12", FULL),
        ("year", "19850412", FULL),
        ("age_band", "2026-01-06", FULL),
        ("age_band", "2000-02-30", FULL),
        ("age_band", "1930-01-01", "90+"),
        ("age_band", "1937-01-01", "84-89"),
        ("band", "-5.01", "<-5"),
        ("band", -5, "-5-0"),
        ("band", Decimal("999.99"), "0-1000"),
        ("band", 1000.0, ">=1000"),
        ("band", "1,000", FULL),
        ("band", "1e9", FULL),
        ("partial", "abcdefg", "a****fg"),
        ("partial", "abcdef", FULL),
        ("partial", "a       fg", FULL),
        ("partial", " abcdefg ", "a****fg"),
        ("hash_token", "17", "tok_<bank-a/contact/17>"),
        ("hash_token", 17, "tok_<bank-a/contact/17>"),
        ("constant", 5, "hidden"),
    ],
)
def test_values(name: str, value: object, masked: object) -> None:
    assert operator(name).of(value) == masked


@pytest.mark.parametrize("name", KINDS)
def test_null_stays_null_and_other_types_are_withheld(name: str) -> None:
    each = operator(name)
    assert each.of(None) is None
    for value in (True, [], {}, b"x", float("nan"), float("inf"), Decimal("1E400"), UNSET, object()):
        assert each.of(value) is UNSET
    if str in each.accepts and int not in each.accepts:
        assert each.of(5) is UNSET


def test_an_operator_that_raises_withholds() -> None:
    def broken(*_: str) -> str:
        raise ValueError("13800138000")

    each = make_operator(Mask("hash_token"), Use("t", "c", MaskTools(today=date.today, token=broken)))
    assert each.of("x") is UNSET
    assert each.column(["x"] * 9) == [UNSET] * 9


@pytest.mark.parametrize("name", KINDS)
@settings(deadline=None)
@given(data=st.data())
def test_a_column_is_masked_as_its_values_are(name: str, data: st.DataObject) -> None:
    each = operator(name)
    kinds = [texts(name)]
    kinds += [st.integers()] if int in each.accepts else []
    kinds += [st.floats(allow_nan=False, allow_infinity=False)] if float in each.accepts else []
    uniform = data.draw(st.booleans())
    values = data.draw(
        st.lists(WELL_FORMED.get(name, texts(name)), min_size=4)
        if uniform
        else st.lists(st.one_of(*kinds, st.sampled_from((None, UNSET))))
    )
    assert each.column(list(values)) == [each.of(value) for value in values]


@pytest.mark.parametrize(
    ("name", "values", "masks"),
    [
        (
            "cjk_name",
            ["王小明", "欧阳修", "欧阳", "李四", "张三"],
            ["王**", "欧阳**", "欧**", "李**", "张**"],
        ),
        ("cjk_name", ["王小明"] * 4 + ["John"], ["王**"] * 4 + ["J**"]),
        ("year", ["1985-04-12"] * 4 + ["x\n1985-04-12"], ["1985"] * 4 + [FULL]),
        ("year", ["1985-04-12\n1985-04-12", *["x"] * 4], [FULL] * 5),
        ("partial", ["abcdefg"] * 4 + ["a-b-c-d-e-f-g-"], ["a****fg"] * 4 + ["a****g-"]),
        ("partial", ["abcdefg"] * 4 + ["a------fg"], ["a****fg"] * 4 + [FULL]),
        ("partial", ["abcdefg"] * 4 + ["ab"], ["a****fg"] * 4 + [FULL]),
        ("pan_last4", ["6222021234567890"] * 4 + ["6222-0212"], ["****7890"] * 4 + [FULL]),
        ("band", [1, 2.5, 3, 5000], ["0-1000"] * 3 + [">=1000"]),
        ("age_band", ["1985-04-12"] * 4, ["35-41"] * 4),
    ],
)
def test_columns(name: str, values: list[Any], masks: list[str]) -> None:
    assert operator(name).column(values) == masks


@pytest.mark.parametrize("name", [name for name in KINDS if name not in (*REVERSIBLE, "scan")])
@settings(deadline=None)
@given(data=st.data())
def test_output_is_recognised_and_hides_its_length(name: str, data: st.DataObject) -> None:
    masked = operator(name).of(data.draw(texts(name)))
    assert isinstance(masked, str)
    assert looks_masked(mask(name), masked)
    again = operator(name).of(masked)
    assert again in (masked, FULL) or name in ("hash_token", "constant")


@settings(deadline=None)
@given(texts("scan"))
def test_scan_is_recognised_and_done_once(text: str) -> None:
    masked = operator("scan").of(text)
    assert operator("scan").of(masked) == masked
    assert masked == text or looks_masked(mask("scan"), masked)


@pytest.mark.parametrize(
    ("name", "pattern", "kept"),
    [
        ("cn_mobile_3_4", r"138[0-9]{4}8000", "138****8000"),
        ("cn_id_1_1", r"1[0-9]{16}X", "1****X"),
        ("pan_last4", r"[0-9]{9,15}7890", "****7890"),
        ("pan_bin_last4", r"622202[0-9]{5,9}7890", "622202****7890"),
        ("email", r"z[a-z0-9._]{2,60}@example\.com", "z****@example.com"),
        ("iban", r"DE[0-9]{2}[A-Z0-9]{7,26}3000", "DE****3000"),
        ("year", r"1985-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9])", "1985"),
        ("partial", r"a[b-y]{4,60}yz", "a****yz"),
    ],
)
@settings(deadline=None)
@given(data=st.data())
def test_what_is_hidden_does_not_show(name: str, pattern: str, kept: str, data: st.DataObject) -> None:
    value = data.draw(st.from_regex(pattern, fullmatch=True).filter(str.isascii))
    assert operator(name).of(value) == kept
    assert operator(name).column([value] * 5) == [kept] * 5


@pytest.mark.parametrize(
    ("given_mask", "value"),
    [
        (mask("cn_mobile_3_4"), "13800138000"),
        (mask("cjk_name"), "王小明"),
        (mask("email"), "zhang@example.com"),
        (mask("band"), "500"),
        (mask("partial"), "abcdefg"),
        (mask("scan"), "nothing here"),
        (mask("clear"), "****"),
        (mask("withhold"), "****"),
        (mask("year"), "1985-04-12"),
        (mask("cn_mobile_3_4"), None),
        (mask("cn_mobile_3_4"), 5),
    ],
)
def test_values_do_not_look_masked(given_mask: Mask, value: object) -> None:
    assert not looks_masked(given_mask, value)


@pytest.mark.parametrize(
    "wrong",
    [
        Mask("no_such"),
        Mask("band", (("steps", (5, 1)),)),
        Mask("band", (("steps", ()),)),
        Mask("band", (("steps", ("a",)),)),
        Mask("age_band", (("width", 0),)),
        Mask("partial", (("first", -1),)),
        Mask("partial", (("fill", "**"),)),
        Mask("partial", (("last", "x"),)),
    ],
)
def test_impossible_masks_are_policy_errors(wrong: Mask) -> None:
    with pytest.raises(PolicyError):
        make_operator(wrong, USE)


@settings(deadline=None)
@given(st.text(), st.text())
def test_tokens_tell_tenants_and_classes_apart(tenant: str, cls: str) -> None:
    other = make_operator(Mask("hash_token"), Use(tenant, cls, TOOLS)).of("13800138000")
    assert (other == operator("hash_token").of("13800138000")) == ((tenant, cls) == ("bank-a", "contact"))


def test_outputs_are_json_text() -> None:
    assert json.dumps([operator(name).of("x") for name in KINDS if name != "withhold"])
