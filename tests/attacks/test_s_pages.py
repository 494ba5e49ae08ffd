"""S01, S08, S09, S14, S15: the pages of step-up against a gateway with two workers, without a script."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from tests.attacks.stepup import API, ORIGIN
from tests.command import privguard
from tests.door import Gateway, Running, ask, make_gateway
from tests.visitor import STEPUP, Seen, Visitor

SETTINGS = f"""
[stepup]
profile = "psd2"
factors = ["totp", "webauthn", "code", "recovery"]
public_url = "{ORIGIN}"
reset_role = "compliance"
[stepup.sender]
file = "codes.ndjson"
"""
WHY = "client asked for a call"


@pytest.fixture(scope="module")
def guarded(bank: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    made = make_gateway(tmp_path_factory.mktemp("pages"), bank.port, extra=SETTINGS)
    made.workers = 2
    yield made.start()
    made.stop()
    made.verify()
    assert "Traceback" not in made.output


def enrolled(guarded: Gateway, name: str) -> Visitor:
    """A member of staff who enrols a first factor by the pages: an invitation, a scanned key, its code."""
    person = Visitor(guarded, name).sign_in()
    assert isinstance(person, Visitor)
    said = privguard("factor", "invite", name, "--config", guarded.config)
    page = person.open(f"{STEPUP}factors/add?kind=totp")
    begun = person.send(page, {"label": "my phone", "code": said.stdout.decode().strip()})
    assert begun.images[0].startswith("data:image/svg+xml")
    person.secret = begun.text.split("instead:")[1].split("6-digit")[0].replace(" ", "").strip()
    person.factor = begun.form.values["id"]
    wrong = person.send(begun, {"code": person.wrong()})
    assert (wrong.answer.status, wrong.images) == (403, [])
    done = person.send(wrong, {"code": person.code()})
    assert "The factor was added." in done.text
    assert "my phone" in done.text
    return person


@pytest.fixture(scope="module")
def _rm(guarded: Gateway) -> Visitor:
    return enrolled(guarded, "rm.li")


@pytest.fixture
def rm(_rm: Visitor) -> Visitor:
    """A relationship manager, minutes after the test before."""
    _rm.minutes_later()
    return _rm


def granted(page: Seen) -> dict[str, object]:
    assert page.answer.status == 200, page.text
    found: dict[str, object] = json.loads(page.attributes["data-grant"])
    return found


def test_s08_where_no_script_runs_nobody_is_handed_the_grant_and_the_page_says_so(
    rm: Visitor, guarded: Gateway
) -> None:
    """Not by a cookie, nor by an address: whatever runs on this origin, or makes it ask, could use them."""
    offered = rm.offered()
    before = rm.open(f"{offered}&return_to=/clients/1")
    done = rm.send(before, {"reason": WHY, "code": rm.code()})
    secret = str(granted(done)["grant"])
    for page in (before, done):
        assert "No script runs here, so no page is handed the grant" in page.text
        assert "set-cookie" not in page.answer.headers
        assert not any(secret in link for link in page.links)
    truth = guarded.upstream("rm.li", "GET", "/clients/1").json()["client"]["mobile"]
    assert rm.ask("GET", "/clients/1", Privguard_Reveal="mobile").problem == "reason-required"
    assert rm.ask("GET", "/clients/1").json()["client"]["mobile"] != truth
    assert rm.look(secret).json()["client"]["mobile"] == truth  # it is there, for who presents it
    assert "此处未运行脚本" in rm.open(f"{rm.offered()}&lang=zh").text


def test_a_code_on_a_page_opens_what_its_grant_is_presented_for(rm: Visitor, guarded: Gateway) -> None:
    page = rm.open(rm.offered())
    for said in ("client 1", "mobile", "service", "rm-reveal", "5 minutes, 10 answers"):
        assert said in page.text, said
    lacking = rm.send(page, {"code": rm.code()})
    assert (lacking.answer.status, "Say why" in lacking.text) == (400, True)
    rm.minutes_later()
    wrong = rm.send(lacking, {"reason": WHY, "code": rm.wrong()})
    assert (wrong.answer.status, WHY in wrong.text) == (403, True)
    rm.minutes_later()
    told = granted(rm.send(wrong, {"reason": WHY, "code": rm.code()}))
    truth = guarded.upstream("rm.li", "GET", "/clients/1").json()["client"]["mobile"]
    shown = rm.look(str(told["grant"]))
    assert shown.json()["client"]["mobile"] == truth
    assert (told["reads"], told["expires_in"]) == (10, 300)


def test_s01_a_form_that_is_sent_again_gives_nothing(rm: Visitor) -> None:
    page = rm.open(rm.offered())
    values = {"reason": WHY, "code": rm.code()}
    assert granted(rm.send(page, values))
    again = rm.send(page, values)
    assert again.answer.status == 403
    assert "data-grant" not in again.attributes
    rm.minutes_later()
    fresh = rm.send(page, {"reason": WHY, "code": rm.code()})  # the challenge was met
    assert fresh.answer.status == 403


def test_s08_a_challenge_of_another_session_or_person_opens_nothing(rm: Visitor, guarded: Gateway) -> None:
    offered = rm.offered()
    mine = rm.open(offered)
    for other in (Visitor(guarded, "rm.li"), Visitor(guarded, "mgr.chen")):
        other.sign_in()
        page = other.open(offered)
        assert page.answer.status == 403
        assert not page.forms
        assert "mobile" not in page.text
        other.secret, other.factor = rm.secret, rm.factor
        own = other.open(f"{STEPUP}factors/add?kind=totp").form.values["csrf"]
        sent = other.post(
            mine.form.action, {**mine.form.values, "csrf": own, "reason": WHY, "code": rm.code()}
        )
        assert sent.answer.status == 403
        rm.minutes_later()
    assert granted(rm.send(mine, {"reason": WHY, "code": rm.code()}))


@pytest.mark.parametrize(
    "changed",
    [
        {"csrf": ""},
        {"csrf": "0" * 64},
        {"csrf": "anothers"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "", "Origin": "https://elsewhere.example"},
        {"Sec_Fetch_Site": "", "csrf": ""},
    ],
)
def test_s09_a_form_of_another_site_or_session_is_refused(
    rm: Visitor, guarded: Gateway, changed: dict[str, str]
) -> None:
    page = rm.open(rm.offered())
    values, headers = {"reason": WHY, "code": rm.code()}, dict(changed)
    if "csrf" in headers:
        values["csrf"] = headers.pop("csrf")
    if values.get("csrf") == "anothers":
        other = Visitor(guarded, "mgr.chen").sign_in()
        assert isinstance(other, Visitor)
        values["csrf"] = other.open(f"{STEPUP}factors/add?kind=totp").form.values["csrf"]
    before = len(guarded.leaves())
    refused = rm.send(page, values, **headers)
    assert refused.answer.status == 400
    assert not [leaf for leaf in guarded.since(before) if leaf["action"].startswith("stepup:")]
    assert granted(rm.send(page, {"reason": WHY, "code": values["code"]}))


def test_s09_pages_are_not_framed_kept_or_told_of(rm: Visitor) -> None:
    targets = [
        rm.offered(),
        *(f"{STEPUP}{path}" for path in ("", "factors", "factors/add?kind=totp", "approvals")),
    ]
    for target in [*targets, f"{STEPUP}?challenge=none"]:
        page = rm.open(target)
        told = page.answer.headers
        policy = told["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert told["x-frame-options"] == "DENY"
        assert told["cache-control"] == "no-store"
        assert told["referrer-policy"] == "no-referrer"
        body = page.answer.body.decode()
        assert "<style" not in body
        assert " style=" not in body
        assert body.count("<script") == body.count('<script type="module" src="')


@pytest.mark.parametrize(
    "path",
    ["//evil.example", "https://evil.example/", "/\\evil.example", "javascript:alert(1)", "/a\tb", "evil"],
)
def test_s14_a_page_leads_back_to_this_host_alone(rm: Visitor, path: str) -> None:
    offered = rm.offered()
    refused = rm.open(f"{offered}&return_to={quote(path, safe='')}")
    assert (refused.answer.status, refused.forms) == (400, [])
    page = rm.open(f"{offered}&return_to=/clients/1")
    assert "/clients/1" in page.links
    form = page.form
    action = form.action.replace("%2Fclients%2F1", quote(path, safe=""))
    sent = rm.post(action, {**form.values, "reason": WHY, "code": rm.code()})
    assert sent.answer.status == 400
    assert not [link for link in sent.links if "evil" in link and link[0] != "?"]
    assert "/clients/1" in rm.send(page, {"reason": WHY, "code": rm.code()}).links


def test_s15_a_factor_is_added_and_removed_by_another(guarded: Gateway) -> None:
    person = enrolled(guarded, "rm.wang")
    add = person.open(f"{STEPUP}factors/add?kind=recovery")
    assert person.send(add, {}).answer.status == 400
    assert person.send(add, {"code": person.wrong()}).answer.status == 403
    person.minutes_later()
    codes = person.send(add, {"code": person.code()})
    found = [word for word in codes.text.split() if word.count("-") >= 3]
    assert len(found) == 10
    person.minutes_later()
    phone = person.open(f"{STEPUP}factors/remove?factor={person.factor}")
    by_recovery = {"way": next(iter(recovery(person))), "code": found[0]}
    assert "The factor was removed." in person.send(phone, by_recovery).text
    listed = person.ask("GET", f"{API}factors").json()["factors"]
    assert [each["kind"] for each in listed] == ["recovery"]


def recovery(person: Visitor) -> list[str]:
    listed = person.ask("GET", f"{API}factors").json()["factors"]
    return [f"recovery:{each['id']}" for each in listed if each["kind"] == "recovery"]


def test_a_code_is_sent_by_the_page(rm: Visitor, guarded: Gateway) -> None:
    add = rm.open(f"{STEPUP}factors/add?kind=code")
    begun = rm.send(add, {"label": "text", "address": "+8613900000001", "code": rm.code()})
    file = guarded.folder / "codes.ndjson"

    def sent() -> str:
        return str(json.loads(file.read_text().splitlines()[-1])["code"])

    assert "The factor was added." in rm.send(begun, {"code": sent()}).text
    page = rm.open(rm.offered())
    factor = next(
        each["id"] for each in rm.ask("GET", f"{API}factors").json()["factors"] if each["kind"] == "code"
    )
    asked = rm.send(page, {"reason": WHY, "send": factor})
    assert "A code is on its way" in asked.text
    many = [rm.send(page, {"reason": WHY, "send": factor}).answer.status for _ in range(5)]
    assert (many, len(file.read_text().splitlines())) == (
        [503] * 5,
        2,
    )  # messages cost money, and wake people
    assert granted(rm.send(asked, {"reason": WHY, "way": f"code:{factor}", "code": sent()}))


def test_s09_a_request_is_decided_by_somebody_else_on_their_page(guarded: Gateway) -> None:
    officer, lead = Visitor(guarded, "aml.zhao").sign_in(), enrolled(guarded, "amllead.gao")
    officer.enrol()
    officer.enrol_key()
    case = {"Privguard_Purpose": "aml_case", "Privguard_Ticket": '"AML-17"', "Privguard_Reveal": "id_no"}
    case["Privguard_Reason"] = '"two accounts, one address"'
    waits = officer.meet_by_key(officer.ask("GET", "/clients/1", **case).json()["challenge_id"]).json()
    target = f"{STEPUP}approvals/decide?name={waits['name']}"
    assert "No request" in officer.open(STEPUP).text
    assert officer.open(target).answer.status == 403
    assert "1 request waits for you." in lead.open(STEPUP).text
    page = lead.open(target)
    for said in ("aml.zhao", "client 1", "id_no", "aml_case", "AML-17", "aml-reveal", "one address"):
        assert said in page.text, said
        assert said in lead.open(f"{STEPUP}approvals").text, said
    assert "identity number (id_no)" in page.text
    assert "身份证件号码 (id_no)" in lead.open(f"{target}&lang=zh").text
    lead.minutes_later()
    assert lead.send(page, {"code": lead.code()}).answer.status == 400  # neither approved nor refused
    other = lead.open(f"{STEPUP}factors/add?kind=totp").form.values["challenge"]
    swapped = {"challenge": other, "approve": "yes", "code": lead.code()}
    assert lead.send(page, swapped).answer.status == 403
    state = f"{API}grants/{waits['name']}"
    assert officer.ask("GET", state).json()["state"] == "pending"
    lead.minutes_later()
    assert "Approved." in lead.send(page, {"approve": "yes", "code": lead.code()}).text
    assert officer.ask("GET", state).json()["state"] == "active"
    assert lead.send(page, {"approve": "no", "code": lead.code()}).answer.status == 403


def test_who_is_not_signed_in_is_told_so(guarded: Gateway) -> None:
    answer = ask(guarded.port, "GET", STEPUP)
    assert answer.status == 401
    assert b"Sign in to the CRM" in answer.body
    chinese = ask(guarded.port, "GET", STEPUP, headers={"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8"})
    assert Seen(chinese).lang == "zh-CN"


def test_the_language_is_kept(rm: Visitor) -> None:
    page = rm.open(f"{STEPUP}?lang=zh")
    assert page.lang == "zh-CN"
    assert "查看明文" in page.text
    cookie = page.answer.headers["set-cookie"]
    assert cookie.startswith("__Host-privguard-lang=zh;")
    assert {"Secure", "HttpOnly", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    assert all("lang=" in link for link in page.links if link.startswith(STEPUP))


def test_script_and_style_have_a_strict_type_and_an_etag(guarded: Gateway) -> None:
    for name, kind in {
        "privguard.js": "text/javascript",
        "pages.js": "text/javascript",
        "pages.css": "text/css",
    }.items():
        first = ask(guarded.port, "GET", f"/_privguard/{name}")
        assert first.headers["content-type"] == f"{kind}; charset=utf-8"
        assert first.headers["x-content-type-options"] == "nosniff"
        again = ask(
            guarded.port, "GET", f"/_privguard/{name}", headers={"If-None-Match": first.headers["etag"]}
        )
        assert (again.status, again.body) == (304, b"")
