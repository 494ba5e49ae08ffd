"""M07 against the running gateway: what a write may carry, how it may be spelt, and what its answer tells."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import pytest

from tests.attacks.truth import client, leaked, said, secrets
from tests.attacks.vouched import CLERK, Vouched
from tests.door import Answer, Gateway
from tests.recorder import Recorder, answer, as_json

RM = "rm.li"
OWN, VIP, FOREIGN, NOBODYS = 1, 7, 11, 99_999
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


@contextmanager
def unwritten(stand: Recorder) -> Iterator[None]:
    """Within the block the upstream is only read."""
    before = len(stand.seen)
    yield
    lines = stand.lines(before)
    assert [line for line in lines if not line.startswith(("GET ", "POST /login"))] == []


def conflict(came: Answer, *paths: str) -> None:
    """Refused for what it carries; names these places, if any are given."""
    assert (came.status, came.problem) == (409, "masked-value-in-write"), came
    assert not paths or came.json()["paths"] == sorted(paths)


def malformed(came: Answer) -> None:
    """Refused because it cannot be read in one way."""
    assert (came.status, came.problem) == (400, "malformed-request"), came


def write(door: Gateway, body: Any, *, media: str = JSON, user: str = RM, method: str = "PATCH",
to: str = "/clients/1", **more: str) -> Answer:  # fmt: skip
    data = body if isinstance(body, bytes | str) else json.dumps(body)
    headers = {**({"Content-Type": media} if media else {}), **more}
    return door.ask(user, method, to, body=data.encode() if isinstance(data, str) else data, headers=headers)


@pytest.fixture(autouse=True)
def unchanged(door: Gateway) -> Iterator[None]:
    """Whatever was tried, the client is as before."""
    kept = client(door, RM, OWN)
    yield
    now = client(door, RM, OWN)
    assert {**now, "updated_at": ""} == {**kept, "updated_at": ""}


def test_m07_every_mask_that_was_shown_is_refused_when_it_comes_back(door: Gateway, stand: Recorder) -> None:
    shown = door.get(RM, "/clients/1").json()["client"]
    with unwritten(stand):
        for field in ("mobile", "id_no", "dob", "balance", "iban"):
            conflict(write(door, {field: shown[field]}), field)
            for other in ("name", "occupation", "gender"):  # which this actor may write
                came = write(door, {other: shown[field]})
                if field not in ("dob", "balance"):  # a year or a band may be meant as it stands
                    conflict(came, other)
        conflict(write(door, {"cards": shown["cards"]}), "cards")
        conflict(write(door, {"accounts": shown["accounts"]}), "accounts")
        conflict(write(door, {"relatives": shown["relatives"]}), "relatives")
        conflict(write(door, {"name": "张**"}), "name")
        conflict(write(door, {"name": "****"}), "name")
        conflict(write(door, {"occupation": "tok_abcdef", "name": "199****0000"}), "name")
        # The whole form as it was shown, saved: named field by field, and nothing is written.
        came = write(door, shown)
        conflict(came)
        assert {"mobile", "id_no", "balance", "iban", "cards", "accounts"} <= set(came.json()["paths"])
        conflict(write(door, {"client": shown}))
        for user in ("teller.wu", "mgr.chen"):
            seen = door.get(user, "/clients/1").json()["client"]
            conflict(write(door, {"mobile": seen["mobile"]}, user=user), "mobile")


def test_m07_a_guess_is_refused_alike_whether_it_is_right_or_wrong(door: Gateway, stand: Recorder) -> None:
    truth = client(door, RM, OWN)
    wrong = {
        "mobile": "19900000000", "email": "a.b@example.cn", "id_no": "990101199001010000",
        "dob": "1970-01-01",
        "address": "x", "iban": "CN00", "notes": "x", "balance": "1.00", "risk_score": "0.1", "rm_ids": ["x"],
        "cards": [], "accounts": [],
    }  # fmt: skip
    with unwritten(stand):
        for field, guess in wrong.items():
            right = truth[field]
            for form in ({field: right}, {"client": {field: right}}):
                came = write(door, form)
                missed = write(door, {field: guess} if field in form else {"client": {field: guess}})
                assert said(came) == said(missed)
                conflict(came)
                assert not leaked(came, secrets([truth]))
        for field in ("mobile", "id_no", "email"):
            for right in (truth[field], wrong[field]):
                conflict(write(door, f"{field}={quote(right)}", media=FORM), field)
                conflict(write(door, [{"op": "replace", "path": f"/{field}", "value": right}],
                media="application/json-patch+json"), field)  # fmt: skip
                conflict(write(door, [{"op": "test", "path": f"/{field}", "value": right}],
                media="application/json-patch+json"), field)  # fmt: skip


MASS = [
    {"id": 2}, {"id": "2"}, {"id": None}, {"id": 1.0}, {"id": True}, {"id": [1]}, {"tier": "private"},
    {"branch": "xujiahui"}, {"rm_ids": ["rm.wang"]},
    {"rm_ids": None}, {"risk_score": 0}, {"created_at": "2020-01-01T00:00:00Z"},
    {"updated_at": "2020-01-01T00:00:00Z"}, {"is_admin": True}, {"role": "aml"},
    {"owner": "rm.wang"}, {"__proto__": {"tier": "private"}}, {"constructor": {"prototype": {}}}, {"_id": 2},
    {"$set": {"tier": "private"}}, {"$rename": {"mobile": "name"}},
    {"$inc": {"balance": 1}}, {"mobile.$": 1}, {"client.mobile": "1"}, {"client[mobile]": "1"},
    {"client": {"tier": "private"}}, {"items": [{"id": 2}]}, {"recent": []},
    {"data": {"attributes": {"mobile": "1"}}}, {"Mobile": "19900000000"}, {"MOBILE": "1"}, {"mobile ": "1"},
    {" mobile": "1"}, {"mobile\u0000": "1"}, {"ｍobile": "1"}, {"m\u200bobile": "1"},
    {"mobile\n": "1"}, {"": "x"}, {"19900001234": "x"},
    {"cards": [{"pan": "9" * 16, "cvv": "1", "expiry": "1", "type": "x"}]}, {"cards": None}, {"cards": {}},
    {"cards": []},
    {"cards[0]": {"pan": "1"}}, {"cards": [{"type": "debit"}]}, {"accounts": [{"balance": 1}]},
    {"accounts": "x"}, {"relatives": []}, {"relatives": None}, {"relatives": [{"id": 2}]},
    {"name": {"$copy": "mobile"}}, {"name": ["张伟民"]}, {"name": {"first": "x"}}, {"occupation": {"x": 1}},
    {"gender": ["male"]}, {"facets": 1}, {"total": 1}, {"_method": "DELETE"},
    {"mobile": None}, {"mobile": ""}, {"mobile": 0}, {"mobile": False}, {"mobile": []}, {"mobile": {}},
    {"balance": None}, {"balance": 0}, {"notes": ""}, {"name": "x", "balance": 1},
]  # fmt: skip


def test_m07_fields_that_are_not_the_actors_to_write_reach_nobody(door: Gateway, stand: Recorder) -> None:
    with unwritten(stand):
        for body in MASS:
            came = write(door, body)
            conflict(came)
            assert not [
                path for path in came.json()["paths"] if not path.isascii() or "19900001234" in path
            ], body
        for field, value in (
            ("tier", "private"),
            ("rm_ids", "rm.wang"),
            ("id", "2"),
            ("cards", "x"),
            ("is_admin", "1"),
            ("_method", "DELETE"),
        ):
            conflict(write(door, f"{field}={value}", media=FORM, method="POST"), field)


BODIES: list[tuple[str, bytes | str]] = [
    (JSON, '{"name":"x","name":"y"}'), (JSON, '{"name":"x","n\\u0061me":"y"}'),
    (JSON, '{"x":{"a":1,"a":2}}'), (JSON, '{"name":"x"}{"mobile":"1"}'), (JSON, '{"name":NaN}'),
    (JSON, '{"name":"\\ud800"}'), (JSON, b"\xef\xbb\xbf" + b'{"name":"x"}'),
    (JSON, '{"name":"x"}'.encode("utf-16")), (JSON, '{"name":"x"}'.encode("utf-16-le")),
    (JSON, '{"name":"x"}'.encode("utf-32")),
    (JSON, b'{"name":"\xff"}'), (JSON, b'{"name":"\xed\xa0\x80"}'), (JSON, '{"name":"x",}'),
    (JSON, "{'name':'x'}"), (JSON, "[" * 100_000), (JSON, '{"name":' * 50_000 + "1" + "}" * 50_000),
    (JSON, '{"name":"x"} //'),
    (JSON, "[]"), (JSON, '["name"]'), (JSON, '"name"'), (JSON, "null"), (JSON, "1"), (JSON, "name=x"),
    (JSON, '{"name":"a\nb"}'), (JSON, '{"name":"\\x41"}'), (JSON, " "), (JSON, "\0"), (JSON, '{"name":01}'),
    ("application/json; charset=utf-16", '{"name":"x"}'),
    ("application/json; charset=utf-7", '{"name":"+ACIALAAi-mobile+ACI-"}'),
    ('application/json; charset="UTF-7"', '{"name":"x"}'),
    ("application/json; charset=utf-8; charset=utf-7", '{"name":"x"}'),
    ("application/json;CHARSET = utf-7", '{"name":"x"}'),
    ("application/json; charset*=utf-7", '{"name":"x"}'),
    ("application/json; charset='utf-8'", '{"name":"x"}'),
    ("application/json; charset=cp037", '{"name":"x"}'), ("application/json; charset=gbk", '{"name":"x"}'),
    (FORM + "; charset=utf-7", "name=x"), (FORM + "; charset=utf-16", "name=x"),
    ("", '{"name":"x"}'), ("text/plain", '{"name":"x"}'), ("text/json", '{"name":"x"}'),
    ("application/xml", "<name>x</name>"), ("application/x-ndjson", '{"name":"x"}'),
    ("application/octet-stream", '{"name":"x"}'), ("application/javascript", '{"name":"x"}'),
    ("multipart/form-data; boundary=b",
    '--b\r\nContent-Disposition: form-data; name="mobile"\r\n\r\n1\r\n--b--\r\n'),
    ("multipart/mixed; boundary=b", "--b--"), ("multipart/related", '{"name":"x"}'),
    ("application/cbor", b"\xa1"), ("application/yaml", "name: x"), ("application/graphql", "mutation{x}"),
    ("application/json, text/plain", '{"name":"x"}'), ("json", '{"name":"x"}'),
    ("application/", '{"name":"x"}'), ("*/*", '{"name":"x"}'), ("application/json-seq", '\x1e{"name":"x"}'),
    ("application/json\\", '{"name":"x"}'),
    (FORM, "name=x&name=y"), (FORM, "name=x&n%61me=y"), (FORM, "name[a]=x&name=y"),
    (FORM, "name=x;mobile=1"), (FORM, "name=x&mobile"), (FORM, "name=%ff"), (FORM, "name=%zz"),
    (FORM, "name=x&=y"), (FORM, "name[=x"), (FORM, "name]=x"), (FORM, "[name]=x"),
    (FORM, "name[][]=x"), (FORM, ".name=x"), (FORM, "name..a=x"), (FORM, "name=\xe5"), (FORM, "name=x\ny"),
    (FORM, "name[]a=x"), (FORM, "&".join(f"a{n}=1" for n in range(1_001))), (FORM, "name.a=x&name[a]=y"),
    (FORM, '{"name":"x"}'), (FORM, "name=x&&mobile=1"),
    ("application/json-patch+json", "{}"),
    ("application/json-patch+json", '{"op":"replace","path":"/name","value":"x"}'),
    ("application/json-patch+json", '[{"op":"replace","path":"name","value":"x"}]'),
    ("application/json-patch+json", '[{"op":"set","path":"/name","value":"x"}]'),
    ("application/json-patch+json", '[{"op":"replace","path":"/name","value":"x","from":"/mobile"}]'),
    ("application/json-patch+json", '[{"op":"replace","path":"/name","path":"/mobile","value":"x"}]'),
    ("application/json-patch+json", '[{"op":"replace","path":"/na~2me","value":"x"}]'),
    ("application/json-patch+json", '[{"OP":"replace","path":"/name","value":"x"}]'),
    ("application/json-patch+json", '[{"op":"replace","path":"/name"}]'),
    ("application/json-patch+json", '[["replace","/name","x"]]'),
    ("application/json-patch+json", '[{"op":["replace"],"path":"/name","value":"x"}]'),
]  # fmt: skip


def test_m07_a_body_that_cannot_be_read_in_one_way_is_refused(door: Gateway, stand: Recorder) -> None:
    with unwritten(stand):
        for media, body in BODIES:
            for method in ("PATCH", "POST"):
                came = write(door, body, media=media, method=method)
                assert came.problem == "malformed-request", (media, body[:60], came)
                assert came.status == 400
        import gzip

        for coding in ("gzip", "br", "identity", "GZIP", "x-gzip, identity", ""):
            if coding in ("", "identity"):
                continue
            malformed(write(door, gzip.compress(b'{"name":"x"}'), **{"Content-Encoding": coding}))
        malformed(write(door, '{"name":"' + "x" * 1_100_000 + '"}'))


POINTED = [
    {"op": "copy", "from": "/mobile", "path": "/occupation"},
    {"op": "move", "from": "/mobile", "path": "/name"},
    {"op": "copy", "from": "/cards/0/pan", "path": "/name"},
    {"op": "copy", "from": "", "path": "/occupation"},
    {"op": "copy", "from": "/occupation", "path": "/mobile"},
    {"op": "copy", "from": "/name", "path": "/occupation"},
    {"op": "test", "path": "/mobile", "value": "199"}, {"op": "test", "path": "/balance", "value": 1},
    {"op": "test", "path": "", "value": {}}, {"op": "test", "path": "/cards", "value": []},
    {"op": "test", "path": "/cards/0/cvv", "value": "1"},
    {"op": "test", "path": "/rm_ids/0", "value": "rm.li"},
    {"op": "test", "path": "/relatives/0/name", "value": "x"},
    {"op": "replace", "path": "", "value": {"mobile": "1"}},
    {"op": "add", "path": "/cards/-", "value": {"pan": "1"}}, {"op": "remove", "path": "/cards/0"},
    {"op": "remove", "path": "/mobile"}, {"op": "remove", "path": "/cards/0/cvv"},
    {"op": "remove", "path": ""},
    {"op": "add", "path": "/rm_ids/-", "value": "rm.li"},
    {"op": "replace", "path": "/rm_ids/0", "value": "x"}, {"op": "add", "path": "/is_admin", "value": True},
    {"op": "replace", "path": "/id", "value": 2}, {"op": "replace", "path": "/mobile/0", "value": "1"},
    {"op": "replace", "path": "/Mobile", "value": "1"}, {"op": "replace", "path": "/mo~0bile", "value": "1"},
    {"op": "replace", "path": "/name/first", "value": "x"},
    {"op": "replace", "path": "/client/mobile", "value": "1"},
    {"op": "replace", "path": "/name", "value": "199****7919"},
    {"op": "replace", "path": "/cards/0/cvv", "value": "x"},
    {"op": "add", "path": "/relatives/0", "value": {}}, {"op": "replace", "path": "/", "value": "x"},
    {"op": "replace", "path": "//name", "value": "x"},
]  # fmt: skip


def test_m07_json_patch_neither_copies_nor_tests_nor_reaches_what_is_hidden(
    door: Gateway, stand: Recorder
) -> None:
    media = "application/json-patch+json"
    with unwritten(stand):
        for operation in POINTED:
            conflict(write(door, [operation], media=media))
            harmless = {"op": "test", "path": "/name", "value": client(door, RM, OWN)["name"]}
            conflict(write(door, [harmless, operation], media=media))


def test_m07_forms_reach_inside_nothing(door: Gateway, stand: Recorder) -> None:
    with unwritten(stand):
        for body in (
            "address[line1]=x", "address.line1=x", "address%5Bline1%5D=x", "client[mobile]=1",
            "client%5Bmobile%5D=1", "client.mobile=1", "cards[0][pan]=9", "cards[][pan]=9", "cards.0.pan=9",
            "cards[0][type]=x&name=y", "rm_ids[]=rm.wang", "rm_ids=rm.wang", "name=x&mobile=1",
            "mobile=199****7919", "name=199****7919", "name=%E5%BC%A0**", "id=2", "tier=private", "name[]=x",
            "name[0]=x",
            "name%00=x", "name%20=x", "%6Dobile=1", "+mobile=1", "MOBILE=1", "client[id]=2",
            "relatives[0][name]=x", "accounts[0][balance]=1", "__proto__[tier]=private",
            "constructor[prototype][x]=1",
        ):  # fmt: skip
            for method in ("POST", "PATCH"):
                came = write(door, body, media=FORM, method=method)
                assert came.problem in ("masked-value-in-write", "malformed-request"), (body, came)
                assert came.status in (409, 400)


def test_m07_a_writes_query_writes_nothing(door: Gateway, stand: Recorder) -> None:
    """Rails, PHP and servlets merge query and form, so a parameter of a write may be a field or another id."""
    with unwritten(stand):
        for query in (
            "mobile=19900000000", "tier=private", "branch=xujiahui", "name=x", "id=2",
            "id_no=990101199001010000", "balance=1", "client[mobile]=1", "rm_ids=rm.wang", "rm_ids[]=rm.wang",
            "_method=DELETE", "_method=PUT", "sort=name", "page=2", "q=x", "upsert=true", "where=1",
            "force=1",
        ):  # fmt: skip
            for method, body, media in (
                ("PATCH", {"gender": "male"}, JSON),
                ("POST", "gender=male", FORM),
                ("PATCH", "", ""),
            ):
                came = write(door, body, media=media, method=method, to=f"/clients/1?{query}")
                assert came.problem in ("filter-not-permitted", "malformed-request"), (method, query, came)
    came = write(door, {"gender": client(door, RM, OWN)["gender"]}, to="/clients/1?fields=id,name")
    assert came.status == 200, "which fields come back may be said"


def test_m07_records_the_actor_may_not_see_cannot_be_written_and_look_absent(
    door: Gateway, stand: Recorder
) -> None:
    with unwritten(stand):
        for body in ({"name": "x"}, {"mobile": "1"}, {"is_admin": 1}, {}):
            answers = [write(door, body, to=f"/clients/{number}") for number in (FOREIGN, NOBODYS)]
            assert said(answers[0]) == said(answers[1])
            assert (answers[0].status, answers[0].problem) == (404, "not-permitted")
            vip = write(door, body, to=f"/clients/{VIP}")
            assert (vip.status, vip.problem) == (401, "step-up-required")
            own = write(door, body, user="rm.wang", to="/clients/12")
            assert (own.status, own.problem) == (404, "not-permitted"), "nobody writes their own file"
        for user in ("teller.wu", "ana.lin", "audit.sun", "comp.he", "aml.zhao"):
            came = write(door, {"name": "x"}, user=user, to="/clients/1")
            assert came.status in (403, 409), (user, came)
        for method in ("PUT", "DELETE", "OPTIONS", "LINK", "PROPPATCH", "MKCOL", "COPY", "MOVE"):
            came = write(door, {"name": "x"}, method=method)
            assert (came.status, came.problem) == (403, "ungoverned-route"), method
        for header in (
            "X-HTTP-Method-Override",
            "X-Method-Override",
            "X-HTTP-Method",
            "X_HTTP_Method_Override",
        ):
            malformed(write(door, {"name": "x"}, method="POST", **{header: "DELETE"}))


def test_m07_what_cannot_be_held_against_the_record_is_not_written(door: Gateway, stand: Recorder) -> None:
    """The record is read first; whatever the upstream says instead of it, nothing is written."""
    record = client(door, RM, OWN)
    for reply in (
        answer(500, ""), answer(200, ""), answer(200, "{}"), answer(200, json.dumps({"client": None})),
        answer(200, json.dumps([record])), answer(200, "<p>", "text/html"),
        answer(200, json.dumps({"client": record})[:-3]), answer(302, "", Location="/x"), answer(204, ""),
        answer(200, json.dumps({"items": [record]})), answer(401, ""),
        answer(200, json.dumps({"client": {**record, "id": None}})),
        answer(200, '{"client":{"id":1,"rm_ids":["rm.li"],"tier":"mass","name":"a","name":"b"}}'),
    ):  # fmt: skip
        stand.replies["GET /clients/1"] = lambda _, reply=reply: reply
        with unwritten(stand):
            came = write(door, {"name": "x"})
        assert came.status in (401, 404, 409, 502), (reply, came)
        assert came.problem
        assert not leaked(came, secrets([record]))


def test_m07_a_permitted_write_is_on_record_first_and_its_answer_is_masked(
    door: Gateway, stand: Recorder
) -> None:
    record = client(door, RM, OWN)
    before = len(door.leaves())
    came = write(
        door, {"name": record["name"], "occupation": record["occupation"], "id": 1, "tier": record["tier"]}
    )
    assert came.status == 200, came
    assert not leaked(came, secrets([record]))
    assert came.json()["client"]["mobile"] == f"{record['mobile'][:3]}****{record['mobile'][-4:]}"
    assert stand.lines()[-2:] == ["GET /clients/1", "PATCH /clients/1"]
    intent, outcome = door.since(before)
    assert (intent["outcome"], outcome["outcome"], outcome["intent"]) == ("intent", "permitted", before)
    assert record["name"] not in str((intent, outcome))

    # The upstream's own words about a write do not come through, and what it says of other clients does not.
    foreign = client(door, RM, FOREIGN)
    for reply in (
        as_json({"client": foreign}),
        as_json({"client": record, "was": foreign, "duplicate_of": foreign["mobile"]}),
        as_json({"detail": f"{record['mobile']} is taken by {foreign['name']}"}, 409),
        as_json({"detail": [{"input": record["mobile"]}]}, 422),
        answer(200, f"saved {record['mobile']}", "text/plain"),
        as_json({"ok": True, "diff": {"mobile": [record["mobile"], "x"]}}), as_json([foreign]),
        answer(201, json.dumps({"client": foreign}), Location=f"/clients/{foreign['mobile']}"),
        answer(303, "", Location=f"/{foreign['mobile']}"),
    ):  # fmt: skip
        stand.replies["PATCH /clients/1"] = lambda _, reply=reply: reply
        came = write(door, {"name": record["name"]})
        assert not leaked(came, [*secrets([record, foreign]), foreign["name"]]), came
        assert door.last()["intent"] is not None


def test_m07_creating_takes_only_classified_fields(door: Gateway, stand: Recorder) -> None:
    with unwritten(stand):
        for body in (
            {"name": "x", "id": 77}, {"name": "x", "tier": "private"}, {"name": "x", "rm_ids": ["rm.li"]},
            {"name": "x", "branch": "pudong"}, {"name": "x", "balance": 5}, {"name": "x", "is_admin": 1},
            {"name": "x", "cards": [{"pan": "1"}]}, {"name": "x", "mobile": "199****1234"}, {"name": "张**"},
            {"client": {"name": "x", "risk_score": 0}}, {"name": "x", "iban": "DE"},
            {"name": "x", "created_at": "2020"},
        ):  # fmt: skip
            conflict(write(door, body, user="mgr.chen", method="POST", to="/clients"))
        for user in (RM, "teller.wu", "comp.he"):
            came = write(door, {"name": "x"}, user=user, method="POST", to="/clients")
            assert (came.status, came.problem) == (403, "not-permitted")
        for body in (
            {"text": "x", "client_id": 2},
            {"text": "x", "id": 5},
            {"text": "x", "staff_id": "rm.wang"},
            {"text": "x", "is_admin": 1},
            {"client_id": 1.0, "text": "x"},
        ):
            conflict(write(door, body, user="teller.wu", method="POST", to="/clients/1/complaints"))


def test_m07_where_masked_fields_may_be_written_masks_and_wholes_may_not(
    odd: Vouched, stand: Recorder
) -> None:
    """``write: any``: whoever sees a mask may write a new value, never a mask and never what hangs on it."""
    record = {
        "id": 1, "branch": "north", "tier": "mass", "mobile": "19900001234", "phones": ["19900001234"],
        "city": "a", "profile": {"city": "a", "tax": {"no": "990101199001011234"}},
        "payload": json.dumps({"mobile": "19900001234", "x": 1}),
        "contacts": {"19900001234": {"since": "2020"}}, "matrix": [["19900001234"]], "limits": {"day": 5},
        "note": "x",
    }  # fmt: skip
    stand.replies["GET /people/1"] = lambda _: as_json({"person": record})
    stand.replies["PATCH /people/1"] = lambda _: as_json({"person": record})
    with unwritten(stand):
        for body in (
            {"mobile": "199****1234"}, {"mobile": "****"}, {"mobile": "138****0000"},
            {"phones": ["199****1234"]}, {"phones": ["19911112222", "199****1234"]}, {"phones": [["1"]]},
            {"phones": "199****1234"}, {"matrix": [["199****1234"]]},
            {"profile": {"tax": {"no": "1"}}}, {"profile": {"city": "b", "tax": None}}, {"profile": None},
            {"profile": {"x": 1}}, {"payload": "{}"}, {"payload": '{"mobile":"19911112222"}'},
            {"payload": None}, {"contacts": None},
            {"contacts": {"19900001234": {"since": "2021"}}}, {"limits": {"day": 6}}, {"limits": None},
            {"pin": "1"}, {"branch": "south"}, {"city": "199****1234"}, {"tags": ["199****1234"]},
            {"note": "x"}, {"note": "[phone]"}, {"city": "[phone]"}, {"friend": None}, {"kin": []},
        ):  # fmt: skip
            came = odd.ask(CLERK, "PATCH", "/people/1", json=body)
            if body == {"city": "[phone]"} and came.status == 200:
                continue
            conflict(came)
            assert "19900001234" not in came.body.decode()
    for body in (
        {"mobile": "19911112222"},
        {"phones": ["19911112222"]},
        {"city": "b"},
        {"profile": {"city": "b"}},
        {"tags": ["a", "b"]},
    ):
        came = odd.ask(CLERK, "PATCH", "/people/1", json=body)
        assert came.status == 200, (body, came)
        assert json.loads(stand.seen[-1].body) == body
        assert not leaked(came, ["19900001234", "990101199001011234"])


def test_m07_an_upstream_that_finds_instead_of_creating_shows_no_client(
    door: Gateway, stand: Recorder
) -> None:
    """Whoever may open files could guess an identity number, and be shown its holder."""
    foreign = client(door, RM, FOREIGN)
    stand.replies["POST /clients"] = lambda _: as_json({"client": foreign})
    came = write(
        door, {"name": "x", "id_no": foreign["id_no"]}, user="mgr.chen", method="POST", to="/clients"
    )
    assert not leaked(came, [foreign["mobile"], foreign["email"]])
