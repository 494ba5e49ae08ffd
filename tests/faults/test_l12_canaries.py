"""L12: canaries of client data, put wherever they can come in, are nowhere that privguard writes or says.

Each canary is a word of its own, so that a find says where it came in. Looked for in: the database file, its
write-ahead log, what the process prints, metrics, readiness, problem documents, arguments, environment and
names of files; as they are, and as JSON, percent, base64 or hexadecimal would write them.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.door import REPO, WHOAMI, Answer, Gateway, ask, free_port, make_gateway, raw, start
from tests.faults.test_l09_store import hanging
from tests.recorder import DEMO, POLICY, STAFF, Recorder, answer, as_json, recording

PERMIT = ("name-of-a-client",)
"""Canaries that stand in a field this actor may see: they may come back, in an answer."""
NAMES = ("key like a name", "parameter like a name")
"""Plain identifiers may come back in the problem that refuses them, for whoever wrote them."""


class Cage:
    """Makes canaries and looks for them."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    def __call__(self, where: str) -> str:
        """The canary of this place: seven letters and digits that nothing else holds."""
        return self.known.setdefault(where, f"Kanarie{len(self.known):03d}zX{sum(where.encode()) % 9973:04d}")

    def wide(self, where: str) -> str:
        """One that is no ASCII."""
        return self.known.setdefault(where, f"金丝雀{len(self.known):03d}号")

    def found_in(self, content: bytes, besides: tuple[str, ...] = ()) -> list[str]:
        """Where the canaries came in that this content holds, in whatever spelling."""
        low = content.lower()
        return [
            where
            for where, canary in self.known.items()
            if where not in besides and any(form in low for form in spellings(canary))
        ]


