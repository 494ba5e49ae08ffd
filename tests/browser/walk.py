"""A walk past every page and the dialog, as it is seen in a language."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.attacks.stepup import KeyHolder
from tests.browser.chromium import Browser, Tab
from tests.command import privguard
from tests.visitor import STEPUP, Visitor

CASE = {"Privguard_Purpose": "aml_case", "Privguard_Ticket": '"AML-17"', "Privguard_Reveal": "id_no"}


def at(who: KeyHolder, path: str) -> str:
    return f"http://localhost:{who.gateway.port}{path}"


def tab_of(browser: Browser, who: KeyHolder, **look: Any) -> Tab:
    """A browser in which they are signed in to the CRM."""
    tab = browser.tab(**look)
    tab.sign_in(at(who, "/"), "crm_session", who.token)
    return tab


def walk(tab: Tab, who: Visitor, lang: str) -> Iterator[str]:
    """The name of each page that ``who`` sees, once it is there; they have a phone."""

    def go(path: str) -> None:
        tab.go(at(who, f"{STEPUP}{path}{'&' if '?' in path else '?'}lang={lang}"))

    go("")
    yield "start"
    go("factors")
    yield "factors"
    go("factors/lost")
    yield "lost"
    tab.add_key()
    go("factors/add?kind=webauthn")
    yield "add"
    tab.type("#label", "yellow key")
    who.minutes_later()
    tab.type("#code", who.code())
    tab.press("Enter")
    tab.wait("document.querySelector('[data-create]') !== null")
    yield "confirm-key"
    tab.click("[data-create]")
    tab.wait("document.querySelector('.notice') !== null")
    yield "added"
    go("factors/add?kind=totp")
    tab.click("[data-get]")
    tab.wait("document.querySelector('.qr') !== null")
    yield "confirm-phone"
    go("factors/add?kind=recovery")
    tab.click("[data-get]")
    tab.wait("document.querySelector('.codes') !== null")
    yield "codes"
    go("factors/add?kind=code")
    yield "add-address"
    go(f"factors/remove?factor={who.factor}")
    yield "remove"
    tab.type("#code", "1")
    tab.press("Enter")
    tab.wait("document.getElementById('error') !== null")
    yield "refused"
    offered = who.offered().removeprefix(STEPUP)
    go(f"{offered}&return_to=/assets/front.html")
    yield "verify"
    tab.type("#reason", "client asked for a call")
    tab.click("[data-get]")
    tab.wait("document.getElementById('grant')?.hidden === false")  # by the script
    yield "granted"
    go("?challenge=none")
    yield "error"


def decisions(tab: Tab, lead: Visitor, lang: str, asker: KeyHolder) -> Iterator[str]:
    """The pages of who decides on what an officer asked for."""
    challenge = asker.ask("GET", "/clients/1", **CASE).json()["challenge_id"]
    waits = asker.meet_by_key(challenge)
    assert waits.status == 202, waits
    asker.minutes_later()
    reset = ("factor", "reset", "rm.wang", "--as", asker.name, "--config", lead.gateway.config)
    said = privguard(*reset, typed=asker.code())
    assert said.returncode == 0, said
    tab.go(at(lead, f"{STEPUP}approvals?lang={lang}"))
    yield "approvals"
    tab.go(at(lead, f"{STEPUP}approvals/decide?name={waits.json()['name']}&lang={lang}"))
    yield "decide"
    lead.minutes_later()
    tab.click("[value=no]")
    tab.type("#code", lead.code())
    tab.press("Enter")
    tab.wait("document.querySelector('.notice') !== null")
    yield "decided"


def dialog(tab: Tab, who: Visitor, lang: str) -> Iterator[str]:
    """The dialog of ``privguard.js``, which takes its language from the page."""
    tab.go(at(who, "/assets/front.html"))
    tab.value(f"document.documentElement.lang = '{'zh-CN' if lang == 'zh' else lang}'")
    tab.see("*")  # the value comes later than the page, and moves the button
    tab.click("#show")
    tab.wait("[...document.body.children].some((each) => each.shadowRoot)")
    yield "dialog"
    tab.press("Escape")
