"""GET without a body, over connections of our own: a tenth of aiohttp's CPU, and most of what a gateway does.

The parser is llhttp in its strict setting (httptools). What an answer may not be is said at ``_Reply``;
whatever else goes wrong breaks the connection off, and the answer is none.
"""

from __future__ import annotations

import asyncio
import functools
import re
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Final

import httptools
from yarl import URL

from privguard.asgi.messages import RawHeaders
from privguard.errors import MalformedRequestError, UpstreamUnavailableError

KEEP_ALIVE_S: Final = 4.0
"""Shorter than the 5 s after which uvicorn, Node and Apache close."""
CONNECT_S: Final = 5.0
MAX_FIELD: Final = 16_384
MAX_FRAMING: Final = 65_536
"""Bytes of head, chunk sizes and trailers, beside eight for each of the body."""
HELD: Final = 131_072
"""Bytes of a body that wait before no more are read."""

_TARGET: Final = re.compile(rb"/[!-\"$-~]*(?<!\?)")
"""What is sent byte for byte beyond doubt: no space, control or fragment; S12, S14."""


class StaleError(Exception):
    """A connection from before was closed as it was used again: nothing came, so it may be asked anew."""


class Reader:
    """Connections to one origin.

    Args:
        origin: ``http://host:port`` or ``https://host:port``.
        connections: at most.
        unavailable: makes the error for an answer that is none.
    """

    def __init__(
        self,
        origin: str,
        tls: ssl.SSLContext | None,
        begin_s: float,
        idle_s: float,
        connections: int,
        unavailable: Callable[[], UpstreamUnavailableError],
    ) -> None:
        url = URL(origin)
        self._address = url.raw_host or "", url.port or 0
        self._host = b"Host: %b\r\n" % (url.host_port_subcomponent or "").encode("ascii")
        self._anonymous = url.user is None
        self._secure, self._tls = url.scheme == "https", tls
        self._begin_s = begin_s
        self._connections = connections
        self._idle: list[_Connection] = []
        self._all: set[_Connection] = set()
        self._opening = 0
        self.idle_s = idle_s
        self.unavailable = unavailable

    def takes(self, target: bytes) -> bool:
        """Whether there is a connection for it, and the target is beyond doubt."""
        free = self._idle or len(self._all) + self._opening < self._connections
        return bool(free and self._anonymous and _TARGET.fullmatch(target))

    async def get(self, target: bytes, headers: RawHeaders) -> _Reply:
        """Asks and waits for the head of the answer; the caller must ``close`` it.

        Raises:
            StaleError: the connection was closed meanwhile.
            UpstreamUnavailableError: there is no connection, or no answer that can be used.
            MalformedRequestError: a header cannot go on as it is.
        """
        head = self._head(target, headers)
        loop = asyncio.get_running_loop()
        due = loop.time() + self._begin_s
        connection = self._known() or await self._open()
        reply = _Reply(connection, loop)
        timer = loop.call_at(min(due, loop.time() + self.idle_s), reply.fail)
        try:
            connection.ask(head, reply)
            await reply.begun
        except BaseException:
            connection.abort()
            raise
        finally:
            timer.cancel()
        return reply

    def put_back(self, connection: _Connection) -> None:
        """The connection may be used again."""
        connection.since = asyncio.get_running_loop().time()
        self._idle.append(connection)

    def lost(self, connection: _Connection) -> None:
        """The connection is closed."""
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def close(self) -> None:
        """Closes all connections."""
        for connection in list(self._all):
            if connection.reply is not None:
                connection.reply.fail()
            connection.abort()

    def _head(self, target: bytes, headers: RawHeaders) -> bytes:
        lines = [b"%b: %b\r\n" % header for header in headers]
        head = b"".join((b"GET ", target, b" HTTP/1.1\r\n", self._host, *lines, b"\r\n"))
        ends = len(lines) + 3
        if head.count(b"\n") != ends or head.count(b"\r") != ends or b"\0" in head:
            raise MalformedRequestError("A header holds the end of a line.")
        try:
            head.decode()
            b"".join([name for name, _ in headers]).decode("ascii")
        except UnicodeDecodeError:
            raise MalformedRequestError("A header is not UTF-8.") from None
        return head

    def _known(self) -> _Connection | None:
        """The connection that was used last, unless its server may be about to close it."""
        oldest = asyncio.get_running_loop().time() - KEEP_ALIVE_S
        while self._idle:
            connection = self._idle.pop()
            if connection.since > oldest and not connection.transport.is_closing():
                return connection
            connection.abort()
        return None

    async def _open(self) -> _Connection:
        self._opening += 1
        try:
            async with asyncio.timeout(min(CONNECT_S, self._begin_s)):
                tls = (self._tls or _machines_authorities()) if self._secure else None
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: _Connection(self), *self._address, ssl=tls
                )
        except (OSError, TimeoutError):
            raise self.unavailable() from None
        finally:
            self._opening -= 1
        return connection

    def opened(self, connection: _Connection) -> None:
        """The connection stands."""
        self._all.add(connection)


@functools.cache
def _machines_authorities() -> ssl.SSLContext:
    return ssl.create_default_context()


