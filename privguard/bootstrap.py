"""The composition root: the one place where settings become a guard with its ports."""

from __future__ import annotations

import os
import stat
import time
from concurrent.futures import Future
from datetime import UTC, date, datetime
from pathlib import Path

from msgspec import Struct

from privguard.asgi.credentials import identity_provider
from privguard.config import Settings, load_settings
from privguard.crypto.keyring import Keyring, parse
from privguard.crypto.pseudonym import FieldTokens
from privguard.errors import AuditUnavailableError, ConfigError, PolicyError
from privguard.guard import LATE, Door, Guard, GuardCore, Limits
from privguard.masking import MaskTools
from privguard.model import AccessEvent, AuditReceipt
from privguard.policy import Policy, compile_policy, load
from privguard.store.audit_log import SqlAuditLog
from privguard.store.engine import Store
from privguard.store.log_reader import LogReader
from privguard.telemetry import logger


class SystemClock:
    """The machine's clock."""

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def today(self) -> date:
        return datetime.fromtimestamp(time.time(), UTC).date()


class SystemEntropy:
    """The operating system's generator."""

    def token(self, size: int) -> bytes:
        return os.urandom(size)


class PolicyFile:
    """The policy file of a running guard: a change is put in force, a file that vanishes withdraws it.

    A changed file that is not valid leaves the last valid version in force and says so in the log of the
    process: the trail names the version that judged each access.
    """

    def __init__(self, path: Path, core: GuardCore) -> None:
        self._path = path
        self._core = core
        self._seen: tuple[int, int, int] | None = None
        self._entries: list[tuple[AccessEvent, Future[AuditReceipt]]] = []

    def start(self) -> None:
        """Puts the policy in force.

        Raises:
            PolicyError: it is not valid.
            ConfigError: there is none.
            AuditUnavailableError: that it is in force could not be recorded.
        """
        self._seen = self._mark()
        policy = read_policy(self._path)
        try:
            self._core.use(policy).result(self._core.deadline_s)
        except TimeoutError:
            raise AuditUnavailableError(LATE) from None

    def refresh(self) -> None:
        """Looks at the file again; called once a second. Never raises for what the file holds."""
        self._record_again()
        mark = self._mark()
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

    def _mark(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size


class Wiring(Struct, frozen=True):
    """A guard with what must be looked after while it runs and closed at the end."""

    settings: Settings
    guard: Guard
    log: SqlAuditLog
    policy_file: PolicyFile

    def close(self) -> None:
        """Writes what has queued and closes the log."""
        self.log.close()


def build(config: str | Path) -> Guard:
    """The guard that a configuration file describes; its policy is in force and on record.

    Raises:
        ConfigError, PolicyError: with file, line and mend.
        StoreUnavailableError, AuditUnavailableError: the store cannot be opened.
    """
    return wire(load_settings(Path(config))).guard


def wire(settings: Settings) -> Wiring:
    """Opens the store and puts everything together. Raises as ``build``."""
    keys = read_keys(settings)
    clock = SystemClock()
    log = open_log(settings, keys)
    core = GuardCore(
        log,
        clock,
        SystemEntropy(),
        MaskTools(today=clock.today, token=FieldTokens(keys).token),
        system=settings.system.name,
        mode=settings.gateway.mode,
        deadline_s=settings.audit.deadline_ms / 1000,
        door=_door(settings, clock, keys),
    )
    policy_file = PolicyFile(settings.system.policy, core)
    policy_file.start()
    return Wiring(settings, Guard(core), log, policy_file)


def open_log(settings: Settings, keys: Keyring) -> SqlAuditLog:
    """The log in the settings' store.

    Raises:
        ConfigError: there is no store, or its tables are of another version.
        AuditUnavailableError: the store fails, or the log and its tree disagree.
    """
    return SqlAuditLog.open(
        settings.store.url,
        keys,
        SystemEntropy(),
        origin=settings.audit.origin,
        deadline_s=settings.audit.deadline_ms / 1000,
    )


def open_reader(settings: Settings) -> LogReader:
    """The reading side of the log. Raises ConfigError as ``open_log``."""
    return LogReader(Store(settings.store.url))


def read_keys(settings: Settings) -> Keyring:
    """The keyring of the settings. Raises as ``read_secret`` and ``keyring.parse``."""
    return parse(read_secret(settings.keys.file))


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


def read_secret(path: Path) -> bytes:
    """Reads a key file.

    Raises:
        ConfigError: it is missing, or others than its owner may read it (S15).
    """
    try:
        mode = path.stat().st_mode
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigError(f"{path}: others may read this key file. Run: chmod 600 {path}")
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}. Write keys with `privguard init DIR`.") from None


def _door(settings: Settings, clock: SystemClock, keys: Keyring) -> Door:
    gateway = settings.gateway
    identity, credentials = identity_provider(settings, clock, session_key=keys.derive("session"))
    return Door(
        identity=identity,
        credentials=credentials,
        limits=Limits(answer=gateway.max_body, request=gateway.max_request_body),
        query_forms=gateway.query_forms,
    )
