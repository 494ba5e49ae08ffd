"""Who asks, over HTTP: what comes from elsewhere is asked for sparingly and believed briefly."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from privguard.asgi.canonical import Target
from privguard.asgi.credentials import DemoIdentity, ProxyIdentity, identity_provider
from privguard.asgi.fetch import Body
from privguard.asgi.messages import RawHeaders
from privguard.asgi.tokens import COOL_DOWN_S, FRESH_S, STALE_S, IssuerKeys, TokenIdentity, bearer_token
from privguard.asgi.whoami import WhoAmIIdentity
from privguard.config import Settings
from privguard.errors import ConfigError, UnauthenticatedError, UpstreamUnavailableError
from privguard.identity import (
    AssuranceMap,
    ClaimMap,
    ProxyRules,
    SignedRequest,
    TokenRules,
    sign_assertion,
)
from privguard.model import Principal

NOW = 1_767_600_000
TARGET = Target("GET", "crm", b"/clients/42", "/clients/42", b"", ())
KEY = ECKey.generate_key("P-256", {"kid": "k1"})
NEXT = ECKey.generate_key("P-256", {"kid": "k2"})
RULES = TokenRules(issuer="https://id.example", audience=("privguard",))


class Time:
    """Both clocks, standing still until moved."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now_us(self) -> int:
        return int((NOW + self.seconds) * 1_000_000)

    def today(self) -> Any:
        raise NotImplementedError

    def monotonic(self) -> float:
        return 1_000 + self.seconds


def key_set(*keys: ECKey) -> bytes:
    return json.dumps({"keys": [key.as_dict(private=False) for key in keys]}).encode()


class Issuer:
    """Publishes keys; ``down`` makes it fail, ``slow`` lets others run meanwhile."""

    def __init__(self, *keys: ECKey) -> None:
        self.raw = key_set(*keys)
        self.asked = 0
        self.down = False

    async def load(self) -> bytes:
        self.asked += 1
        await asyncio.sleep(0.01)
        if self.down:
            raise UpstreamUnavailableError("down")
        return self.raw


def token(key: ECKey = KEY, **claims: Any) -> RawHeaders:
    full = {
        "iss": RULES.issuer,
        "aud": "privguard",
        "sub": "e-17",
        "roles": ["rm"],
        "exp": NOW + 600,
        **claims,
    }
    signed = jwt.encode({"alg": "ES256", "typ": "JWT", "kid": key.kid}, full, key)
    return [(b"host", b"crm"), (b"authorization", b"Bearer " + signed.encode())]


def by_token(issuer: Issuer, time: Time, **more: Any) -> TokenIdentity:
    keys = IssuerKeys(issuer.load, monotonic=time.monotonic, **more)
    return TokenIdentity(keys, RULES, ClaimMap(), AssuranceMap(), time, b"s" * 32)


def run(test: Callable[[], Any]) -> None:
    asyncio.run(test())


# -- tokens -------------------------------------------------------------------------------------------------


def test_a_token_names_the_actor_and_is_verified_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        issuer, time = Issuer(KEY), Time()
        provider = by_token(issuer, time)
        first = await provider.identify(TARGET, token())
        assert (first.id, first.roles) == ("e-17", {"rm"})
        assert first.session is not None
        assert len(first.session) == 32
        assert issuer.asked == 1
        headers = token()
        second = await provider.identify(TARGET, headers)
        monkeypatch.setattr("privguard.asgi.tokens.verify_token", None)  # calling it would raise
        assert await provider.identify(TARGET, headers) is second

    run(test)


def test_a_remembered_token_expires() -> None:
    async def test() -> None:
        time = Time()
        provider = by_token(Issuer(KEY), time)
        headers = token(exp=NOW + 100)
        await provider.identify(TARGET, headers)
        time.seconds = 159
        assert (await provider.identify(TARGET, headers)).id == "e-17"  # within the leeway
        time.seconds = 161
        with pytest.raises(UnauthenticatedError, match="expired"):
            await provider.identify(TARGET, headers)

    run(test)


