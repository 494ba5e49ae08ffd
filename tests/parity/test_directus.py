"""privguard before a real Directus; `Guarded` holds every answer against the seed besides."""

import csv
import io
from typing import Any

import pytest

from tests.door import ask

from .crm import tell
from .guarded import WRITTEN, Guarded, alike, index_of, seen_by, subjects
from .records import client_seed
from .wire import ask as ask_upstream

CLIENTS = "/items/clients"
ONE = f"{CLIENTS}/1"
OTHERS = f"{CLIENTS}/2"
NOBODYS = f"{CLIENTS}/99"
SEED = f"{CLIENTS}?sort=id&limit=20"
ID_NO = str(client_seed(1).fields["id_no"])
OTHERS_ID_NO = str(client_seed(2).fields["id_no"])
MASKED = {
    "id": 1,
    "name": client_seed(1).fields["name"],
    "mobile": "138****8001",
    "email": "c****@example.org",
    "id_no": f"1****{ID_NO[-1]}",
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
    "date_updated": None,
}


# -- reading ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["rm", "other_rm", "rm_manager"])
def test_a_list_holds_whom_the_policy_lets_see(guarded_directus: Guarded, who: str) -> None:
    assert [each["id"] for each in guarded_directus.records(who, SEED)] == seen_by(who)


def test_a_record_leaves_masked_and_unclassified_fields_stay(guarded_directus: Guarded) -> None:
    """A bare key of a relation is no record, so nothing of it leaves."""
    assert guarded_directus.get("rm", ONE).json() == {"data": {**MASKED, "cards": []}}


def test_another_role_sees_other_fields(guarded_directus: Guarded) -> None:
    record = guarded_directus.get("rm_manager", ONE).json()["data"]
    assert MASKED.keys() - record.keys() == {"notes"}
    assert record["meta"]["contacts"] == [{"mobile": "137****7001"}]


def test_m12_counts_of_other_clients_stay_away(guarded_directus: Guarded) -> None:
    body = guarded_directus.get("rm", f"{SEED}&meta=*").json()
    assert body.keys() == {"data"}


def test_m05_nested_records_are_judged_by_their_own_resource(guarded_directus: Guarded) -> None:
    answer = guarded_directus.get("rm", f"{ONE}?fields=*.*.*")
    record = answer.json()["data"]
    assert record["manager"] == {"id": 2, "name": "冯经理", "phone": "****"}
    for card in record["cards"]:
        assert card.keys() == {"id", "pan", "client"}
        assert card["pan"].startswith("****")
        assert card["client"].items() >= MASKED.items()
    leaf = guarded_directus.leaf(answer)
    assert len(subjects(leaf, "client")) == 1
    assert len(subjects(leaf, "card")) == len(client_seed(1).cards)


def test_m05_records_below_a_list_of_cards_are_judged_one_by_one(guarded_directus: Guarded) -> None:
    """Every card is asked for; those of others' clients stay, and with them the clients."""
    cards = guarded_directus.records("rm", "/items/cards?fields=*,client.*&limit=100")
    assert {card["client"]["id"] for card in cards if card["client"]["id"] <= 20} == set(seen_by("rm"))
    assert all(card["client"]["mobile"].count("*") == 4 for card in cards)
    assert guarded_directus.records("rm", "/items/cards?fields=*&limit=100") == []
    guarded_directus.refuse("rm_manager", "GET", "/items/cards?fields=*,client.*", as_="not-permitted")


@pytest.mark.parametrize(
    "fields",
    [
        "fields=id,rm_ids,mobile",
        "fields[]=id",
        "fields=id,rm_ids,year(dob),count(cards)",
        "fields=id,rm_ids,manager,user_updated",
        "fields=id,rm_ids,cards.cvv",
        "fields=*,cards.client",
    ],
)
def test_m04_a_selection_is_governed_by_what_it_holds(guarded_directus: Guarded, fields: str) -> None:
    """Functions make new names (`dob_year`), which nothing names."""
    answer = guarded_directus.get("rm", f"{ONE}?{fields}")
    if fields.startswith("fields[]"):
        assert answer.problem == "filter-not-permitted"
        return
    record = answer.json()["data"]
    assert record.keys() <= {*MASKED, "cards"}
    assert record.items() <= {**MASKED, "cards": []}.items()


