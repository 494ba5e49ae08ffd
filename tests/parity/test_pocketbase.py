"""privguard before a real PocketBase; `Guarded` holds every answer against the seed besides."""

from typing import Any

import pytest

from tests.door import ask

from .guarded import WRITTEN, Guarded, alike, index_of, seen_by, subjects
from .records import client_seed
from .wire import ask as ask_upstream

CLIENTS = "/api/collections/clients/records"
ONE = f"{CLIENTS}/client000000001"
OTHERS = f"{CLIENTS}/client000000002"
NOBODYS = f"{CLIENTS}/client000000099"
CREATE = CLIENTS
JSON = {"Content-Type": "application/json"}


def client(number: int) -> str:
    return f"client{number:09d}"


# -- reading ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["rm", "other_rm", "rm_manager"])
def test_a_list_holds_whom_the_policy_lets_see(guarded_pocketbase: Guarded, who: str) -> None:
    items = guarded_pocketbase.records(who, f"{CLIENTS}?sort=id&perPage=20")
    assert [item["id"] for item in items] == [client(number) for number in seen_by(who)]


def test_m12_totals_that_count_other_clients_stay_away(guarded_pocketbase: Guarded) -> None:
    body = guarded_pocketbase.get("rm", f"{CLIENTS}?perPage=2&page=2&sort=id").json()
    assert body.keys() == {"items", "page", "perPage"}


def test_a_record_leaves_masked_and_unclassified_fields_stay(guarded_pocketbase: Guarded) -> None:
    record = guarded_pocketbase.get("rm", ONE).json()
    times = {name: record.pop(name) for name in ("created", "updated")}
    assert all(times.values())
    assert record == {
        "id": "client000000001",
        "name": client_seed(1).fields["name"],
        "mobile": "138****8001",
        "email": "c****@example.org",
        "id_no": f"1****{client_seed(1).fields['id_no'][-1]}",
        "dob": "1960",
        "balance": "50000-100000",
        "notes": "客户来电 [phone],约周四家访。CANARY-NOTE-01",
        "branch": "SH-01",
        "tier": "affluent",
        "meta": {
            "kyc": {"passport": "E****1"},
            "contacts": [{"name": "****", "mobile": "137****7001"}],
            "raw": '{"mobile":"138****8001"}',
        },
    }


def test_another_role_sees_other_fields(guarded_pocketbase: Guarded) -> None:
    record = guarded_pocketbase.get("rm_manager", ONE).json()
    assert record["meta"] == {
        "kyc": {"passport": "E****1"},
        "contacts": [{"mobile": "137****7001"}],
        "raw": record["meta"]["raw"],
    }
    assert "notes" not in record


def test_m05_nested_records_are_judged_by_their_own_resource(guarded_pocketbase: Guarded) -> None:
    """The manager's clients stand below a client of mine: of them only mine leave, at any depth."""
    answer = guarded_pocketbase.get(
        "rm", f"{ONE}?expand=manager.clients_via_manager,cards_via_client.client.manager"
    )
    manager = answer.json()["expand"]["manager"]
    assert {"id": "manager00000001", "name": "冯经理", "phone": "****"}.items() <= manager.items()
    theirs = [number for number in seen_by("rm") if client_seed(number).manager == 1]
    inside = manager["expand"]["clients_via_manager"]
    assert [each["id"] for each in inside] == [client(number) for number in theirs]
    assert {each["mobile"] for each in inside} == {f"138****8{number:03d}" for number in theirs}
    for card in answer.json()["expand"]["cards_via_client"]:
        assert card.keys() == {"id", "pan", "expand"}
        assert card["pan"].startswith("****")
        assert card["expand"]["client"]["mobile"] == "138****8001"
        assert card["expand"]["client"]["expand"]["manager"]["phone"] == "****"
    leaf = guarded_pocketbase.leaf(answer)
    assert len(subjects(leaf, "client")) == len(theirs)
    assert subjects(leaf, "card") == subjects(leaf, "client")[:1]  # the card's client is the client


def test_m05_what_no_resource_names_is_withheld_below_expand(guarded_pocketbase: Guarded) -> None:
    record = guarded_pocketbase.get("rm", f"{ONE}?expand=rm_ids").json()
    assert "expand" not in record