class _Connection(asyncio.Protocol):
    """One connection; one answer at a time.

    Attributes:
        since: when it was put back; 0 while it was never used before.
    """

    transport: asyncio.Transport

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.reply: _Reply | None = None
        self.since = 0.0
        self._parser: httptools.HttpResponseParser | None = None

    def ask(self, head: bytes, reply: _Reply) -> None:
        self.reply = reply
        self._parser = httptools.HttpResponseParser(reply)
        self.transport.write(head)

    def status(self) -> tuple[int, bool]:
        """Status of the head that was read, and whether the connection may serve again."""
        if self._parser is None:
            return 0, False
        return self._parser.get_status_code(), self._parser.should_keep_alive()

    def abort(self) -> None:
        self.transport.abort()

    def done(self, *, again: bool) -> None:
        """The answer is given up, or over."""
        self.reply = self._parser = None
        if again and not self.transport.is_closing():
            self.reader.put_back(self)
        else:
            self.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a TCP or TLS transport
        self.reader.opened(self)

    def data_received(self, data: bytes) -> None:
        reply, parser = self.reply, self._parser
        if reply is None or parser is None:  # nobody asked
            self.abort()
            return
        reply.framing += len(data)
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            reply.broken()
        if reply.framing > MAX_FRAMING + 8 * reply.size:
            reply.broken()

    def connection_lost(self, exc: Exception | None) -> None:
        self.reader.lost(self)
        if self.reply is not None:
            self.reply.lost(clean=exc is None)


class _Refusal(Exception):  # noqa: N818  # stops the parser; never leaves
    pass


class _Reply:
    """An ``UpstreamResponse``, and what the parser tells.

    It is none where its status is not one of 200 to 599 (101: no longer HTTP, S14), a header is longer than
    16 KB, or it breaks off. What comes after it belongs to nobody: the connection is closed.

    Attributes:
        begun: done with the head.
        framing, size: bytes that came beside the body, and of it.
    """

    def __init__(self, connection: _Connection, loop: asyncio.AbstractEventLoop) -> None:
        self.status = 0
        self.headers: RawHeaders = []
        self.begun: asyncio.Future[None] = loop.create_future()
        self.framing = self.size = 0
        self._connection: _Connection | None = connection
        self._reader = connection.reader
        self._loop = loop
        self._pieces: list[bytes] = []
        self._held = 0
        self._framed = self._keep = self._ended = self._failed = self._paused = False
        self._more: asyncio.Future[None] | None = None

    async def chunks(self) -> AsyncIterator[bytes]:
        """See ``UpstreamResponse.chunks``."""
        while True:
            if self._pieces:
                piece = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
                self._pieces.clear()
                self._held = 0
                self._flow(pause=False)
                yield piece
            elif self._failed or (self._connection is None and not self._ended):
                raise self._unavailable()
            elif self._ended:
                return
            else:
                await self._wait()

    def close(self) -> None:
        """See ``UpstreamResponse.close``."""
        connection, self._connection = self._connection, None
        if connection is not None and connection.reply is self:
            self._flow_of(connection, pause=False)
            connection.done(again=self._ended and self._keep and not self._failed)

    def fail(self) -> None:
        """The answer is none, or not whole."""
        self._failed = True
        if self._connection is not None:
            self._connection.abort()
        if not self.begun.done():
            self.begun.set_exception(self._unavailable())
        self._wake()

    def broken(self) -> None:
        """What came cannot be read: if it came after the answer, that one is good, and the last here."""
        self._keep = False
        if not self._ended:
            self.fail()

    def lost(self, *, clean: bool) -> None:
        """The connection is closed: the end of an answer without a length, else too early."""
        connection = self._connection
        if connection is not None and connection.since and not self.framing and not self.begun.done():
            self.begun.set_exception(StaleError())
        elif clean and self.begun.done() and not self._framed:
            self._ended = True
            self._wake()
        elif not self._ended:
            self.fail()

    # what the parser tells

    def on_message_begin(self) -> None:
        if self._ended:
            raise _Refusal

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(name) + len(value) > MAX_FIELD:
            raise _Refusal
        if not self.begun.done():  # a trailer goes nowhere
            self.headers.append((name, value.strip(b" \t")))
            self._framed = self._framed or name.lower() in (b"content-length", b"transfer-encoding")

    def on_headers_complete(self) -> None:
        connection = self._connection
        self.status, self._keep = connection.status() if connection is not None else (0, False)
        if 100 <= self.status < 200 and self.status != 101:
            return
        if not 200 <= self.status < 600:  # 600 and up cannot be said again
            raise _Refusal
        if not self.begun.done():
            self.begun.set_result(None)

    def on_body(self, body: bytes) -> None:
        self.framing -= len(body)
        self.size += len(body)
        self._held += len(body)
        self._pieces.append(body)
        if self._held > HELD:
            self._flow(pause=True)
        self._wake()

    def on_message_complete(self) -> None:
        if 100 <= self.status < 200:  # an interim answer
            self.headers, self._framed = [], False
            return
        self._ended = True
        self._wake()

    # inside

    def _unavailable(self) -> UpstreamUnavailableError:
        return self._reader.unavailable()

    async def _wait(self) -> None:
        self._more = self._loop.create_future()
        timer = self._loop.call_later(self._reader.idle_s, self.fail)
        try:
            await self._more
        finally:
            timer.cancel()
            self._more = None

    def _wake(self) -> None:
        if self._more is not None and not self._more.done():
            self._more.set_result(None)

    def _flow(self, *, pause: bool) -> None:
        if self._connection is not None:
            self._flow_of(self._connection, pause=pause)

    def _flow_of(self, connection: _Connection, *, pause: bool) -> None:
        if pause is not self._paused and not connection.transport.is_closing():
            self._paused = pause
            (connection.transport.pause_reading if pause else connection.transport.resume_reading)()
