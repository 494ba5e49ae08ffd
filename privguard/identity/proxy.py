"""Verifies what a trusted proxy asserts about the actor of a request (docs/reference/proxy-assertion.md).

The proxy puts claims into ``Privguard-Identity`` and signs them together with the request: HTTP Message
Signatures (RFC 9421) with ``hmac-sha256``, one fixed list of components, so that any implementation of the
RFC can produce it. Where a request comes from proves nothing (S11).
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Mapping
from typing import Any, Final

import http_sf
import msgspec
from msgspec import Struct

from privguard.errors import ConfigError, UnauthenticatedError

LABEL: Final = "privguard"
COMPONENTS: Final = ("@method", "@request-target", "content-digest", "privguard-identity")
"""All of them, in this order: method, target with query, body, and who it is for."""
PROOF_HEADERS: Final = ("privguard-identity", "content-digest", "signature-input", "signature")
MAX_HEADER: Final = 8_192
MAX_SKEW: Final = 300
MIN_KEY: Final = 32
_PARAMETERS: Final = frozenset({"created", "nonce", "keyid", "alg"})


class SignedRequest(Struct, frozen=True):
    """The request as it arrived: method, target with query, whole body."""

    method: str
    target: bytes
    body: bytes = b""


class ProxyRules(Struct, frozen=True):
    """What an assertion must be.

    Attributes:
        keys: shared with the proxy, 32 bytes at least; any one of them verifies, so that keys can be changed.
        max_skew: seconds that an assertion may be older, or newer, than now.
    """

    keys: tuple[bytes, ...]
    max_skew: int = 30

    def __post_init__(self) -> None:
        if not self.keys or any(len(key) < MIN_KEY for key in self.keys):
            raise ConfigError(
                f"[identity.proxy] hmac_key must be {MIN_KEY} bytes at least; make one at random."
            )
        if not 1 <= self.max_skew <= MAX_SKEW:
            raise ConfigError(f"[identity.proxy] max_skew is 1 to {MAX_SKEW} seconds.")


class Asserted(Struct, frozen=True):
    """What a proxy asserts, and the nonce it does so by, once, until it is too old anyway (seconds)."""

    claims: Mapping[str, object]
    nonce: str
    until: int


class ReplayWindow:
    """The nonces of assertions that could still be accepted, at most ``capacity``; for one process.

    Other processes know nothing of them: what counts is that the nonce is taken with the access's entry.
    """

    def __init__(self, capacity: int = 1 << 18) -> None:
        self._capacity = capacity
        self._until: dict[str, int] = {}

    def admit(self, nonce: str, until: int, now: int) -> bool:
        """Whether the nonce is new and could be remembered; a full window admits nothing.

        Args:
            until: seconds since the epoch after which its assertion is too old anyway.
        """
        while self._until and (oldest := next(iter(self._until))) and self._until[oldest] < now:
            del self._until[oldest]
        if nonce in self._until or len(self._until) >= self._capacity:
            return False
        self._until[nonce] = until
        return True


def verify_assertion(
    headers: Mapping[str, str], request: SignedRequest, rules: ProxyRules, window: ReplayWindow, now: int
) -> Asserted:
    """What the proxy asserts for this very request, once.

    Args:
        headers: names in lower case.
        now: seconds since the epoch.

    Raises:
        UnauthenticatedError: a header is missing, something was changed, the time is off, or it came before.
    """
    identity, digest, signature_input, signature = (headers.get(name, "").strip() for name in PROOF_HEADERS)
    if not (identity and digest and signature_input and signature):
        raise UnauthenticatedError(f"The proxy must send {', '.join(map(str.title, PROOF_HEADERS))}.")
    proof = identity + digest + signature_input + signature
    if len(proof) > MAX_HEADER or not proof.isascii():
        raise UnauthenticatedError(f"The proxy's assertion is {MAX_HEADER} ASCII characters at most.")
    member, (created, nonce) = _read_input(_parse("Signature-Input", signature_input))
    base = _signature_base(request, digest, identity, _serialise(member))
    given = _bytes_of(_parse("Signature", signature), LABEL)
    if not any(hmac.compare_digest(hmac.digest(key, base, "sha256"), given) for key in rules.keys):
        raise UnauthenticatedError("The proxy's assertion is not signed with the shared key, or was changed.")
    if not hmac.compare_digest(
        _bytes_of(_parse("Content-Digest", digest), "sha-256"), hashlib.sha256(request.body).digest()
    ):
        raise UnauthenticatedError("The body is not the one that the proxy signed.")
    if abs(now - created) > rules.max_skew:
        raise UnauthenticatedError(
            "The proxy's assertion is too old or from the future; set the clocks right."
        )
    if not window.admit(nonce, created + rules.max_skew, now):
        raise UnauthenticatedError(
            "The proxy's assertion was used before; each request needs a nonce of its own."
        )
    return Asserted(_claims(identity), nonce, created + rules.max_skew)


def sign_assertion(
    claims: Mapping[str, object], request: SignedRequest, key: bytes, *, created: int, nonce: str
) -> dict[str, str]:
    """The headers a proxy sends: the reference for its authors, and for tests."""
    identity = http_sf.ser((msgspec.json.encode(claims), {}))
    digest = http_sf.ser({"sha-256": hashlib.sha256(request.body).digest()})
    member: tuple[list[Any], dict[str, Any]] = (
        [(component, {}) for component in COMPONENTS],
        {"created": created, "nonce": nonce, "alg": "hmac-sha256"},
    )
    parameters = _serialise(member)
    mac = hmac.digest(key, _signature_base(request, digest, identity, parameters), "sha256")
    return {
        "privguard-identity": identity,
        "content-digest": digest,
        "signature-input": f"{LABEL}={parameters}",
        "signature": f"{LABEL}=:{b64encode(mac).decode('ascii')}:",
    }


def _signature_base(request: SignedRequest, digest: str, identity: str, parameters: str) -> bytes:
    """RFC 9421 §2.5."""
    return b"\n".join(
        (
            f'"@method": {request.method}'.encode("latin-1"),
            b'"@request-target": ' + request.target,
            f'"content-digest": {digest}'.encode("latin-1"),
            f'"privguard-identity": {identity}'.encode("latin-1"),
            f'"@signature-params": {parameters}'.encode("latin-1"),
        )
    )


def _parse(name: str, value: str) -> dict[str, Any]:
    try:
        parsed = http_sf.parse(value.encode("ascii"), tltype="dictionary", on_duplicate_key=_refuse_duplicate)
    except (ValueError, OverflowError):
        parsed = None
    if not isinstance(parsed, dict):
        raise UnauthenticatedError(f"{name} is not a structured dictionary (RFC 8941).")
    return parsed


def _refuse_duplicate(*_: str) -> None:
    raise ValueError


def _serialise(member: Any) -> str:
    return str(http_sf.ser([member]))


def _read_input(fields: Mapping[str, Any]) -> tuple[Any, tuple[int, str]]:
    """The signature's parameters as they are signed, with their ``created`` and ``nonce``."""
    member = fields.get(LABEL)
    if not isinstance(member, tuple) or member[0] != [(component, {}) for component in COMPONENTS]:
        raise UnauthenticatedError(f"The label {LABEL} must cover {', '.join(COMPONENTS)}, in this order.")
    parameters = member[1]
    created, nonce = parameters.get("created"), parameters.get("nonce")
    if not parameters.keys() <= _PARAMETERS or parameters.get("alg", "hmac-sha256") != "hmac-sha256":
        raise UnauthenticatedError(
            "The signature's parameters are created, nonce, keyid and alg=hmac-sha256."
        )
    if type(created) is not int or not isinstance(nonce, str) or not 16 <= len(nonce) <= 64:
        raise UnauthenticatedError(
            "The signature needs created, in seconds, and a nonce of 16 to 64 characters."
        )
    return member, (created, nonce)


def _bytes_of(fields: Mapping[str, Any], name: str) -> bytes:
    member = fields.get(name)
    if isinstance(member, tuple) and isinstance(member[0], bytes) and not member[1]:
        return member[0]
    raise UnauthenticatedError(f"The assertion has no bytes under {name}.")


def _claims(identity: str) -> Mapping[str, object]:
    try:
        raw = http_sf.parse(identity.encode("ascii"), tltype="item")
        return msgspec.json.decode(raw[0], type=dict[str, object])  # type: ignore[index,arg-type]
    except (ValueError, TypeError, OverflowError, RecursionError):  # msgspec's errors are ValueErrors
        pass
    raise UnauthenticatedError("Privguard-Identity is not a byte sequence that holds a JSON object.")
