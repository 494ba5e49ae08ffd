"""Hands messages to a syslog collector, as RFC 5424 has them: for a SIEM, beside what tells people.

By UDP a datagram each (RFC 5426), by TCP or TLS counted in octets (RFC 6587, RFC 5425). A collector says
nothing of what it takes: by UDP a message may be lost, by TCP and TLS the other side's machine has it.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from privguard.errors import CodeNotSentError, ConfigError
from privguard.ports import Clock

TIMEOUT_S: Final = 5.0
LINGER_S: Final = 1.0
PRIORITY: Final = 13 * 8 + 4
"""Log audit, warning."""
_URL: Final = re.compile(
    r"(?P<scheme>udp|tcp|tls)://(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+)):(?P<port>[0-9]{1,5})"
)
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f\u0085\u2028\u2029]+")
_ODD: Final = re.compile(r"[^!-~]")


class SyslogSender:
    """Sends each message on a connection of its own.

    Args:
        url: ``udp://``, ``tcp://`` or ``tls://``, with host and port.
        ca: certificates that a ``tls://`` collector is trusted by; None: the system's.

    Raises:
        ConfigError: the URL is another, or the certificates cannot be read.
    """

    def __init__(self, url: str, ca: Path | None, clock: Clock) -> None:
        found = _URL.fullmatch(url)
        if found is None or not 0 < int(found["port"]) < 65_536:
            raise ConfigError("[alerts] syslog is udp://, tcp:// or tls:// with a host and a port.")
        host, port = found["v6"] or found["host"], int(found["port"])
        self._scheme, self._where, self._clock = found["scheme"], (host, port), clock
        self._tls: ssl.SSLContext | None = None
        if self._scheme == "tls":
            try:
                self._tls = ssl.create_default_context(cafile=ca)
            except (OSError, ssl.SSLError):
                raise ConfigError(f"[alerts] ca: {ca} has no certificates (PEM).") from None
        name = _ODD.sub("", socket.gethostname())[:255] or "-"
        self._from = f"{name} privguard {os.getpid()} alert -"

    def send(self, address: str, text: str, code: str) -> None:
        if code:
            raise CodeNotSentError("A collector of logs is no place for codes: set [stepup.sender].")
        try:
            self._hand(self._message(address, text))
        except (OSError, UnicodeError) as error:
            raise CodeNotSentError(
                f"The syslog collector does not take it ({type(error).__name__})."
            ) from None

    def _message(self, address: str, text: str) -> bytes:
        at = datetime.fromtimestamp(self._clock.now_us() / 1_000_000, UTC)
        said = _UNSAFE.sub(" ", f"to {address}: {text}")
        head = f"<{PRIORITY}>1 {at:%Y-%m-%dT%H:%M:%S.%fZ} {self._from} "
        return head.encode("ascii") + b"\xef\xbb\xbf" + said.encode("utf-8", "replace")

    def _hand(self, message: bytes) -> None:
        if self._scheme == "udp":
            family, kind, _, _, where = socket.getaddrinfo(*self._where, type=socket.SOCK_DGRAM)[0]
            with socket.socket(family, kind) as datagrams:
                datagrams.sendto(message, where)
            return
        with socket.create_connection(self._where, TIMEOUT_S) as plain:
            if self._tls is None:
                _deliver(plain, message)
            else:
                with self._tls.wrap_socket(plain, server_hostname=self._where[0]) as tls:
                    _deliver(tls, message)


def _deliver(connection: socket.socket, message: bytes) -> None:
    """Sends a message, and waits until the collector has closed too: it reset none of it.

    Raises:
        OSError: it did; a collector that goes on listening has what was sent.
    """
    connection.sendall(b"%d %b" % (len(message), message))
    connection.settimeout(LINGER_S)
    try:
        if isinstance(connection, ssl.SSLSocket):
            connection.unwrap()
        else:
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1)
    except (TimeoutError, ssl.SSLError):
        pass
