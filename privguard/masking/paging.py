"""Rewrites the links to further pages that an answer holds, so that they lead through the gateway."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from msgspec import Struct

from privguard.masking.request_guard import is_page, meaning_of
from privguard.model import ResourceShape

_PLAIN: Final = re.compile(r"[!-~]{1,2000}")


class PagingRewrite(Struct, frozen=True):
    """Where links are to lead.

    Attributes:
        scheme, host: the gateway's, as the caller reached it.
        path: the path asked for, as on the request line.
        sent: the parameters this actor sent; a link may carry them on.
        narrowed: the upstream lists only what this actor may see, or know of; so a link tells no more (M12).
    """

    scheme: str
    host: str
    path: str
    sent: tuple[tuple[str, str], ...] = ()
    narrowed: bool = False


def rewrite(url: str, paging: PagingRewrite, shape: ResourceShape) -> str | None:
    """The link with the gateway's origin and only the parameters that may stay; None if it is withheld.

    What stays: a page number under a parameter that the policy calls ``paging``, and what the actor sent
    under a parameter that the policy knows. A cursor may hold the sort key of a hidden field (M02), so a link
    with another paging value is withheld, and so is one to another path than was asked for.
    """
    parts = _split(url)
    if parts is None or (parts.path != paging.path and (parts.path or parts.netloc)):
        return None
    query: list[tuple[str, str]] = []
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        meaning, _ = meaning_of(name, shape)
        pages = meaning == ("paging",)
        if (pages and is_page(value)) or (meaning and (name, value) in paging.sent):
            query.append((name, value))
        elif pages:
            return None
    asked = f"?{urlencode(query)}" if query else ""
    origin = f"{paging.scheme}://{paging.host}" if parts.netloc else ""
    return f"{origin}{parts.path}{asked}" or None


def _split(url: str) -> SplitResult | None:
    if not _PLAIN.fullmatch(url):
        return None
    try:
        return urlsplit(url)
    except ValueError:
        return None
