"""What is handed out of the log with its proofs, and its check: exports, reports, statements."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

if TYPE_CHECKING:
    from privguard.audit.trust import Trust


def forms(origin: str, version: str) -> dict[str, Any]:
    """Every form, as this log and this version of privguard write it."""
    from privguard.oversight.export import FORMS, Form, lines
    from privguard.sinks import cef, ocsf

    return {
        **FORMS,
        "ocsf": Form(
            "entries.ocsf.ndjson",
            lines(lambda e: msgspec.json.encode(ocsf.event_of(e.index, e.leaf, origin, version))),
        ),
        "cef": Form("entries.cef", lines(lambda e: cef.line_of(e.index, e.leaf, version).encode())),
    }


def verify_handed(kind: str, place: Path, trust: Trust, *, as_json: bool) -> None:
    """Checks a ``report``, ``export`` or ``statement``, and says so; exits 1 where it is wrong."""
    from privguard.audit.proof import ProofError
    from privguard.audit.trust import TrustError

    try:
        found, text = {"report": _report, "export": _export, "statement": _statement}[kind](place, trust)
    except (ProofError, TrustError) as error:
        if as_json:
            click.echo(msgspec.json.encode({"ok": False, "why": str(error)}))
        else:
            click.echo(f"WRONG: {error}", err=True)
        sys.exit(1)
    click.echo(msgspec.json.encode({"ok": True, **found}) if as_json else text)


Found = tuple[dict[str, object], str]


def _report(file: Path, trust: Trust) -> Found:
    from privguard.audit.report_proof import check_report

    found = check_report(file.read_bytes(), trust)
    text = f"complete: all {found.count} entries of this client among the log's first {found.size}"
    if found.older:
        text += f" that are not sealed; {found.older} more, below index {found.floor}, are in archives"
    said = {"count": found.count, "size": found.size, "token": found.token, "older": found.older}
    return {**said, "floor": found.floor}, text


def _export(folder: Path, trust: Trust) -> Found:
    from privguard.oversight.proved_export import check_export

    accepted, count = check_export(folder, trust, forms)
    size = accepted.checkpoint.size
    text = f"genuine: each of the {count} entries is one of the log's first {size}"
    return {"count": count, "size": size}, text


def _statement(file: Path, trust: Trust) -> Found:
    from privguard.audit.proof import ProofError
    from privguard.audit.statement import check_statement

    found = check_statement(file.read_bytes(), trust)
    beside = file.with_suffix(".pdf")
    if found.pdf and beside.exists() and hashlib.sha256(beside.read_bytes()).hexdigest() != found.pdf:
        raise ProofError(f"{beside} is not the PDF that was issued with it")
    count, made = len(found.statement.seen), found.statement.made
    text = f"genuine: issued {made} with {count} accesses, each of them in the log"
    return {"count": count, "made": made, "pdf": found.pdf}, text
