"""YAML in: values, places, and what is refused."""

from __future__ import annotations

import hashlib
import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privguard.errors import PolicyError
from privguard.policy import InvalidPolicyError
from privguard.policy.source import MAX_BYTES, MAX_DEPTH, read

PLACE = re.compile(r"p\.yaml:[1-9][0-9]*:[1-9][0-9]*")


def test_scalars_are_those_of_the_core_schema_of_yaml_1_2() -> None:
    # YAML 1.2.2 §10.3.2; NO, on and 2025-01-01 are text, unlike in YAML 1.1.
    source = read(
        "[1, -2, 017, 2.50, .5, 1e3, true, False, null, ~, NO, on, 2025-01-01, '3', 0x1F, 1_000]", "p"
    )
    assert source.tree == [
        1, -2, 17, Decimal("2.50"), Decimal("0.5"), Decimal(1000), True, False, None, None,
        "NO", "on", "2025-01-01", "3", "0x1F", "1_000",
    ]  # fmt: skip


def test_every_key_and_value_has_a_place() -> None:
    source = read('a: {b: [1, two]}\n"x y":\n  - 张\n', "p.yaml")
    assert source.where(("a", "b", 1)) == "p.yaml:1:12"
    assert source.where(("x y", 0)) == "p.yaml:3:5"
    assert source.where(("x y",), key=True) == "p.yaml:2:1"
    assert source.where(("a", "b", 7, "gone")) == "p.yaml:1:8"  # the nearest part around it
    assert source.where(("gone",)) == "p.yaml:1:1"


def test_the_digest_is_that_of_the_bytes() -> None:
    text = "privguard: 1  # 张\n"
    assert read(text, "p").digest == hashlib.sha256(text.encode()).hexdigest()
    assert read(text + " ", "p").digest != read(text, "p").digest


@pytest.mark.parametrize(
    ("text", "where", "says"),
    [
        ("", "p.yaml:1:1", "empty"),
        ("a: 1\nb: [", "p.yaml:2:5", "not YAML"),
        ("a: 1\na: 2", "p.yaml:2:1", "`a` stands twice, first in line 1"),
        ("a: {b: 1, b: 2}", "p.yaml:1:11", "stands twice"),
        ("a: *x", "p.yaml:1:4", "alias"),
        ("a: &x 1", "p.yaml:1:4", "anchor"),
        ("a: &x [1]", "p.yaml:1:4", "anchor"),
        ("a: !!python/object 1", "p.yaml:1:4", "tag"),
        ("? [a]\n: 1", "p.yaml:1:3", "a key that is a list or mapping"),
        ("1: a", "p.yaml:1:1", "a key that is not text"),
        ("null: a", "p.yaml:1:1", "a key that is not text"),
        ('"": a', "p.yaml:1:1", "a key that is not text"),
        ("%YAML 1.1\n---\na: 1", "p.yaml:2:1", "directive"),
        ("%TAG ! x\n---\na: 1", "p.yaml:2:1", "directive"),
        ("--- 1\n--- 2", "p.yaml:2:1", "second document"),
        ("[" * (MAX_DEPTH + 1), f"p.yaml:1:{MAX_DEPTH + 1}", f"more than {MAX_DEPTH} levels"),
        ("a: \x00", "p.yaml:1:4", "character"),
        ("a:\n  \ud800", "p.yaml:2:3", "character"),
        ('a: "\\uD800"', "p.yaml:1:4", "half a character"),
        ('"\\UFFFFFFFF"', "p.yaml:1:1", "not YAML"),  # more than a character can be
        (
            "%YAML " + "9" * 5000 + ".1\n--- a",
            "p.yaml:1:1",
            "not YAML",
        ),  # more digits than an integer may have
        ("#" * (MAX_BYTES + 1), "p.yaml:1:1", "larger"),
    ],
)
def test_what_a_policy_has_no_use_for_is_refused_with_its_place(text: str, where: str, says: str) -> None:
    with pytest.raises(PolicyError) as caught:
        read(text, "p.yaml")
    assert caught.value.where == where
    assert says in str(caught.value)


def test_an_alias_bomb_is_refused_at_its_first_anchor() -> None:
    bomb = "a: &a [x,x]\n" + "".join(
        f"{c}: &{c} [*{p},*{p}]\n" for p, c in zip("abcdefgh", "bcdefghi", strict=True)
    )
    with pytest.raises(PolicyError, match=r"p\.yaml:1:4"):
        read(bomb, "p.yaml")


def test_duplicates_are_all_reported() -> None:
    with pytest.raises(InvalidPolicyError) as caught:
        read("a: 1\nb: 2\na: 3\nb: 4\n", "p.yaml")
    assert [error.where for error in caught.value.errors] == ["p.yaml:3:1", "p.yaml:4:1"]


@given(
    st.text(alphabet=st.sampled_from("ab1 \t\n:-[]{},?&*!|>'\"%#@`~.\\\x00\x85\u2028张\ud800"), max_size=40)
)
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    try:
        read(text, "p.yaml")
    except PolicyError as error:
        assert PLACE.fullmatch(error.where)
