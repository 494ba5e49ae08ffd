"""Attacks on the way in: spoofed headers, confused paths, framing, redirects and upgrades (S11 to S14).

The upstream here notes what arrives byte for byte, so a test sees what was sent on, or that nothing was.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from privguard.identity import SignedRequest, sign_assertion
from tests.door import WHOAMI, Answer, Gateway, ask, make_gateway, raw
from tests.recorder import (
    DEMO,
    OTHER,
    POLICY,
    STAFF,
    Recorder,
    Seen,
    answer,
    as_json,
    client,
    crm,
    recording,
)

BEARER = b"Authorization: Bearer " + STAFF.encode()
CLEAR = "19900000042"
"""The mobile of client 42, which its reader may only see masked."""


@pytest.fixture(scope="module")
def upstream() -> Iterator[Recorder]:
    with recording() as recorder:
        recorder.default = crm
        yield recorder


@pytest.fixture(scope="module")
def door(upstream: Recorder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway before the recorder, where two made-up members of staff are known by their tokens."""
    folder = tmp_path_factory.mktemp("transport")
    made = make_gateway(folder, upstream.port, policy=POLICY, identity=DEMO)
    made.workers = 2
    yield made.start()
    assert ask(made.port, "GET", "/_privguard/readyz").status == 200
    made.stop()
    assert made.verify() == len(made.leaves())
    assert "Traceback" not in made.output
    assert CLEAR not in made.output
    assert upstream.broken == []


def get(door: Gateway, target: str = "/clients/42", **headers: str) -> Answer:
    return ask(door.port, "GET", target, token=STAFF, headers=headers)


def head(*lines: bytes, request: bytes = b"GET /clients/42 HTTP/1.1", host: bytes = b"crm.test") -> bytes:
    """The bytes of a request's head, by the member of staff."""
    return b"\r\n".join([request, b"Host: " + host, BEARER, *lines]) + b"\r\n\r\n"


def statuses(received: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]


def settled(upstream: Recorder, since: int) -> list[str]:
    """What reached the upstream, once it had the time to."""
    time.sleep(0.05)
    return upstream.lines(since)


# -- S11 header spoofing ------------------------------------------------------------------------------------

VOUCHING = [
    "Privguard-User", "privguard-user", "PRIVGUARD-USER", "Privguard_User", "PRIVGUARD_USER",
    "Privguard.User", "Privguard~User", "Privguard--User", "PrivguardUser", "Privguard",
    "X-Privguard-User", "X_Privguard_User", "X-Privguard_User", "x_privguard-user", "X.Privguard.User",
    "Privguard-Identity", "Privguard_Identity", "Privguard-Roles", "X-Privguard-Roles", "Privguard-Session",
]  # fmt: skip


def folded(name: str) -> str:
    """A header's name as CGI, WSGI and PHP read it."""
    return re.sub("[^a-z0-9]", "-", name.lower())


def vouches(seen: Seen) -> list[str]:
    names = [name.decode("latin-1") for name, _ in seen.headers]
    return [name for name in names if folded(name).startswith(("privguard", "x-privguard"))]


@pytest.mark.parametrize("target", ["/clients/42", "/public/echo"])
@pytest.mark.parametrize("name", VOUCHING)
def test_s11_a_header_that_vouches_for_an_actor_never_arrives(
    door: Gateway, upstream: Recorder, name: str, target: str
) -> None:
    before, entries = len(upstream.seen), len(door.leaves())
    lines = [f"{name}: e-18".encode()], [f"{name}: e-18".encode(), f"{name}: root".encode()]
    for spoofed in lines:
        received = raw(
            door.port, head(*spoofed, b"Connection: close", request=f"GET {target} HTTP/1.1".encode())
        )
        assert statuses(received)[0] in (200, 400), received
        if 400 in statuses(received):
            assert b"malformed-request" in received
    arrived = upstream.seen[before:]
    assert [vouches(seen) for seen in arrived] == [[]] * len(arrived)
    made = [leaf for leaf in door.since(entries) if leaf["action"].startswith("gateway:")]
    assert {leaf["actor"] for leaf in made} <= {"e-17", ""}


def test_s11_no_header_stands_in_for_credentials(door: Gateway, upstream: Recorder) -> None:
    with upstream.unasked():
        for name in (*VOUCHING, "X-Forwarded-User", "X-Remote-User", "Remote-User", "X-Auth-Request-User"):
            given_ = ask(
                door.port, "GET", "/clients/42", headers={name: "e-17", "X-Forwarded-For": "127.0.0.1"}
            )
            assert given_.problem in ("unauthenticated", "malformed-request"), name


ADDRESSES = [
    "X-Forwarded-For", "X_Forwarded_For", "x-forwarded-for", "X-Forwarded-Host", "X_FORWARDED_HOST",
    "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Server", "X-Forwarded-Prefix", "X-Forwarded-User",
    "X-Forwarded-Email", "X-Forwarded-Client-Cert", "X-Forwarded", "Forwarded", "Via", "X-Real-IP",
    "X_Real_IP", "X-Client-IP", "X-Cluster-Client-IP", "Client-IP", "True-Client-IP", "CF-Connecting-IP",
]  # fmt: skip


