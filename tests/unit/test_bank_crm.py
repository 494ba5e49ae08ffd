"""The sample CRM: what the demo and the attack tests stand in front of must itself be as described."""

import asyncio
import csv
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

import phonenumbers
import pytest
from fastapi import FastAPI
from stdnum import iban, luhn
from stdnum.cn import ric

EXAMPLES = Path(__file__).parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))

from bank_crm import SAMPLES, create_app  # noqa: E402

FORM = "application/x-www-form-urlencoded"
RECORD = {
    "id", "name", "mobile", "email", "id_no", "dob", "gender", "tier", "branch", "rm_ids", "address",
    "occupation", "balance", "risk_score", "iban", "cards", "accounts", "notes", "relatives", "created_at",
    "updated_at",
}  # fmt: skip
RELATIVE = {"id", "name", "mobile", "tier", "branch", "rm_ids", "relation"}
TODAY = date(2026, 1, 15)


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Caller:
    """Calls an ASGI app in this process."""

    app: FastAPI
    token: str = ""

    def __call__(self, method: str, target: str, body: Any = None, kind: str = "", **headers: str) -> Answer:
        parts = urlsplit(target)
        sent = {"host": "crm.test"} | {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token:
            sent.setdefault("authorization", f"Bearer {self.token}")
        if isinstance(body, (dict, list)):
            kind, body = "application/json", json.dumps(body)
        if kind:
            sent["content-type"] = kind
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "path": unquote(parts.path),
            "raw_path": parts.path.encode(),
            "query_string": parts.query.encode(),
            "root_path": "",
            "scheme": "http",
            "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
            "server": ("crm.test", 80),
            "client": ("127.0.0.1", 5),
        }
        return asyncio.run(self._exchange(scope, (body or "").encode()))

    async def _exchange(self, scope: dict[str, Any], body: bytes) -> Answer:
        incoming = iter([{"type": "http.request", "body": body, "more_body": False}])
        outgoing: list[Any] = []

        async def receive() -> Any:
            for message in incoming:
                return message
            return await asyncio.Event().wait()

        async def send(message: Any) -> None:
            outgoing.append(message)

        await self.app(scope, receive, send)
        start, *rest = outgoing
        headers = {name.decode(): value.decode() for name, value in start["headers"]}
        return Answer(start["status"], headers, b"".join(message.get("body", b"") for message in rest))


def made(database: str = ":memory:", **options: Any) -> FastAPI:
    chosen: dict[str, Any] = {"clients": 200, "today": TODAY, "auth": False} | options
    return create_app(database, **chosen)


@pytest.fixture
def crm() -> Iterator[Caller]:
    app = made()
    yield Caller(app)
    app.state.engine.dispose()


def everyone(crm: Caller) -> list[dict[str, Any]]:
    return [
        client for page in (1, 2) for client in crm("GET", f"/clients?size=200&page={page}").json["items"]
    ]


# -- the people in it


def test_numbers_have_right_check_digits_in_ranges_nobody_holds(crm: Caller) -> None:
    for client in everyone(crm):
        number = client["id_no"]
        assert re.fullmatch(r"99\d{15}[\dX]", number)
        assert number[-1] == ric.calc_check_digit(number)
        assert number[6:14] == client["dob"].replace("-", "")
        assert int(number[16]) % 2 == (client["gender"] == "male")
        assert iban.is_valid(client["iban"])
        assert client["iban"][4:12] == "99999999"
        assert client["email"].endswith(("@example.com", "@example.cn"))
        assert client["email"].isascii()
        assert phonenumbers.is_valid_number(phonenumbers.parse(client["mobile"], "CN"))
        assert client["mobile"].startswith("1990000")
        for card in client["cards"]:
            assert card["pan"].startswith("999999")
            assert len(card["pan"]) == 16
            assert luhn.is_valid(card["pan"])


