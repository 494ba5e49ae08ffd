"""The composition root: the one place where settings become a guard with its ports."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificates
from msgspec import Struct
from msgspec.structs import replace

from privguard.asgi.admission import StaffIdentity
from privguard.asgi.credentials import identity_provider
from privguard.asgi.zones import Zones, networks
from privguard.audit.epoch import origin_of
from privguard.authority.enrolment import Enrolment
from privguard.authority.granting import Granting
from privguard.authority.journal import Journal
from privguard.authority.proving import Prover, Site
from privguard.authority.requesting import EXCUSE, RESET, Requesting
from privguard.config import AttestationSettings, Settings, load_settings
from privguard.crypto.keyring import FileProvider, Keyring
from privguard.crypto.pseudonym import FieldTokens
from privguard.errors import AuditUnavailableError, ConfigError, NotOnRecordError, PolicyError, PrivguardError
from privguard.files import Mark, mark_of
from privguard.guard import LATE, Door, Guard, GuardCore, Limits
from privguard.keystore.keyset_file import KeysetFile, read_secret
from privguard.machine import SystemClock, SystemEntropy
from privguard.masking import MaskTools
from privguard.model import AccessEvent, AuditReceipt
from privguard.oversight.alarms import Alarms
from privguard.oversight.following import Follower, SharedWatch
from privguard.oversight.nightly import Nightly, Told
from privguard.oversight.trail import Trail
from privguard.policy import Policy, compile_policy, load
from privguard.ports import Directory
from privguard.signing import epoch_of, signed_checkpoint
from privguard.sinks.send import open_alert_senders, open_sender
from privguard.stepup.assurance import PROFILES
from privguard.stepup.factor import Makers
from privguard.store.audit_log import SqlAuditLog
from privguard.store.budgets import SqlBudgets
from privguard.store.directory import SqlDirectory
from privguard.store.engine import Store
from privguard.store.factors import Factors
from privguard.store.grants import Grants
from privguard.store.log_reader import LogReader
from privguard.store.lookups import SqlLookups
from privguard.store.publisher import check_signed
from privguard.store.subjects import SubjectKeys
from privguard.store.trail_reader import TrailReader
from privguard.store.tree_reader import TreeReader
from privguard.store.wrapped import WrappedKeys
from privguard.telemetry import Chore, logger

_DAY_US: Final = 86_400_000_000

UPKEEP_S: Final = 1.0
SAID_S: Final = 10.0
"""How often a process says which keys it knows; after a minute of silence it counts as ended."""


class PolicyFile:
    """The policy file of a running guard: a change is put in force, a file that vanishes withdraws it.

    A changed file that is not valid leaves the last valid version in force and says so in the log of the
    process: the trail names the version that judged each access.
    """

    def __init__(self, path: Path, core: GuardCore) -> None:
        self._path = path
        self._core = core
        self._seen: Mark | None = None
        self._entries: list[tuple[AccessEvent, Future[AuditReceipt]]] = []

    def start(self) -> None:
        """Puts the policy in force.

        Raises:
            PolicyError: it is not valid.
            ConfigError: there is none.
            AuditUnavailableError: that it is in force could not be recorded.
        """
        self._seen = mark_of(self._path)
        policy = read_policy(self._path)
        try:
            self._core.use(policy).result(self._core.deadline_s)
        except TimeoutError:
            raise AuditUnavailableError(LATE) from None

    def refresh(self) -> None:
        """Looks at the file again; called once a second. Never raises for what the file holds."""
        self._record_again()
        mark = mark_of(self._path)
        if mark == self._seen:
            return
        self._seen = mark
        try:
            policy = read_policy(self._path) if mark is not None else None
        except (PolicyError, ConfigError) as error:
            logger().error("policy-refused", cause=str(error), mend="the version before stays in force")
            return
        event = self._core.put_in_force(policy)
        self._entries.append((event, self._core.submit(event)))
        logger().warning("policy-changed", digest=policy.digest if policy is not None else "withdrawn")

    def _record_again(self) -> None:
        """Submits the entries of changes that failed (L09); by their ids the log knows those it has."""
        entries, self._entries = self._entries, []
        for event, entry in entries:
            if not entry.done():
                self._entries.append((event, entry))
            elif entry.exception() is not None:
                self._entries.append((event, self._core.submit(event)))


class KeyWatch:
    """Follows the key file, and says in the store which versions this process knows."""

    def __init__(self, keyset: KeysetFile, wrapped: WrappedKeys) -> None:
        self._keyset = keyset
        self._wrapped = wrapped
        self._said: tuple[int, float] = 0, 0.0

    def refresh(self) -> None:
        """Called once a second. Raises StoreUnavailableError where it cannot be said."""
        self._keyset.refresh()
        newest, now = max(self._keyset.open().keks), time.monotonic()
        if newest != self._said[0] or now - self._said[1] >= SAID_S:
            process = f"{socket.gethostname()}:{os.getpid()}"
            self._wrapped.saw(process, newest, SystemClock().now_us())
            self._said = newest, now


class Authority(Struct, frozen=True):
    """Who issues grants, and who enrols factors."""

    granting: Granting
    enrolment: Enrolment
    requesting: Requesting
    grants: Grants


class Wiring(Struct, frozen=True):
    """A guard with what must be looked after while it runs and closed at the end."""

    settings: Settings
    guard: Guard
    log: SqlAuditLog
    policy_file: PolicyFile
    keyring: Keyring
    key_watch: KeyWatch
    authority: Authority

    def close(self) -> None:
        """Writes what has queued and closes the log."""
        self.log.close()


def build(config: str | Path) -> Guard:
    """The guard that a configuration file describes; its policy is in force and on record.

    Raises:
        ConfigError, PolicyError: with file, line and mend.
        StoreUnavailableError, AuditUnavailableError: the store cannot be opened.
    """
    wiring = wire(load_settings(Path(config)))
    for chore in [Chore(*each) for each in upkeep(wiring).items()]:
        threading.Thread(target=_again, args=(chore,), name="privguard-upkeep", daemon=True).start()
    return wiring.guard


def upkeep(wiring: Wiring) -> dict[str, Callable[[], None]]:
    """Has a wiring's accesses watched, and gives what keeps it up to date.

    Returns:
        Work for once a second, each by itself, under the name its failure is logged by.
    """
    core, alarms = wiring.guard.core, open_alarms(wiring.settings)
    follower, core.watch = open_follower(wiring.settings)
    core.alerts = alarms
    return {
        "policy-watch-failed": wiring.policy_file.refresh,
        "key-watch-failed": wiring.key_watch.refresh,
        "log-watch-failed": follower.refresh,
        "alerts-failed": alarms.deliver,
    }


def _again(chore: Chore) -> None:
    """What the gateway's event loop does for the gateway, in a thread that ends with the process."""
    while True:
        time.sleep(UPKEEP_S)
        chore.done()


