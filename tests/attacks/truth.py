"""What a client's record really holds, and whether any of it came through."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote

from tests.door import Answer, Gateway

ALWAYS = ("mobile", "email", "id_no", "dob", "address", "balance", "iban", "pan", "no", "notes")
"""Fields that nobody of the bank sees in clear without more than a login."""
SHORTEST = 6
"""Characters below which a value could stand in an answer by chance."""


def clients(door: Gateway, user: str, target: str = "/clients?size=200") -> list[dict[str, Any]]:
    """Records as the CRM gives them, past the gateway; numbers as they are spelt."""
    answer = door.upstream(user, "GET", target)
    assert answer.status == 200, answer
    content = json.loads(answer.body, parse_float=str, parse_int=str)
    found = content["items"] if "items" in content else [content["client"]]
    assert found
    return list(found)


def client(door: Gateway, user: str, number: int) -> dict[str, Any]:
    """One of them."""
    return clients(door, user, f"/clients/{number}")[0]


def secrets(records: Iterable[dict[str, Any]], names: Iterable[str] = ALWAYS) -> list[str]:
    """The values of these fields, wherever in the records they stand."""
    wanted = frozenset(names)
    found = [text for record in records for text in _texts(record, wanted) if len(text) >= SHORTEST]
    assert found, "there is nothing to keep secret"
    return sorted(set(found))


def _texts(value: Any, names: frozenset[str], *, inside: bool = False) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(inner, names, inside=inside or key in names)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, names, inside=inside)
    elif inside and value is not None:
        yield str(value)


def leaked(answer: Answer | bytes, values: Iterable[str]) -> list[str]:
    """Which of the values came through, headers included, as they are or in another spelling."""
    if isinstance(answer, Answer):
        lines = "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
        came = lines.encode("latin-1", "replace") + b"\n\n" + answer.body
    else:
        came = answer
    return [value for value in values if any(form in came for form in _forms(value))]


def _forms(value: str) -> tuple[bytes, ...]:
    raw = value.encode()
    return (
        raw,
        json.dumps(value)[1:-1].encode(),
        quote(value).encode(),
        base64.b64encode(raw)[:-4] if len(raw) > 8 else raw,
        value.encode("utf-16-le"),
        value.encode("gb18030", "replace"),
    )


def said(answer: Answer) -> tuple[int, dict[str, str], Any]:
    """An answer without what differs every time: its place in the log, what follows from it, and the date."""
    headers = {k: v for k, v in answer.headers.items() if k not in ("date", "privguard-receipt")}
    if "link" in headers:  # a challenge is sealed with chance: what is told of it is its length
        headers["link"] = re.sub("challenge=([^>]*)", lambda found: f"{len(found[1])}", headers["link"])
    body: Any = answer.body
    if headers.get("content-type") == "application/problem+json":
        headers.pop("content-length")
        body = answer.body and {key: value for key, value in answer.json().items() if key != "receipt"}
    return answer.status, headers, body