def test_the_full_bank_is_quickly_made_and_in_proportion() -> None:
    started = time.perf_counter()
    app = create_app(auth=False)
    assert time.perf_counter() - started < 6  # 0.5 s alone; twice the promise, because the machine is shared
    rows = list(csv.DictReader(io.StringIO(Caller(app)("GET", "/clients.csv").body.decode(), newline="")))
    app.state.engine.dispose()
    assert [int(row["id"]) for row in rows] == list(range(1, 5001))
    for unique in ("mobile", "id_no", "email", "iban"):
        assert len({row[unique] for row in rows}) == 5000
    tiers = Counter(row["tier"] for row in rows)
    assert 15 <= tiers["private"] <= 50 < tiers["affluent"] < tiers["mass"]
    owners = Counter(owner for row in rows for owner in row["rm_ids"].split(";"))
    assert len(owners) == 18
    assert all(150 <= size <= 400 for size in owners.values())
    assert len({row["branch"] for row in rows}) == 12
    assert {"欧阳", "司马", "诸葛"} <= {row["name"][:2] for row in rows}
    assert any("'" in row["name"] for row in rows)


def test_a_seed_makes_the_same_bank_and_another_seed_another() -> None:
    answers = []
    for seed in (1, 1, 2):
        app = made(seed=seed)
        answers.append(Caller(app)("GET", "/clients?size=200").body)
        app.state.engine.dispose()
    assert answers[0] == answers[1] != answers[2]


def test_too_few_clients_for_the_samples_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least 20"):
        create_app(clients=19)


@pytest.mark.parametrize("seed", [1, 7])
@pytest.mark.parametrize("clients", [20, 200])
def test_samples_hold_for_any_seed_and_size(seed: int, clients: int) -> None:
    app = made(seed=seed, clients=clients)
    crm = Caller(app)
    by_id = {client["id"]: client for client in crm("GET", "/clients?size=200").json["items"]}
    crm.token = crm("POST", "/login", {"username": SAMPLES.staff_client, "password": SAMPLES.password}).json[
        "token"
    ]
    assert crm("GET", "/me").json["client_id"] == SAMPLES.staff_client_id
    app.state.engine.dispose()
    owned = [SAMPLES.assigned, SAMPLES.assigned_western, SAMPLES.assigned_compound, SAMPLES.private]
    assert all(SAMPLES.rm in by_id[key]["rm_ids"] for key in owned)
    assert by_id[SAMPLES.private]["tier"] == "private"
    assert by_id[SAMPLES.assigned]["tier"] == "mass"
    assert by_id[SAMPLES.unassigned]["rm_ids"] == [SAMPLES.other_rm]
    assert by_id[SAMPLES.unassigned]["branch"] != by_id[SAMPLES.assigned]["branch"]
    assert SAMPLES.staff_client in by_id[SAMPLES.staff_client_id]["rm_ids"]
    assert {kin["id"] for kin in by_id[SAMPLES.assigned]["relatives"]} == {
        2,
        SAMPLES.private,
        SAMPLES.unassigned,
    }


def test_notes_hold_other_peoples_numbers(crm: Caller) -> None:
    clients = everyone(crm)
    mobiles = {client["mobile"] for client in clients}
    first = clients[0]["notes"]
    assert set(re.findall(r"199\d{8}", first)) <= mobiles
    assert re.search(r"199\d{8}", first)
    assert any("@example." in client["notes"] for client in clients)


# -- signing in


def test_without_a_token_nothing_is_shown_and_with_token_or_cookie_everything() -> None:
    app = made(auth=True)
    crm = Caller(app)
    closed = [
        "/clients",
        "/clients/1",
        "/clients.csv",
        "/clients/1/visits",
        "/clients/1/photo",
        "/clients/1/letter",
    ]
    for path in [*closed, "/search?q=a", "/report/summary", "/me"]:
        answer = crm("GET", path)
        assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer"), path
    assert crm("GET", "/clients", authorization="Bearer guess").status == 401
    assert crm("POST", "/login", {"username": SAMPLES.rm, "password": "wrong"}).status == 401
    assert crm("POST", "/login", {"username": "nobody", "password": "demo"}).status == 401
    login = crm("POST", "/login", urlencode({"username": SAMPLES.rm, "password": "demo"}), FORM)
    token = login.json["token"]
    assert login.headers["set-cookie"].startswith(f"crm_session={token}; HttpOnly")
    assert crm("GET", "/clients/11", authorization=f"Bearer {token}").status == 200
    assert crm("GET", "/clients/11", cookie=f"crm_session={token}").status == 200
    assert all(
        crm("GET", path).status == 200 for path in ("/", "/assets/app.css", "/health", "/openapi.json")
    )
    app.state.engine.dispose()


