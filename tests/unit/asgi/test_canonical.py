"""A target that could be read in two ways is refused; one that passes is sent on byte for byte (S12)."""

from __future__ import annotations

import unicodedata
from typing import Any
from urllib.parse import quote, unquote, urlencode

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from privguard.asgi.canonical import Target, check_headers, read_target
from privguard.errors import FilterNotPermittedError, MalformedRequestError

HEADERS = [(b"host", b"crm.bank.example"), (b"accept", b"*/*")]


def scope(raw: bytes = b"/clients/42", query: bytes = b"", **more: Any) -> dict[str, Any]:
    """As uvicorn makes it."""
    path = unquote(raw.decode("latin-1"))
    return {
        "type": "http",
        "method": "GET",
        "http_version": "1.1",
        "path": path,
        "raw_path": raw,
        "query_string": query,
        "headers": HEADERS,
        **more,
    }


def refused(**more: Any) -> None:
    with pytest.raises(MalformedRequestError) as caught:
        read_target(scope(**more))
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"/", "/"),
        (b"/clients", "/clients"),
        (b"/clients/", "/clients/"),
        (b"/clients/42.json", "/clients/42.json"),
        (b"/a..b/...", "/a..b/..."),
        (b"/clients/%E5%BC%A0%E4%BC%9F", "/clients/张伟"),
        (b"/a%20b/~x/@me,1(2)", "/a b/~x/@me,1(2)"),
        (b"/files/x:y=z&w+v!$'*", "/files/x:y=z&w+v!$'*"),
        (b"/a%2Db%5Fc%7Ed%40", "/a-b_c~d@"),
    ],
)
def test_a_plain_path_is_read_and_kept(raw: bytes, path: str) -> None:
    target = read_target(scope(raw))
    assert (target.path, target.raw_path, target.raw) == (path, raw, raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"*",
        b"clients",
        b"http://evil.example/clients",
        b"//clients",
        b"/a//b",
        b"/a//",
        b"/.",
        b"/..",
        b"/a/.",
        b"/a/..",
        b"/a/./b",
        b"/a/../clients/42",
        b"/public/..%2fclients/42",
        b"/public/%2e%2e/clients/42",
        b"/public/%2E./clients/42",
        b"/a%2Fb",
        b"/a%5cb",
        b"/a\\b",
        b"/a%00",
        b"/a%0d%0aX:%20y",
        b"/a%1f",
        b"/a%7f",
        b"/a\x00",
        b"/a b",
        b"/a\tb",
        b"/a;x",
        b"/a;jsessionid=1/b",
        b"/a%3Bx",
        b"/a%3fx",
        b"/a%23x",
        b"/a#x",
        b"/a?x",
        b"/%25",
        b"/%252e%252e/x",
        b"/a%",
        b"/a%2",
        b"/a%zz",
        b"/a%u0041",
        b"/%63lients",
        b"/client%73",
        b"/clients/%34%32",
        b"/%C0%AE%C0%AE/x",
        b"/%c0%af",
        b"/%e0%80%af",
        b"/%ED%A0%80",
        b"/%FF",
        b"/%F5%80%80%80",
        b"/\xe5\xbc\xa0",
        b"/\xff",
        b"/a/%EF%BC%8E%EF%BC%8E/b",
        b"/a%EF%BC%8Fb",
        b"/a%EF%BC%85",
        b"/a%E2%80%A6",
        b"/a%EF%BC%9Bx",
        b"/a%E2%80%AEb",
        b"/a%C2%85b",
        b"/a%E2%80%8Bb",
        b"/a<b>",
        b'/a"b',
        b"/a[1]",
        b"/a{b}",
        b"/a|b",
        b"/a^b",
        b"/a`b",
    ],
)
def test_s12_an_ambiguous_path_is_refused(raw: bytes) -> None:
    refused(raw=raw)


def test_s12_what_the_server_decoded_must_be_what_is_judged() -> None:
    refused(raw=b"/public", path="/clients/42")
    refused(raw=b"/clients/42", path="/clients/42/")
    refused(raw_path=None)


def test_a_target_has_a_length() -> None:
    assert read_target(scope(b"/" + b"a" * 8_000)).raw
    refused(raw=b"/" + b"a" * 8_192)
    refused(query=b"a=" + b"a" * 8_192)


@pytest.mark.parametrize(
    ("raw", "query"),
    [
        (b"a=1&b=2", (("a", "1"), ("b", "2"))),
        (b"a=1&a=2", (("a", "1"), ("a", "2"))),
        (b"flag", (("flag", ""),)),
        (b"&&a=1&", (("a", "1"),)),
        (b"=x", (("", "x"),)),
        (b"q=%E5%BC%A0+%E4%BC%9F", (("q", "张 伟"),)),
        (b"q=a%2Bb%26c%3Dd%3Be", (("q", "a+b&c=d;e"),)),
        (b"filter[name]=x&x={1}|2", (("filter[name]", "x"), ("x", "{1}|2"))),
        (b"next=/a?b=c@d:e", (("next", "/a?b=c@d:e"),)),
        (b"t=line%0Abreak", (("t", "line\nbreak"),)),
    ],
)
def test_a_query_is_read_in_its_order(raw: bytes, query: tuple[tuple[str, str], ...]) -> None:
    target = read_target(scope(query=raw))
    assert target.query == query
    assert target.raw == b"/clients/42?" + raw


