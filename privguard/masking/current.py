"""Finds the record that a write is about to change, in the answer of a read."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw

from privguard.errors import UnreadableResponseError
from privguard.masking.paths import Key, parse_place
from privguard.model import ResourceShape

_OBJECT: Final = msgspec.json.Decoder(dict[str, Raw])


def current_record(body: bytes, shape: ResourceShape) -> bytes:
    """The one record that stands alone in a JSON answer, as raw JSON.

    Raises:
        UnreadableResponseError: there is none, or more than one.
    """
    around = [record for place in shape.records if place != "$" and (record := _at(body, place)) is not None]
    found = around or [body for place in shape.records if place == "$"]
    if len(found) != 1:
        raise UnreadableResponseError("The upstream did not show the one record that the write is for.")
    return found[0]


def _at(body: bytes, place: str) -> bytes | None:
    steps = parse_place(place)
    value: bytes = body
    for step in steps:
        if not isinstance(step, Key):  # a place in a list holds many records
            return None
        try:
            member = _OBJECT.decode(value).get(step.name)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return None
        if member is None:
            return None
        value = bytes(member)
    return value
