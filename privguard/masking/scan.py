"""Takes telephone numbers, identity numbers, cards, accounts and addresses out of free text.

It fails closed: any run of seven or more digits goes, whatever it is; the validators only choose the label
that stands in its place. Names, street addresses and numbers written in words are not found: where those
must not leave, the class is ``withhold``.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

import phonenumbers
from stdnum import iban, luhn
from stdnum.cn import ric

LABELS: Final = ("[phone]", "[id]", "[card]", "[iban]", "[email]", "[date]", "[number]")

# Between two digits: spaces, dashes, dots, brackets and slashes of both widths, and what is not seen (M09).
_GAP: Final = r"[\s\-\u2010-\u2015\u2212\uff0d.\uff0e·()\uff08\uff09/\uff0f_\u200b-\u200d\u2060\ufeff]{0,8}"
_DIGIT: Final = "[0-9\uff10-\uff19\u0660-\u0669\u06f0-\u06f9]"
_RUN: Final = re.compile(
    rf"[+\uff0b]?{_DIGIT}(?:{_GAP}{_DIGIT}){{6,}}(?:{_GAP}[Xx\uff38\uff58](?![A-Za-z]))?"
)
_FIRST: Final = re.compile(rf"{_DIGIT}(?:{_GAP}{_DIGIT}){{6}}").search
_AT: Final = re.compile(r"[@\uff20\ufe6b]")
# The look-behind and the possessive `++` keep it linear on long texts.
_EMAIL: Final = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]++@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}"
)
_WORD: Final = re.compile(r"[^\s,;:<>()，。；：、（）]+")
_IBAN: Final = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}[0-9]{2}(?:[ -]?[A-Z0-9]){11,30}(?![A-Za-z0-9])")
_MOBILE: Final = re.compile(r"(?:\+?86|0086)?1[3-9][0-9]{9}")
_DATE: Final = re.compile(r"(?:19|20)[0-9]{2}([-./ ])(?:0?[1-9]|1[0-2])\1(?:0?[1-9]|[12][0-9]|3[01])")
_WIDE: Final = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20, 0xFE6B: 0x40}
_PARSES: Final = 16
"""Runs of one text that are given to the telephone validator (20 to 50 µs each); the rest is ``[number]``."""


def scan(text: str) -> str:
    """The text with a fixed label for everything that is or could be an identifying number or address."""
    if _AT.search(text):
        text = _without_addresses(text)
    if _FIRST(text) is None:
        return text
    return _RUN.sub(_Labels(), _without_accounts(text))


def _without_addresses(text: str) -> str:
    narrow = text.translate(_WIDE)
    text, narrow = (_replaced(each, _EMAIL, narrow) for each in (text, narrow))
    return _replaced(text, _WORD, narrow) if "@" in narrow else text  # addresses of any script


def _replaced(text: str, pattern: re.Pattern[str], narrow: str) -> str:
    """``text`` with a label where ``narrow``, which is as long, has an ``@`` in what the pattern finds."""
    pieces, at = list[str](), 0
    for match in pattern.finditer(narrow):
        if "@" in match[0]:
            pieces += (text[at : match.start()], "[email]")
            at = match.end()
    return "".join((*pieces, text[at:]))


def _without_accounts(text: str) -> str:
    def label(match: re.Match[str]) -> str:
        return "[iban]" if iban.is_valid(match[0]) else match[0]

    return _IBAN.sub(label, text)


class _Labels:
    """Chooses the label of each run of digits in one text."""

    def __init__(self) -> None:
        self._parses = 0

    def __call__(self, match: re.Match[str]) -> str:
        run = match[0] if match[0].isascii() else unicodedata.normalize("NFKC", match[0])
        digits = "".join(char for char in run if char in "0123456789+Xx")
        if _MOBILE.fullmatch(digits):
            return "[phone]"
        if len(digits) == 18 and ric.is_valid(digits.upper()):
            return "[id]"
        if 13 <= len(digits) <= 19 and luhn.is_valid(digits):
            return "[card]"
        if _DATE.fullmatch(run):
            return "[date]"
        return "[phone]" if self._is_phone(run) else "[number]"

    def _is_phone(self, run: str) -> bool:
        self._parses += 1
        if self._parses > _PARSES or len(run) > 40:
            return False
        try:
            return phonenumbers.is_valid_number(phonenumbers.parse(run, "CN"))
        except phonenumbers.NumberParseException:
            return False
