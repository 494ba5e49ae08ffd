"""Observe mode: what the caller gets is the upstream's own answer, what is recorded is what would have been.

Two gateways stand before the same upstream, one observing, one enforcing. Each request goes three ways: to
the upstream itself, whose answer the observing one must give byte for byte; and through both, whose logs must
be the same but for the mode.
"""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import re
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.door import Gateway, Running, ask, make_gateway
from tests.recorder import DEMO, OTHER, POLICY, STAFF, Recorder, Seen, answer, as_json, client, recording

OF_THE_CONNECTION = {"date", "server", "connection", "keep-alive", "transfer-encoding"}
"""Headers that each server says for itself (RFC 9110 §7.6.1)."""


@dataclass
class Plain:
    """An answer with its headers in their order, repeated ones too."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


def plain(port: int, method: str, target: str, body: bytes | None, headers: Mapping[str, str]) -> Plain:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=8)
    try:
        connection.request(method, target, body, dict(headers))
        given = connection.getresponse()
        kept = [(n.lower(), v) for n, v in given.getheaders() if n.lower() not in OF_THE_CONNECTION]
        # Three ways are three writes, and a second may begin between them.
        return Plain(given.status, kept, re.sub(rb'("updated_at":")[^"]*', rb"\1", given.read()))
    finally:
        connection.close()


@dataclass
class Pair:
    """An observing and an enforcing gateway before one upstream."""

    observing: Gateway
    enforcing: Gateway
    upstream_port: int
    asked: int = field(default=0)

    def ask(self, method: str, target: str, body: bytes | None = None, /, **headers: str) -> Plain:
        """Goes all three ways; holds the answers, then the entries, against each other."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        before = [len(door.leaves()) for door in (self.observing, self.enforcing)]
        truth = plain(self.upstream_port, method, target, body, sent)
        given = plain(self.observing.port, method, target, body, sent)
        plain(self.enforcing.port, method, target, body, sent)
        assert given == truth
        observed = self.observing.since(before[0])
        enforced = self.enforcing.since(before[1])
        assert {leaf["mode"] for leaf in observed} <= {"observe"}
        assert [told(leaf) for leaf in observed] == [told(leaf) for leaf in enforced]
        self.observed = observed
        return given


def told(leaf: Mapping[str, Any]) -> dict[str, Any]:
    """What an entry says of an access, without its place, time and mode; clients are counted.

    How unusual it was is left out: each of the two gateways has its own past.
    """
    apart = ("id", "ts", "skew", "mode", "detail", "groups", "intent", "risk")
    kept = {k: v for k, v in leaf.items() if k not in apart}
    groups = [{**group, "subjects": len(group["subjects"])} for group in leaf.get("groups", ())]
    return {**kept, "groups": groups, "has detail": "detail" in leaf, "has intent": "intent" in leaf}


@contextmanager
def pair(folder: Path, upstream_port: int, **more: Any) -> Iterator[Pair]:
    observing = make_gateway(folder / "observing", upstream_port, mode="observe", **more)
    enforcing = make_gateway(folder / "enforcing", upstream_port, **more)
    shutil.copy(observing.folder / "keys.json", enforcing.folder / "keys.json")
    try:
        yield Pair(observing.start(), enforcing.start(), upstream_port)
    finally:
        for door in (observing, enforcing):
            door.stop()
            assert "Traceback" not in door.output
            door.verify()


CSV = "id,name,mobile,branch\r\n" + "".join(f"{n},客户{n:05d},1990{n:07d},north\r\n" for n in range(700))
VALIDATORS = {
    "ETag": '"1"', "Last_Modified": "Mon, 01 Jan 2024 00:00:00 GMT", "Cache_Control": "max-age=60",
    "Accept_Ranges": "bytes",
}  # fmt: skip
ONE = {"client": client(1), "more": 1.10}


