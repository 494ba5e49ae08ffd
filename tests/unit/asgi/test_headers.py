"""What the caller may say, and which headers pass in and out."""

from __future__ import annotations

import http_sf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privguard.asgi.headers import (
    NOTHING_SAID,
    Said,
    fields_header,
    governed_headers,
    header_map,
    media_of,
    onward_headers,
    read_said,
    receipt_header,
    returned_headers,
    upstream_headers,
    without_vouching,
)
from privguard.errors import MalformedRequestError, PrivguardError, UnreadableResponseError
from privguard.model import AuditReceipt, FieldShown, View


def test_everything_can_be_said() -> None:
    said = read_said(
        [
            (b"host", b"x"),
            (b"privguard-purpose", b"aml_case"),
            (b"privguard-reason", b'"client asked for \\"it\\""'),
            (b"privguard-ticket", b"AML-12"),
            (b"privguard-reveal", b'mobile, "cards[*].pan", id_no'),
            (b"privguard-grant", b'"1a2b"'),
            (b"privguard-break-glass", b"?1"),
        ]
    )
    assert said == Said(
        purpose="aml_case",
        reason='client asked for "it"',
        ticket="AML-12",
        reveal=("mobile", "cards[*].pan", "id_no"),
        grant="1a2b",
        break_glass=True,
    )


def test_a_reason_may_be_chinese() -> None:
    """RFC 9651 §3.3.8: a display string, percent-encoded UTF-8."""
    assert read_said([(b"privguard-reason", b'%"%e5%ae%a2%e6%88%b7"')]).reason == "客户"


def test_nothing_said_is_nothing() -> None:
    assert read_said([(b"accept", b"*/*"), (b"privguard-user", b"ignored")]) is NOTHING_SAID


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"purpose", b""),
        (b"purpose", b"two words"),
        (b"purpose", b"a, b"),
        (b"purpose", b"a;b=c"),
        (b"purpose", b"1"),
        (b"purpose", b"?1"),
        (b"purpose", b"a" * 65),
        (b"purpose", "目的".encode()),
        (b"reason", b'"open'),
        (b"reason", b'""'),
        (b"reason", b'"' + b"a" * 1001 + b'"'),
        (b"reason", b'%"%0a"'),
        (b"reason", b'%"%ff"'),
        (b"reveal", b"a,"),
        (b"reveal", b"(a b)"),
        (b"reveal", b"a;x"),
        (b"reveal", b", ".join([b"a"] * 65)),
        (b"reveal", b"1.5"),
        (b"grant", b":AAEC:"),
        (b"break-glass", b"1"),
        (b"break-glass", b"true"),
        (b"break-glass", b"?1;x"),
        (b"ticket", b"@1700000000000000"),
    ],
)
def test_what_does_not_parse_is_refused_without_being_quoted(name: bytes, value: bytes) -> None:
    with pytest.raises(MalformedRequestError) as caught:
        read_said([(b"privguard-" + name, value)])
    assert name.decode().split("-")[0] in caught.value.detail.lower()
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_a_thing_is_said_once() -> None:
    with pytest.raises(MalformedRequestError):
        read_said([(b"privguard-purpose", b"a"), (b"privguard-purpose", b"b")])
    with pytest.raises(MalformedRequestError):
        read_said([(b"privguard-purpose", b"a")], (("_purpose", "b"),))
    with pytest.raises(MalformedRequestError):
        read_said([], (("_purpose", "a"), ("_purpose", "b")))


def test_query_forms() -> None:
    said = read_said([], (("q", "x"), ("_purpose", "service"), ("_reveal", "mobile, id_no")))
    assert said == Said(purpose="service", reveal=("mobile", "id_no"))
    for value in ("", "a,,b", "a\nb", "a" * 201, ",".join("a" * 65)):
        with pytest.raises(MalformedRequestError):
            read_said([], (("_reveal", value),))


