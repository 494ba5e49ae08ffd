"""Refusals as problem documents (RFC 9457); the text is always ours, never an exception's of someone else."""

from __future__ import annotations

from base64 import b64encode
from typing import Final

import msgspec

from privguard.asgi.messages import RawHeaders
from privguard.errors import PrivguardError
from privguard.model import AuditReceipt

PROBLEM: Final = "urn:privguard:problem:"
MEDIA_TYPE: Final = b"application/problem+json"

_encode: Final = msgspec.json.Encoder().encode


def problem_response(
    error: BaseException, receipt: AuditReceipt | None = None
) -> tuple[int, RawHeaders, bytes]:
    """Status, headers and body that say why.

    Anything that is no PrivguardError, and what is one but names no status of its own (500), is a failure of
    ours or of what we stand on: 503 without its text, which may quote a value (L12).
    """
    if isinstance(error, PrivguardError) and error.status != 500:
        status, document = error.status, _document(error)
        headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in error.headers()]
    else:
        status, document, headers = 503, dict(_FAILED), []
    if receipt is not None:
        root = b64encode(receipt.root).decode("ascii")
        document["receipt"] = {"origin": receipt.origin, "index": receipt.index, "root": root}
    body = _encode(document)
    headers += (
        (b"content-type", MEDIA_TYPE),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    )
    return status, headers, body


def _document(error: PrivguardError) -> dict[str, object]:
    document: dict[str, object] = {
        "type": PROBLEM + error.problem,
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
    }
    document.update((name, value) for name, value in error.members().items() if name not in document)
    return document


_FAILED: Final = {
    "type": PROBLEM + "internal-error",
    "title": "privguard failed",
    "status": 503,
    "detail": "The access was stopped and nothing was released. If it stays so, see the gateway's log.",
}