@pytest.mark.parametrize(
    ("username", "roles"),
    [
        (SAMPLES.rm, ["rm"]),
        (SAMPLES.manager, ["rm_manager"]),
        (SAMPLES.teller, ["teller"]),
        (SAMPLES.aml, ["aml"]),
        (SAMPLES.aml_lead, ["aml", "aml_lead"]),
        (SAMPLES.compliance, ["compliance"]),
        (SAMPLES.analyst, ["analyst"]),
        (SAMPLES.auditor, ["auditor"]),
    ],
)
def test_me_says_who_holds_the_token(crm: Caller, username: str, roles: list[str]) -> None:
    crm.token = crm("POST", "/login", {"username": username, "password": "demo"}).json["token"]
    me = crm("GET", "/me").json
    assert set(me) == {"id", "name", "roles", "branch", "client_id", "training"}
    assert (me["id"], me["roles"], me["branch"]) == (username, roles, "pudong")
    assert 0 < (TODAY - date.fromisoformat(me["training"]["privacy"])).days < 365


def test_one_manager_has_let_the_privacy_course_lapse(crm: Caller) -> None:
    crm.token = crm("POST", "/login", {"username": SAMPLES.untrained_rm, "password": "demo"}).json["token"]
    passed = date.fromisoformat(crm("GET", "/me").json["training"]["privacy"])
    assert (TODAY - passed).days > 365


# -- reading


def test_detail_has_the_whole_record_and_amounts_keep_two_decimals(crm: Caller) -> None:
    answer = crm("GET", "/clients/1")
    client = answer.json["client"]
    assert set(client) == RECORD
    assert re.search(rb'"balance":\d+\.00,', answer.body)
    assert client["balance"] == client["accounts"][0]["balance"]
    assert all(set(kin) == RELATIVE for kin in client["relatives"])
    assert [set(card) for card in client["cards"]] == [{"pan", "cvv", "expiry", "type"}] * len(
        client["cards"]
    )
    assert client["created_at"].endswith("Z")


def test_list_pages_with_absolute_links_and_recently_viewed(crm: Caller) -> None:
    for key in (5, 6, 7, 8, 6):
        crm("GET", f"/clients/{key}")
    answer = crm("GET", "/clients?size=3&fields=id,name&tier=mass", host="bank.test:8443")
    page = answer.json
    assert set(page) == {"items", "recent", "total", "page", "size", "next", "facets"}
    assert [set(item) for item in page["items"]] == [{"id", "name"}] * 3
    assert [item["id"] for item in page["recent"]] == [6, 8, 7]
    assert page["next"].startswith("http://bank.test:8443/clients?")
    assert answer.headers["link"] == f'<{page["next"]}>; rel="next"'
    assert sum(page["facets"]["branch"].values()) == page["total"] == int(answer.headers["x-total-count"])
    assert {"id", "name", "clients"} == set(page["facets"]["owners"][0])
    following = crm("GET", page["next"].removeprefix("http://bank.test:8443")).json
    assert following["page"] == 2
    assert following["items"][0]["id"] > page["items"][-1]["id"]
    assert crm("GET", "/clients?size=200").json["next"] is None
    assert all(set(item) == RECORD for item in crm("GET", "/clients").json["items"])


def test_recently_viewed_is_kept_apart_for_each_member_of_staff() -> None:
    app = made(auth=True)
    callers = {}
    for key, username in ((1, "rm.li"), (11, "rm.wang")):
        token = Caller(app)("POST", "/login", {"username": username, "password": "demo"}).json["token"]
        callers[key] = Caller(app, token)
        callers[key]("GET", f"/clients/{key}")
    seen = {key: caller("GET", "/clients?fields=id").json["recent"] for key, caller in callers.items()}
    app.state.engine.dispose()
    assert seen == {1: [{"id": 1}], 11: [{"id": 11}]}


