"""YAML text to plain values, with the place of every key and value in the text.

Built from the parser's events, so nothing recurses and nothing is constructed before it is judged. Scalars
are read by the core schema of YAML 1.2 (§10.3.2), integers in decimal only. Anchors, aliases, tags,
directives and a second document have no use in a policy and are refused (an alias bomb needs them).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final, NoReturn

from msgspec import Struct

from privguard.errors import PolicyError

Path = tuple[str | int, ...]
Place = tuple[int, int]

MAX_BYTES: Final = 1 << 20
MAX_DEPTH: Final = 24
_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEAN: Final = {
    word: word.lower() == "true" for word in ("true", "True", "TRUE", "false", "False", "FALSE")
}
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,40}")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]{1,40}|[0-9]{1,40}(?:\.[0-9]{0,40})?)(?:[eE][-+]?[0-9]{1,3})?")


class InvalidPolicyError(PolicyError):
    """Everything that is wrong with a file; ``errors`` in the order of the text."""

    def __init__(self, errors: Iterable[PolicyError]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(str(error) for error in self.errors))
        self.where = self.errors[0].where


class Source(Struct, frozen=True, eq=False):
    """A YAML text as plain values.

    Attributes:
        digest: SHA-256 of the text's UTF-8 bytes, hex.
        tree: dict, list, str, int, Decimal, bool, None.
        places: zero-based line and column of the value at each path.
        keys: idem of the key.
    """

    name: str
    digest: str
    tree: object
    places: Mapping[Path, Place]
    keys: Mapping[Path, Place]

    def where(self, path: Path, *, key: bool = False) -> str:
        """``name:line:column``, counted from one, of the value (or key) at the path or nearest around it."""
        for length in range(len(path), -1, -1):
            place = (self.keys if key else self.places).get(path[:length]) or self.places.get(path[:length])
            if place is not None:
                return at(self.name, place)
        return at(self.name, (0, 0))


def at(name: str, place: Place) -> str:
    """``name:line:column`` counted from one."""
    return f"{name}:{place[0] + 1}:{place[1] + 1}"


def read(text: str, name: str) -> Source:
    """Reads YAML text.

    Raises:
        PolicyError: not YAML, or YAML that a policy has no use for; with the place.
    """
    # "surrogatepass": a lone surrogate must become an error with a place, never a UnicodeEncodeError.
    data = text.encode("utf-8", "surrogatepass")
    start = at(name, (0, 0))
    if len(data) > MAX_BYTES:
        raise PolicyError(f"the file is larger than {MAX_BYTES} bytes", start, "split it")
    builder = _Builder(name)
    for event in _events(text, name):
        builder.take(event)
    if builder.errors:
        raise InvalidPolicyError(builder.errors)
    if not builder.documents:
        raise PolicyError("the file is empty", start, "begin with `privguard: 1`")
    return Source(name, hashlib.sha256(data).hexdigest(), builder.tree, builder.places, builder.keys)


def _events(text: str, name: str) -> Iterable[Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError
    from ruamel.yaml.reader import ReaderError

    try:
        yield from YAML(typ="safe", pure=True).parse(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = (mark.line, mark.column) if mark is not None else (0, 0)
        raise PolicyError(f"not YAML: {error.problem or error.context}", at(name, place)) from None
    except ReaderError as error:
        before = text[: error.position]
        place = (before.count("\n"), len(before) - before.rfind("\n") - 1)
        raise PolicyError("not YAML: a character that may not stand in text", at(name, place)) from None
    except (YAMLError, ArithmeticError, ValueError):
        # The scanner leaks plain exceptions on escapes and version numbers that no character or integer has.
        raise PolicyError("not YAML", at(name, (0, 0))) from None


class _Open(Struct):
    """A mapping or sequence that is not closed yet."""

    path: Path
    value: dict[str, object] | list[object]
    key: str | None = None

    @property
    def awaits_key(self) -> bool:
        return isinstance(self.value, dict) and self.key is None


class _Builder:
    """Takes events, builds the tree."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.errors: list[PolicyError] = []
        self.places: dict[Path, Place] = {}
        self.keys: dict[Path, Place] = {}
        self.tree: object = None
        self.documents = 0
        self._open: list[_Open] = []

    def take(self, event: Any) -> None:
        """One event of the parser, by its class name."""
        step = getattr(self, "_" + type(event).__name__.removesuffix("Event").lower(), None)
        if step is not None:
            step(event)

    def _documentstart(self, event: Any) -> None:
        self.documents += 1
        if self.documents > 1:
            self._stop("a second document", event, "one file, one document: remove `---`")
        if event.tags or event.version not in (None, (1, 2)):
            self._stop("a directive", event, "remove the line that begins with %")

    def _alias(self, event: Any) -> None:
        self._stop("an alias", event, "write the value out")

    def _scalar(self, event: Any) -> None:
        self._plain(event)
        if _SURROGATE.search(event.value):
            self._stop("half a character", event, "an escape from D800 to DFFF stands for nothing")
        if self._open and self._open[-1].awaits_key:
            self._key(self._open[-1], event)
        else:
            self._value(_scalar(event), event)

    def _mappingstart(self, event: Any) -> None:
        self._start({}, event)

    def _sequencestart(self, event: Any) -> None:
        self._start([], event)

    def _mappingend(self, event: Any) -> None:
        self._open.pop()

    _sequenceend = _mappingend

    def _start(self, value: dict[str, object] | list[object], event: Any) -> None:
        self._plain(event)
        if len(self._open) >= MAX_DEPTH:
            self._stop(f"more than {MAX_DEPTH} levels", event, "nothing in a policy is that deep")
        if self._open and self._open[-1].awaits_key:
            self._stop("a key that is a list or mapping", event, "keys are text")
        self._open.append(_Open(self._value(value, event), value))

    def _value(self, value: object, event: Any) -> Path:
        """Puts a value where it belongs; its path."""
        place = _place(event)
        if not self._open:
            self.tree = value
            self.places[()] = place
            return ()
        parent = self._open[-1]
        if isinstance(parent.value, list):
            path: Path = (*parent.path, len(parent.value))
            parent.value.append(value)
        else:
            key = parent.key or ""
            path = (*parent.path, key)
            parent.value[key] = value
            parent.key = None
        self.places[path] = place
        return path

    def _key(self, parent: _Open, event: Any) -> None:
        key = _scalar(event)
        place = _place(event)
        if not isinstance(key, str) or not key:
            self._stop("a key that is not text", event, "put it in quotes")
        path = (*parent.path, str(key))
        if path in self.keys:
            twice = f"`{key}` stands twice, first in line {self.keys[path][0] + 1}"
            self.errors.append(PolicyError(twice, at(self.name, place), "remove one"))
            # Its content goes on under a name that cannot clash, so that later errors keep their places.
            key = f"{key}\0{len(self.keys)}"
        self.keys[*parent.path, str(key)] = place
        parent.key = str(key)

    def _plain(self, event: Any) -> None:
        if event.anchor is not None:
            self._stop("an anchor", event, "write the value out where it is needed")
        if event.tag is not None:
            self._stop("a tag", event, "remove the word that begins with !")

    def _stop(self, what: str, event: Any, mend: str) -> NoReturn:
        stop = PolicyError(f"{what} is not accepted", at(self.name, _place(event)), mend)
        raise InvalidPolicyError([*self.errors, stop])


def _place(event: Any) -> Place:
    return event.start_mark.line, event.start_mark.column


def _scalar(event: Any) -> str | int | Decimal | bool | None:
    """The value of a scalar; quoted and block scalars are text."""
    value: str = event.value
    if not event.implicit[0]:
        return value
    if value in _NULL:
        return None
    if value in _BOOLEAN:
        return _BOOLEAN[value]
    if _INTEGER.fullmatch(value):
        return int(value)
    return Decimal(value) if _FLOAT.fullmatch(value) else value
