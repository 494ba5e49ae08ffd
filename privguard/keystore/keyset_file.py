"""The key file on disk: read by its owner alone, changed whole and at once, followed by running processes."""

from __future__ import annotations

import stat
import threading
from collections.abc import Callable
from pathlib import Path

from privguard.crypto.keyring import KeyFile, KeyProvider, Keyring, open_keyring, read_file, write_file
from privguard.errors import ConfigError, PrivguardError
from privguard.files import Mark, locked, mark_of, put_secret
from privguard.telemetry import logger


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
        raise ConfigError(
            f"{path}: {error.strerror}. Restore it from its backup, or correct the setting that names it; "
            "a new log's keys come from `privguard init DIR`."
        ) from None


class KeysetFile:
    """A key file and the provider that keeps, or finds, the keys it names."""

    def __init__(self, path: Path, provider: KeyProvider) -> None:
        self.provider = provider
        self._path = path
        self._seen: Mark | None = None
        self._keyring: Keyring | None = None
        self._looking = threading.Lock()

    def read(self) -> KeyFile:
        """What the file says now. Raises ConfigError."""
        return read_file(read_secret(self._path))

    def open(self) -> Keyring:
        """The keyset; it follows the file, by ``refresh`` and where a version is missing.

        Raises:
            ConfigError: the file is no keyset, or others may read it.
            StoreUnavailableError: the provider does not answer.
        """
        if self._keyring is None:
            self._seen = mark_of(self._path)
            self._keyring = open_keyring(self.read(), self.provider)
            self._keyring.look_again = self.refresh
        return self._keyring

    def refresh(self) -> None:
        """Looks at the file again if it changed; called once a second. Never raises for what it holds.

        A file that cannot be used leaves the keys known before in use, and is named in the process's log.
        """
        with self._looking:
            mark = mark_of(self._path)
            if self._keyring is None or mark == self._seen:
                return
            self._seen = mark
            try:
                self._keyring.renew(open_keyring(self.read(), self.provider))
            except PrivguardError as error:
                logger().error("keys-refused", cause=error.detail, mend="the keys known before stay in use")
            else:
                logger().warning("keys-changed", newest=max(self._keyring.keks), wraps=self._keyring.primary)

    def create(self, make: Callable[[], KeyFile]) -> None:
        """Writes a new key file, its owner's alone. Raises ConfigError if there is one."""
        with locked(self._path):
            if self._path.exists():
                raise ConfigError(f"{self._path} is there already and is left alone.")
            put_secret(self._path, write_file(make()))

    def change(self, change: Callable[[KeyFile], KeyFile]) -> KeyFile:
        """Changes the file: whoever reads it finds it as it was or as it will be. Raises ConfigError."""
        with locked(self._path):
            changed = change(self.read())
            put_secret(self._path, write_file(changed))
        self.refresh()
        return changed
