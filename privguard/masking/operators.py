"""The masking operators: what each takes, what it gives, and how its output is recognised.

An operator takes JSON texts or numbers and gives text. Null stays null; a value of another JSON type, or one
at which the operator fails, is withheld (``UNSET``), and no exception ever leaves (M16, L12). What each
operator keeps of a value stands in docs/reference/masks.md; a test holds that page and this table together.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Final, TypeAlias

from msgspec import UNSET, Struct

from privguard.errors import PolicyError
from privguard.masking import formats
from privguard.masking.formats import FEW, FULL
from privguard.masking.scan import LABELS, scan, scans
from privguard.model import Mask

Scalar: TypeAlias = str | int | float
One: TypeAlias = Callable[[Any], str]
Many: TypeAlias = Callable[[Sequence[Any]], list[str] | None]

TOKEN_PREFIX: Final = "tok_"  # noqa: S105  # says what it is, opens nothing
BANDS: Final = (10_000, 50_000, 100_000, 500_000, 1_000_000, 5_000_000, 10_000_000)
"""Steps of ``band`` where the policy names none."""

_TEXT: Final[frozenset[type]] = frozenset({str})
_CODE: Final[frozenset[type]] = frozenset({str, int})
_NUMBER: Final[frozenset[type]] = frozenset({str, int, float})
_NUMERIC: Final = re.compile(r"-?[0-9]{1,30}(?:\.[0-9]{1,30})?")


class MaskTools(Struct, frozen=True):
    """What masks need from outside.

    Attributes:
        today: the calendar date in UTC, for ages.
        token: a fixed-length token of (tenant, class, value), keyed per tenant and class (M10).
    """

    today: Callable[[], date]
    token: Callable[[str, str, str], str]


class Use(Struct, frozen=True):
    """Where an operator is used: the tenant and class whose tokens it makes."""

    tenant: str
    cls: str
    tools: MaskTools


class Operator(Struct, frozen=True):
    """A mask with its arguments, ready to be applied.

    Attributes:
        accepts: Python types of the JSON values it takes.
        one: masks one value of those types.
        many: masks a column of such values faster, or gives None (or raises) where it cannot.
    """

    name: str
    accepts: frozenset[type]
    one: One
    many: Many | None = None

    def of(self, value: object) -> Any:
        """The masked value; null stays null, and what cannot be masked is UNSET."""
        if value is None or value is UNSET:
            return value
        if type(value) is Decimal:
            value = float(value)
        if type(value) not in self.accepts or (type(value) is float and not math.isfinite(value)):
            return UNSET
        return self.kept(value)

    def column(self, values: Sequence[Any]) -> list[Any]:
        """The same for many values, each None, UNSET or of an accepted type."""
        if self.many is not None and len(values) > FEW:
            try:
                masked = self.many(values)
            except Exception:  # noqa: BLE001  # one value is at fault: each is judged alone below
                masked = None
            if masked is not None:
                return masked
        one = self.one
        try:
            return [value if value is None or value is UNSET else one(value) for value in values]
        except Exception:  # noqa: BLE001  # as above
            return [value if value is None or value is UNSET else self.kept(value) for value in values]

    def kept(self, value: Any) -> Any:
        """The masked value of an accepted type; UNSET where the operator fails."""
        try:
            return self.one(value)
        except Exception:  # noqa: BLE001  # M16: whatever fails, the value is withheld and never quoted
            return UNSET


class _Kind(Struct, frozen=True):
    """One row of the table: how an operator is made, and what its output looks like."""

    accepts: frozenset[type]
    make: Callable[[Mapping[str, Any], Use], tuple[One, Many | None]]
    looks: Callable[[Mapping[str, Any]], str]
    """Pattern of a whole output, ``FULL`` aside."""


def make_operator(mask: Mask, use: Use) -> Operator:
    """The operator a mask names, with its arguments.

    Raises:
        PolicyError: no such operator, or its arguments are not possible.
    """
    kind = _kind(mask)
    one, many = kind.make(_arguments(mask), use)
    return Operator(name=mask.operator, accepts=kind.accepts, one=one, many=many)


def accepted(mask: Mask) -> frozenset[type]:
    """Python types of the JSON values that the mask takes."""
    return _kind(mask).accepts


def looks_masked(mask: Mask, value: object) -> bool:
    """Whether a value that came back may be the mask's output and not a value (M07).

    A mask whose outputs are values as well (``year``) makes no difference between the two.
    """
    if not isinstance(value, str) or mask.operator in ("clear", "withhold"):
        return False
    if mask.operator == "scan":
        return any(label in value for label in LABELS)
    return value == FULL or re.fullmatch(_kind(mask).looks(_arguments(mask)), value, re.DOTALL) is not None


# -- how each is made ----------------------------------------------------------------------------------------


def _form(form: formats.Form) -> Callable[[Mapping[str, Any], Use], tuple[One, Many | None]]:
    return lambda _args, _use: (form.one, form.many)


def _withhold(_args: Mapping[str, Any], _use: Use) -> tuple[One, Many | None]:
    return lambda _: UNSET, None  # type: ignore[return-value]  # the one that gives nothing


def _constant(args: Mapping[str, Any], _use: Use) -> tuple[One, Many | None]:
    text = _text(args)
    return lambda _: text, None


def _partial(args: Mapping[str, Any], _use: Use) -> tuple[One, Many | None]:
    first, last, fill = _parts(args)
    run = fill * 4
    return (
        lambda value: formats.partial(value, first, last, run),
        lambda values: formats.partials(values, first, last, run),
    )


def _name(_args: Mapping[str, Any], _use: Use) -> tuple[One, Many | None]:
    return formats.name, formats.names


def _age_band(args: Mapping[str, Any], use: Use) -> tuple[One, Many | None]:
    width = _width(args)

    def many(values: Sequence[Any]) -> list[str] | None:
        if set(map(type, values)) != _TEXT:
            return None
        today = use.tools.today()
        return [formats.age_band(value, today, width) for value in values]

    return lambda value: formats.age_band(value, use.tools.today(), width), many


def _band(args: Mapping[str, Any], _use: Use) -> tuple[One, Many | None]:
    steps = _steps(args)
    labels = formats.band_labels(steps)

    def one(value: Scalar) -> str:
        if isinstance(value, str):
            if not _NUMERIC.fullmatch(value):
                return FULL
            value = float(value)
        return labels[bisect_right(steps, value)]

    def many(values: Sequence[Any]) -> list[str]:
        return [labels[bisect_right(steps, value)] for value in values]  # raises at anything but numbers

    return one, many


def _hash_token(_args: Mapping[str, Any], use: Use) -> tuple[One, Many | None]:
    tenant, cls, token = use.tenant, use.cls, use.tools.token
    return lambda value: TOKEN_PREFIX + token(tenant, cls, str(value)), None


def _scan(_args: Mapping[str, Any], _use: Use) -> tuple[One, Many | None]:
    return scan, scans


def _clear(_args: Mapping[str, Any], _use: Use) -> tuple[One, Many | None]:
    return lambda value: value, None


# -- arguments, with what stands where the policy names none -------------------------------------------------


def _arguments(mask: Mask) -> Mapping[str, Any]:
    return dict(mask.args)


def _kind(mask: Mask) -> _Kind:
    kind = KINDS.get(mask.operator)
    if kind is None:
        raise PolicyError(f"there is no mask `{mask.operator}`", mend=f"known: {', '.join(KINDS)}")
    return kind


def _text(args: Mapping[str, Any]) -> str:
    return str(args.get("text", FULL))


def _parts(args: Mapping[str, Any]) -> tuple[int, int, str]:
    first, last, fill = args.get("first", 0), args.get("last", 0), args.get("fill", "*")
    if not (isinstance(first, int) and isinstance(last, int) and min(first, last) >= 0 and len(fill) == 1):
        raise PolicyError("`partial` takes whole numbers and one character", mend="{first: 1, last: 2}")
    return first, last, fill


def _width(args: Mapping[str, Any]) -> int:
    width = args.get("width", 10)
    if not isinstance(width, int) or width < 1:
        raise PolicyError("`width` of `age_band` is a number of years", mend="{age_band: 10}")
    return width


def _steps(args: Mapping[str, Any]) -> tuple[int, ...]:
    steps = tuple(args.get("steps", BANDS))
    if not steps or not all(isinstance(step, int) for step in steps) or list(steps) != sorted(set(steps)):
        raise PolicyError("`steps` of `band` are ascending whole numbers", mend="[10000, 100000]")
    return steps


# -- what outputs look like ----------------------------------------------------------------------------------


def _always(pattern: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda _: pattern


def _like_partial(args: Mapping[str, Any]) -> str:
    first, last, fill = _parts(args)
    return rf".{{{first}}}{re.escape(fill)}{{4}}.{{{last}}}"


def _like_band(args: Mapping[str, Any]) -> str:
    return "|".join(map(re.escape, formats.band_labels(_steps(args))))


_STARS: Final = r"\*{4}"
KINDS: Final[Mapping[str, _Kind]] = {
    "withhold": _Kind(_NUMBER, _withhold, _always(r"(?!)")),
    "constant": _Kind(_NUMBER, _constant, lambda args: re.escape(_text(args))),
    "partial": _Kind(_CODE, _partial, _like_partial),
    "pan_last4": _Kind(_CODE, _form(formats.PAN), _always(rf"{_STARS}[0-9]{{4}}")),
    "pan_bin_last4": _Kind(_CODE, _form(formats.PAN_BIN_LAST4), _always(rf"[0-9]{{6}}{_STARS}[0-9]{{4}}")),
    "cn_mobile_3_4": _Kind(_CODE, _form(formats.MOBILE), _always(rf"[0-9]{{3}}{_STARS}[0-9]{{4}}")),
    "cn_id_1_1": _Kind(_CODE, _form(formats.RESIDENT_ID), _always(rf"[0-9]{_STARS}[0-9Xx]")),
    "email": _Kind(_TEXT, _form(formats.EMAIL), _always(rf".{_STARS}@.+")),
    "cjk_name": _Kind(_TEXT, _name, _always(r".{1,2}\*\*")),
    "iban": _Kind(_TEXT, _form(formats.IBAN), _always(rf"[A-Z]{{2}}{_STARS}[A-Z0-9]{{4}}")),
    "year": _Kind(_TEXT, _form(formats.YEAR), _always(r"[0-9]{4}")),
    "age_band": _Kind(_TEXT, _age_band, _always(r"[0-9]{1,3}(?:-[0-9]{1,3}|\+)")),
    "band": _Kind(_NUMBER, _band, _like_band),
    "hash_token": _Kind(_CODE, _hash_token, _always(f"{TOKEN_PREFIX}.+")),
    "scan": _Kind(_TEXT, _scan, _always(r"(?!)")),
    "clear": _Kind(_NUMBER, _clear, _always(r"(?!)")),
}
"""Every operator a policy may name (``model.OPERATORS``)."""
