"""The HTTP client, behind a small protocol: one system, its raw targets and raw headers, nothing followed.

aiohttp, because of six clients it alone sent odd targets byte for byte (S12). Redirects are not followed and
neither cookies nor proxies of the environment are used (S14); bodies stay encoded as they come.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, Protocol

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from privguard.asgi.messages import RawHeaders
from privguard.errors import ConfigError, MalformedRequestError, UpstreamUnavailableError

Body = bytes | AsyncIterator[bytes] | None

KEEP_ALIVE_S: Final = 4.0
"""Shorter than the 5 s after which uvicorn, Node and Apache close: a write must not meet that."""
CONNECT_S: Final = 5.0
PIECE: Final = 1 << 16
WHOLE: Final = 1 << 20
"""Bytes that are written at once; aiohttp warns above it."""
_AUTOMATIC: Final = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
_FAILURES: Final = (aiohttp.ClientError, OSError, asyncio.TimeoutError)


class UpstreamResponse(Protocol):
    """An answer whose body has yet to come."""

    status: int
    headers: RawHeaders
    """As they were sent, names in any case."""

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises UpstreamUnavailableError when it breaks off or stalls."""
        ...

    def close(self) -> None:
        """Gives the connection up, or back when the body was read to its end."""
        ...


class Upstream(Protocol):
    """One system that is asked over HTTP."""

    async def send(
        self, method: str, target: bytes, headers: RawHeaders, body: Body = None
    ) -> UpstreamResponse:
        """Sends one request and waits for the head of the answer; the caller must ``close`` it.

        Raises:
            UpstreamUnavailableError: it cannot be reached, or its answer did not begin in time.
        """
        ...

    async def close(self) -> None:
        """Closes all connections."""
        ...


class HttpUpstream:
    """An ``Upstream`` at an origin.

    Args:
        name: of the system, for messages.
        origin: ``http://host:port`` or ``https://host:port``.
        tls: see ``tls_context``; None: the machine's authorities.
        begin_s: seconds until the answer must have begun.
        idle_s: seconds within which the next part of its body must come.
        connections: at most, for this process.
    """

    def __init__(
        self,
        name: str,
        origin: str,
        *,
        tls: ssl.SSLContext | None = None,
        begin_s: float = 30.0,
        idle_s: float = 30.0,
        connections: int = 100,
    ) -> None:
        self._name = name
        self._origin = origin.rstrip("/")
        self._tls = tls
        self._begin_s = begin_s
        self._idle_s = idle_s
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def send(
        self, method: str, target: bytes, headers: RawHeaders, body: Body = None
    ) -> UpstreamResponse:
        """See ``Upstream.send``."""
        url = self._url(target)
        if isinstance(body, bytes) and len(body) > WHOLE:
            headers = [*headers, (b"content-length", b"%d" % len(body))]
            body = _pieces(body)
        session = self._session or self._open()
        whole = body is None or isinstance(body, bytes)
        try:
            # While a stream is on its way up, its sender's pace decides; then sock_read does.
            async with asyncio.timeout(self._begin_s if whole else None):
                response = await session.request(
                    method,
                    url,
                    headers=_as_text(headers),
                    data=body,
                    allow_redirects=False,
                    skip_auto_headers=_AUTOMATIC,
                )
        except _FAILURES:
            raise self._unavailable() from None
        if not 200 <= response.status < 600:  # 101: no longer HTTP (S14); 600 and up: cannot be said again
            response.close()
            raise self._unavailable()
        return _Answer(response, self._unavailable)

    async def close(self) -> None:
        """See ``Upstream.close``."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _url(self, target: bytes) -> URL:
        """The target below the origin, and nowhere else: ``@evil.example/`` would be another host (S14)."""
        text = target.decode("latin-1")
        if text.startswith("/") and text.isascii():
            url = URL(self._origin + text, encoded=True)
            if url.raw_path_qs == text:
                return url
        raise MalformedRequestError("The target cannot be sent on byte for byte.")

    def _open(self) -> aiohttp.ClientSession:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._connections,
                ssl=self._tls if self._tls is not None else True,
                ttl_dns_cache=30,
                keepalive_timeout=KEEP_ALIVE_S,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(sock_connect=CONNECT_S, sock_read=self._idle_s),
            auto_decompress=False,
            trust_env=False,
            max_line_size=16_384,
            max_field_size=16_384,
        )
        return self._session

    def _unavailable(self) -> UpstreamUnavailableError:
        return UpstreamUnavailableError(f"The system {self._name} does not answer, or not in time.")


class _Answer:
    def __init__(self, response: aiohttp.ClientResponse, unavailable: _Unavailable) -> None:
        self.status = response.status
        self.headers: RawHeaders = list(response.raw_headers)
        self._response = response
        self._unavailable = unavailable

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._response.content.iter_any():
                yield chunk
        except _FAILURES:
            raise self._unavailable() from None

    def close(self) -> None:
        self._response.close()


class _Unavailable(Protocol):
    def __call__(self) -> UpstreamUnavailableError: ...


async def read_whole(response: UpstreamResponse, limit: int) -> bytes:
    """The whole body, of ``limit`` bytes at most.

    Raises:
        UpstreamUnavailableError: it breaks off, or is longer.
    """
    body = bytearray()
    async for chunk in response.chunks():
        body += chunk
        if len(body) > limit:
            raise UpstreamUnavailableError(f"The answer is longer than {limit} bytes.")
    return bytes(body)


def tls_context(ca: Path | None = None, client_cert: Path | None = None) -> ssl.SSLContext:
    """TLS towards a system: whose certificates are believed, and what is shown to it.

    Args:
        ca: PEM file of authorities; None: the machine's.
        client_cert: PEM file with our certificate and key.

    Raises:
        ConfigError: a file cannot be read or holds no certificate.
    """
    file = ca
    try:
        context = ssl.create_default_context(cafile=str(ca) if ca else None)
        if client_cert is not None:
            file = client_cert
            context.load_cert_chain(str(client_cert))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{file}: {error.strerror or 'not a PEM file as [systems.tls] asks'}.") from None
    return context


def _as_text(headers: RawHeaders) -> CIMultiDict[str]:
    """Headers as aiohttp takes them: it writes text as UTF-8, so other bytes could not go on unchanged."""
    try:
        return CIMultiDict([(name.decode("ascii"), value.decode("utf-8")) for name, value in headers])
    except UnicodeDecodeError:
        raise MalformedRequestError("A header is not UTF-8.") from None


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    view = memoryview(body)
    for start in range(0, len(body), PIECE):
        yield bytes(view[start : start + PIECE])
