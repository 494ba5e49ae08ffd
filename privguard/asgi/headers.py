"""What the caller says in Privguard-* headers, and which headers may pass, in and out.

Requests lose whatever would vouch for an actor (S11) and, on governed routes, whatever would make the
upstream answer with a part, a code or a bare "not modified" (M08). Governed answers keep only headers that
cannot hold client data (M06).
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

import http_sf
from msgspec import Struct

from privguard.asgi.canonical import MEDIA
from privguard.asgi.messages import RawHeaders
from privguard.errors import MalformedRequestError, UnreadableResponseError
from privguard.model import AuditReceipt, FieldShown, View

MAX_REVEAL: Final = 64
"""Paths or classes in one Privguard-Reveal."""
MAX_FIELDS: Final = 4_096
"""Bytes of a Privguard-Fields header; common proxies take 8 KB for all headers of an answer."""


# -- what the caller says -----------------------------------------------------------------------------------


class Said(Struct, frozen=True):
    """What the caller says about the access."""

    purpose: str | None = None
    reason: str | None = None
    ticket: str | None = None
    reveal: tuple[str, ...] = ()
    grant: str | None = None
    break_glass: bool = False


NOTHING_SAID: Final = Said()
_TOKEN: Final = re.compile(r"[A-Za-z*][A-Za-z0-9:/!#$%&'*+\-.^_`|~]*")
_SAID: Final = {
    b"privguard-purpose": ("purpose", 64),
    b"privguard-reason": ("reason", 1_000),
    b"privguard-ticket": ("ticket", 200),
    b"privguard-reveal": ("reveal", 200),
    b"privguard-grant": ("grant", 512),
    b"privguard-break-glass": ("break_glass", 0),
}
"""Header, the part of ``Said`` it gives, and characters at most."""


def read_said(headers: RawHeaders, query: tuple[tuple[str, str], ...] = ()) -> Said:
    """The Privguard-* request headers, as structured fields (RFC 8941; strings also as RFC 9651 §3.3.8).

    Args:
        headers: names in lower case.
        query: parameters, where the ``_purpose`` and ``_reveal`` forms are switched on; else empty.

    Raises:
        MalformedRequestError: a header does not parse, stands twice, or is said in both ways.
    """
    said: dict[str, object] = {}
    for name, value in headers:
        if name.startswith(b"privguard-") and name in _SAID:
            part, limit = _SAID[name]
            if part in said:
                raise MalformedRequestError(f"{_title(name)} stands twice.")
            said[part] = _purpose(value) if part == "purpose" else _read(name, value, limit)
    for name_, value_ in query:
        if name_ == "_purpose" or name_ == "_reveal":
            _from_query(said, name_[1:], value_)
    return Said(**said) if said else NOTHING_SAID  # type: ignore[arg-type]  # _read checks each type


@lru_cache(maxsize=256)
def _purpose(value: bytes) -> object:
    """A purpose; few are in use, so they are remembered (parsing costs 10 µs)."""
    return _read(b"privguard-purpose", value, _SAID[b"privguard-purpose"][1])


def _read(name: bytes, value: bytes, limit: int) -> object:
    if name == b"privguard-reveal":
        members = _parse(name, value, "list")
        if not isinstance(members, list) or len(members) > MAX_REVEAL:
            raise MalformedRequestError(f"{_title(name)} names {MAX_REVEAL} fields at most.")
        return tuple([_text(name, member, limit) for member in members])
    item = _parse(name, value, "item")
    if name == b"privguard-break-glass":
        if not isinstance(item, tuple) or not isinstance(item[0], bool) or item[1]:
            raise MalformedRequestError(f"{_title(name)} is ?1 or ?0 (RFC 8941 §3.3.6).")
        return item[0]
    return _text(name, item, limit)


def _parse(name: bytes, value: bytes, kind: str) -> object:
    try:
        return http_sf.parse(value, tltype=kind)
    except (http_sf.StructuredFieldError, ValueError, OverflowError):
        pass
    raise MalformedRequestError(
        f"{_title(name)} is not a structured field (RFC 8941): "
        'write a token, "several words", or a, b for a list.'
    )


def _text(name: bytes, item: object, limit: int) -> str:
    """The text of a token, string or display string without parameters."""
    if (
        isinstance(item, tuple)
        and isinstance(item[0], str | http_sf.Token | http_sf.DisplayString)
        and not item[1]
    ):
        text = str(item[0])
        if 0 < len(text) <= limit and text.isprintable():
            return text
    raise MalformedRequestError(
        f"{_title(name)} holds words or strings of 1 to {limit} printable characters."
    )


def _from_query(said: dict[str, object], part: str, value: str) -> None:
    if part in said:
        raise MalformedRequestError(f"The {part} is said twice.")
    words = tuple(word.strip() for word in value.split(","))
    if len(words) > MAX_REVEAL or not all(0 < len(word) <= 200 and word.isprintable() for word in words):
        raise MalformedRequestError(f"The parameter _{part} holds words of 1 to 200 printable characters.")
    said[part] = words if part == "reveal" else value


def _title(name: bytes) -> str:
    return name.decode("ascii").title()


def header_map(headers: RawHeaders) -> Mapping[str, str]:
    """Headers as text (latin-1) by name; of those that may repeat, the values joined with a comma."""
    found = dict[str, str]()
    for raw, value in headers:
        name = raw.decode("latin-1")
        text = value.decode("latin-1")
        found[name] = f"{found[name]}, {text}" if name in found else text
    return found


# -- what goes upstream -------------------------------------------------------------------------------------

_HOP_BY_HOP: Final = frozenset(
    b"connection keep-alive proxy-connection proxy-authenticate proxy-authorization "
    b"proxy-authentication-info te trailer transfer-encoding upgrade http2-settings expect".split()
)
"""RFC 9110 §7.6.1; ``expect`` is answered by our own server."""
_CLIENT_ADDRESS: Final = frozenset(
    b"forwarded via x-real-ip x-client-ip x-cluster-client-ip client-ip true-client-ip "
    b"cf-connecting-ip".split()
)
_LESS: Final = frozenset(
    b"if-match if-none-match if-modified-since if-unmodified-since if-range range a-im".split()
)
_PARTIAL: Final = _LESS | {b"accept-encoding"}
"""What would make an answer a part, a delta, or depend on a validator that can be guessed (M08)."""
_OF_A_BODY: Final = frozenset(
    b"content-length content-type content-encoding content-language content-digest repr-digest".split()
)
_VOUCHING: Final = (b"privguard", b"x-privguard")
_IDENTITY_ENCODING: Final = (b"accept-encoding", b"identity")
_PLAIN: Final = re.compile(rb"[a-z0-9-]*")
_ODD: Final = re.compile(rb"[^a-z0-9]")


def upstream_headers(
    headers: RawHeaders, *, bodiless: bool = False, identity: frozenset[bytes] = frozenset()
) -> RawHeaders:
    """The request headers that the app behind gets on a governed route.

    Args:
        bodiless: the request goes on without a body.
        identity: further headers by which the app behind would know an actor (lower case, with ``-``).
    """
    dropped = _PARTIAL | _OF_A_BODY if bodiless else _PARTIAL
    kept = [(name, value) for name, value in without_vouching(headers, identity) if name not in dropped]
    kept.append(_IDENTITY_ENCODING)
    return kept


def asks_less(method: str, headers: RawHeaders) -> bool:
    """Whether a reading request, sent on as it came, may be answered without the whole record."""
    return method == "HEAD" or any(name in _LESS for name, _ in headers)


def without_vouching(headers: RawHeaders, identity: frozenset[bytes] = frozenset()) -> RawHeaders:
    """The headers less those that vouch for an actor, however they are spelt (``x_privguard_user``; S11)."""
    kept = [h for h in headers if not h[0].startswith(_VOUCHING) and h[0] not in identity]
    if _PLAIN.fullmatch(b"".join([name for name, _ in kept])):
        return kept
    return [h for h in kept if not _vouches(_ODD.sub(b"-", h[0]), identity)]


def _vouches(name: bytes, identity: frozenset[bytes]) -> bool:
    return name.startswith(_VOUCHING) or name in identity


def onward_headers(
    headers: RawHeaders, *, dropped: frozenset[bytes], client: str, scheme: str, host: str
) -> RawHeaders:
    """The request headers as a gateway sends them to the upstream, whose own Host the client library sets.

    Args:
        dropped: names that do not go on, ``host`` among them.
        client: address of the caller, for X-Forwarded-For.
        scheme, host: how the caller reached the gateway.
    """
    gone = dropped | _HOP_BY_HOP | _CLIENT_ADDRESS | _named_in_connection(headers)
    kept = [
        header
        for header in without_vouching(_without_own_cookies(headers), dropped)
        if header[0] not in gone and not header[0].startswith((b"x-forwarded", b"x_forwarded"))
    ]
    kept += (
        (b"x-forwarded-for", client.encode("latin-1")),
        (b"x-forwarded-proto", scheme.encode("latin-1")),
        (b"x-forwarded-host", host.encode("latin-1")),
        (b"via", b"1.1 privguard"),
    )
    return kept


OWN_COOKIES: Final = b"__Host-privguard"
"""What the names of the gateway's own cookies begin with; they are for nobody behind it."""


