"""Reads a request's target once, and refuses what another parser could read otherwise (S12, S13, M01, M11).

Nothing is normalised: what is judged is byte for byte what is sent on. So whatever has two spellings that a
server, a framework or a reverse proxy might take for the same (dot segments, encoded slashes, ``;``
parameters, a method in a header) is refused with a 400 instead of being interpreted.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final
from urllib.parse import unquote_to_bytes, urlencode

from msgspec import Struct

from privguard.asgi.messages import Scope
from privguard.errors import FilterNotPermittedError, MalformedRequestError

MAX_TARGET: Final = 8_192
"""Bytes of path and query together; RFC 9110 §4.1 asks for 8,000 at least."""

_METHOD: Final = re.compile(r"[A-Z][A-Z0-9-]{0,31}")
_UNSERVED: Final = frozenset({"CONNECT", "TRACE"})
"""A tunnel has no record to mask; TRACE sends the caller's credentials back."""
_HOST: Final = re.compile(
    rb"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?"
)

# pchar of RFC 3986 §3.3 without ";", and the slash. An escape may not stand for a control, a digit, a letter
# or one of # % . / ; ? \ : what decodes twice, or compares without decoding, would see another path.
_PATH: Final = re.compile(
    rb"(?:/(?!/)(?!\.{1,2}(?:/|\Z))"
    rb"(?:[A-Za-z0-9\-._~!$&'()*+,=:@]|%(?![01]|2[35eEfF]|3[0-9bBfF]|[46][1-9a-fA-F]|[57][0-9aA]|5[cC]|7[fF])"
    rb"[0-9A-Fa-f]{2})*)+"
)
# Printable ASCII that browsers leave unescaped; not ";", which some servers take for "&" (M01), nor "#".
_QUERY: Final = re.compile(rb"(?:[A-Za-z0-9\-._~!$&'()*+,=:@/?\[\]{}|^`\\]|%[0-9A-Fa-f]{2})*")
_STRUCTURAL: Final = "/\\.;?#%"

_PLAIN_NAMES: Final = re.compile(rb"[a-z0-9-]*")
_TOKEN: Final = re.compile(rb"[a-z0-9!#$%&'*+.^_`|~-]+")
_ODD: Final = re.compile(rb"[^a-z0-9]")
_CONTROLS: Final = bytes([*range(9), *range(10, 32), 127])

_SINGLE: Final = frozenset(
    b"host content-length transfer-encoding content-type content-encoding content-range content-digest "
    b"authorization proxy-authorization cookie expect range if-range if-match if-none-match "
    b"if-modified-since if-unmodified-since origin referer user-agent signature signature-input".split()
)
"""Headers of which servers take the first, the last or all joined when there are two."""
_REFUSED: Final = {
    **dict.fromkeys(
        b"x-http-method-override x-http-method x-method-override x-method http-method-override".split(),
        "A header must not replace the request's method.",
    ),
    **dict.fromkeys(
        b"x-original-url x-rewrite-url x-override-url".split(),
        "A header must not replace the request's target.",
    ),
    **dict.fromkeys(
        b"upgrade http2-settings".split(), "The connection is not changed to another protocol here."
    ),
}
_CHECKED: Final = frozenset({b"expect", b"transfer-encoding", b"content-length", b"content-type"})
MEDIA: Final = re.compile(rb"[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}(?=[ \t]*(?:;|\Z))")
"""Type and subtype at the beginning of a Content-Type (RFC 6838 §4.2)."""
_METHOD_PARAMETERS: Final = frozenset({"_method", "_httpmethod"})


