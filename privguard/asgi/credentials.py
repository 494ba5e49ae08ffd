"""How ``[identity]`` is wired, and the providers that need no network: a proxy's assertions, demo tokens.

The pure part stands in ``privguard.identity``; what needs the network or remembers in ``tokens`` and
``whoami``. A credential is only ever held as its SHA-256.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from privguard.asgi.headers import header_map
from privguard.asgi.issuer import FETCH_S, ask_issuer, check_url
from privguard.asgi.messages import RawHeaders
from privguard.asgi.tokens import IssuerKeys, TokenIdentity, bearer_token
from privguard.config import DemoAccount, JwtSettings, Settings, WhoAmISettings
from privguard.errors import ConfigError, UnauthenticatedError
from privguard.identity import (
    AssuranceMap,
    ClaimMap,
    ProxyRules,
    ReplayWindow,
    SignedRequest,
    TokenRules,
    read_principal,
    session_name,
    verify_assertion,
)
from privguard.model import Once, Principal
from privguard.ports import Clock, IdentityProvider, RequestTarget


class ProxyIdentity:
    """``mode = "proxy"``: what a reverse proxy asserts, signed, for each request."""

    def __init__(
        self,
        rules: ProxyRules,
        paths: ClaimMap,
        assurance: AssuranceMap,
        clock: Clock,
        session_key: bytes | None = None,
    ) -> None:
        self._rules = rules
        self._paths = paths
        self._assurance = assurance
        self._clock = clock
        self._session_key = session_key
        self._window = ReplayWindow()

    async def identify(self, target: RequestTarget, headers: RawHeaders, body: bytes = b"") -> Principal:
        """See ``ports.IdentityProvider.identify``; a body that is not given is taken to be none."""
        now = self._clock.now_us() // 1_000_000
        request = SignedRequest(target.method, target.raw, body)
        said = verify_assertion(header_map(headers), request, self._rules, self._window, now)
        claims = said.claims
        sid = claims.get("sid")
        session = session_name(self._session_key, "proxy", sid) if isinstance(sid, str) and sid else None
        actor = read_principal(claims, self._paths, now=now, session=session, assurance=self._assurance)
        return replace(actor, once=Once(f"proxy {said.nonce}", said.until * 1_000_000))


class DemoIdentity:
    """``mode = "demo"``: made-up accounts, each with a bearer token that stands in the configuration."""

    def __init__(self, accounts: Mapping[str, Principal]) -> None:
        self._known = {hashlib.sha256(token.encode()).digest(): actor for token, actor in accounts.items()}

    async def identify(self, target: RequestTarget, headers: RawHeaders, body: bytes = b"") -> Principal:
        """See ``ports.IdentityProvider.identify``."""
        actor = self._known.get(hashlib.sha256(bearer_token(headers).encode("ascii")).digest())
        if actor is None:
            raise UnauthenticatedError("The token is none of the demo's.")
        return actor


def identity_provider(
    settings: Settings, clock: Clock, *, session_key: bytes | None = None
) -> tuple[IdentityProvider, frozenset[bytes]]:
    """The provider that ``[identity]`` asks for, and the headers that name an actor to privguard alone.

    Args:
        session_key: see ``session_name``; the same in every worker.

    Raises:
        ConfigError: a setting or file is wrong.
    """
    identity = settings.identity
    if identity.mode == "jwt" and identity.jwt is not None:
        return _by_token(identity.jwt, clock, session_key), frozenset()
    if identity.mode == "proxy" and identity.proxy is not None:
        rules = ProxyRules((_read_secret(identity.proxy.hmac_key),), identity.proxy.max_skew)
        paths = ClaimMap(branch="branch", client_id="client_id", tenant="tenant", attributes=_TRAINING)
        provider = ProxyIdentity(rules, paths, AssuranceMap(), clock, session_key)
        return provider, frozenset({b"signature", b"signature-input"})
    if identity.mode == "upstream" and identity.upstream is not None:
        return _by_upstream(settings, identity.upstream, clock, session_key), _unnamed(identity.upstream)
    if identity.mode == "demo":
        return DemoIdentity({account.token: _demo_actor(account) for account in identity.demo}), frozenset()
    raise ConfigError(f"[identity] mode is {identity.mode!r}: add [identity.{identity.mode}].")


_TRAINING: Final = (("training", "training"),)


def _demo_actor(account: DemoAccount) -> Principal:
    return Principal(
        id=account.id,
        roles=frozenset(account.roles),
        branch=account.branch,
        client_id=account.client_id,
        attributes={"training": account.training},
    )


def _by_token(jwt: JwtSettings, clock: Clock, session_key: bytes | None) -> TokenIdentity:
    rules = TokenRules(issuer=jwt.issuer, audience=(jwt.audience,))
    return TokenIdentity(issuer_keys(jwt.jwks), rules, *meaning_of(jwt), clock, session_key)


def meaning_of(jwt: JwtSettings) -> tuple[ClaimMap, AssuranceMap]:
    """Where an issuer's claims stand, and which of its words mean which assurance."""
    claims = jwt.claims
    paths = ClaimMap(
        id=claims.id,
        roles=claims.roles,
        branch=claims.branch,
        client_id=claims.client_id,
        tenant=claims.tenant,
        attributes=tuple(claims.attributes.items()),
        acr=claims.acr,
        amr=claims.amr,
        auth_time=claims.auth_time,
    )
    return paths, AssuranceMap(frozenset(jwt.multi_factor), frozenset(jwt.phishing_resistant))


