"""``privguard signing``: the keys that sign the log's checkpoints (L11)."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from privguard.cli.options import FILE, config_option, json_option, say, settings_of
from privguard.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privguard.audit.rotation import Rotation

NEXT = (
    "Next: hand auditors and witnesses what `privguard audit trust` says now; those who have the old trust "
    "file may go on by themselves (`privguard signing follow`)"
)


@click.group()
def signing() -> None:
    """Make, rotate, retire and list the keys that sign the log; go on from old keys to new ones."""


@signing.command()
@config_option
def init(config: Path) -> None:
    """Write the first keys where [audit] signing_keys names a file; never overwrites."""
    from privguard.audit.signing_keys import new_signing_keys
    from privguard.files import write_new
    from privguard.store.engine import Store
    from privguard.store.tree_reader import TreeReader

    settings = settings_of(config)
    file = settings.audit.signing_keys
    if file is None:
        raise ConfigError('Name the file first: signing_keys = "signing.json" below [audit].')
    store = Store(settings.store.url)
    try:
        signed = TreeReader(store).published()
    finally:
        store.close()
    if signed is not None:
        raise ConfigError("The log is signed by other keys: restore their file from its backup.")
    try:
        write_new(file, new_signing_keys(os.urandom), secret=True)
    except FileExistsError:
        raise ConfigError(f"{file} is there already: it is left alone.") from None
    click.echo(f"wrote {file}: back it up now, apart from the log. Next: privguard audit checkpoint")


@signing.command()
@config_option
def rotate(config: Path) -> None:
    """Make new keys, put them on record by the old ones' signatures, and sign with them from now on."""
    from privguard.cli.opening import open_log_keys

    with open_log_keys(settings_of(config)) as custodian:
        last, index = custodian.rotate()
    click.echo(f"the old keys sign up to size {last}, the new ones beyond: entry {index} says so")
    click.echo(NEXT, err=True)


@signing.command()
@config_option
def retire(config: Path) -> None:
    """Destroy the private keys that do not sign any more. Not to be undone."""
    from privguard.cli.opening import open_log_keys

    with open_log_keys(settings_of(config)) as custodian:
        gone = custodian.retire()
    click.echo(f"destroyed: {', '.join(gone)}; what they signed still verifies")


@signing.command("list")
@config_option
@json_option
def list_(config: Path, as_json: bool) -> None:
    """Say every key of the log, the sizes it may sign, and whether its private key is still there."""
    from privguard.audit.checkpoint import MAX_SIZE
    from privguard.signing import trust_of

    for log in trust_of(settings_of(config)).logs:
        last = None if log.last == MAX_SIZE else log.last
        row = {"key": log.key.id.hex(), "origin": log.key.name, "first": log.first, "last": last}
        say(
            as_json,
            row,
            f"  {row['key']}  {log.key.name}  sizes {log.first} to {'-' if last is None else last}",
        )


@signing.command()
@click.argument("leaves", metavar="FILE", type=FILE)
@click.option("--key", required=True, type=FILE, help="Whom you trust: the log's old keys.")
def follow(leaves: Path, key: Path) -> None:
    """Say whom to trust now: keys that those you trust have named, as the log's leaves prove."""
    from privguard.audit.rotation import followed
    from privguard.audit.trust import TrustError, write_trust
    from privguard.cli.proofs import read_trust

    try:
        trust = followed(read_trust(key), _rotations(leaves))
    except TrustError as error:
        raise click.ClickException(f"{leaves}: {error}.") from None
    sys.stdout.write(write_trust(trust))


def _rotations(file: Path) -> Iterator[Rotation]:
    """The rotations among leaves as ``audit search --json`` and a bundle's file ``rotations`` have them."""
    from privguard.audit.record import LeafError, parse
    from privguard.audit.rotation import rotation_of
    from privguard.oversight.bundle import Line

    try:
        lines = [msgspec.json.decode(line, type=Line) for line in file.read_bytes().splitlines()]
        for line in sorted(lines, key=lambda each: each.index):
            rotation = rotation_of(parse(bytes(line.leaf)), line.index)
            if rotation is not None:
                yield rotation
    except (msgspec.DecodeError, UnicodeDecodeError, LeafError, RecursionError):
        raise click.ClickException(f"{file}: these are no leaves of a log.") from None
