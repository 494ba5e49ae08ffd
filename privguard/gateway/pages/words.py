"""The pages' words, in each language under the same keys, and which language a browser wants."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

_FILES: Final = Path(__file__).with_name("words")


class Words(Struct, frozen=True):
    """One language's texts; ``lang`` is a BCP 47 tag.

    Attributes:
        details: what an English detail of an error or rule reads like, and what it says in this language.
        fields: what the policy calls its fields in this language.
    """

    lang: str
    texts: Mapping[str, str]
    details: tuple[tuple[re.Pattern[str], str], ...]
    fields: Mapping[str, str] = {}

    def __call__(self, key: str, **values: object) -> str:
        """The text of a key, with its values put in."""
        return self.texts[key].format_map(values)

    def named(self, fields: Iterable[str]) -> list[str]:
        """Fields as people call them, each with the name that rules and headers have for it."""
        return [f"{self.fields[each]} ({each})" if each in self.fields else each for each in fields]

    def count(self, key: str, n: int) -> str:
        """The text for a number of things."""
        return self(f"{key}.{'one' if n == 1 else 'many'}", n=n)

    def lasting(self, seconds: int) -> str:
        """A span of time."""
        return self.count("seconds", seconds) if seconds % 60 else self.count("minutes", seconds // 60)

    def has(self, key: str) -> bool:
        return key in self.texts

    def detail(self, english: str) -> tuple[str, str]:
        """A detail in this language, or as it is; with the language that it then is in."""
        for pattern, text in self.details:
            if found := pattern.fullmatch(english):
                return text.format_map(found.groupdict()), self.lang
        return english, "en"


def _read(lang: str) -> Words:
    texts: dict[str, Any] = tomllib.loads((_FILES / f"{lang}.toml").read_text("utf-8"))
    details = texts.pop("details", {})
    return Words(lang, texts, tuple((_pattern(english), text) for english, text in details.items()))


def _pattern(english: str) -> re.Pattern[str]:
    """``{name}`` in it stands for anything."""
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+?)", re.escape(english)))


WORDS: Final = {lang: _read(lang) for lang in ("en", "zh")}


def language(asked: str, kept: str, accepted: str) -> str:
    """The language of a page: as asked for, as kept before, as the browser says.

    Args:
        accepted: an Accept-Language header (RFC 9110 §12.5.4).
    """
    for said in (asked, kept):
        if said in WORDS:
            return said
    wanted = sorted((_range(each) for each in accepted.split(",")[:20]), key=lambda pair: -pair[1])
    return next((lang for lang, weight in wanted if lang in WORDS and weight > 0), "en")


def _range(text: str) -> tuple[str, float]:
    tag, _, weight = text.partition(";")
    try:
        return tag.strip().lower()[:2], float(weight.strip().removeprefix("q=") or 1)
    except ValueError:
        return "", 0.0