def test_filters_on_any_column_agree_with_the_records(crm: Caller) -> None:
    clients = everyone(crm)
    first = clients[0]
    expected: dict[str, Callable[[dict[str, Any]], bool]] = {
        f"id_no={first['id_no']}": lambda c: c is first,
        "balance_gte=300000": lambda c: c["balance"] >= 300000,
        "balance_lt=300000.5": lambda c: c["balance"] < 300000.5,
        "mobile_like=1990000_9%25": lambda c: c["mobile"][8] == "9",
        "tier_in=private,affluent": lambda c: c["tier"] != "mass",
        "tier_ne=mass&branch=pudong": lambda c: c["tier"] != "mass" and c["branch"] == "pudong",
        "dob_lte=1950-12-31": lambda c: c["dob"] < "1951",
        "created_at_gt=2020-01-01": lambda c: c["created_at"] > "2020-01-01T00:00:00Z",
        "rm_ids=rm.li": lambda c: "rm.li" in c["rm_ids"],
        f"q={quote(first['name'])}": lambda c: first["name"] in c["name"] + c["notes"],
        f"q={first['mobile']}": lambda c: first["mobile"] in c["mobile"] + c["notes"],
        "q=%25": lambda _: False,
        "q=&unknown=1": lambda _: True,
    }
    for query, holds in expected.items():
        found = crm("GET", f"/clients?size=200&fields=id&{query}").json
        wanted = [client["id"] for client in clients if holds(client)]
        assert [item["id"] for item in found["items"]] == wanted, query
        assert found["total"] == len(wanted)
        exported = crm("GET", f"/clients.csv?fields=id&{query}").body.decode().split()
        assert exported == ["id", *map(str, wanted)], query


def test_sort_on_any_column(crm: Caller) -> None:
    clients = everyone(crm)
    by_balance = [item["id"] for item in crm("GET", "/clients?sort=-balance&size=200").json["items"]]
    assert by_balance == [c["id"] for c in sorted(clients, key=lambda c: (-c["balance"], c["id"]))]
    mixed = [item["id"] for item in crm("GET", "/clients?sort=tier,-id_no&size=200").json["items"]]
    by_number = sorted(clients, key=lambda c: c["id_no"], reverse=True)
    assert mixed == [c["id"] for c in sorted(by_number, key=lambda c: c["tier"])]


def test_csv_has_flat_columns_and_is_an_attachment(crm: Caller) -> None:
    answer = crm("GET", "/clients.csv?q=O'Brien&sort=-id")
    rows = list(csv.DictReader(io.StringIO(answer.body.decode(), newline="")))
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="clients.csv"'
    assert set(rows[0]) == RECORD - {"cards", "accounts", "relatives"}
    assert rows[-1]["name"] == "Siobhán O'Brien"
    assert re.fullmatch(r"\d+\.\d\d", rows[-1]["balance"])


def test_side_routes_show_the_same_client(crm: Caller) -> None:
    client = crm("GET", "/clients/1").json["client"]
    shown = crm("GET", "/clients/1/accounts").json
    assert shown["items"] == [{"client_id": 1} | account for account in client["accounts"]]
    visits = crm("GET", "/clients/1/visits").json
    assert set(visits["items"][0]) == {"id", "client_id", "at", "staff_id", "place", "summary"}
    assert client["mobile"] in visits["items"][0]["summary"]
    hits = crm("GET", f"/search?q={quote(client['name'])}").json
    assert hits["hits"][0]["label"] == f"{client['name']} · {client['mobile']}"
    letter = crm("GET", "/clients/3/letter")
    assert letter.headers["content-type"] == "text/html; charset=utf-8"
    assert "Siobh%C3%A1n" in letter.headers["content-disposition"]
    assert "Siobhán O&#x27;Brien" in letter.body.decode()
    photo = crm("GET", "/clients/1/photo")
    assert photo.headers["content-type"] == "image/png"
    assert photo.body.startswith(b"\x89PNG\r\n\x1a\n")
    missing = ("accounts", "visits", "complaints", "photo", "letter")
    assert all(crm("GET", f"/clients/9999/{route}").status == 404 for route in missing)


def test_report_aggregates_what_the_filters_leave(crm: Caller) -> None:
    balances = [client["balance"] for client in everyone(crm) if client["branch"] == "pudong"]
    report = crm("GET", "/report/summary?branch=pudong").json
    assert report["balance"]["clients"] == len(balances)
    assert report["balance"]["min"] == min(balances)
    assert report["balance"]["max"] == max(balances)
    assert report["balance"]["sum"] == pytest.approx(sum(balances), abs=0.01)
    assert [group["branch"] for group in report["by_branch"]] == ["pudong"]
    assert sum(group["clients"] for group in report["by_tier"]) == len(balances)
    assert crm("GET", "/report/summary?branch=none").json["balance"]["min"] is None


