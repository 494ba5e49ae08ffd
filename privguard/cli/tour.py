"""The guided tour of ``privguard demo --once``: what is asked, and what must come back."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from html import unescape
from typing import Any

from msgspec import Struct

_API = "/_privguard/v1/stepup/"
WHY = ("Privguard-Reason", '"client asked for a call back"')


class Answer(Struct, frozen=True):
    """What came back; of a command, 200 or 500 and what it printed."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")

    @property
    def json(self) -> Any:
        return json.loads(self.body) if self.body else None

    @property
    def problem(self) -> str:
        if self.headers.get("content-type") != "application/problem+json":
            return ""
        return str(self.json["type"]).rpartition(":")[2]


class Step(Struct, frozen=True):
    """One request of the tour, or one command.

    ``{name}`` in target, headers, body and command stands for what an earlier step kept, for a fresh
    ``{code}`` of the actor's phone, or for what ``each`` goes through.

    Attributes:
        story: what happens, in one sentence.
        status: of the answer.
        holds: whether the answer is what it should be.
        excerpt: what to show of the answer.
        keeps: what later steps need of the answer.
        each: clients to ask for one after the other, as ``{n}``, until the status comes.
        command: of privguard, instead of a request.
    """

    story: str
    actor: str = ""
    method: str = ""
    target: str = ""
    status: int = 200
    holds: Callable[[Answer], bool] = lambda answer: True
    excerpt: Callable[[Answer], object] = lambda answer: answer.problem
    headers: tuple[tuple[str, str], ...] = ()
    body: object = None
    keeps: Mapping[str, Callable[[Answer], str]] = {}
    each: tuple[int, ...] = ()
    command: tuple[str, ...] = ()


def _client(answer: Answer) -> Any:
    return answer.json["client"]


def _picked(*names: str) -> Callable[[Answer], object]:
    return lambda answer: {name: _client(answer).get(name) for name in names}


def _lines(*words: str, most: int = 9) -> Callable[[Answer], object]:
    """Of what was printed, the first lines that have one of the words, and the last of all."""

    def excerpt(answer: Answer) -> object:
        lines = [line for line in answer.text.splitlines() if any(word in line for word in words or ("",))]
        left_out = ["…"] if len(lines) > most else []
        return f"\n{'':7}".join([*lines[: most - 1], *left_out, *lines[most - 1 :][-1:]])

    return excerpt


def _page(answer: Answer) -> object:
    """The words of a page, without its markup."""
    main = answer.text.partition("<main")[2].partition(">")[2].partition("<form")[0]
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", main)).split())


def _why(answer: Answer) -> object:
    return {"problem": answer.problem, "detail": answer.json["detail"]}


def steps(samples: Any, planted: int, branch: tuple[int, ...]) -> Iterator[Step]:
    """The tour, over the sample CRM's accounts and clients.

    Args:
        planted: a client whom nobody has work with.
        branch: clients of the manager's branch.
    """
    yield from _masking(samples)
    yield from _step_up(samples)
    yield from _ways_around(samples)
    yield from _unusual(samples, planted, branch)
    yield from _trail(samples)


def _masking(samples: Any) -> Iterator[Step]:
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