@pytest.mark.parametrize(
    "raw",
    [
        b"a=%",
        b"a=%4",
        b"a=%zz",
        b"a=%00",
        b"%00=a",
        b"a=1;id_no=11",
        b"a=#",
        b"a=\x00",
        b"a= b",
        b"a=\xff",
        b"a=\xe5\xbc\xa0",
        b"a=%FF",
        b"a=%C0%AF",
        b"name=%D5%C5",
        b'a="b"',
        b"a=<b>",
        b"_method=DELETE",
        b"_METHOD=delete",
        b"x=1&%5Fmethod=PUT",
        b"_HttpMethod=PUT",
    ],
)
def test_s12_an_ambiguous_query_is_refused(raw: bytes) -> None:
    refused(query=raw)


@pytest.mark.parametrize("method", ["get", "Get", "", "GE T", "GET\n", "CONNECT", "TRACE", "G" * 40, "ГЕТ"])
def test_m11_odd_methods_are_refused(method: str) -> None:
    refused(method=method)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PATCH", "DELETE", "PROPFIND", "M-SEARCH", "QUERY"])
def test_methods_in_capitals_pass(method: str) -> None:
    assert read_target(scope(method=method)).method == method


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"host", b"a"), (b"host", b"a")],
        [(b"host", b"a"), (b"host", b"b")],
        [(b"host", b"")],
        [(b"host", b"a, b")],
        [(b"host", b"user@a")],
        [(b"host", b"a/b")],
        [(b"host", b"http://a")],
        [(b"host", b"a:port")],
        [(b"host", b"a b")],
        [(b"host", b"[::1")],
        [(b"host", b"\xc3\xa9")],
    ],
)
def test_s13_host_is_one_and_plain(headers: list[tuple[bytes, bytes]]) -> None:
    refused(headers=headers)


@pytest.mark.parametrize("host", [b"a", b"a.b-c.example:8443", b"127.0.0.1:80", b"[::1]:8080", b"my_crm"])
def test_hosts_as_they_come(host: bytes) -> None:
    assert read_target(scope(headers=[(b"host", host)])).host == host.decode()


@pytest.mark.parametrize(
    "more",
    [
        [(b"content-length", b"1"), (b"content-length", b"1")],
        [(b"content-length", b"1, 1")],
        [(b"content-length", b"+1")],
        [(b"content-length", b"-1")],
        [(b"content-length", b"0x1")],
        [(b"content-length", b"")],
        [(b"content-length", "１".encode())],
        [(b"content-length", b"9" * 30)],
        [(b"content-length", b"1"), (b"transfer-encoding", b"chunked")],
        [(b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"chunked")],
        [(b"transfer-encoding", b"gzip, chunked")],
        [(b"transfer-encoding", b"identity")],
        [(b"transfer-encoding", b"chunked, identity")],
        [(b"expect", b"200-ok")],
        [(b"expect", b"100-continue, x")],
        [(b"upgrade", b"websocket")],
        [(b"upgrade", b"h2c"), (b"http2-settings", b"AAMAAABk")],
        [(b"content-type", b"a/b"), (b"content-type", b"c/d")],
        [(b"content-type", b"json")],
        [(b"content-type", b"")],
        [(b"authorization", b"Bearer a"), (b"authorization", b"Bearer b")],
        [(b"cookie", b"a=1"), (b"cookie", b"a=2")],
        [(b"privguard-purpose", b"a"), (b"privguard-purpose", b"b")],
        [(b"privguard-anything", b"a"), (b"privguard-anything", b"b")],
        [(b"range", b"bytes=0-1"), (b"range", b"bytes=2-3")],
        [(b"signature", b"a=:AA==:"), (b"signature", b"b=:AA==:")],
        [(b"x-http-method-override", b"DELETE")],
        [(b"x-http-method", b"DELETE")],
        [(b"x-method-override", b"DELETE")],
        [(b"x_http_method_override", b"DELETE")],
        [(b"x-original-url", b"/clients/42")],
        [(b"x-rewrite-url", b"/clients/42")],
        [(b"privguard_user", b"e-1")],
        [(b"x_privguard_user", b"e-1")],
        [(b"privguard.user", b"e-1")],
        [(b"x_forwarded_for", b"10.0.0.1")],
        [(b"content_length", b"3")],
        [(b"transfer_encoding", b"chunked")],
        [(b"Authorization", b"x")],
        [(b"", b"x")],
        [(b"a b", b"x")],
        [(b"a\nb", b"x")],
        [(b"x-a", b"b\x00c")],
        [(b"x-a", b"b\r\nx-c: d")],
        [(b"x-a", b"b\nc")],
        [(b"x-a", b"\x7f")],
    ],
)
def test_s13_framing_and_header_names(more: list[tuple[bytes, bytes]]) -> None:
    refused(headers=[*HEADERS, *more])