@pytest.mark.parametrize("target", ["/clients/42", "/public/echo"])
@pytest.mark.parametrize("name", ADDRESSES)
def test_s11_where_a_caller_says_it_comes_from_never_arrives(
    door: Gateway, upstream: Recorder, name: str, target: str
) -> None:
    before = len(upstream.seen)
    lines = [f"{name}: 10.66.66.66".encode(), f"{name}: evil.test".encode()]
    received = raw(door.port, head(*lines, b"Connection: close", request=f"GET {target} HTTP/1.1".encode()))
    if statuses(received) == [400]:
        assert len(upstream.seen) == before
        return
    (seen,) = upstream.seen[before:]
    values = b"\n".join(value for _, value in seen.headers)
    assert b"10.66.66.66" not in values
    assert b"evil.test" not in values
    assert seen.values("x-forwarded-for") == ["127.0.0.1"]
    assert seen.values("x-forwarded-proto") == ["http"]
    assert seen.values("x-forwarded-host") == ["crm.test"]
    assert seen.values("forwarded") == []


@pytest.mark.parametrize("twice", ["Authorization", "Cookie", "Content-Type", "Privguard-Purpose"])
def test_s11_a_header_that_counts_stands_once(door: Gateway, upstream: Recorder, twice: str) -> None:
    """Servers take the first of two, the last, or both joined."""
    value = {"Authorization": f"Bearer {OTHER}", "Content-Type": "text/plain"}.get(twice, "service")
    lines = [f"{twice}: {value}".encode()] * (1 if twice == "Authorization" else 2)
    with upstream.unasked():
        received = raw(door.port, head(*lines, b"Connection: close"))
        assert statuses(received) == [400], received


@pytest.mark.parametrize(
    "name",
    ["Authorization_", "Content_Type", "Content_Length", "Transfer_Encoding", "X_HTTP_Method_Override"],
)
def test_s11_another_spelling_of_a_header_that_counts_is_refused(
    door: Gateway, upstream: Recorder, name: str
) -> None:
    before = len(upstream.seen)
    received = raw(door.port, head(f"{name}: 7".encode(), b"Connection: close"))
    if name == "Authorization_":  # a name of its own in every reading
        assert statuses(received) == [200]
        assert upstream.seen[-1].values("authorization") == [f"Bearer {STAFF}"]
    else:
        assert statuses(received) == [400]
        assert len(upstream.seen) == before


@pytest.mark.parametrize("named", ["authorization", "content-type", "x-forwarded-for", "cookie, host", "via"])
def test_s11_connection_takes_nothing_away_that_was_judged(
    door: Gateway, upstream: Recorder, named: str
) -> None:
    """A header named in Connection goes no further: what was judged by it would arrive as something else."""
    before = len(upstream.seen)
    body = b'{"mobile": "19900009999"}'
    lines = [
        b"Connection: close, " + named.encode(), b"Content-Type: application/json", b"Cookie: a=b",
        b"Content-Length: %d" % len(body),
    ]  # fmt: skip
    received = raw(door.port, head(*lines, request=b"PATCH /clients/42 HTTP/1.1") + body)
    if statuses(received) == [400]:
        assert upstream.lines(before) == []
        return
    written = upstream.seen[-1]
    assert written.method == "PATCH"
    assert written.body == body
    assert written.values("content-type") == ["application/json"]
    assert written.values("authorization") == [f"Bearer {STAFF}"]
    assert written.values("x-forwarded-for") == ["127.0.0.1"]
    assert written.values("host") == [f"127.0.0.1:{upstream.port}"]


PROXY_KEY = "0123456789abcdef0123456789abcdef"
PROXY = """
[identity]
mode = "proxy"
[identity.proxy]
hmac_key = "proxy.key"
"""
CLAIMS = {"sub": "e-17", "roles": ["staff"], "branch": "north"}