# -- conditional requests


def test_detail_answers_conditional_requests(crm: Caller) -> None:
    first = crm("GET", "/clients/1")
    etag, changed = first.headers["etag"], first.headers["last-modified"]
    updated = first.json["client"]["updated_at"]
    assert parsedate_to_datetime(changed).strftime("%Y-%m-%dT%H:%M:%SZ") == updated
    for headers in (
        {"if_none_match": etag},
        {"if_none_match": f'"x", W/{etag}'},
        {"if_modified_since": changed},
    ):
        again = crm("GET", "/clients/1", **headers)
        assert (again.status, again.body, again.headers["etag"]) == (304, b"", etag)
    past = "Mon, 01 Jan 2001 00:00:00 GMT"
    for headers in (
        {"if_none_match": '"x"'},
        {"if_modified_since": past},
        {"if_modified_since": "yesterday"},
    ):
        assert crm("GET", "/clients/1", **headers).status == 200
    crm("PATCH", "/clients/1", {"address": "elsewhere"})
    assert crm("GET", "/clients/1", if_none_match=etag).status == 200


# -- writing


@pytest.mark.parametrize("method", ["PATCH", "POST"])
def test_json_write_reaches_any_column_and_answers_the_record(crm: Caller, method: str) -> None:
    values = {
        "id": 77, "mobile": "19900009999", "balance": 12.5, "tier": "private", "rm_ids": ["rm.wang"],
        "dob": "1990-02-03",
        "created_at": "2020-01-02T03:04:05+08:00", "risk_score": "0.5", "email": None, "no_such_column": 1,
        "cards": [{"pan": "1", "cvv": "2", "expiry": "3", "type": "debit"}],
        "accounts": [{"no": "9", "currency": "CNY", "balance": "7"}],
    }  # fmt: skip
    answer = crm(method, "/clients/5", values)
    client = answer.json["client"]
    assert answer.status == 200
    assert client == crm("GET", "/clients/5").json["client"]
    assert (client["id"], client["mobile"], client["tier"]) == (5, "19900009999", "private")
    assert b'"balance":12.50' in answer.body
    assert client["created_at"] == "2020-01-01T19:04:05Z"
    assert client["risk_score"] == 0.5
    assert client["email"] is None
    assert client["cards"] == values["cards"]
    assert client["accounts"] == [{"no": "9", "currency": "CNY", "balance": 7}]
    assert "no_such_column" not in client


def test_form_write(crm: Caller) -> None:
    form = urlencode({"name": "诸葛亮", "balance": "1.5", "rm_ids": '["rm.zhou"]', "address": ""})
    client = crm("PATCH", "/clients/5", form, FORM).json["client"]
    assert (client["name"], client["balance"], client["address"]) == ("诸葛亮", 1.5, "")
    assert client["rm_ids"] == ["rm.zhou"]


def test_create_then_read(crm: Caller) -> None:
    answer = crm("POST", "/clients", {"name": "司马迁", "rm_ids": ["rm.li"]})
    assert (answer.status, answer.headers["location"]) == (201, "/clients/201")
    assert crm("GET", "/clients/201").json == answer.json
    assert set(answer.json["client"]) == RECORD
    assert crm("POST", "/clients", {"mobile": "1"}).status == 422


def test_complaints_are_kept(crm: Caller) -> None:
    before = crm("GET", "/clients/2/complaints").json["total"]
    answer = crm("POST", "/clients/2/complaints", urlencode({"text": "slow", "channel": "phone"}), FORM)
    assert (answer.status, answer.headers["location"]) == (201, "/clients/2/complaints")
    kept = crm("GET", "/clients/2/complaints").json
    assert kept["total"] == before + 1
    assert answer.json["complaint"] in kept["items"]
    assert crm("POST", "/clients/2/complaints", {}).status == 422
    assert crm("POST", "/clients/9999/complaints", {"text": "x"}).status == 404


# -- errors echo, as ordinary software's do


