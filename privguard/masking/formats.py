"""The forms that masks know: what a well-formed value looks like, and which part of it may stay.

A value that does not have the form becomes ``FULL``, whatever it is: a mask never shows a part of something
it did not expect. Hidden characters become ``FULL`` as well, never one star each (M10).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from datetime import date
from typing import Final

FULL: Final = "****"
"""Stands for hidden characters, and for a whole value that does not have the expected form."""

FEW: Final = 3
"""Values up to which a column is slower than one by one."""
OLDEST: Final = 90
"""Ages from here on are one band: few people share them."""


class Form:
    """A pattern, and how many characters of what fits it stay in front and behind.

    Args:
        pattern: what a whole value looks like; ASCII only, so that full-width digits are no digits.
        last: characters, or the one from which on all stay; it stands once in what fits.
        tidy: brings a value written in another usual way into the form, where there is one.
    """

    def __init__(
        self,
        pattern: str,
        first: int,
        last: int | str,
        *,
        seam: str = FULL,
        tidy: Callable[[str], str] | None = None,
    ) -> None:
        self._whole = re.compile(pattern, re.ASCII)
        self._lines = re.compile(rf"(?:{pattern}\n)*+", re.ASCII)
        self._first = first
        self._last = last
        self._seam = seam
        self._tidy = tidy

    def one(self, value: str | int | float) -> str:
        """The mask of one value."""
        text = value if isinstance(value, str) else str(value)
        if not self._whole.fullmatch(text):
            text = self._tidy(text) if self._tidy is not None else ""
            if not self._whole.fullmatch(text):
                return FULL
        last = self._last
        back = len(text) - last if isinstance(last, int) else text.index(last)
        return f"{text[: self._first]}{self._seam}{text[back:]}"

    def many(self, values: Sequence[str]) -> list[str] | None:
        """The masks of many texts at once; None where one of them does not have the form as it stands."""
        lines = "\n".join((*values, ""))
        if lines.count("\n") > len(values):  # a value of several lines could pass for several values
            return None
        if not self._lines.fullmatch(lines):
            return None
        first, last, seam = self._first, self._last, self._seam
        if isinstance(last, int):
            return ends(values, first, last, seam)
        parts = lines[:-1].replace(last, f"\n{last}").split("\n")
        pairs = zip(parts[::2], parts[1::2], strict=True)
        return [f"{front[:first]}{seam}{back}" for front, back in pairs]


def ends(values: Sequence[str], first: int, last: int, seam: str) -> list[str]:
    """The first and last characters of each value around a seam."""
    if len(values) > FEW and "\n" not in seam:
        lines, width = "\n".join((*values, "")), len(values[0]) + 1
        breaks = "\n" * len(values)
        if lines.isascii() and lines[width - 1 :: width] == breaks and lines.count("\n") == len(values):
            return _even_ends(lines.encode(), width, first, last, seam.encode())
    if not last:
        return [value[:first] + seam for value in values]
    return [value[:first] + seam + value[-last:] for value in values]


def _even_ends(lines: bytes, width: int, first: int, last: int, seam: bytes) -> list[str]:
    """The same of lines of one width, place by place, which costs a third."""
    line = bytes(first) + seam + bytes(last) + b"\n"
    out = bytearray(line * (len(lines) // width))
    for at in (*range(first), *range(-1 - last, -1)):
        out[at % len(line) :: len(line)] = lines[at % width :: width]
    return out.decode().split("\n")[:-1]


def _bare(text: str) -> str:
    return text.replace(" ", "").replace("-", "")


def _national(text: str) -> str:
    bare = _bare(text)
    return bare.removeprefix("+86") if bare.startswith("+") else bare.removeprefix("0086")


MOBILE: Final = Form("1[3-9][0-9]{9}", 3, 4, tidy=_national)
RESIDENT_ID: Final = Form("[1-9][0-9]{16}[0-9Xx]", 1, 1)
PAN: Final = Form("[0-9]{13,19}", 0, 4, tidy=_bare)
PAN_BIN_LAST4: Final = Form("[0-9]{15,19}", 6, 4, tidy=_bare)
IBAN: Final = Form("[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}", 2, 4, tidy=lambda text: _bare(text).upper())
EMAIL: Final = Form(r"[A-Za-z0-9][A-Za-z0-9._%+-]{2,63}@[A-Za-z0-9-]{1,63}\.[A-Za-z0-9.-]{2,190}", 1, "@")
_DAY: Final = "-[01][0-9]-[0-3][0-9]"
_CLOCK: Final = r"(?:[T ][0-9:.,+Z-]{1,30})?"
YEAR: Final = Form(rf"[12][0-9]{{3}}{_DAY}{_CLOCK}", 4, 0, seam="")


# -- dates and numbers --------------------------------------------------------------------------------------


def age_band(value: str, today: date, width: int) -> str:
    """The band of whole years since a date of birth (``YYYY-MM-DD`` or an ISO date and time)."""
    if YEAR.one(value) == FULL:
        return FULL
    try:
        born = date.fromisoformat(value[:10])
    except ValueError:
        return FULL
    age = today.year - born.year - ((today.month, today.day) < (born.month, born.day))
    if age < 0:
        return FULL
    if age >= OLDEST:
        return f"{OLDEST}+"
    low = age - age % width
    return f"{low}-{min(low + width, OLDEST) - 1}"


def band_labels(steps: Sequence[int]) -> tuple[str, ...]:
    """The names of the bands that ``steps`` cut; an upper end belongs to the next band."""
    between = [f"{low}-{high}" for low, high in itertools.pairwise(steps)]
    return (f"<{steps[0]}", *between, f">={steps[-1]}")


# -- names --------------------------------------------------------------------------------------------------

_HAN_RANGE: Final = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_HAN: Final = re.compile(rf"[{_HAN_RANGE}]+")
_DOTTED: Final = re.compile(rf"[{_HAN_RANGE}]+(?:[·•‧・][{_HAN_RANGE}]+)+")
_LATIN: Final = re.compile(r"[A-Za-z\u00c0-\u024f][A-Za-z\u00c0-\u024f .,'’-]{1,63}")
_LONGEST_NAME: Final = 20
_COMPOUNDS: Final = (
    "欧阳歐陽太史端木上官司马司馬东方東方独孤獨孤南宫南宮万俟闻人聞人夏侯诸葛諸葛尉迟尉遲公羊赫连赫連"
    "澹台澹臺皇甫宗政濮阳濮陽公冶太叔申屠公孙公孫慕容仲孙仲孫钟离鍾離长孙長孫宇文司徒鲜于鮮于司空闾丘"
    "閭丘子车亓官司寇巫马巫馬公西颛孙壤驷公良漆雕乐正宰父谷梁拓跋夹谷轩辕軒轅令狐段干百里呼延东郭東郭"
    "南门羊舌微生梁丘左丘西门西門第五南荣东里东宫即墨达奚褚师"
)
_COMPOUND: Final = frozenset(map("".join, zip(*[iter(_COMPOUNDS)] * 2, strict=True)))
_COMPOUND_FIRST: Final = frozenset(name[0] for name in _COMPOUND)
_STARS: Final = "**"


def name(value: str) -> str:
    """The surname of a Chinese name, the first letter of a Latin one, and two stars for any rest."""
    text = value.strip()
    if not 2 <= len(text) <= (64 if text.isascii() else _LONGEST_NAME * 3):
        return FULL
    if _HAN.fullmatch(text):
        return FULL if len(text) > _LONGEST_NAME else _surname(text)
    if _DOTTED.fullmatch(text) or _LATIN.fullmatch(text):
        return text[0] + _STARS
    return FULL


def names(values: Sequence[str]) -> list[str] | None:
    """The same for many; None where one of them is not wholly Chinese."""
    lengths = set(map(len, values))
    if min(lengths) < 2 or max(lengths) > _LONGEST_NAME or not _HAN.fullmatch("".join(values)):
        return None
    letters = [value[0] for value in values]
    if _COMPOUND_FIRST.isdisjoint(letters):
        return [letter + _STARS for letter in letters]
    return [_surname(value) for value in values]


def _surname(text: str) -> str:
    return (text[:2] if text[:2] in _COMPOUND and len(text) > 2 else text[0]) + _STARS


# -- parts --------------------------------------------------------------------------------------------------

_ENOUGH: Final = re.compile(r"(?:[\W_]*[^\W_]){4}")


def partial(value: str | int | float, first: int, last: int, run: str) -> str:
    """The first and last characters around ``run``, if at least four letters or digits stay hidden."""
    text = (value if isinstance(value, str) else str(value)).strip()
    end = len(text) - last
    hidden = text[first:end] if end > first else ""
    if (len(hidden) >= 4 and hidden.isalnum()) or _ENOUGH.match(hidden):
        return text[:first] + run + text[end:]
    return FULL


def partials(values: Sequence[str], first: int, last: int, run: str) -> list[str] | None:
    """The same for many; None where one of them is not as it should be."""
    joined = "".join(values)
    if joined.split() != [joined] and tuple(map(str.strip, values)) != tuple(values):
        return None
    if min(map(len, values)) < first + last + 4:
        return None
    end = -last or None
    if not "".join([value[-last - 4 : end] for value in values]).isalnum():  # mostly so, and enough
        hidden = [value[first:end] for value in values]
        if not all(map(_ENOUGH.match, hidden)):
            return None
    return ends(values, first, last, run)
