"""What a challenge is for and a grant opens: one actor, in one session, these fields of these clients."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec import Struct

from privguard.model import Principal, SubjectRef, Verb

GRANT_BYTES: Final = 32


class Scope(Struct, frozen=True):
    """All that a grant is bound to (S08).

    Attributes:
        rules: ids of the policy's rules that it is issued under.
        fields: paths that may be asked for in clear; none for a gate.
        clients: whose records; none for a bulk answer, which is bounded by its rule.
        policy: digest of the policy version (M13).
        reason: what the actor says, for who has to approve it; empty where nobody has to.
    """

    tenant: str
    actor: str
    session: str
    system: str
    resource: str
    action: str
    purpose: str
    policy: str
    rules: tuple[str, ...]
    fields: tuple[str, ...]
    clients: tuple[SubjectRef, ...]
    ticket: str = ""
    break_glass: bool = False
    reason: str = ""


class Grant(Struct, frozen=True):
    """A grant in force, as the store found it.

    Attributes:
        mark: what the store finds it by; the grant itself is the caller's secret.
        name: what the log calls it.
    """

    mark: str
    name: str
    scope: Scope


_encode: Final = msgspec.json.Encoder(order="deterministic").encode


def canonical(scope: Scope) -> bytes:
    """The scope as sorted-key JSON: what an approval and a WebAuthn assertion stand for."""
    return _encode(scope)


def webauthn_challenge(scope: Scope, nonce: bytes) -> bytes:
    """SHA-256(canonical scope, nonce): an assertion over it says, offline too, what was approved."""
    return hashlib.sha256(canonical(scope) + nonce).digest()


def mark_of(secret: str) -> str:
    """What the store finds a grant by: whoever reads the store cannot use it. The secret has 256 bits."""
    return hashlib.sha256(secret.encode()).hexdigest()


def covers(
    scope: Scope,
    actor: Principal,
    *,
    system: str,
    resource: str,
    action: Verb,
    purpose: str,
    policy: str,
    fields: Iterable[str],
    ticket: str | None,
    break_glass: bool,
) -> bool:
    """Whether an access is what a grant was issued for; whose records it shows is judged record by record."""
    return (
        (scope.tenant, scope.actor, scope.session) == (actor.tenant, actor.id, actor.session or "")
        and (scope.system, scope.resource, scope.action) == (system, resource, action.value)
        and (scope.purpose, scope.policy) == (purpose, policy)
        and frozenset(fields) <= frozenset(scope.fields)
        and ticket in (None, scope.ticket)
        and scope.break_glass == break_glass
    )