def _without_own_cookies(headers: RawHeaders) -> RawHeaders:
    if not any(name == b"cookie" and OWN_COOKIES in value for name, value in headers):
        return headers
    kept = []
    for name, value in headers:
        if name == b"cookie":
            crumbs = [crumb.strip() for crumb in value.split(b";")]
            value = b"; ".join(crumb for crumb in crumbs if not crumb.startswith(OWN_COOKIES))
        if value or name != b"cookie":
            kept.append((name, value))
    return kept


def returned_headers(headers: Iterable[tuple[bytes, bytes]], *, cookies: bool = True) -> RawHeaders:
    """An upstream's response headers as a gateway passes them on: names in lower case, no hop-by-hop ones.

    Our own server says Date; nobody but us says Privguard-*. ``cookies`` False drops Set-Cookie.
    """
    lower = [(name.lower(), value) for name, value in headers]
    gone = _HOP_BY_HOP | _named_in_connection(lower) | _OWN_ANSWER
    if not cookies:
        gone |= {b"set-cookie"}
    return [header for header in lower if header[0] not in gone and not header[0].startswith(b"privguard")]


_OWN_ANSWER: Final = frozenset({b"date", b"server"})


def _named_in_connection(headers: RawHeaders) -> frozenset[bytes]:
    values = [value for name, value in headers if name == b"connection"]
    if not values or values == [b"keep-alive"] or values == [b"close"]:
        return frozenset()
    return frozenset(word.strip().lower() for value in values for word in value.split(b","))


