"""Plays the tour: real HTTP, and commands in this process, each step with what the log holds then."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import click
from msgspec import Struct

from privguard.audit.record import parse
from privguard.audit.verify import verify_log
from privguard.cli.tour import Answer, Step
from privguard.errors import PrivguardError
from privguard.store.engine import Store
from privguard.store.log_reader import LogReader

COOKIE: Final = "crm_session"
_API: Final = "/_privguard/v1/stepup/"


class Account(Struct):
    """Somebody who is signed in at the CRM, and what their phone shows."""

    token: str
    secret: str = ""
    last: int = 0

    def code(self) -> str:
        """A code that was not used yet, of the step before at the earliest; waits where there is none."""
        import pyotp

        step = max(self.last + 1, int(time.time()) // 30 - 1)
        while step > int(time.time()) // 30 + 1:
            time.sleep(1)
        self.last = step
        return pyotp.TOTP(self.secret).at(step * 30)


class Stage(Struct):
    """Where the tour plays.

    Attributes:
        kept: what steps kept for those after them.
    """

    port: int
    folder: Path
    accounts: dict[str, Account]
    kept: dict[str, str] = {}

    def ask(self, method: str, target: str, token: str, body: object, headers: Mapping[str, str]) -> Answer:
        """A request on loopback, with the CRM's cookie, as a browser's."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        sent, data = dict(headers), None
        if token:
            sent["Cookie"] = f"{COOKIE}={token}"
        if body is not None:
            data, sent["Content-Type"] = json.dumps(body).encode(), "application/json"
        try:
            connection.request(method, target, data, sent)
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def command(self, *arguments: str) -> Answer:
        """A command of privguard, in the demo's folder."""
        from privguard.cli import cli

        config = () if "--key" in arguments else ("--config", "privguard.toml")
        printed, status = io.StringIO(), 200
        with (
            contextlib.chdir(self.folder),
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(printed),
        ):
            try:
                cli.main([*arguments, *config], prog_name="privguard", standalone_mode=False)
            except (PrivguardError, click.ClickException, SystemExit) as error:
                status = 500
                click.echo(str(error))
        return Answer(status, {}, printed.getvalue().encode())

    def sign_in(self, name: str, password: str) -> None:
        """At the CRM, through privguard. Raises RuntimeError where that fails."""
        answer = self.ask("POST", "/login", "", {"username": name, "password": password}, {})
        if answer.status != 200:
            raise RuntimeError(f"{name} cannot sign in: {answer.status} {answer.text[:200]}")
        self.accounts[name] = Account(answer.json["token"])

    def enrol(self, name: str, invitation: str) -> None:
        """Adds a phone to an account. Raises RuntimeError where that fails."""
        account = self.accounts[name]
        challenge = self._post(account, "challenges", {"action": "add"})["challenge_id"]
        proof = {"method": "invite", "code": invitation}
        begun = self._post(account, "factors", {"kind": "totp", "challenge_id": challenge, "proof": proof})
        account.secret = begun["secret"]
        self._post(account, f"factors/{begun['id']}", {"code": account.code()})

    def _post(self, account: Account, route: str, body: object) -> Any:
        answer = self.ask("POST", _API + route, account.token, body, {})
        if answer.status >= 400:
            raise RuntimeError(f"{route.partition('/')[0]}: {answer.status} {answer.problem}")
        return answer.json


def play(stage: Stage, steps: Iterable[Step]) -> bool:
    """Makes every step, shows it and what the log holds then, and verifies the log offline at the end.

    Returns:
        False at the first step that differs from what it should be.
    """
    reader = LogReader(Store(f"sqlite+aiosqlite:///{stage.folder / 'privguard.db'}"))
    for number, step in enumerate(steps, start=1):
        before, _ = reader.head()
        answer, times = _made(stage, step)
        click.echo(f"\n{number:2}. {step.story}")
        click.echo(f"    {_asked(step, stage.kept)}" + (f"      # {times} times" if times > 1 else ""))
        shown = step.excerpt(answer)
        text = shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False)
        click.echo(f"    -> {text}" if step.command else f"    -> {answer.status} {text}")
        if answer.status != step.status or not step.holds(answer):
            click.echo(f"    This differs: {step.status} was expected. The tour ends here.", err=True)
            click.echo(f"    {answer.text[:2000]}", err=True)
            return False
        stage.kept |= {name: pick(answer) for name, pick in step.keeps.items()}
        if not step.command:
            click.echo(f"    log: {_entry(reader) if reader.head()[0] > before else 'nothing new'}")
    return _verified(reader)


def _made(stage: Stage, step: Step) -> tuple[Answer, int]:
    """The answer, and how many requests it took."""
    answer, times = _once(stage, step, step.each[0] if step.each else 0), 1
    for client in step.each[1:]:
        if answer.status == step.status:
            break
        answer, times = _once(stage, step, client), times + 1
    return answer, times


def _once(stage: Stage, step: Step, client: int) -> Answer:
    if step.command:
        return stage.command(*(_filled(word, stage.kept) for word in step.command))
    account = stage.accounts.get(step.actor, Account(""))
    known = {**stage.kept, "n": str(client)}
    if "{code}" in json.dumps(step.body):
        known["code"] = account.code()
    headers = {name: _filled(value, known) for name, value in step.headers}
    body = json.loads(_filled(json.dumps(step.body), known)) if step.body is not None else None
    return stage.ask(step.method, _filled(step.target, known), account.token, body, headers)


def _filled(text: str, known: Mapping[str, str]) -> str:
    for name, value in known.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def _asked(step: Step, kept: Mapping[str, str]) -> str:
    """The request as it was sent, but for what is secret in it."""
    if step.command:
        return "$ privguard " + _filled(" ".join(step.command), kept)
    sent = "".join(f"\n      {name}: {value}" for name, value in step.headers)
    body = f"\n      {json.dumps(step.body, ensure_ascii=False)}" if step.body is not None else ""
    return f"{step.actor or 'nobody'}: {step.method} {step.target}{sent}{body}"


def _entry(reader: LogReader) -> str:
    """The newest entry, in one line; a write's or refusal's as well as a disclosure's."""
    [(index, data)] = reader.last(1)
    leaf = parse(data)
    clients = sum(len(group.subjects) for group in leaf.groups)
    views = sorted({view for group in leaf.groups for view in group.fields.values()})
    told = f"#{index} {leaf.action} {leaf.outcome}"
    if leaf.problem:
        told += f" ({leaf.problem})"
    if leaf.risk is not None and leaf.risk.why:
        told += f", risk {leaf.risk.level}"
    return told + f", {clients} client tokens" + (f", fields as {', '.join(views)}" if views else "")


def _verified(reader: LogReader) -> bool:
    size, root = reader.head()
    found = verify_log(lambda: (leaf for _, leaf in reader.entries()), size, root)
    click.echo(f"\nThe offline verifier read {found.size} entries and ", nl=False)
    click.echo(
        f"{'computed the same root' if found.ok else f'found them wrong: {found.kind}'}: {found.root.hex()}"
    )
    return found.ok