@pytest.fixture(scope="module")
def proxied(upstream: Recorder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway behind a proxy that vouches for actors by a shared key."""
    folder = tmp_path_factory.mktemp("proxied")
    made = make_gateway(folder, upstream.port, policy=POLICY, identity=PROXY)
    key = folder / "proxy.key"
    key.write_text(PROXY_KEY)
    key.chmod(0o600)
    made.workers = 2
    made.start()
    yield made
    made.stop()


_nonces = iter(range(10**6))


def assertion(
    method: str = "GET", target: str = "/clients/42", body: bytes = b"", *, key: str = PROXY_KEY, age: int = 0
) -> dict[str, str]:
    """What the proxy adds to a request."""
    return sign_assertion(
        CLAIMS,
        SignedRequest(method, target.encode(), body),
        key.encode(),
        created=int(time.time()) - age,
        nonce=f"{os.getpid():08d}{next(_nonces):012d}",
    )


def test_s11_a_proxy_proves_itself_by_its_key(proxied: Gateway, upstream: Recorder) -> None:
    before = len(upstream.seen)
    proof = assertion()
    good = ask(proxied.port, "GET", "/clients/42", headers=proof)
    assert good.status == 200, good
    (seen,) = upstream.seen[before:]
    assert vouches(seen) == []
    assert seen.values("signature") == seen.values("signature-input") == []
    again = ask(proxied.port, "GET", "/clients/42", headers=proof)
    assert again.problem == "unauthenticated"  # replayed


@pytest.mark.parametrize("method", ["GET", "PATCH"])
def test_s11_an_assertion_holds_once_on_all_workers(
    proxied: Gateway, upstream: Recorder, method: str
) -> None:
    body = b'{"mobile": "19900001234"}' if method == "PATCH" else b""
    proof, before = assertion(method, body=body), len(upstream.seen)
    if body:
        proof["Content-Type"] = "application/json"
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(
            pool.map(
                lambda _: ask(proxied.port, method, "/clients/42", body=body or None, headers=proof),
                range(16),
            )
        )
    assert sorted(answer.status for answer in answers) == [200] + [401] * 15, answers
    assert sum(seen.method == "PATCH" for seen in upstream.seen[before:]) == (method == "PATCH")


def test_s11_no_assertion_but_the_proxys_own_for_this_request_holds(
    proxied: Gateway, upstream: Recorder
) -> None:
    proof, other = assertion(), assertion(target="/clients/41")
    forged = {
        "nothing": {},
        "another key": assertion(key="f" * 32),
        "too old": assertion(age=120),
        "from the future": assertion(age=-120),
        "of another target": other,
        "of another method": assertion(method="PATCH"),
        "of another body": assertion(body=b"x"),
        "claims changed": {**proof, "privguard-identity": ":eyJzdWIiOiJyb290In0=:"},
        "without the MAC": {name: value for name, value in proof.items() if name != "signature"},
        "no signature input": {name: value for name, value in proof.items() if name != "signature-input"},
        "covers less": {
            **proof,
            "signature-input": proof["signature-input"].replace('"privguard-identity"', '"host"'),
        },
        "plain headers": {
            "Privguard-User": "e-17",
            "X-Forwarded-User": "e-17",
            "X-Forwarded-For": "127.0.0.1",
        },
    }
    with upstream.unasked():
        for how, headers in forged.items():
            refused = ask(proxied.port, "GET", "/clients/42", headers=headers)
            assert refused.problem in ("unauthenticated", "malformed-request"), how
    twice = [f"{name}: {value}".encode() for name, value in proof.items()]
    with upstream.unasked():
        request = (
            b"GET /clients/42 HTTP/1.1\r\nHost: crm.test\r\n" + b"\r\n".join([*twice, twice[0]]) + b"\r\n\r\n"
        )
        assert statuses(raw(proxied.port, request, wait=1)) == [400]


def test_s11_headers_in_observe_mode_do_not_arrive_either(upstream: Recorder, own_folder: Path) -> None:
    made = make_gateway(own_folder, upstream.port, policy=POLICY, identity=DEMO, mode="observe").start()
    try:
        before = len(upstream.seen)
        for target in ("/clients/42", "/nowhere", "/public/echo"):
            ask(
                made.port,
                "GET",
                target,
                token=STAFF,
                headers={"X-Privguard-User": "root", "Privguard_User": "x"},
            )
            ask(made.port, "GET", target, token=STAFF, headers={"Privguard-User": "root"})
        arrived = upstream.seen[before:]
        assert arrived
        assert [vouches(seen) for seen in arrived] == [[]] * len(arrived)
    finally:
        made.stop()


# -- S12 path confusion -------------------------------------------------------------------------------------

CONFUSED = [
    # dot segments, plain, encoded, twice encoded, and with what servers take for a slash
    b"/public/../clients/42", b"/public/./clients", b"/public/..", b"/public/.", b"/../clients/42",
    b"/public/%2e%2e/clients/42", b"/public/%2E%2E/clients/42", b"/public/.%2e/clients/42",
    b"/public/..%2fclients/42", b"/public/..%2Fclients/42", b"/public%2f..%2fclients/42",
    b"/public/%252e%252e/clients/42", b"/public/..%252fclients/42", b"/public/..%c0%afclients/42",
    b"/public/%c0%ae%c0%ae/clients/42", b"/public/%uff0e%uff0e/clients/42",
    b"/public/..%5cclients/42", b"/public/..\\clients\\42", b"/public\\..\\clients/42", b"/public/%5c../x",
    # slashes and their doubles
    b"//clients/42", b"//public/x", b"/public//x", b"/clients//42", b"/clients/42//", b"///",
    b"/%2fclients/42", b"/clients%2f42", b"/clients/42%2f", b"//evil.test/public/x",
    b"/public/x/%2f", b"/\\evil.test/x",
    # parameters, NUL and what cuts a path off
    b"/public;x/a", b"/public/;/../clients/42", b"/clients/42;a=b", b"/public/a;jsessionid=1",
    b"/public/x%3b/a", b"/public/%00", b"/clients/42%00", b"/clients/42%00.css",
    b"/public/x%0d%0aHost:%20evil", b"/public/x%0a", b"/public/x%09", b"/public/x%7f", b"/clients/42%23",
    b"/clients/42%3f", b"/clients/42%3F.css", b"/public/x%25", b"/public/%2525",
    b"/clients/4%32", b"/%63lients/42", b"/clients/%34%32", b"/pub%6cic/x",
    # escapes that are none, bytes that are no UTF-8, characters that look or fold like others
    b"/public/%", b"/public/%2", b"/public/%zz", b"/public/%ff", b"/public/%c3%28", b"/public/%ed%a0%80",
    b"/public/%ef%bc%8e%ef%bc%8e/clients/42", b"/public/%ef%bc%8fclients", b"/public/%e2%80%a8x",
    b"/public/x%e2%80%8b", b"/public/x%c2%85", b"/public/x%ef%bb%bf", b"/public/%e2%88%95x%ef%bc%85",
    # forms of the target that are not a path
    b"http://crm.test/clients/42", b"HTTP://crm.test/public/x", b"http://evil.test/public/x", b"//evil.test",
    b"https://crm.test/public/x", b"crm.test:80", b"*", b"@evil.test/public/x", b"/@", b"?/public/x",
    b"public/x", b"", b"/public/x#y", b"/clients/42#/public/x", b"/public/x?y#z", b"/clients/42?a=%zz",
    b"/public/x?a=%", "/public/客".encode(), "/public/x?q=客".encode(), b"/public/\x00", b"/public/a b",
    b"/public/\tx", b"/public/\x7fx", b"/public/<x>", b'/public/"x"', b"/public/{x}", b"/public/x|y",
    b"/public/x^y", b"/public/`x", b"/clients/42?a=1;b=2", b"/public/x?a=\"b\"", b"/public/x?<a>",
]  # fmt: skip
CONFUSED_BUT_FINE = {b"/@"}
"""Unusual, yet read the same by everybody: judged as any other route."""


@pytest.mark.parametrize("target", CONFUSED, ids=repr)
def test_s12_a_target_that_two_parsers_read_differently_is_refused(
    door: Gateway, upstream: Recorder, target: bytes
) -> None:
    before = len(upstream.seen)
    received = raw(door.port, head(b"Connection: close", request=b"GET " + target + b" HTTP/1.1"), wait=2)
    if target in CONFUSED_BUT_FINE:
        assert b"ungoverned-route" in received
    else:
        assert statuses(received) == [400], received
        assert b"urn:privguard:problem:malformed-request" in received
    assert settled(upstream, before) == []
    assert CLEAR.encode() not in received


ODD_BUT_PLAIN = [
    b"/public/%e5%ae%a2", b"/public/%E5%AE%A2", b"/public/a%20b", b"/public/~a!b$c&d'e(f)g*h+i,j=k:l@m",
    b"/public/a%3Cb%3E", b"/public/...", b"/public/..a", b"/public/a..", b"/public/a.b", b"/public/x/",
    b"/public/%E2%82%AC", b"/public/x?", b"/public/x?a", b"/public/x?a=", b"/public/x?=a", b"/public/x?a=b=c",
    b"/public/x?a=%2F..%2f&b=//&c=../../x", b"/public/x?a=%e5%ae%a2&a=%E5%AE%A2", b"/public/x?a=b+c%20d",
    b"/public/x?filter[name]=%5B%5D&x={y}|z^w`v\\u", b"/public/x?a=b?c/d:e@f", b"/public/x??",
    b"/public/x?&&a&", b"/clients/42", b"/clients/%E5%AE%A2", b"/clients/a@b.c", b"/clients?page=1&size=%32",
]  # fmt: skip


@pytest.mark.parametrize("target", ODD_BUT_PLAIN, ids=repr)
def test_s12_what_arrives_is_byte_for_byte_what_was_judged(
    door: Gateway, upstream: Recorder, target: bytes
) -> None:
    before = len(upstream.seen)
    received = raw(door.port, head(b"Connection: close", request=b"GET " + target + b" HTTP/1.1"), wait=2)
    assert statuses(received) == [200], received
    (arrived,) = upstream.seen[before:]
    assert arrived.target == (target.removesuffix(b"?") if target.count(b"?") == 1 else target)


PIECES = [
    b"/", b"//", b"public", b"clients", b"42", b".", b"..", b"%2e", b"%2f", b"%5c", b"\\", b";", b"%3b",
    b"%00", b"%25", b"%252e", b"?", b"&", b"=", b"#", b"@", b":", b"%e5%ae%a2", b"%ff", b"a", b"%61", b"+",
    b"%20", b"*", b"http://evil.test", b"~", b"%", b"page", b"1", b"[", b"]", b"\xe5\xae\xa2", b"\x01",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=9).map(lambda pieces: b"/" + b"".join(pieces)))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_s12_any_target_is_refused_or_arrives_as_it_was_sent(
    door: Gateway, upstream: Recorder, target: bytes
) -> None:
    before = len(upstream.seen)
    received = raw(door.port, head(b"Connection: close", request=b"GET " + target + b" HTTP/1.1"), wait=2)
    arrived = [seen.target for seen in upstream.seen[before:]]
    assert arrived in ([], [target], [target.removesuffix(b"?")])
    status = statuses(received)[0]
    assert status in (200, 400, 403, 404), received
    assert (status == 200) <= bool(arrived)
    if arrived and not arrived[0].startswith(b"/public/"):
        assert re.fullmatch(rb"/clients(/[^/?]+)?(\?.*)?", arrived[0])  # what is governed, or nothing
        assert CLEAR.encode() not in received


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("get", []), ("Get", []), ("TRACE", []), ("CONNECT", []), ("FOO", []), ("G\x00T", []), ("PRI", []),
        ("POST", [b"X-HTTP-Method-Override: GET"]), ("GET", [b"X-HTTP-Method-Override: PATCH"]),
        ("GET", [b"X_HTTP_Method_Override: PATCH"]), ("GET", [b"X-Method-Override: DELETE"]),
        ("GET", [b"X-Original-URL: /public/x"]), ("GET", [b"X-Rewrite-URL: /public/x"]),
        ("GET", [b"X_Original_URL: /public/x"]),
    ],
)  # fmt: skip
def test_s12_nothing_replaces_the_method_or_the_target(
    door: Gateway, upstream: Recorder, method: str, headers: list[bytes]
) -> None:
    before = len(upstream.seen)
    request = f"{method} /clients/42 HTTP/1.1".encode("latin-1")
    received = raw(door.port, head(*headers, b"Connection: close", request=request), wait=2)
    assert statuses(received)[0] in (400, 403), received
    assert settled(upstream, before) == []


def test_s12_a_parameter_does_not_replace_the_method(door: Gateway, upstream: Recorder) -> None:
    with upstream.unasked():
        for name in ("_method", "_METHOD", "_HttpMethod", "%5fmethod"):
            assert get(door, f"/public/x?{name}=DELETE").problem == "malformed-request"


def test_s12_what_is_sent_to_the_middle_of_the_route_is_not_it(door: Gateway, upstream: Recorder) -> None:
    """Case, a trailing slash or an extension make it another route, which nobody named."""
    with upstream.unasked():
        for target in (
            "/Clients/42",
            "/CLIENTS/42",
            "/clients/42/",
            "/clients/",
            "/clients/42/x",
            "/public",
            "/",
        ):
            assert get(door, target).problem == "ungoverned-route", target


# -- S13 framing --------------------------------------------------------------------------------------------

SMUGGLED = head(request=b"GET /public/smuggled HTTP/1.1")
POST = b"POST /public/x HTTP/1.1"
CHUNKED = b"Transfer-Encoding: chunked"


def _framed(*lines: bytes, body: bytes = b"", request: bytes = POST) -> bytes:
    return head(*lines, request=request) + body


FRAMING = {
    "CL.TE": _framed(b"Content-Length: 6", CHUNKED, body=b"0\r\n\r\nG" + SMUGGLED),
    "TE.CL": _framed(CHUNKED, b"Content-Length: 4", body=b"5c\r\n" + SMUGGLED + b"\r\n0\r\n\r\n"),
    "TE.TE": _framed(CHUNKED, b"Transfer-Encoding: x", body=b"0\r\n\r\n" + SMUGGLED),
    "TE twice": _framed(CHUNKED, CHUNKED, body=b"0\r\n\r\n" + SMUGGLED),
    "TE identity": _framed(b"Transfer-Encoding: identity", body=SMUGGLED),
    "TE xchunked": _framed(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n" + SMUGGLED),
    "TE gzip, chunked": _framed(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n" + SMUGGLED),
    "TE chunked, identity": _framed(b"Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n" + SMUGGLED),
    "TE with a space before the colon": _framed(b"Transfer-Encoding : chunked", body=b"0\r\n\r\n" + SMUGGLED),
    "TE with a tab": _framed(b"Transfer-Encoding:\x0bchunked", body=b"0\r\n\r\n" + SMUGGLED),
    "TE with an underscore": _framed(b"Transfer_Encoding: chunked", body=b"0\r\n\r\n" + SMUGGLED),
    "TE folded": _framed(b"Transfer-Encoding:\r\n chunked", body=b"0\r\n\r\n" + SMUGGLED),
    "TE in 1.0": _framed(CHUNKED, body=b"0\r\n\r\n" + SMUGGLED, request=b"POST /public/x HTTP/1.0"),
    "CL twice": _framed(b"Content-Length: 0", b"Content-Length: 5", body=SMUGGLED),
    "CL twice the same": _framed(b"Content-Length: 1", b"Content-Length: 1", body=b"x" + SMUGGLED),
    "CL list": _framed(b"Content-Length: 0, 0", body=SMUGGLED),
    "CL signed": _framed(b"Content-Length: +0", body=SMUGGLED),
    "CL negative": _framed(b"Content-Length: -1", body=SMUGGLED),
    "CL hexadecimal": _framed(b"Content-Length: 0x10", body=SMUGGLED),
    "CL huge": _framed(b"Content-Length: 18446744073709551617", body=SMUGGLED),
    "CL with an underscore": _framed(b"Content_Length: 5", body=SMUGGLED),
    "chunk size no number": _framed(CHUNKED, body=b"ZZ\r\n" + SMUGGLED),
    "chunk size negative": _framed(CHUNKED, body=b"-1\r\nx\r\n0\r\n\r\n" + SMUGGLED),
    "chunk size with 0x": _framed(CHUNKED, body=b"0x1\r\nx\r\n0\r\n\r\n" + SMUGGLED),
    "chunk size huge": _framed(CHUNKED, body=b"fffffffffffffffff\r\nx\r\n0\r\n\r\n" + SMUGGLED),
    "chunk longer than said": _framed(CHUNKED, body=b"1\r\nxxx\r\n0\r\n\r\n" + SMUGGLED),
    "chunk with bare LF": _framed(CHUNKED, body=b"1\nx\n0\n\n" + SMUGGLED),
    "chunk with a trailer": _framed(CHUNKED, body=b"0\r\nAuthorization: Bearer x\r\n\r\n" + SMUGGLED),
    "obs-fold": head(b"X-A: b\r\n c: d"),
    "obs-fold in Host": head(b"X-B: c", host=b"crm.test\r\n .evil.test"),
    "bare LF": b"GET /clients/42 HTTP/1.1\nHost: crm.test\n\n",
    "bare CR": head(b"X-A: b\rX-C: d"),
    "NUL in a value": head(b"X-A: b\x00c"),
    "space in a name": head(b"X A: b"),
    "no name": head(b": b"),
    "no colon": head(b"X-A"),
    "space first": b"GET /clients/42 HTTP/1.1\r\n Host: crm.test\r\n\r\n",
    "no host": b"GET /public/x HTTP/1.1\r\n\r\n",
    "no host in 1.0": b"GET /public/x HTTP/1.0\r\n\r\n",
    "two hosts": head(b"Host: crm.test"),
    "two hosts that differ": head(b"Host: evil.test"),
    "empty host": head(host=b""),
    "host with a path": head(host=b"crm.test/public"),
    "host with a user": head(host=b"a@crm.test"),
    "host with a comma": head(host=b"crm.test, evil.test"),
    "host with a space": head(host=b"crm .test"),
    "host with an underscore twin": head(b"Host_: evil.test", b"X_Forwarded_Host: evil.test"),
    "HTTP/0.9": b"GET /public/x\r\n\r\n",
    "HTTP/1.2": head(request=b"GET /public/x HTTP/1.2"),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
    "tab": head(request=b"GET\t/public/x HTTP/1.1"),
    "TLS hello": bytes([22, 3, 1, 0, 4]) + b"\x01\x00\x00\x00",
    "nothing but NUL": bytes(64),
    "expect something": _framed(b"Expect: 200-ok", b"Content-Length: 2", body=b"ab"),
    "101 headers": head(*[b"X-%d: a" % number for number in range(101)]),
    "64 KB of a header": head(b"X-A: " + b"a" * 65_536),
    "64 KB of headers": head(*[b"X-%d: " % number + b"a" * 1_400 for number in range(50)]),
    "64 KB of a target": head(request=b"GET /public/" + b"a" * 65_536 + b" HTTP/1.1"),
    "9 KB of a target": head(b"Connection: close", request=b"GET /public/" + b"a" * 9_000 + b" HTTP/1.1"),
}


@pytest.mark.parametrize("how", FRAMING)
def test_s13_what_frames_a_request_in_two_ways_is_refused(
    door: Gateway, upstream: Recorder, how: str
) -> None:
    """One 400 at most, the connection is closed, and nothing arrives that was hidden in it."""
    before = len(upstream.seen)
    began = time.monotonic()
    received = raw(door.port, FRAMING[how], wait=4)
    assert time.monotonic() - began < 3.5, "the connection was left open"
    assert statuses(received) == [400], received[:200]
    assert b"urn:privguard:problem:malformed-request" in received
    assert settled(upstream, before) == []


def test_s13_a_governed_read_has_no_body(door: Gateway, upstream: Recorder) -> None:
    """A body's conditions would go unjudged, and its bytes might be taken for the next request."""
    before = len(upstream.seen)
    for framing in (b"Content-Length: 2", CHUNKED):
        body = b"ab" if framing != CHUNKED else b"2\r\nab\r\n0\r\n\r\n"
        received = raw(door.port, head(framing, b"Connection: close") + body)
        assert statuses(received) == [400]
    assert settled(upstream, before) == []


def test_s13_chunks_arrive_as_one_framing(door: Gateway, upstream: Recorder) -> None:
    before = len(upstream.seen)
    body = b"3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    received = raw(door.port, _framed(CHUNKED, b"Connection: close", body=body))
    assert statuses(received) == [200]
    (seen,) = upstream.seen[before:]
    assert seen.body == b"abcde"
    assert len(seen.values("transfer-encoding")) + len(seen.values("content-length")) == 1


def test_s13_a_body_that_ends_early_is_not_sent_on_as_whole(door: Gateway, upstream: Recorder) -> None:
    before = len(upstream.seen)
    for start in (
        _framed(
            b"Content-Length: 99", b"Content-Type: application/json", body=b'{"mobile": "1', request=PATCH
        ),
        _framed(CHUNKED, b"Content-Type: application/json", body=b'20\r\n{"mobile"', request=PATCH),
    ):
        with socket.create_connection(("127.0.0.1", door.port), timeout=3) as connection:
            connection.sendall(start)
            connection.shutdown(socket.SHUT_WR)
            with contextlib.suppress(OSError):
                connection.recv(65_536)
    assert [line for line in settled(upstream, before) if line.startswith("PATCH")] == []


PATCH = b"PATCH /clients/42 HTTP/1.1"


def test_s13_100_continue_is_answered_here_and_only_for_what_is_read(
    door: Gateway, upstream: Recorder
) -> None:
    before = len(upstream.seen)
    with socket.create_connection(("127.0.0.1", door.port), timeout=3) as connection:
        connection.sendall(_framed(b"Expect: 100-continue", b"Content-Length: 3", b"Connection: close"))
        assert connection.recv(65_536).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"abc")
        assert statuses(_all(connection)) == [200]
    (seen,) = upstream.seen[before:]
    assert (seen.body, seen.values("expect")) == (b"abc", [])


