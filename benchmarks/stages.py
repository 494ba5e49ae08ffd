"""Single stages, called in this process, in turn. To add one, write a function that returns the call:

    @stage("plan look-up and decision", against=ROUND_TRIP)
    def _decision() -> Callable[[], object]:
        from privguard.policy import …
        return lambda: decide(plan, request)

What is taken is the process's CPU time: a stage does no I/O, and the machine may be busy.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import masks, records, results

Call = Callable[[], object]

ROUND_TRIP = "lossless decode + encode, 100 records × 25 fields"


@dataclass(frozen=True)
class Stage:
    """A named call to time; `prepare` runs once and returns it."""

    name: str
    against: str | None
    prepare: Callable[[], Call]


STAGES: list[Stage] = []


def stage(name: str, against: str | None = None) -> Callable[[Callable[[], Call]], Callable[[], Call]]:
    """Put a function that prepares a call into the registry."""

    def register(prepare: Callable[[], Call]) -> Callable[[], Call]:
        STAGES.append(Stage(name, against, prepare))
        return prepare

    return register


@stage(ROUND_TRIP)
def _round_trip() -> Call:
    decode = msgspec.json.Decoder(float_hook=Decimal).decode
    encode = msgspec.json.Encoder(decimal_format="number").encode
    body = records.listing()
    return lambda: encode(decode(body))


@stage("decode + hand-written masks on 12 fields + encode, 100 records", against=ROUND_TRIP)
def _hand_written() -> Call:
    decode = msgspec.json.Decoder(float_hook=Decimal).decode
    encode = msgspec.json.Encoder(decimal_format="number").encode
    body = records.listing()

    def call() -> bytes:
        decoded = decode(body)
        masks.mask_body(decoded)
        return encode(decoded)

    return call


@stage("plan look-up + decision")
def _decision() -> Call:
    policy, actor, request = _policy(), _actor(), _request("/clients")

    def call() -> object:
        route = policy.match(request.method, request.path)
        return policy.plan(actor, route, request, 0) if route is not None else None

    return call


@stage(
    "decode + mask + encode, 100 records × 25 fields, 12 masked, one of them free text", against=ROUND_TRIP
)
def _masking() -> Call:
    return _masker(records.listing())


@stage("decode + mask + encode, 100 records, 11 masked, no free text", against=ROUND_TRIP)
def _masking_without_text() -> Call:
    return _masker(records.listing(), withheld="text")


@stage("who asks: a bearer token (ES256), each of 100 tokens shown 100 times")
def _token() -> Call:
    """One call shows a token; each that is new, the first time in 10,000 calls, is verified."""
    import time as clock

    from joserfc import jwt
    from joserfc.jwk import ECKey, KeySet

    from privguard.asgi.tokens import IssuerKeys, TokenIdentity
    from privguard.identity import AssuranceMap, ClaimMap, TokenRules
    from privguard.machine import SystemClock

    key = ECKey.generate_key("P-256", {"kid": "one", "use": "sig", "alg": "ES256"})
    known = msgspec.json.encode(KeySet([key]).as_dict(private=False))
    claims = {
        "iss": "https://idp.test",
        "aud": "privguard",
        "roles": ["rm"],
        "exp": int(clock.time()) + 3_600,
    }
    headers = [
        [(b"host", b"crm"), (b"authorization", b"Bearer " + _signed(jwt, key, {**claims, "sub": f"e-{n}"}))]
        for n in range(100)
    ]

    async def unread() -> bytes:
        return known

    def fresh() -> TokenIdentity:
        rules = TokenRules(issuer="https://idp.test", audience=("privguard",))
        keys = IssuerKeys(unread, known=known)
        return TokenIdentity(keys, rules, ClaimMap(), AssuranceMap(), SystemClock(), bytes(32))

    provider, shown = fresh(), 0

    def call() -> None:
        nonlocal provider, shown
        if shown == 10_000:
            provider, shown = fresh(), 0
        try:
            provider.identify(None, headers[shown % 100]).send(None)  # type: ignore[arg-type]
        except StopIteration:
            shown += 1
            return
        raise RuntimeError("it waited for something")

    return call


def _signed(jwt: Any, key: Any, claims: dict[str, object]) -> bytes:
    signed: str = jwt.encode({"alg": "ES256", "typ": "JWT", "kid": "one"}, claims, key)
    return signed.encode()


def _masker(body: bytes, withheld: str = "") -> Call:
    from datetime import date

    from privguard.masking import MaskTools, compile_masker

    policy, actor, request = _policy(withheld), _actor(), _request("/clients")
    route = policy.match(request.method, request.path)
    plan = policy.plan(actor, route, request, 0)  # type: ignore[arg-type]
    masker = compile_masker(plan, MaskTools(today=date.today, token=lambda *_: ""))
    return lambda: masker.json(body, actor, {})


def _policy(withheld: str = "") -> Any:
    from benchmarks.gateway import POLICY
    from privguard.policy import compile_policy, load

    text = POLICY.read_text()
    return compile_policy(load(text.replace(f", {withheld}]", "]") if withheld else text))


def _actor() -> Any:
    from privguard.model import Principal

    return Principal(id="rm01", roles=frozenset({"rm"}), branch="BJ-0102")


def _request(path: str) -> Any:
    from privguard.model import AccessRequest

    return AccessRequest(method="GET", path=path, purpose="service")


def measure(quick: bool, _folder: Path) -> list[results.Row]:
    """5 (quick) or 31 samples of each stage, in turn; a sample is as many calls as take about 5 or 50 ms."""
    samples_each, target = (5, 5_000_000) if quick else (31, 50_000_000)
    calls: dict[str, Call] = {}
    samples: dict[str, list[float]] = {}
    failed: dict[str, str] = {}
    for each in STAGES:
        try:
            calls[each.name], samples[each.name] = each.prepare(), []
        except ImportError as why:
            failed[each.name] = f"no module {why.name}"
    repeats = {name: _repeats(call, target) for name, call in calls.items()}
    for _ in range(samples_each):
        for name, call in calls.items():
            samples[name].append(_time(call, repeats[name]) / repeats[name] / 1e3)
    return [
        results.row(each.name, "µs", samples[each.name], each.against, samples.get(each.against or ""))
        if each.name in samples
        else results.missing(each.name, "µs", failed[each.name])
        for each in STAGES
    ]


def _repeats(call: Call, target: int) -> int:
    count = 1
    while (took := _time(call, count)) < target // 10:
        count *= 2
    return max(1, count * target // took)


def _time(call: Call, count: int) -> int:
    began = time.process_time_ns()
    for _ in range(count):
        call()
    return time.process_time_ns() - began
