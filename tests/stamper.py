"""A time-stamp authority for tests (RFC 3161): its root, certificates right and wrong, and HTTP."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from asn1crypto import keys, tsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from pyhanko.sign.timestamps import DummyTimeStamper

NOW = datetime(2026, 11, 27, 9, tzinfo=UTC)
STAMPING = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
SERVING = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])


@cache
def _key(name: str) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def _certificate(
    name: str, issuer: str, usage: x509.ExtendedKeyUsage | None, critical: bool, days: int
) -> x509.Certificate:
    subject, by = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each)]) for each in (name, issuer))
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by)
        .public_key(_key(name).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=4000))
        .not_valid_after(NOW + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=usage is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(_key(name).public_key()), critical=False)
    )
    if usage is not None:
        builder = builder.add_extension(usage, critical=critical)
    return builder.sign(_key(issuer), SHA256())


class Authority:
    """One that answers requests, in this process.

    Args:
        root: its name; authorities of one root trust the same certificate.
        days: how long its certificate holds after ``NOW``.
    """

    def __init__(
        self,
        root: str = "root",
        usage: x509.ExtendedKeyUsage = STAMPING,
        *,
        critical: bool = True,
        days: int = 4000,
        at: datetime | None = NOW,
    ) -> None:
        self.root = _certificate(root, root, None, True, 4000).public_bytes(Encoding.PEM)
        mine = _certificate("stamper", root, usage, critical, days)
        key = _key("stamper").private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        certificate = asn1_x509.Certificate.load(mine.public_bytes(Encoding.DER))
        self._stamper = DummyTimeStamper(certificate, keys.PrivateKeyInfo.load(key), fixed_dt=at)

    def __call__(self, request: bytes) -> bytes:
        """The answer to a request."""
        answer: bytes = self._stamper.request_tsa_response(tsp.TimeStampReq.load(request)).dump()
        return answer


@contextmanager
def served(answer: Callable[[bytes], bytes]) -> Iterator[str]:
    """The URL at which requests are answered so."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = answer(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-type", "application/timestamp-reply")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
