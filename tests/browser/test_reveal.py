"""A real browser: masked, a key or a code, clear, and masked again when the grant is spent."""

from __future__ import annotations

import json

import pytest

from tests.attacks.stepup import API
from tests.browser.chromium import Browser, Tab
from tests.browser.walk import at, tab_of
from tests.command import privguard
from tests.visitor import STEPUP, Visitor

pytestmark = pytest.mark.xdist_group("browser")
FRONT = "/assets/front.html"
WHY = "client asked for a call"
SHOWN = "document.getElementById('mobile').textContent"


def truth(who: Visitor) -> str:
    return str(who.gateway.upstream("rm.li", "GET", "/clients/1").json()["client"]["mobile"])


def masked(tab: Tab) -> str:
    """The front end's page with the value as it comes; gives it."""
    return str(tab.wait(f"{SHOWN}.includes('*') && {SHOWN}"))


def test_s07_masked_a_touch_clear_and_masked_again(browser: Browser, rm: Visitor) -> None:
    with tab_of(browser, rm) as tab:
        tab.add_key()
        tab.go(at(rm, f"{STEPUP}factors/add?kind=webauthn&lang=en"))
        tab.type("#label", "yellow key")
        tab.type("#code", rm.code())
        tab.press("Enter")
        tab.click("[data-create]")
        tab.see("The factor was added.")
        assert "yellow key" in tab.text

        tab.go(at(rm, FRONT))
        masked(tab)
        tab.click("#show")
        tab.see("mobile")
        tab.click("dialog button.main")
        tab.wait(f"{SHOWN} === {json.dumps(truth(rm))}")
        assert tab.value("document.getElementById('show').hidden")
        tab.click("#again")
        masked(tab)
        tab.click("#show")  # the grant had one read
        tab.see("Use a security key or passkey")
        tab.press("Escape")
        assert masked(tab)
        tab.go(at(rm, f"{rm.offered()}&lang=en"))  # a page on which the reason is typed beside the key
        tab.type("#reason", WHY)
        tab.click("[data-get]")
        tab.see("Granted")
        leaves = rm.gateway.leaves()
        issued = [leaf for leaf in leaves if leaf["action"] == "stepup:grant:issue"][-2:]
        assert [leaf["about"]["kind"] for leaf in issued] == ["webauthn", "webauthn"]
        for leaf in issued:
            said = privguard("audit", "show", leaf["id"], "--json", "--config", rm.gateway.config)
            shown = json.loads(said.stdout)
            assert shown["key"] is True
            assert json.loads(shown["detail"]["approved"])["reason"] == shown["detail"]["reason"] != ""
        assert tab.complaints() == []


def test_masked_a_code_clear_and_masked_again(browser: Browser, rm: Visitor) -> None:
    with tab_of(browser, rm) as tab:
        tab.go(at(rm, FRONT))
        masked(tab)
        tab.click("#show")
        tab.type("dialog #code", rm.wrong())
        tab.press("Enter")
        tab.see("Not accepted.")
        rm.minutes_later()
        tab.value("document.activeElement.shadowRoot.querySelector('#code').value = ''")
        tab.type("dialog #code", rm.code())
        tab.press("Enter")
        tab.wait(f"{SHOWN} === {json.dumps(truth(rm))}")
        tab.click("#again")
        masked(tab)
        assert tab.complaints() == []


def test_a_window_hands_its_grant_to_the_page_that_opened_it(browser: Browser, rm: Visitor) -> None:
    with tab_of(browser, rm) as tab:
        tab.go(at(rm, FRONT))
        masked(tab)
        tab.value(f"""
          window.told = null;
          addEventListener("message", (event) => {{
            if (event.origin === location.origin) window.told = event.data;
          }});
          window.open({json.dumps(rm.offered())}, "stepup"); 0""")
        window = tab.other()
        window.type("#reason", WHY)
        window.type("#code", rm.code())
        window.press("Enter")
        told = tab.wait("window.told")
        assert told["type"] == "privguard-grant"
        shown = rm.look(told["grant"])
        assert shown.json()["client"]["mobile"] == truth(rm)
        assert rm.look(told["grant"]).status == 401  # spent


def test_a_page_that_leads_back_leaves_its_grant_to_the_tab(browser: Browser, rm: Visitor) -> None:
    taken = "import('/_privguard/privguard.js').then((module) => module.taken())"
    with tab_of(browser, rm) as tab:
        tab.go(at(rm, f"{rm.offered()}&return_to={FRONT}&lang=en"))
        tab.type("#reason", WHY)
        tab.type("#code", rm.code())
        tab.press("Enter")
        tab.see("Granted")
        tab.click("[data-return]")
        masked(tab)
        told = tab.value(taken)
        assert rm.look(told["grant"]).json()["client"]["mobile"] == truth(rm)
        assert tab.value(taken) is None


def asking(tab: Tab, call: str) -> None:
    """Calls the module; what came is in ``window.came``."""
    tab.value(f"""
      import("/_privguard/privguard.js").then((privguard) => {call})
        .then(async (answer) => {{
          window.came = {{ status: answer.status, body: await answer.json() }};
        }}); 0""")