@pytest.mark.parametrize("fields", ["id,mobile", "mobile,rm_ids", "*,-rm_ids"])
def test_m16_a_selection_without_what_is_judged_by_is_denied(guarded_directus: Guarded, fields: str) -> None:
    assert guarded_directus.get("rm", f"{ONE}?fields={fields}").status in (403, 404)


# -- questions ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "filter[mobile][_starts_with]=138",
        "filter[balance][_gte]=70000",
        "filter[mobile]=13800138001",
        f"filter[id_no]={ID_NO}",
        "filter[id_no][_starts_with]=1101",
        f"filter[id_no][_in]={ID_NO}",
        f"filter[id_no][_eq][]={ID_NO}",
        f"filter[id_no][_eq]={ID_NO}&filter[id_no][_eq]={ID_NO}",
        "filter[id_no][_eq]=1101*",
        "filter[id_no][_eq]=$CURRENT_USER",
        f"filter[_not][id_no][_eq]={ID_NO}",
        'filter=%7B"_or":[%7B"id_no":%7B"_contains":"1960"%7D%7D]%7D'.replace('"', "%22"),
        "filter[_and][0][mobile][_starts_with]=138",
        "filter[cards][pan][_eq]=6222020000000108",
        "filter[year(dob)][_eq]=1960",
        "search=13800138001",
        "sort=-balance",
        "sort[]=mobile",
        "sort=id,manager.phone",
        "sort=year(dob)",
        "aggregate[min]=balance",
        "aggregate[count]=*",
        "aggregate=%7B%22max%22:%22balance%22%7D",
        "groupBy[]=mobile",
        "groupBy=year(dob)",
        "deep[cards][_filter][pan][_starts_with]=62",
        "deep[cards][_aggregate][min]=pan",
        "deep=%7B%22cards%22:%7B%22_sort%22:%22-pan%22%7D%7D",
        "deep[cards][_alias][x]=pan",
        "alias[x]=mobile",
        "alias[x]=mobile&fields=id,rm_ids,x",
        "alias[rm_ids]=notes",
        "alias=%7B%22x%22:%22id_no%22%7D",
        "%61lias[x]=mobile",
        "limit=-1",
        "page=13800138001",
        "export=csv",
        "export=xml",
        "export=yaml",
        "export=CSV",
        "version=draft",
        "access_token=parity-static-token-rm_manager",
    ],
)
@pytest.mark.parametrize("target", [CLIENTS, ONE])
def test_m01_m02_m03_m04_questions_about_values_are_refused(
    guarded_directus: Guarded, target: str, query: str
) -> None:
    guarded_directus.refuse("rm", "GET", f"{target}?{query}", as_="filter-not-permitted")


def test_m01_a_whole_value_may_be_looked_up_by_who_sees_it_masked(guarded_directus: Guarded) -> None:
    """Another's client is found as little as nobody's, and the log holds neither number (L12)."""
    look_up = f"{SEED}&filter[id_no][_eq]="
    assert [each["id"] for each in guarded_directus.records("rm", look_up + ID_NO)] == [1]
    others = guarded_directus.get("rm", look_up + OTHERS_ID_NO)
    nobodys = guarded_directus.get("rm", f"{look_up}110101190001010017")
    assert others.body == nobodys.body == b'{"data":[]}'
    assert [each["id"] for each in guarded_directus.records("other_rm", look_up + OTHERS_ID_NO)] == [2]


def test_filtering_by_what_is_seen_in_clear_is_permitted(guarded_directus: Guarded) -> None:
    private = guarded_directus.records("rm", f"{SEED}&filter[tier][_eq]=private")
    assert [each["id"] for each in private] == [number for number in seen_by("rm") if number % 3 == 2]