def test_sessions_are_the_issuers_or_the_tokens() -> None:
    async def test() -> None:
        provider = by_token(Issuer(KEY), Time())
        sessions = [
            (await provider.identify(TARGET, token(**claims))).session
            for claims in ({"sid": "a", "n": 1}, {"sid": "a", "n": 2}, {"sid": "b"}, {"n": 3}, {"n": 4})
        ]
        assert sessions[0] == sessions[1]
        assert len(set(sessions)) == 4

    run(test)


def test_s10_keys_are_fetched_once_however_many_ask() -> None:
    async def test() -> None:
        issuer = Issuer(KEY)
        provider = by_token(issuer, Time())
        await asyncio.gather(*(provider.identify(TARGET, token(n=n)) for n in range(20)))
        assert issuer.asked == 1

    run(test)


def test_s10_a_flood_of_unknown_kids_costs_one_fetch_a_cool_down() -> None:
    async def test() -> None:
        issuer, time = Issuer(KEY), Time()
        provider = by_token(issuer, time)
        await provider.identify(TARGET, token())
        for _ in range(3):
            time.seconds += COOL_DOWN_S
            for n in range(30):
                stranger = ECKey.generate_key("P-256", {"kid": f"x{n}"})
                with pytest.raises(UnauthenticatedError):
                    await provider.identify(TARGET, token(stranger))
        assert issuer.asked == 4

    run(test)


def test_a_new_key_is_found_and_a_withdrawn_one_forgotten() -> None:
    async def test() -> None:
        issuer, time = Issuer(KEY), Time()
        provider = by_token(issuer, time)
        old = token()
        await provider.identify(TARGET, old)
        time.seconds += COOL_DOWN_S
        issuer.raw = key_set(NEXT)
        assert (await provider.identify(TARGET, token(NEXT))).id == "e-17"
        with pytest.raises(UnauthenticatedError):
            await provider.identify(TARGET, old)

    run(test)


def test_s10_an_issuer_that_is_down_is_borne_for_a_while() -> None:
    async def test() -> None:
        issuer, time = Issuer(KEY), Time()
        provider = by_token(issuer, time)
        await provider.identify(TARGET, token(exp=NOW + 10_000))
        issuer.down = True
        time.seconds = FRESH_S + 1
        await provider.identify(TARGET, token(exp=NOW + 10_000, n=2))
        await asyncio.sleep(0.03)  # the fetch in the background fails
        time.seconds = STALE_S - 1
        await provider.identify(TARGET, token(exp=NOW + 10_000, n=3))
        await asyncio.sleep(0.03)
        time.seconds = STALE_S + 1
        with pytest.raises(UpstreamUnavailableError):
            await provider.identify(TARGET, token(exp=NOW + 10_000, n=4))
        issuer.down = False
        time.seconds += COOL_DOWN_S
        await provider.identify(TARGET, token(exp=NOW + 10_000, n=5))

    run(test)


def test_an_issuer_that_is_down_at_the_start_is_asked_once_a_cool_down() -> None:
    async def test() -> None:
        issuer, time = Issuer(KEY), Time()
        issuer.down = True
        provider = by_token(issuer, time)
        for _ in range(5):
            with pytest.raises(UpstreamUnavailableError):
                await provider.identify(TARGET, token())
        assert issuer.asked == 1
        time.seconds += COOL_DOWN_S
        issuer.down = False
        assert (await provider.identify(TARGET, token())).id == "e-17"

    run(test)


def test_a_key_set_that_is_none_does_not_replace_the_known_one() -> None:
    async def test() -> None:
        issuer, time = Issuer(KEY), Time()
        provider = by_token(issuer, time, known=key_set(KEY))
        issuer.raw = b"<html>"
        time.seconds = FRESH_S
        await provider.identify(TARGET, token())
        await asyncio.sleep(0.03)
        assert issuer.asked == 1
        assert (await provider.identify(TARGET, token(n=2))).id == "e-17"

    run(test)


