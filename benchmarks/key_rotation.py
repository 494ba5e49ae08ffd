"""Wrapping clients' keys anew while a reader opens them: keys a second, and reads refused (none may be)."""

import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.log_append import ORIGIN, access
from benchmarks.results import Row, missing, row
from privguard.crypto.keyring import Keyring, new_keyring, parse
from privguard.errors import PrivguardError
from privguard.store import schema
from privguard.store.engine import Store
from privguard.store.ledger import Ledger, prepare
from privguard.store.subjects import SubjectKeys
from privguard.store.trail_reader import TrailReader
from privguard.store.wrapped import WrappedKeys


class _Entropy:
    def token(self, size: int) -> bytes:
        return os.urandom(size)


def measure(quick: bool, folder: Path) -> list[Row]:
    """Rows of SQLite, then of PostgreSQL."""
    count, rounds = (50_000, 1) if quick else (1_000_000, 3)
    place = folder / "keys"
    rows = _rows("SQLite", f"sqlite+aiosqlite:///{place}/log.db", count, rounds)
    shutil.rmtree(place)
    try:
        from tests.postgres import postgres
    except ImportError as error:
        return [*rows, missing("keys, PostgreSQL: rewrap", "keys/s", f"{error.name} is not installed")]
    with postgres(durable=True) as server:
        return [*rows, *_rows("PostgreSQL", server.create("keys"), count, rounds)]


def _rows(engine: str, url: str, count: int, rounds: int) -> list[Row]:
    schema.upgrade(url)
    store, keys = Store(url), parse(new_keyring(os.urandom))
    tokens = _fill(store, keys, count)
    rates, refused = list[float](), 0
    for number in range(rounds):
        later = Keyring(keys.id, keys.suite, keys.root, {**keys.keks, number + 2: os.urandom(32)}, number + 2)
        keys.renew(later)
        reading = _Reading(TrailReader(store, SubjectKeys(keys, _Entropy())), tokens)
        began = time.perf_counter()
        assert reading.during(WrappedKeys(store, keys, _Entropy()).rewrap) == count
        rates.append(count / (time.perf_counter() - began))
        refused += reading.refused
        print(f"  {engine}: {count} keys, {rates[-1]:.0f}/s, {reading.done} reads, {reading.refused} refused")
    store.close()
    name = f"keys, {engine}, {count:,} wrapped"
    return [row(f"{name}: rewrap", "keys/s", rates), row(f"{name}: reads refused", "reads", [refused])]


def _fill(store: Store, keys: Keyring, count: int) -> list[str]:
    """Makes clients, a thousand an entry; some of their tokens."""
    ledger = Ledger(store, keys, _Entropy(), ORIGIN)
    for start in range(0, count, 10_000):
        ends = range(start, min(start + 10_000, count), 500)
        ledger.append([prepare(access(*range(end, min(end + 500, count)))) for end in ends])
    with store.read() as connection:
        return [tok for (tok,) in connection.exec_driver_sql("SELECT tok FROM subject LIMIT 1000")]


class _Reading:
    """Opens clients' keys one after the other, as a process that remembers none."""

    def __init__(self, reader: TrailReader, tokens: list[str]) -> None:
        self._reader, self._tokens = reader, tokens
        self._ended = threading.Event()
        self.done = self.refused = 0

    def during(self, work: Callable[[], int]) -> int:
        thread = threading.Thread(target=self._read)
        thread.start()
        try:
            return work()
        finally:
            self._ended.set()
            thread.join()

    def _read(self) -> None:
        while not self._ended.wait(0.005):
            try:
                self._reader.clients([self._tokens[self.done % len(self._tokens)]])
            except PrivguardError:
                self.refused += 1
            self.done += 1
