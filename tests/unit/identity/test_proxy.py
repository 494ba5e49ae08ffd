"""A proxy's assertion holds for one request, once; the format is RFC 9421 (S11)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from pathlib import Path

import pytest

from privguard.errors import ConfigError, UnauthenticatedError
from privguard.identity import ProxyRules, ReplayWindow, SignedRequest, sign_assertion, verify_assertion

NOW = 1_767_600_000
KEY = bytes(range(32))
RULES = ProxyRules((KEY,))
REQUEST = SignedRequest("PATCH", b"/clients/42?lang=zh", b'{"city":"Shanghai"}')
CLAIMS = {"sub": "e-17", "roles": ["rm"]}
DOCUMENT = Path(__file__).parents[3] / "docs" / "reference" / "proxy-assertion.md"


def sign(**changed: object) -> dict[str, str]:
    arguments = {
        "claims": CLAIMS,
        "request": REQUEST,
        "key": KEY,
        "created": NOW,
        "nonce": "n" * 22,
        **changed,
    }
    return sign_assertion(**arguments)  # type: ignore[arg-type]


def verify(
    headers: dict[str, str],
    request: SignedRequest = REQUEST,
    window: ReplayWindow | None = None,
    now: int = NOW,
) -> object:
    return verify_assertion(headers, request, RULES, window or ReplayWindow(), now).claims


def mac(key: bytes, components: list[tuple[str, str]], parameters: str) -> str:
    """RFC 9421 §2.5 and §3.3.3 written again, sharing nothing with the source."""
    lines = [f'"{name}": {value}' for name, value in components]
    lines.append(f'"@signature-params": {parameters}')
    return base64.b64encode(hmac.new(key, "\n".join(lines).encode(), hashlib.sha256).digest()).decode()


def test_the_independent_signer_reproduces_rfc9421_b_2_5() -> None:
    key = base64.b64decode(
        "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ=="
    )
    components = [
        ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
        ("@authority", "example.com"),
        ("content-type", "application/json"),
    ]
    parameters = '("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret"'
    assert mac(key, components, parameters) == "pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8="


def test_an_independent_signers_assertion_holds() -> None:
    identity = f":{base64.b64encode(json.dumps(CLAIMS).encode()).decode()}:"
    digest = f"sha-256=:{base64.b64encode(hashlib.sha256(REQUEST.body).digest()).decode()}:"
    covered = '("@method" "@request-target" "content-digest" "privguard-identity")'
    parameters = f'{covered};created={NOW};keyid="edge-1";alg="hmac-sha256";nonce="0123456789abcdef"'
    components = [
        ("@method", "PATCH"),
        ("@request-target", "/clients/42?lang=zh"),
        ("content-digest", digest),
        ("privguard-identity", identity),
    ]
    headers = {
        "privguard-identity": identity,
        "content-digest": digest,
        "signature-input": f"other=(), privguard={parameters}",
        "signature": f"privguard=:{mac(KEY, components, parameters)}:, other=:AA==:",
    }
    assert verify(headers) == CLAIMS


def test_the_documented_vector_holds() -> None:
    """The vector in the reference is the one that the source makes."""
    text = DOCUMENT.read_text(encoding="utf-8")
    shown = dict(
        re.findall(
            r"^(Privguard-Identity|Content-Digest|Signature-Input|Signature): (.+)$", text, re.MULTILINE
        )
    )
    key = bytes.fromhex(re.search(r"key \(hex\)\s*: ([0-9a-f]{64})", text)[1])  # type: ignore[index]
    request = SignedRequest("PATCH", b"/clients/42?lang=zh", b'{"city":"Shanghai"}')
    headers = {name.lower(): value for name, value in shown.items()}
    created = int(re.search(r"created=([0-9]+)", headers["signature-input"])[1])  # type: ignore[index]
    claims = verify_assertion(headers, request, ProxyRules((key,)), ReplayWindow(), created).claims
    assert claims == {"sub": "e-17", "roles": ["rm"]}


@pytest.mark.parametrize(
    "request_",
    [
        SignedRequest("DELETE", REQUEST.target, REQUEST.body),
        SignedRequest("PATCH", b"/clients/43?lang=zh", REQUEST.body),
        SignedRequest("PATCH", b"/clients/42", REQUEST.body),
        SignedRequest("PATCH", REQUEST.target, b'{"city":"Beijing"}'),
        SignedRequest("PATCH", REQUEST.target),
    ],
)
def test_s11_it_holds_for_no_other_request(request_: SignedRequest) -> None:
    with pytest.raises(UnauthenticatedError):
        verify(sign(), request_)


@pytest.mark.parametrize("name", ["privguard-identity", "content-digest", "signature-input", "signature"])
def test_s11_no_part_may_be_missing_changed_or_huge(name: str) -> None:
    good = sign()
    other = sign(
        claims={"sub": "e-1", "roles": ["admin"]}, created=NOW - 1, request=SignedRequest("GET", b"/")
    )
    for value in ("", "x", "\u4e2d", '"', good[name] + ", privguard=1", good[name] * 90, other[name]):
        with pytest.raises(UnauthenticatedError):
            verify({**good, name: value})
    with pytest.raises(UnauthenticatedError):
        verify({key: value for key, value in good.items() if key != name})


def test_s11_another_key_does_not_sign() -> None:
    with pytest.raises(UnauthenticatedError, match="not signed with the shared key"):
        verify(sign(key=b"x" * 32))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (' "privguard-identity")', ")"),
        ('"@method" "@request-target"', '"@request-target" "@method"'),
        ('"@method"', '"@method";req'),
        (f"created={NOW}", f"created={NOW}.5"),
        (f"created={NOW}", f"created={NOW}000"),
        (";alg=", ";tag=1;alg="),
        ('"hmac-sha256"', '"rsa-v1_5-sha256"'),
        ('nonce="', 'nonce="";x="'),
        (";nonce=", ";other="),
    ],
)
def test_s11_the_parameters_are_these_and_no_others(old: str, new: str) -> None:
    """Even where the proxy itself signed them so."""
    headers = sign()
    parameters = headers["signature-input"].replace(old, new).removeprefix("privguard=")
    assert parameters != headers["signature-input"].removeprefix("privguard=")
    covered = [
        ("@method", "PATCH"),
        ("@request-target", "/clients/42?lang=zh"),
        ("content-digest", headers["content-digest"]),
        ("privguard-identity", headers["privguard-identity"]),
    ]
    headers["signature-input"] = f"privguard={parameters}"
    headers["signature"] = f"privguard=:{mac(KEY, covered, parameters)}:"
    with pytest.raises(UnauthenticatedError):
        verify(headers)


@pytest.mark.parametrize(("seconds", "holds"), [(-31, False), (-30, True), (30, True), (31, False)])
def test_time_is_bounded_both_ways(seconds: int, holds: bool) -> None:
    headers = sign(created=NOW + seconds)
    if holds:
        assert verify(headers) == CLAIMS
    else:
        with pytest.raises(UnauthenticatedError, match="clocks"):
            verify(headers)


def test_s11_a_nonce_counts_once_for_as_long_as_it_could() -> None:
    window = ReplayWindow()
    headers = sign(created=NOW + 30)
    assert verify(headers, window=window, now=NOW) == CLAIMS
    for now in (NOW, NOW + 30, NOW + 60):
        with pytest.raises(UnauthenticatedError, match="used before"):
            verify(headers, window=window, now=now)


def test_a_forged_assertion_spends_no_nonce() -> None:
    window = ReplayWindow()
    headers = sign()
    with pytest.raises(UnauthenticatedError):
        verify({**headers, "signature": "privguard=:AAAA:"}, window=window)
    assert verify(headers, window=window) == CLAIMS


def test_a_full_window_refuses_until_something_has_expired() -> None:
    window = ReplayWindow(capacity=2)
    assert window.admit("a", 10, now=0)
    assert window.admit("b", 11, now=0)
    assert not window.admit("c", 12, now=10)
    assert window.admit("c", 12, now=11)


def test_keys_can_be_changed_one_after_the_other() -> None:
    both = ProxyRules((b"new" * 11, KEY))
    assert verify_assertion(sign(), REQUEST, both, ReplayWindow(), NOW).claims == CLAIMS


@pytest.mark.parametrize("claims", [b"[]", b"{", b"\xff", b'"x"'])
def test_the_identity_is_a_json_object(claims: bytes) -> None:
    headers = sign()
    headers["privguard-identity"] = f":{base64.b64encode(claims).decode()}:"
    parameters = headers["signature-input"].removeprefix("privguard=")
    covered = [
        ("@method", "PATCH"),
        ("@request-target", "/clients/42?lang=zh"),
        ("content-digest", headers["content-digest"]),
        ("privguard-identity", headers["privguard-identity"]),
    ]
    headers["signature"] = f"privguard=:{mac(KEY, covered, parameters)}:"
    with pytest.raises(UnauthenticatedError, match="JSON object"):
        verify(headers)


@pytest.mark.parametrize(("keys", "skew"), [((), 30), ((b"short",), 30), ((KEY,), 0), ((KEY,), 301)])
def test_weak_settings_are_refused(keys: tuple[bytes, ...], skew: int) -> None:
    with pytest.raises(ConfigError):
        ProxyRules(keys, skew)
