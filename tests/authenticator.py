"""A security key in software, and the browser in front of it: makes answers, false ones too."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

PRESENT, VERIFIED, ELIGIBLE, BACKED_UP, ATTESTED = 1, 4, 8, 16, 64


def text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Maker:
    """Who makes authenticators: a root certificate, and one for a make that they vouch for keys by (§8.2.1).

    Args:
        make: the AAGUID that its keys say.
        said: the AAGUID in the certificate; None: it has none.
        unit, authority, days: of the certificate: what it is for, whether it may sign others, its days.
    """

    def __init__(
        self,
        make: UUID,
        *,
        said: UUID | None,
        unit: str = "Authenticator Attestation",
        authority: bool = False,
        days: int = 1,
    ) -> None:
        self.make = make
        root, self._key = generate_private_key(SECP256R1()), generate_private_key(SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Root of the makers")])
        made = self._made(name, name, root, days=1).add_extension(x509.BasicConstraints(True, None), True)
        self.root = made.sign(root, SHA256()).public_bytes(Encoding.PEM)
        subject = {
            NameOID.COUNTRY_NAME: "CN",
            NameOID.ORGANIZATION_NAME: "Maker",
            NameOID.ORGANIZATIONAL_UNIT_NAME: unit,
            NameOID.COMMON_NAME: "Batch 1",
        }
        whose = x509.Name([x509.NameAttribute(kind, value) for kind, value in subject.items()])
        leaf = self._made(whose, name, self._key, days=days)
        leaf = leaf.add_extension(x509.BasicConstraints(authority, None), True)
        if said is not None:
            number = x509.ObjectIdentifier("1.3.6.1.4.1.45724.1.1.4")
            leaf = leaf.add_extension(x509.UnrecognizedExtension(number, b"\x04\x10" + said.bytes), False)
        self.leaf = leaf.sign(root, SHA256()).public_bytes(Encoding.PEM)

    def vouch(self, signed: bytes) -> dict[str, Any]:
        """A statement of attestation (``packed``)."""
        signature = self._key.sign(signed, ECDSA(SHA256()))
        return {
            "alg": -7,
            "sig": signature,
            "x5c": [x509.load_pem_x509_certificate(self.leaf).public_bytes(Encoding.DER)],
        }

    def _made(
        self, whose: x509.Name, by: x509.Name, key: EllipticCurvePrivateKey, days: int
    ) -> x509.CertificateBuilder:
        until = datetime.now(UTC) + timedelta(days)
        made = x509.CertificateBuilder().subject_name(whose).issuer_name(by).public_key(key.public_key())
        made = made.serial_number(x509.random_serial_number())
        return made.not_valid_before(until - timedelta(2)).not_valid_after(until)


class Authenticator:
    """One credential for one site.

    Args:
        synced: a passkey that is copied to the holder's other devices.
        count: how often it was used; None for one that does not count.
        maker: who vouches for it, where somebody does.
    """

    def __init__(
        self,
        *,
        ed25519: bool = False,
        synced: bool = False,
        count: int | None = 0,
        maker: Maker | None = None,
    ) -> None:
        self.key: EllipticCurvePrivateKey | Ed25519PrivateKey = (
            Ed25519PrivateKey.generate() if ed25519 else generate_private_key(SECP256R1())
        )
        self.id = os.urandom(32)
        self.flags = PRESENT | VERIFIED | (ELIGIBLE | BACKED_UP if synced else 0)
        self.count = count
        self.maker = maker

    def create(self, options: str, origin: str, **changes: Any) -> dict[str, Any]:
        """Answers ``navigator.credentials.create``.

        Args:
            changes: ``rp_id``, ``flags``, ``fmt``, ``statement``, ``id``, or a member of the client data.
        """
        asked = json.loads(options)
        rp_id = changes.pop("rp_id", asked["rp"]["id"])
        make = bytes(16) if self.maker is None else self.maker.make.bytes
        attested = make + len(self.id).to_bytes(2, "big") + self.id + self.cose()
        data = self._data(rp_id, changes.pop("flags", self.flags | ATTESTED)) + attested
        answered, fmt = changes.pop("id", self.id), changes.pop("fmt", "none")
        said = changes.pop("statement", {})
        client_data = self._client_data("webauthn.create", asked["challenge"], origin, changes)
        if self.maker is not None and asked["attestation"] == "direct":
            fmt, said = "packed", self.maker.vouch(data + hashlib.sha256(client_data).digest())
        statement = {"fmt": fmt, "attStmt": said, "authData": data}
        return self._answer(
            answered,
            clientDataJSON=client_data,
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
