"""Script and style, each read once, under a strict type and an ETag."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Final

from fastapi import Response

_FILES: Final = Path(__file__).with_name("static")
_TYPES: Final = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}


class Asset:
    """A file for browsers."""

    def __init__(self, file: Path) -> None:
        self._body = file.read_bytes()
        digest = base64.urlsafe_b64encode(hashlib.sha256(self._body).digest()[:12]).decode()
        self._headers = {
            "content-type": _TYPES[file.suffix],
            "etag": f'"{digest}"',
            "cache-control": "no-cache",  # kept, and asked about each time: a new version is in use at once
            "x-content-type-options": "nosniff",
            "cross-origin-resource-policy": "same-origin",
        }

    def answer(self, known: str) -> Response:
        """The file, or 304 where the browser has it (``known`` is its If-None-Match)."""
        if self._headers["etag"] in {each.strip().removeprefix("W/") for each in known.split(",")}:
            return Response(status_code=304, headers=self._headers)
        return Response(self._body, headers=self._headers)


ASSETS: Final = {file.name: Asset(file) for file in sorted(_FILES.iterdir()) if file.suffix in _TYPES}