class Target(Struct, frozen=True):
    """What a request is aimed at.

    Attributes:
        host: the Host header.
        raw_path, raw_query: as on the request line (path without the query, query without ``?``).
        path: ``raw_path`` percent-decoded once; a trailing slash makes it another path.
        query: decoded parameters in their order; one without ``=`` has an empty value.
    """

    method: str
    host: str
    raw_path: bytes
    path: str
    raw_query: bytes
    query: tuple[tuple[str, str], ...]

    @property
    def raw(self) -> bytes:
        """The target as it goes upstream."""
        return self.raw_path + b"?" + self.raw_query if self.raw_query else self.raw_path

    def without(self, names: frozenset[str]) -> Target:
        """The same target less the parameters of these names; the others keep their bytes."""
        pairs = [piece for piece in self.raw_query.split(b"&") if piece]
        kept = [at for at, (name, _) in enumerate(self.query) if name not in names]
        return Target(
            self.method,
            self.host,
            self.raw_path,
            self.path,
            b"&".join(pairs[at] for at in kept),
            tuple(self.query[at] for at in kept),
        )

    def narrowed(self, name: str, value: str) -> Target:
        """The same target with one more parameter.

        Raises:
            FilterNotPermittedError: it has this parameter with another value.
        """
        values = [said for each, said in self.query if each == name]
        if values == [value]:
            return self
        if values:
            raise FilterNotPermittedError(
                f"{name} is set by the policy for this actor: leave it out.", parameters=(name,)
            )
        added = urlencode([(name, value)]).encode()
        raw_query = b"&".join(filter(None, (self.raw_query, added)))
        return Target(
            self.method, self.host, self.raw_path, self.path, raw_query, (*self.query, (name, value))
        )


def read_target(scope: Scope) -> Target:
    """The target of an ASGI ``http`` scope.

    Raises:
        MalformedRequestError: the request line or the headers can be read in more than one way.
    """
    method: str = scope["method"]
    if not _METHOD.fullmatch(method) or method in _UNSERVED:
        raise MalformedRequestError("The method is not one that is served here; methods are in capitals.")
    host = check_headers(scope["headers"], scope.get("http_version", "1.1"))
    raw_path: bytes | None = scope.get("raw_path")
    raw_query: bytes = scope.get("query_string", b"")
    if raw_path is None:
        raise MalformedRequestError(
            "The server gives no raw_path, so the target cannot be judged as it was sent."
        )
    if len(raw_path) + len(raw_query) > MAX_TARGET:
        raise MalformedRequestError(f"The target is longer than {MAX_TARGET} bytes.")
    path = _read_path(raw_path)
    if scope["path"] != path:  # the app routes by scope["path"]: it must be what is judged
        raise MalformedRequestError("The server and privguard read the path differently.")
    return Target(method, host, raw_path, path, raw_query, _read_query(raw_query) if raw_query else ())


def check_headers(headers: list[tuple[bytes, bytes]], http_version: str = "1.1") -> str:
    """Refuses ambiguous framing and header names; gives the Host.

    Args:
        headers: names in lower case, as ASGI has them.

    Raises:
        MalformedRequestError: see the module.
    """
    names = [name for name, _ in headers]
    distinct = set(names)
    if len(distinct) != len(names):
        _check_repeated(names)
    if b"" in distinct or not _PLAIN_NAMES.fullmatch(b"".join(names)):
        _check_odd_names(names)
    values = b"\t".join([value for _, value in headers])
    if len(values.translate(None, _CONTROLS)) != len(values):  # six times faster than a search
        raise MalformedRequestError("A header holds a control character.")
    for name in _REFUSED.keys() & distinct:
        raise MalformedRequestError(_REFUSED[name])
    if not _CHECKED.isdisjoint(distinct):
        _check_framing(dict(headers), http_version)
    if b"connection" in distinct:
        _check_connection(headers)
    host = next((value for name, value in headers if name == b"host"), None)
    if host is None or not _HOST.fullmatch(host):
        raise MalformedRequestError(
            "The request needs exactly one Host header, with a host name and perhaps a port."
        )
    return host.decode("ascii")


def _check_repeated(names: list[bytes]) -> None:
    seen = set[bytes]()
    for name in names:
        if name in seen and (name in _SINGLE or name.startswith(b"privguard-")):
            raise MalformedRequestError("A header that may stand once stands twice.")
        seen.add(name)


