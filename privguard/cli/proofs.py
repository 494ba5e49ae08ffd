"""``privguard audit trust|checkpoint|prove|verify``, and the bundle: what strangers hold the log to."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from privguard.cli.options import FILE, FOLDER, config_option, json_option, settings_of
from privguard.errors import ConfigError

if TYPE_CHECKING:
    from privguard.audit.timestamp import Stamps
    from privguard.audit.trust import Accepted, Trust
    from privguard.audit.verify import Verification
    from privguard.config import Settings
    from privguard.oversight.trail import ClientReport
    from privguard.store.tree_reader import Published, TreeReader


@click.command()
@config_option
def trust(config: Path) -> None:
    """Say whom to trust: the log's public keys, its witnesses and their quorum, for an auditor's file."""
    from privguard.audit.trust import write_trust
    from privguard.signing import trust_of

    click.echo(write_trust(trust_of(settings_of(config))), nl=False)


@click.command()
@config_option
def checkpoint(config: Path) -> None:
    """Sign the log as it is now, ask the witnesses, and say the signed checkpoint."""

    published, _ = publish(settings_of(config))
    click.echo(published.note.decode(), nl=False)


@click.command()
@click.argument("index", type=click.IntRange(0))
@config_option
def prove(config: Path, index: int) -> None:
    """Say the proof that an entry is in the log (c2sp.org/tlog-proof@v1), up to a signed checkpoint."""
    from privguard.audit.proof import ProofError, ProofFile, inclusion

    published, tree = publish(settings_of(config), index + 1)
    try:
        path = inclusion(index, published.size, tree.entries)
    except ProofError as error:
        raise click.ClickException(f"{index}: {error}.") from None
    sys.stdout.buffer.write(bytes(ProofFile(index, path, published.note)))


@click.command()
@click.option("--bundle", type=FOLDER, help="A bundle's folder.")
@click.option("--report", type=FILE, help="A proved report.")
@click.option("--export", type=FOLDER, help="An export's folder.")
@click.option("--statement", type=FILE, help="A client's statement.")
@click.option(
    "--key",
    type=FILE,
    help="Whom to trust, as `privguard audit trust` said it to you; needed with all of these.",
)
@click.option(
    "--tsa",
    type=FILE,
    help="PEM file with the certificates whose time stamps you trust; [audit.timestamps] roots by default.",
)
@config_option
@json_option
def verify(
    config: Path,
    bundle: Path | None,
    report: Path | None,
    export: Path | None,
    statement: Path | None,
    key: Path | None,
    tsa: Path | None,
    as_json: bool,
) -> None:
    """Hold the whole log to its signed checkpoint; or, without a database, what was handed out of it."""
    from privguard.oversight.bundle import check_folder

    handed = {"report": report, "export": export, "statement": statement}
    if key is None and (bundle or any(handed.values())):
        raise click.UsageError("This needs --key: trust does not come from what is to be checked.")
    for kind, place in handed.items():
        if place and key:
            from privguard.cli.handed import verify_handed

            verify_handed(kind, place, read_trust(key), as_json=as_json)
            return
    if bundle and key:
        trusted = read_trust(key)
        with _told():
            accepted, found, seal = check_folder(bundle, trusted)
        stamps = _bundle_stamps(bundle, accepted, trusted, tsa)
    else:
        accepted, found, stamps = _verify_log(config, key, tsa)
        seal = None
    where = "" if found.first_bad is None else f" at entry {found.first_bad}"
    if as_json:
        said = {"ok": found.ok, "kind": found.kind, "first_bad": found.first_bad, "size": found.size}
        said |= {} if seal is None else {"archive_of": [seal.start, seal.stop]}
        said |= {} if stamps is None else {"timestamps": msgspec.to_builtins(stamps)}
        click.echo(
            msgspec.json.encode({**said, "checkpoint": accepted.checkpoint.size, "root": found.root.hex()})
        )
    elif found.ok:
        signed = f"signed with {len(accepted.signed)} keys, seen by {len(accepted.witnesses)} witnesses"
        what = (
            f"{found.size} entries" if seal is None else f"archive of entries {seal.start} to {seal.stop - 1}"
        )
        click.echo(
            f"whole: {what}; checkpoint at {accepted.checkpoint.size}, {signed}{_stamped_words(stamps)}"
        )
    else:
        click.echo(f"WRONG: {found.kind}{where}", err=True)
    sys.exit(0 if found.ok else 1)


def write_bundle(settings: Settings, folder: Path) -> int:
    """Writes the log, as far as it is signed, into a folder; gives the number of entries."""
    from privguard.audit.rotation import ROTATED
    from privguard.audit.trust import write_trust
    from privguard.bootstrap import open_reader
    from privguard.oversight import bundle
    from privguard.oversight.export import new_folder
    from privguard.oversight.retention import begin_of
    from privguard.signing import trust_of
    from privguard.store.engine import Store
    from privguard.store.log_reader import LogReader
    from privguard.store.retention import Retention

    published, tree = publish(settings)
    store, size = Store(settings.store.url), published.size
    begin, floor = begin_of(store, tree, size), Retention(store).floor()
    leaves = (leaf for _, leaf in open_reader(settings).entries(floor, size - floor))
    note, trusted = published.note, write_trust(trust_of(settings))
    rotations = LogReader(store).of_action(ROTATED)
    with new_folder(folder) as place:
        bundle.write_bundle(place, note, trusted, size, leaves, tree.entries, floor, begin, rotations)
        if settings.audit.timestamps is not None:
            from privguard.oversight.timestamps import stamped_of

            bundle.write_lines(place / bundle.TIMESTAMPS, stamped_of(tree, size))
    return size - floor


def write_proof(config: Path, file: Path, report: ClientReport) -> None:
    """Writes a report with the proof that it is complete; map and log are committed and signed for it."""
    from privguard.bootstrap import open_log, open_reader, read_keys
    from privguard.files import write_new
    from privguard.machine import SystemClock, SystemEntropy
    from privguard.oversight.completeness import commit_map, prove_report
    from privguard.oversight.trail import entry_of
    from privguard.store.engine import Store
    from privguard.store.map_keeper import MapKeeper
    from privguard.store.retention import Retention

    settings = settings_of(config)
    store = Store(settings.store.url)
    keeper, log = MapKeeper(store), open_log(settings, read_keys(settings))
    try:
        deadline_s = settings.audit.deadline_ms / 1000
        state, receipt = commit_map(keeper, log, SystemClock(), SystemEntropy(), deadline_s, always=True)
    finally:
        log.close()
    if receipt is None:
        raise click.ClickException("The map could not be put on record.")
    published, tree = publish(settings, receipt.index + 1)
    [commitment] = map(entry_of, open_reader(settings).entries(receipt.index, 1))
    said = Retention(store).said()
    proof = prove_report(
        report.token, report.entries, state, commitment, published, keeper, tree, said and said[0]
    )
    try:
        write_new(file, msgspec.json.encode(proof), secret=True)
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}. Name a new file.") from None
    click.echo(
        f"{len(proof.entries)} entries and their proof are in {file}; who has what `privguard audit trust` "
        f"says checks it: privguard audit verify --report {file} --key TRUST"
    )


def publish(settings: Settings, size: int = 1) -> tuple[Published, TreeReader]:
    """The checkpoint that may be shown, of this size or more, and the tree."""
    from privguard.signing import UNSIGNED, open_publisher
    from privguard.store.engine import Store
    from privguard.store.tree_reader import TreeReader

    publisher = open_publisher(settings)
    if publisher is None:
        raise ConfigError(UNSIGNED)
    published = publisher.publish(int(time.time()))
    missing = "; ".join(f"{name} {why}" for name, why in publisher.complaints.items())
    if published is None:
        why = f"too few witnesses: {missing}" if missing else "the log is empty"
        raise click.ClickException(f"There is no checkpoint to show: {why}.")
    if published.size < size:
        raise click.ClickException(
            f"The last checkpoint that may be shown is of {published.size} entries. {missing}".rstrip()
        )
    return published, TreeReader(Store(settings.store.url))


def read_trust(file: Path) -> Trust:
    """Whom a file says to trust. Raises ConfigError."""
    from privguard.audit.trust import TrustError, parse_trust

    try:
        return parse_trust(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
    except (TrustError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: {error}") from None


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Says what does not hold, instead of where that was found."""
    from privguard.audit.proof import ProofError
    from privguard.audit.trust import TrustError

    try:
        yield
    except TrustError as error:
        raise click.ClickException(f"The checkpoint is not to be trusted: {error}.") from None
    except ProofError as error:
        raise click.ClickException(f"WRONG: {error}.") from None


