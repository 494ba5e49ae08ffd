"""Requests that go where the configuration says: by no proxy of the environment, and along no redirect."""

from __future__ import annotations

import urllib.request
from typing import Final


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object, **__: object) -> None:
        return None


DIRECT: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}), _Stay)
