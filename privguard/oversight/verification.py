"""Verifies the log where it is, on all cores: processes read stretches of it, and this one joins them."""

from __future__ import annotations

import gc
import os
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from multiprocessing import get_context
from typing import Final

from msgspec.structs import replace

from privguard.audit.floor import WHOLE, Start, agrees
from privguard.audit.stretch import STRETCH, Stretch, read_rows
from privguard.audit.verify import Pin, Verification, join
from privguard.errors import StoreUnavailableError
from privguard.store.engine import Store
from privguard.store.log_reader import LogReader
from privguard.store.retention import Retention, start_at

ALONE: Final = 8
"""Stretches that one process has read before others are started (65,536 entries; a start costs a second)."""
_MOST: Final = 8
"""Processes: beyond, the one that joins is what all wait for."""


def verify_store(url: str, size: int, pins: Sequence[Pin], alone: int = ALONE) -> Verification:
    """Checks the rows of a log of a size, all that they repeat of their leaves, and the leaves (L01, L03).

    Args:
        pins: what it must be, each of a size.

    Raises:
        StoreUnavailableError: the database fails, or a process that reads it ends.
    """
    sizes = [pin.size for pin in pins]
    with closing(Store(url)) as store:
        reader = LogReader(store)
        begin = _begin(store)
        if begin is None:
            return Verification(0, b"", False, None, "floor")
        starts = range(begin.floor, max(size, begin.floor + 1), STRETCH)
        with closing(_stretches(url, reader, starts, size, sizes, alone)) as stretches:
            found = join(stretches, pins, reader.map_sizes(), begin, reader.ends)
        if not found.ok and Retention(store).floor() != begin.floor:
            raise StoreUnavailableError("The log was pruned meanwhile: verify it again.")
        if found.kind == "edited" and found.first_bad is not None and reader.stands_later(found.first_bad):
            return replace(found, kind="reordered")
        return found


def _begin(store: Store) -> Start | None:
    """Where the log begins; None if no leaf says so (L01)."""
    retention = Retention(store)
    floor, said = retention.floor(), retention.said()
    if floor == 0:
        return WHOLE
    if said is None or floor % STRETCH:
        return None
    begin = start_at(store, floor)
    return begin if said[0][0] >= floor and agrees(begin, said[1]) else None


def _stretches(
    url: str, reader: LogReader, starts: range, size: int, sizes: Sequence[int], alone: int
) -> Generator[Stretch]:
    if len(starts) <= alone:
        for start in starts:
            yield _read(reader, start, size, sizes)
        return
    processes = min(len(os.sched_getaffinity(0)), _MOST)
    waiting: deque[Future[Stretch]] = deque()
    with ProcessPoolExecutor(processes, get_context("spawn"), _open, (url,)) as pool:
        try:
            for start in starts:
                waiting.append(pool.submit(_read_here, start, size, sizes))
                if len(waiting) > 2 * processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise StoreUnavailableError(
                "A process that read the log was ended (for want of memory?): try again."
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _read(reader: LogReader, start: int, size: int, sizes: Sequence[int]) -> Stretch:
    stop = min(start + STRETCH, size)
    return read_rows(start, stop, *reader.stretch(start, stop), sizes)


_reader: list[LogReader] = []
"""Of a process that reads."""


def _open(url: str) -> None:
    gc.disable()  # nothing here is a cycle, and looking for them in stretches of tuples costs a fifth
    _reader.append(LogReader(Store(url)))


def _read_here(start: int, size: int, sizes: Sequence[int]) -> Stretch:
    return _read(_reader[0], start, size, sizes)
