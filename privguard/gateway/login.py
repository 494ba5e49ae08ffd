"""Sign-in to the gateway's own pages: OpenID Connect's code flow with PKCE (RFC 7636, RFC 9700).

1. ``begin``: state, nonce and verifier go into a sealed cookie, the browser to the issuer.
2. ``finish``: the cookie must be there and its state the one that came back (login CSRF, S09), the issuer the
   one that was asked (RFC 9207); the code becomes an ID token, which must hold and carry the nonce.
3. The actor goes into a new sealed cookie, whatever the browser had before (session fixation, S09), once the
   sign-in is on record.

Both cookies are ``__Host-``: this host's alone, over TLS alone, out of scripts' reach; none goes to the CRM.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import msgspec
from fastapi import FastAPI, Request, Response
from msgspec import Struct

from privguard.asgi.canonical import read_target
from privguard.asgi.credentials import issuer_keys, meaning_of
from privguard.asgi.headers import OWN_COOKIES
from privguard.asgi.issuer import ask_issuer, check_url
from privguard.asgi.messages import RawHeaders
from privguard.asgi.tokens import COOL_DOWN_S
from privguard.config import JwtSettings, LoginSettings
from privguard.crypto.envelope import NONCE_BYTES, EnvelopeError, seal, unseal
from privguard.errors import (
    ConfigError,
    PrivguardError,
    UnauthenticatedError,
    UpstreamUnavailableError,
)
from privguard.gateway.own import PREFIX, check_path, problem
from privguard.guard import AsyncGuard
from privguard.identity import TokenRules, read_principal, session_name
from privguard.keystore.keyset_file import read_secret
from privguard.model import AccessEvent, Outcome, Principal
from privguard.ports import Clock, Entropy, IdentityProvider, RequestTarget

CALLBACK: Final = f"{PREFIX}login/callback"
LOGIN_S: Final = 600
"""How long somebody may take to sign in."""
SESSION_S: Final = 3_600
"""How long a session lasts; signing in again costs a redirect while the issuer's own session lasts."""
MAX_COOKIE: Final = 3_900
SESSION: Final = f"{OWN_COOKIES.decode()}-session"
LOGIN: Final = f"{OWN_COOKIES.decode()}-login"

_AGAIN: Final = "Begin again: this sign-in was begun in another browser, or too long ago."


class Begun(Struct, frozen=True):
    """What must come back of a sign-in; ``until`` in seconds since the epoch."""

    state: str
    nonce: str
    verifier: str
    return_to: str
    until: int


class Session(Struct, frozen=True):
    """Who signed in, and until when (seconds since the epoch) that counts."""

    actor: Principal
    until: int


class _Endpoints(Struct, frozen=True):
    issuer: str
    authorization_endpoint: str
    token_endpoint: str


class _Tokens(Struct, frozen=True):
    id_token: str


