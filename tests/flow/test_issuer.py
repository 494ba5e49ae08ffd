"""A gateway with two workers before an identity provider: its tokens, its keys, sign-in to the pages."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pyotp
import pytest
from joserfc.jwk import ECKey

from privguard.config import JwtSettings, LoginSettings
from privguard.errors import ConfigError
from privguard.gateway.login import Login
from privguard.testing import CountingEntropy, FrozenClock
from tests.command import privguard
from tests.door import Answer, Gateway, ask, free_port, make_gateway
from tests.issuer import CLIENT, SECRET, Issuer, issuing
from tests.recorder import POLICY, Recorder, crm, recording
from tests.visitor import Seen

IDENTITY = """
[identity]
mode = "jwt"
[identity.jwt]
issuer = "{url}"
audience = "privguard-api"
jwks = "{url}/jwks"
claims = {{acr = "strength"}}
[identity.jwt.login]
client_id = "{client}"
client_secret = "secret"
public_url = "http://127.0.0.1:{port}"
"""
GATED = POLICY.replace(
    "rules:\n", "rules:\n  - {id: vip, gate: all, relation: vip, require: {mfa: {max_age: 30m}}}\n"
)
GATED = GATED.replace("relations:\n", 'relations:\n  vip: record.id == "7"\n')


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with issuing() as made:
        yield made


@pytest.fixture(scope="module")
def upstream() -> Iterator[Recorder]:
    with recording() as recorder:
        recorder.default = crm
        yield recorder


@pytest.fixture(scope="module")
def door(issuer: Issuer, upstream: Recorder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    identity = IDENTITY.format(url=issuer.url, client=CLIENT, port=free_port())
    made = make_gateway(tmp_path_factory.mktemp("issuer"), upstream.port, policy=GATED, identity=identity)
    secret = made.folder / "secret"
    secret.write_text(f"{SECRET}\n")
    secret.chmod(0o600)
    made.workers = 2
    yield made.start()
    made.stop()
    made.verify()
    assert "Traceback" not in made.output


@pytest.fixture(autouse=True)
def as_usual(issuer: Issuer) -> Iterator[None]:
    yield
    issuer.down, issuer.spoil = False, {}


def read(door: Gateway, token: str, target: str = "/clients/1") -> Answer:
    return ask(door.port, "GET", target, token=token)


# -- tokens -------------------------------------------------------------------------------------------------


def forged(issuer: Issuer, alg: str) -> str:
    """A token of the right claims without a signature."""
    parts = [{"alg": alg, "typ": "JWT", "kid": "k1"}, json.loads(base64.urlsafe_b64decode(payload(issuer)))]
    return (
        ".".join(base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=").decode() for p in parts) + "."
    )


def payload(issuer: Issuer) -> str:
    return issuer.token().split(".")[1] + "=="


NOW = int(time.time())
BAD: dict[str, dict[str, Any]] = {
    "expired": {"exp": NOW - 3600},
    "no exp": {"exp": None},
    "exp in milliseconds": {"exp": (NOW + 600) * 1000},
    "not yet": {"nbf": NOW + 3600},
    "audience": {"aud": "other"},
    "application's": {"aud": CLIENT},
    "issuer": {"iss": "http://127.0.0.1/other"},
    "nobody": {"sub": None},
    "auth_time in milliseconds": {"auth_time": NOW * 1000},
    "typ": {"header": {"typ": "logout+jwt"}},
    "crit": {"header": {"crit": ["kid"]}},
}


@pytest.mark.parametrize("changed", BAD.values(), ids=BAD)
def test_s10_a_token_that_does_not_hold_is_refused(
    door: Gateway, issuer: Issuer, upstream: Recorder, changed: dict[str, Any]
) -> None:
    assert read(door, issuer.token()).status == 200
    with upstream.unasked():
        refused = read(door, issuer.token(**changed))
    assert (refused.status, refused.problem) == (401, "unauthenticated")


def test_s10_unsigned_tokens_are_refused(door: Gateway, issuer: Issuer, upstream: Recorder) -> None:
    with upstream.unasked():
        for alg in ("none", "HS256", "ES256"):
            assert read(door, forged(issuer, alg)).status == 401


def test_s10_a_strong_acr_with_a_stale_auth_time_is_challenged(door: Gateway, issuer: Issuer) -> None:
    fresh, stale = NOW - 60, NOW - 7200
    for claims, status in (
        ({"strength": "mfa", "auth_time": fresh}, 200),
        ({"strength": "mfa", "auth_time": stale}, 401),
        ({"strength": "mfa"}, 401),
        ({"acr": "mfa", "auth_time": fresh}, 401),  # this issuer says it elsewhere
        ({"amr": ["pwd", "otp"], "auth_time": fresh}, 200),
        ({"amr": ["pwd"], "auth_time": fresh}, 401),
    ):
        answer = read(door, issuer.token(**claims), "/clients/7")
        assert answer.status == status, claims
        assert status == 200 or answer.problem == "step-up-required"


def test_s10_a_flood_of_unknown_keys_and_an_issuer_that_is_down(door: Gateway, issuer: Issuer) -> None:
    known = issuer.token(n=1)
    for _ in range(8):  # both workers know the keys
        assert read(door, issuer.token(n=2)).status == 200
    before, began = issuer.asked["/jwks"], time.monotonic()
    strangers = [ECKey.generate_key("P-256", {"kid": f"x{number}"}) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: read(door, issuer.token(strangers[n % 8], n=n)), range(48)))
    assert {answer.status for answer in answers} == {401}
    cool_downs = 1 + (time.monotonic() - began) // 10
    assert issuer.asked["/jwks"] - before <= 2 * cool_downs  # a worker asks once a cool-down
    issuer.down = True
    assert read(door, known).status == 200
    assert read(door, issuer.token(n=3)).status == 200  # verified by the keys that are known


# -- sign-in ------------------------------------------------------------------------------------------------


class Browser:
    """Keeps cookies as a browser does, and follows nothing by itself."""

    def __init__(self, door: Gateway) -> None:
        self.door = door
        self.jar: dict[str, str] = {}

    def get(self, target: str, method: str = "GET") -> Answer:
        cookies = "; ".join(f"{name}={value}" for name, value in self.jar.items())
        answer = ask(self.door.port, method, target, headers={"Cookie": cookies} if cookies else {})
        for said in answer.headers.get("set-cookie", "").split(", __Host-"):
            for name, morsel in SimpleCookie(
                said if said.startswith("__Host-") else f"__Host-{said}"
            ).items():
                flags = (
                    morsel["path"],
                    morsel["secure"],
                    morsel["httponly"],
                    morsel["samesite"],
                    morsel["domain"],
                )
                assert flags == ("/", True, True, "lax", "")
                self.jar[name] = morsel.value
                if morsel["max-age"] == "0":
                    del self.jar[name]
        return answer

    def fill(self, page: Answer, values: dict[str, str]) -> Seen:
        """Sends a page's form with these values put in."""
        form = Seen(page).form
        sent = {
            "Cookie": "; ".join(f"{name}={value}" for name, value in self.jar.items()),
            "Content-Type": "application/x-www-form-urlencoded",
            "Sec-Fetch-Site": "same-origin",
        }
        body = urlencode({**form.values, **values})
        return Seen(ask(self.door.port, "POST", form.action, body=body, headers=sent))

    def begin(self, return_to: str = "/") -> str:
        answer = self.get(f"/_privguard/login?{urlencode({'return_to': return_to})}")
        assert (answer.status, answer.headers["cache-control"]) == (303, "no-store")
        return answer.headers["location"]

    def back(self, url: str) -> Answer:
        parts = urlsplit(url)
        return self.get(f"{parts.path}?{parts.query}")

    def who(self) -> str | None:
        answer = self.get("/_privguard/session")
        return answer.json()["id"] if answer.status == 200 else None


