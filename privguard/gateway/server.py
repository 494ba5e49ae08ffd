"""The HTTP server: uvicorn with httptools and uvloop, less what they let through (S12, S13).

What they do as they come was tried with raw sockets: they refuse CL with TE, obs-fold, bare CR and LF, NUL
and bad chunks; but they take absolute-form targets (and lose the host in them), fragments, HTTP/0.9, a
missing or second Host, trailers as if they were headers, headers of any size and number, any number of
pipelined requests, and wait for ever. ``StrictProtocol`` refuses these; ``asgi.canonical`` the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, Final

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.supervisors import Multiprocess

from privguard.asgi.messages import ASGIApp
from privguard.asgi.problem import problem_response
from privguard.errors import ConfigError, MalformedRequestError

HEADER_S: Final = 10.0
"""Seconds from a connection's or request's first moment to the end of its headers."""
BODY_S: Final = 10.0
"""Seconds that may pass without a byte of a body that was announced."""
BODY_RATE: Final = 100
"""Bytes a second that a body must have on average, after its first 10 s."""
LINGER_S: Final = 1.0
"""Seconds that a refused caller gets to read why before what it still sends resets the connection."""
KEEP_ALIVE_S: Final = 30
STOP_S: Final = 20
"""Seconds that requests under way get to end when the server stops."""
MAX_HEAD: Final = 65_536
MAX_HEADERS: Final = 100
MAX_QUEUED: Final = 8
"""Pipelined requests that may wait behind the one under way."""

_REFUSAL: Final = "The request's line, headers or framing are not as RFC 9112 asks, or too large."


class _RefusedError(Exception):
    """Stops the parser; what it says never leaves."""


class StrictProtocol(HttpToolsProtocol):
    """A connection that refuses what can be read in two ways, and whoever is too slow or too much.

    A refused request is answered with a problem document and the connection is closed. Where an earlier
    answer on the connection is still under way, that one is finished instead and nothing else is answered.
    """

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._refused = False
        self._in_head = False
        self._in_body = False
        self._head_bytes = 0  # that came before the read in which the headers end
        self._fed = 0  # bytes of the message after its headers, of which ...
        self._body_bytes = 0
        self._body_began = 0.0
        self._running: RequestResponseCycle | None = None
        self._due = 0.0  # when the connection is closed; 0: nothing is waited for
        self._timer: asyncio.TimerHandle | None = None

    # connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_within(HEADER_S)

    def connection_lost(self, exc: Exception | None) -> None:
        self._due = 0.0
        if self._timer is not None:
            self._timer.cancel()
        running = self._running
        super().connection_lost(exc)  # tells the newest request only
        if running is not None and not running.response_complete:
            running.disconnected = True
            running.message_event.set()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._unset_keepalive_if_required()
        in_head, in_body = self._in_head, self._in_body
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._refuse()
            return
        if in_head and self._in_head:
            self._head_bytes += len(data)
        elif in_body and self._in_body:
            self._fed += len(data)
        if self._head_bytes > MAX_HEAD or self._fed - self._body_bytes > MAX_HEAD + 8 * self._body_bytes:
            self._refuse()  # headers without an end, or a body that is mostly chunk framing
        elif not self._in_body or not self._answering():
            # Between requests, or a body that nobody reads any more: one deadline, whatever drips in.
            if not self._due and (self._in_head or not self._answering()):
                self._expect_within(HEADER_S)
        else:
            earned = self._body_began + BODY_S + self._body_bytes / BODY_RATE - self.loop.time()
            self._expect_within(min(BODY_S, max(0.0, earned)))

    # parser

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._in_body = True, False
        self._head_bytes = self._fed = self._body_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_body:  # a trailer; uvicorn would add it to the headers that were judged
            raise _RefusedError
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._check_head()
        self._in_head, self._in_body = False, True
        self._due, self._body_began = 0.0, self.loop.time()
        super().on_headers_complete()
        if len(self.pipeline) > MAX_QUEUED:
            raise _RefusedError

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_body, self._due = False, 0.0
        super().on_message_complete()

    def _check_head(self) -> None:
        target = self.url
        origin_form = target.startswith(b"/") and b"#" not in target
        size = len(target) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        hosts = sum(1 for name, _ in self.headers if name == b"host")
        if (
            not origin_form
            or hosts != 1
            or size > MAX_HEAD
            or len(self.headers) > MAX_HEADERS
            or self.parser.get_http_version() not in ("1.1", "1.0")
            or self.parser.should_upgrade()
        ):
            raise _RefusedError

    # answers

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        unread = self._in_body and self._running is self.cycle
        super().on_response_complete()
        if self._refused or (unread and self.expect_100_continue):
            # After Expect nobody knows whether the body still comes: its bytes could be taken for a request.
            self.transport.close()

    def _answering(self) -> bool:
        return self._running is not None and not self._running.response_complete

    def _refuse(self) -> None:
        self._refused = True
        self._due = 0.0
        self.pipeline.clear()
        running = self._running
        if running is not None and self._answering():
            if running is not self.cycle or not running.more_body:
                running.keep_alive = (
                    False  # its request was whole: it is answered, then the connection closes
                )
                return
            if running.response_started:
                self.transport.close()
                return
            running.disconnected = True
            running.message_event.set()
        self.transport.write(_BAD_REQUEST)
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self._expect_within(LINGER_S)
        else:
            self.transport.close()

    # time

    def _expect_within(self, seconds: float) -> None:
        """Closes the connection after this time, unless another time is set or ``_due`` is cleared before."""
        self._due = self.loop.time() + seconds
        if self._timer is not None and self._timer.when() > self._due:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self.loop.call_later(seconds, self._check_time)

    def _check_time(self) -> None:
        self._timer = None
        if not self._due or self.transport.is_closing():
            return
        if self.flow.read_paused or (self._in_head and self._answering()):
            self._due = self.loop.time() + BODY_S  # we do not read, or still owe an answer ourselves
        left = self._due - self.loop.time()
        if left > 0.001:
            self._timer = self.loop.call_later(left, self._check_time)
        else:
            self.transport.close()


def _bad_request() -> bytes:
    _, headers, body = problem_response(MalformedRequestError(_REFUSAL))
    lines = b"".join(b"%b: %b\r\n" % header for header in [*headers, (b"connection", b"close")])
    return b"HTTP/1.1 400 Bad Request\r\n" + lines + b"\r\n" + body


_BAD_REQUEST: Final = _bad_request()


def make_server(app: ASGIApp, listen: str = "127.0.0.1:0") -> uvicorn.Server:
    """A server for one process, for ``await server.serve()`` beside other tasks.

    Args:
        listen: ``host:port`` or ``[host]:port``; port 0 takes a free one.

    Raises:
        ConfigError: ``listen`` is not an address.
    """
    return uvicorn.Server(_config(app, listen))


def serve(factory: Callable[[], ASGIApp], listen: str, workers: int = 1) -> None:
    """Serves until SIGTERM or SIGINT; requests under way get 20 s to end.

    Args:
        factory: makes the app, in each worker; with several workers it must be picklable
            (a function of a module, or a ``functools.partial`` of one).
        listen: see ``make_server``.

    Raises:
        ConfigError: ``listen`` is not an address, or cannot be listened on.
    """
    config = _config(factory, listen, factory=True, workers=workers)
    listener = _bind(config.host, config.port)
    signal.signal(signal.SIGTERM, _end)  # uvicorn raises the signal once more when it has stopped
    with contextlib.closing(listener), contextlib.suppress(KeyboardInterrupt):
        if workers == 1:
            uvicorn.Server(config).run(sockets=[listener])
        else:
            Multiprocess(config, sockets=[listener]).run()


def _end(*_: object) -> None:
    raise SystemExit(0)


def _config(app: Any, listen: str, *, factory: bool = False, workers: int = 1) -> uvicorn.Config:
    host, port = _address(listen)
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        factory=factory,
        workers=workers,
        http=StrictProtocol,
        loop="uvloop",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,  # it would hold targets, hence client data (L12)
        server_header=False,
        proxy_headers=False,  # it would believe X-Forwarded-For of whoever is on this machine (S11)
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=STOP_S,
    )


def _address(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        number = int(port)
        if host != "localhost":
            ip_address(host)
    except ValueError:
        number = -1
    if not 0 <= number <= 65_535:
        raise ConfigError("[gateway] listen is an address and a port, such as 127.0.0.1:8080 or [::1]:8080.")
    return host, number


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"Cannot listen on {host}:{port}: {error.strerror}. Change [gateway] listen."
        ) from None
    listener.set_inheritable(True)
    return listener
