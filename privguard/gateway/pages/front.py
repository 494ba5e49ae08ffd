"""What all pages share: who visits and in which language, the forms' token, headers, and errors as pages.

A page shows itself (GET) and acts (POST). What an act refuses is shown on the page it came from, with what
was typed, codes excepted; where that page cannot be shown either, on a page of its own.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode

from fastapi import Request, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from msgspec import Struct
from msgspec.structs import replace

from privguard.asgi.headers import OWN_COOKIES
from privguard.crypto.envelope import joined
from privguard.errors import (
    FactorRefusedError,
    MalformedRequestError,
    PrivguardError,
    UnauthenticatedError,
    contained,
)
from privguard.gateway.own import PREFIX
from privguard.gateway.pages.words import WORDS, Words, language
from privguard.gateway.stepup import Desk, judged, read_body
from privguard.model import Principal
from privguard.policy.document import NameDef

AT: Final = f"{PREFIX}stepup/"
LANGUAGE: Final = f"{OWN_COOKIES.decode()}-lang"
_YEAR_S: Final = 31_536_000
_HEADERS: Final = {
    "content-type": "text/html; charset=utf-8",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        "form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",  # an address may hold a challenge
    "cache-control": "no-store",
    "permissions-policy": "publickey-credentials-get=(self), publickey-credentials-create=(self)",
    "cross-origin-resource-policy": "same-origin",
}
_MOST_MEMBERS: Final = 40


class UnsaidError(MalformedRequestError):
    """A form lacks something, which is asked for again; ``key`` names the words for it."""

    def __init__(self, key: str) -> None:
        super().__init__("The form lacks something.")
        self.key = key


class Visit(Struct, frozen=True):
    """A request for a page.

    Attributes:
        query, form: what they say; the form is empty for GET.
        notice: key of what went well just now.
        error: what went wrong just now.
    """

    actor: Principal
    words: Words
    query: Mapping[str, str]
    form: Mapping[str, str] = {}
    notice: str = ""
    error: PrivguardError | None = None

    def said(self, name: str) -> str:
        """What the form, else the query says; empty where neither does."""
        return self.form.get(name) or self.query.get(name, "")


class Page(Struct, frozen=True):
    """Shows itself, and acts on its form."""

    show: Callable[[Visit], Awaitable[Response]]
    act: Callable[[Visit], Awaitable[Response]] | None = None


class Front:
    """Lets visits in and answers them.

    Args:
        key, login: see ``add_pages``.
        names: what the policy in force calls its fields.
    """

    def __init__(
        self, desk: Desk, key: bytes, login: str, names: Callable[[], Mapping[str, NameDef]]
    ) -> None:
        self._desk = desk
        self._names = names
        self._key = key
        self._login = login
        self._templates = Environment(
            loader=FileSystemLoader(Path(__file__).with_name("templates")),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(moment=_moment, spaced=_spaced)
        self._templates.globals.update(at=AT, assets=PREFIX)

    async def show(self, request: Request, page: Page) -> Response:
        """Answers GET."""
        words = self._words(request)
        try:
            visit = await self._visit(request, words, b"")
            return self._kept(request, await judged(page.show(visit)))
        except UnauthenticatedError as error:
            if self._login:
                target = quote(_target(request), safe="")
                return self.onward(f"{self._login}?return_to={target}")
            return self._error(words, error, request.query_params)
        except Exception as error:  # noqa: BLE001  # bad input never gives a 500
            return self._error(words, contained(error), request.query_params)

    async def act(self, request: Request, page: Page) -> Response:
        """Answers POST."""
        words = self._words(request)
        try:
            visit = await self._visit(request, words, await read_body(request))
        except Exception as error:  # noqa: BLE001  # bad input never gives a 500
            return self._error(words, contained(error), request.query_params)
        act = page.act or page.show
        try:
            return await judged(act(visit))
        except Exception as error:  # noqa: BLE001  # bad input never gives a 500
            refused = contained(error)
        try:
            again = await judged(page.show(replace(visit, error=refused)))
        except Exception:  # noqa: BLE001  # nor does a page that cannot be shown again
            return self._error(words, refused, request.query_params)
        again.status_code = refused.status
        return again

    def page(self, visit: Visit, template: str, **values: object) -> Response:
        """A page, from its template."""
        return self._rendered(visit, visit.words, visit.query, visit.error, template, 200, **values)

    def onward(self, location: str) -> Response:
        """Off to another page of ours."""
        kept = {name: value for name, value in _HEADERS.items() if name != "content-type"}
        return Response(status_code=303, headers={**kept, "location": location})

    def done(self, visit: Visit, path: str, what: str) -> Response:
        """Off to a page that says what was done: reloading it does nothing twice."""
        lang = {"lang": visit.query["lang"]} if "lang" in visit.query else {}
        return self.onward(f"{AT}{path}?{urlencode({'done': what, **lang})}")

    def described(self, words: Words, error: PrivguardError | None) -> tuple[str, tuple[str, str]]:
        """An error for a reader: what, and the detail with its language where that adds something."""
        nothing = "", words.lang
        if error is None:
            return "", nothing
        if isinstance(error, UnsaidError):
            return words(error.key), nothing
        key = f"problem.{error.problem}"
        known = words.has(key)
        plain = isinstance(error, FactorRefusedError | UnauthenticatedError) or error.status >= 500
        return words(key if known else "problem.other"), nothing if plain else words.detail(error.detail)

    # inside

    def _words(self, request: Request) -> Words:
        asked, kept = request.query_params.get("lang", ""), request.cookies.get(LANGUAGE, "")
        words = WORDS[language(asked, kept, request.headers.get("accept-language", ""))]
        said = self._names()
        return replace(
            words,
            fields={name: one.zh if words.lang.startswith("zh") else one.en for name, one in said.items()},
        )

    async def _visit(self, request: Request, words: Words, body: bytes) -> Visit:
        posted = request.method == "POST"
        actor = await self._desk.who(request, body, form=True)
        query, form = _members(request.scope["query_string"]), _members(body)
        if posted and not hmac.compare_digest(form.get("csrf", "").encode(), self._token(actor).encode()):
            raise UnsaidError("unsaid.form")
        return Visit(actor, words, query, form)

    def _token(self, actor: Principal) -> str:
        """What a form of this session carries: no other session has it, and no other site reads it (S09)."""
        text = joined("form", actor.tenant, actor.id, actor.session or "")
        return hmac.digest(self._key, text, "sha256").hex()

    def _error(self, words: Words, error: PrivguardError, query: Mapping[str, str]) -> Response:
        status = error.status if error.status != 500 else 503
        return self._rendered(None, words, query, error, "error.html", status)

    def _rendered(
        self,
        visit: Visit | None,
        words: Words,
        query: Mapping[str, str],
        error: PrivguardError | None,
        template: str,
        status: int,
        **values: object,
    ) -> Response:
        """Links keep the language that was asked for; that of the other language leads to the same page."""
        lang = {"lang": words.lang} if "lang" in query else {}

        def to(path: str, **more: str) -> str:
            said = urlencode({name: value for name, value in {**more, **lang}.items() if value})
            return f"{AT}{path}" + (f"?{said}" if said else "")

        def other(language: str) -> str:
            return "?" + urlencode({**query, "lang": language})

        common = {
            "visit": visit,
            "t": words,
            "csrf": self._token(visit.actor) if visit is not None else "",
            "error": error,
            "reading": self.described(words, error),
            "login": self._login,
            "to": to,
            "other": other,
        }
        made = self._templates.get_template(template).render(common | values)
        return Response(made, status, headers=_HEADERS)

    def _kept(self, request: Request, response: Response) -> Response:
        lang = request.query_params.get("lang", "")
        if lang in WORDS:
            response.set_cookie(
                LANGUAGE, lang, max_age=_YEAR_S, path="/", secure=True, httponly=True, samesite="lax"
            )
        return response


def _target(request: Request) -> str:
    query = request.scope["query_string"].decode("latin-1")
    return request.url.path + (f"?{query}" if query else "")


def _members(text: bytes) -> dict[str, str]:
    """A query or form. Raises MalformedRequestError: it can be read in two ways."""
    try:
        found = parse_qsl(
            text.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_MEMBERS
        )
    except ValueError:
        found = [("", ""), ("", "")]
    if len(dict(found)) < len(found):
        raise MalformedRequestError("The form or query is not as this page sends it.")
    return dict(found)


def _moment(us: int) -> dict[str, Any]:
    """A time for people and for scripts."""
    at = datetime.fromtimestamp(us / 1_000_000, UTC)
    return {
        "iso": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "date": at.strftime("%Y-%m-%d"),
        "text": at.strftime("%Y-%m-%d %H:%M UTC"),
    }


def _spaced(key: str) -> str:
    """A long key in groups of four, to be typed."""
    return " ".join(key[start : start + 4] for start in range(0, len(key), 4))
