"""Asks a witness over HTTP to cosign a checkpoint."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from typing import Final

from privguard.audit.checkpoint import parse_text
from privguard.audit.note import Key, Note, NoteError, Signature, parse_signature, verified
from privguard.errors import AuditUnavailableError
from privguard.outgoing import DIRECT
from privguard.witness.exchange import Asked

TIMEOUT_S: Final = 5.0
_MOST: Final = 64_000
"""Bytes of an answer that are read."""
SIZE: Final = "text/x.tlog.size"


class HttpCosigner:
    """A witness behind a URL (``store.publisher.Cosigner``).

    Args:
        url: the submission prefix.
        key: by which it is known here; signatures of others are passed over.
    """

    def __init__(self, url: str, key: Key) -> None:
        self._url = f"{url.rstrip('/')}/add-checkpoint"
        self._key = key
        self._old = 0

    @property
    def name(self) -> str:
        return self._key.name

    def cosign(self, note: Note, prove: Callable[[int], Sequence[bytes]]) -> Signature:
        size = parse_text(note.text).size
        for _ in range(2):
            status, media, body = self._post(Asked(self._old, tuple(prove(self._old)), str(note).encode()))
            if status == 200:
                self._old = size
                return self._mine(note, body)
            if status != 409 or media != SIZE or not body.strip().isdigit() or int(body) > size:
                break
            self._old = int(body)
        raise AuditUnavailableError(
            {
                403: "does not trust the log's keys (bring it what `privguard audit trust` says)",
                404: "does not know the log",
                409: "has seen another log of this name",
                422: "has seen a log that this one does not go on from",
            }.get(status, f"answered {status}")
        )

    def _post(self, asked: Asked) -> tuple[int, str, bytes]:
        request = urllib.request.Request(self._url, bytes(asked), {"Content-Type": "text/plain"})  # noqa: S310
        try:
            with DIRECT.open(request, timeout=TIMEOUT_S) as answer:
                return answer.status, answer.headers.get_content_type(), answer.read(_MOST)
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, refusal.headers.get_content_type(), refusal.read(_MOST)
        except (OSError, ValueError) as error:
            raise AuditUnavailableError(f"does not answer ({type(error).__name__})") from None

    def _mine(self, note: Note, body: bytes) -> Signature:
        try:
            lines = tuple(map(parse_signature, body.decode().removesuffix("\n").split("\n")))
            mine = tuple(each for each in lines if (each.name, each.key_id) == (self._key.name, self._key.id))
            if mine and verified(Note(note.text, mine), [self._key]):
                return mine[0]
        except (NoteError, UnicodeDecodeError):
            pass
        raise AuditUnavailableError("answered without a signature of the key it is known by")