def _check_odd_names(names: list[bytes]) -> None:
    """CGI, WSGI and PHP read ``X_Privguard_User`` as ``X-Privguard-User`` (S11)."""
    if not all(_TOKEN.fullmatch(name) for name in names):
        raise MalformedRequestError("A header name is not a token in lower case.")
    for name in names:
        spelt = _ODD.sub(b"-", name)
        if spelt != name and (spelt in _SINGLE or spelt in _REFUSED or spelt.startswith(_RESERVED)):
            raise MalformedRequestError("A header name is another spelling of a header that is trusted.")


_RESERVED: Final = (b"privguard", b"x-privguard", b"x-forwarded", b"forwarded", b"x-real-ip", b"connection")


def _check_connection(headers: list[tuple[bytes, bytes]]) -> None:
    """What Connection names goes no further (RFC 9110 §7.6.1), so it may name nothing that was judged by."""
    named = b",".join([value for name, value in headers if name == b"connection"])
    for option in named.lower().split(b","):
        option = option.strip(b" \t")
        if option in _SINGLE or option.startswith(_RESERVED):
            raise MalformedRequestError("Connection names a header that is meant for the app behind.")


def _check_framing(headers: dict[bytes, bytes], http_version: str) -> None:
    length, coding = headers.get(b"content-length"), headers.get(b"transfer-encoding")
    expect, media = headers.get(b"expect"), headers.get(b"content-type")
    if length is not None and not (length.isdigit() and len(length) < 19):
        raise MalformedRequestError("Content-Length is not a number.")
    if coding is not None and (length is not None or coding.lower() != b"chunked" or http_version == "1.0"):
        raise MalformedRequestError(
            "Transfer-Encoding may only be chunked, without Content-Length (RFC 9112 §6.1)."
        )
    if expect is not None and expect.lower() != b"100-continue":
        raise MalformedRequestError("Expect may only be 100-continue (RFC 9110 §10.1.1).")
    if media is not None and not MEDIA.match(media):
        raise MalformedRequestError("Content-Type is not a media type.")


def _read_path(raw: bytes) -> str:
    if not _PATH.fullmatch(raw):
        raise MalformedRequestError(
            "The path must begin with / and hold no //, dot segment, ;, \\, control character, or escape of "
            "a character that needs none."
        )
    if b"%" not in raw:
        return raw.decode("ascii")
    path = _utf8(unquote_to_bytes(raw))
    folded = unicodedata.normalize(
        "NFKC", path
    )  # full-width ／ and ． that a best-fit mapping would turn into / .
    if any(folded.count(mark) != path.count(mark) for mark in _STRUCTURAL) or _hidden(path):
        raise MalformedRequestError("The path holds a character that stands for a separator or for nothing.")
    return path


def _hidden(path: str) -> bool:
    return any(unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp") for char in path if char > "\x7f")


def _read_query(raw: bytes) -> tuple[tuple[str, str], ...]:
    if not _QUERY.fullmatch(raw):
        raise MalformedRequestError(
            "The query holds a character that must be percent-encoded, or a bad escape."
        )
    query = tuple([_read_pair(piece) for piece in raw.split(b"&") if piece])
    for name, value in query:
        if "\0" in name or "\0" in value:
            raise MalformedRequestError("The query holds a NUL.")
        if name.lower() in _METHOD_PARAMETERS:
            raise MalformedRequestError("A parameter must not replace the request's method.")
    return query


def _read_pair(piece: bytes) -> tuple[str, str]:
    name, _, value = piece.partition(b"=")
    if b"%" not in piece and b"+" not in piece:
        return name.decode("ascii"), value.decode("ascii")
    return _decoded(name), _decoded(value)


def _decoded(piece: bytes) -> str:
    return _utf8(unquote_to_bytes(piece.replace(b"+", b" ")))


def _utf8(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedRequestError("The target is not UTF-8 once its escapes are decoded.") from None
