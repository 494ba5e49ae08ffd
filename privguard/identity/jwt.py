"""Verifies signed tokens (RFC 7519, RFC 9068) with given keys, at a given time (S10).

Numbered as RFC 8725 asks; the numbers stand at the code:

    1 size, before anything is parsed
    2 header: type from an allow-list, no critical extension
    3 signature: algorithm from an allow-list, a key that fits it
    4 claims: one JSON object without duplicate names
    5 ``iss``, ``aud``, ``exp``, ``sub`` must stand there and hold; ``nbf`` and ``iat`` hold where they stand
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from joserfc import jws
from joserfc.errors import ExpiredTokenError, InvalidKeyIdError, JoseError
from joserfc.jwk import JWKRegistry, KeySet, OctKey
from joserfc.jws import JWSRegistry
from joserfc.jwt import JWTClaimsRegistry
from msgspec import Struct

from privguard.errors import ConfigError, UnauthenticatedError
from privguard.identity.claims import MAX_SECONDS

if TYPE_CHECKING:
    from joserfc._rfc7515.model import JWSAlgModel

MAX_TOKEN: Final = 8_192
MAX_LEEWAY: Final = 60
MAX_KEYS: Final = 100

ASYMMETRIC: Final = frozenset(
    {f"{kind}{size}" for kind in ("RS", "PS", "ES") for size in (256, 384, 512)}
    | {"EdDSA", "Ed25519", "Ed448"}
)
"""No HS256 and its like: whoever can verify with a shared secret can also sign."""

_BROKEN: Final = (JoseError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)
"""What a hostile token raises below us; the messages quote it, so none goes on."""


class UnknownKeyError(UnauthenticatedError):
    """The token names a key that is not in the set: perhaps a newer one."""


class TokenRules(Struct, frozen=True, kw_only=True):
    """What a token must be.

    Attributes:
        audience: any one of these.
        types: ``typ`` in lower case without ``application/``; an empty one admits tokens that name none.
        leeway: seconds, 60 at most.
    """

    issuer: str
    audience: tuple[str, ...]
    algorithms: frozenset[str] = frozenset({"RS256", "PS256", "ES256", "ES384", "EdDSA", "Ed25519"})
    types: frozenset[str] = frozenset({"jwt", "at+jwt"})
    leeway: int = MAX_LEEWAY

    def __post_init__(self) -> None:
        if not self.issuer or not self.audience or not all(self.audience):
            raise ConfigError("[identity.jwt] issuer and audience must not be empty.")
        if not self.algorithms or not self.algorithms <= ASYMMETRIC:
            raise ConfigError(f"[identity.jwt] algorithms: choose from {', '.join(sorted(ASYMMETRIC))}.")
        if not 0 <= self.leeway <= MAX_LEEWAY:
            raise ConfigError(f"[identity.jwt] leeway is 0 to {MAX_LEEWAY} seconds.")


class VerifiedToken(Struct, frozen=True):
    """Claims that the issuer signed; ``expires`` in seconds since the epoch."""

    claims: Mapping[str, object]
    expires: int


def read_keys(raw: bytes) -> KeySet:
    """The verifying keys of a JWK set (RFC 7517); of kinds we do not use, and for encryption, none.

    Raises:
        ConfigError: not a key set, or none in it that could verify.
    """
    try:
        found = json.loads(raw)["keys"]
        keys = [key for entry in found[:MAX_KEYS] if (key := _read_key(entry)) is not None]
    except _BROKEN:
        raise ConfigError("The issuer's key set is not a JWK set (RFC 7517).") from None
    if not keys:
        raise ConfigError("The issuer's key set holds no key that could verify a signature.")
    return KeySet(keys)


def _read_key(entry: Any) -> Any:
    if entry.get("use", "sig") != "sig":
        return None
    try:
        key = JWKRegistry.import_key({name: entry[name] for name in entry if name not in _PRIVATE})
    except _BROKEN:  # one key of another kind does not spoil the set (RFC 7517 §5)
        return None
    return None if isinstance(key, OctKey) else key


_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "key_ops"})


def verify_token(token: str, keys: KeySet, rules: TokenRules, now: int) -> VerifiedToken:
    """The claims of a token, once everything about it holds.

    Args:
        now: seconds since the epoch.

    Raises:
        UnknownKeyError: it is signed with a key that is not in the set.
        UnauthenticatedError: it does not hold.
    """
    if len(token) > MAX_TOKEN:  # 1
        raise UnauthenticatedError(f"The token is longer than {MAX_TOKEN} bytes.")
    registry = _Registry(algorithms=rules.algorithms, strict_check_header=False)
    try:
        signed = jws.extract_compact(token.encode("ascii"), None, registry)
        _check_header(signed.headers(), rules)  # 2
        if not jws.validate_compact(signed, keys, registry=registry):  # 3
            raise UnauthenticatedError("The token's signature does not hold.")
        claims = json.loads(signed.payload, object_pairs_hook=_unique, parse_constant=_no_constant)  # 4
        _claims_registry(rules, now).validate(claims)  # 5
        expires = claims["exp"]
    except InvalidKeyIdError:
        raise UnknownKeyError("The token names a key that the issuer does not publish.") from None
    except ExpiredTokenError:
        raise UnauthenticatedError("The token has expired. Sign in again.") from None
    except _BROKEN:
        raise UnauthenticatedError(
            "The token does not hold: its form, algorithm, issuer, audience, subject or times are not as "
            "[identity.jwt] asks."
        ) from None
    if not 0 < expires < MAX_SECONDS:
        raise UnauthenticatedError("The token's exp is not in seconds since the epoch.")
    return VerifiedToken(claims, int(expires))


class _Registry(JWSRegistry):
    """Only what is allowed; joserfc's own would warn of EdDSA (RFC 9864) at each token."""

    def get_alg(self, name: str) -> JWSAlgModel:
        if name not in (self.allowed or ()):
            raise UnauthenticatedError(
                "The token's algorithm is not one of the asymmetric ones allowed here."
            )
        return self.algorithms[name]


def _check_header(header: Mapping[str, object], rules: TokenRules) -> None:
    if "crit" in header or "b64" in header:  # RFC 7515 §4.1.11: we understand no extension
        raise UnauthenticatedError("The token has a critical header, which is not understood here.")
    named = header.get("typ", "")
    if not isinstance(named, str) or named.lower().removeprefix("application/") not in rules.types:
        raise UnauthenticatedError(f"The token's typ must be one of {', '.join(sorted(rules.types))}.")


def _claims_registry(rules: TokenRules, now: int) -> JWTClaimsRegistry:
    return JWTClaimsRegistry(
        now=now,
        leeway=rules.leeway,
        iss={"essential": True, "value": rules.issuer},
        aud={"essential": True, "values": list(rules.audience)},
        exp={"essential": True},
        sub={"essential": True},
    )


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _no_constant(_: str) -> object:
    raise ValueError
