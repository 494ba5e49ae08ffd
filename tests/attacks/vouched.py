"""A gateway that believes a reverse proxy about who asks, so that a test can be anybody."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from privguard.identity.proxy import SignedRequest, sign_assertion
from tests.door import Answer, Gateway, ask

KEY = "0123456789abcdef0123456789abcdef"
PROXY = """
[identity]
mode = "proxy"
[identity.proxy]
hmac_key = "proxy.key"
"""


@dataclass
class Vouched:
    """Asks the gateway as whoever a test names."""

    gateway: Gateway
    nonces: Iterator[int] = field(default_factory=itertools.count)

    def ask(
        self,
        actor: Mapping[str, Any],
        method: str,
        target: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> Answer:
        """A request by an actor: ``roles``, ``branch``, ``tenant``, ``amr``, ``auth_time`` …; ``json=`` as body."""
        sent = dict(headers or {})
        if "json" in more:
            body = json.dumps(more.pop("json")).encode()
            sent.setdefault("Content-Type", "application/json")
        request = SignedRequest(method, target.encode(), body)
        nonce = f"nonce-{time.monotonic_ns()}-{next(self.nonces):08d}"
        claims = {"sub": "e-17", **actor}
        proof = sign_assertion(claims, request, KEY.encode(), created=int(time.time()), nonce=nonce)
        return ask(self.gateway.port, method, target, body=body or None, headers={**sent, **proof}, **more)

    def get(self, actor: Mapping[str, Any], target: str, **more: Any) -> Answer:
        return self.ask(actor, "GET", target, **more)


CLERK = {"roles": ["clerk"], "branch": "north"}
CHIEF = {"roles": ["chief"]}
EXPORTER = {"roles": ["exporter"], "branch": "north"}
ANALYST = {"roles": ["analyst"]}
