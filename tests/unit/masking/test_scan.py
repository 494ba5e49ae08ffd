"""Free text: what goes, and what its label is."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privguard.masking.scan import LABELS, scan, scans

SEPARATORS = " -.()/ \u3000－．　\u200b\u2013"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("电话13800138000。", "电话[phone]。"),
        ("电话１３８００１３８０００，邮箱ｚｈａｎｇ＠example.com联系", "电话[phone]，邮箱[email]联系"),
        ("+86 138 0013 8000", "[phone]"),
        ("(010) 6655-1234", "([phone]"),
        ("+44 20 7946 0958", "[phone]"),
        ("身份证 11010519491231002X 好", "身份证 [id] 好"),
        ("身份证 11010519491231002ｘ", "身份证 [id]"),
        ("卡 6222 0212 3456 7894", "卡 [card]"),
        ("GB29 NWBK 6016 1331 9268 19，DE89370400440532013000", "[iban]，[iban]"),
        ("GB28 NWBK 6016 1331 9268 19", "GB28 NWBK [number]"),
        ("born 1985-04-12.", "born [date]."),
        ("护照 E12345678", "护照 E[number]"),
        ("sum 1234567.00", "sum [number]"),
        ("a.b+c@mail.example.com, x", "[email], x"),
        ("用户@例子.公司 和 ＠张三", "[email] 和 [email]"),
        ("a﹫b", "[email]"),
        ("1\u200b3\u200b8\u200b0\u200b0\u200b1\u200b3\u200b8\u200b0\u200b0\u200b0", "[phone]"),
        ("٠١٢٣٤٥٦٧", "[number]"),
        ("a@b.cn 13800138000", "[email] [phone]"),
        ("up to 100000 yuan, 3 of 10, 2026", "up to 100000 yuan, 3 of 10, 2026"),
        ("VIP 客户，无号码", "VIP 客户，无号码"),
        ("", ""),
        ("1" * 60, "[number]"),
        ("+9999999999", "[number]"),
        ("010-66551234," * 18, "[phone]," * 16 + "[number]," * 2),
    ],
)
def test_examples(text: str, masked: str) -> None:
    assert scan(text) == masked


@settings(deadline=None)
@given(
    st.text("客户来电A+, [", max_size=12),
    st.lists(st.sampled_from("0123456789０１２３９"), min_size=7, max_size=24),
    st.lists(st.text(SEPARATORS, max_size=4), min_size=24, max_size=24),
    st.text("，请回复Zx", max_size=12),
)
def test_no_run_of_seven_digits_is_left(before: str, digits: list[str], gaps: list[str], after: str) -> None:
    run = "".join(digit + gap for digit, gap in zip(digits, gaps, strict=False)).rstrip(SEPARATORS)
    masked = scan(f"{before}{run}{after}")
    assert not re.search(r"\d", masked)
    assert any(label in masked for label in LABELS)


@settings(deadline=None)
@given(st.text("客户 来电，。;aZ[]12", max_size=60).filter(lambda text: not re.search(r"(\d\s*){7}", text)))
def test_other_text_is_left_alone(text: str) -> None:
    assert scan(text) == text


RUNS = (
    "010-66551234", "13800138000", "A", "＠", "客户 ", "6217 00", "+", "@b.cn", "-", "GB29NWBK60161331926819"
)  # fmt: skip


@settings(deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from(RUNS), max_size=6).map("".join) | st.just("010-66551234," * 18),
        min_size=1,
    )
)
def test_many_texts_are_masked_as_each_is(texts: list[str]) -> None:
    assert scans(texts) == [scan(text) for text in texts]


def test_texts_that_hold_the_seam_are_left_to_be_masked_alone() -> None:
    assert scans(["1380013", "8000\x00"]) is None


@settings(deadline=None)
@given(st.text(max_size=10), st.text(min_size=1, max_size=10))
def test_nothing_around_an_at_is_left(before: str, after: str) -> None:
    masked = scan(f"{before}@{after}")
    assert not set(masked) & set("@\uff20\ufe6b")


@pytest.mark.parametrize(
    "text",
    [
        "a" * 200_000 + "@",
        "@" * 100_000,
        "1 " * 200_000,
        "12345 a" * 60_000,
        "a.a" * 60_000 + "@",
        "x@" + "a." * 100_000,
        "AB12" * 60_000,
        "010-66551234,a " * 10_000,
        "GB29NWBK60161331926819" * 10_000,
    ],
    ids=range(9),
)
def test_long_texts_take_linear_time(text: str) -> None:
    """What a quadratic pattern would take minutes for."""
    began = time.process_time()
    scan(text)
    assert time.process_time() - began < 5
