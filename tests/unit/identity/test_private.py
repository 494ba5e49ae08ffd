"""What staff and clients share in private: what counts as the same, and what never does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privguard.identity.private import KINDS, Private, forms, tokens


def token(kind: str, text: str) -> str:
    return f"{kind}={text}"


def shares(kind: str, ours: str, theirs: object) -> bool:
    return Private({kind: frozenset(tokens(kind, ours, token))}, token).shares(kind, theirs)


@pytest.mark.parametrize(
    ("kind", "ours", "theirs", "same"),
    [
        ("kin", "1042; 7", 1042, True),
        ("kin", "1042; 7", "7", True),
        ("kin", "1042", ["9", "1042"], True),
        ("kin", "1042", "104", False),
        ("address", "12 Elm Street, Springfield", "12 ELM STREET  SPRINGFIELD", True),
        ("address", "世纪大道１００号 2-301", "世纪大道100号2-301", True),
        ("address", "世纪大道100号2-301", "世纪大道100号2-302", False),
        ("employer", "Acme Ltd.", "ACME LTD", True),
        ("surname", "张", "张伟民", True),
        ("surname", "欧阳", "欧阳娜", True),
        ("surname", "张", "章伟民", False),
        ("surname", "Keller", "Anna Keller", True),
        ("surname", "Keller", "KELLER, Anna", True),
        ("surname", "van der Berg", "Jan van der Berg", True),
        ("surname", "Keller", "Anna Kellermann", False),
        ("surname", "", "", False),
        ("address", "", "", False),
        ("address", " - ", ".", False),
    ],
)
def test_what_counts_as_the_same(kind: str, ours: str, theirs: object, same: bool) -> None:
    assert shares(kind, ours, theirs) is same


@pytest.mark.parametrize("value", [None, 1.5, {"a": 1}, object(), [], [[None]], True, "", b"1042"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_text_is_nobody_s(kind: str, value: object) -> None:
    assert not shares(kind, "1042", value)
    assert not Private({}, token).shares(kind, "1042")


@given(st.sampled_from(KINDS), st.text(max_size=40))
def test_whoever_has_the_same_text_shares_it_unless_it_is_empty(kind: str, text: str) -> None:
    if kind != "kin":
        assert shares(kind, text, text) is bool(forms(kind, text))