# -- what comes back ----------------------------------------------------------------------------------------

_ALLOWED: Final = {
    b"content-language": re.compile(rb"[A-Za-z]{2,3}(?:-[A-Za-z]{2,4}){0,2}"),
    b"retry-after": re.compile(rb"[0-9]{1,4}"),
    b"allow": re.compile(rb"[A-Z]{3,7}(?:, ?[A-Z]{3,7})*"),
    b"access-control-allow-origin": re.compile(rb"\*|null|https?://[a-z0-9.\[\]:-]{1,253}"),
    b"access-control-allow-credentials": re.compile(rb"true"),
}
"""With what their values look like: a value of another form may be a client's."""
_UNCACHED: Final = (
    (b"cache-control", b"no-store"),
    (b"vary", b"*"),
    (b"x-content-type-options", b"nosniff"),
)
_CHARSET: Final = re.compile(
    rb";\s*charset=\"?(utf-?8|us-ascii|gb18030|gbk|gb2312|big5|iso-8859-1|windows-1252)\"?\s*(?:;|\Z)",
    re.IGNORECASE,
)


def governed_headers(headers: RawHeaders) -> RawHeaders:
    """The headers a governed answer begins with: the upstream's that are allowed, and those against caching.

    Never ETag, Last-Modified, Accept-Ranges (M08), Set-Cookie, Location, Link, Content-Disposition or one of
    the upstream's own making (M06). Of Content-Type only the media type and a well-known charset stay.

    Raises:
        UnreadableResponseError: two Content-Types, or one that is none.
    """
    kept = [(name, value) for name, value in headers if name in _ALLOWED and _ALLOWED[name].fullmatch(value)]
    if content_type := _content_type(headers):
        kept.append((b"content-type", content_type))
    kept += _UNCACHED
    return kept


def media_of(headers: RawHeaders) -> tuple[str, str]:
    """Media type in lower case and Content-Encoding of an answer; empty where it names none.

    Raises:
        UnreadableResponseError: two Content-Types, or one that is none.
    """
    media = _content_type(headers).partition(b";")[0].decode("ascii")
    coding = b", ".join([value for name, value in headers if name == b"content-encoding"]).decode("latin-1")
    return media, coding


def content_type_of(headers: RawHeaders) -> str:
    """Content-Type with its parameters, as it stands there; empty where there is none."""
    return next((value.decode("latin-1") for name, value in headers if name == b"content-type"), "")


def _content_type(headers: RawHeaders) -> bytes:
    values = [value for name, value in headers if name == b"content-type"]
    if not values:
        return b""
    if len(values) > 1:
        raise UnreadableResponseError("There are two Content-Types.")
    return _canonical_media(values[0])


@lru_cache(maxsize=256)
def _canonical_media(value: bytes) -> bytes:
    media = MEDIA.match(value)
    if not media:
        raise UnreadableResponseError("The Content-Type is none.")
    charset = _CHARSET.search(value)
    return media[0].lower() + (b"; charset=" + charset[1].lower() if charset else b"")


def receipt_header(receipt: AuditReceipt) -> bytes:
    """``Privguard-Receipt``: where the disclosure stands in the log, as a structured dictionary."""
    root = b64encode(receipt.root).decode("ascii")
    return f"origin={_quoted(receipt.origin)}, index={receipt.index}, root=:{root}:".encode("ascii")


@lru_cache(maxsize=1_024)
def fields_header(fields: tuple[FieldShown, ...]) -> bytes:
    """``Privguard-Fields``: each field with the view it left in, as a structured list.

    Empty where there are none, or so many that the header would be longer than 4 KB.
    """
    listed = b", ".join([_field_entry(shown.path, shown.view, shown.mask) for shown in fields])
    return listed if len(listed) <= MAX_FIELDS else b""


@lru_cache(maxsize=4_096)
def _field_entry(path: str, view: View, mask: str) -> bytes:
    name = path if _TOKEN.fullmatch(path) else _quoted(path)
    entry = f"{name};view={view.label}"
    if mask:
        entry += f";mask={mask if _TOKEN.fullmatch(mask) else _quoted(mask)}"
    return entry.encode("ascii")


@lru_cache(maxsize=1_024)
def _quoted(text: str) -> str:
    """A string, or a display string (RFC 9651) where it is not ASCII."""
    ascii_ = text.isascii() and text.isprintable()
    written: str = http_sf.ser(text if ascii_ else http_sf.DisplayString(text))
    return written