@pytest.mark.parametrize(
    ("method", "target", "body", "echo"),
    [
        ("GET", "/clients?page=CANARY", None, "CANARY"),
        ("GET", "/clients?dob_gte=CANARY", None, "CANARY"),
        ("GET", "/clients?sort=CANARY", None, "CANARY is not a column"),
        ("GET", "/clients/CANARY", None, "CANARY"),
        ("PATCH", "/clients/5", {"tier": "Zhang"}, "Zhang is not a valid choice"),
        ("PATCH", "/clients/5", {"balance": "CANARY"}, "CANARY is not a valid Decimal"),
        ("PATCH", "/clients/5", {"balance": "1E400"}, "1E400"),
        ("PATCH", "/clients/5", {"risk_score": "nan"}, "nan"),
        ("PATCH", "/clients/5", {"name": None}, "None"),
        ("PATCH", "/clients/5", {"name": {"CANARY": 1}}, "CANARY"),
        ("PATCH", "/clients/5", {"rm_ids": "CANARY"}, "CANARY"),
        ("PATCH", "/clients/5", {"cards": [{"pan": "CANARY"}]}, "CANARY"),
        ("PATCH", "/clients/5", ["CANARY"], "CANARY"),
        ("PATCH", "/clients/5", '{"CANARY', "CANARY"),
    ],
)
def test_422_echoes_the_value_and_changes_nothing(
    crm: Caller, method: str, target: str, body: Any, echo: str
) -> None:
    before = crm("GET", "/clients/5").body
    answer = crm(method, target, body)
    assert answer.status == 422
    assert echo in answer.body.decode()
    assert "input" in answer.json["detail"][0]
    assert crm("GET", "/clients/5").body == before


def test_404_is_a_page_with_the_path_and_query_in_it(crm: Caller) -> None:
    for target in ("/clients/9999?q=<b>CANARY", "/nowhere?q=<b>CANARY"):
        answer = crm("GET", target)
        assert (answer.status, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
        assert target.replace("<b>", "&lt;b&gt;") in answer.body.decode()


def test_other_media_types_and_methods_are_refused(crm: Caller) -> None:
    assert crm("PATCH", "/clients/5", "x", "multipart/form-data; boundary=y").status == 415
    assert crm("DELETE", "/clients/5").status == 405


# -- as it is shipped


def test_file_database_is_filled_once_and_kept(tmp_path: Path) -> None:
    database = str(tmp_path / "crm.db")
    first = made(database, clients=30)
    Caller(first)("PATCH", "/clients/5", {"name": "诸葛亮"})
    first.state.engine.dispose()
    second = made(database, clients=200, seed=9)
    page = Caller(second)("GET", f"/clients?q={quote('诸葛亮')}").json
    total = Caller(second)("GET", "/clients").json["total"]
    second.state.engine.dispose()
    assert (page["items"][0]["id"], total) == (5, 30)


def test_package_names_no_other_and_runs_from_any_folder(tmp_path: Path) -> None:
    source = EXAMPLES / "bank_crm"
    texts = [
        path.read_text("utf-8")
        for path in source.rglob("*.*")
        if path.suffix in {".py", ".md", ".html", ".css"}
    ]
    assert len(texts) > 8
    assert not any("privguard" in text.lower() for text in texts)
    shutil.copytree(source, tmp_path / "shipped" / "crm_copy")
    code = "from shipped.crm_copy import create_app as c; print(c(clients=20).title)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "Bank CRM\n"


def test_command_serves_on_loopback() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "bank_crm", "--port", str(port), "--clients", "20", "--no-auth"]
    paths = os.environ | {"PYTHONPATH": str(EXAMPLES)}
    with subprocess.Popen(command, env=paths, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            base = f"http://127.0.0.1:{port}"
            wait_for(f"{base}/health")
            head = urllib.request.Request(f"{base}/clients/1", method="HEAD")
            with urllib.request.urlopen(head) as top, urllib.request.urlopen(f"{base}/clients/1") as whole:
                assert top.read() == b""
                assert top.headers["etag"] == whole.headers["etag"]
                assert int(top.headers["content-length"]) == len(whole.read())
            with urllib.request.urlopen(f"{base}/clients.csv") as export:
                assert len(export.read().splitlines()) == 21
        finally:
            server.terminate()


def wait_for(url: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(url):
                return
        except urllib.error.URLError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
