from __future__ import annotations

import base64
import hashlib
import itertools
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import cbor2
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from webauthn import verify_authentication_response, verify_registration_response

from privguard.errors import CounterRegressionError, FactorRefusedError, UnvouchedKeyError
from privguard.stepup import webauthn as stepup_webauthn
from privguard.stepup.factor import Makers
from privguard.stepup.webauthn import (
    MAX_ANSWER,
    Assertion,
    Credential,
    assertion_options,
    check_evidence,
    registration_options,
    verify_assertion,
    verify_registration,
)
from tests.authenticator import (
    ATTESTED,
    BACKED_UP,
    ELIGIBLE,
    PRESENT,
    VERIFIED,
    Authenticator,
    Maker,
    text,
)

RP, ORIGIN = "crm.example", "https://crm.example"
ORIGINS = (ORIGIN, "https://crm.example:8443")
CHALLENGE = hashlib.sha256(b"what is approved").digest()
ANSWER = str(FactorRefusedError())


def asked_to_enrol(challenge: bytes = CHALLENGE, attested: bool = False) -> str:
    named: dict[str, Any] = {"rp_id": RP, "rp_name": "Bank", "user_id": b"opaque", "user_name": "li.na"}
    return registration_options(challenge, **named, known=(), attested=attested)


def enrol(
    answer: Mapping[str, Any], challenge: bytes = CHALLENGE, makers: Makers | None = None
) -> Credential:
    return verify_registration(json.dumps(answer), challenge, rp_id=RP, origins=ORIGINS, makers=makers)


def enrolled(key: Authenticator) -> Credential:
    return enrol(key.create(asked_to_enrol(), ORIGIN))


def asked(credential: Credential, challenge: bytes = CHALLENGE) -> str:
    return assertion_options(challenge, rp_id=RP, credentials=[credential.id])


def verify(
    answer: Mapping[str, Any], credential: Credential, challenge: bytes = CHALLENGE, hardware: bool = False
) -> tuple[Assertion, int]:
    return verify_assertion(
        json.dumps(answer).encode(), challenge, credential, rp_id=RP, origins=ORIGINS, hardware=hardware
    )


@pytest.fixture(params=["ES256", "EdDSA"])
def key(request: pytest.FixtureRequest) -> Authenticator:
    return Authenticator(ed25519=request.param == "EdDSA")


def test_a_key_is_enrolled_and_signs(key: Authenticator) -> None:
    credential = enrolled(key)
    assert credential == Credential(
        id=text(key.id),
        public_key=key.cose(),
        sign_count=0,
        aaguid="00000000-0000-0000-0000-000000000000",
        backup_eligible=False,
        backed_up=False,
    )
    assertion, count = verify(key.get(asked(credential), ORIGIN), credential, hardware=True)
    assert count == 1
    assert assertion.credential == credential.id
    check_evidence(assertion, CHALLENGE, rp_id=RP, origins=ORIGINS)


def test_the_browser_is_asked_for_a_verified_user_and_for_no_makers_word() -> None:
    options = json.loads(
        registration_options(
            CHALLENGE,
            rp_id=RP,
            rp_name="Bank",
            user_id=b"opaque",
            user_name="li.na",
            known=[text(b"one")],
            attested=False,
        )
    )
    assert options["challenge"] == text(CHALLENGE)
    assert options["rp"] == {"id": RP, "name": "Bank"}
    assert options["authenticatorSelection"]["userVerification"] == "required"
    assert options["attestation"] == "none"
    assert options["excludeCredentials"] == [{"id": text(b"one"), "type": "public-key"}]
    assert [each["alg"] for each in options["pubKeyCredParams"]] == [-8, -7, -257]
    options = json.loads(assertion_options(CHALLENGE, rp_id=RP, credentials=[text(b"one"), text(b"two")]))
    assert options["userVerification"] == "required"
    assert [each["id"] for each in options["allowCredentials"]] == [text(b"one"), text(b"two")]


def test_a_challenge_is_never_made_up() -> None:
    for challenge in (b"", b"short"):
        with pytest.raises(ValueError, match="16 bytes at least"):
            asked_to_enrol(challenge)
        with pytest.raises(ValueError, match="16 bytes at least"):
            assertion_options(challenge, rp_id=RP, credentials=())


