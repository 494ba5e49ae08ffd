"""Every page and the dialog, in both languages and themes: no serious fault that axe-core knows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.chromium import Browser, Tab
from tests.browser.walk import at, decisions, dialog, tab_of, walk
from tests.door import REPO
from tests.visitor import STEPUP, Visitor

pytestmark = pytest.mark.xdist_group("browser")
AXE = REPO / "tests" / ".cache" / "browser" / "node_modules" / "axe-core" / "axe.min.js"
ASK = """axe.run(document, {resultTypes: ["violations"]}).then(({violations}) => violations
  .filter(({impact}) => impact === "serious" || impact === "critical")
  .map(({id, nodes}) => [id, nodes.map(({target, failureSummary}) => [target, failureSummary])]))"""


@pytest.fixture(scope="module")
def axe() -> str:
    if not AXE.exists():
        pytest.skip("axe-core is absent (.ci/servers.sh axe installs it)")
    return AXE.read_text()


def faults(tab: Tab, axe: str) -> Iterator[Any]:
    """What is wrong with the page as it is, in both themes and widths."""
    if tab.value("typeof axe") == "undefined":
        tab.value(f"{axe}; 0")
    for width, dark in ((390, False), (1280, True)):
        tab.look_as(width=width, dark=dark)
        yield from tab.value(ASK)
        if tab.value("document.documentElement.scrollWidth > innerWidth"):
            yield "overflow", width


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_no_page_has_a_serious_fault(
    browser: Browser, rm: Visitor, lead: Visitor, officer: Visitor, axe: str, lang: str
) -> None:
    found: dict[str, Any] = {}

    def look(tab: Tab, pages: Iterator[str]) -> None:
        for name in pages:
            if wrong := list(faults(tab, axe)):
                found[name] = wrong
            assert tab.value("document.documentElement.lang") == {"en": "en", "zh": "zh-CN"}[lang]

    with tab_of(browser, rm) as tab:
        look(tab, walk(tab, rm, lang))
        look(tab, dialog(tab, rm, lang))
        assert tab.complaints() == []
    with tab_of(browser, lead) as tab:
        look(tab, decisions(tab, lead, lang, officer))
    assert found == {}, json.dumps(found, indent=1, ensure_ascii=False)


def test_a_fault_would_be_found(browser: Browser, rm: Visitor, axe: str) -> None:
    with tab_of(browser, rm) as tab:
        tab.go(at(rm, STEPUP))
        assert list(faults(tab, axe)) == []
        tab.value("document.querySelector('main').append(document.createElement('input')); 0")
        assert [wrong[0] for wrong in faults(tab, axe)] == ["label", "label"]
