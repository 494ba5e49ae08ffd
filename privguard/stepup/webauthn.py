"""Passkeys and security keys (W3C Web Authentication, level 3): enrol one, ask for it, check what it signed.

The challenge is the hash of what is approved, so an assertion that was kept proves offline what its holder
approved. The library checks the ceremony. What it leaves to its user is checked here: whose credential it is,
whether a page within a stranger's page asked, and the counter, which it would compare before it has looked at
the signature, so that anybody could raise that alarm.

Loading this module takes 0.2 s; import it where it is used.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from typing import Final, Literal, TypeVar
from urllib.parse import urlsplit

import msgspec
from cryptography.x509 import (
    BasicConstraints,
    Certificate,
    ExtensionNotFound,
    ObjectIdentifier,
    UnrecognizedExtension,
    Version,
    load_der_x509_certificate,
)
from cryptography.x509.oid import NameOID
from msgspec import Struct
from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    options_to_json,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.authentication.verify_authentication_response import VerifiedAuthentication
from webauthn.helpers import parse_attestation_object, validate_certificate_chain
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.structs import (
    AttestationConveyancePreference,
    AuthenticatorSelectionCriteria,
    CredentialDeviceType,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)
from webauthn.registration.verify_registration_response import VerifiedRegistration

from privguard.errors import CounterRegressionError, FactorRefusedError, UnvouchedKeyError
from privguard.stepup.factor import Makers
from privguard.stepup.grant import Scope

MIN_CHALLENGE: Final = 16
"""Bytes (§13.4.3)."""
MAX_ANSWER: Final = 16_384
"""Bytes of JSON; an assertion takes about 1,000, and one that is kept must fit an entry of the log."""
MAX_CREDENTIAL_ID: Final = 1_023
"""Bytes (§4)."""
TIMEOUT_MS: Final = 300_000
"""For the browser, at the low end of what §15.1 recommends."""
ALGORITHMS: Final = [
    COSEAlgorithmIdentifier.EDDSA,
    COSEAlgorithmIdentifier.ECDSA_SHA_256,
    COSEAlgorithmIdentifier.RSASSA_PKCS1_v1_5_SHA_256,  # Windows Hello on older machines
]
_FORMATS: Final = frozenset({"none", "packed"})  # packed: signed by the key itself, or by its maker's
_MAKE: Final = ObjectIdentifier("1.3.6.1.4.1.45724.1.1.4")
"""Extension of a maker's certificate that names the make (§8.2.1)."""


class Credential(Struct, frozen=True):
    """An enrolled key.

    Attributes:
        id: base64url, as all texts here.
        public_key: COSE.
        sign_count: what the authenticator counted last; 0 for ever for one that does not count.
        aaguid: the make, as the authenticator says it.
        attested: its maker vouches for that.
        backup_eligible: the key may be copied to other devices (a synced passkey).
        backed_up: it has been, when it was enrolled.
    """

    id: str
    public_key: bytes
    sign_count: int
    aaguid: str
    backup_eligible: bool
    backed_up: bool
    attested: bool = False


class Assertion(Struct, frozen=True):
    """What an authenticator signed, byte for byte: evidence. All base64url.

    Attributes:
        credential: id of the key.
        public_key: COSE.
    """

    credential: str
    public_key: str
    client_data: str
    authenticator_data: str
    signature: str


class _Attested(Struct, rename="camel"):
    client_data: str = msgspec.field(name="clientDataJSON")
    attestation_object: str


class _Asserted(Struct, rename="camel"):
    client_data: str = msgspec.field(name="clientDataJSON")
    authenticator_data: str
    signature: str


class _Registration(Struct):
    id: str
    type: Literal["public-key"]
    response: _Attested


class _Authentication(Struct):
    id: str
    type: Literal["public-key"]
    response: _Asserted


class _ClientData(Struct, rename="camel"):
    challenge: str
    origin: str = ""
    cross_origin: bool = False


_Answer = TypeVar("_Answer", _Registration, _Authentication)


def registration_options(
    challenge: bytes,
    *,
    rp_id: str,
    rp_name: str,
    user_id: bytes,
    user_name: str,
    known: Sequence[str],
    attested: bool,
) -> str:
    """What ``navigator.credentials.create`` is called with, as JSON.

    Args:
        rp_id: the domain that keys are bound to.
        user_id: 1 to 64 bytes that tell nothing of the actor (§14.6.1).
        known: ids of the actor's credentials, so that none is enrolled twice.
        attested: the maker's word is asked for, too.

    Raises:
        ValueError: the challenge is shorter than 16 bytes.
    """
    return options_to_json(
        generate_registration_options(
            rp_id=rp_id,
            rp_name=rp_name,
            user_id=user_id,
            user_name=user_name,
            challenge=_long_enough(challenge),
            timeout=TIMEOUT_MS,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.DISCOURAGED,  # who the actor is, is known
                user_verification=UserVerificationRequirement.REQUIRED,
            ),
            attestation=(
                AttestationConveyancePreference.DIRECT if attested else AttestationConveyancePreference.NONE
            ),
            exclude_credentials=_descriptors(known),
            supported_pub_key_algs=ALGORITHMS,
        )
    )


