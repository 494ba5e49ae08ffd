"""Reads the body of a write: whatever its format, it becomes changes at places of the record.

    application/json, application/*+json, merge-patch     one change: the whole value
    application/json-patch+json (RFC 6902)                one change per operation
    application/x-www-form-urlencoded                     one change: the fields as nested objects of texts

A body that two parsers could read in two ways is refused (M09): double keys at any depth, NaN, a byte order
mark, another charset than UTF-8, lone surrogates, deep nesting. So is every other format, multipart included:
parsers differ too much over its boundaries and headers, and a front end can send JSON. A route that takes
files is no route of a governed resource.
"""

from __future__ import annotations

import enum
import json
import re
from decimal import Decimal
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct

from privguard.errors import MalformedRequestError

MAX_FIELDS: Final = 1000
"""Fields of a form."""

_UTF8: Final = frozenset({"", "utf-8", "utf8"})
_CHARSET: Final = re.compile(r';\s*charset\*?\s*=\s*"?([^";\s]*)', re.IGNORECASE)
_STRICT: Final = msgspec.json.Decoder(float_hook=Decimal)
_FORM: Final = re.compile(rb"[!-:<-~]*")
"""Visible ASCII without the semicolon, which parts fields for old parsers."""
_PERCENT: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_NAME: Final = re.compile(r"[^\[\].]+(?:\.[^\[\].]+|\[[^\[\].]+\])*(?:\[\])?")
_STEP: Final = re.compile(r"[^\[\].]+")
_OPERATIONS: Final = {
    "add": {"op", "path", "value"},
    "replace": {"op", "path", "value"},
    "test": {"op", "path", "value"},
    "remove": {"op", "path"},
    "move": {"op", "path", "from"},
    "copy": {"op", "path", "from"},
}
_POINTER: Final = re.compile(r"(?:/(?:[^~/]|~[01])*)*")


class Action(enum.Enum):
    """What a change does at its place."""

    SET = enum.auto()
    INSERT = enum.auto()
    """Sets; at a place of an array, moves up what stands there."""
    REMOVE = enum.auto()
    TEST = enum.auto()
    """Asks whether the value is this one."""
    TRANSFER = enum.auto()
    """Takes a value from another place of the record."""


_ACTIONS: Final = {
    "add": Action.INSERT,
    "replace": Action.SET,
    "test": Action.TEST,
    "remove": Action.REMOVE,
    "move": Action.TRANSFER,
    "copy": Action.TRANSFER,
}


class Change(Struct, frozen=True):
    """One change.

    Attributes:
        steps: the place: object keys, array indexes and ``-`` (after the last); empty: the whole record.
        texts: every scalar is text, whatever type the record holds (forms).
    """

    action: Action
    steps: tuple[str, ...] = ()
    value: Any = None
    texts: bool = False


def read_write(media: str, body: bytes) -> tuple[Change, ...]:
    """The changes a body asks for; none if it is empty.

    Args:
        media: its Content-Type.

    Raises:
        MalformedRequestError: it cannot be read, or in two ways.
    """
    if not body:
        return ()
    if any(charset.lower() not in _UTF8 for charset in _CHARSET.findall(media)):
        raise MalformedRequestError("A write must be in UTF-8.")
    kind = media.partition(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded":
        return (Change(Action.SET, value=_form(body), texts=True),)
    if kind == "application/json-patch+json":
        return _patch(read_json(body))
    if kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json")):
        return (Change(Action.SET, value=read_json(body)),)
    raise MalformedRequestError(
        "A write to a governed resource must be JSON, JSON Patch or a urlencoded form."
    )


def read_json(body: bytes | str) -> Any:
    """A JSON value, read strictly; numbers with a point or exponent are Decimal.

    Raises:
        MalformedRequestError: it is no JSON, or has a key twice.
    """
    try:
        # Both must agree: msgspec knows no NaN, BOM or lone surrogate, json shows every key.
        _STRICT.decode(body)
        text = body.decode() if isinstance(body, bytes) else body
        return json.loads(text, parse_float=Decimal, object_pairs_hook=_members)
    except (ValueError, RecursionError):  # msgspec's and Unicode's errors are ValueErrors
        raise MalformedRequestError(
            "The body is not JSON, or not in one way: see double keys, NaN."
        ) from None


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("double key")
    return members


def _patch(operations: Any) -> tuple[Change, ...]:
    if not isinstance(operations, list):
        raise MalformedRequestError("A JSON Patch is a list of operations.")
    return tuple(_operation(operation) for operation in operations)


def _operation(operation: Any) -> Change:
    """One operation with exactly its members: RFC 6902 would have others ignored, some parsers do not."""
    name = operation.get("op") if isinstance(operation, dict) else None
    if not isinstance(name, str) or operation.keys() != _OPERATIONS.get(name):
        raise MalformedRequestError("A JSON Patch operation has other members than RFC 6902 gives it.")
    return Change(_ACTIONS[name], _pointer(operation["path"]), operation.get("value"))


def _pointer(text: Any) -> tuple[str, ...]:
    """The steps of a JSON Pointer (RFC 6901)."""
    if not isinstance(text, str) or not _POINTER.fullmatch(text):
        raise MalformedRequestError("A JSON Patch path is no JSON Pointer (RFC 6901).")
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in text.split("/")[1:])


def _form(body: bytes) -> dict[str, Any]:
    """``address[line1]=x&address.line2=y&tags[]=z`` as nested objects; ``tags[]`` as a list."""
    if not _FORM.fullmatch(body) or _PERCENT.search(body):
        raise MalformedRequestError("The form is not urlencoded in one way only.")
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=MAX_FIELDS,
        )
    except ValueError:
        raise MalformedRequestError("The form is malformed, or has too many fields.") from None
    form: dict[str, Any] = {}
    for name, value in pairs:
        if not _NAME.fullmatch(name):
            raise MalformedRequestError("A form field's name cannot be read in one way only.")
        _put(form, name, value)
    return form


def _put(form: dict[str, Any], name: str, value: str) -> None:
    """Sets a field; refuses one that is there already, in whatever spelling."""
    inner: Any = form
    *outer, last = _STEP.findall(name)
    for step in outer:
        inner = inner.setdefault(step, {})
        if not isinstance(inner, dict):
            raise MalformedRequestError("A form field is there twice.")
    if not name.endswith("[]"):
        if last in inner:
            raise MalformedRequestError("A form field is there twice.")
        inner[last] = value
    elif isinstance(inner.setdefault(last, []), list):
        inner[last].append(value)
    else:
        raise MalformedRequestError("A form field is there twice.")
