"""A challenge: sealed, so that nothing is stored before it is met, and nobody can change what it is for.

It is good for one actor in one session, once: what makes it single-use is that its nonce is entered into the
store with the grant (S09). RFC 9470 says how it is announced, RFC 9396 how what it is for is described.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from privguard.crypto.envelope import EnvelopeError, seal, unseal
from privguard.errors import AccessDeniedError
from privguard.model import Principal
from privguard.stepup.grant import Scope, canonical, webauthn_challenge

CHALLENGE_S: Final = 300
"""Seconds to meet it in."""
DETAILS_TYPE: Final = "urn:privguard:reveal"
DECIDE: Final = "decide"
"""The action of a challenge to whoever decides on a request; what they say of it takes its place."""
_PLACE: Final = b"privguard challenge 1"
_LONGEST: Final = 8_192
_STRANGE: Final = "The challenge is over, or for somebody else or another session: ask for the record again."


class Challenge(Struct, frozen=True):
    """What is asked of whom.

    Attributes:
        nonce: 16 bytes, base64url.
        until: seconds since the epoch.
        reason: what the caller said so far.
    """

    scope: Scope
    nonce: str
    until: int
    reason: str = ""

    def proved_by(self, method: str) -> bytes:
        """What a proof of it is of: a WebAuthn key signs all that was said, a code is sent for its nonce."""
        nonce = base64.urlsafe_b64decode(self.nonce)
        return webauthn_challenge(self.scope, nonce) if method == "webauthn" else nonce

    def said(self, reason: str = "", ticket: str = "", *, approve: bool = True) -> Challenge:
        """With reason, ticket and decision in its scope, as they were said before or now: a key signs it."""
        scope = self.scope
        reason, ticket = reason or self.reason or scope.reason, scope.ticket or ticket
        action = ("approve" if approve else "refuse") if scope.action == DECIDE else scope.action
        return replace(self, scope=replace(scope, reason=reason, ticket=ticket, action=action), reason=reason)

    @property
    def approved(self) -> dict[str, str]:
        """What is kept with an assertion, so that ``webauthn.check_approved`` needs nothing else."""
        return {"approved": canonical(self.scope).decode(), "nonce": self.nonce.rstrip("=")}


def seal_challenge(challenge: Challenge, key: bytes, nonce: bytes) -> str:
    """The challenge as its holder carries it about: base64url."""
    sealed = seal(key, nonce, msgspec.json.encode(challenge), _PLACE)
    return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()


def open_challenge(text: str, key: bytes, actor: Principal, now_s: int) -> Challenge:
    """What was sealed.

    Raises:
        AccessDeniedError: it does not open, is over, or is another actor's or session's.
    """
    challenge: Challenge | None = None
    if len(text) <= _LONGEST and text.isascii():
        try:
            sealed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            challenge = msgspec.json.decode(unseal(key, sealed, _PLACE), type=Challenge)
        except (EnvelopeError, ValueError):
            pass
    if challenge is None or challenge.until <= now_s:
        raise AccessDeniedError(_STRANGE)
    scope = challenge.scope
    if (scope.tenant, scope.actor, scope.session) != (actor.tenant, actor.id, actor.session or ""):
        raise AccessDeniedError(_STRANGE)
    return challenge


def described(challenge: str, scope: Scope, methods: Sequence[str], uri: str) -> dict[str, Any]:
    """The members of a ``step-up-required`` problem; they name no client."""
    details = {
        "type": DETAILS_TYPE,
        "actions": [scope.action],
        "datatypes": list(scope.fields),
        "resource": scope.resource,
        "purpose": scope.purpose,
    }
    return {
        "challenge_id": challenge,
        "challenge_uri": uri,
        "methods": list(methods),
        "fields": list(scope.fields),
        "expires_in": CHALLENGE_S,
        "authorization_details": [details],
    }