@pytest.fixture
def browser(door: Gateway) -> Browser:
    return Browser(door)


def test_staff_sign_in_and_out_and_the_sign_in_is_on_record(
    browser: Browser, issuer: Issuer, upstream: Recorder
) -> None:
    door = browser.door
    entries = len(door.leaves())
    assert browser.who() is None
    location = browser.begin("/_privguard/pages?x=1")
    back = browser.back(issuer.sign_in(location, sub="e-18"))
    assert (back.status, back.headers["location"]) == (303, "/_privguard/pages?x=1")
    assert (back.headers["referrer-policy"], back.headers["cache-control"]) == ("no-referrer", "no-store")
    assert browser.jar.keys() == {"__Host-privguard-session"}
    assert [browser.who() for _ in range(8)] == ["e-18"] * 8  # on both workers
    (leaf,) = door.since(entries)
    assert (leaf["action"], leaf["actor"], leaf["roles"]) == ("gateway:session:begin", "e-18", ["staff"])

    browser.jar["crm_session"] = "the CRM's own"
    assert browser.get("/public/x").status == 200
    assert upstream.seen[-1].values("cookie") == ["crm_session=the CRM's own"]
    del browser.jar["crm_session"]
    browser.get("/public/x")
    assert upstream.seen[-1].values("cookie") == []
    refused = browser.get("/clients/1")  # a cookie opens no route of the CRM
    assert (refused.status, refused.problem) == (401, "unauthenticated")
    assert browser.get("/_privguard/logout", "POST").status == 303
    assert browser.jar == {}
    assert browser.who() is None


