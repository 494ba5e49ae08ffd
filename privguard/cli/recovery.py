"""``privguard audit recover|sign``: what becomes of a log that lost what was signed (L06)."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from privguard.cli.options import FILE, config_option, settings_of, signer_options, signers
from privguard.errors import AuditUnavailableError
from privguard.machine import system_account
from privguard.model import AccessEvent, EpochBegun, Outcome

if TYPE_CHECKING:
    from privguard.audit.checkpoint import Checkpoint
    from privguard.config import Settings

_operator = signer_options("operator", "Their key file.")


@click.command()
@click.option("--reason", help="Why the log is not what was signed; one line.")
@click.option("--signed", type=FILE, help="The statement with the signatures of two operators.")
@config_option
def recover(config: Path, reason: str | None, signed: Path | None) -> None:
    """Say the statement that operators are to sign (--reason), or begin the new epoch with it (--signed)."""
    from privguard.audit.epoch import approved, statement_of
    from privguard.audit.note import NoteError, parse_note
    from privguard.cli.opening import keeping
    from privguard.machine import SystemClock
    from privguard.signing import operators

    if (reason is None) == (signed is None):
        raise click.UsageError("Name --reason, or --signed.")
    settings = settings_of(config)
    lost, epoch, size, root = _lost(settings)
    try:
        if signed is None:
            click.echo(statement_of(settings.audit.origin, epoch, lost, size, root, reason or ""), nl=False)
            return
        data = signed.read_bytes()
        why = parse_note(data).text.rstrip("\n").rpartition("\n")[2]
        note = approved(
            data, statement_of(settings.audit.origin, epoch, lost, size, root, why), operators(settings)
        )
    except NoteError as error:
        raise click.ClickException(f"{error}.") from None
    event = AccessEvent(
        event_id=os.urandom(16).hex(),
        at_us=SystemClock().now_us(),
        action="privguard:epoch:begin",
        outcome=Outcome.PERMITTED,
        actor=system_account(),
        epoch=EpochBegun(epoch, str(note)),
    )
    with keeping(settings) as custody:
        receipt = custody.begin_epoch(event, size)
    click.echo(f"epoch {epoch} begins with entry {receipt.index}")
    click.echo("hand auditors and witnesses what `privguard audit trust` says now", err=True)


@click.command()
@_operator
def operator(name: str, keys_file: Path) -> None:
    """Say an operator's public key, for [audit] operators; made first, if the key file is not there."""
    click.echo(str(signers(name, keys_file, new=True)[0].key))


@click.command()
@click.argument("statement", type=FILE)
@_operator
def sign(statement: Path, name: str, keys_file: Path) -> None:
    """Say a statement, or one that others signed, with an operator's signature."""
    from privguard.audit.note import Note, NoteError, parse_note

    data = statement.read_bytes()
    try:
        note = parse_note(data) if "\n\n— ".encode() in data else Note(data.decode(), ())
    except (NoteError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{statement}: {error}.") from None
    made = signers(name, keys_file)[0].sign(note.text, int(time.time()))
    click.echo(str(Note(note.text, (*note.signatures, made))), nl=False)


def _lost(settings: Settings) -> tuple[Checkpoint, int, int, bytes]:
    """What was signed and is lost, the epoch that would begin, and the log as it stands."""
    from privguard.signing import signed_checkpoint
    from privguard.store.engine import Store
    from privguard.store.publisher import check_signed
    from privguard.store.tree_reader import TreeReader

    tree = TreeReader(Store(settings.store.url))
    size, root = tree.head()
    signed = signed_checkpoint(settings)
    if signed is None:
        raise click.ClickException("Nothing was signed of this log, so nothing of it is lost.")
    try:
        check_signed(tree, signed, size, root)
    except AuditUnavailableError:
        return signed, tree.epoch() + 1, size, root
    raise click.ClickException("The log goes on from what was signed last: there is nothing to recover from.")
