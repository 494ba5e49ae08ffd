"""What signs the log, by the settings: keys, witnesses and time stamps; and whom an auditor is to trust."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from privguard.audit.checkpoint import Checkpoint
from privguard.audit.note import Key, NoteError, parse_key
from privguard.audit.signing_keys import LogKeys, log_keys_of
from privguard.audit.trust import NONE, Group, Trust, Witness
from privguard.config import Settings
from privguard.errors import ConfigError
from privguard.keystore.keyset_file import read_secret
from privguard.machine import SystemClock
from privguard.store.engine import Store
from privguard.store.publisher import Publisher, signed_last
from privguard.store.signer_state import SignerState
from privguard.store.tree_reader import TreeReader
from privguard.witness.client import HttpCosigner

if TYPE_CHECKING:
    from privguard.audit.timestamp import StampAuthority
    from privguard.oversight.timestamps import Timestamping

UNSIGNED: Final = "The log is unsigned: name [audit] signing_keys (`privguard init` writes them)."


def open_publisher(settings: Settings) -> Publisher | None:
    """What signs the log's checkpoints; None where there are no keys for it.

    Raises:
        ConfigError: the keys or a witness's key cannot be read.
    """
    if log_keys(settings) is None:
        return None
    audit = settings.audit

    def keys() -> LogKeys:
        """Read at each signature: they rotate while it serves."""
        found = log_keys(settings)
        if found is None:
            raise ConfigError(UNSIGNED)
        return found

    return Publisher(
        TreeReader(Store(settings.store.url)),
        signer_state(settings),
        keys,
        witnesses=[HttpCosigner(witness.url, _witness_key(witness.key)) for witness in audit.witnesses],
        quorum=_quorum(settings),
    )


def stamp_authority(roots: Path) -> StampAuthority:
    """Whose time stamps are trusted.

    Args:
        roots: PEM file of certificates.

    Raises:
        ConfigError: it is none, or the extra is missing.
    """
    try:
        from privguard.audit.timestamp import StampAuthority, StampError  # an extra
    except ModuleNotFoundError:
        raise ConfigError("Time stamps need an extra: `pip install 'privguard[timestamps]'`.") from None
    try:
        return StampAuthority(roots.read_bytes())
    except OSError as error:
        raise ConfigError(f"{roots}: {error.strerror}: name the authority's root certificates.") from None
    except StampError as error:
        raise ConfigError(f"{roots}: {error}: name the authority's root certificates.") from None


def open_timestamping(settings: Settings) -> Timestamping | None:
    """What has checkpoints stamped; None where nobody is named. Raises ConfigError."""
    stamps = settings.audit.timestamps
    if stamps is None:
        return None
    authority = stamp_authority(stamps.roots)
    from privguard.oversight.timestamps import Timestamping
    from privguard.sinks.timestamp import HttpTimestamps

    tree = TreeReader(Store(settings.store.url))
    ask = HttpTimestamps(stamps.url).ask
    return Timestamping(tree, ask, authority, SystemClock(), stamps.interval_s)


def log_keys(settings: Settings, epoch: int | None = None) -> LogKeys | None:
    """What signs for the log in an epoch, now where none is named; None where it is unsigned.

    Raises:
        ConfigError: the keys cannot be read, or there is no log.
    """
    audit = settings.audit
    if audit.signing_keys is None:
        return None
    epoch = epoch_of(settings) if epoch is None else epoch
    return log_keys_of(read_secret(audit.signing_keys), audit.origin, epoch)


def signer_state(settings: Settings) -> SignerState:
    """What was signed last in the log's epoch; the states of epochs before stay where they are."""
    epoch, file = epoch_of(settings), settings.audit.signer_state
    return SignerState(file if epoch == 0 else file.with_name(f"{file.name}.epoch{epoch}"))


def signed_checkpoint(settings: Settings) -> Checkpoint | None:
    """What was signed last of the log; None if nothing was, or nothing signs.

    Raises:
        ConfigError: the keys cannot be read.
        AuditUnavailableError: others signed it.
    """
    last = signer_state(settings).read()  # before the keys: newer ones know older states
    keys = log_keys(settings)
    return None if keys is None else signed_last(last, keys.trust)


def epoch_of(settings: Settings) -> int:
    return TreeReader(Store(settings.store.url)).epoch()


def operators(settings: Settings) -> tuple[Key, ...]:
    """Who may sign a recovery. Raises ConfigError."""
    return tuple(_public_key(text, "[audit] operators") for text in settings.audit.operators)


def trust_of(settings: Settings) -> Trust:
    """Whom an auditor is to trust: the log's keys, and the witnesses with their quorum.

    Raises:
        ConfigError: the log is unsigned, or a key cannot be read.
    """
    epochs = range(epoch_of(settings) + 1)  # older checkpoints and proofs hold for ever
    keys = [found for epoch in epochs if (found := log_keys(settings, epoch)) is not None]
    if not keys:
        raise ConfigError(UNSIGNED)
    witnesses = {
        f"w{number}": Witness(_witness_key(witness.key), witness.url)
        for number, witness in enumerate(settings.audit.witnesses, 1)
    }
    quorum = _quorum(settings)
    groups = {"witnesses": Group(quorum, tuple(witnesses))} if quorum else {}
    return Trust(
        tuple(term for each in keys for term in each.terms), witnesses, groups, next(iter(groups), NONE)
    )


def _quorum(settings: Settings) -> int:
    audit = settings.audit
    quorum = len(audit.witnesses) if audit.witness_quorum is None else audit.witness_quorum
    if quorum > len(audit.witnesses):
        raise ConfigError("[audit] witness_quorum is larger than the number of witnesses.")
    return quorum


def _witness_key(text: str) -> Key:
    return _public_key(text, "[[audit.witnesses]] key")


def _public_key(text: str, where: str) -> Key:
    try:
        return parse_key(text)
    except NoteError as error:
        raise ConfigError(f"{where}: {error} (`witness keys` or `audit operator` says it).") from None