@pytest.mark.parametrize(
    "values",
    [
        [],
        [b""],
        [b"Basic dTpw"],
        [b"Bearer"],
        [b"Bearer "],
        [b"Bearer a b"],
        [b"Bearer a,b"],
        [b"Bearer \xff"],
        [b"Bearer a", b"Bearer a"],
        [b"Token a"],
    ],
)
def test_a_bearer_token_is_one_and_well_formed(values: list[bytes]) -> None:
    with pytest.raises(UnauthenticatedError) as caught:
        bearer_token([(b"authorization", value) for value in values])
    assert caught.value.status == 401


def test_the_scheme_has_any_case() -> None:
    assert bearer_token([(b"authorization", b"bEARER  a.b-c_d~e+f/g==")]) == "a.b-c_d~e+f/g=="


# -- a proxy ------------------------------------------------------------------------------------------------


def test_a_proxys_assertion_names_the_actor_once() -> None:
    async def test() -> None:
        provider = ProxyIdentity(ProxyRules((b"k" * 32,)), ClaimMap(), AssuranceMap(), Time(), b"s" * 32)
        target = Target("PUT", "crm", b"/clients/42", "/clients/42", b"a=%31", (("a", "1"),))
        request = SignedRequest("PUT", b"/clients/42?a=%31", b"{}")
        claims = {"sub": "e-17", "roles": ["rm"], "sid": "x"}
        proof = sign_assertion(claims, request, b"k" * 32, created=NOW, nonce="n" * 16)
        headers = [(name.encode(), value.encode()) for name, value in proof.items()]
        with pytest.raises(UnauthenticatedError):
            await provider.identify(target, headers)  # the body is not what was signed
        actor = await provider.identify(target, headers, b"{}")
        assert (actor.id, actor.roles) == ("e-17", {"rm"})
        assert actor.session
        with pytest.raises(UnauthenticatedError, match="before"):
            await provider.identify(target, headers, b"{}")
        with pytest.raises(UnauthenticatedError):
            await provider.identify(target, [(b"x-real-ip", b"127.0.0.1")], b"{}")

    run(test)


# -- the CRM's own word -------------------------------------------------------------------------------------


class Answer:
    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self.headers: RawHeaders = []
        self._body = body

    async def chunks(self) -> AsyncIterator[bytes]:
        yield self._body

    def close(self) -> None:
        pass


class Crm:
    """Answers who-am-I."""

    def __init__(self, status: int = 200, body: bytes | None = None) -> None:
        self.status = status
        self.body = body or json.dumps({"user": {"id": 7, "groups": [{"name": "rm"}], "branch": 3}}).encode()
        self.asked: list[tuple[str, bytes, RawHeaders]] = []

    async def send(self, method: str, target: bytes, headers: RawHeaders, body: Body = None) -> Answer:
        self.asked.append((method, target, headers))
        await asyncio.sleep(0.01)
        return Answer(self.status, self.body)

    async def close(self) -> None:
        pass


PATHS = ClaimMap(
    id="user.id", roles="user.groups[*].name", branch="user.branch", acr=None, amr=None, auth_time=None
)
ASKING = [
    (b"host", b"crm"),
    (b"authorization", b"Bearer x"),
    (b"cookie", b"lang=zh; sid=1%32; sidx=9;csrf=2"),
    (b"x-other", b"secret"),
]


def by_crm(crm: Crm, time: Time, **more: Any) -> WhoAmIIdentity:
    return WhoAmIIdentity(
        crm,
        b"/api/me?full=1",
        frozenset({b"authorization"}),
        frozenset({b"sid"}),
        PATHS,
        time,
        session_key=b"s" * 32,
        monotonic=time.monotonic,
        **more,
    )