def wire(settings: Settings) -> Wiring:
    """Opens the store and puts everything together. Raises as ``build``."""
    keyset = keyset_file(settings)
    keys = keyset.open()
    log = open_log(settings, keys)
    directory = None
    if settings.directory.required:
        directory = SqlDirectory(Store(settings.store.url), keys, SystemEntropy())
    core = core_of(settings, log, keys)
    core.mode, core.door, core.directory = settings.gateway.mode, _door(settings, keys, directory), directory
    core.lookups = SqlLookups(Store(settings.store.url))
    core.budgets = SqlBudgets(Store(settings.store.url), keys)
    authority = wire_authority(settings, core, keys)
    core.grants, core.challenges = authority.grants, authority.granting
    policy_file = PolicyFile(settings.system.policy, core)
    policy_file.start()
    wrapped = WrappedKeys(Store(settings.store.url), keys, SystemEntropy())
    return Wiring(settings, Guard(core), log, policy_file, keys, KeyWatch(keyset, wrapped), authority)


def core_of(settings: Settings, log: SqlAuditLog, keys: Keyring) -> GuardCore:
    clock, tokens = SystemClock(), FieldTokens(keys)
    return GuardCore(
        log,
        clock,
        SystemEntropy(),
        MaskTools(today=clock.today, token=tokens.token),
        system=settings.system.name,
        deadline_s=settings.audit.deadline_ms / 1000,
    )


