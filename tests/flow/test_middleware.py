"""The middleware around an app, and the library door: what holds whatever stands behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import pytest
from msgspec.structs import replace

from privguard.asgi import PrivacyMiddleware
from privguard.asgi.messages import ASGIApp, Message, Receive, Scope, Send
from privguard.errors import AccessDeniedError, AuditUnavailableError, ConfigError
from privguard.guard import AsyncGuard, Door, Guard, GuardCore, Limits
from privguard.model import Outcome, Principal, View
from privguard.testing import MemoryLog, guard_core
from tests.flow.asgi_caller import call, canned

POLICY = """
privguard: 1
levels: [public, C2]
defaults: {purpose: service}
classes:
  name: {level: C2, mask: cjk_name}
  contact: {level: C2, mask: cn_mobile_3_4}
resources:
  client:
    match: ["GET /clients", "GET /clients/{id}", "PUT /clients/{id}", "PATCH /clients/{id}"]
    records: ["$.items[*]", "$.client"]
    id: id
    unknown_params: drop
    params: {page: paging}
    envelope: {next: paging_url, page: public}
    fields: {id: public, name: name, mobile: contact}
relations:
  near: subject.branch == record.branch
rules:
  - {id: read, roles: [rm], relation: near, purpose: [service], show: {clear: [name], masked: [contact]}}
  - {id: all, roles: [boss], purpose: [service], show: {clear: [name, contact]}}