@pytest.mark.parametrize("fields", ["id,mobile,rm_ids", "mobile,id,rm_ids,meta.kyc.passport"])
def test_m04_a_projection_is_governed_by_what_it_holds(guarded_pocketbase: Guarded, fields: str) -> None:
    record = guarded_pocketbase.get("rm", f"{ONE}?fields={fields}").json()
    assert record.pop("meta", {"kyc": {"passport": "E****1"}}) == {"kyc": {"passport": "E****1"}}
    assert record == {"id": "client000000001", "mobile": "138****8001"}


@pytest.mark.parametrize("target", [f"{ONE}?fields=id,mobile", f"{ONE}?fields=mobile,rm_ids"])
def test_m16_a_projection_without_what_is_judged_by_is_denied(
    guarded_pocketbase: Guarded, target: str
) -> None:
    assert guarded_pocketbase.get("rm", target).problem == "not-permitted"
    assert guarded_pocketbase.records("rm", target.replace(ONE, CLIENTS)) == []


# -- questions ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "filter=(mobile~%22138%25%22)",
        "filter=balance%3E70000",
        "filter=id_no~%221101011960%25%22",
        "filter=meta.kyc.passport=%22E88000003%22",
        "filter=manager.phone=%2202150010002%22",
        "filter=cards_via_client.pan?~%2262220200000001%25%22",
        "filter=strftime(%22%25Y%22,dob)=%221960%22",
        "filter=id=%22client000000001%22",
        "sort=-balance",
        "sort=id,-mobile",
        "sort=manager.phone",
        "sort=meta.kyc.passport",
        "sort=cards_via_client.pan",
        "sort=@random",
        "fields=id,rm_ids,id_no:excerpt(4,true)",
        "fields=*,id_no:excerpt(4)",
        "search=13800138001",
        "page=13800138001",
        "perPage=-1",
        "page=1&page=2",
        "FILTER=balance%3E70000",
        "%66ilter=balance%3E70000",
    ],
)
@pytest.mark.parametrize("target", [CLIENTS, ONE])
def test_m01_m02_m03_m04_questions_about_values_are_refused(
    guarded_pocketbase: Guarded, target: str, query: str
) -> None:
    guarded_pocketbase.refuse("rm", "GET", f"{target}?{query}", as_="filter-not-permitted")


@pytest.mark.parametrize("sort", ["id", "-created", "name,-id", "tier"])
def test_sorting_by_what_is_seen_in_clear_is_permitted(guarded_pocketbase: Guarded, sort: str) -> None:
    through = guarded_pocketbase.records("rm", f"{CLIENTS}?sort={sort}&perPage=20")
    past = guarded_pocketbase.upstream("rm", f"{CLIENTS}?sort={sort}&perPage=20")["items"]
    mine = guarded_pocketbase.crm.staff["rm"].id
    assert [each["id"] for each in through] == [each["id"] for each in past if mine in each["rm_ids"]]


# -- other ways to the same data ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/api/realtime"),
        ("POST", "/api/realtime"),
        ("POST", "/api/batch"),
        ("GET", "/api/collections/CLIENTS/records"),
        ("GET", "/api/Collections/clients/records"),
        ("GET", "/api/collections/pbc_2442875294/records"),
        ("PATCH", "/api/collections/CLIENTS/records/client000000001"),
        ("GET", "/api/collections/cards/records?expand=client"),
        ("GET", "/api/collections/managers/records?expand=clients_via_manager"),
        ("GET", "/api/collections/users/records"),
        ("POST", "/api/collections/users/auth-refresh"),
        ("GET", "/api/collections"),
        ("GET", "/api/logs"),
        ("GET", "/api/files/clients/client000000001/letter.pdf"),
        ("GET", f"{CLIENTS}/"),
        ("GET", f"{ONE}/"),
        ("POST", CLIENTS),
        ("DELETE", ONE),
        ("PUT", ONE),
        ("SEARCH", CLIENTS),
        ("OPTIONS", CLIENTS),
        ("GET", "/_/"),
        ("POST", "/graphql"),
    ],
)
def test_m06_m11_ungoverned_routes_are_refused(guarded_pocketbase: Guarded, method: str, target: str) -> None:
    guarded_pocketbase.refuse("rm", method, target, as_="ungoverned-route")