class Login:
    """Sign-in at the issuer of ``[identity.jwt]``, whose words mean what they mean in its other tokens.

    Args:
        key: 32 bytes that seal the cookies, the same in every worker.
        session_key: see ``session_name``.
    """

    def __init__(
        self,
        jwt: JwtSettings,
        login: LoginSettings,
        clock: Clock,
        entropy: Entropy,
        key: bytes,
        session_key: bytes,
    ) -> None:
        check_url(jwt.issuer, "[identity.jwt] issuer")
        check_url(login.public_url, "[identity.jwt.login] public_url")
        if login.client_id == jwt.audience:
            raise ConfigError(
                "[identity.jwt.login] client_id is the audience of tokens: register another one."
            )
        self._jwt, self._login = jwt, login
        self._clock, self._entropy, self._key, self._session_key = clock, entropy, key, session_key
        self._secret = read_secret(login.client_secret).decode().strip() if login.client_secret else None
        self._keys = issuer_keys(jwt.jwks)
        self._rules = TokenRules(issuer=jwt.issuer, audience=(login.client_id,), types=frozenset({"jwt", ""}))
        self._found: _Endpoints | None = None
        self._asking, self._ask_at = asyncio.Lock(), 0

    async def identify(self, target: RequestTarget, headers: RawHeaders, body: bytes = b"") -> Principal:
        """``ports.IdentityProvider`` of the gateway's own pages: who signed in with this browser.

        Never for the CRM's routes: a browser sends cookies along with requests that others make it send.
        """
        session: Session | None = self._open(SESSION, headers, Session)
        if session is None:
            raise UnauthenticatedError(f"Sign in at {PREFIX}login.")
        return session.actor

    async def begin(self, return_to: str) -> tuple[str, str]:
        """Where the browser goes, and the cookie it takes along.

        Raises:
            MalformedRequestError: it is not to come back to a path of this host (S14).
            UpstreamUnavailableError: the issuer does not say where that is.
        """
        check_path(return_to)
        state, nonce, verifier = (self._drawn() for _ in range(3))
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=")
        asked = {
            "response_type": "code",
            "client_id": self._login.client_id,
            "redirect_uri": self._login.public_url + CALLBACK,
            "scope": self._login.scope,
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge.decode(),
            "code_challenge_method": "S256",
        }
        endpoint = (await self._endpoints()).authorization_endpoint
        begun = Begun(state, nonce, verifier, return_to, self._now() + LOGIN_S)
        mark = "&" if urlsplit(endpoint).query else "?"
        return f"{endpoint}{mark}{urlencode(asked)}", self.seal(LOGIN, begun)

    async def finish(self, query: list[tuple[str, str]], headers: RawHeaders) -> tuple[str, Session]:
        """Where the browser goes on to, and its session.

        Raises:
            UnauthenticatedError: nobody signed in, or not in this browser.
            UpstreamUnavailableError: the issuer does not answer.
        """
        begun: Begun | None = self._open(LOGIN, headers, Begun)
        said = dict(query)
        if begun is None or len(said) < len(query):
            raise UnauthenticatedError(_AGAIN)
        if not hmac.compare_digest(said.get("state", "").encode(), begun.state.encode()):
            raise UnauthenticatedError(_AGAIN)
        if said.get("iss", self._jwt.issuer) != self._jwt.issuer or "code" not in said:
            raise UnauthenticatedError("The issuer did not sign you in. Begin again.")
        claims = await self._claims(said["code"], begun)
        sid = claims.get("sid")
        own = sid if isinstance(sid, str) and sid else self._drawn()  # the issuer's: the tokens' session too
        paths, words = meaning_of(self._jwt)
        actor = read_principal(
            claims,
            paths,
            now=self._now(),
            session=session_name(self._session_key, "jwt", self._jwt.issuer, own),
            assurance=words,
        )
        return begun.return_to, Session(actor, self._now() + SESSION_S)

    async def _claims(self, code: str, begun: Begun) -> Any:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._login.public_url + CALLBACK,
            "client_id": self._login.client_id,
            "code_verifier": begun.verifier,
        }
        basic = None
        if self._secret is not None:  # RFC 6749 2.3.1: both are form-encoded first
            pair = urlencode({self._login.client_id: self._secret}).replace("=", ":", 1)
            basic = b"Basic " + base64.b64encode(pair.encode())
        answer = await ask_issuer((await self._endpoints()).token_endpoint, urlencode(form).encode(), basic)
        token = _read(answer, _Tokens).id_token
        claims = (await self._keys.verify(token, self._rules, self._now())).claims
        if not hmac.compare_digest(str(claims.get("nonce", "")).encode(), begun.nonce.encode()):
            raise UnauthenticatedError(_AGAIN)
        if claims.get("azp", self._login.client_id) != self._login.client_id:
            raise UnauthenticatedError("The ID token was issued to another application.")
        return claims

    async def _endpoints(self) -> _Endpoints:
        """The issuer's (OpenID Connect Discovery), remembered; while it fails, asked once a cool-down."""
        async with self._asking:
            if self._now() >= self._ask_at:
                self._ask_at = self._now() + int(COOL_DOWN_S)
                raw = await ask_issuer(self._jwt.issuer.rstrip("/") + "/.well-known/openid-configuration")
                found: _Endpoints = _read(raw, _Endpoints)
                if found.issuer != self._jwt.issuer:
                    raise UpstreamUnavailableError("The issuer's configuration is another issuer's.")
                for url in (found.authorization_endpoint, found.token_endpoint):
                    check_url(url, "the issuer's endpoints")
                self._ask_at, self._found = self._now() + LOGIN_S, found
            if self._found is None:
                raise UpstreamUnavailableError("The issuer did not answer just now: try again in a while.")
            return self._found

    def _drawn(self) -> str:
        return base64.urlsafe_b64encode(self._entropy.token(32)).rstrip(b"=").decode()

    def _now(self) -> int:
        return self._clock.now_us() // 1_000_000

    def seal(self, name: str, value: Begun | Session) -> str:
        """The text of a cookie. Raises UnauthenticatedError if no cookie can hold it."""
        text = seal(self._key, self._entropy.token(NONCE_BYTES), msgspec.json.encode(value), name.encode())
        cookie = base64.urlsafe_b64encode(text).rstrip(b"=").decode()
        if len(cookie) > MAX_COOKIE:
            raise UnauthenticatedError("The issuer says more of you than a cookie holds: map fewer claims.")
        return cookie

    def _open(self, name: str, headers: RawHeaders, kind: type[Any]) -> Any:
        """What a cookie holds; None if there is not one that holds, or it is over."""
        crumbs = [crumb.strip() for key, value in headers if key == b"cookie" for crumb in value.split(b";")]
        found = [
            value for key, _, value in (crumb.partition(b"=") for crumb in crumbs) if key == name.encode()
        ]
        try:
            text = unseal(self._key, base64.urlsafe_b64decode(b"".join(found) + b"=="), name.encode())
            value = msgspec.json.decode(text, type=kind)
        except (EnvelopeError, ValueError):
            return None
        return value if value.until > self._now() else None


