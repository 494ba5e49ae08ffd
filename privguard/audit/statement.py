"""What a client is handed of who saw their data, and the check of it (docs/reference/statement.md).

A statement shows an access by what of it concerns this client, and by the hash of its leaf. Never by the
leaf: that numbers the client's entries and names the one before, so a gap would tell of an embargo.

1. the file is written in the one form, so that two parsers cannot read two things in it;
2. its checkpoint is one that is trusted;
3. a leaf of its tree says that this statement was issued: so it is signed by who signs the log;
4. each access that it shows is an entry before that one, with the hash that it shows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from privguard.audit.proof import ProofError, check_inclusion, hashes, unbase64
from privguard.audit.report_proof import MAX_REPORT, Proved, checked_leaf
from privguard.audit.trust import Accepted, Trust

VERSION: Final = 1
ISSUED: Final = "oversight:statement:issue"
"""The action of the leaf that says so; its ``about`` holds the digests."""
DIGEST: Final = "statement"
PDF: Final = "pdf"


class Seen(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An access by which data of the client left.

    Attributes:
        actor: who, where the policy lets a client learn it.
        at: log time, ISO 8601, UTC, to the second.
        fields: path to ``clear | masked | token``.
        leaf: the leaf's hash, base64.
        unmasked: the gateway was only observing: the record left as the CRM gave it.
    """

    action: str
    at: str
    fields: Mapping[str, str]
    index: int
    leaf: str
    purpose: str
    relations: Sequence[str]
    roles: Sequence[str]
    actor: str = ""
    unmasked: bool = False


class Statement(Struct, frozen=True, forbid_unknown_fields=True):
    """What the client reads.

    Attributes:
        client, kind: as the CRM and the policy name them.
        made: when, ISO 8601, UTC.
        names: what a client reads instead of a name, by language.
        notice: what holds of every statement, by language.
        seen: newest first.
    """

    client: str
    kind: str
    made: str
    names: Mapping[str, Mapping[str, str]]
    notice: Mapping[str, str]
    origin: str
    seen: Sequence[Seen]
    v: int


class ProvedStatement(Struct, frozen=True, forbid_unknown_fields=True):
    """The file: a statement with what proves it.

    Attributes:
        issue: the leaf that says that it was issued.
        paths: inclusion proof of each access, in the statement's order; hashes are base64.
    """

    statement: Statement
    checkpoint: str
    issue: Proved
    paths: Sequence[Sequence[str]]
    v: int


class Issued(Struct, frozen=True):
    """A statement that was found genuine; ``pdf`` is the digest of the PDF issued with it, or empty."""

    accepted: Accepted
    statement: Statement
    pdf: str


def digest(statement: Statement) -> str:
    """SHA-256 in hex of the statement as JSON with sorted keys and no spaces."""
    return hashlib.sha256(msgspec.json.encode(statement, order="sorted")).hexdigest()


def write(proved: ProvedStatement) -> bytes:
    """The file's bytes."""
    return msgspec.json.format(msgspec.json.encode(proved, order="sorted"), indent=2) + b"\n"


def check_statement(data: bytes, trust: Trust) -> Issued:
    """Checks a statement.

    Raises:
        ProofError: it is none, or was not issued so, or shows what is not in the log.
        TrustError: its checkpoint is not trusted.
    """
    try:
        file = msgspec.json.decode(data, type=ProvedStatement)
        same = write(file) == data  # 1
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise ProofError("not a statement") from None
    statement = file.statement
    if not same or file.v != VERSION or statement.v != VERSION or len(data) > MAX_REPORT:
        raise ProofError("a statement of another version or form, or too long")
    accepted = trust.accept(file.checkpoint.encode())  # 2
    issue = checked_leaf(file.issue, accepted)  # 3
    if issue.action != ISSUED or issue.about.get(DIGEST) != digest(statement):
        raise ProofError("the log does not say that this statement was issued")
    if len(file.paths) != len(statement.seen):
        raise ProofError("an access without its proof")
    before = file.issue.index
    for seen, path in zip(statement.seen, file.paths, strict=True):  # 4
        if seen.index >= before:
            raise ProofError("the accesses are not in their order")
        checkpoint = accepted.checkpoint
        check_inclusion(seen.index, checkpoint.size, unbase64(seen.leaf), hashes(path), checkpoint.root)
        before = seen.index
    return Issued(accepted, statement, issue.about.get(PDF, ""))