def crm(seen: Seen) -> bytes | Iterator[bytes]:
    """Answers with headers, codings and spellings that a proxy might change."""
    parts = seen.path.strip("/").split("/")
    spaced = json.dumps(ONE, indent=3, ensure_ascii=True)
    if seen.path == "/clients.csv":
        return iter([b"HTTP/1.1 200 X\r\nContent-Type: text/csv\r\nX-A: 1\r\n\r\n", CSV.encode()])
    if seen.path == "/clients":
        items = [client(n, "north" if n % 2 else "south") for n in range(8)]
        return as_json({"items": items, "total": 8}, X_Total="8", Link='</clients?page=2>; rel="next"')
    if parts[0] != "clients":
        return as_json({"target": seen.target.decode("latin-1"), "method": seen.method}, 201, X_B="c")
    if seen.values("if-none-match") and seen.method in ("GET", "HEAD"):
        return b'HTTP/1.1 304 X\r\nETag: "1"\r\n\r\n'
    if seen.values("range") and seen.method == "GET":
        return answer(206, spaced[:9], Content_Range=f"bytes 0-8/{len(spaced)}")
    if seen.method == "HEAD":
        return answer(200, spaced).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    match parts[-1]:
        case "7":
            return answer(404, '{"detail": "no client 7"}')
        case "8":
            return answer(422, '{"detail": [{"input": "19900000008"}]}')
        case "9":
            return answer(302, Location="/clients/1", Set_Cookie="a=b")
        case "10":
            return answer(200, '{"client": {"name": "half')
        case "12":
            return answer(200, "<b>客户</b>", "text/html; charset=UTF-8", ETag='"x"')
        case "13":
            return as_json({"client": client(13, "south")})
        case "14":
            return answer(
                200, gzip.compress(spaced.encode()), Content_Encoding="gzip", Vary="Accept-Encoding"
            )
        case "15":
            return answer(200, "not gzip", Content_Encoding="gzip")
        case "16":
            return answer(204, media="")
        case "17":
            return answer(500, "Traceback: 19900000017", "text/plain")
        case "18":
            start = answer(200, "").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
            return iter([start, b"%x\r\n%b\r\n0\r\n\r\n" % (len(spaced), spaced.encode())])
        case "19":
            return as_json({"client": {**client(19), "id": None, "branch": {"a": 1}}})
    return answer(
        200, spaced, **VALIDATORS, Set_Cookie="s=1; Path=/", X_Client="客户".encode().decode("latin-1")
    )


@pytest.fixture(scope="module")
def upstream() -> Iterator[Recorder]:
    with recording() as recorder:
        recorder.default = crm
        yield recorder


