"""One HTTP exchange, the target sent as written: no client that tidies paths, follows redirects or caches."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPMessage
from typing import Any
from urllib.parse import urlsplit

EXCHANGE_SECONDS = 30.0


@dataclass(frozen=True)
class Answer:
    """What came back; `body` as received, never decompressed."""

    status: int
    headers: HTTPMessage
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def ask(
    method: str,
    url: str,
    *,
    token: str | None = None,
    body: object = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Send one request on a fresh connection and read its whole answer.

    Args:
        url: absolute; what follows the authority goes out byte for byte, so the caller quotes it.
        token: sent as `Authorization: Bearer`.
        body: bytes as they are, anything else as JSON, None for no body.
    """
    parts = urlsplit(url)
    target = url[url.index(parts.netloc) + len(parts.netloc) :] or "/"
    sent = dict(headers or {})
    if token is not None:
        sent["Authorization"] = f"Bearer {token}"
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
        sent.setdefault("Content-Type", "application/json")
    connection = HTTPConnection(parts.netloc, timeout=EXCHANGE_SECONDS)
    try:
        connection.request(method, target, body, sent)
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()
