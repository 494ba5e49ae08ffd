"""A security key in software, and the browser in front of it: makes answers, false ones too."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PRESENT, VERIFIED, ELIGIBLE, BACKED_UP, ATTESTED = 1, 4, 8, 16, 64


def text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Authenticator:
    """One credential for one site.

    Args:
        synced: a passkey that is copied to the holder's other devices.
        count: how often it was used; None for one that does not count.
    """

    def __init__(self, *, ed25519: bool = False, synced: bool = False, count: int | None = 0) -> None:
        self.key: EllipticCurvePrivateKey | Ed25519PrivateKey = (
            Ed25519PrivateKey.generate() if ed25519 else generate_private_key(SECP256R1())
        )
        self.id = os.urandom(32)
        self.flags = PRESENT | VERIFIED | (ELIGIBLE | BACKED_UP if synced else 0)
        self.count = count

    def create(self, options: str, origin: str, **changes: Any) -> dict[str, Any]:
        """Answers ``navigator.credentials.create``.

        Args:
            changes: ``rp_id``, ``flags``, ``fmt``, ``statement``, ``id``, or a member of the client data.
        """
        asked = json.loads(options)
        rp_id = changes.pop("rp_id", asked["rp"]["id"])
        attested = bytes(16) + len(self.id).to_bytes(2, "big") + self.id + self.cose()
        data = self._data(rp_id, changes.pop("flags", self.flags | ATTESTED)) + attested
        statement = {
            "fmt": changes.pop("fmt", "none"),
            "attStmt": changes.pop("statement", {}),
            "authData": data,
        }
        return self._answer(
            changes.pop("id", self.id),
            clientDataJSON=self._client_data("webauthn.create", asked["challenge"], origin, changes),
            attestationObject=cbor2.dumps(statement),
            transports=["usb"],
        )

    def get(self, options: str, origin: str, **changes: Any) -> dict[str, Any]:
        """Answers ``navigator.credentials.get``.

        Args:
            changes: ``rp_id``, ``flags``, ``id``, or a member of the client data.
        """
        asked = json.loads(options)
        if self.count is not None:
            self.count += 1
        data = self._data(changes.pop("rp_id", asked["rpId"]), changes.pop("flags", self.flags))
        credential = changes.pop("id", self.id)
        client_data = self._client_data("webauthn.get", asked["challenge"], origin, changes)
        return self._answer(
            credential,
            clientDataJSON=client_data,
            authenticatorData=data,
            signature=self.sign(data + hashlib.sha256(client_data).digest()),
            userHandle=b"user",
        )

    def cose(self) -> bytes:
        """The public key (RFC 9053)."""
        if isinstance(self.key, Ed25519PrivateKey):
            raw = self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
            return cbor2.dumps({1: 1, 3: -8, -1: 6, -2: raw})
        point = self.key.public_key().public_numbers()
        return cbor2.dumps(
            {1: 2, 3: -7, -1: 1, -2: point.x.to_bytes(32, "big"), -3: point.y.to_bytes(32, "big")}
        )

    def sign(self, data: bytes) -> bytes:
        if isinstance(self.key, Ed25519PrivateKey):
            return self.key.sign(data)
        return self.key.sign(data, ECDSA(SHA256()))

    def _data(self, rp_id: str, flags: int) -> bytes:
        return hashlib.sha256(rp_id.encode()).digest() + bytes([flags]) + (self.count or 0).to_bytes(4, "big")

    def _client_data(self, kind: str, challenge: str, origin: str, changes: dict[str, Any]) -> bytes:
        members = {"type": kind, "challenge": challenge, "origin": origin, "crossOrigin": False, **changes}
        return json.dumps(members).encode()

    def _answer(self, credential: bytes, **response: Any) -> dict[str, Any]:
        return {
            "id": text(credential),
            "rawId": text(credential),
            "type": "public-key",
            "authenticatorAttachment": "cross-platform",
            "clientExtensionResults": {},
            "response": {
                key: text(part) if isinstance(part, bytes) else part for key, part in response.items()
            },
        }