# -- exports ------------------------------------------------------------------------------------------------


def test_m06_an_export_leaves_masked_by_whom_may_export(guarded_directus: Guarded) -> None:
    answer = guarded_directus.get("rm_manager", f"{SEED}&export=csv")
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.body.decode())))
    assert [int(row["id"]) for row in rows] == seen_by("rm_manager")
    names = (
        "id",
        "name",
        "mobile",
        "email",
        "id_no",
        "dob",
        "balance",
        "branch",
        "tier",
        "meta.kyc.passport",
    )
    assert set(rows[0]) == {*names, "date_updated"}
    assert [rows[0][name] for name in names[2:7]] == [MASKED[name] for name in names[2:7]]
    assert rows[0]["meta.kyc.passport"] == "E****1"
    leaves = guarded_directus.gateway.leaves()[index_of(answer) :]
    noted = [token for leaf in leaves for token in subjects(leaf, "clients")]
    assert len(set(noted)) == len(rows)


@pytest.mark.parametrize(
    ("fields", "columns"),
    [
        ("*.*", 11),
        ("id,mobile,branch,manager.phone,cards.pan", 3),
        ("id,branch,rm_ids,user_updated,meta.kyc.risk", 2),
    ],
)
def test_m04_an_export_is_governed_by_what_it_holds(
    guarded_directus: Guarded, fields: str, columns: int
) -> None:
    answer = guarded_directus.get("rm_manager", f"{SEED}&export=csv&fields={fields}")
    rows = list(csv.DictReader(io.StringIO(answer.body.decode())))
    assert len(rows) == len(seen_by("rm_manager"))
    assert len(rows[0]) == columns


@pytest.mark.parametrize("fields", ["id,mobile", "mobile,branch"])
def test_m16_an_export_without_what_is_judged_by_is_empty(guarded_directus: Guarded, fields: str) -> None:
    answer = guarded_directus.get("rm_manager", f"{SEED}&export=csv&fields={fields}")
    assert answer.problem == "unreadable-response" or answer.body == b"id,mobile\n"


@pytest.mark.parametrize("query", ["export=xml", "export=yaml", "export=csv&export=csv", "export[]=csv"])
def test_m06_other_exports_are_refused_to_exporters_too(guarded_directus: Guarded, query: str) -> None:
    guarded_directus.refuse("rm_manager", "GET", f"{CLIENTS}?{query}", as_="filter-not-permitted")


def test_m06_an_export_of_one_record_needs_the_right_as_well(guarded_directus: Guarded) -> None:
    """The right is for lists: a detail and a write's answer are no exports."""
    guarded_directus.refuse("rm_manager", "GET", f"{ONE}?export=csv", as_="filter-not-permitted")
    body = {"json": {"name": "x"}}
    guarded_directus.refuse("rm_manager", "PATCH", f"{ONE}?export=csv", as_="filter-not-permitted", **body)


def test_m04_json_without_its_envelope_is_masked_alike(guarded_directus: Guarded) -> None:
    assert guarded_directus.get("rm", f"{ONE}?export=json").json() == {**MASKED, "cards": []}
    listed = guarded_directus.get("rm", f"{SEED}&export=json").json()
    assert listed == guarded_directus.records("rm", SEED)


