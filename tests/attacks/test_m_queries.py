"""M01 to M04 against the running gateway: what a caller may ask, and what a question tells."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.truth import client, clients, leaked, said, secrets
from tests.attacks.vouched import CLERK, Vouched
from tests.door import BANK_POLICY, Answer, Gateway, make_gateway
from tests.recorder import Recorder, as_json

RM = "rm.li"
OWN, VIP, FOREIGN, NOBODYS = 1, 7, 11, 99_999


def refused(answer: Answer, *problems: str) -> None:
    """A refusal of one of these kinds, with its receipt and nothing from upstream."""
    assert answer.problem in problems, (answer.status, answer.body[:300])
    assert answer.status == {"malformed-request": 400}.get(answer.problem, 403)
    assert answer.json()["receipt"]["index"] >= 0


# -- M01: filters -------------------------------------------------------------------------------------------

FILTERS = [
    # operators in the value, as query dialects have them
    "id_no=like:11%25", "id_no=11%25", "id_no=11*", "id_no=11_", "id_no=gte.1101", "id_no=gte:1101",
    "id_no=%3E1101", "id_no=1101..1102", "id_no=%5B1101+TO+1102%5D", "id_no=1101,1102", "id_no=!1101",
    "id_no=%7E1101", "id_no=%5E1101", "id_no=1101+or+1102", "id_no=not+1101",
    "id_no=%7B%22like%22%3A%2211%25%22%7D",
    "id_no=is.null", "id_no=", "id_no", "id_no=%22%22", "id_no=1%00", "id_no=11%2525",
    "id_no=%EF%BC%91%EF%BC%91%EF%BC%90", "id_no=1101%E2%80%8B", "id_no=%201101", "id_no=1101%0a",
    # operators in the name
    "id_no_like=11%25", "id_no_gte=11", "id_no_ne=1", "id_no_in=1,2", "id_no__startswith=11", "id_no.gte=11",
    "id_no[gte]=11", "id_no%5Bgte%5D=11", "id_no[]=11", "id_no[0]=11", "id_no!=11", "id_no%3E=11",
    "id_no%3E11",
    "id_no.eq=11", "-id_no=11", "not.id_no=eq.11", "or=(id_no.like.11*)",
    # another spelling of the name
    "ID_NO=11", "Id_no=11", "idNo=11", "%20id_no=11", "id_no%20=11", "id_no+=11", "id%E2%80%8B_no=11",
    "%EF%BD%89%EF%BD%84_no=11", "id_no%00=11", "id%5Fno_like=11%25", "client.id_no=11", "data[id_no]=11",
    # twice, or hidden behind another
    "id_no=1101&id_no=1102", "id_no=1101&id%5Fno=1102", "page=1&page=2", "page=1%26id_no_like=11%25",
    "page=1;id_no_like=11%25", "&id_no_like=11%25", "?id_no_like=11%25", "page=1?id_no_like=11%25",
    "=11", "=&id_no_like=1%25",
    # fields that nobody may search by, exactly or otherwise
    "balance=100", "balance_gte=1000", "balance_lt=1000", "balance[between]=1,2", "min_balance=1000",
    "mobile=199", "mobile_like=199%25", "mobile_gte=19900001000", "email=a@example.cn", "email_like=a%25",
    "dob=1980-01-01", "dob_lt=1980-01-01", "address_like=%25", "notes_like=%25", "iban_like=DE%25",
    "cards.pan=9", "cards[*].pan=9", "cvv=123", "accounts.no=1", "rm_ids=rm.wang", "risk_score_gt=0.5",
    "risk_score=0.5",
    "occupation=engineer", "gender=male", "created_at_gt=2000-01-01",
    # general query languages
    "filter=id_no::11", "filter[id_no][_starts_with]=11", "$filter=startswith(id_no,'11')",
    "filters[0][id_no][$startsWith]=11", "where=%7B%22id_no%22%3A%22x%22%7D", "query=id_no:11*", "search=11",
    "_where=id_no~11", "rql=like(id_no,11*)", "expr=id_no", "domain=[('id_no','like','11')]", "s=11",
    "term=11",
]  # fmt: skip


@pytest.mark.parametrize("user", [RM, "teller.wu", "mgr.chen"])
def test_m01_filters_that_tell_a_masked_value_are_refused_before_the_upstream_is_asked(
    door: Gateway, stand: Recorder, user: str
) -> None:
    hidden = secrets([client(door, user, OWN)])
    door.get(user, "/clients?page=1")  # who this is, is known now
    with stand.unasked():
        for asked in FILTERS:
            answer = door.get(user, f"/clients?{asked}")
            refused(answer, "filter-not-permitted", "malformed-request")
            assert not leaked(answer, hidden), asked


@pytest.mark.parametrize("path", ["/clients/1", "/clients.csv"])
def test_m01_a_filter_is_a_question_on_every_route(door: Gateway, stand: Recorder, path: str) -> None:
    user, said_for = ("ana.lin", "reporting") if path.endswith("csv") else (RM, "service")
    headers = {"Privguard-Purpose": said_for}
    door.get(user, "/clients?page=1", headers=headers)
    with stand.unasked():
        for asked in ("balance_gte=1000", "id_no_like=11%25", "mobile=199", "email_like=a%25", "id_no[gt]=1"):
            refused(door.get(user, f"{path}?{asked}", headers=headers), "filter-not-permitted")


def test_m01_a_prefix_attack_on_a_phone_number_learns_nothing(door: Gateway, stand: Recorder) -> None:
    mobile = client(door, RM, OWN)["mobile"]
    door.get(RM, "/clients?page=1")
    with stand.unasked():
        for length in (4, 7, 11):
            wrong = mobile[: length - 1] + str((int(mobile[length - 1]) + 1) % 10)
            for form in ("mobile_like={}%25", "mobile={}", "q={}", "mobile_gte={}", "mobile=prefix:{}"):
                right_answer = door.get(RM, "/clients?" + form.format(mobile[:length]))
                wrong_answer = door.get(RM, "/clients?" + form.format(wrong))
                assert said(right_answer) == said(wrong_answer)
                refused(right_answer, "filter-not-permitted")


def test_m01_exact_look_up_only_where_the_class_says_it_and_on_record(door: Gateway, stand: Recorder) -> None:
    own, foreign = client(door, RM, OWN), client(door, RM, FOREIGN)
    before = len(door.leaves())
    found = door.get(RM, f"/clients?id_no={own['id_no']}")
    assert [record["id"] for record in found.json()["items"]] == [OWN]
    assert stand.lines()[-1] == f"GET /clients?id_no={own['id_no']}&rm_ids={RM}"
    assert not leaked(found, secrets([own]))
    [leaf] = door.since(before)
    assert leaf["action"] == "gateway:client:read"
    assert own["id_no"] not in str(leaf)
    assert leaf["detail"], "what was searched for is on record, for those who may read it"

    # Whose number it is must not show where the client is not the asker's (M12).
    theirs = door.get(RM, f"/clients?id_no={foreign['id_no']}")
    nobodys = door.get(RM, "/clients?id_no=999999199001010000")
    empty = [
        {key: value for key, value in each.json().items() if key != "recent"} for each in (theirs, nobodys)
    ]
    assert empty[0] == empty[1]
    assert theirs.json()["items"] == []
    assert theirs.headers.keys() == nobodys.headers.keys()

    # An actor who sees not even the mask may not look it up.
    analyst = door.get(
        "ana.lin", f"/clients?id_no={own['id_no']}", headers={"Privguard-Purpose": "reporting"}
    )
    refused(analyst, "filter-not-permitted")


def test_m01_parameters_that_are_dropped_do_not_go_on(odd: Vouched, stand: Recorder) -> None:
    """Where the policy says ``unknown_params: drop``, an unknown filter is left out, not passed unjudged."""
    stand.replies["/people"] = lambda _: as_json({"items": []})
    for asked, went in (
        ("amount_gt=5", ""), ("page=2&amount_gt=5", "?page=2"), ("ID_NO=1&page=2&id_no[gt]=1", "?page=2"),
        ("filter=id_no&city=a%20b&_where=1", "?city=a%20b"), ("amount_gt", ""), ("=5", ""), ("&&page=3&", "?page=3"),
        ("%69d_no_like=1&page=1", "?page=1"), ("PAGE=1", ""), ("id_no=1101&id_no%20=11", "?id_no=1101"),
    ):  # fmt: skip
        came = odd.get(CLERK, f"/people?{asked}")
        assert came.status == 200, asked
        assert stand.lines()[-1] == f"GET /people{went}", asked
    with stand.unasked():
        for asked in ("id_no=1%25&x=1", "sort=amount&y=2", "id_no=1&id_no=2&z=3"):
            refused(odd.get(CLERK, f"/people?{asked}"), "filter-not-permitted")


# -- M02: order ---------------------------------------------------------------------------------------------

SORTS = [
    "sort=balance", "sort=-balance", "sort=%2Bbalance", "sort=balance:desc", "sort=balance%20desc",
    "sort=balance.desc", "sort=tier,-balance", "sort=-balance,id", "sort=BALANCE", "sort=Balance",
    "sort=+balance",
    "sort=--balance", "sort=-%20balance", "sort=balance%00", "sort=%EF%BD%82alance", "sort=mobile",
    "sort=id_no",
    "sort=-dob", "sort=email", "sort=address", "sort=notes", "sort=iban", "sort=rm_ids[0]", "sort=cards.pan",
    "sort=cards", "sort=cards[*].pan", "sort=accounts[0].balance", "sort=length(mobile)",
    "sort=substr(id_no,1,2)",
    "sort=tier,(select%20balance)", "sort=1", "sort=balance,asc", "sort=asc,balance", "sort=tier,", "sort=",
    "sort=money", "sort=contact", "sort[]=balance", "sort[0]=balance", "sort[balance]=asc",
    "sort=tier&sort=balance",
    "Sort=balance", "sort_by=balance", "order=balance", "order_by=balance", "orderBy=balance",
    "ordering=balance",
    "_sort=balance", "$orderby=balance", "group_by=balance", "groupBy[]=balance", "distinct=balance",
    "_sort=balance&_order=desc",
]  # fmt: skip
CURSORS = [
    "page=eyJiYWxhbmNlIjoxMDAwfQ", "page=eyJiYWxhbmNlIjoxMDAwfQ%3D%3D", "page=19900001000", "page=-1",
    "page=1.5",
    "page=1e3", "page=0x10", "page=%EF%BC%91", "page=1%20or%201", "page=balance:1000", "page=", "page",
    "size=19900001000", "size=abc", "cursor=abc", "after=1000", "before=1000", "starting_after=1000",
    "page[after]=1000", "page%5Bcursor%5D=1000", "since_id=5", "seek=1000", "marker=1000",
]  # fmt: skip


@pytest.mark.parametrize("user", [RM, "teller.wu", "mgr.chen"])
def test_m02_no_order_by_a_masked_field_and_no_cursor_of_the_callers_own(
    door: Gateway, stand: Recorder, user: str
) -> None:
    hidden = secrets([client(door, user, OWN)])
    door.get(user, "/clients?page=1")
    with stand.unasked():
        for asked in (*SORTS, *CURSORS):
            answer = door.get(user, f"/clients?{asked}")
            refused(answer, "filter-not-permitted", "malformed-request")
            assert not leaked(answer, hidden), asked


GUESSES = 7


@pytest.fixture
def counted(bank: Any, own_folder: Path) -> Iterator[Gateway]:
    """A gateway with few look-ups, served by two processes."""
    policy = BANK_POLICY.read_text().replace(
        "clients_per_day: 200}", f"clients_per_day: 200, lookups_per_hour: {GUESSES}}}"
    )
    made = make_gateway(own_folder, bank.port, policy=policy)
    made.workers = 2
    yield made.start()
    made.stop()


def test_m01_exact_look_ups_are_limited_whoever_asks_at_once(counted: Gateway) -> None:
    """Sixteen at once, of two processes: as many as there are, to the last one; and each is on record."""
    counted.token(RM)
    targets = [f"/clients?id_no=9999991990010100{number:02d}" for number in range(16)]
    while time.gmtime().tm_min == 59 and time.gmtime().tm_sec > 30:
        time.sleep(1)  # the hour must not end meanwhile
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda target: counted.get(RM, target), targets))
    assert sorted(each.status for each in answers) == [200] * GUESSES + [429] * (16 - GUESSES)
    late = next(each for each in answers if each.status == 429)
    assert late.problem == "too-many-disclosures"
    assert 0 < int(late.headers["retry-after"]) <= 3600
    assert counted.leaves()[late.json()["receipt"]["index"]]["problem"] == "too-many-disclosures"
    assert counted.get(RM, "/clients?branch=pudong").status == 200, "what is seen in clear is no guess"
    assert (
        counted.get(
            "comp.he", "/clients?id_no=999999199001010000", headers={"Privguard-Purpose": "audit"}
        ).status
        == 200
    )


def test_m01_a_look_up_that_cannot_be_counted_is_not_made(counted: Gateway) -> None:
    counted.token(RM)
    with sqlite3.connect(counted.database) as database:
        database.execute("DROP TABLE lookup")
    came = counted.get(RM, "/clients?id_no=999999199001010000")
    assert (came.status, came.problem) == (503, "store-unavailable")
    assert counted.leaves()[came.json()["receipt"]["index"]]["problem"] == "store-unavailable"


def test_m02_order_by_what_is_seen_in_clear_still_works(door: Gateway, stand: Recorder) -> None:
    for asked in ("sort=name", "sort=-tier,name", "sort=-branch", "sort=id&page=2&size=5"):
        answer = door.get(RM, f"/clients?{asked}")
        assert answer.status == 200, answer.body
        assert stand.lines()[-1] == f"GET /clients?{asked}&rm_ids={RM}"
    # A teller sees names masked, so their order would tell them; a relationship manager sees no risk score.
    refused(door.get(RM, "/clients?sort=risk_score"), "filter-not-permitted")
    refused(door.get("teller.wu", "/clients?sort=name"), "filter-not-permitted")
    headers = {"Privguard-Purpose": "reporting"}
    refused(door.get("ana.lin", "/clients.csv?sort=-balance", headers=headers), "filter-not-permitted")


CURSOR = "eyJiYWxhbmNlIjo3MzUwMC41MCwibW9iaWxlIjoiMTk5MDAwMDc5MTkifQ"
LINKS = [
    f"/clients?page={CURSOR}", f"http://crm.internal:9/clients?page={CURSOR}", f"/clients?cursor={CURSOR}",
    "/clients?page=19900007919", "/clients?page=2&after=19900007919", "?after=19900007919",
    f"/clients?page=2#{CURSOR}", "//19900007919/clients?page=2", "http://19900007919@crm/clients?page=2",
    "http://19900007919.example/clients?page=2", "/clients/../after/19900007919",
    "/clients/after/19900007919",
    f"/clients/{CURSOR}?page=2", "javascript:19900007919", "/clients;k=19900007919?page=2", "19900007919",
    "/clients?page=2&balance_gt=73500.50", "/clients?page=2&sort=-73500.50",
    "/clients?name=19900007919&page=2",
]  # fmt: skip


@pytest.mark.parametrize("link", LINKS)
def test_m02_links_to_further_pages_carry_no_sort_key(door: Gateway, stand: Recorder, link: str) -> None:
    listed = {
        "items": [],
        "next": link,
        "next_cursor": CURSOR,
        "cursor": {"after": "19900007919"},
        "total": 1,
    }
    headers = {"Link": f'<{link}>; rel="next"', "X_Next_Cursor": CURSOR, "X_Next": "19900007919"}
    stand.replies["/clients"] = lambda _: as_json(listed, **headers)
    answer = door.get(RM, "/clients?page=1")
    assert answer.status == 200
    assert not leaked(answer, [CURSOR, "19900007919", "73500.50", "crm.internal"])
    assert answer.json().get("next") in (
        None, "/clients?page=2", f"http://127.0.0.1:{door.port}/clients?page=2", "/clients",
        f"http://127.0.0.1:{door.port}/clients", "",
    )  # fmt: skip


# -- M03: search and aggregates -----------------------------------------------------------------------------


def test_m03_search_and_aggregates_over_masked_fields_are_refused(door: Gateway, stand: Recorder) -> None:
    own = client(door, RM, OWN)
    hidden = secrets(clients(door, RM))
    for user in (RM, "mgr.chen", "comp.he", "ana.lin"):
        door.get(user, "/clients?page=1")
    asked = [
        f"/clients?q={own['mobile']}", f"/clients?q={own['mobile'][:5]}",
        "/clients?q=%E8%BA%AB%E4%BB%BD%E8%AF%81",
        "/clients?q=", "/clients?q=a&q=b", "/clients?Q=199", "/clients?_q=199", "/clients?qf=mobile&q=199",
        "/clients?count=true", "/clients?_count=1", "/clients?aggregate[max]=balance",
        "/clients?agg=sum(balance)",
        "/clients?fields=max(balance)", "/clients?fields=sum(balance)", "/clients?metrics=balance&stat=min",
        "/clients?facet=balance", "/clients?facets=mobile", "/clients?stats=true&stats.field=balance",
        "/clients?groupBy=id_no&aggregate[count]=*", "/clients?select=balance.sum()",
        "/clients?having=balance",
        "/clients?meta=total_count", "/clients?explain=true", "/clients?highlight=notes",
        "/clients?suggest=19",
    ]  # fmt: skip
    ungoverned = [
        f"/search?q={own['mobile'][:4]}", "/search", "/search/?q=1", "/report/summary",
        "/report/summary?id=1",
        "/report/summary?id_no_like=11%25", "/clients/stats/balance", "/report",
    ]  # fmt: skip
    with stand.unasked():
        for target in asked:
            answer = door.get(RM, target)
            refused(answer, "filter-not-permitted", "malformed-request")
            assert not leaked(answer, hidden), target
        for user in (RM, "mgr.chen", "comp.he", "ana.lin"):
            for target in ungoverned:
                answer = door.get(user, target)
                refused(answer, "ungoverned-route")
                assert not leaked(answer, hidden), target


def test_m03_sums_beside_the_records_do_not_leave(door: Gateway, stand: Recorder) -> None:
    record = client(door, RM, OWN)
    listed = {
        "items": [], "total": 1, "count": 1, "sum": {"balance": 73500.5}, "stats": {"min": 73500.5},
        "facets": {"balance": {"73500.50": 1}, "mobile": {record["mobile"]: 1}}, "max_balance": 73500.5,
        "page": {"total": 1, "sum": 73500.5}, "size": [73500.5],
    }  # fmt: skip
    stand.replies["/clients"] = lambda _: as_json(listed, X_Total_Count="1", X_Sum="73500.5")
    for user, said_for in (
        (RM, "service"),
        ("mgr.chen", "service"),
        ("comp.he", "audit"),
        ("ana.lin", "reporting"),
    ):
        answer = door.get(user, "/clients", headers={"Privguard-Purpose": said_for})
        assert answer.json() == {"items": []}, user
        assert not leaked(answer, [record["mobile"], "73500.5"])
        assert "x-total-count" not in answer.headers


# -- M04: other names for the same field --------------------------------------------------------------------


def test_m04_renaming_and_expanding_parameters_are_refused(door: Gateway, stand: Recorder) -> None:
    hidden = secrets([client(door, RM, OWN)])
    door.get(RM, "/clients?page=1")
    asked = [
        "fields=m:mobile", "fields=mobile%20as%20name", "fields=mobile+name", "fields=*", "fields=*.*",
        "fields=name,cards(pan)", "fields=cards{pan}", "fields=count(id_no)", "fields=-name", "fields=!name",
        "fields=$.mobile", "fields=mobile%7Cupper", "fields[]=mobile", "fields[client]=mobile",
        "fields=a&fields=b",
        "fields=", "fields=name,,mobile", "fields=name%00", "fields=%EF%BD%8Dobile", "fields=../mobile",
        "Fields=mobile", "field=mobile", "select=name:mobile", "$select=mobile", "include=cards",
        "expand=cards",
        "embed=relatives", "with=cards", "alias[name]=mobile", "alias=%7B%22name%22%3A%22mobile%22%7D",
        "deep[cards][_limit]=1", "_embed=relatives", "_expand=client", "populate=*", "projection=full",
        "serializer=admin", "version=full", "view=raw", "format=csv", "format=xml", "_format=csv",
        "callback=x",
        "jsonp=x", "raw=1", "debug=1", "pretty=1", "revision=1", "as_of=2020-01-01",
        "query=%7Bclient(id:1)%7Bname:mobile%7D%7D", "extensions=%7B%7D",
    ]  # fmt: skip
    with stand.unasked():
        for each in asked:
            for path in ("/clients", "/clients/1"):
                answer = door.get(RM, f"{path}?{each}")
                refused(answer, "filter-not-permitted", "malformed-request")
                assert not leaked(answer, hidden), each


def test_m04_graphql_is_no_way_round(door: Gateway, stand: Recorder) -> None:
    hidden = secrets([client(door, RM, OWN)])
    query = "query{client(id:1){name:mobile ...f}} fragment f on Client{n2:id_no}"
    door.get(RM, "/clients?page=1")
    with stand.unasked():
        for path in ("/graphql", "/api/graphql", "/clients/graphql/x"):
            answer = door.ask(RM, "POST", path, json={"query": query})
            refused(answer, "ungoverned-route")
            assert not leaked(answer, hidden)
        refused(door.get(RM, "/graphql?query=%7Bclient%7Bname:mobile%7D%7D"), "ungoverned-route")
    before = len(stand.seen)
    answer = door.ask("mgr.chen", "POST", "/clients", json={"query": query, "variables": {}})
    assert (answer.status, answer.problem) == (409, "masked-value-in-write")
    assert not [line for line in stand.lines(before) if line.startswith("POST")]


def test_m04_a_read_has_no_body_that_could_ask_for_more(door: Gateway, odd: Vouched, stand: Recorder) -> None:
    door.get(RM, "/clients?page=1")
    asked = b'{"query":{"prefix":{"id_no":"11"}},"sort":["balance"],"fields":["*"]}'
    token = door.token(RM)
    with stand.unasked():
        for method in ("GET", "HEAD"):
            for path in ("/clients", "/clients/1", "/clients.csv"):
                for framing in (b"Content-Length: %d\r\n\r\n%b" % (len(asked), asked),
                                b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(asked), asked)):  # fmt: skip
                    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n"
                    came = door.raw(head.encode() + b"Content-Type: application/json\r\n" + framing)
                    assert came.startswith(b"HTTP/1.1 400 "), (method, path, came[:100])
        for media in ("application/json", "application/x-www-form-urlencoded", "text/plain", ""):
            came = odd.ask(
                CLERK, "POST", "/people/find", body=asked, headers={"Content-Type": media} if media else {}
            )
            refused(came, "malformed-request")
    stand.replies["/people/find"] = lambda _: as_json({"items": []})
    assert odd.ask(CLERK, "POST", "/people/find").json() == {"items": []}


def test_m04_an_answer_is_governed_by_what_it_contains(door: Gateway, stand: Recorder) -> None:
    """The upstream answers as if it had renamed, expanded or wrapped what was asked for."""
    record = client(door, RM, OWN)
    hidden = secrets([record])
    base = {
        "id": OWN,
        "tier": record["tier"],
        "branch": record["branch"],
        "rm_ids": ["rm.li"],
        "name": record["name"],
    }
    aliased = {
        "m": record["mobile"], "Mobile": record["mobile"], "MOBILE": record["mobile"],
        "mobile ": record["mobile"],
        "mobile\u200b": record["mobile"], "ｍobile": record["mobile"], "mobile.": record["mobile"],
        "": record["mobile"],
        "phone": record["mobile"], "tel": {"mobile": record["mobile"]}, "client": dict(record),
        "_raw": record,
        "_links": {"self": {"href": f"/clients?mobile={record['mobile']}"}}, "$": record["id_no"],
        "*": record["id_no"],
        "cards[*].pan": "9" * 16, "cards": {"pan": record["mobile"]}, "accounts": record["mobile"],
        "relatives": {"name": record["mobile"]}, "name:mobile": record["mobile"], "fields": record,
    }  # fmt: skip
    wrapped = [
        {"client": base | aliased}, {"items": [base | aliased]}, {"recent": [base | aliased]},
        {"client": base, "c1": record, "clients": [record], "data": {"client": record}, "Client": record},
        {"items": [base], "Items": [record], "edges": [{"node": record}], "included": [record], "0": record},
        {"data": {"client": record}, "extensions": {"trace": record},
        "errors": [{"message": record["mobile"]}]},
        {"client": base | {"name": {"first": record["mobile"]}}},
        {"client": base | {"name": [record["mobile"]]}},
        {"client": base | {"gender": record}},
        {"client": base | {"tier": "mass", "occupation": {"x": record}}},
        {"items": {"1": record}}, {"items": [[record]]}, {"items": record}, {"client": [record]},
        {"client": record["mobile"]}, {"items": [record["mobile"], None, 1]}, {"client": {"client": record}},
    ]  # fmt: skip
    for content in wrapped:
        for path in ("/clients/1", "/clients"):
            stand.replies[path] = lambda _, content=content: as_json(content)
            answer = door.get(RM, path)
            assert answer.status in (200, 404, 502), answer
            assert not leaked(answer, hidden), content


def test_m04_leaving_out_what_the_policy_decides_by_opens_nothing(door: Gateway, stand: Recorder) -> None:
    foreign, vip = client(door, RM, FOREIGN), client(door, RM, VIP)
    names = [foreign["name"], vip["name"]]
    for kept in (
        "id,name",
        "id,name,tier",
        "id,name,branch",
        "name,tier,rm_ids",
        "id,name,rm_ids",
        "name",
        "nosuch",
    ):
        for number in (FOREIGN, VIP):
            answer = door.get(RM, f"/clients/{number}?fields={kept}")
            assert answer.status in (401, 404), (kept, number, answer)
            assert not leaked(answer, [*names, *secrets([foreign, vip])])
        for user, said_for in ((RM, "service"), ("ana.lin", "reporting"), ("comp.he", "audit")):
            listed = door.get(
                user, f"/clients?fields={kept}&size=200", headers={"Privguard-Purpose": said_for}
            )
            assert vip["name"] not in [each.get("name") for each in listed.json()["items"]]
            assert VIP not in [each.get("id") for each in listed.json()["items"]]
    headers = {"Privguard-Purpose": "reporting"}
    for kept in ("id,name,balance", "id,balance", "tier,balance", "balance"):
        export = door.get("ana.lin", f"/clients.csv?fields={kept}", headers=headers)
        assert str(vip["balance"]) not in export.body.decode()
        rows = export.body.decode().splitlines()[1:] if export.status == 200 else []
        assert rows == [], (kept, rows[:3])
