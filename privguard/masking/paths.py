"""Field paths and record places, parsed once into steps.

    path    = segment *("." segment)                     below a record:  cards[*].pan
    place   = "$" suffixes *("." segment)                in an answer:    $.items[*]
    segment = ( name | '"' any name '"' | "*" | "<" class ">" ) suffixes
    suffixes = *( "[*]" | "{json}" )

``*`` is any key of a map whose keys are not client data; ``<class>`` any key of a map whose keys are data of
that class (M05). ``{json}`` says that the value is a string that holds JSON.
"""

from __future__ import annotations

import re
from typing import Final, TypeAlias

from msgspec import Struct

from privguard.errors import PolicyError


class Key(Struct, frozen=True):
    """The member of an object with this name."""

    name: str


class AnyKey(Struct, frozen=True):
    """Every member of a map; its keys may leave."""


class ClassKey(Struct, frozen=True):
    """Every member of a map whose keys are data of class ``cls``."""

    cls: str


class Each(Struct, frozen=True):
    """Every element of an array."""


class InText(Struct, frozen=True):
    """What a string holds as JSON."""


Step: TypeAlias = Key | AnyKey | ClassKey | Each | InText
Path: TypeAlias = tuple[Step, ...]

_SUFFIX: Final = r"\[\*\]|\{json\}"
_SEGMENT: Final = re.compile(
    rf'(?:"(?P<quoted>[^"\\\x00-\x1f]+)"|(?P<name>[^\s\\\x00-\x1f."\[\]{{}}<>*$]+)|(?P<any>\*)|<(?P<cls>[A-Za-z_][\w-]*)>)'
    rf"(?P<suffixes>(?:{_SUFFIX})*)(?:\.(?=.)|\Z)"
)
_ROOT: Final = re.compile(rf"\$(?P<suffixes>(?:{_SUFFIX})*)(?:\.(?=.)|\Z)")
_ROUTE_PARAMETER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


def parse_path(text: str) -> Path:
    """The steps of a field path below a record.

    Raises:
        PolicyError: the text is not a field path.
    """
    return _steps(text, 0, text)


def parse_place(text: str) -> Path:
    """The steps of a place in an answer; the leading ``$`` (or ``$.``) may be left out.

    Raises:
        PolicyError: the text is not a place.
    """
    root = _ROOT.match(text)
    if root is None:
        return _steps(text, 0, text)
    return (*_suffixes(root["suffixes"]), *_steps(text, root.end(), text, least=0))


def parse_value(text: str) -> tuple[str, ...]:
    """The names of a path to one value of a record: ``tier``, ``profile.tier``.

    Raises:
        PolicyError: the text has other steps than names.
    """
    steps = parse_path(text)
    names = tuple(step.name for step in steps if isinstance(step, Key))
    if len(names) < len(steps):
        raise PolicyError(
            f"`{text}` is not a path to one value", mend="names with dots between: profile.tier"
        )
    return names


def route_parameter(text: str) -> str | None:
    """The name in ``{name}``; None if the text is a path."""
    match = _ROUTE_PARAMETER.fullmatch(text)
    return match[1] if match else None


def _steps(text: str, position: int, whole: str, least: int = 1) -> Path:
    steps: list[Step] = []
    while position < len(text):
        match = _SEGMENT.match(text, position)
        if match is None:
            raise PolicyError(
                f"`{whole}` cannot be read from character {position + 1} on", mend="a.b, a[*].b"
            )
        steps += (_head(match), *_suffixes(match["suffixes"]))
        position = match.end()
    if len(steps) < least:
        raise PolicyError("a field path is empty", mend="a.b, a[*].b, a.*, a.<class>, a{json}.b")
    return tuple(steps)


def _head(match: re.Match[str]) -> Step:
    if match["any"]:
        return AnyKey()
    if match["cls"]:
        return ClassKey(match["cls"])
    return Key(match["quoted"] or match["name"])


def _suffixes(text: str) -> tuple[Step, ...]:
    return tuple(Each() if suffix == "[*]" else InText() for suffix in re.findall(_SUFFIX, text))
