"""A member of staff in a browser without scripts: pages are read and forms filled in over real HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.attacks.stepup import KeyHolder
from tests.door import Answer, ask

STEPUP = "/_privguard/stepup/"


@dataclass
class Form:
    """A form with what it would send as it stands; ``values`` of buttons are left out."""

    action: str
    values: dict[str, str] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)


@dataclass
class Seen(HTMLParser):
    """A page as it came."""

    answer: Answer
    forms: list[Form] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    attributes: dict[str, str] = field(default_factory=dict)
    text: str = ""
    lang: str = ""

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.answer.body.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.attributes |= found
        if tag == "html":
            self.lang = found["lang"]
        elif tag == "form":
            self.forms.append(Form(found["action"]))
        elif tag == "a":
            self.links.append(found["href"])
        elif tag == "img":
            self.images.append(found["src"])
        elif tag in ("input", "textarea", "button") and self.forms and "name" in found:
            form = self.forms[-1]
            form.names.add(found["name"])
            chosen = found.get("type") != "radio" or "checked" in found
            if tag == "input" and chosen:
                form.values[found["name"]] = found.get("value", "")

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def form(self) -> Form:
        """The page's form."""
        assert self.forms, self
        return self.forms[0]


@dataclass
class Visitor(KeyHolder):
    """Known by the CRM's cookie alone, as a browser is; in the API, too."""

    def ask(self, method: str, target: str, body: Any = None, **headers: str) -> Answer:
        token, self.token = self.token, ""
        try:
            return super().ask(method, target, body, Cookie=f"crm_session={token}", **headers)
        finally:
            self.token = token

    def open(self, target: str, **headers: str) -> Seen:
        """GET."""
        return Seen(self.ask("GET", target, None, Accept_Language="en", **headers))

    def send(self, seen: Seen, values: Mapping[str, str], **headers: str) -> Seen:
        """Sends the page's form with these values put in, as a browser does; follows where it leads."""
        form = seen.form
        return self.post(form.action, {**form.values, **values}, **headers)

    def post(self, target: str, values: Mapping[str, str], **headers: str) -> Seen:
        sent = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Cookie": f"crm_session={self.token}",
            "Origin": "null",
            "Sec-Fetch-Site": "same-origin",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        kept = {name: value for name, value in sent.items() if value}
        answer = ask(self.gateway.port, "POST", target, body=urlencode(values), headers=kept)
        return self.open(answer.headers["location"]) if answer.status == 303 else Seen(answer)

    def offered(self, client: int = 1) -> str:
        """The page that a masked look links to."""
        link = self.ask("GET", f"/clients/{client}").headers["link"]
        assert link.endswith('; rel="privguard-stepup"')
        return link[1 : link.index(">")]


def query_of(target: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(target).query))
