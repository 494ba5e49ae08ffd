"""Files that several processes read: replaced whole and durably, changed by one at a time.

What root makes or replaces at the command line goes to whom the file was, or to the folder's owner where
there was none: the service must be able to read it afterwards.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

_PRIVATE: Final = 0o600
_HANDED: Final = 1 << 30
"""Bytes: more than the heads of ten million clients, the largest that is read at once."""


Mark = tuple[int, int, int]


def mark_of(path: Path) -> Mark | None:
    """What changes when the file does; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def write_new(file: Path, content: bytes, *, secret: bool) -> None:
    """Writes a new file; a secret one is readable by its owner alone from the first byte."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if secret else 0o644)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)


def open_handed(file: Path) -> BinaryIO:
    """Opens a file of a stranger's folder. Raises OSError, also of a pipe or device: they have no end."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # opening a pipe would wait
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise OSError(errno.EINVAL, "This is no regular file", str(file))


def read_handed(file: Path, most: int = _HANDED) -> bytes:
    """The content of such a file. Raises OSError, also where it has more than so many bytes."""
    with open_handed(file) as stream:
        if os.fstat(stream.fileno()).st_size > most:
            raise OSError(errno.EFBIG, f"This has more than {most} bytes", str(file))
        return stream.read(most)


def put_secret(path: Path, data: bytes) -> None:
    """Puts a file in the place of another, durably: whoever reads it finds it as it was or as it is now.

    It keeps owner and mode; a new one is its owner's alone.

    Raises:
        OSError: it could not be.
    """
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else _PRIVATE
    fresh = path.with_name(f"{path.name}.new")
    descriptor = opened(fresh, path, os.O_WRONLY | os.O_TRUNC)
    with os.fdopen(descriptor, "wb") as stream:
        os.fchmod(stream.fileno(), mode)  # if it was left by somebody else's interrupted change
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    fresh.rename(path)
    sync(path.parent)  # what a key has wrapped or signed must not outlive it in a power cut


def sync(place: Path) -> None:
    """Has a file or folder on the disk when it returns."""
    held = os.open(place, os.O_RDONLY)
    try:
        os.fsync(held)
    finally:
        os.close(held)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """While nobody else changes a file; the lock is a file beside it. Raises OSError."""
    # Opened each time: a descriptor that a fork shares would share its lock too.
    lock = opened(path.with_name(f"{path.name}-lock"), path, os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def opened(path: Path, beside: Path, flags: int) -> int:
    """A descriptor of a file, made (0600) if it is not there, for the owner of the file it stands beside."""
    whose = (beside if beside.exists() else beside.parent).stat() if os.geteuid() == 0 else None
    # Not through a link: whoever may write the folder would have root open, and give them, any file.
    descriptor = os.open(path, flags | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, _PRIVATE)
    if whose is not None:
        os.fchown(descriptor, whose.st_uid, whose.st_gid)
    return descriptor