def test_s13_after_expect_an_unread_body_is_not_the_next_request(door: Gateway, upstream: Recorder) -> None:
    before = len(upstream.seen)
    with socket.create_connection(("127.0.0.1", door.port), timeout=1) as connection:
        refused = head(
            b"Expect: 100-continue", b"Content-Length: %d" % len(SMUGGLED), request=b"POST /x HTTP/1.1"
        )
        connection.sendall(refused)
        time.sleep(0.2)
        with contextlib.suppress(OSError):
            connection.sendall(SMUGGLED)
        assert statuses(_all(connection)) in ([403], [100, 403])
    assert settled(upstream, before) == []


def _all(connection: socket.socket) -> bytes:
    received = b""
    with contextlib.suppress(OSError):
        while chunk := connection.recv(65_536):
            received += chunk
    return received


def test_s13_pipelined_requests_are_each_judged_and_answered_in_order(
    door: Gateway, upstream: Recorder
) -> None:
    requests = [
        head(request=b"GET /clients/1 HTTP/1.1"),
        head(request=b"GET /nowhere HTTP/1.1"),
        head(request=b"GET /clients/2 HTTP/1.1"),
        b"GET /clients/3 HTTP/1.1\r\nHost: crm.test\r\n\r\n",  # nobody's, whoever asked before
        head(b"Connection: close", request=b"GET /clients/42 HTTP/1.1"),
    ]
    entries = len(door.leaves())
    received = raw(door.port, b"".join(requests))
    assert statuses(received) == [200, 403, 200, 401, 200]
    actors = [leaf["actor"] for leaf in door.since(entries)]
    assert actors == ["e-17", "e-17", "e-17", "", "e-17"]
    assert b"1990****042" not in received
    assert CLEAR.encode() not in received


