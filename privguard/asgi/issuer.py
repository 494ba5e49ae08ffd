"""Asks an identity provider over HTTP: its keys, its endpoints, a token for a code."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from privguard.errors import ConfigError, UpstreamUnavailableError

FETCH_S: Final = 5.0
MAX_ANSWER: Final = 262_144


def check_url(url: str, setting: str) -> None:
    """Raises ConfigError unless nobody in between can answer: https, or this machine."""
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
        raise ConfigError(f"{setting}: https is needed, or whoever is in between names the actors.")


async def ask_issuer(url: str, form: bytes | None = None, authorization: bytes | None = None) -> bytes:
    """The JSON that a URL of the issuer answers, to a GET or a form.

    Raises:
        UpstreamUnavailableError: it does not answer 200 in time.
    """
    from privguard.asgi.fetch import HttpUpstream, read_whole  # aiohttp is an extra

    parts = urlsplit(url)
    issuer = HttpUpstream(
        "of the issuer", f"{parts.scheme}://{parts.netloc}", begin_s=FETCH_S, idle_s=FETCH_S
    )
    headers = [(b"accept", b"application/json")]
    if form is not None:
        headers.append((b"content-type", b"application/x-www-form-urlencoded"))
    if authorization is not None:
        headers.append((b"authorization", authorization))
    target = (parts.path + (f"?{parts.query}" if parts.query else "") or "/").encode("ascii")
    try:
        response = await issuer.send("GET" if form is None else "POST", target, headers, form)
        if response.status != 200:
            raise UpstreamUnavailableError("The issuer refuses, or does not answer as it should.")
        return await read_whole(response, MAX_ANSWER)
    finally:
        await issuer.close()  # the next question is minutes away
