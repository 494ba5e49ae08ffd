"""The CRM as an ASGI app: what the gateway puts the middleware around."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Final

from privguard.asgi.fetch import Body, HttpUpstream, Upstream, UpstreamResponse, tls_context
from privguard.asgi.headers import onward_headers, returned_headers
from privguard.asgi.messages import Message, RawHeaders, Receive, Scope, Send
from privguard.asgi.zones import caller_address, networks
from privguard.config import OwnCredentials, Settings
from privguard.errors import ConfigError, UpstreamUnavailableError

WATCH_AFTER_S: Final = 0.05
"""When a caller that waits begins to be watched: a task for each quick answer would cost a tenth of it."""
_CALLERS_OWN: Final = frozenset({b"authorization", b"cookie", b"proxy-authorization"})


class UpstreamApp:
    """Sends each request on to the upstream, and its answer back, both as they come.

    Args:
        own: (header, value) by which the gateway itself is known to the upstream; then the caller's
            credentials do not go on, nor do the upstream's cookies come back. None: the caller's go on.
        added: further request headers.
        trusted: networks of reverse proxies whose X-Forwarded-For is believed.
    """

    def __init__(
        self,
        upstream: Upstream,
        *,
        own: tuple[bytes, bytes] | None = None,
        added: RawHeaders | None = None,
        trusted: tuple[IPv4Network | IPv6Network, ...] = (),
    ) -> None:
        self._upstream = upstream
        self._added = [*(added or ()), *([own] if own else ())]
        replaced = frozenset(name for name, _ in self._added)
        self._dropped = frozenset({b"host"}) | replaced | (_CALLERS_OWN if own else frozenset())
        self._cookies = own is None
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":  # S14
            await send({"type": "websocket.close", "code": 1008})
        if scope["type"] != "http":
            return
        caller = _Caller(receive)
        body = await caller.body(scope["headers"])
        if caller.gone:
            return
        async with caller:
            try:
                response = await self._ask(scope, body)
                try:
                    await _give_back(
                        response, returned_headers(response.headers, cookies=self._cookies), send
                    )
                finally:
                    response.close()
            except UpstreamUnavailableError:
                if not caller.gone:  # a body that broke off is not the upstream's failure
                    raise

    async def close(self) -> None:
        """Closes the connections to the upstream."""
        await self._upstream.close()

    async def _ask(self, scope: Scope, body: Body) -> UpstreamResponse:
        query: bytes = scope["query_string"]
        target: bytes = scope["raw_path"] + b"?" + query if query else scope["raw_path"]
        headers = onward_headers(
            scope["headers"],
            dropped=self._dropped if _streams(body) else self._dropped | {b"content-length"},
            client=caller_address(scope, self._trusted),
            scheme=scope["scheme"],
            host=next((value for name, value in scope["headers"] if name == b"host"), b"").decode("latin-1"),
        )
        return await self._upstream.send(scope["method"], target, headers + self._added, body)


def upstream_app(settings: Settings) -> UpstreamApp:
    """The guarded system of the settings.

    Raises:
        ConfigError: a file of ``[systems.tls]`` or ``[systems.credentials]`` cannot be used.
    """
    system = settings.system
    tls = tls_context(system.tls.ca, system.tls.client_cert) if system.upstream.startswith("https") else None
    begin_s = settings.gateway.deadline_ms / 1000
    own = _own(system.credentials) if isinstance(system.credentials, OwnCredentials) else None
    trusted = networks(settings.gateway.trusted_proxies, "[gateway] trusted_proxies")
    return UpstreamApp(
        HttpUpstream(system.name, system.upstream, tls=tls, begin_s=begin_s),
        own=own,
        added=[(name.lower().encode("ascii"), value.encode()) for name, value in system.headers.items()],
        trusted=trusted,
    )


def _own(credentials: OwnCredentials) -> tuple[bytes, bytes]:
    file: Path = credentials.from_file
    try:
        if file.stat().st_mode & 0o077:
            raise ConfigError(f"{file}: others may read these credentials (S15). Run: chmod 600 {file}")
        value = file.read_bytes().strip()
    except OSError as error:
        raise ConfigError(
            f"{file}: {error.strerror}. Write the value of {credentials.header} there."
        ) from None
    if not value or b"\n" in value:
        raise ConfigError(f"{file}: holds one line, the value of {credentials.header}.")
    return credentials.header.lower().encode("ascii"), value


async def _give_back(response: UpstreamResponse, headers: RawHeaders, send: Send) -> None:
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    length = next((value for name, value in headers if name == b"content-length"), b"")
    left, more = int(length) if length.isdigit() else -1, True
    async for chunk in response.chunks():
        left -= len(chunk)
        more = left != 0
        await send({"type": "http.response.body", "body": chunk, "more_body": more})
    if more:
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _streams(body: Body) -> bool:
    return body is not None and not isinstance(body, bytes)


class _Caller:
    """The caller's side of one request: its body, and whether it is still there.

    As a context it cancels what runs inside when the caller goes away, so that the upstream stops too.
    """

    def __init__(self, receive: Receive) -> None:
        self.gone = False
        self._receive = receive
        self._cancelled = False
        self._taken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._soon: asyncio.TimerHandle | None = None
        self._watch: asyncio.Task[None] | None = None

    async def body(self, headers: RawHeaders) -> Body:
        """The body: whole where it came in one piece, else as a stream; None where the request has none."""
        first = await self._receive()
        self.gone = first["type"] != "http.request"
        whole: bytes = first.get("body", b"")
        if self.gone or first.get("more_body", False):
            return self._rest(whole)
        self._taken.set()
        return whole or (b"" if any(name == b"content-length" for name, _ in headers) else None)

    async def _rest(self, chunk: bytes) -> AsyncIterator[bytes]:
        more = True
        while more:
            if chunk:
                yield chunk
            message = await self._receive()
            if message["type"] != "http.request":
                self.gone = True
                raise ConnectionAbortedError
            chunk, more = message.get("body", b""), message.get("more_body", False)
        if chunk:
            yield chunk
        self._taken.set()

    async def __aenter__(self) -> None:
        self._task = asyncio.current_task()
        self._soon = asyncio.get_running_loop().call_later(WATCH_AFTER_S, self._begin)

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        if self._soon is not None:
            self._soon.cancel()
        if self._watch is not None:
            self._watch.cancel()
        cancelled = kind is not None and issubclass(kind, asyncio.CancelledError)
        return bool(cancelled and self._cancelled and self._task and self._task.uncancel() == 0)

    def _begin(self) -> None:
        self._watch = asyncio.create_task(self._wait())

    async def _wait(self) -> None:
        await self._taken.wait()
        message: Message = await self._receive()
        if message["type"] == "http.disconnect" and self._task is not None:
            self.gone = self._cancelled = True
            self._task.cancel()