def _read(raw: bytes, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(raw, type=kind)
    except ValueError:  # it quotes the answer
        raise UpstreamUnavailableError("The issuer's answer is not as OpenID Connect has it.") from None


def add_login(app: FastAPI, guard: AsyncGuard, login: Login, pages: IdentityProvider) -> None:
    """Adds the routes of signing in and out to the gateway's own."""

    @app.get(f"{PREFIX}login")
    async def begin(return_to: str = "/") -> Response:
        """To the issuer, and then to ``return_to``."""
        try:
            location, cookie = await login.begin(return_to)
        except PrivguardError as error:
            return problem(error)
        return _onward(location, {LOGIN: (cookie, LOGIN_S)})

    @app.get(CALLBACK)
    async def callback(request: Request) -> Response:
        """Back from the issuer."""
        try:
            location, session = await login.finish(
                request.query_params.multi_items(), request.scope["headers"]
            )
            cookie = login.seal(SESSION, session)
            await guard.record(_signed_in(guard, session.actor))
        except PrivguardError as error:
            return problem(error)
        return _onward(location, {SESSION: (cookie, SESSION_S), LOGIN: ("", 0)})

    @app.post(f"{PREFIX}logout")
    async def logout() -> Response:
        """Forgets who signed in with this browser."""
        return _onward("/", {SESSION: ("", 0)})

    @app.get(f"{PREFIX}session")
    async def session(request: Request) -> Response:
        """Who signed in with this browser."""
        try:
            actor = await pages.identify(read_target(request.scope), request.scope["headers"], b"")
        except PrivguardError as error:
            return problem(error)
        body = msgspec.json.encode({"id": actor.id})
        return Response(body, media_type="application/json", headers={"cache-control": "no-store"})


def _signed_in(guard: AsyncGuard, actor: Principal) -> AccessEvent:
    core = guard.core
    return AccessEvent(
        event_id=core.new_id(),
        at_us=core.clock.now_us(),
        action="gateway:session:begin",
        outcome=Outcome.PERMITTED,
        actor=actor.id,
        roles=tuple(sorted(actor.roles)),
        tenant=actor.tenant,
        system=core.system,
        mode=core.mode,
    )


def _onward(location: str, cookies: dict[str, tuple[str, int]]) -> Response:
    kept = {"location": location, "cache-control": "no-store", "referrer-policy": "no-referrer"}
    response = Response(status_code=303, headers=kept)
    for name, (value, seconds) in cookies.items():
        # Lax, not Strict: the way back from the issuer begins on another site.
        response.set_cookie(
            name, value, max_age=seconds, path="/", secure=True, httponly=True, samesite="lax"
        )
    return response