def test_s13_pipelining_is_bounded(door: Gateway, upstream: Recorder) -> None:
    before = len(upstream.seen)
    raw(door.port, head(request=b"GET /public/x HTTP/1.1") * 2_000, wait=3)
    assert len(settled(upstream, before)) < 100
    assert get(door).status == 200


def test_s13_slow_loris_holds_up_nobody_and_is_cut_off(door: Gateway) -> None:
    """Sixty connections that drip; the others are served, and after the deadline of 10 s they are gone."""
    drips = [
        b"GET /clients/42 HTTP/1.1\r\n",
        b"",
        b"POST /public/x HTTP/1.1\r\nHost: crm.test\r\nContent-Length: 9\r\n\r\n",
    ]
    held = []
    for number in range(60):
        connection = socket.create_connection(("127.0.0.1", door.port), timeout=1)
        connection.sendall(drips[number % 3])
        held.append(connection)
    began, served, open_ = time.monotonic(), 0.0, held
    while open_ and time.monotonic() - began < 16:
        asked = time.monotonic()
        assert get(door).status == 200
        served = max(served, time.monotonic() - asked)
        open_ = [connection for connection in open_ if _drip(connection)]
        time.sleep(0.5)
    assert not open_, f"{len(open_)} are still open"
    assert served < 3
    for connection in held:
        connection.close()