passthrough: ["GET /open"]
"""
RECORD = {"id": 1, "name": "张伟民", "mobile": "13800138000", "branch": "north"}
ONE = json.dumps({"client": RECORD}).encode()


class Actor:
    def __init__(self, *roles: str) -> None:
        self.roles = frozenset(roles)

    async def identify(self, target: object, headers: object, body: bytes) -> Principal:
        return Principal(id="rm1", roles=self.roles, branch="north")


def guarded(
    app: ASGIApp, *roles: str, held: int = 1_048_576
) -> tuple[PrivacyMiddleware, MemoryLog, GuardCore]:
    core, log = guard_core(POLICY)
    core.door = Door(identity=Actor(*(roles or ("rm",))), limits=Limits(answer=held))
    return PrivacyMiddleware(app, Guard(core)), log, core


class Recorder:
    """An app that answers with the record and remembers what reached it."""

    def __init__(self, record: dict[str, Any] = RECORD) -> None:
        self.seen: list[tuple[str, bytes]] = []
        self.record = record

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.seen.append((scope["method"], scope["query_string"]))
        await canned(json.dumps({"client": self.record}).encode())(scope, receive, send)


def test_a_record_leaves_masked_and_on_record() -> None:
    app, log, _ = guarded(canned(ONE))
    answer = call(app, "GET", "/clients/1")
    assert json.loads(answer.body) == {"client": {"id": 1, "name": "张伟民", "mobile": "138****8000"}}
    [event] = log.events
    assert event.outcome is Outcome.PERMITTED
    shown = {f.path: f.view for f in event.disclosures[0].fields}
    assert shown == {"id": View.CLEAR, "name": View.CLEAR, "mobile": View.MASKED}
    assert answer.headers["cache-control"] == "no-store"
    assert "index=0" in answer.headers["privguard-receipt"]
    assert "mobile;view=masked;mask=cn_mobile_3_4" in answer.headers["privguard-fields"]


def test_nothing_leaves_when_the_log_is_not_available() -> None:
    app, log, _ = guarded(canned(ONE))
    log.failing = True
    answer = call(app, "GET", "/clients/1")
    assert answer.status == 503
    assert json.loads(answer.body)["type"] == "urn:privguard:problem:audit-unavailable"
    assert b"138" not in answer.body


def test_a_put_that_would_erase_what_is_not_seen_reaches_nothing() -> None:
    behind = Recorder()
    app, _, _ = guarded(behind)
    json_type = (("content-type", "application/json"),)
    answer = call(app, "PUT", "/clients/1", headers=json_type, body=b'{"name": "\xe5\xbc\xa0\xe4\xb8\x89"}')
    assert (answer.status, json.loads(answer.body)["paths"]) == (409, ["mobile"])
    assert [method for method, _ in behind.seen] == ["GET"]


def test_a_put_by_one_who_sees_all_is_still_refused_where_the_record_has_more() -> None:
    behind = Recorder()  # branch is not classified: nobody sees it
    app, _, _ = guarded(behind, "boss")
    answer = call(
        app, "PUT", "/clients/1", headers=(("content-type", "application/json"),), body=b'{"name": "x"}'
    )
    assert answer.status == 409
    whole = Recorder({"id": 1, "name": "a", "mobile": "13800138000"})
    app, _, _ = guarded(whole, "boss")
    answer = call(
        app, "PUT", "/clients/1", headers=(("content-type", "application/json"),), body=b'{"name": "x"}'
    )
    assert answer.status == 200
    assert [method for method, _ in whole.seen] == ["GET", "PUT"]


def test_a_write_is_on_record_before_it_is_sent_and_after() -> None:
    app, log, _ = guarded(Recorder())
    body = json.dumps({"name": "李四"}).encode()
    answer = call(app, "PATCH", "/clients/1", headers=(("content-type", "application/json"),), body=body)
    assert answer.status == 200
    intent, outcome = log.events
    assert (intent.outcome, outcome.outcome) == (Outcome.INTENT, Outcome.PERMITTED)
    assert outcome.intent == 0
    assert [s.id for d in intent.disclosures for s in d.subjects] == ["1"]
    assert all(not d.fields for d in intent.disclosures)


def test_parameters_that_the_policy_drops_do_not_go_on() -> None:
    behind = Recorder()
    app, _, _ = guarded(behind)
    assert call(app, "GET", "/clients/1", "page=2&mobile_like=138%25&x=1").status == 200
    assert behind.seen == [("GET", b"page=2")]


def test_an_app_that_raises_with_a_value_tells_nothing() -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("13800138000 is not a valid choice")

    app, log, _ = guarded(broken)
    answer = call(app, "GET", "/clients/1")
    assert answer.status == 502
    assert b"138" not in answer.body
    assert log.events[-1].outcome is Outcome.ABORTED


@pytest.mark.parametrize(
    "message",
    [
        {"type": "http.response.pathsend", "path": "/etc/hosts"},
        {"type": "http.response.trailers", "headers": [(b"x", b"13800138000")]},
        {"type": "http.response.zerocopysend", "file": 0},
        {"type": "http.response.start", "status": 200, "headers": []},
    ],
)
def test_message_types_that_would_pass_the_mask_are_refused(message: Message) -> None:
    async def sneaky(scope: Scope, receive: Receive, send: Send) -> None:
        assert not scope["extensions"]
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", b"application/json")],
            }
        )
        with contextlib.suppress(Exception):
            await send(message)
        await send({"type": "http.response.body", "body": ONE})

    app, _, _ = guarded(sneaky)
    answer = call(app, "GET", "/clients/1")
    assert answer.status == 502
    assert b"138" not in answer.body


@pytest.mark.parametrize("piece", [1, 7, 10_000])
def test_an_answer_too_large_to_hold_leaves_in_parts_each_on_record_first(piece: int) -> None:
    rows = [{**RECORD, "id": n, "branch": "north" if n % 2 else "south"} for n in range(1, 1001)]
    body = json.dumps({"items": rows, "page": 1}).encode()

    async def large(scope: Scope, receive: Receive, send: Send) -> None:
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", b"application/json")],
            }
        )
        step = max(piece, len(body) // 2000)
        for at in range(0, len(body), step):
            await send({"type": "http.response.body", "body": body[at : at + step], "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    app, log, _ = guarded(large, held=4096)
    answer = call(app, "GET", "/clients")
    told = json.loads(answer.body)
    assert [row["id"] for row in told["items"]] == list(range(1, 1001, 2))
    assert {row["mobile"] for row in told["items"]} == {"138****8000"}
    assert told["page"] == 1
    on_record = [s.id for e in log.events for d in e.disclosures for s in d.subjects]
    assert sorted(map(int, on_record)) == list(range(1, 1001, 2))
    assert [event.part for event in log.events] == list(range(1, len(log.events) + 1))
    assert len({event.event_id for event in log.events}) == len(log.events)


def test_a_stream_that_breaks_in_the_middle_has_no_clean_end_and_is_on_record() -> None:
    head = json.dumps({"items": [{**RECORD, "id": n} for n in range(1, 3000)]}).encode()[:-2]

    async def breaking(scope: Scope, receive: Receive, send: Send) -> None:
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", b"application/json")],
            }
        )
        await send({"type": "http.response.body", "body": head + b", {broken", "more_body": True})
        await send({"type": "http.response.body", "body": b"]}"})

    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    app, log, _ = guarded(breaking, held=4096)
    scope = {
        "type": "http", "method": "GET", "path": "/clients", "raw_path": b"/clients", "query_string": b"",
        "headers": [(b"host", b"x")], "scheme": "http", "http_version": "1.1",
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    assert messages[0]["status"] == 200
    assert all(message.get("more_body") for message in messages[1:])
    assert log.events[-1].outcome is Outcome.ABORTED


def test_websockets_are_closed_and_lifespan_goes_through() -> None:
    kinds: list[str] = []

    async def behind(scope: Scope, receive: Receive, send: Send) -> None:
        kinds.append(scope["type"])

    app, _, _ = guarded(behind)
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {}

    asyncio.run(app({"type": "websocket", "path": "/clients/1"}, receive, send))
    asyncio.run(app({"type": "lifespan"}, receive, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]
    assert kinds == ["lifespan"]


def test_a_guard_that_knows_nobody_is_not_put_before_an_app() -> None:
    core, _ = guard_core(POLICY)
    with pytest.raises(ConfigError):
        PrivacyMiddleware(canned(ONE), Guard(core))


def test_the_library_door_masks_records_and_refuses_like_the_http_doors() -> None:
    core, log = guard_core(POLICY)
    rm = Principal(id="rm1", roles=frozenset({"rm"}), branch="north")
    view = Guard(core).disclose(rm, resource="client", record=RECORD, purpose="service")
    assert view == {"id": 1, "name": "张伟民", "mobile": "138****8000"}
    again = asyncio.run(AsyncGuard(core).disclose(rm, resource="client", record=RECORD, purpose="service"))
    assert again == view
    with pytest.raises(AccessDeniedError):
        Guard(core).disclose(rm, resource="client", record={**RECORD, "branch": "south"}, purpose="service")
    assert [event.outcome for event in log.events] == [Outcome.PERMITTED, Outcome.PERMITTED, Outcome.DENIED]
    assert log.events[0].action == "library:client:read"
    log.failing = True
    with pytest.raises(AuditUnavailableError):
        Guard(core).disclose(rm, resource="client", record=RECORD, purpose="service")


def test_without_a_policy_everything_is_refused_and_on_record() -> None:
    app, log, core = guarded(canned(ONE))
    core.use(None)
    answer = call(app, "GET", "/clients/1")
    assert answer.status == 503
    assert json.loads(answer.body)["type"] == "urn:privguard:problem:policy-unavailable"
    assert [event.action for event in log.events] == ["privguard:policy:withdraw", "middleware:-:read"]


def test_s11_the_app_behind_does_not_act_by_credentials_that_were_not_judged() -> None:
    seen: list[dict[bytes, bytes]] = []

    async def behind(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(dict(scope["headers"]))
        await canned(ONE)(scope, receive, send)

    app, _, core = guarded(behind)
    app.door = Door(identity=Actor("rm"), credentials=frozenset({b"authorization"}))
    sent = (("cookie", "session=rm"), ("authorization", "Bearer administrator"))
    assert call(app, "GET", "/clients/1", headers=sent).status == 200
    assert call(app, "GET", "/open", headers=sent).status == 200
    assert b"authorization" not in seen[0]
    assert seen[0][b"cookie"] == b"session=rm"
    assert b"authorization" in seen[1]  # a route that is passed through is the app's own affair
    assert core.counts


@pytest.mark.parametrize(("target", "shared"), [("/clients/1", ("private.surname",)), ("/clients", ())])
def test_what_is_shared_in_private_is_asked_of_records_that_are_opened(
    target: str, shared: tuple[str, ...]
) -> None:
    class Zhang(Actor):
        async def identify(self, target: object, headers: object, body: bytes) -> Principal:
            known = await super().identify(target, headers, body)
            return replace(known, private=lambda kind, value: (kind, value) == ("surname", RECORD["name"]))

    mapped = POLICY + "anomaly: {private: {client: {surname: name, address: street}}}\n"
    core, log = guard_core(mapped)
    core.door = Door(identity=Zhang("rm"))
    body = json.dumps({"items": [RECORD]}) if target == "/clients" else json.dumps({"client": RECORD})
    answer = call(PrivacyMiddleware(canned(body.encode()), Guard(core)), "GET", target)
    assert answer.status == 200
    [event] = log.events
    assert event.disclosures[0].relations == ("near", *shared)
