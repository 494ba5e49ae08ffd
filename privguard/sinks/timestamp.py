"""Asks an authority for a time stamp over HTTP (RFC 3161 §3.4)."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import Final
from urllib.parse import urlsplit

from privguard.audit.timestamp import MAX_ANSWER
from privguard.errors import AuditUnavailableError, ConfigError
from privguard.outgoing import DIRECT

TIMEOUT_S: Final = 10.0


class HttpTimestamps:
    """An authority behind a URL.

    Raises:
        ConfigError: the URL is another than http or https.
    """

    def __init__(self, url: str) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise ConfigError("[audit.timestamps] url must be http or https.")
        self._url = url

    def ask(self, request: bytes) -> bytes:
        """The answer to a request; nothing of it is checked.

        Raises:
            AuditUnavailableError: there is none.
        """
        headers = {"Content-Type": "application/timestamp-query"}
        asked = urllib.request.Request(self._url, request, headers)  # noqa: S310
        try:
            with DIRECT.open(asked, timeout=TIMEOUT_S) as answer:
                return bytes(answer.read(MAX_ANSWER + 1))
        except urllib.error.HTTPError as refusal:
            refusal.close()
            why = f"answered {refusal.code}"
        except (OSError, ValueError) as error:
            why = f"does not answer ({type(error).__name__})"
        raise AuditUnavailableError(f"The time-stamp authority {why}: look at [audit.timestamps] url.")
