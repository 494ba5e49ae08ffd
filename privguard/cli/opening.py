"""Opens what a command works with, for whoever runs it; the log is checked first. Raises as ``open_log``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from privguard.audit.epoch import origin_of
from privguard.bootstrap import (
    Authority,
    core_of,
    keyset_file,
    open_alarms,
    open_log,
    read_keys,
    wire_authority,
)
from privguard.config import Settings
from privguard.errors import ConfigError
from privguard.machine import SystemClock, SystemEntropy, system_account
from privguard.model import Principal
from privguard.oversight.completeness import commit_map
from privguard.oversight.custodian import Custodian
from privguard.oversight.key_custodian import KeyCustodian
from privguard.oversight.log_keys import LogKeyCustodian, SigningKeysFile
from privguard.oversight.registrar import Registrar
from privguard.oversight.retention import Pruner
from privguard.signing import UNSIGNED, epoch_of, signer_state, trust_of
from privguard.store.custody import Custody
from privguard.store.directory import SqlDirectory
from privguard.store.engine import Store
from privguard.store.grants import Grants
from privguard.store.ledger import Ledger
from privguard.store.map_keeper import MapKeeper
from privguard.store.subjects import SubjectKeys
from privguard.store.tree_reader import TreeReader
from privguard.store.wrapped import WrappedKeys


@contextlib.contextmanager
def open_authority(settings: Settings) -> Iterator[tuple[Authority, Principal]]:
    """Who issues grants, for somebody at the command line, and that somebody. Raises as ``open_log``."""
    keys = read_keys(settings)
    log = open_log(settings, keys)
    core = core_of(settings, log, keys)
    core.alerts = alarms = open_alarms(settings)
    if settings.directory.required:
        core.directory = SqlDirectory(Store(settings.store.url), keys, SystemEntropy())
    try:
        yield wire_authority(settings, core, keys), Principal(system_account())
        alarms.deliver()
    finally:
        log.close()


@contextlib.contextmanager
def keeping(settings: Settings) -> Iterator[Custody]:
    """What changes the log's state in one transaction with an entry; the log is not checked."""
    keys, entropy = read_keys(settings), SystemEntropy()
    store = Store(settings.store.url)
    try:
        ledger = Ledger(store, keys, entropy, origin_of(settings.audit.origin, epoch_of(settings)))
        yield Custody(store, ledger, SubjectKeys(keys, entropy), Grants(store, keys, entropy))
    finally:
        store.close()


@contextlib.contextmanager
def _checked(settings: Settings) -> Iterator[Custody]:
    """The same of a log that was checked. Raises as ``open_log``."""
    open_log(settings, read_keys(settings)).close()
    with keeping(settings) as custody:
        yield custody


@contextlib.contextmanager
def open_custody(settings: Settings) -> Iterator[Custodian]:
    """Holds and erasures for somebody at the command line. Raises as ``open_log``."""
    with _checked(settings) as custody:
        yield Custodian(custody, SystemClock(), SystemEntropy(), who=system_account())


@contextlib.contextmanager
def open_pruner(settings: Settings) -> Iterator[Pruner]:
    """The retention of the log, whose map is on record as it is now. Raises as ``open_log``."""
    clock, entropy = SystemClock(), SystemEntropy()
    log = open_log(settings, read_keys(settings))
    try:
        trust = trust_of(settings)
        with keeping(settings) as custody:
            commit_map(MapKeeper(custody.store), log, clock, entropy, settings.audit.deadline_ms / 1000)
            yield Pruner(custody.store, custody, trust, clock, entropy, system_account())
    finally:
        log.close()


@contextlib.contextmanager
def open_log_keys(settings: Settings) -> Iterator[LogKeyCustodian]:
    """The keys that sign the log for somebody at the command line. Raises as ``open_log``."""
    if settings.audit.signing_keys is None:
        raise ConfigError(UNSIGNED)
    with _checked(settings) as custody:
        yield LogKeyCustodian(
            custody,
            SigningKeysFile(settings.audit.signing_keys, settings.audit.origin, epoch_of(settings)),
            signer_state(settings),
            TreeReader(custody.store),
            SystemClock(),
            SystemEntropy(),
            who=system_account(),
        )


@contextlib.contextmanager
def open_registrar(settings: Settings) -> Iterator[tuple[Registrar, SqlDirectory]]:
    """The staff directory for somebody at the command line. Raises as ``open_log``."""
    with _checked(settings) as custody:
        directory = SqlDirectory(custody.store, read_keys(settings), SystemEntropy())
        yield Registrar(custody, directory, SystemClock(), SystemEntropy(), who=system_account()), directory


@contextlib.contextmanager
def open_keys(settings: Settings) -> Iterator[tuple[KeyCustodian, WrappedKeys]]:
    """The wrapping keys for somebody at the command line. Raises as ``open_log``."""
    keyset = keyset_file(settings)
    with _checked(settings) as custody:
        wrapped = WrappedKeys(custody.store, keyset.open(), SystemEntropy())
        yield (
            KeyCustodian(custody, keyset, wrapped, SystemClock(), SystemEntropy(), who=system_account()),
            wrapped,
        )