def test_the_pages_of_step_up_are_for_who_signed_in(browser: Browser, issuer: Issuer) -> None:
    sent = browser.get("/_privguard/stepup/factors?lang=en")
    assert sent.status == 303
    assert sent.headers["location"].startswith(
        "/_privguard/login?return_to=%2F_privguard%2Fstepup%2Ffactors%3Flang"
    )
    location = browser.get(sent.headers["location"]).headers["location"]
    back = browser.back(issuer.sign_in(location, sub="e-19"))
    assert back.headers["location"] == "/_privguard/stepup/factors?lang=en"
    page = browser.get(back.headers["location"])
    assert (page.status, b"Signed in as e-19" in page.body) == (200, True)


def test_s09_a_sign_in_ends_only_in_the_browser_that_began_it(browser: Browser, issuer: Issuer) -> None:
    theirs = Browser(browser.door)
    url = issuer.sign_in(theirs.begin(), sub="mallory")
    assert browser.back(url).status == 401  # without a beginning of its own
    browser.begin()
    assert browser.back(url).status == 401  # login CSRF: another's state
    assert browser.who() is None


def test_s09_a_session_that_was_planted_is_replaced(browser: Browser, issuer: Issuer) -> None:
    browser.back(issuer.sign_in(browser.begin(), sub="mallory"))
    planted = browser.jar["__Host-privguard-session"]
    browser.back(issuer.sign_in(browser.begin(), sub="e-17"))
    assert browser.who() == "e-17"
    assert browser.jar["__Host-privguard-session"] != planted


def test_s09_a_code_serves_once(browser: Browser, issuer: Issuer) -> None:
    location = browser.begin()
    kept = dict(browser.jar)
    url = issuer.sign_in(location)
    assert browser.back(url).status == 303
    browser.jar = kept
    assert browser.back(url).status == 502


@pytest.mark.parametrize(
    "spoil",
    [
        {"nonce": "other"}, {"nonce": None}, {"aud": "privguard-api"}, {"iss": "http://127.0.0.1/x"},
        {"azp": "other"}, {"exp": NOW - 3600}, {"header": {"typ": "at+jwt"}},
        {"key": ECKey.generate_key("P-256", {"kid": "k1"})},
        {"roles": [f"role-{number:04}-{'x' * 40}" for number in range(80)]},
    ],
    ids=["nonce", "no-nonce", "aud", "iss", "azp", "exp", "typ", "key", "large"],
)  # fmt: skip
def test_s10_an_id_token_that_does_not_hold_signs_nobody_in(
    browser: Browser, issuer: Issuer, spoil: dict[str, Any]
) -> None:
    issuer.spoil = spoil
    refused = browser.back(issuer.sign_in(browser.begin()))
    assert (refused.status, refused.problem) == (401, "unauthenticated")
    assert browser.who() is None