# -- S07, signing -----------------------------------------------------------------------------------------

FALSE: dict[str, dict[str, Any]] = {
    "wrong challenge": {"challenge": text(hashlib.sha256(b"something else").digest())},
    "no challenge": {"challenge": ""},
    "another spelling of the challenge": {"challenge": text(CHALLENGE) + "="},
    "rp of somebody else": {"rp_id": "evil.example"},
    "rp above": {"rp_id": "example"},
    "no user verification": {"flags": PRESENT},
    "no user presence": {"flags": VERIFIED},
    "nobody there": {"flags": 0},
    "an enrolment": {"type": "webauthn.create"},
    "a page in a stranger's page": {"crossOrigin": True},
    "a page in who knows whose": {"crossOrigin": "no"},
    "somebody else's credential": {"id": b"another"},
    "backed up without being eligible": {"flags": PRESENT | VERIFIED | BACKED_UP},
    "eligible all of a sudden": {"flags": PRESENT | VERIFIED | ELIGIBLE},
    "data of an enrolment that is not there": {"flags": PRESENT | VERIFIED | ATTESTED},
}


@pytest.mark.parametrize("changes", FALSE.values(), ids=FALSE)
def test_s07_what_is_not_as_asked_is_refused(changes: dict[str, Any], key: Authenticator) -> None:
    credential = enrolled(key)
    with pytest.raises(FactorRefusedError) as caught:
        verify(key.get(asked(credential), ORIGIN, **changes), credential)
    assert type(caught.value) is FactorRefusedError
    assert str(caught.value) == ANSWER
    assert caught.value.__cause__ is caught.value.__context__ is None


@pytest.mark.parametrize(
    "origin",
    [
        "http://crm.example",
        "https://crm.example.evil.example",
        "https://crm.example:444",
        "https://crm.example/",
        "https://CRM.example",
        "null",
        "",
    ],
)
def test_s07_another_origin_is_refused(origin: str, key: Authenticator) -> None:
    credential = enrolled(key)
    with pytest.raises(FactorRefusedError):
        verify(key.get(asked(credential), origin), credential)
    verify(key.get(asked(credential), ORIGINS[1]), credential)


def test_s07_a_signature_by_another_key_is_refused(key: Authenticator) -> None:
    credential = enrolled(key)
    other = Authenticator()
    other.id = key.id
    with pytest.raises(FactorRefusedError):
        verify(other.get(asked(credential), ORIGIN), credential)


def test_s07_an_assertion_is_no_good_for_another_challenge(key: Authenticator) -> None:
    credential = enrolled(key)
    answer = key.get(asked(credential), ORIGIN)
    verify(answer, credential)
    with pytest.raises(FactorRefusedError):
        verify(answer, credential, challenge=os.urandom(32))


def test_s07_an_assertion_again_is_a_signal(key: Authenticator) -> None:
    credential = enrolled(key)
    answer = key.get(asked(credential), ORIGIN)
    _, count = verify(answer, credential)
    with pytest.raises(CounterRegressionError) as caught:
        verify(answer, msgspec.structs.replace(credential, sign_count=count))
    assert str(caught.value) == ANSWER
    assert (caught.value.status, caught.value.problem) == (
        FactorRefusedError.status,
        FactorRefusedError.problem,
    )


@pytest.mark.parametrize("count", [0, 5, 6])
def test_s07_a_count_that_does_not_grow_is_a_signal(count: int, key: Authenticator) -> None:
    credential = msgspec.structs.replace(enrolled(key), sign_count=6)
    key.count = count - 1 if count else None
    with pytest.raises(CounterRegressionError):
        verify(key.get(asked(credential), ORIGIN), credential)
    key.count = 6
    assert verify(key.get(asked(credential), ORIGIN), credential)[1] == 7


def test_s07_a_stranger_cannot_raise_the_signal(key: Authenticator) -> None:
    credential = msgspec.structs.replace(enrolled(key), sign_count=6)
    answer = key.get(asked(credential), ORIGIN)
    answer["response"]["signature"] = text(bytes(64))
    with pytest.raises(FactorRefusedError) as caught:
        verify(answer, credential)
    assert type(caught.value) is FactorRefusedError


