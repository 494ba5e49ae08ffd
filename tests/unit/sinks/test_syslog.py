"""Alerts at a collector of one's own, over UDP, TCP and TLS on loopback, read as the RFCs have them."""

from __future__ import annotations

import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from privguard.config import AlertSettings
from privguard.errors import CodeNotSentError, ConfigError
from privguard.sinks.send import FileSender, open_alert_senders
from privguard.sinks.syslog import SyslogSender
from privguard.testing import CountingEntropy, FrozenClock

TEXT = "rm.li (rm): entry 7, permitted, risk high. 张 40 views."
LINE = re.compile(
    rb"<(?P<pri>\d{1,3})>1 (?P<at>\S+) (?P<host>[!-~]{1,255}) privguard (?P<pid>\d+) alert - "
    rb"\xef\xbb\xbf(?P<text>.*)",
    re.DOTALL,
)
"""RFC 5424 §6, with structured data that is nil."""


def read_all(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(4096), b""))


class Collector:
    """Takes one connection after another, and keeps what each sent."""

    def __init__(
        self, take: Callable[[socket.socket], socket.socket] | None, *, resets: bool = False
    ) -> None:
        self.got: list[bytes] = []
        self._take, self._resets = take, resets
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                taken, _ = self._listener.accept()
            except OSError:
                return
            with closing(taken):
                if self._resets:
                    taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    continue
                try:
                    with self._take(taken) if self._take is not None else taken as connection:
                        self.got.append(read_all(connection))
                        if isinstance(connection, ssl.SSLSocket):
                            connection.unwrap().close()
                except OSError:
                    self.got.append(b"")

    def stop(self) -> None:
        if self._thread.is_alive():
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        self._thread.join()


@pytest.fixture
def tls(tmp_path: Path) -> ssl.SSLContext:
    """A collector's, whose own certificate stands in ``ca.pem``."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "collector")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (tmp_path / "ca.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "ca.pem", tmp_path / "key.pem")
    return context


@pytest.fixture(params=["tcp", "tls"])
def collector(request: pytest.FixtureRequest, tls: ssl.SSLContext) -> Iterator[tuple[Collector, str]]:
    take = (lambda plain: tls.wrap_socket(plain, server_side=True)) if request.param == "tls" else None
    one = Collector(take)
    yield one, f"{request.param}://127.0.0.1:{one.port}"
    one.stop()


def read(message: bytes) -> tuple[int, datetime, str]:
    found = LINE.fullmatch(message)
    assert found is not None, message
    return int(found["pri"]), datetime.fromisoformat(found["at"].decode()), found["text"].decode()


def test_each_message_is_counted_in_octets(collector: tuple[Collector, str], tmp_path: Path) -> None:
    taken, url = collector
    clock = FrozenClock()
    sender = SyslogSender(url, tmp_path / "ca.pem", clock)
    sender.send("compliance", TEXT, "")
    sender.send("compliance", "two\r\nlines\x00 and\u2028three", "")
    taken.stop()
    frames = []
    for stream in taken.got:
        count, _, message = stream.partition(b" ")
        assert int(count) == len(message)
        frames.append(read(message))
    at = datetime.fromtimestamp(clock.now_us() / 1_000_000, UTC)
    assert frames == [(108, at, f"to compliance: {TEXT}"), (108, at, "to compliance: two lines  and three")]


def test_a_datagram_is_one_message() -> None:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.settimeout(5)
        SyslogSender(f"udp://127.0.0.1:{taken.getsockname()[1]}", None, FrozenClock()).send("r", TEXT, "")
        assert read(taken.recv(65_536))[2] == f"to r: {TEXT}"


def test_a_collector_that_nobody_vouches_for_gets_nothing(tls: ssl.SSLContext) -> None:
    taken = Collector(lambda plain: tls.wrap_socket(plain, server_side=True))
    with pytest.raises(CodeNotSentError, match="SSLCertVerificationError"):
        SyslogSender(f"tls://127.0.0.1:{taken.port}", None, FrozenClock()).send("r", TEXT, "")
    taken.stop()
    assert taken.got == [b""]


def test_what_is_not_taken_is_said_and_waits() -> None:
    gone = Collector(None)
    gone.stop()
    resets = Collector(None, resets=True)
    for port in (gone.port, resets.port):
        # Of a reset the system says so, or that nobody is connected (ENOTCONN), by when it arrives.
        with pytest.raises(CodeNotSentError, match=r"does not take it \((Connection\w+|OSError)\)"):
            SyslogSender(f"tcp://127.0.0.1:{port}", None, FrozenClock()).send("r", TEXT * 10_000, "")
    resets.stop()


def test_codes_are_not_logged() -> None:
    with pytest.raises(CodeNotSentError, match="no place for codes"):
        SyslogSender("udp://127.0.0.1:9", None, FrozenClock()).send("r", "481516", "481516")


def test_it_stands_beside_another_sender_or_alone(tmp_path: Path) -> None:
    def opened(**settings: object) -> list[type]:
        made = AlertSettings.model_validate(settings)
        return [type(each) for each in open_alert_senders(made, FrozenClock(), CountingEntropy())]

    assert opened(syslog="udp://siem:514") == [SyslogSender]
    assert opened(syslog="tls://[::1]:6514", file=tmp_path / "a") == [FileSender, SyslogSender]
    assert opened(file=tmp_path / "a") == [FileSender]
    for wrong in (
        "siem:514",
        "udp://siem",
        "http://siem:1",
        "tcp://siem:x",
        "tcp://siem:1/x",
        "tcp://[:1",
        "udp://a:0",
        "tcp://a:65536",
    ):
        with pytest.raises(ConfigError, match=r"syslog is udp://"):
            opened(syslog=wrong)
    with pytest.raises(ConfigError, match=r"ca: .*none\.pem has no certificates"):
        opened(syslog="tls://siem:6514", ca=tmp_path / "none.pem")
    with pytest.raises(ConfigError, match="one of file, url and apprise"):
        opened()