def test_the_crm_says_who_asks_from_its_credentials_alone() -> None:
    async def test() -> None:
        crm = Crm()
        actor = await by_crm(crm, Time()).identify(TARGET, ASKING)
        assert (actor.id, actor.roles, actor.branch) == ("7", {"rm"}, "3")
        assert actor.session is not None
        assert crm.asked == [
            (
                "GET",
                b"/api/me?full=1",
                [
                    (b"authorization", b"Bearer x"),
                    (b"cookie", b"sid=1%32"),
                    (b"accept", b"application/json"),
                    (b"accept-encoding", b"identity"),
                ],
            )
        ]

    run(test)


def test_its_answer_counts_for_a_while_and_is_asked_for_once() -> None:
    async def test() -> None:
        crm, time = Crm(), Time()
        provider = by_crm(crm, time, cache_seconds=10)
        actors = await asyncio.gather(*(provider.identify(TARGET, ASKING) for _ in range(10)))
        assert len(crm.asked) == 1
        assert all(actor == actors[0] for actor in actors)
        time.seconds = 9.9
        await provider.identify(TARGET, ASKING)
        assert len(crm.asked) == 1
        crm.status = 401
        time.seconds = 10.1
        with pytest.raises(UnauthenticatedError):
            await provider.identify(TARGET, ASKING)

    run(test)


def test_other_credentials_are_another_question() -> None:
    async def test() -> None:
        crm = Crm()
        provider = by_crm(crm, Time())
        seen = set()
        for value in (b"Bearer x", b"Bearer y", b"bearer x"):
            seen.add((await provider.identify(TARGET, [(b"authorization", value)])).session)
        seen.add((await provider.identify(TARGET, [(b"cookie", b"sid=Bearer x")])).session)
        assert (len(crm.asked), len(seen)) == (4, 4)

    run(test)


@pytest.mark.parametrize("headers", [[], [(b"cookie", b"lang=zh; xsid=1")], [(b"x-api-key", b"1")]])
def test_without_credentials_the_crm_is_not_asked(headers: RawHeaders) -> None:
    async def test() -> None:
        crm = Crm()
        with pytest.raises(UnauthenticatedError):
            await by_crm(crm, Time()).identify(TARGET, headers)
        assert crm.asked == []

    run(test)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, b"x"),
        (403, b"x"),
        (200, b'{"user":null}'),
        (200, b'{"user":{"id":""}}'),
        (200, b'{"user":{"id":true}}'),
    ],
)
def test_no_is_believed_for_a_second(status: int, body: bytes) -> None:
    async def test() -> None:
        crm, time = Crm(status, body), Time()
        provider = by_crm(crm, time)
        for _ in range(5):
            with pytest.raises(UnauthenticatedError):
                await provider.identify(TARGET, ASKING)
        assert len(crm.asked) == 1
        time.seconds = 1.1
        crm.status, crm.body = 200, Crm().body
        assert (await provider.identify(TARGET, ASKING)).id == "7"

    run(test)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (302, b""),
        (404, b"{}"),
        (500, b"{}"),
        (204, b""),
        (200, b"<html>"),
        (200, b"[]"),
        (200, b"[" * 9_000),
        (200, b" " * 300_000),
    ],
)
def test_any_other_answer_is_a_failure_and_not_remembered(status: int, body: bytes) -> None:
    async def test() -> None:
        crm = Crm(status, body or b"x")
        provider = by_crm(crm, Time())
        for _ in range(2):
            with pytest.raises(UpstreamUnavailableError):
                await provider.identify(TARGET, ASKING)
        assert len(crm.asked) == 2

    run(test)


# -- the demo, and the settings -----------------------------------------------------------------------------


def test_demo_accounts_are_known_by_their_tokens() -> None:
    async def test() -> None:
        provider = DemoIdentity({"demo-token-of-li": Principal(id="e-1")})
        headers = [(b"authorization", b"Bearer demo-token-of-li")]
        assert (await provider.identify(TARGET, headers)).id == "e-1"
        for wrong in (b"Bearer e-1", b"Bearer demo-token-of-l", b"Basic demo-token-of-li"):
            with pytest.raises(UnauthenticatedError):
                await provider.identify(TARGET, [(b"authorization", wrong)])

    run(test)


