"""Takes telephone numbers, identity numbers, cards, accounts and addresses out of free text.

It fails closed: any run of seven or more digits goes, whatever it is; the validators only choose the label
that stands in its place. Names, street addresses and numbers written in words are not found: where those
must not leave, the class is ``withhold``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Final

import phonenumbers
from stdnum import iban, luhn
from stdnum.cn import ric

LABELS: Final = ("[phone]", "[id]", "[card]", "[iban]", "[email]", "[date]", "[number]")

_SEEN: Final = (
    r"\s.\uff0e·\u2022\u2024\u2027\u30fb()\uff08\uff09/\uff0f_"
    r"\-\u2010-\u2015\u2043\u2212\ufe58\ufe63\uff0d~\u301c\uff5e"
)
_UNSEEN: Final = (
    r"\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u20e3"
    r"\u3164\ufe00-\ufe0f\ufeff\uffa0"
)
# Between two digits: spaces, dashes, dots, brackets and slashes of both widths, and what is not seen, such as
# joiners, direction marks, soft hyphens, variation selectors and keycaps (M09).
_GAP: Final = f"[{_SEEN}{_UNSEEN}]{{0,8}}"
# Of every script in the first plane, as one set that the engine looks up; its `\d` takes twice as long.
_DIGITS: Final = "".join(filter(str.isdecimal, map(chr, range(0x10000))))
_REST: Final = (
    rf"(?:[{_DIGITS}]{{6,}}(?:{_GAP}[{_DIGITS}])*|(?:{_GAP}[{_DIGITS}]){{6,}})"
    r"(?:%s[Xx\uff38\uff58](?![A-Za-z]))?" % _GAP
)
_RUN: Final = re.compile(rf"[+\uff0b{_DIGITS}]{_REST}")
_ACCOUNT: Final = r"[A-Z][0-9]{2}(?:[ -]?[A-Z0-9]){11,30}"
_AT: Final = ("@", "\uff20", "\ufe6b")
# One set of first characters lets the engine skip other text quickly: 0.5 against 5 us for 150 characters.
_FOUND: Final = re.compile(rf"([+\uff0b{_DIGITS}A-Z](?:(?<=[A-Z]){_ACCOUNT}|(?<![A-Z]){_REST}))")
# The look-behind and the possessive `++` keep it linear on long texts.
_EMAIL: Final = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]++@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}"
)
_WORD: Final = re.compile(r"[^\s,;:<>()，。；：、（）]+")
_MOBILE: Final = re.compile(r"(?:\+?86|0086)?1[3-9][0-9]{9}").fullmatch
_MOBILES: Final = re.compile(r"(?:(?:\+?86|0086)?1[3-9][0-9]{9}\n)*+").fullmatch
_DATE: Final = re.compile(r"(?:19|20)[0-9]{2}([-./ ])(?:0?[1-9]|1[0-2])\1(?:0?[1-9]|[12][0-9]|3[01])")
_WIDE: Final = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20, 0xFE6B: 0x40}
_NOT_DIGITS: Final = re.compile(r"[^0-9+X]+")
_PARSES: Final = 16
"""Runs of one text that the telephone validator may see (20 to 50 us each); the rest is ``[number]``."""
_SEAM: Final = "\0"
"""Between texts that are looked through together; no run goes over it."""


def scan(text: str) -> str:
    """The text with a fixed label for everything that is or could be an identifying number or address."""
    return _labelled(_without_addresses(text), seam="")


def scans(texts: Sequence[str]) -> list[str] | None:
    """The same for many; None where a text has what would part it."""
    joined = _SEAM.join((*texts, ""))
    if joined.count(_SEAM) > len(texts):
        return None
    if _addressed(joined):
        joined = _SEAM.join((*map(_without_addresses, texts), ""))
    return _labelled(joined, seam=_SEAM).split(_SEAM)[:-1]


def _labelled(text: str, seam: str) -> str:
    """The text with a label for each run; each of the texts that ``seam`` parts has its share of parses."""
    parts = _FOUND.split(text)  # beside what is found stands what is not; ``sub`` costs twice as much
    found = parts[1::2]
    parts[1::2] = ["[phone]"] * len(found) if _all_mobile(found) else _labels(parts, seam)
    return "".join(parts)


def _all_mobile(found: Sequence[str]) -> bool:
    lines = "\n".join((*found, ""))
    return lines.count("\n") == len(found) and _MOBILES(lines) is not None


def _labels(parts: Sequence[str], seam: str) -> Iterator[str]:
    parses = _PARSES
    for before, found in zip(parts[::2], parts[1::2], strict=False):
        if seam and seam in before:
            parses = _PARSES
        yield _label(found, parse=parses > 0)
        parses -= 1


def _addressed(text: str) -> bool:
    return any(at in text for at in _AT)


def _without_addresses(text: str) -> str:
    if not _addressed(text):
        return text
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


def _label(found: str, *, parse: bool) -> str:
    """The label in place of a run of digits or of an account number."""
    if found[0].isupper():
        return "[iban]" if iban.is_valid(found) else _RUN.sub(lambda run: _label(run[0], parse=parse), found)
    run = found if found.isascii() else unicodedata.normalize("NFKC", found)
    digits = _NOT_DIGITS.sub("", run.upper())
    if _MOBILE(digits):
        return "[phone]"
    if len(digits) == 18 and ric.is_valid(digits):
        return "[id]"
    if 13 <= len(digits) <= 19 and luhn.is_valid(digits):
        return "[card]"
    if _DATE.fullmatch(run):
        return "[date]"
    return "[phone]" if parse and _is_phone(run) else "[number]"


def _is_phone(run: str) -> bool:
    if len(run) > 40:
        return False
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(run, "CN"))
    except phonenumbers.NumberParseException:
        return False