def spellings(canary: str) -> set[bytes]:
    """How a value may be written, all in lower case."""
    plain = canary.encode()
    forms = {plain, canary.encode("utf-16-le"), canary.encode("utf-16-be"), plain.hex().encode()}
    forms |= {json.dumps(canary)[1:-1].encode(), quote(canary).encode(), repr(plain)[2:-1].encode()}
    for shift in range(3):  # what of base64 does not depend on its neighbours
        coded = base64.b64encode(bytes(shift) + plain)
        forms.add(coded[4 : 4 * ((len(plain) + shift) // 3)])
    return {form.lower() for form in forms}


@pytest.fixture
def cage() -> Cage:
    return Cage()


def opened(process: Path) -> list[str]:
    """What a process has open; a connection may close while it is looked at."""
    names = []
    for file in (process / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            names.append(str(file.readlink()))
    return names


def assert_said_nowhere(door: Gateway, cage: Cage, *, entries: int) -> None:
    """Looks at everything that the gateway, still running, has written or says."""
    assert door.running is not None
    process = Path(f"/proc/{door.running.process.pid}")
    content = {file.name: file.read_bytes() for file in door.folder.iterdir() if file.is_file()}
    assert len(content["privguard.db-wal"]) > 4096, "it is looked at while it holds the entries"
    content |= {
        path: ask(door.port, "GET", path).body for path in ("/_privguard/metrics", "/_privguard/readyz")
    }
    content |= {name: (process / name).read_bytes() for name in ("cmdline", "environ", "comm")}
    content["names of files"] = "\n".join(str(file) for file in door.folder.rglob("*")).encode()
    content["open files"] = "\n".join(opened(process)).encode()
    leaves = door.leaves()
    content["leaves"] = json.dumps(leaves, ensure_ascii=False).encode()
    for name, said in content.items():
        assert cage.found_in(said) == [], name
    assert "Traceback" not in door.output
    assert len(leaves) >= entries, "hardly anything was recorded"
    assert b"GET /clients/{id}" in content["privguard.db-wal"] + content["privguard.db"], (
        "would not find anything"
    )


def assert_tells_nothing(cage: Cage, given: Answer, how: str) -> None:
    """A problem document tells none; an answer at most those that its reader may see."""
    besides = NAMES if given.problem else PERMIT
    headers = "\n".join(f"{name}: {value}" for name, value in given.headers.items())
    assert cage.found_in(given.body + headers.encode("utf-8", "surrogateescape"), besides) == [], how


def record(cage: Cage, **more: Any) -> dict[str, Any]:
    """A client full of canaries; only its name may be seen, and its mobile is masked."""
    values = {
        "id": "1", "name": cage("name-of-a-client"), "mobile": cage("a mobile"), "branch": "north",
        "notes": cage("a field nobody classified"), cage("a key"): 1, "more": [{cage("a nested key"): None}],
        "address": {"city": cage.wide("a city")},
    }  # fmt: skip
    return {"client": {**values, **more}, "about": cage("beside the record")}


@pytest.fixture
def upstream() -> Iterator[Recorder]:
    with recording() as recorder:
        yield recorder


def test_l12_canaries_in_requests(upstream: Recorder, cage: Cage, own_folder: Path) -> None:
    upstream.default = lambda seen: as_json({} if seen.path.startswith("/public") else record(cage))
    door = make_gateway(own_folder, upstream.port, policy=POLICY, identity=DEMO)
    door.env["PRIVGUARD_AUDIT__DEADLINE_MS"] = "400"
    door.start()
    try:
        asked = 0
        for how, given in requests(door, cage):
            asked += 1
            assert_tells_nothing(cage, given, how)
            assert given.status in (200, 400, 401, 403, 404, 405, 409, 502), (how, given)
        for garbage in garbled(cage):
            assert cage.found_in(raw(door.port, garbage, wait=0.5)) == []
        with hanging(door):
            for how, given in requests(door, cage):
                assert_tells_nothing(cage, given, how)
                assert given.status == 503 or "/public" in how, (how, given)
                if given.status == 503 and how.startswith("header"):
                    break  # one of each kind is enough: each waits for the deadline
        assert_said_nowhere(door, cage, entries=asked // 2)
    finally:
        door.stop()


def requests(door: Gateway, cage: Cage) -> Iterator[tuple[str, Answer]]:
    def say(how: str, method: str, target: str, token: str | None = STAFF, **more: Any) -> tuple[str, Answer]:
        return how, ask(door.port, method, target, token=token, **more)

    one = "/clients/1"
    yield say("a record", "GET", one)
    yield say("path: a client", "GET", f"/clients/{cage('id in the path')}")
    yield say("path: wide", "GET", f"/clients/{quote(cage.wide('wide id in the path'))}")
    yield say("path: unknown route", "GET", f"/{cage('first segment')}/{cage('second segment')}")
    yield say("path: ambiguous", "GET", f"//{cage('ambiguous path')}/..;/x")
    yield say("path: not UTF-8", "GET", f"/clients/%ff{cage('path that is no UTF-8')}")
    yield say("path /public", "GET", f"/public/{cage('passthrough path')}?{cage('passthrough query')}")
    yield say("query: value", "GET", f"{one}?mobile={cage('value of a parameter')}")
    yield say("query: number", "GET", f"{one}?page=19900000001")
    yield say("query: name", "GET", f"{one}?9-{cage('name of a parameter')}=1")
    yield say("query: page", "GET", f"/clients?page={cage('page')}&size={quote(cage.wide('size'))}")
    yield say("query: a name", "GET", f"{one}?{cage('parameter like a name')}=1")
    yield say("query: bad escape", "GET", f"{one}?a=%zz{cage('bad escape')}")
    yield say("query: bare", "GET", f"{one}?{cage('bare').lower()}9!")
    yield say("token", "GET", one, token=cage("a token nobody has"))
    yield say("token: none", "GET", one, token=None, headers={"Cookie": f"s={cage('a cookie')}"})
    for name, value in {
        "Privguard-Reason": f'"{cage("a reason")}"',
        "Privguard-Ticket": f'"{cage("a ticket")}"',
        "Privguard-Purpose": cage("a purpose"),
        "Privguard-Reveal": cage("a reveal"),
        "Privguard-Grant": cage("a grant"),
        "Privguard-Break-Glass": cage("break glass"),
        "privguard-unknown": cage("unknown header"),
        "Privguard_Reason": cage("another spelling"),
        "User-Agent": cage("an agent"),
        "Referer": f"https://crm.test/clients/{cage('a referer')}",
        "X-Forwarded-For": cage("an address"),
        "Accept": cage("accept"),
        "If-None-Match": f'"{cage("an etag")}"',
        f"X-{cage('name of a header')}": "1",
        "Connection": f"close, {cage('a connection option')}",
        "Content-Type": f"text/{cage('a media type')}",
        "Content-Encoding": cage("a coding"),
        "Expect": cage("an expectation"),
        "X-HTTP-Method-Override": cage("a method override"),
    }.items():
        yield say(f"header {name}", "GET", one, headers={name: value})
    yield say("method", cage("a method").upper(), one)
    bodies = {
        "application/json": {
            "value": json.dumps(
                {"mobile": cage("value of a write"), "name": cage.wide("wide value of a write")}
            ),
            "key": json.dumps({f"1 {cage('key of a write')}": 1}),
            "name": json.dumps({cage("key like a name"): 1}),
            "deep": json.dumps({"more": {"a": [{f"{cage('deep key')}@x": cage("deep value")}]}}),
            "list": json.dumps([cage("a list")]),
            "broken": '{"mobile": "' + cage("broken JSON"),
            "twice": f'{{"mobile": "{cage("first of two")}", "mobile": "{cage("second of two")}"}}',
            "number": f'{{"mobile": 1{"0" * 400}, "x": "{cage("beside a number")}"}}',
        },
        "application/x-www-form-urlencoded": {"form": f"mobile={cage('form value')}&7{cage('form key')}=1"},
        "multipart/form-data; boundary=b": {
            "file": f'--b\r\nContent-Disposition: form-data; name="{cage("part name")}"; '
            f'filename="{cage("file name")}"\r\n\r\n{cage("file content")}\r\n--b--\r\n'
        },
        "application/json-patch+json": {"patch": json.dumps([{"op": "add", "path": f"/{cage('pointer')}"}])},
        "text/plain": {"text": cage("plain text")},
        f"x/{cage('type of a write')}": {"odd": cage("odd body")},
    }
    for media, ways in bodies.items():
        for how, body in ways.items():
            yield say(f"write: {how}", "PATCH", one, body=body.encode(), headers={"Content-Type": media})
            yield say(
                f"write elsewhere: {how}",
                "POST",
                "/nowhere",
                body=body.encode(),
                headers={"Content-Type": media},
            )
    yield say("read with a body", "GET", one, body=cage("body of a read"))
    yield say("too large", "PATCH", one, body=cage("large body").encode() * 90_000, headers={
        "Content-Type": "application/json"})  # fmt: skip


def garbled(cage: Cage) -> Iterator[bytes]:
    yield f"{cage('garbage')}\r\n\r\n".encode()
    yield f"GET /clients/{cage('path of a bad request')} HTTP/1.1\r\n\r\n".encode()
    yield f"GET / HTTP/1.1\r\nHost: {cage('bad host')}@x\r\nX: {cage('beside it')}\r\n\r\n".encode()
    yield f"GET /clients/1 HTTP/{cage('version')}\r\n\r\n".encode()
    yield f"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{cage('a chunk')}\r\n".encode()
    yield f"GET {cage.wide('raw UTF-8 target')} HTTP/1.1\r\nHost: a\r\n\r\n".encode()


def replies(cage: Cage) -> Iterator[tuple[str, bytes]]:
    """Answers of an upstream, each with canaries where a careless proxy would say them again."""
    full = record(cage)
    yield "whole", as_json(full)
    yield "list", as_json({"items": [full["client"]] * 3})
    yield (
        "headers",
        as_json(
            full,
            ETag=f'"{cage("etag")}"',
            Location=f"/x/{cage('location')}",
            Set_Cookie=f"a={cage('set-cookie')}",
            Link=f"<{cage('link')}>",
            X_Client=cage("header"),
            Server=cage("server"),
            Warning=cage("warning"),
            Content_Disposition=f"attachment; filename={cage('attachment')}",
        ),
    )
    yield "reason phrase", as_json(full).replace(b"200 X", f"200 {cage('reason phrase')}".encode(), 1)
    for status in (400, 401, 403, 404, 409, 410, 418, 422, 429, 500, 503, 302, 206, 226, 299):
        yield f"status {status}", as_json({"detail": cage("an error body")}, status)
    for status in (600, 999, 199):
        yield f"odd status {status}", as_json({"detail": cage("an error body")}, status)
    yield "broken JSON", answer(200, '{"client": {"name": "' + cage("cut short"))
    yield (
        "two keys",
        answer(200, f'{{"client": {{"id": 1, "name": "{cage("one")}", "name": "{cage("two")}"}}}}'),
    )
    yield "no JSON", answer(200, cage("no JSON at all"))
    yield (
        "wrong types",
        as_json({"client": {"id": {cage("id as an object"): 1}, "branch": [cage("branch list")]}}),
    )
    yield "records of another shape", as_json({"items": {cage("items as an object"): [cage("x")]}})
    yield "condition fails", as_json(record(cage, branch={cage("branch as an object"): 1}))
    yield "html", answer(200, f"<b>{cage('html')}</b>", "text/html")
    yield "media", answer(200, "{}", f"application/json; {cage('parameter')}=1")
    yield "unknown media", answer(200, "{}", f"application/{cage('media type')}")
    yield "two media", as_json(full, Content_Type=f"x/{cage('second type')}")
    yield "latin-1", answer(200, json.dumps(full, ensure_ascii=False).encode("gb18030"), "application/json")
    yield "utf-16", answer(200, json.dumps(full).encode("utf-16"), "application/json")
    yield "coding", as_json(full, Content_Encoding=cage("coding"))
    yield "not gzip", as_json(full, Content_Encoding="gzip")
    yield "gzip cut", answer(200, gzip.compress(json.dumps(full).encode())[:-9], Content_Encoding="gzip")
    yield "bad status line", f"HTTP/1.1 {cage('status line')}\r\n\r\n".encode()
    yield "bad header", f"HTTP/1.1 200 OK\r\n{cage('header without a colon')}\r\n\r\n".encode()
    yield "bad length", f"HTTP/1.1 200 OK\r\nContent-Length: {cage('length')}\r\n\r\n".encode()
    yield "bad chunk", f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{cage('chunk')}\r\n".encode()
    yield "long header", as_json(full, X_Long=cage("long header") * 3_000)
    yield "garbage", cage("garbage from upstream").encode() * 3
    yield "nothing", b""


def test_l12_canaries_in_answers(upstream: Recorder, cage: Cage, own_folder: Path) -> None:
    door = make_gateway(own_folder, upstream.port, policy=POLICY, identity=DEMO).start()
    try:
        asked = 0
        for how, said in replies(cage):
            upstream.default = lambda _, said=said: iter([said])  # type: ignore[misc]
            write: dict[str, Any] = {
                "body": '{"mobile": "19900001234"}',
                "headers": {"Content-Type": "application/json"},
            }
            none: dict[str, Any] = {}
            for method, target, more in (
                ("GET", "/clients/1", none), ("GET", "/clients", none), ("HEAD", "/clients/1", none),
                ("PATCH", "/clients/1", write),
            ):  # fmt: skip
                given = ask(door.port, method, target, token=STAFF, **more)
                assert_tells_nothing(cage, given, f"{how}: {method}")
                assert given.status != 500 or how == "status 500", (how, given)
                asked += 1
        csv = f"id,name,mobile,branch,{cage('column')}\r\n1,{cage('name-of-a-client')},{cage('csv')},north,"
        for rest in (cage("csv cell"), f'"{cage("unclosed quote")}', f"{cage('many')},{cage('cells')}"):
            upstream.default = lambda _, rest=rest: answer(200, csv + rest + "\r\n", "text/csv")  # type: ignore[misc]
            assert cage.found_in(raw(door.port, get("/clients.csv")), PERMIT) == []
        assert_said_nowhere(door, cage, entries=asked)
    finally:
        door.stop()


def test_l12_canaries_of_who_asks(upstream: Recorder, cage: Cage, own_folder: Path) -> None:
    """What the CRM says of its staff: its id and roles are the log's to hold, nothing else is."""
    claims: dict[str, Any] = {
        "id": "e-17",
        "roles": ["staff"],
        "branch": "north",
        "client_id": cage("own client id"),
    }
    claims |= {"name": cage("name of staff"), "training": {cage("course"): cage("date")}, cage("claim"): 1}
    answers: dict[str, bytes] = {
        "good": as_json(claims),
        "id no text": as_json({**claims, "id": {cage("id object"): 1}}),
        "id too long": as_json({**claims, "id": cage("long id") * 500}),
        "id with a control": as_json({**claims, "id": cage("id with a control") + "\n"}),
        "no id": as_json({"user": cage("no id")}),
        "roles no list": as_json({**claims, "roles": {cage("roles object"): 1}}),
        "roles nested": as_json({**claims, "roles": [[cage("nested role")]]}),
        "branch list": as_json({**claims, "branch": [cage("branch of staff")]}),
        "broken": answer(200, '{"id": "' + cage("broken claims")),
        "a list": as_json([cage("a list of claims")]),
        "html": answer(200, cage("html claims"), "text/html"),
        "401": as_json({"detail": cage("unauthorised")}, 401),
        "500": as_json({"detail": cage("server error")}, 500),
        "302": answer(302, Location=f"/{cage('redirect of claims')}"),
        "garbage": cage("claims garbage").encode(),
    }
    upstream.default = lambda _: as_json(record(cage))
    door = make_gateway(own_folder, upstream.port, policy=POLICY, identity=WHOAMI).start()
    try:
        for how, said in answers.items():
            upstream.replies["/me"] = lambda _, said=said: iter([said])  # type: ignore[misc]
            token = cage(f"token {how}")
            given = ask(
                door.port,
                "GET",
                "/clients/1",
                token=token,
                headers={"Cookie": f"crm_session={cage('session')}"},
            )
            assert_tells_nothing(cage, given, how)
            assert (given.status == 200) is (how in ("good", "branch list")) or given.status in (401, 404), (
                how,
                given,
            )
        assert_said_nowhere(door, cage, entries=len(answers))
    finally:
        door.stop()


RAISES = (
    "at-once", "chained", "group", "after-the-head", "in-the-body", "after-the-end", "wrong-message",
    "wrong-head", "wrong-headers", "wrong-body", "no-answer",
)  # fmt: skip


def test_l12_canaries_in_what_an_app_raises(cage: Cage, own_folder: Path) -> None:
    """The middleware's app fails with the value in its exception; the server of both prints nothing of it."""
    canary = cage("exception")
    door = make_gateway(own_folder, 1, policy=POLICY, identity=DEMO)
    port = free_port()
    arguments = [sys.executable, "-m", "tests.faults.raising_app", str(door.config), f"127.0.0.1:{port}"]
    running = start([*arguments, canary], port, door.folder / "gateway.log", env={"PYTHONPATH": str(REPO)})
    try:
        for how in RAISES:
            given = raw(port, get(f"/clients/{how}"), wait=10)
            # What left before the app failed was whole, and its reader may see the name.
            assert cage.found_in(given) == [] or how == "after-the-end", (how, given)
            assert cage.found_in(given.partition(b"\r\n\r\n")[0]) == [], (how, given)
            assert not given.startswith(b"HTTP/1.1 500"), how
            assert b"Traceback" not in raw(port, get(f"/public/{how}"), wait=10)
        assert cage.found_in(raw(port, get("/clients.csv"))) == []
        assert ask(port, "GET", "/clients/well", token=STAFF).status == 200
        for file in (file for file in door.folder.iterdir() if file.is_file()):
            assert cage.found_in(file.read_bytes()) == [], (file.name, door.output[-3000:])
        assert "Traceback" not in door.output
        assert len(door.leaves()) > len(RAISES)
    finally:
        running.stop()
    assert door.verify()


def get(target: str) -> bytes:
    lines = [f"GET {target} HTTP/1.1", "Host: a", "Connection: close", f"Authorization: Bearer {STAFF}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def test_the_search_finds_what_is_there(cage: Cage) -> None:
    plain, wide = cage("here"), cage.wide("there")
    texts = [f"{'x' * before}{plain}{after}".encode() for before in range(4) for after in "yz"]
    coded = [base64.b64encode(text).decode() for text in texts]
    for written in (
        plain.upper(),
        f".{plain}.",
        quote(plain),
        plain.encode().hex(),
        json.dumps({plain: 1}),
        *coded,
    ):
        assert cage.found_in(written.encode()) == ["here"], written
    for written in (wide, json.dumps(wide), quote(wide), repr(wide.encode()), wide.encode().hex()):
        assert cage.found_in(written.encode()) == ["there"], written
    assert cage.found_in(wide.encode("utf-16")) == ["there"]
    assert cage.found_in(plain[:-1].encode()) == []
