"""M05, M06, M08 and M14 against the running gateway: every place of an answer where a record's data may stand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.attacks.truth import client, clients, leaked, said, secrets
from tests.attacks.vouched import ANALYST, CHIEF, CLERK, Vouched
from tests.door import Gateway
from tests.recorder import Recorder, Seen, answer, as_json

RM = "rm.li"
OWN, VIP, FOREIGN, NOBODYS = 1, 7, 11, 99_999
MOBILE, OTHER, ID, IBAN = "19900001234", "19900005678", "990101199001011234", "DE89370400440532013000"
SECRETS = [MOBILE, OTHER, ID, IBAN, "7350050", "zhang.weimin", "世纪大道", "90010112"]


def person(**more: Any) -> dict[str, Any]:
    return {
        "id": 1,
        "name": "张伟民",
        "mobile": MOBILE,
        "id_no": ID,
        "branch": "north",
        "tier": "mass",
        **more,
    }


# -- M05: nested, keyed, packed, doubled, beside ------------------------------------------------------------


def test_m05_nested_arrays_maps_and_packed_json_leave_only_as_classified(
    odd: Vouched, stand: Recorder
) -> None:
    record = person(
        phones=[MOBILE, OTHER, None, 13, {"x": MOBILE}, [MOBILE]],
        matrix=[[MOBILE, OTHER], [MOBILE], MOBILE, {"0": MOBILE}],
        profile={"city": "pudong", "tax": {"no": ID, "office": ID}, MOBILE: MOBILE,
        "customer": {"tax_id": ID}},
        contacts={MOBILE: {"since": "2020", "note": MOBILE}, OTHER: {"since": "2021"}},
        limits={"day": 7350050, "month": "7350050", "n": {"deep": 7350050}},
        payload=json.dumps({"mobile": MOBILE, "raw": ID, "inner": json.dumps({"id_no": ID, "x": MOBILE})}),
        customer={"tax_id": ID, "mobile": MOBILE}, history=[{"mobile": OTHER}], extra=[[{"a": [MOBILE]}]],
        note=f"call {MOBILE}, 身份证 {ID}, or {{\"mobile\": \"{OTHER}\"}} at zhang.weimin@example.com",
    )  # fmt: skip
    for content in ({"person": record}, {"items": [record]}, {"groups": [{"members": [record]}]}, [record]):
        stand.replies["/people"] = lambda _, content=content: as_json(content)
        came = odd.get(CLERK, "/people")
        assert came.status == 200, came
        assert not leaked(came, SECRETS)
        [left] = _records(came.json())
        assert left["phones"] == ["199****1234", "199****5678", None, "****", None, None]
        assert left["matrix"] == [["199****1234", "199****5678"], ["199****1234"], None, None]
        assert left["profile"] == {"city": "pudong", "tax": {"no": "9****4"}}
        assert left["contacts"] == {"1": {"since": "2020"}, "2": {"since": "2021"}}, "keys are data too"
        assert left["limits"] == {"day": ">=100000", "month": ">=100000"}
        assert json.loads(left["payload"]) == {
            "mobile": "199****1234",
            "inner": json.dumps({"id_no": "9****4"}).replace(" ", ""),
        }
        assert left.keys().isdisjoint({"customer", "history", "extra", "branch"})
        assert MOBILE[:7] not in left["note"]


def _records(content: Any) -> list[Any]:
    if isinstance(content, list):
        return content
    [(key, value)] = content.items()
    return {"person": lambda: [value], "items": lambda: value}.get(key, lambda: value[0]["members"])()


def test_m05_keys_that_are_data_leave_only_where_their_class_is_clear(odd: Vouched, stand: Recorder) -> None:
    records = {MOBILE: person(), OTHER: person(id=2), "x": person(id=3, branch="south"), ID: None, "n": 5}
    stand.replies["/people"] = lambda _: as_json({"by_no": records, MOBILE: 1, "by_id": {ID: person()}})
    came = odd.get(CLERK, "/people")
    assert not leaked(came, SECRETS)
    assert list(came.json()["by_no"]) == ["1", "2"]
    assert came.json().keys() == {"by_no"}
    # To the chief numbers are clear; keys of places around records never are: they belong to no one record.
    chief = odd.get(CHIEF, "/people").json()["by_no"]
    assert [each["mobile"] for each in chief.values()] == [MOBILE] * 3
    stand.replies["/people"] = lambda _: as_json({"person": person(contacts={MOBILE: {"since": "2020"}})})
    assert odd.get(CHIEF, "/people").json()["person"]["contacts"] == {MOBILE: {"since": "2020"}}
    assert odd.get(CLERK, "/people").json()["person"]["contacts"] == {"1": {"since": "2020"}}


PACKED = [
    "not json", "", "{", "[]", "null", '"19900001234"', "19900001234", '{"mobile":"19900001234"}{}',
    '{"MOBILE":"19900001234"}',
    '\ufeff{"mobile":"19900001234"}', '{"mobile":["19900001234"]}',
    '{"inner":"{\\"id_no\\":[\\"990101199001011234\\"]}"}',
    '{"inner":{"id_no":"990101199001011234"}}', '{"mobile":"19900001234","mobile":{"x":"19900001234"}}',
    "mobile=19900001234",
    "<mobile>19900001234</mobile>", "[" * 5000, '{"mobile":19900001234}', '{"mobile":1.9900001234e10}',
]  # fmt: skip


def test_m05_what_a_packed_text_really_holds_makes_no_difference(odd: Vouched, stand: Recorder) -> None:
    for payload in (*PACKED, 5, None, True, {"mobile": MOBILE}, [MOBILE]):
        stand.replies["/people/1"] = lambda _, payload=payload: as_json({"person": person(payload=payload)})
        came = odd.get(CLERK, "/people/1")
        assert came.status == 200, (payload, came)
        assert not leaked(came, SECRETS), payload


def test_m05_nested_records_are_judged_by_their_own_values_at_every_depth(
    odd: Vouched, stand: Recorder
) -> None:
    vip = person(id=9, tier="private", name="李娜娜", mobile=OTHER)
    south = person(id=8, branch="south", name="王芳芳", mobile=OTHER)
    near = person(id=2, name="赵敏敏", kin=[vip, south], friend=vip)
    for friend in (vip, south, None, "王芳芳", [south], {"person": south}, {}):
        record = person(kin=[near, vip, south, None, [south], {"x": south}], friend=friend)
        stand.replies["/people/1"] = lambda _, record=record: as_json({"person": record})
        came = odd.get(CLERK, "/people/1")
        assert came.status == 200
        assert not leaked(came, [*SECRETS, "李娜娜", "王芳芳", "王**", "李**", "199****5678"])
        left = came.json()["person"]
        assert [each["id"] for each in left["kin"]] == [2]
        assert left["kin"][0]["kin"] == []
        assert left.get("friend") is None
        assert len(_subjects(odd.gateway.last())) == 2, "of whom something left, and nobody else"


def test_m05_one_record_in_two_places_is_masked_in_both_and_on_record_once(
    door: Gateway, stand: Recorder
) -> None:
    truth = clients(door, RM)
    own = [each["id"] for each in truth if RM in each["rm_ids"] and each["tier"] == "mass"]
    for number in (*own[1:3], OWN):  # now these are the recent ones, and no hidden one is
        door.get(RM, f"/clients/{number}")
    hidden = secrets(truth)
    staff = {owner["name"] for owner in door.upstream(RM, "GET", "/clients").json()["facets"]["owners"]}
    came = door.get(RM, "/clients?page=1&size=10")
    listed = came.json()
    assert [each for each in listed["items"] if each["id"] == OWN] == [
        each for each in listed["recent"] if each["id"] == OWN
    ]
    assert OWN in [each["id"] for each in listed["recent"]]
    assert not leaked(
        came, [*hidden, *(name for name in staff if name not in str([t["name"] for t in truth]))]
    )
    assert listed.keys() == {"items", "recent", "page", "size", "next"}
    assert listed["next"] == f"http://127.0.0.1:{door.port}/clients?size=10&page=2"
    assert str(stand.port) not in came.body.decode()
    assert str(door.upstream_port) not in came.body.decode()
    seen = {each["id"] for place in ("items", "recent") for each in listed[place]}
    kin = {kin["id"] for place in ("items", "recent") for each in listed[place] for kin in each["relatives"]}
    leaf = door.last()
    assert len(_subjects(leaf)) == len(seen | kin)
    assert FOREIGN not in seen | kin
    assert VIP not in seen | kin


def _subjects(leaf: dict[str, Any]) -> set[str]:
    """Tokens of the clients whom a leaf names."""
    return {token for group in leaf.get("groups", []) for token, _, _ in group["subjects"]}


# -- M06: other surfaces of the same data -------------------------------------------------------------------

HEADERS = {
    "Location": "/clients/{}", "Content_Location": "/clients?mobile={}", "Link": "</clients/{}>; rel=next",
    "Set_Cookie": "last={}; Path=/", "Set_Cookie2": "last={}", "Refresh": "0; url=/{}",
    "X_Client_Mobile": "{}",
    "X_Debug": "sql=select {}", "X_Total_Count": "{}", "Content_Range": "items 0-1/{}", "ETag": '"{}"',
    "Last_Modified": "{}", "Content_Disposition": "attachment; filename={}.json", "Content_Description": "{}",
    "Server_Timing": "db;desc={}", "Warning": '199 - "{}"', "WWW_Authenticate": "Bearer realm={}",
    "Via": "1.1 {}",
    "Server": "{}", "Date": "{}", "Age": "{}", "Expires": "{}", "Cache_Control": "public, x={}",
    "Pragma": "{}",
    "Vary": "{}", "Alt_Svc": 'h2="{}"', "Access_Control_Expose_Headers": "{}", "Content_MD5": "{}",
    "Digest": "{}",
    "Content_Digest": "sha-256=:{}:", "Repr_Digest": "{}", "Content_Security_Policy": "report-uri /{}",
    "SourceMap": "/{}",
    "Privguard_Receipt": "origin={}", "Privguard_Fields": "{}", "X_Privguard_User": "{}", "Trailer": "{}",
    "Content_Language": "{}", "Retry_After": "{}", "Allow": "{}", "Access_Control_Allow_Origin": "{}",
    "Access_Control_Allow_Credentials": "{}", "Keep_Alive": "timeout={}", "Proxy_Authenticate": "{}",
    "NEL": "{}",
    "Report_To": "{}", "Clear_Site_Data": "{}", "Origin_Trial": "{}", "Proxy_Status": "{}",
    "Content_Script_Type": "{}",
}  # fmt: skip


def _with_headers(status: int, body: bytes, media: str = "application/json", **more: str) -> bytes:
    return answer(
        status, body, media, **{name: form.format(MOBILE) for name, form in HEADERS.items()}, **more
    )


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_m06_no_header_of_the_upstreams_carries_client_data(
    door: Gateway, stand: Recorder, method: str
) -> None:
    record = client(door, RM, OWN)
    body = json.dumps({"client": {**record, "mobile": MOBILE}}).encode()
    stand.replies["/clients/1"] = lambda _: _with_headers(200, body)
    came = door.ask(RM, method, "/clients/1")
    assert came.status == 200
    assert not leaked(came, [MOBILE])
    assert came.headers["cache-control"] == "no-store"
    assert came.headers.keys() <= {
        "date", "content-type", "content-length", "cache-control", "vary", "x-content-type-options",
        "privguard-receipt", "privguard-fields", "link",
    }, came.headers  # fmt: skip
    assert came.headers["privguard-receipt"].startswith('origin="test.invalid/log"')


def test_m06_a_content_type_is_a_media_type_and_nothing_else(door: Gateway, stand: Recorder) -> None:
    body = json.dumps({"client": client(door, RM, OWN)}).encode()
    for media in (
        f"application/json; charset={MOBILE}", f"application/json; boundary={MOBILE}",
        f"application/json; name={MOBILE}",
        f'application/json; charset="{MOBILE}"', f"application/json;charset=utf-8;x={MOBILE}",
        f"application/json;profile=/{MOBILE}", f"application/json ; charset = {MOBILE}",
    ):  # fmt: skip
        stand.replies["/clients/1"] = lambda _, media=media: answer(200, body, media)
        came = door.get(RM, "/clients/1")
        assert came.status in (200, 502)
        assert not leaked(came, [MOBILE]), media


ECHO = f"{MOBILE} 张伟民 is not a valid choice; see {ID}"


@pytest.mark.parametrize(
    "status",
    [
        300,
        301,
        302,
        303,
        304,
        307,
        308,
        400,
        401,
        403,
        404,
        409,
        410,
        412,
        416,
        418,
        422,
        428,
        429,
        451,
        500,
        501,
        503,
        504,
        599,
    ],
)
def test_m06_an_upstreams_refusal_and_redirect_lose_their_words(
    door: Gateway, stand: Recorder, status: int
) -> None:
    for media in ("application/json", "text/html", "application/problem+json"):
        body = b"" if status == 304 else json.dumps({"detail": ECHO, "input": ID}).encode()
        stand.replies["/clients/1"] = lambda _, body=body, media=media: _with_headers(status, body, media)
        for method in ("GET", "HEAD"):
            came = door.ask(RM, method, "/clients/1")
            assert not leaked(came, [MOBILE, ID, "张伟民"])
            assert came.status == {403: 404, 410: 404, 500: 502}.get(status, status if status >= 400 else 502)
            assert came.headers.keys() <= {
                "date", "content-type", "content-length", "cache-control", "x-content-type-options"
            }  # fmt: skip
            if method == "GET":
                assert came.problem == ("not-permitted" if status in (403, 404, 410) else "upstream-refused")


def test_m06_the_crms_own_error_pages_and_validation_errors_do_not_echo(
    door: Gateway, stand: Recorder
) -> None:
    name = client(door, RM, OWN)["name"]
    for method, target, content in (
        ("GET", f"/clients/{MOBILE}{ID}", None), ("GET", f"/clients/x{MOBILE}", None),
        ("GET", f"/clients?page={MOBILE[:9]}", None), ("GET", f"/clients?tier={ID}", None),
        ("GET", "/clients?sort=relation", None), ("PATCH", "/clients/1", {"name": None}),
        ("PATCH", "/clients/1", {"name": [name, MOBILE]}),
        ("POST", "/clients/1/complaints", {"text": "", "channel": MOBILE}),
        ("POST", "/clients/1/complaints", {"text": {"x": MOBILE}}),
        ("POST", "/clients/99999/complaints", {"text": MOBILE}),
    ):  # fmt: skip
        came = door.ask(RM, method, target, **({} if content is None else {"json": content}))
        assert came.status >= 400 or content is None, (target, came)
        assert not leaked(came, [MOBILE, ID, name]), (method, target)


def test_m06_created_records_places_do_not_leave(door: Gateway, stand: Recorder) -> None:
    made = {"id": 500, "name": "测试甲乙", "mobile": MOBILE, "tier": "mass"}
    stand.replies["POST /clients"] = lambda _: as_json(
        {"client": made}, 201, Location=f"/clients/{ID}", Link=f"</{ID}>"
    )
    came = door.ask("mgr.chen", "POST", "/clients", json={"name": "测试甲乙", "mobile": MOBILE})
    assert came.status == 201
    assert came.headers.keys().isdisjoint({"location", "link"})
    assert not leaked(came, [ID])
    came = door.ask(RM, "POST", "/clients/1/complaints", json={"text": f"call {MOBILE}"})
    assert came.status == 201
    assert "location" not in came.headers
    assert came.json()["complaint"]["text"] == f"call {MOBILE}"  # its author wrote it just now


def test_m06_other_routes_to_the_same_data_are_ungoverned(door: Gateway, stand: Recorder) -> None:
    door.get(RM, "/clients/1")
    with stand.unasked():
        for path in (
            "/clients/1/letter", "/clients/1/revisions", "/clients/1/history", "/clients/1/versions/2",
            "/clients/1.json",
            "/clients.xlsx", "/clients.json", "/clients.xml", "/export/clients", "/clients/1/export/x",
            "/api/clients/1",
            "/v1/clients/1", "/audit", "/logs", "/openapi.json", "/docs", "/metrics", "/debug/vars",
            "/backup.sql", "/server-status",
            "/actuator/heapdump", "/.git/config", "/clients/1/notes", "/assets", "/assets/", "/health/",
            "/me/",
        ):  # fmt: skip
            if path.count("/") == 2 and path.startswith("/clients/"):
                continue  # one segment below /clients is a client's id, judged by what comes
            came = door.get(RM, path)
            assert (came.status, came.problem) == (403, "ungoverned-route"), path
    for path in ("/clients/1.json", "/clients/export", "/clients/me", "/clients/1,2", "/clients/*"):
        stand.replies[path] = lambda _: as_json([client(door, RM, FOREIGN)])
        came = door.get(RM, path)
        assert not leaked(came, secrets([client(door, RM, FOREIGN)])), path


def test_m06_trailers_early_hints_and_reason_phrases_do_not_leave(door: Gateway, stand: Recorder) -> None:
    body = json.dumps({"client": client(door, RM, OWN)}).encode()
    head = b"Content-Type: application/json\r\n"
    chunked = b"Transfer-Encoding: chunked\r\nTrailer: X-M\r\n" + head
    whole = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    m = MOBILE.encode()
    for said_by_upstream in (
        [b"HTTP/1.1 200 " + m + b"\r\n" + whole],
        [b"HTTP/1.1 103 " + m + b"\r\nLink: </" + m + b">\r\n\r\nHTTP/1.1 200 OK\r\n" + whole],
        [b"HTTP/1.1 100 Continue\r\nX-M: " + m + b"\r\n\r\nHTTP/1.1 200 OK\r\n" + whole],
        [b"HTTP/1.1 200 OK\r\n" + chunked + b"\r\n%x\r\n%b\r\n0\r\nX-M: %b\r\n\r\n" % (len(body), body, m)],
        [b"HTTP/1.1 200 OK\r\n" + chunked + b"\r\n%x;x=%b\r\n%b\r\n0\r\n\r\n" % (len(body), m, body)],
    ):
        stand.replies["/clients/1"] = lambda _, pieces=said_by_upstream: iter(pieces)
        request = f"GET /clients/1 HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nConnection: close\r\nAuthorization: Bearer {door.token(RM)}\r\n\r\n"
        came = door.raw(request.encode())
        assert came.startswith((b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 502 ")), came[:100]
        assert not leaked(came, [MOBILE]), came


# -- M08: caches, validators, parts -------------------------------------------------------------------------


def test_m08_validators_cannot_be_guessed_because_nobody_hears_the_answer(
    door: Gateway, stand: Recorder
) -> None:
    truth = door.upstream(RM, "GET", "/clients/1")
    assert truth.headers["etag"]
    assert truth.headers["last-modified"]
    plain = said(door.get(RM, "/clients/1"))
    assert plain[0] == 200
    conditions = [
        {"If-None-Match": truth.headers["etag"]}, {"If-None-Match": "*"}, {"If-None-Match": '"0"'},
        {"If-None-Match": "W/" + truth.headers["etag"]}, {"If-Match": '"wrong"'}, {"If-Match": "*"},
        {"If-Modified-Since": truth.headers["last-modified"]},
        {"If-Modified-Since": "Thu, 01 Jan 2099 00:00:00 GMT"},
        {"If-Unmodified-Since": "Thu, 01 Jan 1970 00:00:00 GMT"}, {"Range": "bytes=0-10"},
        {"Range": "bytes=-5"},
        {"Range": "bytes=100-", "If-Range": truth.headers["etag"]}, {"Range": "items=0-1"}, {"A-IM": "feed"},
        {"Accept-Encoding": "gzip, br, zstd"}, {"TE": "trailers"}, {"Cache-Control": "only-if-cached"},
        {"Cache-Control": "max-age=3600"}, {"Pragma": "x"}, {"Accept": "text/csv"}, {"Accept": "*/*;q=0"},
    ]  # fmt: skip
    for headers in conditions:
        assert said(door.get(RM, "/clients/1", headers=headers)) == plain, headers
        went = {name.decode().lower() for name, _ in stand.seen[-1].headers}
        assert went.isdisjoint(
            {name.lower() for name in headers} - {"accept", "cache-control", "pragma", "accept-encoding"}
        )
        assert stand.seen[-1].values("accept-encoding") == ["identity"]
    for spelt in ("If_None_Match", "IF-NONE-MATCH", "if-none-match"):
        came = door.get(RM, "/clients/1", headers={spelt: truth.headers["etag"]})
        assert came.status in (200, 400)
        assert came.problem or said(came) == plain


def test_m08_a_writes_outcome_does_not_tell_whether_a_validator_was_guessed(
    door: Gateway, stand: Recorder
) -> None:
    right = door.upstream(RM, "GET", "/clients/1").headers["etag"]
    name = client(door, RM, OWN)["name"]
    for headers in (
        {"If-Match": right},
        {"If-Match": '"wrong"'},
        {"If-None-Match": "*"},
        {"If-Unmodified-Since": "x"},
    ):
        came = door.ask(RM, "PATCH", "/clients/1", json={"name": name}, headers=headers)
        assert came.status == 200
        assert not [line for line in stand.seen[-1].headers if line[0].lower().startswith(b"if-")]
        assert "etag" not in came.headers


def test_m08_an_upstream_that_answers_in_parts_or_not_modified_is_not_believed(
    door: Gateway, stand: Recorder
) -> None:
    body = json.dumps({"client": client(door, RM, OWN)}).encode()
    hidden = secrets([client(door, RM, OWN)])
    parts = [
        answer(206, body[40:], Content_Range="bytes 40-99/200"),
        answer(206, body[:200], Content_Range="bytes 0-199/999"),
        answer(206, b"--B\r\n\r\n" + body, "multipart/byteranges; boundary=B"), answer(304, ETag='"1"'),
        answer(226, body, IM="feed", media="application/octet-stream"), answer(203, body), answer(206, body),
    ]  # fmt: skip
    for part in parts:
        stand.replies["/clients/1"] = lambda _, part=part: part
        came = door.get(RM, "/clients/1", headers={"Range": "bytes=0-"})
        assert (came.status in (200, 203, 206)) or came.problem in ("unreadable-response", "upstream-refused")
        assert not leaked(came, hidden)
        assert came.headers.keys().isdisjoint(
            {"etag", "content-range", "accept-ranges", "last-modified", "age", "expires"}
        )
        assert came.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/clients/1", "/clients", "/clients/11", "/clients/99999", "/clients/7"])
def test_m08_head_says_what_get_says_and_no_length_of_the_upstreams(
    door: Gateway, stand: Recorder, path: str
) -> None:
    got, head = door.get(RM, path), door.ask(RM, "HEAD", path)
    assert stand.seen[-1].method == "GET"
    assert head.body == b""
    assert (head.status, head.headers.keys()) == (got.status, got.headers.keys())
    if got.status == 200:
        assert head.headers["content-length"] == got.headers["content-length"] == str(len(got.body))
        assert head.headers.get("privguard-fields") == got.headers.get("privguard-fields")
    truth = door.upstream(RM, "HEAD", path)
    if truth.status == 200:
        assert head.headers["content-length"] != truth.headers["content-length"]


def test_m08_every_answer_forbids_to_keep_it(door: Gateway, stand: Recorder) -> None:
    analyst = {"Privguard-Purpose": "reporting"}
    for user, method, target, headers in (
        (RM, "GET", "/clients/1", {}), (RM, "GET", "/clients", {}), (RM, "GET", "/clients/11", {}),
        (RM, "GET", "/nowhere", {}),
        (RM, "GET", "/clients?q=1", {}), ("ana.lin", "GET", "/clients.csv", analyst),
        (RM, "GET", "/clients.csv", {}),
        ("comp.he", "GET", "/clients/1/photo", {"Privguard-Purpose": "audit"}),
        (None, "GET", "/clients/1", {}),
        (RM, "GET", "/clients/1", {"Privguard-Reveal": "mobile"}), (RM, "PATCH", "/clients/1", {}),
        (RM, "GET", "/a/../b", {}),
    ):  # fmt: skip
        came = door.ask(user, method, target, headers=headers)
        assert came.headers["cache-control"] == "no-store", (target, came)
        assert "etag" not in came.headers


# -- M14: bodies that are no JSON ---------------------------------------------------------------------------

TEXT = f"张伟民 {MOBILE} {ID}"
BODIES = {
    "text/html": f"<p>{TEXT}</p>", "application/xml": f"<c>{TEXT}</c>", "text/xml": f"<c>{TEXT}</c>",
    "application/xhtml+xml": TEXT, "image/svg+xml": f"<svg><text>{TEXT}</text></svg>", "text/plain": TEXT,
    "application/pdf": f"%PDF-1.7 {TEXT}", "image/png": f"\x89PNG {TEXT}", "image/jpeg": TEXT,
    "application/zip": f"PK{TEXT}",
    "multipart/mixed; boundary=b": f"--b\r\nContent-Type: application/json\r\n\r\n{{\"client\":\"{TEXT}\"}}\r\n--b--",
    "multipart/form-data; boundary=b": TEXT, "multipart/x-mixed-replace; boundary=b": TEXT,
    "message/http": TEXT,
    "text/event-stream": f"data: {TEXT}\n\n", "application/x-ndjson": json.dumps({"id": 1, "mobile": MOBILE}),
    "application/json-seq": f"\x1e{TEXT}", "application/jsonl": json.dumps({"id": 1, "mobile": MOBILE}),
    "text/csv": f"id,mobile\n1,{MOBILE}\n",
    "text/tab-separated-values": f"id\tmobile\n1\t{MOBILE}\n", "application/vnd.ms-excel": TEXT,
    "application/cbor": TEXT,
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": TEXT,
    "application/x-protobuf": TEXT, "application/msgpack": TEXT,
    "application/octet-stream": TEXT, "application/javascript": f"cb({{\"m\":\"{MOBILE}\"}})",
    "text/json": json.dumps({"client": MOBILE}),
    "application/yaml": TEXT, "text/calendar": TEXT, "text/vcard": f"TEL:{MOBILE}", "font/woff": TEXT,
    "*/*": TEXT, "json": TEXT,
    "application/json, text/html": json.dumps({"client": {"id": 1, "mobile": MOBILE}}),
    "": json.dumps({"client": {"id": 1, "mobile": MOBILE}}),
    "application/json/x": TEXT, "application /json": TEXT,
    "application/x-www-form-urlencoded": f"mobile={MOBILE}",
}  # fmt: skip


@pytest.mark.parametrize("path", ["/clients/1", "/clients", "/clients/1/visits"])
def test_m14_what_is_no_json_is_withheld_where_the_policy_names_no_class(
    door: Gateway, stand: Recorder, path: str
) -> None:
    for media, body in BODIES.items():
        stand.replies[path] = lambda _, media=media, body=body: answer(
            200, body, media, Content_Disposition=f"inline; filename={MOBILE}"
        )
        came = door.get(RM, path)
        assert came.problem in ("unreadable-response", "not-permitted"), (media, came)
        assert came.status == (502 if came.problem == "unreadable-response" else 403), (media, came)
        assert not leaked(came, [MOBILE, ID, "张伟民"]), media


def test_m14_a_media_type_passes_where_the_policy_names_its_class_and_the_actor_sees_it(
    door: Gateway, stand: Recorder, odd: Vouched
) -> None:
    audit = {"Privguard-Purpose": "audit"}
    photo = door.get("comp.he", "/clients/1/photo", headers=audit)
    assert (photo.status, photo.headers["content-type"]) == (200, "image/png")
    assert photo.body == door.upstream("comp.he", "GET", "/clients/1/photo").body
    assert photo.headers["privguard-fields"] == "image/png;view=clear"
    assert len(_subjects(door.last())) == 1
    before = len(stand.seen)
    for user, headers in (
        (RM, {}),
        ("mgr.chen", {}),
        ("teller.wu", {}),
        ("audit.sun", audit),
        ("comp.he", {}),
    ):
        came = door.get(user, "/clients/1/photo", headers=headers)
        assert (came.status, came.problem) == (403, "not-permitted"), user
        assert b"PNG" not in came.body
    assert not [line for line in stand.lines(before) if "photo" in line]
    for media in (
        "text/html",
        "image/svg+xml",
        "application/pdf",
        "image/jpeg",
        "",
        "IMAGE/PNG",
        "image/png; x=1",
    ):
        stand.replies["/clients/1/photo"] = lambda _, media=media: answer(
            200, TEXT, media, Content_Disposition=MOBILE
        )
        came = door.get("comp.he", "/clients/1/photo", headers=audit)
        if media.lower().startswith("image/png"):
            assert came.headers["content-type"] == "image/png"
            assert not [name for name in came.headers if name == "content-disposition"]
        else:
            assert (came.status, came.problem) == (502, "unreadable-response"), media
            assert not leaked(came, [MOBILE, ID])
    # A page whose class the chief sees in clear; scripts in it must not run as something else.
    stand.replies["/people/1/scan"] = lambda _: answer(
        200, f"<p>{TEXT}</p>", "text/html; charset=utf-8", Set_Cookie="a=1"
    )
    page = odd.get(CHIEF, "/people/1/scan")
    assert page.status == 200
    assert (page.headers["x-content-type-options"], page.headers.get("set-cookie")) == ("nosniff", None)
    assert odd.get(CLERK, "/people/1/scan").status == 403
    assert odd.get(ANALYST, "/people/1/scan", headers={"Privguard-Purpose": "reporting"}).status == 403


def test_m14_a_body_with_a_status_that_has_none_is_withheld(door: Gateway, stand: Recorder) -> None:
    def reply(_: Seen) -> Any:
        return iter(
            [
                b"HTTP/1.1 205 Reset\r\nContent-Type: text/plain\r\nContent-Length: 11\r\n\r\n"
                + MOBILE.encode()
            ]
        )

    stand.replies["/clients/1"] = reply
    came = door.get(RM, "/clients/1")
    assert not leaked(came, [MOBILE])
    assert came.status in (205, 502)