@given(
    st.sampled_from(["purpose", "reason", "ticket", "reveal", "grant", "break-glass"]), st.binary(max_size=60)
)
def test_no_header_makes_anything_but_words_or_a_refusal(name: str, value: bytes) -> None:
    try:
        read_said([(f"privguard-{name}".encode(), value)])
    except PrivguardError as error:
        assert error.status == 400


REQUEST = [
    (b"host", b"gateway"),
    (b"authorization", b"Bearer x"),
    (b"accept", b"application/json"),
    (b"accept-encoding", b"gzip"),
    (b"content-type", b"application/json"),
    (b"content-length", b"2"),
    (b"if-none-match", b'"x"'),
    (b"if-match", b'"x"'),
    (b"if-modified-since", b"now"),
    (b"if-unmodified-since", b"now"),
    (b"if-range", b'"x"'),
    (b"range", b"bytes=0-9"),
    (b"privguard-purpose", b"service"),
    (b"privguard-user", b"e-1"),
    (b"privguard-identity", b":e30=:"),
    (b"x-privguard-user", b"e-1"),
    (b"privguard_user", b"e-1"),
    (b"x_privguard_user", b"e-1"),
    (b"privguard.user", b"e-1"),
    (b"x-remote-user", b"e-1"),
    (b"x_remote_user", b"e-1"),
    (b"x-custom", b"kept"),
]


def test_s11_m08_what_the_app_behind_gets_on_a_governed_route() -> None:
    identity = frozenset({b"x-remote-user"})
    got = upstream_headers(REQUEST, identity=identity)
    assert got == [
        (b"host", b"gateway"),
        (b"authorization", b"Bearer x"),
        (b"accept", b"application/json"),
        (b"content-type", b"application/json"),
        (b"content-length", b"2"),
        (b"x-custom", b"kept"),
        (b"accept-encoding", b"identity"),
    ]
    bodiless = {name for name, _ in upstream_headers(REQUEST, bodiless=True, identity=identity)}
    assert bodiless == {b"host", b"authorization", b"accept", b"x-custom", b"accept-encoding"}


def test_s11_every_spelling_is_stripped_elsewhere_too() -> None:
    got = {name for name, _ in without_vouching(REQUEST)}
    assert not [name for name in got if b"privguard" in name]
    assert got >= {b"x-remote-user", b"x_remote_user", b"if-none-match", b"x-custom"}


def test_what_a_gateway_sends_on() -> None:
    got = onward_headers(
        [
            (b"host", b"gateway"),
            (b"connection", b"keep-alive, X-Secret-Hop"),
            (b"x-secret-hop", b"1"),
            (b"keep-alive", b"5"),
            (b"te", b"trailers"),
            (b"transfer-encoding", b"chunked"),
            (b"proxy-authorization", b"Basic x"),
            (b"expect", b"100-continue"),
            (b"x-forwarded-for", b"6.6.6.6"),
            (b"x-forwarded-prefix", b"/x"),
            (b"forwarded", b"for=6.6.6.6"),
            (b"x-real-ip", b"6.6.6.6"),
            (b"privguard-purpose", b"service"),
            (b"cookie", b"sid=1"),
            (b"authorization", b"Bearer x"),
        ],
        dropped=frozenset({b"host", b"cookie"}),
        client="127.0.0.1",
        scheme="https",
        host="gateway",
    )
    assert got == [
        (b"authorization", b"Bearer x"),
        (b"x-forwarded-for", b"127.0.0.1"),
        (b"x-forwarded-proto", b"https"),
        (b"x-forwarded-host", b"gateway"),
        (b"via", b"1.1 privguard"),
    ]