# -- other ways to the same data ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("SEARCH", CLIENTS, {"query": {"filter": {"mobile": {"_starts_with": "138"}}, "fields": ["id"]}}),
        ("SEARCH", CLIENTS, {"keys": [1, 2]}),
        ("POST", "/graphql", {"query": "{ clients { id x: mobile } }"}),
        ("GET", "/graphql?query=%7B%20clients%20%7B%20id%20mobile%20%7D%20%7D", None),
        ("POST", "/graphql/system", {"query": "{ users_me { id } }"}),
        ("PATCH", CLIENTS, {"query": {"filter": {"mobile": {"_starts_with": "138"}}}, "data": {"name": "x"}}),
        ("PATCH", CLIENTS, {"keys": [1, 2], "data": {"name": "x"}}),
        ("PATCH", CLIENTS, [{"id": 1, "name": "x"}, {"id": 2, "name": "x"}]),
        ("POST", CLIENTS, [{"name": "x"}]),
        ("POST", CLIENTS, {"name": "x"}),
        ("DELETE", ONE, None),
        ("PUT", ONE, {"name": "x"}),
        ("GET", "/ITEMS/clients/1", None),
        ("GET", "/items/CLIENTS/1", None),
        ("GET", "/items/clients/1/", None),
        ("GET", "/items/clients/", None),
        ("GET", "/items/cards/1", None),
        ("GET", "/items/managers", None),
        ("GET", "/revisions", None),
        ("GET", "/activity", None),
        ("GET", "/users/me", None),
        ("GET", "/users", None),
        ("GET", "/comments", None),
        ("GET", "/assets/00000000-0000-0000-0000-000000000000", None),
        ("POST", "/utils/export/clients", {"format": "csv", "query": {}, "file": {}}),
        ("POST", "/utils/import/clients", {}),
        ("GET", "/fields/clients", None),
        ("GET", "/server/specs/oas", None),
        ("GET", "/", None),
        ("OPTIONS", CLIENTS, None),
        ("GET", "/nosuch/13800138001", None),
    ],
)
def test_m04_m06_m11_ungoverned_routes_are_refused(
    guarded_directus: Guarded, method: str, target: str, body: Any
) -> None:
    more: dict[str, Any] = {} if body is None else {"json": body}
    guarded_directus.refuse("rm", method, target, as_="ungoverned-route", **more)


@pytest.mark.parametrize(
    "target",
    [
        "/items/clients/%31",
        "/items/cl%69ents/1",
        "/items%2fclients/1",
        "//items/clients/1",
        "/x/../items/clients/1",
    ],
)
def test_s12_targets_with_two_readings_are_refused(guarded_directus: Guarded, target: str) -> None:
    guarded_directus.refuse("rm", "GET", target, as_="malformed-request")


@pytest.mark.parametrize("spelt", ["01", "1.0", "001", "1.00"])
def test_m11_another_spelling_of_an_id_is_the_same_client(guarded_directus: Guarded, spelt: str) -> None:
    """Whose record it is, says the record."""
    plain, odd = (guarded_directus.get("rm", f"{CLIENTS}/{each}") for each in ("1", spelt))
    assert odd.body == plain.body
    assert subjects(guarded_directus.leaf(odd), "client") == subjects(guarded_directus.leaf(plain), "client")
    others = guarded_directus.get("rm", f"{CLIENTS}/{spelt.replace('1', '2', 1)}")
    assert (others.status, others.problem) == (404, "not-permitted")


# -- who ----------------------------------------------------------------------------------------------------


def test_signing_in_passes_and_the_session_counts(guarded_directus: Guarded) -> None:
    """As a browser does it: the CRM sets its own cookie, and the gateway asks the CRM whose it is."""
    staff = guarded_directus.crm.staff["rm"]
    login = {"email": staff.email, "password": staff.password, "mode": "session"}
    signed_in = guarded_directus.gateway.ask(None, "POST", "/auth/login", json=login)
    cookie = signed_in.headers["set-cookie"].partition(";")[0]
    port = guarded_directus.gateway.port
    answer = ask(port, "GET", ONE, headers={"Cookie": f"other=1; {cookie}"})
    assert answer.json()["data"]["mobile"] == "138****8001"
    assert guarded_directus.leaf(answer)["actor"] == staff.id


def test_nobody_without_credentials_that_hold(guarded_directus: Guarded) -> None:
    """A token in the URL is no credential: it would end in logs."""
    tokens = guarded_directus.crm.staff["rm"].token
    guarded_directus.refuse(None, "GET", ONE, as_="unauthenticated")
    guarded_directus.refuse(None, "GET", f"{ONE}?access_token={tokens}", as_="unauthenticated")
    for headers in ({"Authorization": "Bearer x"}, {"Cookie": "directus_session_token=x"}, {"Cookie": "x=y"}):
        guarded_directus.refuse(None, "GET", ONE, as_="unauthenticated", headers=headers)


