"""The words of the pages: the same keys and values in each language, all of them in use."""

from __future__ import annotations

import re
from pathlib import Path
from string import Formatter

import pytest

from privguard import gateway
from privguard.gateway.pages.words import WORDS, language

PAGES = Path(gateway.__file__).parent / "pages"
USED = "".join(file.read_text() for file in [*PAGES.glob("*.py"), *PAGES.glob("templates/*.html")])


def values(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def test_each_language_has_the_same_keys_and_values() -> None:
    english, chinese = WORDS["en"].texts, WORDS["zh"].texts
    assert english.keys() == chinese.keys()
    for key, text in english.items():
        assert values(text) == values(chinese[key]), key
        assert text.isascii() or "…" in text, key


def test_every_key_is_in_use() -> None:
    def used(key: str) -> bool:
        stem = key.removesuffix(".one").removesuffix(".many")
        parts = stem.split(".")
        computed = any(
            re.search(
                rf'"{re.escape(".".join(parts[:n]))}\." ~|f"{re.escape(".".join(parts[:n]))}\.\{{', USED
            )
            for n in range(1, len(parts))
        )
        return f'"{stem}"' in USED or f"'{stem}'" in USED or computed

    assert [key for key in WORDS["en"].texts if not used(key)] == []


def test_every_detail_that_is_translated_stands_in_the_code() -> None:
    root = Path(gateway.__file__).parent.parent
    code = "".join(file.read_text() for file in root.rglob("*.py"))
    plain = re.sub(r"\{[^{}]*\}", "{}", code)
    for pattern, text in WORDS["zh"].details:
        english = re.sub(r"\(\?P<\w+>\.\+\?\)", "{}", pattern.pattern).replace("\\", "")
        assert english in plain, english
        assert values(text) == set(pattern.groupindex)
    assert WORDS["zh"].detail("at least 10 characters") == ("至少 10 个字", "zh")
    assert WORDS["zh"].detail("something else") == ("something else", "en")


@pytest.mark.parametrize(
    ("asked", "kept", "accepted", "expected"),
    [
        ("", "", "", "en"),
        ("zh", "en", "en", "zh"),
        ("", "zh", "en", "zh"),
        ("xx", "../zh", "zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("", "", "fr-FR, en;q=0.3, zh;q=0.5", "zh"),
        ("", "", "zh;q=0, en;q=0.1", "en"),
        ("", "", "zh;q=x, fr", "en"),
    ],
)
def test_the_language_is_the_one_asked_for_kept_or_accepted(
    asked: str, kept: str, accepted: str, expected: str
) -> None:
    assert language(asked, kept, accepted) == expected