def test_the_dialog_asks_why_in_chinese_and_opens_a_record(browser: Browser, rm: Visitor) -> None:
    with tab_of(browser, rm) as tab:
        tab.go(at(rm, FRONT))
        tab.value("document.documentElement.lang = 'zh-CN'")
        asking(tab, "privguard.reveal('/clients/1', ['mobile'])")
        tab.see("请先说明事由")
        tab.type("dialog #reason", '客户来电要求核对 "手机号码" 100%')
        tab.press("Enter")
        tab.see("字段：")
        tab.type("dialog #code", rm.code())
        tab.press("Enter")
        assert tab.wait("window.came")["body"]["client"]["mobile"] == truth(rm)

        rm.minutes_later()
        tab.value("window.came = null")
        asking(tab, "privguard.fetch('/clients/7')")  # a gate: not even masked without it
        tab.see("整条记录")
        tab.type("dialog #code", rm.code())
        tab.press("Enter")
        assert tab.wait("window.came")["status"] == 200

        tab.value("window.came = null")
        asking(tab, "privguard.reveal('/clients/1', ['email'], {reason: 'client asked for a call'})")
        tab.see("取消")
        tab.press("Escape")
        assert tab.wait("window.came")["status"] == 401
        assert tab.complaints() == []


def test_the_dialog_takes_a_code_that_is_sent(browser: Browser, rm: Visitor) -> None:
    begun = rm.begin("code", {"method": "totp", "code": rm.code()}, address="+8613900000002")
    assert begun.status == 201, begun
    file = rm.gateway.folder / "codes.ndjson"

    def sent() -> str:
        return str(json.loads(file.read_text().splitlines()[-1])["code"])

    assert rm.ask("POST", f"{API}factors/{begun.json()['id']}", {"code": sent()}).status == 200
    with rm.store() as store:
        store.execute("UPDATE factor SET state = 'disabled' WHERE id = ?", (rm.factor,))
    try:
        with tab_of(browser, rm) as tab:
            tab.go(at(rm, FRONT))
            masked(tab)
            before = sent()
            tab.click("#show")
            tab.click("dialog button[type=button]")
            tab.see("A code is on its way.")
            assert sent() != before
            tab.type("dialog #code", sent())
            tab.press("Enter")
            tab.wait(f"{SHOWN} === {json.dumps(truth(rm))}")
    finally:
        with rm.store() as store:
            store.execute("UPDATE factor SET state = 'active' WHERE id = ?", (rm.factor,))


def enrol_key(tab: Tab, who: Visitor) -> None:
    """A key of the tab's own, added on the page by a code."""
    tab.add_key()
    tab.go(at(who, f"{STEPUP}factors/add?kind=webauthn&lang=en"))
    who.minutes_later()
    tab.type("#code", who.code())
    tab.press("Enter")
    tab.click("[data-create]")
    tab.see("The factor was added.")


def test_the_dialog_goes_on_when_somebody_approved(browser: Browser, lead: Visitor, officer: Visitor) -> None:
    case = "{purpose: 'aml_case', ticket: 'AML-17', reason: 'two accounts, one address'}"
    with tab_of(browser, officer) as tab:
        enrol_key(tab, officer)
        tab.go(at(officer, FRONT))
        asking(tab, f"privguard.reveal('/clients/1', ['id_no'], {case})")
        tab.click("dialog button.main")
        tab.see("A second person has to approve this.")
        waits = lead.ask("GET", f"{API}approvals").json()["approvals"][-1]
        assert waits["reason"] == "two accounts, one address"
        with tab_of(browser, lead) as decides:
            enrol_key(decides, lead)
            decides.go(at(lead, f"{STEPUP}approvals/decide?name={waits['name']}&lang=en"))
            decides.click("[value=yes]")
            decides.click("[data-get]")
            decides.wait("document.querySelector('.notice') !== null")
        true = officer.gateway.upstream("rm.li", "GET", "/clients/1").json()["client"]["id_no"]
        assert tab.wait("window.came")["body"]["client"]["id_no"] == true
    [decided] = [leaf for leaf in lead.gateway.leaves() if leaf["action"] == "stepup:grant:approve"]
    said = privguard("audit", "show", decided["id"], "--json", "--config", lead.gateway.config)
    shown = json.loads(said.stdout)
    assert (shown["key"], json.loads(shown["detail"]["approved"])["action"]) == (True, "approve")


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_code_without_javascript(browser: Browser, rm: Visitor, lang: str) -> None:
    with tab_of(browser, rm, script=False) as tab:
        tab.go(at(rm, f"{rm.offered()}&return_to=/assets/front.html&lang={lang}"))
        tab.type("#reason", WHY)
        tab.type("#code", rm.wrong())
        tab.press("Enter")
        tab.see({"en": "Not accepted.", "zh": "验证未通过。"}[lang])
        rm.minutes_later()
        tab.type("#code", rm.code())
        tab.press("Enter")
        tab.see({"en": "holds for 5 minutes, 1 answer", "zh": "有效期：5 分钟，1 次"}[lang])
        told = json.loads(tab.value("document.getElementById('grant').dataset.grant"))
        assert told["grant"] not in tab.text
        assert rm.look(told["grant"]).json()["client"]["mobile"] == truth(rm)
        assert rm.look(told["grant"]).status == 401
        tab.click("main p:last-child a")
        tab.wait("location.pathname === '/assets/front.html'")


def test_the_sample_crm_as_the_demo_shows_it(browser: Browser, rm: Visitor) -> None:
    """Signed in by its own page and cookie: masked, why, a code, clear."""
    with browser.tab() as tab:
        tab.go(at(rm, "/"))
        tab.click("#login button")
        tab.click("#rows tr:first-child td:nth-child(2)")
        tab.see('"mobile": "199****')
        tab.click("#clear")
        tab.type("dialog #reason", WHY)
        tab.press("Enter")
        tab.type("dialog #code", rm.code())
        tab.press("Enter")
        tab.see(f'"mobile": "{truth(rm)}"')
        assert tab.complaints() == []
