"""``[identity] mode = "jwt"``: bearer tokens, the issuer's keys, and what was verified already."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Awaitable, Callable
from typing import Final

from joserfc.jwk import KeySet

from privguard.asgi.caching import ExpiringCache
from privguard.asgi.messages import RawHeaders
from privguard.errors import PrivguardError, UnauthenticatedError, UpstreamUnavailableError
from privguard.identity import (
    AssuranceMap,
    ClaimMap,
    TokenRules,
    UnknownKeyError,
    VerifiedToken,
    read_keys,
    read_principal,
    session_name,
    verify_token,
)
from privguard.model import Principal
from privguard.ports import Clock, RequestTarget

FRESH_S: Final = 300.0
"""Age from which the issuer's keys are fetched again, while the known ones still serve."""
STALE_S: Final = 3_600.0
"""Age above which keys no longer serve, though the issuer does not answer (S10)."""
COOL_DOWN_S: Final = 10.0
"""Between two fetches of the keys, whatever tokens name (S10)."""
MAX_REMEMBERED: Final = 8_192

_BEARER: Final = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] +([A-Za-z0-9._~+/-]+=*)")


class IssuerKeys:
    """The issuer's verifying keys, fetched again when they are old or a token names a new one.

    Args:
        load: gives the JWK set; may raise PrivguardError or OSError.
        known: what it gave at the start, if it was asked already.
        monotonic: seconds; a clock that never goes backwards.
    """

    def __init__(
        self,
        load: Callable[[], Awaitable[bytes]],
        *,
        known: bytes | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._monotonic = monotonic
        self._raw = known
        self._keys = read_keys(known) if known is not None else None
        self._loaded_at = monotonic()
        self._next_try = self._loaded_at + COOL_DOWN_S if known is not None else 0.0
        self._fetch: asyncio.Task[None] | None = None

    async def keys(self) -> KeySet:
        """The keys as known; waits only where none that are young enough are.

        Raises:
            UpstreamUnavailableError: there are none, and the issuer does not give any.
        """
        age = self._monotonic() - self._loaded_at
        if self._keys is None or age >= STALE_S:
            await self._fetched()
        elif age >= FRESH_S:
            self._begin()
        if self._keys is None or self._monotonic() - self._loaded_at >= STALE_S:
            raise UpstreamUnavailableError("The issuer's keys cannot be fetched; see [identity.jwt] jwks.")
        return self._keys

    async def newer(self) -> KeySet | None:
        """Keys that the issuer has published since; None where there are none, or it was asked just now."""
        before = self._keys
        await self._fetched()
        return self._keys if self._keys is not before else None

    async def verify(self, token: str, rules: TokenRules, now: int) -> VerifiedToken:
        """``verify_token`` by the keys as known, or by newer ones where the token names one of these."""
        try:
            return verify_token(token, await self.keys(), rules, now)
        except UnknownKeyError:
            newer = await self.newer()
            if newer is None:
                raise
            return verify_token(token, newer, rules, now)

    async def _fetched(self) -> None:
        if (fetch := self._begin()) is not None:
            await asyncio.shield(fetch)

    def _begin(self) -> asyncio.Task[None] | None:
        """The fetch under way, or a new one unless the last is too recent."""
        if self._fetch is None and self._monotonic() >= self._next_try:
            self._next_try = self._monotonic() + COOL_DOWN_S
            self._fetch = asyncio.create_task(self._refresh())
        return self._fetch

    async def _refresh(self) -> None:
        try:
            raw = await self._load()
            if raw != self._raw:
                self._keys, self._raw = read_keys(raw), raw
            self._loaded_at = self._monotonic()
        except (PrivguardError, OSError):
            pass  # what is known serves on, up to STALE_S
        finally:
            self._fetch = None


class TokenIdentity:
    """``mode = "jwt"``: bearer tokens of an issuer; each is verified once, then remembered until it expires.

    Args:
        session_key: see ``session_name``; None: sessions are not named.
    """

    def __init__(
        self,
        keys: IssuerKeys,
        rules: TokenRules,
        paths: ClaimMap,
        assurance: AssuranceMap,
        clock: Clock,
        session_key: bytes | None = None,
    ) -> None:
        self._keys = keys
        self._rules = rules
        self._paths = paths
        self._assurance = assurance
        self._clock = clock
        self._session_key = session_key
        self._known: ExpiringCache[Principal] = ExpiringCache(MAX_REMEMBERED)
        self._verified_with: KeySet | None = None

    async def identify(self, target: RequestTarget, headers: RawHeaders, body: bytes = b"") -> Principal:
        """See ``ports.IdentityProvider.identify``."""
        token = bearer_token(headers)
        digest = hashlib.sha256(token.encode("ascii")).digest()
        now = self._clock.now_us() // 1_000_000
        keys = await self._keys.keys()
        if keys is not self._verified_with:  # a key that was withdrawn must not live on in here
            self._known.clear()
            self._verified_with = keys
        actor = self._known.get(digest, now)
        if actor is None:
            actor = await self._verify(token, digest, now)
        return actor

    async def _verify(self, token: str, digest: bytes, now: int) -> Principal:
        verified = await self._keys.verify(token, self._rules, now)
        sid = verified.claims.get("sid")
        own = sid if isinstance(sid, str) and sid else digest.hex()
        actor = read_principal(
            verified.claims,
            self._paths,
            now=now,
            session=session_name(self._session_key, "jwt", self._rules.issuer, own),
            assurance=self._assurance,
            leeway=self._rules.leeway,
        )
        self._known.put(digest, actor, verified.expires)
        return actor


def bearer_token(headers: RawHeaders) -> str:
    """The token of the one Authorization header (RFC 6750 §2.1).

    Raises:
        UnauthenticatedError: there is none, or another scheme.
    """
    given = [value for name, value in headers if name == b"authorization"]
    found = _BEARER.fullmatch(given[0]) if len(given) == 1 else None
    if found is None:
        raise UnauthenticatedError("Send `Authorization: Bearer TOKEN`.")
    return found[1].decode("ascii")
