"""What was signed last, in a file apart from the database: who restores the one has not restored the other.

The file is compared and swapped under a lock before a signature leaves: a signer that forgets may sign a fork
(L05).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from privguard.errors import StoreUnavailableError
from privguard.files import locked, put_secret


class SignerState:
    """A file with the last signed note; empty where nothing was signed."""

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
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(locked(self._path))
            except OSError as error:
                raise self._failed(error) from None
            yield self.read()

    def swap(self, note: bytes) -> None:
        """Puts a note in the place of the last, durably; only while it is held.

        Raises:
            StoreUnavailableError: it could not be made durable; then nothing may be published.
        """
        try:
            put_secret(self._path, note)
        except OSError as error:
            raise self._failed(error) from None

    def _failed(self, error: OSError) -> StoreUnavailableError:
        return StoreUnavailableError(f"{self._path}: {error.strerror}: the signer's state must be writable.")