def wire_authority(settings: Settings, core: GuardCore, keys: Keyring) -> Authority:
    """Who issues grants, on the settings' store."""
    store, entropy, stepup = Store(settings.store.url), SystemEntropy(), settings.stepup
    journal, pepper = Journal(core), keys.derive("factor-code")
    factors, grants = Factors(store, keys, entropy), Grants(store, keys, entropy)
    profile = PROFILES[stepup.profile]
    profile = replace(profile, kinds=profile.kinds & frozenset(stepup.factors))
    site = Site(makers=_makers(stepup.attestation))
    if stepup.public_url:
        site = replace(site, rp_id=urlsplit(stepup.public_url).hostname or "", origins=(stepup.public_url,))
    prover = Prover(journal, factors, profile, site, pepper)
    granting = Granting(
        journal,
        prover,
        grants,
        factors,
        keys.derive("challenge"),
        profile=profile,
        usual=(stepup.grant_ttl, stepup.grant_reads),
    )
    approvers = {RESET: stepup.reset_role, EXCUSE: settings.anomaly.excuse_role}
    requesting = Requesting(journal, prover, grants, approvers)
    enrolment = Enrolment(
        journal,
        prover,
        factors,
        granting,
        requesting,
        site=site,
        issuer=settings.system.name,
        pepper=pepper,
        sender=open_sender(stepup.sender, core.clock, entropy) if stepup.sender is not None else None,
    )
    return Authority(granting, enrolment, requesting, grants)


def _makers(said: AttestationSettings | None) -> Makers | None:
    """Whose security keys count. Raises ConfigError: the file holds no root certificates, or others too."""
    if said is None:
        return None
    try:
        roots = load_pem_x509_certificates(said.roots.read_bytes())
        if all(root.issuer == root.subject for root in roots):  # a chain would end at no other
            return Makers(
                tuple(root.public_bytes(Encoding.PEM) for root in roots), frozenset(map(str, said.aaguids))
            )
    except (OSError, ValueError):
        pass
    raise ConfigError(
        f"{said.roots}: the file is to hold the makers' root certificates (PEM), and no others beside them."
    )


def open_log(settings: Settings, keys: Keyring) -> SqlAuditLog:
    """The log in the settings' store.

    Raises:
        ConfigError: there is no store, or its tables are of another version.
        AuditUnavailableError: the store fails, or the log and its tree disagree.
    """
    log = SqlAuditLog.open(
        settings.store.url,
        keys,
        SystemEntropy(),
        origin=origin_of(settings.audit.origin, epoch_of(settings)),
        deadline_s=settings.audit.deadline_ms / 1000,
    )
    try:
        if (signed := signed_checkpoint(settings)) is not None:  # L06: an older or another database
            tree = TreeReader(Store(settings.store.url))
            check_signed(tree, signed, *tree.head())
    except BaseException:
        log.close()
        raise
    return log


def open_reader(settings: Settings) -> LogReader:
    """The reading side of the log. Raises ConfigError as ``open_log``."""
    return LogReader(Store(settings.store.url))


@contextlib.contextmanager
def open_trail(settings: Settings, who: str) -> Iterator[Trail]:
    """The trail for somebody at the command line, whose every look is recorded. Raises as ``open_log``."""
    keys = read_keys(settings)
    log = open_log(settings, keys)
    store = Store(settings.store.url)
    try:
        yield Trail(
            TrailReader(store, SubjectKeys(keys, SystemEntropy())),
            log,
            SystemClock(),
            SystemEntropy(),
            who=who,
            deadline_s=settings.audit.deadline_ms / 1000,
        )
    finally:
        store.close()
        log.close()


def open_alarms(settings: Settings) -> Alarms:
    """Who tells people what they have to know. Raises ConfigError as ``open_sender``."""
    if settings.alerts is None:
        return Alarms()
    return Alarms(*open_alert_senders(settings.alerts, SystemClock(), SystemEntropy()))