def settings(**identity: Any) -> Settings:
    system = {"name": "crm", "upstream": "http://127.0.0.1:9", "policy": "p.yaml"}
    return Settings(systems=(system,), identity=identity)


def test_each_mode_is_wired_from_its_settings(tmp_path: Path) -> None:
    jwks, secret = tmp_path / "jwks.json", tmp_path / "proxy.key"
    jwks.write_bytes(key_set(KEY))
    secret.write_text("k" * 40 + "\n")
    secret.chmod(0o600)
    issuer = {"issuer": RULES.issuer, "audience": "privguard"}
    provider, own = identity_provider(settings(mode="jwt", jwt={**issuer, "jwks": str(jwks)}), Time())
    assert isinstance(provider, TokenIdentity)
    assert own == frozenset()
    assert asyncio.run(provider.identify(TARGET, token())).session is None  # type: ignore[arg-type]
    remote = identity_provider(
        settings(mode="jwt", jwt={**issuer, "jwks": "https://id.example/keys"}), Time()
    )
    assert isinstance(remote[0], TokenIdentity)
    provider, own = identity_provider(settings(mode="proxy", proxy={"hmac_key": secret}), Time())
    assert isinstance(provider, ProxyIdentity)
    assert own == {b"signature", b"signature-input"}
    whoami = {"whoami": "/me", "credentials": ("Authorization", "cookie:sid")}
    assert isinstance(
        identity_provider(settings(mode="upstream", upstream=whoami), Time())[0], WhoAmIIdentity
    )


@pytest.mark.parametrize("status", [b"200 OK", b"302 Found", b"500 Oops"])
def test_keys_are_fetched_over_http(status: bytes) -> None:
    async def test() -> None:
        asked: list[bytes] = []

        async def publish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            raw = key_set(KEY)
            writer.write(
                b"HTTP/1.1 %b\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (status, len(raw), raw)
            )
            writer.close()

        server = await asyncio.start_server(publish, "127.0.0.1", 0)
        jwks = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/keys?v=1"
        issuer = {"issuer": RULES.issuer, "audience": "privguard", "jwks": jwks}
        provider, _ = identity_provider(settings(mode="jwt", jwt=issuer), Time())
        if status.startswith(b"200"):
            assert (await provider.identify(TARGET, token(), b"")).id == "e-17"
        else:
            with pytest.raises(UpstreamUnavailableError):
                await provider.identify(TARGET, token(), b"")
        assert len(asked) == 1
        assert asked[0].startswith(b"GET /keys?v=1 HTTP/1.1\r\n")
        server.close()

    run(test)


def test_settings_that_cannot_hold_are_refused_at_the_start(tmp_path: Path) -> None:
    issuer = {"issuer": RULES.issuer, "audience": "privguard"}
    secret = tmp_path / "proxy.key"
    cases: list[dict[str, Any]] = [
        {"mode": "jwt"},
        {"mode": "jwt", "jwt": {**issuer, "jwks": str(tmp_path / "none.json")}},
        {"mode": "jwt", "jwt": {**issuer, "jwks": "http://id.example/keys"}},
        {"mode": "jwt", "jwt": {**issuer, "jwks": "file:///etc/keys"}},
        {"mode": "proxy", "proxy": {"hmac_key": secret}},
        {"mode": "upstream", "upstream": {"whoami": "me"}},
        {"mode": "upstream", "upstream": {"whoami": "/me", "credentials": ()}},
    ]
    for case in cases:
        with pytest.raises(ConfigError):
            identity_provider(settings(**case), Time())
    for text, mode in (("short", 0o600), ("k" * 40, 0o644), ("k" * 40 + "\nmore", 0o600)):
        secret.write_text(text)
        secret.chmod(mode)
        with pytest.raises(ConfigError):
            identity_provider(settings(mode="proxy", proxy={"hmac_key": secret}), Time())
