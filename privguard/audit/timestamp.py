"""Time stamps of checkpoints (RFC 3161): an authority says that a signed note was there at a time.

Stamped is the note with the log's signatures, without cosignatures, which come later: so a stamp also says
that the log's keys had signed it by then, which outlives the keys (L11). Kept is the authority's whole
answer: ``openssl ts -verify -in ANSWER -data NOTE`` checks it as well. Needs the extra ``timestamps``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

import msgspec
from cryptography.x509 import load_pem_x509_certificates
from msgspec import Struct
from rfc3161_client import (
    HashAlgorithm,
    TimestampRequestBuilder,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)

from privguard.audit.checkpoint import CheckpointError, parse_text
from privguard.audit.note import NoteError, parse_note
from privguard.audit.proof import ProofError, check_consistency, hashes
from privguard.audit.trust import Accepted, Trust, TrustError

MAX_ANSWER: Final = 64_000
"""Bytes; with a chain of certificates an answer has 3,000 to 9,000."""


class StampError(ValueError):
    """A time stamp that does not hold; says why."""


class Stamped(Struct, frozen=True, forbid_unknown_fields=True):
    """A stamped checkpoint, as a bundle's file ``timestamps`` has it, one a line.

    Attributes:
        note: the checkpoint with the log's signatures.
        answer: the authority's, base64.
        proof: that a later checkpoint's tree goes on from this one's.
    """

    note: str
    answer: bytes
    proof: tuple[str, ...]


class Stamps(Struct, frozen=True):
    """What was found: how many, and of the last its size and time."""

    count: int = 0
    size: int = 0
    at: datetime | None = None


class StampAuthority:
    """Whose time stamps are trusted.

    Args:
        roots: PEM certificates that lead to the authority's.

    Raises:
        StampError: there is none.
    """

    def __init__(self, roots: bytes) -> None:
        try:
            certificates = load_pem_x509_certificates(roots)
        except ValueError:
            raise StampError("these are no PEM certificates") from None
        self._verifier = VerifierBuilder(roots=certificates).build()

    def check(self, answer: bytes, note: bytes) -> datetime:
        """The time that an answer says of a note; certificates must hold then, not now.

        Raises:
            StampError: it is none, of something else, or by nobody who is trusted.
        """
        if len(answer) > MAX_ANSWER:
            raise StampError("the answer is too long")
        try:
            response = decode_timestamp_response(answer)
            if response.tst_info.message_imprint.hash_algorithm.dotted_string != _SHA256:
                raise StampError("it is not of a SHA-256")
            self._verifier.verify_message(response, note)
            return response.tst_info.gen_time.astimezone(UTC)
        except (VerificationError, ValueError, TypeError, RuntimeError) as error:
            raise StampError(_why(str(error))) from None


def request_of(note: bytes) -> bytes:
    """What the authority is asked. No nonce: an older answer for the same note says something true of it."""
    builder = TimestampRequestBuilder(note, HashAlgorithm.SHA256, nonce=False, cert_req=True)
    return builder.build().as_bytes()


def check_stamps(
    stamped: Iterable[Stamped], accepted: Accepted, trust: Trust, authority: StampAuthority
) -> Stamps:
    """Checks stamped checkpoints against one that is trusted: stamp, signatures, and that its tree goes on.

    Raises:
        StampError: one does not hold; names its size.
    """
    count, size, at = 0, 0, None
    for each in stamped:
        size, at = _check(each, accepted, trust, authority)
        count += 1
    return Stamps(count, size, at)


def read_stamped(lines: bytes) -> Iterable[Stamped]:
    """The lines of a bundle's file. Raises StampError."""
    try:
        return [msgspec.json.decode(line, type=Stamped) for line in lines.splitlines()]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise StampError("the file of time stamps is none") from None


def _check(
    each: Stamped, accepted: Accepted, trust: Trust, authority: StampAuthority
) -> tuple[int, datetime]:
    where = "of a checkpoint"
    try:
        note = parse_note(each.note.encode())
        checkpoint = parse_text(note.text)
        where = f"of the checkpoint at {checkpoint.size}"
        at = authority.check(each.answer, each.note.encode())
        trust.signed(note, checkpoint)
        check_consistency(
            checkpoint.size,
            accepted.checkpoint.size,
            hashes(each.proof),
            checkpoint.root,
            accepted.checkpoint.root,
        )
    except (NoteError, CheckpointError, StampError, TrustError, ProofError) as error:
        raise StampError(f"the time stamp {where}: {error}") from None
    return checkpoint.size, at


def _why(said: str) -> str:
    """What the library and OpenSSL say, in words: they tell nothing of a note."""
    if (found := re.search('Verify error: ([^"]+)', said)) is not None:
        return found[1]
    if "PKCS7" in said:
        return "its signature does not hold"
    if "ASN.1" in said:
        return "it is none"
    return said


_SHA256: Final = "2.16.840.1.101.3.4.2.1"