def test_s13_chunked_is_of_http_1_1() -> None:
    chunked = [*HEADERS, (b"transfer-encoding", b"Chunked")]
    assert check_headers(chunked)
    refused(headers=chunked, http_version="1.0")


@pytest.mark.parametrize(
    "more",
    [
        [(b"accept", b"a/b"), (b"accept-language", b"zh")],
        [(b"api_key", b"x"), (b"x.trace.id", b"1")],
        [(b"x-forwarded-for", b"10.0.0.1"), (b"x-forwarded-for", b"10.0.0.2")],
        [(b"expect", b"100-Continue"), (b"content-length", b"3")],
        [(b"content-type", b"application/json ; charset=utf-8")],
        [(b"x-name", b"caf\xe9\tbar")],
    ],
)
def test_ordinary_headers_pass(more: list[tuple[bytes, bytes]]) -> None:
    assert check_headers([*HEADERS, *more]) == "crm.bank.example"


def test_no_refusal_quotes_the_request() -> None:
    for case in (
        {"raw": b"/CANARY;"},
        {"query": b"CANARY=%"},
        {"method": "canary"},
        {"headers": [(b"host", b"CANARY/")]},
        {"headers": [*HEADERS, (b"x-CANARY", b"CANARY")]},
    ):
        with pytest.raises(MalformedRequestError) as caught:
            read_target(scope(**case))  # type: ignore[arg-type]
        assert "canary" not in str(caught.value).lower()


def test_parameters_can_be_left_out_and_the_rest_keeps_its_bytes() -> None:
    target = read_target(scope(query=b"_purpose=aml&q=%e5%BC%A0&&%5Freveal=pan&page=2&_purpose"))
    rest = target.without(frozenset({"_purpose", "_reveal"}))
    assert rest.raw == b"/clients/42?q=%e5%BC%A0&page=2"
    assert rest.query == (("q", "张"), ("page", "2"))
    assert rest.without(frozenset({"q", "page"})).raw == b"/clients/42"


def test_a_parameter_is_added_and_refused_with_another_value() -> None:
    target = read_target(scope(query=b"q=%e5%BC%A0&page=2"))
    narrowed = target.narrowed("rm_ids", "rm.li+张")
    assert narrowed.raw == b"/clients/42?q=%e5%BC%A0&page=2&rm_ids=rm.li%2B%E5%BC%A0"
    assert narrowed.query == (("q", "张"), ("page", "2"), ("rm_ids", "rm.li+张"))
    assert narrowed.narrowed("rm_ids", "rm.li+张") is narrowed
    assert read_target(scope()).narrowed("a", "b").raw == b"/clients/42?a=b"
    for other in (narrowed, read_target(scope(query=b"rm_ids=x&rm_ids=rm.li%2B%E5%BC%A0"))):
        with pytest.raises(FilterNotPermittedError) as caught:
            other.narrowed("rm_ids", "rm.wang")
        assert caught.value.parameters == ("rm_ids",)


segments = st.text(
    st.characters(
        blacklist_categories=("Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"), blacklist_characters="/\\;%?#."
    ),
    min_size=1,
    max_size=12,
)


@given(st.lists(segments, max_size=5), st.lists(st.tuples(segments, st.text(st.characters(codec="utf-8")))))
def test_what_a_browser_encodes_is_read_back(parts: list[str], pairs: list[tuple[str, str]]) -> None:
    folded = [unicodedata.normalize("NFKC", part) for part in parts]
    assume(not any(mark in part for part in folded for mark in "/\\;%?#."))
    assume(not any("\0" in value or name.lower() in ("_method", "_httpmethod") for name, value in pairs))
    raw = ("/" + "/".join(quote(part, safe="") for part in parts)).encode()
    query = urlencode(pairs).encode()
    assume(len(raw) + len(query) <= 8_192)
    target = read_target(scope(raw, query))
    assert target.path == "/" + "/".join(parts)
    assert list(target.query) == pairs
    assert target.raw == raw + (b"?" + query if query else b"")


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_s12_whatever_passes_decodes_once_and_to_nothing_structural(path: bytes, query: bytes) -> None:
    raw = b"/" + path
    try:
        target: Target = read_target(scope(raw, query))
    except MalformedRequestError:
        return
    assert unquote(target.path) == target.path  # a second decoding changes nothing
    assert target.path.count("/") == raw.count(b"/")
    assert not {".", ".."} & set(target.path.split("/"))
    assert not set("\\;?#%\0\r\n") & set(target.path)
    assert len(target.query) == sum(1 for piece in query.split(b"&") if piece)