def issuer_keys(jwks: str) -> IssuerKeys:
    """The keys of ``[identity.jwt] jwks``, a file or a URL. Raises ConfigError."""
    if "://" not in jwks:
        file = Path(jwks)

        async def read() -> bytes:
            return await asyncio.to_thread(file.read_bytes)

        try:
            return IssuerKeys(read, known=file.read_bytes())
        except OSError as error:
            raise ConfigError(f"{file}: {error.strerror}. Name the key set in [identity.jwt] jwks.") from None
    check_url(jwks, "[identity.jwt] jwks")
    return IssuerKeys(lambda: ask_issuer(jwks))


def _unnamed(whoami: WhoAmISettings) -> frozenset[bytes]:
    """Credentials that the who-am-I call does not carry: the CRM must not act by them either (S11)."""
    named = {name.lower().partition(":")[0] for name in whoami.credentials}
    return frozenset({b"authorization", b"cookie"} - {name.encode("ascii") for name in named})


def _by_upstream(
    settings: Settings, whoami: WhoAmISettings, clock: Clock, session_key: bytes | None
) -> IdentityProvider:
    from privguard.asgi.fetch import HttpUpstream, tls_context  # aiohttp is an extra
    from privguard.asgi.whoami import WhoAmIIdentity

    system = settings.system
    tls = tls_context(system.tls.ca, system.tls.client_cert) if system.upstream.startswith("https") else None
    cookies = {name.removeprefix("cookie:") for name in whoami.credentials if name.startswith("cookie:")}
    headers = {name.lower() for name in whoami.credentials if not name.startswith("cookie:")}
    if not whoami.whoami.startswith("/") or not (cookies or headers):
        raise ConfigError(
            "[identity.upstream] needs whoami, a path such as /me, and the name of a credential."
        )
    return WhoAmIIdentity(
        HttpUpstream(system.name, system.upstream, tls=tls, begin_s=FETCH_S, idle_s=FETCH_S),
        whoami.whoami.encode("ascii"),
        frozenset(name.encode("ascii") for name in headers),
        frozenset(name.encode("ascii") for name in cookies),
        ClaimMap(
            id=whoami.id,
            roles=whoami.roles,
            branch=whoami.branch,
            client_id=whoami.client_id,
            attributes=tuple(whoami.attributes.items()),
            acr=None,
            amr=None,
            auth_time=None,
        ),
        clock,
        cache_seconds=whoami.cache_seconds,
        session_key=session_key,
    )


def _read_secret(file: Path) -> bytes:
    """One line of text, so that the proxy and we agree on what belongs to the key."""
    try:
        if file.stat().st_mode & 0o077:
            raise ConfigError(f"{file}: others may read this key file (S15). Run: chmod 600 {file}")
        key = file.read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}. Write the key that the proxy shares there.") from None
    if not key.isascii() or not key.decode("ascii").isprintable():
        raise ConfigError(f"{file}: the key is one line of text, such as `openssl rand -hex 32` prints.")
    return key
