"""The guided tour of ``privguard demo --once``: real HTTP, each step with what the log holds then."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
from msgspec import Struct

from privguard.audit.record import parse
from privguard.audit.verify import verify_log
from privguard.store.engine import Store
from privguard.store.log_reader import LogReader


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


def play(port: int, samples: Any, tokens: dict[str, str], folder: Path) -> bool:
    """Makes every step, shows it and what the log holds then, and verifies the log offline at the end.

    Returns:
        False at the first step that differs from what it should be.
    """
    reader = LogReader(Store(f"sqlite+aiosqlite:///{folder / 'privguard.db'}"))
    for number, step in enumerate(steps(samples), start=1):
        answer = ask(port, step, tokens.get(step.actor, ""))
        click.echo(f"\n{number:2}. {step.story}")
        sent = "".join(f"\n      {name}: {value}" for name, value in step.headers)
        body = f"\n      {json.dumps(step.body, ensure_ascii=False)}" if step.body is not None else ""
        click.echo(f"    {step.actor or 'nobody'}: {step.method} {step.target}{sent}{body}")
        click.echo(f"    -> {answer.status} {_shown(step, answer)}")
        if answer.status != step.status or not step.holds(answer):
            click.echo(f"    This differs: {step.status} was expected. The tour ends here.", err=True)
            return False
        click.echo(f"    log: {_entry(reader)}")
    return _verified(reader)


def _shown(step: Step, answer: Answer) -> str:
    excerpt = step.excerpt(answer)
    return excerpt if isinstance(excerpt, str) else json.dumps(excerpt, ensure_ascii=False)


def _entry(reader: LogReader) -> str:
    """The newest entry, in one line; a write's or refusal's as well as a disclosure's."""
    [(index, data)] = reader.last(1)
    leaf = parse(data)
    clients = sum(len(group.subjects) for group in leaf.groups)
    views = sorted({view for group in leaf.groups for view in group.fields.values()})
    told = f"#{index} {leaf.action} {leaf.outcome}"
    if leaf.problem:
        told += f" ({leaf.problem})"
    return told + f", {clients} client tokens" + (f", fields as {', '.join(views)}" if views else "")


def _verified(reader: LogReader) -> bool:
    size, root = reader.head()
    found = verify_log(lambda: (leaf for _, leaf in reader.entries()), size, root)
    click.echo(f"\nThe offline verifier read {found.size} entries and ", nl=False)
    click.echo(
        f"{'computed the same root' if found.ok else f'found them wrong: {found.kind}'}: {found.root.hex()}"
    )
    return found.ok


def invitation(port: int, crm_port: int, samples: Any, tokens: dict[str, str], folder: Path) -> str:
    """What the demo prints: where, who and what to try."""
    url = f"http://127.0.0.1:{port}"
    accounts = "\n".join(f"  {name:10} {token}" for name, token in tokens.items())
    return f"""
privguard   {url}          (health: {url}/_privguard/readyz)
the CRM     http://127.0.0.1:{crm_port}          (what it would say to anybody, unguarded)
everything  {folder}          (configuration, policy, keys, log; removed when you stop)

Accounts of this demo, with their tokens:
{accounts}

Try, as {samples.rm}:
  TOKEN={tokens[samples.rm]}
  curl -s -H "Authorization: Bearer $TOKEN" {url}/clients/{samples.assigned}      # theirs: masked
  curl -s -H "Authorization: Bearer $TOKEN" {url}/clients/{samples.unassigned}     # another's: not there
  curl -s -H "Authorization: Bearer $TOKEN" '{url}/clients?sort=-balance'      # an oracle: refused
  curl -s -H "Authorization: Bearer $TOKEN" -X PATCH -H 'Content-Type: application/json' \\
       -d '{{"mobile": "199****7919"}}' {url}/clients/{samples.assigned}      # a mask written back: refused
  curl -si -H "Authorization: Bearer $TOKEN" -H 'Privguard-Reveal: mobile' \\
       -H 'Privguard-Reason: "asked for a call back"' {url}/clients/{samples.assigned}      # clear: step-up

`privguard demo --once` plays a longer tour and verifies the log. Ctrl-C stops and removes everything."""