def _step_up(samples: Any) -> Iterator[Step]:
    rm, record = samples.rm, f"/clients/{samples.assigned}"
    reveal = ("Privguard-Reveal", "mobile")
    met = {"challenge_id": "{challenge}", "proof": {"method": "totp", "code": "{code}"}}
    yield Step(
        "Clear values need more than a login.",
        rm, "GET", record, 401, headers=(reveal, WHY),
        holds=lambda a: a.problem == "step-up-required" and a.json["fields"] == ["mobile"],
        excerpt=lambda a: {"problem": a.problem, "fields": a.json["fields"]},
        keeps={"challenge": lambda a: str(a.json["challenge_id"])},
    )  # fmt: skip
    yield Step(
        "That challenge has a page for browsers: it says whose values, which, what for and how long.",
        rm, "GET", "/_privguard/stepup/?challenge={challenge}", 200, headers=(("Accept-Language", "en"),),
        holds=lambda a: "mobile" in a.text and "<form" in a.text, excerpt=_page,
    )  # fmt: skip
    yield Step(
        "A code of the phone meets the challenge, once, and gives a grant.",
        rm, "POST", f"{_API}grants", 201, body=met,
        excerpt=lambda a: {name: a.json[name] for name in ("expires_in", "reads", "fields")},
        keeps={"grant": lambda a: str(a.json["grant"])},
    )  # fmt: skip
    yield Step(
        "The same challenge again gives nothing, with a fresh code or without.",
        rm, "POST", f"{_API}grants", 403, body=met, excerpt=lambda a: a.json["detail"],
    )  # fmt: skip
    holding = (reveal, ("Privguard-Grant", '"{grant}"'))
    yield Step(
        "With the grant the number is clear; the rest stays as it was.",
        rm, "GET", record, 200, headers=holding,
        holds=lambda a: "*" not in _client(a)["mobile"] and "*" in _client(a)["id_no"],
        excerpt=_picked("name", "mobile", "id_no"),
    )  # fmt: skip
    yield Step(
        "Each answer is one of the grant's ten; after the last it opens nothing.",
        rm, "GET", record, 401, headers=holding, each=tuple(range(10)),
        holds=lambda a: a.problem == "step-up-required",
    )  # fmt: skip


def _ways_around(samples: Any) -> Iterator[Step]:
    own, rm = samples.assigned, samples.rm
    yield Step(
        "Guessing a masked number through a filter is refused.",
        rm, "GET", "/clients?id_no_like=99%25", 403, holds=lambda a: a.problem == "filter-not-permitted",
    )  # fmt: skip
    yield Step(
        "So is sorting by a masked amount.",
        rm, "GET", "/clients?sort=-balance", 403, holds=lambda a: a.problem == "filter-not-permitted",
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
        excerpt=lambda a: a.text.splitlines()[:2],
    )  # fmt: skip
    yield Step(
        "A target that two parsers could read differently is refused.",
        rm, "GET", f"/assets/..%2fclients/{own}", 400, holds=lambda a: a.problem == "malformed-request",
    )  # fmt: skip
    yield Step(
        "Nobody is nobody.", "", "GET", f"/clients/{own}", 401, holds=lambda a: a.problem == "unauthenticated"
    )


def _unusual(samples: Any, planted: int, branch: tuple[int, ...]) -> Iterator[Step]:
    yield Step(
        "A client whom nobody has work with was planted. Who looks for it has to prove who they are.",
        samples.teller, "GET", f"/clients/{planted}", 401, holds=lambda a: a.problem == "step-up-required",
    )  # fmt: skip
    yield Step(
        "A manager, who opens some twenty clients a day, opens one after the other, and is to say why.",
        samples.manager, "GET", "/clients/{n}", 403, each=branch,
        holds=lambda a: a.problem == "reason-required", excerpt=_why,
        keeps={"burst": lambda a: str(a.json["receipt"]["index"])},
    )  # fmt: skip
    yield Step(
        "What was unusual is told by actor and cause.",
        command=("anomaly", "cases", "--open"), excerpt=_lines(),
        holds=lambda a: samples.manager in a.text and "honey" in a.text,
    )  # fmt: skip
    yield Step(
        "An entry says why in words, and what on record would have cleared it.",
        command=("audit", "show", "{burst}"), excerpt=_lines("unusual", "Cleared"),
        holds=lambda a: "unusual" in a.text,
    )  # fmt: skip


def _trail(samples: Any) -> Iterator[Step]:
    own = str(samples.assigned)
    yield Step(
        "Who saw the client? Every access, in words.",
        command=("audit", "report", own), excerpt=_lines(most=4), holds=lambda a: "complete" in a.text,
    )  # fmt: skip
    yield Step(
        "That none is missing can be proved to somebody who trusts nobody here.",
        command=("audit", "report", own, "--proof", "client.json"),
        excerpt=lambda a: a.text.partition(";")[0],
    )  # fmt: skip
    yield Step(
        "They have the log's public keys, and need neither database nor configuration.",
        command=("audit", "verify", "--report", "client.json", "--key", "trust"),
        excerpt=_lines(), holds=lambda a: "complete" in a.text,
    )  # fmt: skip
