"""The small notations inside a policy file: durations, quotas, masks, paths and route templates.

Each function reads one text and gives the value, or raises ``NotationError`` with what is wrong and the mend;
the loader adds the place. Field paths are shared with masking, which parses the same grammar when it runs.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from privguard.model import OPERATORS, Mask, Verb

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

_SUFFIXES: Final = r"(?:\[\*\]|\{json\})*"
_KEY: Final = r'(?:"[^"\\\x00-\x1f]+"|[^\s."\[\]{}<>*$]+)'
_SEGMENT: Final = rf"(?:{_KEY}|\*|<[A-Za-z_][\w-]*>){_SUFFIXES}"
_FIELD_PATH: Final = re.compile(rf"{_SEGMENT}(?:\.{_SEGMENT})*")
_RECORD_PLACE: Final = re.compile(rf"\${_SUFFIXES}(?:\.{_SEGMENT})*")
_RECORD_VALUE: Final = re.compile(rf"{_KEY}(?:\.{_KEY})*")
_STEP: Final = re.compile(rf"{_KEY}|\[\*\]|\{{json\}}|\*|<[A-Za-z_][\w-]*>")
_KEY_CLASS: Final = re.compile(r"<([A-Za-z_][\w-]*)>")
_QUOTED: Final = re.compile(r'"[^"]*"')
_ROUTE_PARAMETER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")

_BULK: Final = (".csv", ".xlsx", ".ndjson", ".xml")
_VERBS: Final = {
    "GET": Verb.READ,
    "POST": Verb.CREATE,
    "PUT": Verb.UPDATE,
    "PATCH": Verb.UPDATE,
    "DELETE": Verb.DELETE,
}


class NotationError(Exception):
    """A text that is not of its notation."""

    def __init__(self, detail: str, mend: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
        self.mend = mend


class Template(Struct, frozen=True):
    """A route template.

    Attributes:
        parts: segments; ``{name}`` is a parameter, a last ``*`` stands for one or more segments.
        verb: what the method (and a bulk format's ending) says the route does.
    """

    text: str
    method: str
    parts: tuple[str, ...]
    verb: Verb

    @property
    def open_ended(self) -> bool:
        return self.parts[-1] == "*"


def seconds(duration: str) -> int:
    """Seconds of a duration such as ``30m``."""
    return int(duration[:-1]) * _SECONDS[duration[-1]]


def minutes(clock: str) -> int:
    """Minutes of a time of day such as ``08:30``."""
    return int(clock[:2]) * 60 + int(clock[3:])


def quota(text: str) -> tuple[int, int]:
    """Number and seconds of a quota such as ``30/day``."""
    number, _, unit = text.partition("/")
    return int(number), _SECONDS[unit[0]]


def nearest(name: str, known: Iterable[str]) -> str:
    """A mend that names the nearest known name, or all of them when there are few."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean `{close[0]}`?"
    return f"known: {', '.join(names)}" if 0 < len(names) <= 12 else ""


def field_path(path: str) -> None:
    """Checks a field path below a record: ``cards[*].pan``, ``by_mobile.<contact>.balance``."""
    mend = 'such as address.city, cards[*].pan, limits.*, by_no.<contact>.sum, payload{json}.x, "a.b".c'
    _check(_FIELD_PATH, path, "a field path", mend)


def key_classes(path: str) -> list[str]:
    """The classes of map keys that a field path names."""
    return _KEY_CLASS.findall(_QUOTED.sub("", path))


def steps(path: str) -> tuple[str, ...]:
    """The steps of a field path or place: bare names, ``*``, ``<class>``, ``[*]`` and ``{json}``.

    A quoted name comes with its quotes where it would be read as another step without them.
    """
    found = _STEP.findall(path.removeprefix("$"))
    return tuple(_bare(step) for step in found)


def _bare(step: str) -> str:
    if not step.startswith('"'):
        return step
    name = step[1:-1]
    return step if name in ("*", "[*]", "{json}") or _KEY_CLASS.fullmatch(name) else name


def record_place(path: str) -> None:
    """Checks a place of records in an answer: ``$``, ``$.items[*]``."""
    _check(_RECORD_PLACE, path, "a place in an answer", "begin with $: $, $.client, $.items[*]")


def record_value(path: str) -> None:
    """Checks a path to one value of a record: ``tier``, ``profile.tier``."""
    _check(_RECORD_VALUE, path, "a path to one value", "names with dots between: profile.tier")


def _check(form: re.Pattern[str], path: str, what: str, mend: str) -> None:
    if len(path) > 300 or not form.fullmatch(path):
        raise NotationError(f"`{path[:80]}` is not {what}", mend)


def id_path(path: str) -> None:
    """Checks whose record it is: a record path or ``{parameter}``."""
    if not _ROUTE_PARAMETER.fullmatch(path):
        record_value(path)


def parameter(name: str) -> None:
    """Checks a query parameter, which may hold one ``*``."""
    if not name or len(name) > 100 or name.count("*") > 1 or name == "*":
        raise NotationError(f"`{name[:80]}` is not a parameter", "a name, with at most one *: filter[*]")


def template(text: str, action: Verb | None = None) -> Template:
    """Reads ``METHOD /path/{parameter}``.

    Args:
        action: what the route does, where its method does not say.
    """
    method, _, path = text.partition(" ")
    if method == "HEAD":
        raise NotationError("HEAD is matched by the route's GET", f"GET {path}")
    if method not in _VERBS:
        raise NotationError(f"`{text[:80]}` does not begin with a method", "GET, POST, PUT, PATCH or DELETE")
    if not path.startswith("/") or "?" in path or "#" in path or " " in path:
        raise NotationError(f"`{text[:80]}` is not a route", "a path from / without query: GET /clients/{id}")
    parts = tuple(path[1:].split("/"))
    _parts(text, parts)
    bulk = method == "GET" and parts[-1].endswith(_BULK)
    return Template(text, method, parts, action or (Verb.EXPORT if bulk else _VERBS[method]))


def _parts(text: str, parts: tuple[str, ...]) -> None:
    names = [match[1] for part in parts if (match := _ROUTE_PARAMETER.fullmatch(part))]
    if len(set(names)) < len(names):
        raise NotationError(f"`{text[:80]}` names a parameter twice", "name them apart")
    for position, part in enumerate(parts):
        last = position == len(parts) - 1
        if part in (".", "..") or (not part and len(parts) > 1):
            raise NotationError(
                f"`{text[:80]}` holds an empty or dot segment", "no request can have that path"
            )
        if part == "*" and last:
            continue
        if ("{" in part or "}" in part or "*" in part) and not _ROUTE_PARAMETER.fullmatch(part):
            raise NotationError(f"`{part[:80]}` is not a segment", "plain, {parameter}, or * as the last")


def mask(spec: str | Mapping[str, object]) -> Mask:
    """Reads a masking operator: a name, ``{name: {argument: value}}`` or ``{name: value}``."""
    given: Mapping[str, object] = {}
    if isinstance(spec, str):
        operator = spec
    elif len(spec) == 1:
        [(operator, inner)] = spec.items()
        given = _arguments(operator, inner)
    else:
        raise NotationError("a mask is one operator", "{partial: {first: 1, last: 2}}")
    if operator not in OPERATORS:
        raise NotationError(f"there is no mask `{operator[:40]}`", nearest(operator, OPERATORS))
    for name in given:
        if name not in OPERATORS[operator]:
            raise NotationError(
                f"`{operator}` has no argument `{name[:40]}`", nearest(name, OPERATORS[operator])
            )
    if operator == "constant" and "text" not in given:
        raise NotationError("`constant` needs its text", '{constant: "***"}')
    return Mask(
        operator, tuple((name, _argument(operator, name, value)) for name, value in sorted(given.items()))
    )


def _arguments(operator: str, inner: object) -> Mapping[str, object]:
    if isinstance(inner, Mapping):
        return inner
    names = OPERATORS.get(operator, ())
    if len(names) != 1:
        raise NotationError(
            f"`{operator[:40]}` needs its arguments by name", "{partial: {first: 1, last: 2}}"
        )
    return {names[0]: inner}


def _argument(operator: str, name: str, value: object) -> str | int | tuple[str | int, ...]:
    """An argument of its type: texts, whole numbers, ascending steps."""
    if name == "steps":
        if isinstance(value, Sequence) and not isinstance(value, str) and value and _ascending(value):
            return tuple(value)
        raise NotationError("`steps` are ascending whole numbers above 0", "[10000, 100000]")
    if name in ("text", "fill"):
        if isinstance(value, str) and (name == "text" or len(value) == 1):
            return value
        raise NotationError(f"`{name}` of `{operator}` is {'one character' if name == 'fill' else 'text'}")
    least = 1 if name == "width" else 0
    if isinstance(value, int) and not isinstance(value, bool) and least <= value <= 100:
        return value
    raise NotationError(f"`{name}` of `{operator}` is a whole number from {least} to 100")


def _ascending(values: Sequence[object]) -> bool:
    numbers = [value for value in values if isinstance(value, int) and not isinstance(value, bool)]
    return len(numbers) == len(values) and numbers == sorted(set(numbers)) and numbers[0] > 0
