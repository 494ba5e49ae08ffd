"""What a seeded upstream looks like to a test."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .servers import RunningServer
from .wire import ask


@dataclass(frozen=True)
class Staff:
    """A normal account of the upstream; `token` is what its own front end would send."""

    id: str
    email: str
    password: str
    role: str
    branch: str
    token: str


@dataclass(frozen=True)
class Crm:
    """A running upstream with records.py in it; keys of `staff` are those of records.STAFF."""

    server: RunningServer
    staff: Mapping[str, Staff]
    clients: Mapping[int, str]  # number in records.py -> id in the upstream


class SeedError(Exception):
    """The upstream refused a record of the seed."""


def tell(server: RunningServer, method: str, path: str, body: object) -> Any:
    """Send `body` as the administrator and return the answer's JSON, None where there is none."""
    answer = ask(method, server.url + path, token=server.token, body=body)
    if answer.status not in (200, 204):
        raise SeedError(f"{method} {path}: {answer.status} {answer.body.decode()}")
    return answer.json() if answer.body else None
