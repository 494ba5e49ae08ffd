"""``privguard audit recover|sign``: what becomes of a log that lost what was signed (L06)."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from privguard.cli.options import config_option, system_account

if TYPE_CHECKING:
    from privguard.audit.checkpoint import Checkpoint
    from privguard.audit.note import Signer
    from privguard.config import Settings

_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option("--reason", help="Why the log is not what was signed; one line.")
@click.option("--signed", type=_file, help="The statement with the signatures of two operators.")
@config_option
def recover(config: Path, reason: str | None, signed: Path | None) -> None:
    """Say the statement that operators are to sign (--reason), or begin the new epoch with it (--signed)."""
    from privguard.audit.epoch import approved, statement_of
    from privguard.audit.note import NoteError, parse_note
    from privguard.bootstrap import SystemClock, keeping, operators
    from privguard.config import load_settings
    from privguard.model import AccessEvent, EpochBegun, Outcome

    if (reason is None) == (signed is None):
        raise click.UsageError("Name --reason, or --signed.")
    settings = load_settings(config)
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


_name = click.option("--name", required=True, help="The operator's name, a URL without its scheme.")
_keys = click.option(
    "--keys",
    "keys_file",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Their key file.",
)


@click.command()
@_name
@_keys
def operator(name: str, keys_file: Path) -> None:
    """Say an operator's public key, for [audit] operators; made first, if the key file is not there."""
    from privguard.audit.signing_keys import new_signing_keys
    from privguard.cli.init import write_new

    if not keys_file.exists():
        write_new(keys_file, new_signing_keys(os.urandom), secret=True)
    click.echo(str(_signer(name, keys_file).key))


@click.command()
@click.argument("statement", type=_file)
@_name
@_keys
def sign(statement: Path, name: str, keys_file: Path) -> None:
    """Say a statement, or one that others signed, with an operator's signature."""
    from privguard.audit.note import Note, NoteError, parse_note

    data = statement.read_bytes()
    try:
        note = parse_note(data) if "\n\n— ".encode() in data else Note(data.decode(), ())
    except (NoteError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{statement}: {error}.") from None
    made = _signer(name, keys_file).sign(note.text, int(time.time()))
    click.echo(str(Note(note.text, (*note.signatures, made))), nl=False)


def _signer(name: str, keys_file: Path) -> Signer:
    from privguard.audit.signing_keys import signers_of
    from privguard.keystore.keyset_file import read_secret

    return signers_of(read_secret(keys_file), name)[0]


def _lost(settings: Settings) -> tuple[Checkpoint, int, int, bytes]:
    """What was signed and is lost, the epoch that would begin, and the log as it stands."""
    from privguard.bootstrap import signed_checkpoint
    from privguard.errors import AuditUnavailableError
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