def test_an_administrator_of_the_crm_is_nobody_to_the_policy(guarded_directus: Guarded) -> None:
    bearer = {"Authorization": f"Bearer {guarded_directus.crm.server.token}"}
    with guarded_directus.unasked():
        answer = guarded_directus.gateway.get(None, ONE, headers=bearer)
    assert answer.problem == "not-permitted"


def test_s11_of_two_credentials_the_upstream_says_which_counts(guarded_directus: Guarded) -> None:
    """The gateway shows both to the CRM and judges by whom the CRM takes the caller for."""
    login = {"email": guarded_directus.crm.staff["rm_manager"].email, "mode": "session"}
    login["password"] = guarded_directus.crm.staff["rm_manager"].password
    cookie = guarded_directus.gateway.ask(None, "POST", "/auth/login", json=login).headers["set-cookie"]
    answer = guarded_directus.get("rm", ONE, headers={"Cookie": cookie.partition(";")[0]})
    assert answer.json()["data"]["notes"] == MASKED["notes"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PATCH"])
def test_m12_a_client_of_others_looks_like_none(guarded_directus: Guarded, method: str) -> None:
    """Directus itself says 403 of a record that is not there."""
    more: dict[str, Any] = {"json": {"name": "x"}} if method == "PATCH" else {}
    with guarded_directus.unasked("PATCH"):
        one = guarded_directus.ask("rm", method, OTHERS, **more)
        none = guarded_directus.ask("rm", method, NOBODYS, **more)
    assert one.status == none.status == 404
    assert alike(one) == alike(none)


# -- caches and parts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [ONE, SEED, f"{ONE}?fields=*.*"])
def test_m08_head_says_what_get_says(guarded_directus: Guarded, target: str) -> None:
    get = guarded_directus.get("rm", target)
    head = guarded_directus.ask("rm", "HEAD", target)
    assert head.body == b""
    assert head.headers["content-length"] == str(len(get.body))
    assert head.headers.keys() == get.headers.keys()


def test_m08_a_tag_of_the_clear_body_confirms_nothing(guarded_directus: Guarded) -> None:
    server, staff = guarded_directus.crm.server, guarded_directus.crm.staff["rm"]
    tag = {"If-None-Match": ask_upstream("GET", server.url + ONE, token=staff.token).headers["ETag"]}
    assert ask_upstream("GET", server.url + ONE, token=staff.token, headers=tag).status == 304
    before = len(guarded_directus.relay.sent)
    answer = guarded_directus.get("rm", ONE, headers=tag)
    assert (answer.status, answer.json()["data"]["mobile"]) == (200, "138****8001")
    assert b"if-none-match" not in bytes(guarded_directus.relay.sent[before:]).lower()


@pytest.mark.parametrize(
    "headers", [{"Range": "bytes=0-40"}, {"If-Match": '"x"'}, {"Accept-Encoding": "gzip, br, zstd"}]
)
def test_m08_conditions_and_parts_have_no_effect(guarded_directus: Guarded, headers: dict[str, str]) -> None:
    plain = guarded_directus.get("rm", ONE)
    answer = guarded_directus.get("rm", ONE, headers=headers)
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
        ({"balance": "50000-100000"}, ["balance"]),
        ({"rm_ids": []}, ["rm_ids"]),
        ({"branch": "BJ-02"}, ["branch"]),
        ({"meta": {"kyc": {"passport": "E****1"}}}, ["meta.kyc.passport"]),
        ({"meta": {"raw": '{"mobile":"138****8001"}'}}, None),
        ({"manager": 1}, ["manager"]),
        ({"manager": {"id": 1, "phone": "1"}}, ["manager"]),
        ({"cards": []}, None),
        ({"cards": [{"id": 3, "pan": "1"}]}, None),
        ({"cards": {"create": [{"pan": "1"}], "update": [], "delete": [1]}}, None),
        ({"id": 2}, ["id"]),
        ({"MOBILE": "13900139000"}, ["MOBILE"]),
        ({"user_updated": "x"}, ["user_updated"]),
        ({"data": {"mobile": "13900139000"}}, ["mobile"]),
        ({"keys": [2], "data": {"name": "x"}}, None),
        ({"query": {"filter": {"mobile": {"_starts_with": "138"}}}, "data": {"name": "x"}}, None),
    ],
)
def test_m07_what_may_not_be_written_does_not_reach_the_upstream(
    guarded_directus: Guarded, body: dict[str, Any], paths: list[str] | None
) -> None:
    with guarded_directus.unasked("PATCH"):
        answer = guarded_directus.ask("rm", "PATCH", ONE, json=body)
    assert (answer.status, answer.problem) == (409, "masked-value-in-write")
    assert paths is None or answer.json()["paths"] == paths