@pytest.mark.parametrize("change", ["state", "iss", "no code", "error", "state twice"])
def test_s09_what_comes_back_changed_signs_nobody_in(browser: Browser, issuer: Issuer, change: str) -> None:
    parts = urlsplit(issuer.sign_in(browser.begin()))
    said = dict(parse_qsl(parts.query))
    changed: list[tuple[str, str]] = {
        "state": list({**said, "state": "x"}.items()),
        "iss": list({**said, "iss": "https://evil.example"}.items()),
        "no code": [("state", said["state"])],
        "error": [("state", said["state"]), ("error", "access_denied")],
        "state twice": [*said.items(), ("state", said["state"])],
    }[change]
    assert browser.back(f"{parts.path}?{urlencode(changed)}").status == 401
    assert browser.who() is None


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example/", "/\\evil.example", "x", "/a b", "/\n", "/\u4e2d"]
)
def test_s14_a_sign_in_leads_nowhere_else(browser: Browser, target: str) -> None:
    answer = browser.get(f"/_privguard/login?{urlencode({'return_to': target})}")
    assert (answer.status, answer.problem) == (400, "malformed-request")
    assert "location" not in answer.headers


def test_a_cookie_that_was_changed_or_moved_is_none(browser: Browser, issuer: Issuer) -> None:
    browser.back(issuer.sign_in(browser.begin()))
    session = browser.jar["__Host-privguard-session"]
    browser.begin()
    begun = browser.jar.pop("__Host-privguard-login")
    for value in (session[:-6] + "AAAAAA", begun, "", "x", "=", "\u00e9"):
        browser.jar["__Host-privguard-session"] = value
        assert browser.who() is None


def test_an_issuer_that_is_down_signs_nobody_in_and_is_said(browser: Browser, issuer: Issuer) -> None:
    location = browser.begin()
    url = issuer.sign_in(location)
    issuer.down = True
    refused = browser.back(url)
    assert (refused.status, refused.problem) == (502, "upstream-unavailable")
    assert browser.who() is None


@pytest.mark.parametrize(
    "changed",
    [{"client_id": "privguard-api"}, {"public_url": "http://bank.example"}, {"issuer": "http://id.example"}],
    ids=["audience", "public_url", "issuer"],
)
def test_s10_settings_that_would_open_a_way_around_are_refused(changed: dict[str, str]) -> None:
    issuer = changed.get("issuer", "https://id.example")
    given = {"client_id": CLIENT, "public_url": "https://bank.example", **changed}
    given.pop("issuer", None)
    login = LoginSettings.model_validate(given)
    jwt = JwtSettings.model_validate(
        {"issuer": issuer, "audience": "privguard-api", "jwks": "https://id.example/jwks"}
    )
    with pytest.raises(ConfigError, match=r"\[identity\.jwt"):
        Login(jwt, login, FrozenClock(), CountingEntropy(), bytes(32), bytes(32))


def test_a_grant_of_the_pages_holds_for_the_tokens_of_the_same_session(door: Gateway, issuer: Issuer) -> None:
    browser, sid = Browser(door), {"sub": "e-20", "sid": "s-1"}
    token = issuer.token(**sid)
    offered = str(read(door, token, "/clients/7").json()["challenge_uri"])
    browser.back(issuer.sign_in(browser.begin(offered), **sid))
    add = "/_privguard/stepup/factors/add?kind=totp"
    invited = privguard("factor", "invite", "e-20", "--config", door.config).stdout.decode().strip()
    begun = browser.fill(browser.get(add), {"code": invited})
    secret = begun.text.split("instead:")[1].split("6-digit")[0].replace(" ", "").strip()
    now = int(time.time())
    done = browser.fill(begun.answer, {"code": pyotp.TOTP(secret).at(now)})
    assert done.answer.status == 303, done.text
    elsewhere = Browser(door)
    assert elsewhere.back(issuer.sign_in(elsewhere.begin(), sub="e-20", sid="s-2")).status == 303
    assert elsewhere.who() == "e-20"
    assert elsewhere.get(offered).status == 403
    granted = browser.fill(browser.get(offered), {"code": pyotp.TOTP(secret).at(now + 30)})
    assert granted.answer.status == 200, granted.text
    grant = {"Privguard-Grant": f'"{json.loads(granted.attributes["data-grant"])["grant"]}"'}
    other = issuer.token(sub="e-20", sid="s-2")
    assert ask(door.port, "GET", "/clients/7", token=other, headers=grant).status == 401
    assert ask(door.port, "GET", "/clients/7", token=token, headers=grant).status == 200