@pytest.mark.parametrize(
    "target",
    [
        "/api/collections/clients%2frecords",
        "/api/collections/clients/records%2fclient000000001",
        "/api/collections/%63lients/records",
        f"/{CLIENTS}",
        f"/x/..{CLIENTS}",
        f"{CLIENTS};x/client000000001",
        "/api/collections/clients\\records",
    ],
)
def test_s12_targets_with_two_readings_are_refused(guarded_pocketbase: Guarded, target: str) -> None:
    guarded_pocketbase.refuse("rm", "GET", target, as_="malformed-request")


def test_m09_the_event_stream_stays_shut_while_records_change(guarded_pocketbase: Guarded) -> None:
    """PocketBase itself would send each write of anybody, in clear."""
    body = {"clientId": "x", "subscriptions": ["clients/*", "clients/client000000001"]}
    guarded_pocketbase.refuse("rm", "POST", "/api/realtime", as_="ungoverned-route", json=body)
    answer = guarded_pocketbase.refuse("rm", "GET", "/api/realtime", as_="ungoverned-route")
    assert "event-stream" not in answer.headers["content-type"]


# -- who ----------------------------------------------------------------------------------------------------


def test_signing_in_passes_and_the_token_counts(guarded_pocketbase: Guarded) -> None:
    staff = guarded_pocketbase.crm.staff["rm"]
    login = {"identity": staff.email, "password": staff.password}
    route = "/api/collections/users/auth-with-password"
    answer = guarded_pocketbase.gateway.ask(None, "POST", route, json=login)
    port = guarded_pocketbase.gateway.port
    assert ask(port, "GET", ONE, token=answer.json()["token"]).json()["mobile"] == "138****8001"


def test_nobody_without_a_token_that_holds(guarded_pocketbase: Guarded) -> None:
    """PocketBase takes a bad token for a guest; an administrator's list of accounts begins with another."""
    guarded_pocketbase.refuse(None, "GET", ONE, as_="unauthenticated")
    for token in ("eyJhbGciOiJub25lIn0.e30.", guarded_pocketbase.crm.server.token):
        bearer = {"Authorization": f"Bearer {token}"}
        guarded_pocketbase.refuse(None, "GET", ONE, as_="unauthenticated", headers=bearer)


@pytest.mark.parametrize(("target", "missing"), [(OTHERS, NOBODYS)])
@pytest.mark.parametrize("method", ["GET", "PATCH"])
def test_m12_a_client_of_others_looks_like_none(
    guarded_pocketbase: Guarded, method: str, target: str, missing: str
) -> None:
    more: dict[str, Any] = {"json": {"name": "x"}} if method == "PATCH" else {}
    with guarded_pocketbase.unasked("PATCH"):
        one = guarded_pocketbase.ask("rm", method, target, **more)
        none = guarded_pocketbase.ask("rm", method, missing, **more)
    assert one.status == none.status == 404
    assert alike(one) == alike(none)


# -- caches and parts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [ONE, f"{CLIENTS}?perPage=5&sort=id"])
def test_m08_head_says_what_get_says(guarded_pocketbase: Guarded, target: str) -> None:
    get = guarded_pocketbase.get("rm", target)
    head = guarded_pocketbase.ask("rm", "HEAD", target)
    assert head.body == b""
    assert head.headers["content-length"] == str(len(get.body))
    assert head.headers.keys() == get.headers.keys()
    assert head.headers["privguard-fields"] == get.headers["privguard-fields"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Range": "bytes=0-40"},
        {"If-None-Match": "*"},
        {"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"},
        {"Accept-Encoding": "gzip, br, zstd"},
    ],
)
def test_m08_conditions_and_parts_have_no_effect(
    guarded_pocketbase: Guarded, headers: dict[str, str]
) -> None:
    plain = guarded_pocketbase.get("rm", ONE)
    answer = guarded_pocketbase.get("rm", ONE, headers=headers)
    assert (answer.status, answer.body) == (200, plain.body)
    assert "content-encoding" not in answer.headers