@pytest.fixture(scope="module")
def doors(upstream: Recorder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with pair(tmp_path_factory.mktemp("observe"), upstream.port, policy=POLICY, identity=DEMO) as made:
        yield made


BEARER = {"Authorization": f"Bearer {STAFF}"}
JSON = {"Content_Type": "application/json"}


@pytest.mark.parametrize("number", [1, 7, 8, 9, 10, 12, 13, 14, 15, 16, 17, 18, 19])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_read(doors: Pair, number: int, method: str) -> None:
    doors.ask(method, f"/clients/{number}", **BEARER)
    (leaf,) = doors.observed
    expected = {7: "not-permitted", 13: "not-permitted", 8: "upstream-refused", 10: "unreadable-response"}
    if method == "GET" and number in expected:
        assert leaf["problem"] == expected[number]
    if number == 1:
        assert leaf["groups"][0]["fields"] == {
            "id": "clear",
            "mobile": "masked:cn_mobile_3_4",
            "name": "clear",
        }


@pytest.mark.parametrize(
    ("target", "headers", "problem"),
    [
        ("/clients", BEARER, ""),
        ("/clients?page=2", BEARER, ""),
        ("/clients.csv", BEARER, ""),
        ("/clients.csv", {"Authorization": f"Bearer {OTHER}"}, ""),
        ("/clients/1", {}, "unauthenticated"),
        ("/clients/1", {"Authorization": "Bearer nobody"}, "unauthenticated"),
        ("/clients/1?mobile=199", BEARER, "filter-not-permitted"),
        ("/clients?sort=mobile", BEARER, "filter-not-permitted"),
        ("/clients/1", {**BEARER, "Privguard_Reveal": "mobile"}, ""),
        ("/clients/1", {**BEARER, "Privguard_Reveal": "nothing"}, "not-permitted"),
        ("/clients/1", {**BEARER, "Privguard_Purpose": "holiday"}, "not-permitted"),
        ("/clients/1", {**BEARER, "Privguard_Reason": "not a string("}, "malformed-request"),
        ("/elsewhere", BEARER, "ungoverned-route"),
        ("/elsewhere?a=b", {}, "unauthenticated"),
        ("/clients/1", {**BEARER, "If_None_Match": '"1"'}, ""),
        ("/clients/1", {**BEARER, "Range": "bytes=0-8"}, ""),
        ("/clients/1", {**BEARER, "Accept_Encoding": "gzip, br"}, ""),
    ],
)  # fmt: skip
def test_reads_and_refusals(doors: Pair, target: str, headers: dict[str, str], problem: str) -> None:
    doors.ask("GET", target, **headers)
    if problem:
        assert [leaf["problem"] for leaf in doors.observed] == [problem]
        assert doors.observed[0]["outcome"] in ("denied", "challenged")
    else:
        assert doors.observed


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('{"mobile": "19900001234"}', ""),
        ('{"mobile": "199****0001"}', "masked-value-in-write"),
        ('{"branch": "south"}', "masked-value-in-write"),
        ('{"unknown": 1}', "masked-value-in-write"),
        ('{"mobile": ', "masked-value-in-write"),
        ("", ""),
    ],
)
def test_a_write_goes_on_as_it_came(doors: Pair, upstream: Recorder, body: str, problem: str) -> None:
    since = len(upstream.seen)
    doors.ask("PATCH", "/clients/1", body.encode(), **BEARER, **JSON)
    written = [seen for seen in upstream.seen[since:] if seen.method == "PATCH"]
    assert len(written) == (2 if problem else 3)  # the truth, the observed, and what was permitted
    assert {seen.body for seen in written} == {body.encode()}
    outcomes = [leaf["outcome"] for leaf in doors.observed]
    assert outcomes == (["denied"] if problem else ["intent", "permitted"])


@pytest.mark.parametrize(
    ("method", "target"), [("POST", "/nowhere"), ("PUT", "/clients/1"), ("DELETE", "/clients/1")]
)
def test_a_write_that_nobody_may_goes_on_too(
    doors: Pair, upstream: Recorder, method: str, target: str
) -> None:
    since = len(upstream.seen)
    doors.ask(method, target, b'{"a": 1}', **BEARER, **JSON)
    assert [leaf["problem"] for leaf in doors.observed] == ["ungoverned-route"]
    assert [seen.body for seen in upstream.seen[since:]] == [b'{"a": 1}'] * 2


def test_passthrough_is_not_recorded(doors: Pair) -> None:
    for method, body in (("GET", None), ("POST", b"x" * 3_000)):
        doors.ask(method, "/public/%E5%AE%A2?a=%2F", body, X_Odd="1")
        assert doors.observed == []


def test_what_cannot_be_sent_on_is_refused(doors: Pair, upstream: Recorder) -> None:
    """A target that no client library sends byte for byte: passing on another one would be worse."""
    for target in ("/public/../x", "//clients/1", "/clients/%zz"):
        given = ask(doors.observing.port, "GET", target, token=STAFF)
        if given.status != 400:
            assert upstream.seen[-1].target == target.encode()
        last = doors.observing.last()
        assert (last["problem"], last["mode"]) == ("malformed-request", "observe")


def test_an_upstream_that_is_down(own_folder: Path) -> None:
    """Nothing can be passed on: then the gateway says so itself, as it does when it enforces."""
    with contextlib.ExitStack() as stack:
        held = stack.enter_context(socket.socket())
        held.bind(("127.0.0.1", 0))  # a port that is taken, and where nobody listens
        doors = stack.enter_context(pair(own_folder, held.getsockname()[1], policy=POLICY, identity=DEMO))
        for target in ("/clients/1", "/elsewhere", "/clients.csv", "/public/x"):
            given = ask(doors.observing.port, "GET", target, token=STAFF)
            assert (given.status, given.problem) == (502, "upstream-unavailable"), target
            assert given.json()["receipt"]["index"] == len(doors.observing.leaves()) - 1
            assert doors.observing.last()["outcome"] == "aborted"