@pytest.mark.parametrize(
    ("media", "body"),
    [
        ("application/json", '[{"id":1,"name":"x"},{"id":2,"name":"x"}]'),
        ("application/json", '{"name":"a","name":"b"}'),
        ("application/json", '{"name":"a"'),
        ("text/plain", '{"name":"b"}'),
        ("multipart/form-data; boundary=x", "--x--\r\n"),
    ],
)
def test_m07_m09_bodies_with_two_readings_are_refused(
    guarded_directus: Guarded, media: str, body: str
) -> None:
    with guarded_directus.unasked("PATCH"):
        answer = guarded_directus.ask("rm", "PATCH", ONE, body=body, headers={"Content-Type": media})
    assert answer.problem == "malformed-request"


def test_m07_a_write_is_no_export(guarded_directus: Guarded) -> None:
    """A parameter beside a body is a second reading of the write: only a projection of its answer passes."""
    with guarded_directus.unasked("PATCH"):
        answer = guarded_directus.ask("rm", "PATCH", f"{ONE}?export=json", json={"name": "改名"})
    assert answer.problem == "filter-not-permitted"


@pytest.mark.parametrize("query", ["", "?fields=*.*", "?fields=id,name,mobile,rm_ids"])
def test_m07_a_write_of_clear_fields_passes_and_its_answer_is_masked(
    guarded_directus: Guarded, query: str
) -> None:
    number = 101 + guarded_directus.made
    target = f"{CLIENTS}/{guarded_directus.new_client(CLIENTS, number)}"
    body = {"id": number, "name": "改名", "tier": "mass"}
    answer = guarded_directus.ask("rm", "PATCH", target + query, json=body)
    assert answer.status == 200
    record = answer.json().get("data", answer.json())
    assert {"id": number, "name": "改名", "mobile": "139****8020"}.items() <= record.items()
    truth = guarded_directus.upstream("rm", target)["data"]
    assert (truth["name"], truth["tier"], truth["mobile"]) == (
        "改名",
        "mass",
        WRITTEN["mobile"],
    )
    leaf = guarded_directus.leaf(answer)
    intent = guarded_directus.leaf_at(leaf["intent"])
    assert (intent["outcome"], intent["action"], leaf["action"]) == ("intent", *["gateway:client:update"] * 2)
    assert subjects(intent, "client") == subjects(leaf, "client")


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [("GET", f"{CLIENTS}?fields=id,ECHO13800138001", None), ("PATCH", ONE, {"tier": "affluent-not"})],
)
def test_m06_an_error_that_echoes_is_replaced(
    guarded_directus: Guarded, method: str, target: str, body: Any
) -> None:
    server, staff = guarded_directus.crm.server, guarded_directus.crm.staff["rm"]
    past = ask_upstream(method, server.url + target, token=staff.token, body=body)
    echo = b"ECHO13800138001" if body is None else b"affluent"
    assert echo in past.body  # or this test shows nothing
    answer = guarded_directus.ask("rm", method, target, **({} if body is None else {"json": body}))
    assert (answer.status, answer.problem) == (past.status, "upstream-refused")
    assert echo not in answer.body