def test_a_key_that_does_not_count_is_taken() -> None:
    key = Authenticator(count=None)
    credential = enrolled(key)
    assert [verify(key.get(asked(credential), ORIGIN), credential)[1] for _ in range(2)] == [0, 0]


def test_s07_a_synced_passkey_is_refused_where_hardware_is_asked() -> None:
    key = Authenticator(synced=True, count=None)
    credential = enrolled(key)
    assert credential.backup_eligible
    assert credential.backed_up
    answer = key.get(asked(credential), ORIGIN)
    verify(answer, credential)
    with pytest.raises(FactorRefusedError):
        verify(answer, credential, hardware=True)
    with pytest.raises(FactorRefusedError):
        verify(answer, msgspec.structs.replace(credential, backup_eligible=False))


# -- S07, enrolling ---------------------------------------------------------------------------------------

ENROL: dict[str, dict[str, Any]] = {
    "wrong challenge": {"challenge": text(bytes(32))},
    "rp of somebody else": {"rp_id": "evil.example"},
    "no user verification": {"flags": PRESENT | ATTESTED},
    "no user presence": {"flags": VERIFIED | ATTESTED},
    "no key": {"flags": PRESENT | VERIFIED},
    "a signature": {"type": "webauthn.get"},
    "a page in a stranger's page": {"crossOrigin": True},
    "another id than the key's": {"id": b"another"},
    "statement of nobody": {"statement": {"sig": b"1"}},
    "signed by nobody": {"fmt": "packed", "statement": {"alg": -7, "sig": bytes(64)}},
    "signed by a maker": {"fmt": "packed", "statement": {"alg": -7, "sig": bytes(64), "x5c": [b"1"]}},
    "a maker's own form": {"fmt": "tpm", "statement": {"ver": "2.0"}},
    "a form that nobody knows": {"fmt": "none\0"},
}


@pytest.mark.parametrize("changes", ENROL.values(), ids=ENROL)
def test_s07_an_enrolment_that_is_not_as_asked_is_refused(
    changes: dict[str, Any], key: Authenticator
) -> None:
    with pytest.raises(FactorRefusedError) as caught:
        enrol(key.create(asked_to_enrol(), ORIGIN, **changes))
    assert str(caught.value) == ANSWER
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_s07_an_enrolment_from_another_origin_is_refused(key: Authenticator) -> None:
    with pytest.raises(FactorRefusedError):
        enrol(key.create(asked_to_enrol(), "https://evil.example"))


