"""A gateway with two workers on one store, and staff who prove themselves to it."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import pyotp

from tests.authenticator import Authenticator
from tests.command import privguard
from tests.door import PASSWORD, Answer, Gateway, ask

API = "/_privguard/v1/stepup/"


@dataclass
class Person:
    """A member of staff in a session of their own, with a phone that shows codes."""

    gateway: Gateway
    name: str
    token: str = ""
    secret: str = ""
    factor: str = ""
    steps: list[int] = field(default_factory=list)

    def sign_in(self) -> Self:
        form = json.dumps({"username": self.name, "password": PASSWORD})
        answer = ask(
            self.gateway.port, "POST", "/login", body=form, headers={"Content-Type": "application/json"}
        )
        self.token = answer.json()["token"]
        return self

    def again(self) -> Person:
        """The same in another session, with the same phone."""
        other = Person(self.gateway, self.name, "", self.secret, self.factor, self.steps)
        return other.sign_in()

    def ask(self, method: str, target: str, body: Any = None, **headers: str) -> Answer:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        data = None
        if body is not None:
            data, sent["Content-Type"] = json.dumps(body), "application/json"
        return ask(self.gateway.port, method, target, token=self.token or None, body=data, headers=sent)

    def enrol(self) -> None:
        """A first factor, by invitation; its code counts as used."""
        said = privguard("factor", "invite", self.name, "--config", self.gateway.config)
        assert said.returncode == 0, said
        proof = {"method": "invite", "code": said.stdout.decode().strip()}
        begun = self.begin("totp", proof)
        assert begun.status == 201, begun
        self.secret, self.factor = begun.json()["secret"], begun.json()["id"]
        done = self.ask("POST", f"{API}factors/{self.factor}", {"code": self.code()})
        assert done.status == 200, done

    def begin(self, kind: str, proof: Any = None, **more: Any) -> Answer:
        challenge = self.ask("POST", f"{API}challenges", {"action": "add"}).json()["challenge_id"]
        body = {"kind": kind, "challenge_id": challenge, "proof": proof, **more}
        return self.ask("POST", f"{API}factors", body)

    def code(self) -> str:
        """A code of a step that was not used yet, of now or the one after: good for half a minute at least."""
        now = int(time.time()) // 30
        fresh = [step for step in (now, now + 1) if step > max(self.steps, default=0)]
        if not fresh:
            self.minutes_later()
            fresh = [now]
        self.steps.append(fresh[0])
        return self.at(fresh[0])

    @contextlib.contextmanager
    def store(self) -> Iterator[sqlite3.Connection]:
        """The database itself, for what a test cannot wait for."""
        with contextlib.closing(sqlite3.connect(self.gateway.database, timeout=5)) as made, made:
            yield made

    def minutes_later(self) -> None:
        """As if minutes went by, which a test need not wait for: any code may be the next."""
        with self.store() as store:
            store.execute(
                "UPDATE factor SET last_step = -1, fails = 0, locked_us = 0 WHERE id = ?", (self.factor,)
            )
        self.steps.clear()

    def at(self, step: int) -> str:
        return pyotp.TOTP(self.secret).at(step * 30)

    def wrong(self) -> str:
        """Six digits that are no code of these minutes."""
        now = int(time.time()) // 30
        near = {self.at(step) for step in range(now - 3, now + 4)}
        return next(code for code in map("{:06}".format, range(10)) if code not in near)

    # clear values

    def challenge(self, client: int = 1, fields: str = "mobile", **headers: str) -> str:
        """What a look for clear values is answered with."""
        said = {"Privguard_Reveal": fields, "Privguard_Reason": '"client asked for a call"', **headers}
        answer = self.ask("GET", f"/clients/{client}", **said)
        assert answer.problem == "step-up-required", answer
        return str(answer.json()["challenge_id"])

    def meet(self, challenge: str, code: str | None = None, **more: Any) -> Answer:
        proof = {"method": "totp", "code": self.code() if code is None else code}
        return self.ask("POST", f"{API}grants", {"challenge_id": challenge, "proof": proof, **more})

    def granted(self, client: int = 1, fields: str = "mobile", **headers: str) -> str:
        answer = self.meet(self.challenge(client, fields, **headers))
        assert answer.status == 201, answer
        return str(answer.json()["grant"])

    def look(self, grant: str, client: int = 1, fields: str = "mobile", **headers: str) -> Answer:
        said = {"Privguard_Reveal": fields, "Privguard_Grant": f'"{grant}"', **headers}
        return self.ask("GET", f"/clients/{client}", **{k: v for k, v in said.items() if v})


ORIGIN = "http://localhost:8080"


@dataclass
class KeyHolder(Person):
    """A member of staff with a security key."""

    key: Authenticator = field(default_factory=Authenticator)
    origin: str = ORIGIN

    def enrol_key(self) -> None:
        """A key, added by the code of a phone."""
        begun = self.begin("webauthn", {"method": "totp", "code": self.code(), "factor": self.factor})
        assert begun.status == 201, begun
        self.confirm_key(begun)

    def confirm_key(self, begun: Answer) -> None:
        answer = self.key.create(begun.json()["options"], self.origin)
        done = self.ask("POST", f"{API}factors/{begun.json()['id']}", {"attestation": answer})
        assert done.status == 200, done

    def options(self, challenge: str, **said: str | bool) -> str:
        body = {"challenge_id": challenge, "method": "webauthn", **said}
        answer = self.ask("POST", f"{API}options", body)
        assert answer.status == 200, answer
        return answer.body.decode()

    def touch(self, challenge: str, origin: str = "", **changes: Any) -> dict[str, Any]:
        """What the key says to a challenge."""
        answer = self.key.get(self.options(challenge), origin or self.origin, **changes)
        return {"method": "webauthn", "assertion": answer}

    def meet_by_key(self, challenge: str, proof: Any = None, **more: Any) -> Answer:
        proof = proof or self.touch(challenge)
        return self.ask("POST", f"{API}grants", {"challenge_id": challenge, "proof": proof, **more})