def _drip(connection: socket.socket) -> bool:
    """Sends another byte; whether the other side still listens."""
    try:
        connection.sendall(b"X")
        connection.setblocking(False)
        return connection.recv(65_536) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        connection.setblocking(True)


def test_s13_endless_headers_and_chunks_are_bounded(door: Gateway) -> None:
    for start, piece in (
        (b"GET /clients/42 HTTP/1.1\r\nHost: crm.test\r\nX-A: ", b"a" * 16_384),
        (b"GET /clients/42 HTTP/1.1\r\nHost: crm.test\r\n", b"X-A: b\r\n" * 1_000),
        (_framed(CHUNKED) + b"3;x=", b"a" * 16_384),
    ):
        with socket.create_connection(("127.0.0.1", door.port), timeout=5) as connection:
            began = time.monotonic()
            with contextlib.suppress(OSError):
                connection.sendall(start)
                while time.monotonic() - began < 6:
                    connection.sendall(piece)
                    time.sleep(0.001)
            assert time.monotonic() - began < 4, "took headers for ever"
            with contextlib.suppress(ConnectionResetError):
                assert statuses(connection.recv(65_536)) in ([400], [])
    assert get(door).status == 200


def test_s13_a_write_larger_than_it_may_be_reaches_nobody(door: Gateway, upstream: Recorder) -> None:
    before = len(upstream.seen)
    body = b'{"mobile": "' + b"1" * (2 << 20) + b'"}'
    for lines, sent in (
        ([b"Content-Length: %d" % len(body)], body),
        ([CHUNKED], b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"),
    ):
        request = head(*lines, b"Content-Type: application/json", b"Connection: close", request=PATCH)
        assert statuses(raw(door.port, request + sent)) in ([400], [])  # a reset may overtake the answer
    assert settled(upstream, before) == []


def test_s13_what_everybody_reads_alike_is_served(door: Gateway, upstream: Recorder) -> None:
    """The refusals above are of what is wrong, not of everything."""
    for request in (
        b"\r\n" + head(b"Connection: close"),
        head(b"Connection: close", request=b"GET  /clients/42 HTTP/1.1"),
        head(b"Connection: close", host=b"CRM.test:8443"),
        head(b"Connection: close", host=b"[::1]:80"),
        head(b"Connection: close", *[b"X-%d: a" % number for number in range(97)]),
        head(b"X-A:", b"X-B:b", b"X-C:\tc ", b"connection: Keep-Alive, close"),
        head(request=b"GET /clients/42 HTTP/1.0"),
    ):
        before = len(upstream.seen)
        assert statuses(raw(door.port, request, wait=2)) == [200], request
        assert upstream.lines(before) == ["GET /clients/42"]


def test_s13_responses_are_framed_once(door: Gateway, upstream: Recorder) -> None:
    """An upstream's answer with two framings is never passed on with both."""
    body = json.dumps({"client": client(42)}).encode()
    chunked = b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"
    first = b"HTTP/1.1 200 X\r\nContent-Type: application/json\r\n"
    for said in (
        first + CHUNKED + b"\r\nContent-Length: 4\r\n\r\n" + chunked,
        first + b"Content-Length: 5\r\nContent-Length: %d\r\n\r\n" % len(body) + body,
        first + b"Content-Length: %d\r\n\r\n" % (len(body) + 50) + body,
        first + b"Content-Length: %d\r\nX-A: b\r\n c\r\n\r\n" % len(body) + body,
        first + b"Content-Length: 5\r\n\r\n" + body,
        first + CHUNKED + b"\r\n\r\n" + chunked[:-8],
        b"HTTP/1.1 200 X\r\nContent-Type: application/json\r\n\r\n" + body,
        b"\r\n\r\nnothing",
    ):
        for path in ("/clients/77", "/public/77"):
            upstream.replies[path] = lambda _, said=said: iter([said])  # type: ignore[misc]
            received = raw(door.port, head(b"Connection: close", request=f"GET {path} HTTP/1.1".encode()))
            top = received.partition(b"\r\n\r\n")[0].lower()
            assert statuses(received) in ([200], [502]), received
            assert top.count(b"content-length") + top.count(b"transfer-encoding") <= 1, received
            if path.startswith("/clients"):
                assert CLEAR.encode() not in received
            del upstream.replies[path]


# -- S14 redirects, SSRF, upgrades --------------------------------------------------------------------------


@pytest.fixture
def elsewhere() -> Iterator[Recorder]:
    """A server that nobody has any business with."""
    with recording() as recorder:
        yield recorder


@pytest.mark.parametrize("status", [300, 301, 302, 303, 305, 307, 308])
def test_s14_redirects_are_not_followed(
    door: Gateway, upstream: Recorder, elsewhere: Recorder, status: int
) -> None:
    away = f"http://127.0.0.1:{elsewhere.port}/?mobile={CLEAR}"
    upstream.replies["/clients/away"] = lambda _: answer(
        status, CLEAR, Location=away, Refresh=f"0; url={away}"
    )
    upstream.replies["/public/away"] = lambda _: answer(status, "", Location="/public/there")
    before = len(upstream.seen)
    governed = get(door, "/clients/away")
    assert (governed.status, governed.problem) == (502, "upstream-refused")
    assert not {"location", "refresh", "link"} & set(governed.headers)
    assert CLEAR.encode() not in governed.body
    passed = get(
        door, "/public/away"
    )  # a route that holds no client data: its answer is the caller's to follow
    assert (passed.status, passed.headers["location"]) == (status, "/public/there")
    assert upstream.lines(before) == ["GET /clients/away", "GET /public/away"]
    assert elsewhere.connections == 0


def test_s14_a_redirect_of_who_asks_is_not_followed(
    upstream: Recorder, elsewhere: Recorder, own_folder: Path
) -> None:
    elsewhere.say("/me", CLAIMS)
    upstream.replies["/me"] = lambda _: answer(302, Location=f"http://127.0.0.1:{elsewhere.port}/me")
    made = make_gateway(own_folder, upstream.port, policy=POLICY, identity=WHOAMI).start()
    try:
        refused = ask(made.port, "GET", "/clients/42", token="whatever")
        assert (refused.status, refused.problem) == (502, "upstream-unavailable")
        assert elsewhere.connections == 0
    finally:
        made.stop()
        del upstream.replies["/me"]


def test_s14_host_and_target_do_not_choose_where_a_request_goes(
    door: Gateway, upstream: Recorder, elsewhere: Recorder
) -> None:
    away = f"127.0.0.1:{elsewhere.port}".encode()
    before = len(upstream.seen)
    for request, host in (
        (b"GET /public/x HTTP/1.1", away),
        (b"GET http://" + away + b"/public/x HTTP/1.1", away),
        (b"GET //" + away + b"/public/x HTTP/1.1", b"crm.test"),
        (b"GET @" + away + b"/public/x HTTP/1.1", b"crm.test"),
        (b"GET /public/@" + away + b" HTTP/1.1", b"crm.test"),
        (b"CONNECT " + away + b" HTTP/1.1", away),
    ):
        raw(door.port, head(b"Connection: close", request=request, host=host), wait=2)
    assert elsewhere.connections == 0
    arrived = upstream.seen[before:]
    assert arrived
    assert {tuple(seen.values("host")) for seen in arrived} == {(f"127.0.0.1:{upstream.port}",)}


def test_s14_no_proxy_of_the_environment_is_used(
    upstream: Recorder, elsewhere: Recorder, own_folder: Path
) -> None:
    made = make_gateway(own_folder, upstream.port, policy=POLICY, identity=DEMO)
    away = f"http://127.0.0.1:{elsewhere.port}"
    made.env = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY"), away) | {"no_proxy": ""}
    made.start()
    try:
        assert get(made).status == 200
        assert elsewhere.connections == 0
    finally:
        made.stop()


UPGRADES = [
    [b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
     b"Sec-WebSocket-Version: 13"],
    [b"Connection: upgrade", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__"],
    [b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__"],
    [b"Connection: keep-alive, Upgrade", b"Upgrade: TLS/1.0"],
    [b"Upgrade: websocket"],
    [b"Upgrade: h2c"],
    [b"HTTP2-Settings: AAMAAABkAAQAAP__"],
]  # fmt: skip


@pytest.mark.parametrize("path", [b"/clients/42", b"/public/x"])
@pytest.mark.parametrize("lines", UPGRADES)
def test_s14_no_connection_changes_its_protocol(
    door: Gateway, upstream: Recorder, lines: list[bytes], path: bytes
) -> None:
    before = len(upstream.seen)
    received = raw(door.port, head(*lines, request=b"GET " + path + b" HTTP/1.1") + SMUGGLED, wait=2)
    assert statuses(received) == [400], received
    assert settled(upstream, before) == []


def test_s14_a_connection_option_alone_upgrades_nothing(door: Gateway, upstream: Recorder) -> None:
    before = len(upstream.seen)
    received = raw(door.port, head(b"Connection: upgrade, close"), wait=2)
    assert statuses(received) == [200]
    assert [seen.values("upgrade") + seen.values("connection") for seen in upstream.seen[before:]] == [[]]


@pytest.mark.parametrize("path", ["/clients/65", "/public/switch"])
def test_s14_an_upstream_that_switches_protocols_is_not_followed(
    door: Gateway, upstream: Recorder, path: str
) -> None:
    for said in (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        + CLEAR.encode(),
        b"HTTP/1.1 103 Early Hints\r\nLink: <"
        + CLEAR.encode()
        + b">\r\n\r\n"
        + as_json({"client": client(65)}),
    ):
        upstream.replies[path] = lambda _, said=said: iter([said])  # type: ignore[misc]
        received = get(door, path)
        assert CLEAR.encode() not in received.body
        assert CLEAR not in str(received.headers)
        if b" 101 " in said[:20]:
            assert (received.status, received.problem) == (502, "upstream-unavailable")
    del upstream.replies[path]


def test_s14_many_at_once_stay_apart(door: Gateway, upstream: Recorder) -> None:
    """Connections to the upstream are shared: no answer may go to another caller."""

    def one(number: int) -> None:
        token, branch = (STAFF, "north") if number % 2 else (OTHER, "south")
        got = ask(door.port, "GET", f"/clients/{number}", token=token)
        if branch == "north":
            assert got.json()["client"]["id"] == str(number)
        else:
            assert got.status == 404

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(one, range(200)))