def _bundle_stamps(folder: Path, accepted: Accepted, trust: Trust, tsa: Path | None) -> Stamps | None:
    """What the time stamps of a bundle say to who trusts an authority; None to who trusts none."""
    from privguard.oversight.bundle import TIMESTAMPS, read_file
    from privguard.signing import stamp_authority

    lines = read_file(folder, TIMESTAMPS) or b""
    if tsa is None:
        if lines:
            click.echo("The bundle has time stamps, which are not checked: name --tsa.", err=True)
        return None
    authority = stamp_authority(tsa)
    from privguard.audit.timestamp import StampError, check_stamps, read_stamped

    try:
        return check_stamps(read_stamped(lines), accepted, trust, authority)
    except StampError as error:
        raise click.ClickException(f"WRONG: {error}.") from None


def _log_stamps(
    settings: Settings, tree: TreeReader, accepted: Accepted, trust: Trust, tsa: Path | None
) -> Stamps | None:
    """What the time stamps in the database say, by the configuration's authority where none is named."""
    from privguard.signing import stamp_authority

    roots = settings.audit.timestamps.roots if tsa is None and settings.audit.timestamps is not None else tsa
    if roots is None:
        return None
    authority = stamp_authority(roots)
    from privguard.audit.timestamp import StampError, check_stamps
    from privguard.oversight.timestamps import stamped_of

    try:
        stamped = stamped_of(tree, accepted.checkpoint.size)
        return check_stamps(stamped, accepted, trust, authority)
    except StampError as error:
        raise click.ClickException(f"WRONG: {error}.") from None