# -- writing ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "paths"),
    [
        ({"mobile": "138****8001"}, ["mobile"]),
        ({"mobile": "13900139000"}, ["mobile"]),
        ({"name": "138****8001"}, ["name"]),
        ({"name": "x", "id_no": "1****3"}, ["id_no"]),
        ({"email": "canary.client.02@example.org"}, ["email"]),
        ({"balance": 0}, ["balance"]),
        ({"balance+": 1}, None),
        ({"balance-": 1}, None),
        ({"rm_ids+": "x"}, None),
        ({"+rm_ids": "x"}, None),
        ({"mobile:autogenerate": ""}, None),
        ({"rm_ids": []}, ["rm_ids"]),
        ({"branch": "BJ-02"}, ["branch"]),
        ({"meta": {"kyc": {"passport": "E****1"}}}, ["meta.kyc.passport"]),
        ({"meta": None}, ["meta"]),
        ({"manager": "manager00000001"}, ["manager"]),
        ({"expand": {"manager": {"phone": "1"}}}, ["expand.manager"]),
        ({"id": "client000000002"}, ["id"]),
        ({"MOBILE": "13900139000"}, ["MOBILE"]),
        ({"password": "x"}, ["password"]),
    ],
)
def test_m07_what_may_not_be_written_does_not_reach_the_upstream(
    guarded_pocketbase: Guarded, body: dict[str, Any], paths: list[str] | None
) -> None:
    with guarded_pocketbase.unasked("PATCH"):
        answer = guarded_pocketbase.ask("rm", "PATCH", ONE, json=body)
    assert (answer.status, answer.problem) == (409, "masked-value-in-write")
    assert paths is None or answer.json()["paths"] == paths


@pytest.mark.parametrize(
    ("media", "body", "problem"),
    [
        ("application/x-www-form-urlencoded", 'name=a&@jsonPayload={"name":"b"}', "masked-value-in-write"),
        (
            "application/x-www-form-urlencoded",
            "name=a&@jsonPayload=%7B%22name%22%3A%22b%22%7D",
            "masked-value-in-write",
        ),
        ("application/x-www-form-urlencoded", "name=a&mobile=13900139000", "masked-value-in-write"),
        (
            "multipart/form-data; boundary=x",
            '--x\r\nContent-Disposition: form-data; name="@jsonPayload"\r\n\r\n{"name":"b"}\r\n--x--\r\n',
            "malformed-request",
        ),
        ("text/plain", '{"name":"b"}', "malformed-request"),
        ("application/json", '{"name":"a","name":"b"}', "malformed-request"),
        ("application/json", '[{"name":"a"}]', "malformed-request"),
        ("application/json", '{"name":"a"', "malformed-request"),
    ],
)
def test_m07_m09_bodies_that_hide_a_write_are_refused(
    guarded_pocketbase: Guarded, media: str, body: str, problem: str
) -> None:
    with guarded_pocketbase.unasked("PATCH"):
        answer = guarded_pocketbase.ask("rm", "PATCH", ONE, body=body, headers={"Content-Type": media})
    assert answer.problem == problem


def test_m07_a_write_of_clear_fields_passes_and_its_answer_is_masked(guarded_pocketbase: Guarded) -> None:
    new = guarded_pocketbase.new_client(CREATE, "written00000001")
    target = f"{CLIENTS}/{new}"
    answer = guarded_pocketbase.ask(
        "rm", "PATCH", f"{target}?expand=manager", json={"id": new, "name": "改名", "tier": "mass"}
    )
    assert answer.status == 200
    assert {
        "name": "改名",
        "tier": "mass",
        "mobile": "139****8020",
    }.items() <= answer.json().items()
    truth = guarded_pocketbase.upstream("rm", target)
    assert (truth["name"], truth["tier"], truth["mobile"]) == (
        "改名",
        "mass",
        WRITTEN["mobile"],
    )
    leaf = guarded_pocketbase.leaf(answer)
    intent = guarded_pocketbase.leaf_at(leaf["intent"])
    assert (intent["outcome"], intent["action"], leaf["action"]) == ("intent", *["gateway:client:update"] * 2)
    assert subjects(intent, "client") == subjects(leaf, "client")


