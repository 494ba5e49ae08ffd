"""Claims of an identity provider, or a CRM's who-am-I answer, become a Principal.

Types are strict: what is of another type than it should be is refused, never converted into something that
could pass. So an ``auth_time`` in milliseconds, which would look fresh for ever, is refused (S10).
"""

from __future__ import annotations

import hmac
import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from msgspec import Struct

from privguard.crypto.envelope import joined
from privguard.errors import UnauthenticatedError
from privguard.model import Assurance, Principal

MAX_TEXT: Final = 256
"""Characters of an id, role, branch or tenant."""
MAX_ROLES: Final = 256
MAX_SECONDS: Final = 100_000_000_000
"""Above it a time is not in seconds: the year 5138, or March 1973 in milliseconds."""


class ClaimMap(Struct, frozen=True, kw_only=True):
    """Where among the claims each part of a Principal stands; what has no path is not read.

    A path goes down by dots (``realm_access.roles``) and through a list by ``[*]`` (``roles[*].name``),
    which for all but roles and attributes must hold one item; one with ``://`` is the name of a single claim
    (``https://bank.example/roles``).

    Attributes:
        client_id: the actor's own client id; not OAuth's claim of this name, which names an application.
        attributes: (attribute, path).
    """

    id: str = "sub"
    roles: str | None = "roles"
    branch: str | None = None
    client_id: str | None = None
    tenant: str | None = None
    attributes: tuple[tuple[str, str], ...] = ()
    acr: str | None = "acr"
    amr: str | None = "amr"
    auth_time: str | None = "auth_time"


class AssuranceMap(Struct, frozen=True):
    """Which of the issuer's words mean which assurance.

    Each entry is an ``acr`` value, an ``amr`` value (RFC 8176), or ``amr`` values that only together mean it
    (``pwd+otp``). ``phr`` and ``phrh`` are the ``acr`` values of OpenID EAP.
    """

    multi_factor: frozenset[str] = frozenset({"mfa"})
    phishing_resistant: frozenset[str] = frozenset({"phr", "phrh"})


def read_principal(
    claims: Mapping[str, object],
    paths: ClaimMap,
    *,
    now: int,
    session: str | None = None,
    assurance: AssuranceMap | None = None,
    leeway: int = 60,
) -> Principal:
    """The actor whom verified claims name.

    Args:
        now: seconds since the epoch.
        session: see ``session_name``.
        leeway: seconds by which the issuer's clock may be ahead.

    Raises:
        UnauthenticatedError: no id, or a claim of a wrong type; names the path, never the value.
    """
    client = _scalar(claims, paths.client_id)
    return Principal(
        id=_required(claims, paths.id),
        roles=_texts(claims, paths.roles),
        tenant=_optional(claims, paths.tenant) or "default",
        branch=_optional(claims, paths.branch),
        client_id=client,
        attributes={
            name: value for name, path in paths.attributes if (value := _find(claims, path)) is not None
        },
        session=session,
        assurance=_assurance(claims, paths, assurance or AssuranceMap(), now + leeway),
    )


def session_name(key: bytes | None, *parts: str) -> str | None:
    """Names a session in 32 hex digits, so that neither the log nor a grant holds a credential.

    Args:
        key: secret, the same in every worker: from an unkeyed hash a weak credential could be guessed. None
            names no session.
        parts: what is the session's own (issuer and ``sid``, or the credential).
    """
    if key is None:
        return None
    return hmac.digest(key, joined(*parts), "sha256").hex()[:32]


def _assurance(claims: Mapping[str, object], paths: ClaimMap, words: AssuranceMap, latest: int) -> Assurance:
    acr = _optional(claims, paths.acr)
    factors = _texts(claims, paths.amr)
    return Assurance(
        acr=acr,
        factors=factors,
        auth_time=_time(claims, paths.auth_time, latest),
        multi_factor=_means(words.multi_factor, acr, factors),
        phishing_resistant=_means(words.phishing_resistant, acr, factors),
    )


def _means(words: frozenset[str], acr: str | None, factors: frozenset[str]) -> bool:
    return acr in words or any(factors.issuperset(word.split("+")) for word in words)


def _time(claims: Mapping[str, object], path: str | None, latest: int) -> int | None:
    value = _find(claims, path)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _wrong(path, "is not a number of seconds")
    if not 0 < value < MAX_SECONDS:
        raise _wrong(path, "is not in seconds since the epoch")
    if value > latest:
        raise _wrong(path, "lies in the future; set the clocks right")
    return int(value)


def _required(claims: Mapping[str, object], path: str) -> str:
    text = _optional(claims, path)
    if text is None:
        raise _wrong(path, "is missing")
    return text


def _optional(claims: Mapping[str, object], path: str | None) -> str | None:
    value = _scalar(claims, path)
    return None if value is None else str(value)


def _scalar(claims: Mapping[str, object], path: str | None) -> str | int | None:
    value = None if path is None else _only(claims, path)
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63):
        return value
    return _text(value, path)


def _texts(claims: Mapping[str, object], path: str | None) -> frozenset[str]:
    """A list of texts; a single text is a list of one."""
    value = _find(claims, path)
    if value is None:
        return frozenset()
    found = value if isinstance(value, list) else [value]
    if len(found) > MAX_ROLES:
        raise _wrong(path, f"has more than {MAX_ROLES} values")
    return frozenset(_text(item, path) for item in found)


def _text(value: object, path: str | None) -> str:
    if (
        isinstance(value, str)
        and 0 < len(value) <= MAX_TEXT
        and value.isprintable()
        and value == value.strip()
    ):
        return value
    raise _wrong(path, f"is not a text of 1 to {MAX_TEXT} printable characters")


def _wrong(path: str | None, what: str) -> UnauthenticatedError:
    return UnauthenticatedError(f"The claim {path} {what}.")


def _find(claims: object, path: str | None) -> object:
    """The value at a path; None where it is absent or null."""
    return None if path is None else _walk(claims, _steps(path))


def _only(claims: object, path: str) -> object:
    """The one value at a path; a list on its way must hold one item, or it may name somebody else."""
    outer, listed, inner = path.rpartition("[*]") if "://" not in path else ("", "", path)
    if not listed:
        return _find(claims, path)
    items = _only(claims, outer)
    if not isinstance(items, list) or len(items) != 1:
        raise _wrong(path, "is not below a list of exactly one item")
    return _walk(items[0], _steps(inner))


def _walk(value: object, steps: tuple[str, ...]) -> object:
    for at, step in enumerate(steps):
        if step == "[*]":
            items = value if isinstance(value, list) else []
            found = (_walk(item, steps[at + 1 :]) for item in items)
            return [item for item in found if item is not None]
        if not isinstance(value, Mapping):
            return None
        value = value.get(step)
    return value


@lru_cache(maxsize=256)
def _steps(path: str) -> tuple[str, ...]:
    if "://" in path:
        return (path,)
    return tuple(step for step in path.replace("[*]", ".[*]").split(".") if step)