@pytest.mark.parametrize("alg", [-35, -36, -37, -65_535, -50, 0, None])
def test_a_key_of_another_algorithm_is_refused(alg: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    key = Authenticator()
    cose = cbor2.dumps({**cbor2.loads(key.cose()), 3: alg})
    monkeypatch.setattr(key, "cose", lambda: cose)
    refused(lambda: enrol(key.create(asked_to_enrol(), ORIGIN)))


@pytest.mark.parametrize("fmt", ["tpm", "android-key", "android-safetynet", "fido-u2f", "apple"])
def test_what_a_maker_says_is_not_even_read(fmt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[dict[str, Any]] = []
    monkeypatch.setattr(stepup_webauthn, "verify_registration_response", lambda **given: read.append(given))
    refused(lambda: enrol(Authenticator().create(asked_to_enrol(), ORIGIN, fmt=fmt)))
    assert read == []


def test_an_id_has_as_many_bytes_as_the_standard_allows() -> None:
    key = Authenticator()
    key.id = bytes(1_023)
    assert enrolled(key).id == text(key.id)
    key.id = bytes(1_024)
    refused(lambda: enrolled(key))


def test_an_enrolment_that_the_key_itself_signs_is_taken(key: Authenticator) -> None:
    answer = key.create(asked_to_enrol(), ORIGIN)
    unpacked = cbor2.loads(base64.urlsafe_b64decode(answer["response"]["attestationObject"] + "=="))
    client_data = base64.urlsafe_b64decode(answer["response"]["clientDataJSON"] + "==")
    signed = unpacked["authData"] + hashlib.sha256(client_data).digest()
    statement = {"alg": cbor2.loads(key.cose())[3], "sig": key.sign(signed)}
    answer["response"]["attestationObject"] = text(
        cbor2.dumps({**unpacked, "fmt": "packed", "attStmt": statement})
    )
    assert enrol(answer).public_key == key.cose()


# -- makers ------------------------------------------------------------------------------------------------

MAKE, OTHER = UUID("2fc0579f-8113-47ea-b116-bb5a8db9202a"), UUID("d8522d9f-575b-4866-88a9-ba99fa02f35b")


def trusted(*makers: Maker, make: UUID = MAKE) -> Makers:
    return Makers(tuple(maker.root for maker in makers), frozenset({str(make)}))


@pytest.mark.parametrize("said", [MAKE, None], ids=["a root of many makes", "a root of one"])
def test_a_key_is_enrolled_that_its_maker_vouches_for(said: UUID | None) -> None:
    asked = asked_to_enrol(attested=True)
    assert json.loads(asked)["attestation"] == "direct"
    maker = Maker(MAKE, said=said)
    made = enrol(Authenticator(maker=maker).create(asked, ORIGIN), makers=trusted(maker))
    assert (made.aaguid, made.attested) == (str(MAKE), True)


UNVOUCHED: dict[str, tuple[Maker | None, bool]] = {
    "nobody": (None, True),
    "another maker, of the same name": (Maker(MAKE, said=MAKE), False),
    "a certificate for another make": (Maker(MAKE, said=OTHER), True),
    "a certificate for something else": (Maker(MAKE, said=MAKE, unit="Sales"), True),
    "an authority's certificate": (Maker(MAKE, said=MAKE, authority=True), True),
    "a certificate that is over": (Maker(MAKE, said=MAKE, days=-1), True),
}


@pytest.mark.parametrize("who", UNVOUCHED)
def test_s07_a_key_that_no_maker_vouches_for_is_not_enrolled(who: str) -> None:
    maker, known = UNVOUCHED[who]
    right = maker if maker is not None and known else Maker(MAKE, said=MAKE)
    answer = Authenticator(maker=maker).create(asked_to_enrol(attested=True), ORIGIN)
    with pytest.raises(UnvouchedKeyError, match="let the browser see its make") as caught:
        enrol(answer, makers=trusted(right))
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_s07_a_make_that_is_not_named_is_not_enrolled() -> None:
    maker = Maker(MAKE, said=MAKE)
    answer = Authenticator(maker=maker).create(asked_to_enrol(attested=True), ORIGIN)
    with pytest.raises(UnvouchedKeyError, match=f"{MAKE} are not among .* aaguids: use another"):
        enrol(answer, makers=trusted(maker, make=OTHER))
    with pytest.raises(UnvouchedKeyError, match="vouches"):
        enrol(answer, makers=trusted())  # no root is no root, not any


def test_s07_a_makers_word_for_another_key_or_challenge_is_refused() -> None:
    maker = Maker(MAKE, said=MAKE)
    key = Authenticator(maker=maker)
    answer = key.create(asked_to_enrol(attested=True), ORIGIN)
    refused(lambda: enrol(answer, bytes(32), trusted(maker)))
    made = cbor2.loads(base64.urlsafe_b64decode(answer["response"]["attestationObject"] + "=="))
    other = cbor2.loads(
        base64.urlsafe_b64decode(
            Authenticator(maker=maker).create(asked_to_enrol(attested=True), ORIGIN)["response"][
                "attestationObject"
            ]
            + "=="
        )
    )
    answer["response"]["attestationObject"] = text(cbor2.dumps({**made, "attStmt": other["attStmt"]}))
    refused(lambda: enrol(answer, makers=trusted(maker)))


# -- evidence ---------------------------------------------------------------------------------------------


def test_evidence_that_was_changed_does_not_hold(key: Authenticator) -> None:
    credential = enrolled(key)
    assertion, _ = verify(key.get(asked(credential), ORIGIN), credential)
    kept = msgspec.json.decode(msgspec.json.encode(assertion), type=Assertion)
    check_evidence(kept, CHALLENGE, rp_id=RP, origins=ORIGINS)
    for field in ("public_key", "client_data", "authenticator_data", "signature"):
        data = bytearray(base64.urlsafe_b64decode(getattr(kept, field) + "=="))
        data[len(data) // 2] ^= 1
        with pytest.raises(FactorRefusedError):
            check_evidence(
                msgspec.structs.replace(kept, **{field: text(bytes(data))}),
                CHALLENGE,
                rp_id=RP,
                origins=ORIGINS,
            )
        with pytest.raises(FactorRefusedError):
            check_evidence(
                msgspec.structs.replace(kept, **{field: getattr(kept, field) + "="}),
                CHALLENGE,
                rp_id=RP,
                origins=ORIGINS,
            )
    for challenge, rp_id, origin in [
        (bytes(32), RP, ORIGIN),
        (CHALLENGE, "evil.example", ORIGIN),
        (CHALLENGE, RP, "https://evil.example"),
    ]:
        with pytest.raises(FactorRefusedError):
            check_evidence(kept, challenge, rp_id=rp_id, origins=[origin])


# -- published vectors ---------------------------------------------------------------------------------------

VECTORS = {
    vector["name"]: vector
    for line in (Path(__file__).parents[2] / "vectors" / "webauthn.jsonl").read_text().splitlines()
    for vector in [json.loads(line)]
}
W3C: dict[str, Any] = {"rp_id": "example.org", "origins": ["https://example.org"]}


def published(name: str, ceremony: str) -> tuple[str, bytes]:
    """A vector as the browser would give it, and its challenge."""
    vector = VECTORS[name]
    parts = {part: text(bytes.fromhex(data)) for part, data in vector[ceremony].items()}
    credential = text(bytes.fromhex(vector["credential_id"]))
    answer = {"id": credential, "rawId": credential, "type": "public-key", "response": parts}
    return json.dumps(answer), bytes.fromhex(vector[ceremony]["challenge"])


def of_vector(name: str, synced: bool) -> Credential:
    vector = VECTORS[name]
    key = bytes.fromhex(vector["public_key"])
    return Credential(text(bytes.fromhex(vector["credential_id"])), key, 0, "", synced, backed_up=False)


def test_the_vectors_of_the_standard_that_a_user_was_verified_in() -> None:
    answer, challenge = published("packed-self.ES256", "registration")
    made = verify_registration(answer, challenge, **W3C, makers=None)
    expected = of_vector("packed-self.ES256", synced=True)
    assert (made.id, made.public_key, made.backup_eligible) == (expected.id, expected.public_key, True)
    answer, challenge = published("packed.ES256", "authentication")
    credential = of_vector("packed.ES256", synced=True)
    assertion, count = verify_assertion(answer, challenge, credential, **W3C, hardware=False)
    assert count == 0
    check_evidence(assertion, challenge, **W3C)


@pytest.mark.parametrize("name", ["packed-self.ES256", "packed.EdDSA", "none.ES256.crossOrigin"])
def test_s07_the_vectors_of_the_standard_without_a_verified_user_or_in_a_frame(name: str) -> None:
    answer, challenge = published(name, "authentication")
    credential = of_vector(name, synced=name == "packed-self.ES256")
    refused(lambda: verify_assertion(answer, challenge, credential, **W3C, hardware=False))
    verify_authentication_response(  # what is wrong is this alone
        credential=answer,
        expected_challenge=challenge,
        expected_rp_id="example.org",
        expected_origin="https://example.org",
        credential_public_key=credential.public_key,
        credential_current_sign_count=0,
        require_user_verification=name == "none.ES256.crossOrigin",
    )


@pytest.mark.parametrize("name", ["none.ES256.crossOrigin", "packed.ES256"])
def test_s07_the_vectors_of_the_standard_in_a_frame_or_with_a_makers_word(name: str) -> None:
    answer, challenge = published(name, "registration")
    refused(lambda: verify_registration(answer, challenge, **W3C, makers=None))
    verify_registration_response(  # what is wrong is this alone
        credential=answer,
        expected_challenge=challenge,
        expected_rp_id="example.org",
        expected_origin="https://example.org",
        require_user_verification=True,
    )


# -- hostile bytes ----------------------------------------------------------------------------------------

ES = Authenticator()
ENROLLED = enrolled(ES)
GOOD_GET = ES.get(asked(ENROLLED), ORIGIN)
GOOD_CREATE = ES.create(asked_to_enrol(), ORIGIN)

MAKER = Maker(MAKE, said=MAKE)

hostile = st.one_of(
    st.binary(max_size=80),
    st.integers(1, 8_000).map(lambda depth: b"\x81" * depth),  # arrays in arrays
    st.sampled_from([b"\x9b", b"\xbb", b"\x5b", b"\x7b"]).map(
        lambda head: head + b"\x7f" + b"\xff" * 7
    ),  # long
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.binary(max_size=8) | st.text(max_size=8) | st.floats(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.integers(-4, 4), inner, max_size=4),
        max_leaves=8,
    ).map(cbor2.dumps),
)


def refused(call: Any) -> None:
    with pytest.raises(FactorRefusedError) as caught:
        call()
    assert str(caught.value) == ANSWER
    assert caught.value.__cause__ is caught.value.__context__ is None


@given(hostile)
@settings(max_examples=60, deadline=None)
def test_s07_hostile_cbor_is_refused(data: bytes) -> None:
    head = hashlib.sha256(RP.encode()).digest() + bytes([PRESENT | VERIFIED | ATTESTED]) + bytes(4)
    body = head + bytes(16) + (1).to_bytes(2, "big") + b"1" + data
    objects = [data, cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})]
    objects.append(cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": body}))
    for each in objects:
        response = {**GOOD_CREATE["response"], "attestationObject": text(each)}
        refused(lambda given=response: enrol({**GOOD_CREATE, "id": text(b"1"), "response": given}))
    made = cbor2.loads(base64.urlsafe_b64decode(GOOD_CREATE["response"]["attestationObject"] + "=="))
    for certificates in (data, [data]):  # a maker's
        said = {"alg": -7, "sig": b"signed", "x5c": certificates}
        given = text(cbor2.dumps({**made, "fmt": "packed", "attStmt": said}))
        answer = {**GOOD_CREATE, "response": {**GOOD_CREATE["response"], "attestationObject": given}}
        refused(lambda given=answer: enrol(given, makers=trusted(MAKER)))
    for each in (data, body):
        response = {**GOOD_GET["response"], "authenticatorData": text(each)}
        refused(lambda given=response: verify({**GOOD_GET, "response": given}, ENROLLED))


@given(st.sampled_from(["clientDataJSON", "authenticatorData", "signature"]), st.data())
@settings(max_examples=40, deadline=None)
def test_s07_what_is_cut_short_is_refused(part: str, data: st.DataObject) -> None:
    whole = GOOD_GET["response"][part]
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    refused(lambda: verify({**GOOD_GET, "response": {**GOOD_GET["response"], part: cut}}, ENROLLED))


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_s07_an_enrolment_that_is_cut_short_is_refused(data: st.DataObject) -> None:
    part = data.draw(st.sampled_from(["clientDataJSON", "attestationObject"]))
    whole = GOOD_CREATE["response"][part]
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    refused(lambda: enrol({**GOOD_CREATE, "response": {**GOOD_CREATE["response"], part: cut}}))


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        "\ud800",
        b"[" * MAX_ANSWER,
        b'{"id":"AA","type":"public-key","response":null}',
        b'{"id":"AA","type":"password","response":{}}',
        json.dumps({**GOOD_GET, "padding": "x" * MAX_ANSWER}),
        json.dumps({**GOOD_GET, "id": GOOD_GET["id"] + "="}),
        json.dumps({**GOOD_GET, "id": "é"}),
    ],
    ids=itertools.count(),  # the answers hold chance and are long
)
def test_an_answer_that_is_none_is_refused(answer: bytes | str) -> None:
    refused(lambda: verify_assertion(answer, CHALLENGE, ENROLLED, rp_id=RP, origins=ORIGINS, hardware=False))
    refused(lambda: verify_registration(answer, CHALLENGE, rp_id=RP, origins=ORIGINS, makers=None))