@pytest.mark.parametrize("query", ["fields=id,mobile,rm_ids", "filter=x", "expand=cards_via_client"])
def test_m07_parameters_of_a_write_are_judged(guarded_pocketbase: Guarded, query: str) -> None:
    new = guarded_pocketbase.new_client(CREATE, f"written0000001{guarded_pocketbase.made}")
    answer = guarded_pocketbase.ask("rm", "PATCH", f"{CLIENTS}/{new}?{query}", json={"name": "改名"})
    assert answer.status == (403 if query == "filter=x" else 200)
    assert answer.json().get("mobile", "139****8020") == "139****8020"


def test_m06_an_error_that_echoes_a_value_is_replaced(guarded_pocketbase: Guarded) -> None:
    past = ask_upstream(
        "PATCH",
        guarded_pocketbase.crm.server.url + ONE,
        token=guarded_pocketbase.crm.staff["rm"].token,
        body={"tier": "ECHO-not-a-tier"},
    )
    assert b"ECHO-not-a-tier" in past.body  # or this test shows nothing
    answer = guarded_pocketbase.ask("rm", "PATCH", ONE, json={"tier": "ECHO-not-a-tier"})
    assert (answer.status, answer.problem) == (400, "upstream-refused")
    assert b"ECHO" not in answer.body


# -- large answers ------------------------------------------------------------------------------------------


def test_an_answer_in_parts_is_the_same(guarded_pocketbase: Guarded, pocketbase_in_parts: Guarded) -> None:
    targets = [f"{CLIENTS}?sort=id", f"{CLIENTS}?sort=id&expand=manager.clients_via_manager,cards_via_client"]
    for target in (*targets, f"{ONE}?expand=manager.clients_via_manager"):
        whole, parts = (door.get("rm", target) for door in (guarded_pocketbase, pocketbase_in_parts))
        assert "content-length" not in parts.headers  # or this test shows nothing
        assert parts.body == whole.body
    assert alike(pocketbase_in_parts.get("rm", OTHERS)) == alike(pocketbase_in_parts.get("rm", NOBODYS))
    pocketbase_in_parts.assert_nothing_kept()


# -- what is kept -------------------------------------------------------------------------------------------


def test_every_disclosure_has_its_own_leaf(guarded_pocketbase: Guarded) -> None:
    targets = [CLIENTS, ONE, OTHERS, f"{CLIENTS}?sort=-balance", "/api/realtime", f"{ONE}?expand=manager"]
    answers = [guarded_pocketbase.get(who, target) for who in ("rm", "rm_manager") for target in targets]
    indexes = [index_of(answer) for answer in answers]
    assert sorted(set(indexes)) == indexes
    shown = guarded_pocketbase.get("rm", f"{CLIENTS}?sort=id&perPage=20")
    assert len(set(subjects(guarded_pocketbase.leaf(shown), "client"))) == len(shown.json()["items"])


def test_l12_no_value_is_kept(guarded_pocketbase: Guarded) -> None:
    """After reads, refused questions that name values, and writes of values: nothing in any file."""
    fields = client_seed(1).fields
    for name in ("mobile", "id_no", "email", "balance"):
        guarded_pocketbase.get("rm", f"{CLIENTS}?filter={name}=%22{fields[name]}%22")
        guarded_pocketbase.get("rm", f"{CLIENTS}?{fields[name]}=1")
        guarded_pocketbase.get("rm", f"{CLIENTS}/{fields[name]}")
        guarded_pocketbase.get("rm", f"/api/collections/{fields[name]}")
        guarded_pocketbase.ask("rm", "PATCH", ONE, json={name: fields[name]})
        guarded_pocketbase.ask("rm", "PATCH", ONE, json={"name": "x", "notes": fields[name]})
        guarded_pocketbase.ask("rm", "PATCH", ONE, json={"tier": fields[name]})
        guarded_pocketbase.ask("rm", "PATCH", ONE, body=f'{{"{fields[name]}"', headers=JSON)
        guarded_pocketbase.get("rm", ONE, headers={"Privguard-Reason": f'"{fields[name]}"'})
        guarded_pocketbase.get("rm", ONE, headers={"Privguard-Purpose": f'"{fields[name]}"'})
        guarded_pocketbase.get("rm", ONE, headers={"Privguard-Reveal": f'"{fields[name]}"'})
    guarded_pocketbase.get("rm", f"{ONE}?expand=manager.clients_via_manager,cards_via_client,rm_ids")
    guarded_pocketbase.assert_nothing_kept()
