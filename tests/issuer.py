"""A small OpenID provider on loopback, in a thread of the test: it signs in whom the test names."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey

CLIENT, SECRET = "privguard", "s3cret+/="


class Issuer:
    """Its side of things.

    Attributes:
        key: signs; ``published`` are the keys it shows.
        down: it answers 503 to everything.
        asked: how often each path was asked for.
        spoil: claims that ID tokens have instead of the right ones.
    """

    def __init__(self) -> None:
        self.url = ""
        self.key = ECKey.generate_key("P-256", {"kid": "k1"})
        self.published = [self.key]
        self.down = False
        self.asked: Counter[str] = Counter()
        self.spoil: dict[str, Any] = {}
        self._codes: dict[str, tuple[dict[str, str], dict[str, Any]]] = {}

    def token(self, key: ECKey | None = None, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token for the API, with these claims changed; None takes one away."""
        key, now = key or self.key, int(time.time())
        full = {"iss": self.url, "aud": "privguard-api", "sub": "e-17", "roles": ["staff"], "branch": "north"}
        full |= {"exp": now + 600, "iat": now, **claims}
        said = {"alg": "ES256", "typ": "JWT", "kid": key.kid, **(header or {})}
        return jwt.encode(said, {k: v for k, v in full.items() if v is not None}, key)

    def sign_in(self, location: str, **claims: Any) -> str:
        """What a browser does at the authorization endpoint: the URL it is sent back to."""
        asked = dict(parse_qsl(urlsplit(location).query))
        assert location.startswith(f"{self.url}/authorize?")
        assert (asked["response_type"], asked["client_id"]) == ("code", CLIENT)
        assert asked["code_challenge_method"] == "S256"
        assert "openid" in asked["scope"].split()
        code = secrets.token_urlsafe(16)
        self._codes[code] = asked, claims
        return (
            f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state'], 'iss': self.url})}"
        )

    def redeem(self, form: dict[str, str], authorization: str) -> Any:
        """An ID token for a code: once, for the application and the verifier it was asked with."""
        pair = base64.b64decode(authorization.removeprefix("Basic ")).decode()
        asked, claims = self._codes.pop(form.get("code", ""), ({}, {}))
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if (
            pair != f"{CLIENT}:{urlencode({'': SECRET})[1:]}"
            or form["grant_type"] != "authorization_code"
            or form["redirect_uri"] != asked.get("redirect_uri")
            or challenge != asked["code_challenge"]
        ):
            return None
        full = {"aud": CLIENT, "nonce": asked["nonce"], **claims, **self.spoil}
        return {"access_token": "x", "token_type": "Bearer", "id_token": self.token(**full)}

    def answer(self, path: str, form: dict[str, str], authorization: str) -> Any:
        if path == "/.well-known/openid-configuration":
            names = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "jwks"}
            return {"issuer": self.url, **{name: f"{self.url}/{end}" for name, end in names.items()}}
        if path == "/jwks":
            return {"keys": [key.as_dict(private=False) for key in self.published]}
        return self.redeem(form, authorization) if path == "/token" else None


class _Handler(BaseHTTPRequestHandler):
    issuer: Issuer

    def do_GET(self) -> None:
        issuer, path = self.issuer, urlsplit(self.path).path
        issuer.asked[path] += 1
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        said = None if issuer.down else issuer.answer(path, form, self.headers.get("authorization", ""))
        data = json.dumps(said).encode()
        self.send_response(503 if issuer.down else 400 if said is None else 200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_POST = do_GET  # noqa: N815  # http.server's name

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def issuing() -> Iterator[Issuer]:
    """An issuer on a free loopback port, until the block ends."""
    issuer = Issuer()
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"issuer": issuer})) as server:
        issuer.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield issuer
        finally:
            server.shutdown()
            thread.join()
