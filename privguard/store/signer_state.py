"""What was signed last, in a file apart from the database: who restores the one has not restored the other.

The file is compared and swapped under a lock before a signature leaves: a signer that forgets may sign a fork
(L05).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from privguard.errors import StoreUnavailableError


class SignerState:
    """A file with the last signed note; empty where nothing was signed. Lock and file are 0600."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def begun(self) -> bool:
        """Whether there is a file, be it empty."""
        return self._path.exists()

    def read(self) -> bytes:
        """The last note.

        Raises:
            StoreUnavailableError: the file cannot be read.
        """
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise self._failed(error) from None

    @contextlib.contextmanager
    def held(self) -> Iterator[bytes]:
        """The last note, while nobody else may swap it.

        Raises:
            StoreUnavailableError: the file cannot be locked or read.
        """
        try:
            lock = os.open(f"{self._path}-lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._failed(error) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield self.read()
        finally:
            os.close(lock)

    def swap(self, note: bytes) -> None:
        """Puts a note in the place of the last, durably; only while it is held.

        Raises:
            StoreUnavailableError: it could not be made durable; then nothing may be published.
        """
        beside = self._path.with_name(f"{self._path.name}.new")
        try:
            with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:  # noqa: PTH123
                file.write(note)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._path)
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise self._failed(error) from None

    def _failed(self, error: OSError) -> StoreUnavailableError:
        return StoreUnavailableError(f"{self._path}: {error.strerror}: the signer's state must be writable.")
