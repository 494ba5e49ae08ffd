"""The guided tour of ``privguard demo --once``: real HTTP, each step with what the log holds then."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct


class Answer(Struct, frozen=True):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body) if self.body else None

    @property
    def problem(self) -> str:
        if self.headers.get("content-type") != "application/problem+json":
            return ""
        return str(self.json["type"]).rpartition(":")[2]


class Step(Struct, frozen=True):
    """One request of the tour.

    Attributes:
        story: what happens, in one sentence.
        holds: whether the answer is what it should be.
        excerpt: what to show of the answer.
    """

    story: str
    actor: str
    method: str
    target: str
    status: int
    holds: Callable[[Answer], bool] = lambda answer: True
    excerpt: Callable[[Answer], object] = lambda answer: answer.problem
    headers: tuple[tuple[str, str], ...] = ()
    body: object = None


def _client(answer: Answer) -> Any:
    return answer.json["client"]


def _picked(*names: str) -> Callable[[Answer], object]:
    return lambda answer: {name: _client(answer).get(name) for name in names}


def steps(samples: Any) -> Iterator[Step]:
    """The tour, over the sample CRM's accounts and clients."""
    own, other, vip = samples.assigned, samples.unassigned, samples.private
    rm = samples.rm
    yield Step(
        "A relationship manager opens a client of their own: the name is clear, the rest is masked.",
        rm, "GET", f"/clients/{own}", 200,
        holds=lambda a: "****" in _client(a)["mobile"] and "cvv" not in str(_client(a)),
        excerpt=_picked("name", "mobile", "id_no", "balance", "dob"),
    )  # fmt: skip
    yield Step(
        "Somebody else's client looks like one that does not exist.",
        rm, "GET", f"/clients/{other}", 404, holds=lambda a: a.problem == "not-permitted",
    )  # fmt: skip
    yield Step(
        "A private-banking client's record asks for a second factor first.",
        rm, "GET", f"/clients/{vip}", 401, holds=lambda a: a.problem == "step-up-required",
        excerpt=lambda a: a.headers.get("www-authenticate", ""),
    )  # fmt: skip
    yield Step(
        "A list holds only what the actor may see; the total of all is withheld.",
        rm, "GET", "/clients?page=1&size=50", 200,
        holds=lambda a: "total" not in a.json and all(r["id"] not in (other, vip) for r in a.json["items"]),
        excerpt=lambda a: f"{len(a.json['items'])} records, keys {sorted(a.json)}",
    )  # fmt: skip
    yield Step(
        "Guessing a masked number through a filter is refused.",
        rm, "GET", "/clients?id_no_like=99%25", 403, holds=lambda a: a.problem == "filter-not-permitted",
    )  # fmt: skip
    yield Step(
        "So is sorting by a masked amount.",
        rm, "GET", "/clients?sort=-balance", 403, holds=lambda a: a.problem == "filter-not-permitted",
    )  # fmt: skip
    yield Step(
        "Clear values need more than a login.",
        rm, "GET", f"/clients/{own}", 401,
        headers=(("Privguard-Reveal", "mobile"), ("Privguard-Reason", '"client asked for a call back"')),
        holds=lambda a: a.problem == "step-up-required" and a.json["fields"] == ["mobile"],
        excerpt=lambda a: {"problem": a.problem, "fields": a.json["fields"]},
    )  # fmt: skip
    yield Step(
        "A form that sends a masked value back reaches nothing.",
        rm, "PATCH", f"/clients/{own}", 409, body={"mobile": "199****7919"},
        holds=lambda a: a.problem == "masked-value-in-write",
        excerpt=lambda a: {"problem": a.problem, "paths": a.json["paths"]},
    )  # fmt: skip
    yield Step(
        "A staff member may not open their own file.",
        samples.staff_client, "GET", f"/clients/{samples.staff_client_id}", 404,
    )  # fmt: skip
    yield Step(
        "A relationship manager may not export; the attempt is on record.",
        rm, "GET", "/clients.csv", 403,
    )  # fmt: skip
    yield Step(
        "An analyst exports for reporting: no identity leaves, and every row's client is on record.",
        samples.analyst, "GET", "/clients.csv", 200, headers=(("Privguard-Purpose", "reporting"),),
        holds=lambda a: b"id_no" not in a.body.splitlines()[0] and len(a.body.splitlines()) > 10,
        excerpt=lambda a: a.body.decode().splitlines()[:2],
    )  # fmt: skip
    yield Step(
        "A target that two parsers could read differently is refused.",
        rm, "GET", f"/assets/..%2fclients/{own}", 400, holds=lambda a: a.problem == "malformed-request",
    )  # fmt: skip
    yield Step(
        "Nobody is nobody.", "", "GET", f"/clients/{own}", 401, holds=lambda a: a.problem == "unauthenticated"
    )


def ask(port: int, step: Step, token: str) -> Answer:
    """Makes a step's request on loopback."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = dict(step.headers)
    if token:
        headers["Authorization"] = f"Bearer {token}"
    body = None
    if step.body is not None:
        body, headers["Content-Type"] = json.dumps(step.body).encode(), "application/json"
    try:
        connection.request(step.method, step.target, body, headers)
        answer = connection.getresponse()
        return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    finally:
        connection.close()