def _stamped_words(stamps: Stamps | None) -> str:
    if stamps is None:
        return ""
    if stamps.at is None:
        return "; no time stamps"
    return f"; {stamps.count} time stamps, by the last {stamps.size} entries were there at {stamps.at:%FT%TZ}"


def _verify_log(
    config: Path, key: Path | None, tsa: Path | None
) -> tuple[Accepted, Verification, Stamps | None]:
    """The log in the database: to the last checkpoint that may be shown, and on to its end."""
    from privguard.audit.verify import Pin
    from privguard.oversight.verification import verify_store
    from privguard.signing import trust_of
    from privguard.store.engine import Store
    from privguard.store.tree_reader import TreeReader

    settings = settings_of(config)
    trusted = trust_of(settings) if key is None else read_trust(key)
    tree = TreeReader(Store(settings.store.url))
    published = tree.published()
    if published is None:
        raise click.ClickException("No checkpoint was published yet: `privguard audit checkpoint`.")
    with _told():
        accepted = trusted.accept(published.note)
    signed, (size, root) = accepted.checkpoint, tree.head()
    # every row is what was hashed: if the root is not the signed one, another log was signed
    pins = [Pin(signed.size, signed.root, "forked"), Pin(size, root)]
    stamps = _log_stamps(settings, tree, accepted, trusted, tsa)
    return accepted, verify_store(settings.store.url, size, pins), stamps