def test_m15_a_text_where_a_number_belongs_is_masked_all_the_same(guarded_directus: Guarded) -> None:
    """Directus on SQLite stores what it is given."""
    number = 101 + guarded_directus.made
    target = f"{CLIENTS}/{guarded_directus.new_client(CLIENTS, number)}"
    tell(guarded_directus.crm.server, "PATCH", target, {"balance": "canary-of-a-balance"})
    assert guarded_directus.upstream("rm", target)["data"]["balance"] == "canary-of-a-balance"
    answer = guarded_directus.get("rm", target)
    assert answer.json()["data"]["balance"] == "****"
    assert b"canary-of-a-balance" not in answer.body


# -- large answers ------------------------------------------------------------------------------------------


def test_an_answer_in_parts_is_the_same(guarded_directus: Guarded, directus_in_parts: Guarded) -> None:
    targets = [SEED, f"{SEED}&fields=*.*.*", f"{SEED}&export=json", f"{ONE}?fields=*.*.*"]
    for target in (*targets, "/items/cards?fields=*,client.*"):
        whole, parts = (door.get("rm", target) for door in (guarded_directus, directus_in_parts))
        assert "content-length" not in parts.headers  # or this test shows nothing
        assert parts.body == whole.body
    assert alike(directus_in_parts.get("rm", OTHERS)) == alike(directus_in_parts.get("rm", NOBODYS))
    directus_in_parts.assert_nothing_kept()


# -- what is kept -------------------------------------------------------------------------------------------


def test_every_disclosure_has_its_own_leaf(guarded_directus: Guarded) -> None:
    targets = [SEED, ONE, OTHERS, f"{CLIENTS}?sort=-balance", "/graphql", f"{ONE}?fields=*.*"]
    answers = [guarded_directus.get(who, target) for who in ("rm", "rm_manager") for target in targets]
    indexes = [index_of(answer) for answer in answers]
    assert sorted(set(indexes)) == indexes
    shown = guarded_directus.get("rm", SEED)
    assert len(set(subjects(guarded_directus.leaf(shown), "clients"))) == len(shown.json()["data"])


def test_one_client_has_one_name_in_the_log(guarded_directus: Guarded) -> None:
    """A list and a detail are two resources of one kind of client."""
    listed = guarded_directus.get("rm", f"{SEED}&filter[id_no][_eq]={ID_NO}")
    alone = guarded_directus.get("rm", ONE)
    leaves = guarded_directus.leaf(listed), guarded_directus.leaf(alone)
    assert subjects(leaves[0], "clients") == subjects(leaves[1], "client")


def test_l12_no_value_is_kept(guarded_directus: Guarded) -> None:
    """After reads, look-ups, refused questions and writes that name values: nothing in any file."""
    fields = client_seed(1).fields
    for name in ("mobile", "id_no", "email", "balance"):
        value = fields[name]
        guarded_directus.get("rm", f"{CLIENTS}?filter[{name}][_eq]={value}")
        guarded_directus.get("rm", f"{CLIENTS}?search={value}&{value}=1")
        guarded_directus.get("rm", f"{CLIENTS}/{value}")
        guarded_directus.get("rm", f"/nosuch/{value}")
        guarded_directus.ask("rm", "PATCH", ONE, json={name: value})
        guarded_directus.ask("rm", "PATCH", ONE, json={"tier": value})
        guarded_directus.ask("rm", "PATCH", ONE, json={"name": "x", "notes": value})
        guarded_directus.ask("rm", "SEARCH", CLIENTS, json={"query": {"search": value}})
        guarded_directus.ask(
            "rm", "POST", "/graphql", json={"query": f'{{ clients(search: "{value}") {{ id }} }}'}
        )
        for said in ("Reason", "Purpose", "Reveal", "Ticket"):
            guarded_directus.get("rm", ONE, headers={f"Privguard-{said}": f'"{value}"'})
    guarded_directus.get("rm", f"{ONE}?fields=*.*.*")
    guarded_directus.get("rm_manager", f"{SEED}&export=csv")
    guarded_directus.assert_nothing_kept()
