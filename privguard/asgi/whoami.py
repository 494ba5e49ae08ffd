"""``[identity] mode = "upstream"``: the CRM itself says who holds a token or cookie."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec

from privguard.asgi.caching import ExpiringCache, SingleFlight
from privguard.asgi.fetch import Upstream, read_whole
from privguard.asgi.messages import RawHeaders
from privguard.errors import MalformedRequestError, UnauthenticatedError, UpstreamUnavailableError
from privguard.identity import ClaimMap, read_principal, session_name
from privguard.model import Principal
from privguard.ports import Clock, RequestTarget

MAX_ANSWER: Final = 262_144
"""Bytes of a who-am-I answer."""
MAX_REMEMBERED: Final = 8_192
REFUSED_S: Final = 1.0
"""How long the CRM's no is remembered."""
_PHP: Final = re.compile(rb"[ .\[]")


class WhoAmIIdentity:
    """Asks the CRM, and remembers its answer for a while.

    Args:
        path: of its who-am-I route.
        headers, cookies: names of those that carry credentials; nothing else of the request is sent.
        cache_seconds: how long its answer counts: a log-out there is noticed here after that time.
    """

    def __init__(
        self,
        upstream: Upstream,
        path: bytes,
        headers: frozenset[bytes],
        cookies: frozenset[bytes],
        paths: ClaimMap,
        clock: Clock,
        *,
        cache_seconds: int = 10,
        session_key: bytes | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._upstream = upstream
        self._path = path
        self._headers = headers
        self._cookies = cookies
        self._paths = paths
        self._clock = clock
        self._cache_seconds = cache_seconds
        self._session_key = session_key
        self._monotonic = monotonic
        self._known: ExpiringCache[Principal] = ExpiringCache(MAX_REMEMBERED)
        self._refused: ExpiringCache[bool] = ExpiringCache(MAX_REMEMBERED)
        self._flights: SingleFlight[Principal] = SingleFlight()

    async def identify(self, target: RequestTarget, headers: RawHeaders, body: bytes = b"") -> Principal:
        """See ``ports.IdentityProvider.identify``."""
        shown = self._credentials(headers)
        if not shown:
            raise UnauthenticatedError("The request carries none of the credentials that [identity] names.")
        digest = _digest(shown)
        now = self._monotonic()
        actor = self._known.get(digest, now)
        if actor is not None:
            return actor
        if self._refused.get(digest, now):
            raise _refusal()
        return await self._flights.do(digest, lambda: self._ask(shown, digest))

    async def close(self) -> None:
        """Closes the connections to the CRM."""
        await self._upstream.close()

    def _credentials(self, headers: RawHeaders) -> RawHeaders:
        shown = [(name, value) for name, value in headers if name in self._headers]
        if self._cookies:
            crumbs = [crumb.strip() for n, value in headers if n == b"cookie" for crumb in value.split(b";")]
            kept = [crumb for crumb in crumbs if _read_as(crumb.partition(b"=")[0]) & self._cookies]
            names = {crumb.partition(b"=")[0] for crumb in kept}
            if len(names) < len({*kept}) or not names <= self._cookies:
                raise MalformedRequestError("A cookie with credentials stands twice, or in another spelling.")
            if kept:
                shown.append((b"cookie", b"; ".join(kept)))
        return shown

    async def _ask(self, shown: RawHeaders, digest: bytes) -> Principal:
        try:
            claims = await self._claims(shown)
            actor = read_principal(
                claims,
                self._paths,
                now=self._clock.now_us() // 1_000_000,
                session=session_name(self._session_key, "upstream", digest.hex()),
            )
        except UnauthenticatedError:
            self._refused.put(digest, True, self._monotonic() + min(REFUSED_S, self._cache_seconds))
            raise
        self._known.put(digest, actor, self._monotonic() + self._cache_seconds)
        return actor

    async def _claims(self, shown: RawHeaders) -> Mapping[str, object]:
        asked = [*shown, (b"accept", b"application/json"), (b"accept-encoding", b"identity")]
        response = await self._upstream.send("GET", self._path, asked)
        try:
            body = await read_whole(response, MAX_ANSWER)
        finally:
            response.close()
        if response.status in (401, 403):
            raise _refusal()
        try:
            if response.status == 200:
                return msgspec.json.decode(body, type=dict[str, object])
        except (ValueError, RecursionError):  # msgspec's errors are ValueErrors and quote the answer
            pass
        raise UpstreamUnavailableError(
            "The CRM's who-am-I route answered neither 200 with a JSON object, nor 401, nor 403; see "
            "[identity.upstream] whoami."
        )


def _read_as(name: bytes) -> frozenset[bytes]:
    """What a CRM may read a cookie's name as: as it stands, trimmed, percent-decoded, as PHP names variables.

    The CRM gets all cookies, its who-am-I route those with credentials: both must be the same session (S11).
    """
    plain = unquote_to_bytes(name).strip()
    return frozenset({name, plain, plain.partition(b"[")[0], _PHP.sub(b"_", plain)})


def _digest(shown: RawHeaders) -> bytes:
    told = hashlib.sha256()
    for part in (part for header in shown for part in header):
        told.update(len(part).to_bytes(4, "big") + part)
    return told.digest()


def _refusal() -> UnauthenticatedError:
    return UnauthenticatedError("The CRM does not know these credentials. Sign in there again.")