def test_a_large_answer_is_passed_on_as_it_comes(doors: Pair, upstream: Recorder) -> None:
    body = json.dumps({"items": [{**client(n), "junk": "x" * 300} for n in range(6_000)]})
    assert len(body) > 2 << 20
    upstream.replies["/clients"] = lambda _: answer(200, body)
    try:
        given = doors.ask("GET", "/clients", **BEARER)
    finally:
        del upstream.replies["/clients"]
    assert given.body == body.encode()
    assert sum(len(group["subjects"]) for leaf in doors.observed for group in leaf.get("groups", ())) == 6_000


def test_an_answer_that_breaks_off_breaks_off(doors: Pair, upstream: Recorder) -> None:
    upstream.replies["/clients/1"] = lambda _: iter(
        [b"HTTP/1.1 200 X\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"]
    )
    try:
        with pytest.raises((http.client.IncompleteRead, http.client.RemoteDisconnected)):
            plain(doors.observing.port, "GET", "/clients/1", None, BEARER)
        time.sleep(0.1)
        assert doors.observing.last()["outcome"] == "aborted"
    finally:
        del upstream.replies["/clients/1"]


@pytest.mark.parametrize("mode", ["observe", "enforce"])
def test_what_is_said_to_the_gateway_alone_goes_no_further(
    upstream: Recorder, own_folder: Path, mode: str
) -> None:
    made = make_gateway(
        own_folder, upstream.port, policy=POLICY, identity=DEMO, mode=mode, gateway="query_forms = true"
    ).start()
    try:
        since = len(upstream.seen)
        for path in ("/clients/1", "/clients", "/public/x", "/elsewhere"):
            for query in (
                "?_purpose=service",
                "?a=%2F&%5Fpurpose=service&b",
                "?_reveal=mobile&_purpose=service&page=1",
            ):
                ask(made.port, "GET", path + query, token=STAFF, headers={"Privguard-Ticket": '"x"'})
        arrived = upstream.seen[since:]
        assert {seen.path for seen in arrived} >= {"/clients/1", "/public/x"}
        assert not [seen.target for seen in arrived if b"purpose" in seen.target or b"reveal" in seen.target]
        assert b"/public/x?a=%2F&b" in [seen.target for seen in arrived]
        assert not [
            name for seen in arrived for name, _ in seen.headers if name.lower().startswith(b"privguard")
        ]
    finally:
        made.stop()


@pytest.fixture(scope="module")
def bank_doors(bank: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with pair(tmp_path_factory.mktemp("observe-bank"), bank.port) as made:
        yield made


def test_the_bank_as_its_staff_use_it(bank_doors: Pair) -> None:
    """The sample CRM with its own log-in; each answer is the CRM's own."""
    purposes = {"rm.li": "", "mgr.chen": "", "teller.wu": "", "ana.lin": "reporting", "comp.he": "audit"}
    for user, purpose in purposes.items():
        headers = {"Authorization": f"Bearer {bank_doors.observing.token(user)}"}
        headers |= {"Privguard_Purpose": purpose} if purpose else {}
        for target in (
            "/clients/1", "/clients/7", "/clients/11", "/clients/99999", "/clients?page=1&size=20",
            "/clients.csv", "/clients/1/visits", "/clients/1/complaints", "/clients/1/photo",
            "/clients/1/letter", "/search?q=1", "/report/summary", "/clients?id_no_like=1", "/me", "/health",
        ):  # fmt: skip
            bank_doors.ask("GET", target, **headers)
        bank_doors.ask("PATCH", "/clients/2", b'{"notes": "called 19900007777 back"}', **headers, **JSON)
        bank_doors.ask("POST", "/clients/2/complaints", b'{"channel": "web"}', **headers, **JSON)
    assert len(bank_doors.observing.leaves()) > 60
