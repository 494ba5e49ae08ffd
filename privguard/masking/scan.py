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
_DIGITS: Final = "0-9\uff10-\uff19\u0660-\u0669\u06f0-\u06f9"
_REST: Final = rf"(?:{_GAP}[{_DIGITS}]){{6,}}+(?:{_GAP}[Xx\uff38\uff58](?![A-Za-z]))?"
_RUN: Final = re.compile(rf"[+\uff0b{_DIGITS}]{_REST}")
_ACCOUNT: Final = r"[A-Z][0-9]{2}(?:[ -]?[A-Z0-9]){11,30}+"
_AT: Final = "@\uff20\ufe6b"
# One set of first characters lets the engine skip other text quickly: 0.5 against 5 us for 150 characters.
_FOUND: Final = re.compile(
    rf"[+\uff0b{_DIGITS}A-Z{_AT}](?:(?<=[A-Z]){_ACCOUNT}|(?<![A-Z{_AT}]){_REST}|(?<=[{_AT}]))"
).search
# The look-behind and the possessive `++` keep it linear on long texts.
_EMAIL: Final = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]++@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}"
)
_WORD: Final = re.compile(r"[^\s,;:<>()，。；：、（）]+")
_MOBILE: Final = re.compile(r"(?:\+?86|0086)?1[3-9][0-9]{9}")
_DATE: Final = re.compile(r"(?:19|20)[0-9]{2}([-./ ])(?:0?[1-9]|1[0-2])\1(?:0?[1-9]|[12][0-9]|3[01])")
_WIDE: Final = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20, 0xFE6B: 0x40}
_NOT_DIGITS: Final = re.compile(r"[^0-9+X]+")
_PARSES: Final = 16
"""Runs of one text that are given to the telephone validator (20 to 50 us each); the rest is ``[number]``."""


def scan(text: str) -> str:
    """The text with a fixed label for everything that is or could be an identifying number or address."""
    match = _FOUND(text)
    return text if match is None else _labelled(text, match)


def _labelled(text: str, match: re.Match[str] | None) -> str:
    """The text with labels, from its first match on; a loop, since ``sub`` costs a third more."""
    pieces, at, labels = list[str](), 0, _Labels()
    while match is not None:
        start, end = match.span()
        found = match[0]
        if found in _AT:
            return scan(_without_addresses(text))
        pieces.append(text[at:start])
        pieces.append(labels.of(found))
        at = end
        match = _FOUND(text, at)
    pieces.append(text[at:])
    return "".join(pieces)


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


class _Labels:
    """Chooses the label of what was found in one text."""

    __slots__ = ("_parses",)

    def __init__(self) -> None:
        self._parses = 0

    def of(self, found: str) -> str:
        """The label in place of a run of digits or of an account number."""
        if _MOBILE.fullmatch(found):
            return "[phone]"
        if found[0].isupper():
            return "[iban]" if iban.is_valid(found) else _RUN.sub(lambda run: self.of(run[0]), found)
        run = found if found.isascii() else unicodedata.normalize("NFKC", found)
        digits = _NOT_DIGITS.sub("", run.upper())
        if _MOBILE.fullmatch(digits):
            return "[phone]"
        if len(digits) == 18 and ric.is_valid(digits):
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