def verify_registration(
    answer: bytes | str, challenge: bytes, *, rp_id: str, origins: Sequence[str], makers: Makers | None
) -> Credential:
    """The key that an authenticator made for this challenge, its user verified.

    Args:
        answer: JSON of the ``PublicKeyCredential``, as its ``toJSON()`` gives it.
        origins: that pages may have, as ``https://crm.example``.
        makers: one of them has to vouch for the key, by certificates that hold today; None: nobody's word
            is asked for, and none is taken.

    Raises:
        FactorRefusedError: it did not, or nobody can tell.
        UnvouchedKeyError: it did, but is of no make of these makers that counts.
    """
    given = _read(answer, _Registration)
    verified = _verified_registration(given, _long_enough(challenge), rp_id, origins, makers is not None)
    credential_id = _text(verified.credential_id)
    if credential_id != given.id or len(verified.credential_id) > MAX_CREDENTIAL_ID:
        raise FactorRefusedError
    if makers is not None:
        _check_make(verified, makers)
    return Credential(
        id=credential_id,
        public_key=verified.credential_public_key,
        sign_count=verified.sign_count,
        aaguid=verified.aaguid,
        backup_eligible=verified.credential_device_type is CredentialDeviceType.MULTI_DEVICE,
        backed_up=verified.credential_backed_up,
        attested=makers is not None,
    )


def assertion_options(challenge: bytes, *, rp_id: str, credentials: Sequence[str]) -> str:
    """What ``navigator.credentials.get`` is called with, as JSON.

    Args:
        credentials: ids of the actor's credentials that would do.

    Raises:
        ValueError: the challenge is shorter than 16 bytes.
    """
    return options_to_json(
        generate_authentication_options(
            rp_id=rp_id,
            challenge=_long_enough(challenge),
            timeout=TIMEOUT_MS,
            allow_credentials=_descriptors(credentials),
            user_verification=UserVerificationRequirement.REQUIRED,
        )
    )


def verify_assertion(
    answer: bytes | str,
    challenge: bytes,
    credential: Credential,
    *,
    rp_id: str,
    origins: Sequence[str],
    hardware: bool,
) -> tuple[Assertion, int]:
    """What this credential signed for this challenge, its user verified, and its new count (S07).

    That a challenge is met once is for the store: an authenticator that does not count proves nothing by it.

    Args:
        answer: JSON of the ``PublicKeyCredential``, as its ``toJSON()`` gives it.
        hardware: only a key that cannot be copied, as the authenticator says.

    Raises:
        CounterRegressionError: all of it holds, but the count did not grow: the key may have been copied.
        FactorRefusedError: anything else; which is not told.
    """
    given = _read(answer, _Authentication)
    assertion = Assertion(
        credential=given.id,
        public_key=_text(credential.public_key),
        client_data=given.response.client_data,
        authenticator_data=given.response.authenticator_data,
        signature=given.response.signature,
    )
    if given.id != credential.id:
        raise FactorRefusedError
    verified = _verified_assertion(assertion, _long_enough(challenge), rp_id, origins)
    synced = verified.credential_device_type is CredentialDeviceType.MULTI_DEVICE
    if synced != credential.backup_eligible or (synced and hardware):  # it never changes (§6.1.3)
        raise FactorRefusedError
    count = verified.new_sign_count
    if (count or credential.sign_count) and count <= credential.sign_count:
        raise CounterRegressionError
    return assertion, count


def check_evidence(assertion: Assertion, challenge: bytes, *, rp_id: str, origins: Sequence[str]) -> None:
    """Checks an assertion that was kept, against the challenge computed anew from what it approved.

    By the public key that it names: that this is the actor's key is for the entry of its enrolment to say.

    Raises:
        FactorRefusedError: it does not hold.
    """
    _verified_assertion(assertion, _long_enough(challenge), rp_id, origins)


def check_approved(about: Mapping[str, str], detail: Mapping[str, str]) -> tuple[Scope, str]:
    """What a key signed to be approved, and on which origin's page: from an entry alone, its detail opened.

    Which origins counted then, the gateway held; their host was what keys were bound to.

    Raises:
        FactorRefusedError: it signed something else, or nobody can tell.
    """
    try:
        kept = msgspec.json.decode(about["assertion"], type=Assertion)
        signed = hashlib.sha256(detail["approved"].encode() + _bytes(detail["nonce"])).digest()
        origin = msgspec.json.decode(_bytes(kept.client_data), type=_ClientData).origin
        scope = msgspec.json.decode(detail["approved"], type=Scope)
        rp_id = urlsplit(origin).hostname or ""
    except (KeyError, ValueError):
        raise FactorRefusedError from None
    check_evidence(kept, signed, rp_id=rp_id, origins=(origin,))
    return scope, origin