def test_what_a_gateway_gives_back() -> None:
    answer = [
        (b"Content-Type", b"text/html"),
        (b"Date", b"now"),
        (b"Server", b"x"),
        (b"Connection", b"x-hop"),
        (b"X-Hop", b"1"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Privguard-Receipt", b"forged"),
        (b"Set-Cookie", b"sid=1"),
        (b"ETag", b'"x"'),
    ]
    assert returned_headers(answer) == [
        (b"content-type", b"text/html"),
        (b"set-cookie", b"sid=1"),
        (b"etag", b'"x"'),
    ]
    assert (b"set-cookie", b"sid=1") not in returned_headers(answer, cookies=False)


def test_m06_m08_a_governed_answer_keeps_what_cannot_hold_client_data() -> None:
    got = governed_headers(
        [
            (b"content-type", b'application/json; charset=utf-8; name="Zhang Wei.json"'),
            (b"content-language", b"zh"),
            (b"retry-after", b"3"),
            (b"etag", b'"x"'),
            (b"last-modified", b"now"),
            (b"accept-ranges", b"bytes"),
            (b"content-range", b"0-9/120"),
            (b"content-length", b"99"),
            (b"content-encoding", b"gzip"),
            (b"set-cookie", b"last=Zhang"),
            (b"location", b"/clients/Zhang"),
            (b"link", b"<x>; rel=next"),
            (b"content-disposition", b'attachment; filename="Zhang.csv"'),
            (b"x-total-count", b"120"),
            (b"server-timing", b"db;dur=5"),
            (b"privguard-receipt", b"forged"),
            (b"cache-control", b"public"),
            (b"vary", b"accept"),
        ]
    )
    assert got == [
        (b"content-language", b"zh"),
        (b"retry-after", b"3"),
        (b"content-type", b"application/json; charset=utf-8"),
        (b"cache-control", b"no-store"),
        (b"vary", b"*"),
        (b"x-content-type-options", b"nosniff"),
    ]


def test_media_types_are_read_once() -> None:
    assert media_of([(b"content-type", b"Application/JSON; charset=GBK")]) == ("application/json", "")
    assert media_of([(b"content-encoding", b"gzip"), (b"content-encoding", b"br")]) == ("", "gzip, br")
    for headers in (
        [(b"content-type", b"a/b"), (b"content-type", b"a/b")],
        [(b"content-type", b"json")],
        [(b"content-type", b"a/b, c/d")],
        [(b"content-type", b"")],
    ):
        with pytest.raises(UnreadableResponseError):
            media_of(headers)
        with pytest.raises(UnreadableResponseError):
            governed_headers(headers)


def test_headers_as_text_join_what_may_repeat() -> None:
    assert header_map([(b"accept", b"a"), (b"accept", b"b"), (b"x", b"\xe9")]) == {"accept": "a, b", "x": "é"}


def test_the_receipt_is_a_structured_dictionary() -> None:
    raw = receipt_header(AuditReceipt("bank.example/log", 12, 20, bytes(range(32))))
    parsed = http_sf.parse(raw, tltype="dictionary")
    assert parsed == {"origin": ("bank.example/log", {}), "index": (12, {}), "root": (bytes(range(32)), {})}
    assert raw.startswith(b'origin="bank.example/log", index=12, root=:AAEC')


def test_the_fields_are_a_structured_list() -> None:
    raw = fields_header(
        (
            FieldShown("mobile", View.MASKED, "cn_mobile_3_4"),
            FieldShown("name", View.CLEAR),
            FieldShown("cards[*].pan", View.MASKED, "pan_last4"),
            FieldShown("客户", View.TOKEN, "token"),
        )
    )
    assert raw.startswith(b"mobile;view=masked;mask=cn_mobile_3_4, name;view=clear, ")
    paths = [str(item[0]) for item in http_sf.parse(raw, tltype="list")]
    assert paths == ["mobile", "name", "cards[*].pan", "客户"]
    assert fields_header(()) == b""


def test_the_fields_are_left_out_where_they_would_be_too_long_for_a_header() -> None:
    assert fields_header(tuple(FieldShown(f"field_{n:04}", View.CLEAR) for n in range(400))) == b""


@given(st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable()), st.sampled_from(View))
def test_any_path_of_a_policy_can_be_a_header(path: str, view: View) -> None:
    raw = fields_header((FieldShown(path, view),))
    ((name, parameters),) = http_sf.parse(raw, tltype="list")
    assert (str(name), str(parameters["view"])) == (path, view.label)
