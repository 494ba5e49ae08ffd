"""A second factor as it is stored, and what is presented to prove it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

KINDS = ("totp", "webauthn", "code", "recovery")


class FactorData(Struct, frozen=True, omit_defaults=True):
    """What is sealed of a factor.

    Attributes:
        label: what its owner calls it.
        secret: of a TOTP, base32.
        address: where codes are sent.
        credential: of a WebAuthn key (``stepup.webauthn.Credential``), as JSON.
    """

    label: str = ""
    secret: str = ""
    address: str = ""
    credential: str = ""


class Factor(Struct, frozen=True):
    """A factor in the store; ``state`` is ``pending | active | disabled``."""

    id: str
    tenant: str
    actor: str
    kind: str
    state: str
    data: FactorData
    created_us: int
    last_step: int = -1


class Makers(Struct, frozen=True):
    """Whose security keys count.

    Attributes:
        roots: the makers' root certificates, each as PEM.
        aaguids: the makes, as ``2fc0579f-8113-47ea-b116-bb5a8db9202a``.
    """

    roots: tuple[bytes, ...]
    aaguids: frozenset[str]


class Proof(Struct, frozen=True):
    """What a caller presents.

    Attributes:
        method: one of ``KINDS``.
        factor: its id; the oldest of that kind where none is named.
        code: of TOTP, one-time and recovery codes.
        assertion: of a WebAuthn key, as the browser gives it (JSON).
    """

    method: str
    factor: str = ""
    code: str = ""
    assertion: Mapping[str, Any] = {}