def _verified_registration(
    given: _Registration, challenge: bytes, rp_id: str, origins: Sequence[str], attested: bool
) -> VerifiedRegistration:
    response = given.response
    try:
        _check_client_data(response.client_data, challenge)
        made = parse_attestation_object(_bytes(response.attestation_object))
        if made.fmt in _FORMATS and (attested or not made.att_stmt.x5c):
            return verify_registration_response(
                credential=_as_json(
                    given.id,
                    clientDataJSON=response.client_data,
                    attestationObject=response.attestation_object,
                ),
                expected_challenge=challenge,
                expected_rp_id=rp_id,
                expected_origin=list(origins),
                require_user_verification=True,
                supported_pub_key_algs=ALGORITHMS,
            )
    except Exception:  # noqa: BLE001, S110  # whatever hostile bytes raise, they do not hold, and are not quoted
        pass
    raise FactorRefusedError


def _check_make(verified: VerifiedRegistration, makers: Makers) -> None:
    """What the library leaves of §8.2 once the statement's signature holds: whose certificate signed it.

    Raises:
        UnvouchedKeyError: it does not lead to a root, is no authenticator's (§8.2.1), or of another make.
    """
    certificates = parse_attestation_object(verified.attestation_object).att_stmt.x5c or []
    try:
        vouched = bool(certificates and makers.roots)  # given no roots, the library takes any
        if vouched:
            validate_certificate_chain(x5c=certificates, pem_root_certs_bytes=list(makers.roots))
            vouched = _vouches(load_der_x509_certificate(certificates[0]), verified.aaguid)
    except Exception:  # noqa: BLE001  # as above
        vouched = False
    if not vouched:
        raise UnvouchedKeyError(
            "No maker whom [stepup.attestation] names vouches for this key: let the browser see its make."
        )
    if verified.aaguid not in makers.aaguids:
        raise UnvouchedKeyError(
            f"Keys of the make {verified.aaguid} are not among [stepup.attestation] aaguids: use another."
        )


def _vouches(leaf: Certificate, aaguid: str) -> bool:
    """Whether a certificate is one for authenticators (§8.2.1), and of this make where it names one."""
    units = [unit.value for unit in leaf.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)]
    make = bytes.fromhex(aaguid.replace("-", ""))
    try:
        said = leaf.extensions.get_extension_for_oid(_MAKE).value
        same = isinstance(said, UnrecognizedExtension) and said.value == b"\x04\x10" + make
    except ExtensionNotFound:
        same = True
    authority = leaf.extensions.get_extension_for_class(BasicConstraints).value.ca
    return leaf.version is Version.v3 and units == ["Authenticator Attestation"] and same and not authority


def _verified_assertion(
    assertion: Assertion, challenge: bytes, rp_id: str, origins: Sequence[str]
) -> VerifiedAuthentication:
    try:
        _check_client_data(assertion.client_data, challenge)
        return verify_authentication_response(
            credential=_as_json(
                assertion.credential,
                clientDataJSON=assertion.client_data,
                authenticatorData=assertion.authenticator_data,
                signature=assertion.signature,
            ),
            expected_challenge=challenge,
            expected_rp_id=rp_id,
            expected_origin=list(origins),
            credential_public_key=_bytes(assertion.public_key),
            credential_current_sign_count=0,  # ours to check, once the signature holds
            require_user_verification=True,
        )
    except Exception:  # noqa: BLE001, S110  # whatever hostile bytes raise, they do not hold, and are not quoted
        pass
    raise FactorRefusedError


def _check_client_data(client_data: str, challenge: bytes) -> None:
    """What the library reads loosely or not at all: the challenge's spelling (§7.2 step 11), and the frame.

    No page of ours asks from within a stranger's, where what is approved can be covered (§13.4.9).
    """
    given = msgspec.json.decode(_bytes(client_data), type=_ClientData)
    if given.challenge != _text(challenge) or given.cross_origin:
        raise FactorRefusedError


def _read(answer: bytes | str, kind: type[_Answer]) -> _Answer:
    if len(answer) <= MAX_ANSWER:
        try:
            return msgspec.json.decode(answer, type=kind)
        except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
            pass
    raise FactorRefusedError


def _as_json(credential_id: str, **response: str) -> dict[str, object]:
    """The library's own input, made of nothing but what was read; each text has one spelling (S02)."""
    for text in (credential_id, *response.values()):
        _bytes(text)
    return {"id": credential_id, "rawId": credential_id, "type": "public-key", "response": response}


def _descriptors(ids: Sequence[str]) -> list[PublicKeyCredentialDescriptor]:
    return [PublicKeyCredentialDescriptor(id=_bytes(each)) for each in ids]


def _long_enough(challenge: bytes) -> bytes:
    """The library makes up a challenge where it is given none."""
    if len(challenge) < MIN_CHALLENGE:
        raise ValueError(f"A challenge is {MIN_CHALLENGE} bytes at least.")
    return challenge


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _bytes(text: str) -> bytes:
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if _text(data) != text:
        raise binascii.Error("Base64url has one spelling.")
    return data
