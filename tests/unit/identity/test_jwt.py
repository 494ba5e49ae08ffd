"""Signed tokens: what RFC 8725 warns of, and what S10 lists."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import ECKey, KeySet, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from privguard.errors import ConfigError, UnauthenticatedError
from privguard.identity import TokenRules, UnknownKeyError, VerifiedToken, read_keys, verify_token

NOW = 1_767_600_000
RULES = TokenRules(issuer="https://id.bank.example", audience=("privguard", "crm"))
RSA = RSAKey.generate_key(2048, {"kid": "rsa-1", "use": "sig"})
EC = ECKey.generate_key("P-256", {"kid": "ec-1"})
ED = OKPKey.generate_key("Ed25519", {"kid": "ed-1"})
KEYS = read_keys(json.dumps({"keys": [key.as_dict(private=False) for key in (RSA, EC, ED)]}).encode())
GOOD = {"iss": RULES.issuer, "aud": "privguard", "sub": "e-17", "exp": NOW + 300, "iat": NOW, "roles": ["rm"]}


def b64(raw: bytes | object) -> str:
    data = raw if isinstance(raw, bytes) else json.dumps(raw).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign(
    claims: object = GOOD, *, key: object = EC, alg: str = "ES256", kid: str | None = "ec-1", **header: object
) -> str:
    """A token as an issuer makes it; a header of None is left out."""
    full = {"alg": alg, "typ": "JWT", "kid": kid, **header}
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    signing_input = f"{b64({k: v for k, v in full.items() if v is not None})}.{b64(payload)}"
    signature = JWSRegistry.algorithms[alg].sign(signing_input.encode(), key)
    return f"{signing_input}.{b64(signature)}"


def verify(token: str, rules: TokenRules = RULES, keys: KeySet = KEYS, now: int = NOW) -> VerifiedToken:
    return verify_token(token, keys, rules, now)


@pytest.mark.parametrize(
    "token",
    [
        sign(),
        sign(key=RSA, alg="RS256", kid="rsa-1"),
        sign(key=RSA, alg="PS256", kid="rsa-1"),
        sign(key=ED, alg="EdDSA", kid="ed-1"),
        sign(key=ED, alg="Ed25519", kid="ed-1"),
        sign(typ="at+jwt"),
        sign(typ="application/at+jwt"),
        sign({**GOOD, "aud": ["other", "crm"]}),
        sign({**GOOD, "exp": NOW - 59}),
        sign({**GOOD, "nbf": NOW + 59}),
        sign(x_unknown="ignored", jku="https://evil.example/keys"),
    ],
    ids=lambda _: "token",  # the same on every worker: what is drawn at import is not
)
def test_a_token_that_holds_gives_its_claims(token: str) -> None:
    verified = verify(token)
    assert verified.claims["sub"] == "e-17"
    assert verified.expires >= NOW - 59


def test_s10_alg_none() -> None:
    for alg in ("none", "None", "NONE", ""):
        head = b64({"alg": alg, "typ": "JWT", "kid": "ec-1"})
        for signature in ("", b64(b"x")):
            with pytest.raises(UnauthenticatedError):
                verify(f"{head}.{b64(GOOD)}.{signature}")


def test_s10_rs_hs_confusion() -> None:
    """The public key taken as an HMAC secret, in each of its spellings."""
    spellings = [
        RSA.as_pem(private=False),
        RSA.as_der(private=False),
        json.dumps(RSA.as_dict(private=False)).encode(),
    ]
    for secret in spellings:
        signing_input = f"{b64({'alg': 'HS256', 'typ': 'JWT', 'kid': 'rsa-1'})}.{b64(GOOD)}"
        mac = hmac.digest(secret, signing_input.encode(), hashlib.sha256)
        with pytest.raises(UnauthenticatedError):
            verify(f"{signing_input}.{b64(mac)}")


def test_s10_symmetric_algorithms_and_keys_are_never_taken() -> None:
    with pytest.raises(ConfigError):
        TokenRules(issuer="i", audience=("a",), algorithms=frozenset({"HS256"}))
    with pytest.raises(ConfigError):
        read_keys(json.dumps({"keys": [OctKey.generate_key(256).as_dict()]}).encode())


@pytest.mark.parametrize("claim", ["exp", "iss", "aud", "sub"])
def test_s10_essential_claims(claim: str) -> None:
    with pytest.raises(UnauthenticatedError):
        verify(sign({name: value for name, value in GOOD.items() if name != claim}))
    with pytest.raises(UnauthenticatedError):
        verify(sign({**GOOD, claim: None}))


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "https://id.bank.example/"},
        {"iss": [RULES.issuer]},
        {"aud": "other"},
        {"aud": ["other"]},
        {"aud": {"privguard": True}},
        {"aud": []},
        {"sub": ""},
        {"sub": 17},
        {"exp": NOW - 61},
        {"exp": NOW * 1000},
        {"exp": str(NOW + 300)},
        {"exp": True},
        {"exp": 1e30},
        {"nbf": NOW + 61},
        {"nbf": "soon"},
        {"iat": NOW + 61},
        {"iat": NOW * 1000},
    ],
)
def test_s10_claims_that_do_not_hold(changed: dict[str, object]) -> None:
    with pytest.raises(UnauthenticatedError):
        verify(sign({**GOOD, **changed}))


@pytest.mark.parametrize(
    "header",
    [
        {"typ": None},
        {"typ": "logout+jwt"},
        {"typ": "dpop+jwt"},
        {"typ": ["JWT"]},
        {"crit": ["exp"], "exp": NOW},
        {"crit": ["b64"], "b64": False},
        {"crit": []},
        {"crit": "exp"},
        {"b64": True},
    ],
)
def test_s10_header_types_and_critical_extensions(header: dict[str, object]) -> None:
    with pytest.raises(UnauthenticatedError):
        verify(sign(**header))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changed",
    [
        {"issuer": ""},
        {"audience": ()},
        {"audience": ("",)},
        {"leeway": 61},
        {"leeway": -1},
        {"algorithms": frozenset()},
        {"algorithms": frozenset({"none", "ES256"})},
    ],
)
def test_rules_that_would_weaken_are_refused(changed: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        TokenRules(**{"issuer": "i", "audience": ("a",), **changed})  # type: ignore[arg-type]


def test_an_algorithm_may_be_good_and_yet_not_allowed() -> None:
    only = TokenRules(issuer=RULES.issuer, audience=RULES.audience, algorithms=frozenset({"RS256"}))
    with pytest.raises(UnauthenticatedError, match="algorithm"):
        verify(sign(), only)


def test_a_token_without_a_type_passes_where_the_rules_say_so() -> None:
    untyped = TokenRules(issuer=RULES.issuer, audience=RULES.audience, types=frozenset({"jwt", ""}))
    assert verify(sign(typ=None), untyped).claims["sub"] == "e-17"


def test_keys_are_told_apart() -> None:
    with pytest.raises(UnknownKeyError):
        verify(sign(kid="ec-2"))
    with pytest.raises(UnknownKeyError):
        verify(sign(kid=None))
    with pytest.raises(UnauthenticatedError):
        verify(sign(kid="rsa-1"))  # the other kind of key
    with pytest.raises(UnauthenticatedError):
        verify(sign(key=ECKey.generate_key("P-256"), kid="ec-1"))  # another key under a known name


def test_a_key_for_encryption_or_another_algorithm_does_not_verify() -> None:
    for entry in ({"use": "enc"}, {"alg": "ES384"}):
        public = {**EC.as_dict(private=False), **entry}
        keys = json.dumps({"keys": [public, RSA.as_dict(private=False)]}).encode()
        with pytest.raises(UnauthenticatedError):
            verify(sign(), keys=read_keys(keys))


def test_a_key_set_may_hold_what_we_cannot_read_but_not_nothing() -> None:
    strange = [
        {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"},
        {"kty": "EC", "crv": "P-256", "x": "!", "y": "!"},
    ]
    keys = read_keys(json.dumps({"keys": [*strange, EC.as_dict(private=True)]}).encode())
    assert verify(sign(), keys=keys).claims["sub"] == "e-17"
    assert not any(key.is_private for key in keys)
    for raw in (b"", b"[]", b'{"keys": 1}', b'{"keys": ["x"]}', json.dumps({"keys": strange}).encode()):
        with pytest.raises(ConfigError):
            read_keys(raw)


@pytest.mark.parametrize(
    "payload",
    [
        b'{"iss":"x","sub":"a","sub":"b"}',
        json.dumps(GOOD).encode()[:-1] + b',"sub":"e-1"}',
        json.dumps(GOOD).encode()[:-1] + b',"limit":NaN}',
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b"[" * 5000,
        b"",
    ],
)
def test_claims_are_one_object_without_duplicates(payload: bytes) -> None:
    with pytest.raises(UnauthenticatedError):
        verify(sign(payload))


def test_a_changed_or_moved_signature_does_not_hold() -> None:
    head, _, signature = sign().split(".")
    with pytest.raises(UnauthenticatedError):
        verify(f"{head}.{b64({**GOOD, 'sub': 'e-1'})}.{signature}")


def test_size_is_capped_before_parsing() -> None:
    with pytest.raises(UnauthenticatedError, match="longer than 8192"):
        verify(sign({**GOOD, "pad": "x" * 9000}))


def test_the_refusal_quotes_nothing() -> None:
    for token in (
        sign({**GOOD, "iss": "CANARY"}),
        sign(kid="CANARY"),
        sign(alg="ES256", typ="CANARY"),
        "CANARY",
    ):
        with pytest.raises(UnauthenticatedError) as caught:
            verify(token)
        assert "CANARY" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_rfc7515_example_a3_is_read_by_the_library_we_build_on() -> None:
    """RFC 7515 appendix A.3, an ES256 signature over a payload that is no JWT of ours."""
    key = ECKey.import_key(
        {
            "kty": "EC",
            "crv": "P-256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        }
    )
    token = (
        "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290"
        "Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
    )
    assert jws.deserialize_compact(token, key, ["ES256"]).payload.startswith(b'{"iss":"joe"')
    with pytest.raises(UnauthenticatedError):
        verify(token, keys=KeySet([key]))


@given(
    st.text(alphabet='eyJhbGciOiAi.{}[]":,019-_=\u4e2d\x00', max_size=80) | st.binary(max_size=60).map(b64)
)
def test_no_text_makes_anything_but_a_refusal(text: str) -> None:
    for token in (
        text,
        f"{text}.{text}.{text}",
        f"{sign().rpartition('.')[0]}.{text}",
        f"{b64(text)}.{b64(GOOD)}.x",
    ):
        with pytest.raises(UnauthenticatedError):
            verify(token)


@given(
    st.dictionaries(
        st.sampled_from(["alg", "typ", "kid", "crit", "b64", "jwk"]),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.text(max_size=4)
            | st.sampled_from(["ES256", "JWT", "ec-1"]),
            lambda inner: (
                st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
            ),
            max_leaves=4,
        ),
    )
)
def test_no_header_makes_anything_but_a_refusal(header: dict[str, object]) -> None:
    with pytest.raises(UnauthenticatedError):
        verify(f"{b64(header)}.{b64(GOOD)}.{b64(b'x' * 64)}")