def open_nightly(wiring: Wiring) -> Nightly | None:
    """What looks back over the log once a day. Raises ConfigError: the extra for it is absent."""
    settings, anomaly, alerts = wiring.settings, wiring.settings.anomaly, wiring.guard.core.alerts
    if not anomaly.look_back_at:
        return None
    if find_spec("duckdb") is None or find_spec("ibis") is None:
        raise ConfigError("[anomaly] look_back_at needs more: pip install 'privguard[analytics]'.")
    hour, minute = map(int, anomaly.look_back_at.split(":"))

    def tell(text: str) -> None:
        if alerts is not None and anomaly.look_back_role:
            alerts.say([anomaly.look_back_role], text)

    work = functools.partial(_look_back, settings)
    return Nightly(work, hour * 3600 + minute * 60, SystemClock(), tell)


def _look_back(settings: Settings) -> Told:
    """Looks back over the log of each tenant; where one fails, the others are looked at."""
    from privguard.oversight.daily import told  # loads DuckDB, which no worker needs

    store, anomaly = Store(settings.store.url), settings.anomaly
    tenants = LogReader(store).tenants()
    store.close()
    said, failed = list[str](), list[PrivguardError]()
    with open_trail(settings, "privguard") as trail:
        for each in tenants:
            try:
                said.append(
                    told(trail, SystemClock(), anomaly.look_back_budget, each, anomaly.look_back_file)
                )
            except PrivguardError as error:
                failed.append(error)
    failed.sort(key=lambda error: isinstance(error, NotOnRecordError))  # a young log is no failure
    return " ".join(filter(None, said)), failed[0] if failed else None


def open_follower(settings: Settings) -> tuple[Follower, SharedWatch]:
    """The anomaly checker, and who reads the log for it. Raises ConfigError as ``read_keys``."""
    store, watch = Store(settings.store.url), SharedWatch()
    trail = TrailReader(store, SubjectKeys(read_keys(settings), SystemEntropy()))
    since_us = SystemClock().now_us() - settings.anomaly.history_days * _DAY_US
    return Follower(watch, LogReader(store), trail, since_us), watch


def keyset_file(settings: Settings) -> KeysetFile:
    """The key file of the settings, with the provider of its keys. Raises ConfigError."""
    keys = settings.keys
    if keys.provider == "file" or keys.pkcs11 is None:
        return KeysetFile(keys.file, FileProvider())
    try:
        from privguard.keystore.pkcs11 import Pkcs11Provider  # an extra
    except ModuleNotFoundError:
        raise ConfigError("A security module needs its driver: `pip install 'privguard[pkcs11]'`.") from None
    pin = read_secret(keys.pkcs11.pin_file).decode("utf-8", "replace").strip()
    return KeysetFile(keys.file, Pkcs11Provider(keys.pkcs11.module, keys.pkcs11.token, pin))


def read_keys(settings: Settings) -> Keyring:
    """The keyring of the settings. Raises as ``KeysetFile.open``."""
    return keyset_file(settings).open()


def read_policy(path: Path) -> Policy:
    """Loads and compiles a policy file.

    Raises:
        PolicyError: it is not valid; with line and column.
        ConfigError: it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}. Name the policy file in [[systems]] policy.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8. Save it as UTF-8.") from None
    return compile_policy(load(text, str(path)))


def zones(settings: Settings) -> Zones:
    """The network zones of the settings. Raises ConfigError."""
    return Zones(
        tuple((zone.name, networks(zone.networks, "[[zones]] networks")) for zone in settings.zones),
        networks(settings.gateway.trusted_proxies, "[gateway] trusted_proxies"),
    )


def _door(settings: Settings, keys: Keyring, directory: Directory | None) -> Door:
    gateway, clock = settings.gateway, SystemClock()
    identity, credentials = identity_provider(settings, clock, session_key=keys.derive("session"))
    if directory is not None:
        identity = StaffIdentity(identity, directory, clock, deadline_s=settings.audit.deadline_ms / 1000)
    return Door(
        identity=identity,
        credentials=credentials,
        limits=Limits(answer=gateway.max_body, request=gateway.max_request_body),
        query_forms=gateway.query_forms,
        zone=zones(settings).of,
    )
