"""How the log's costs grow with it: at 10,000 entries, at ten times and a hundred times more, and so on.

One log is grown from size to size in bulk: the same rows as an append makes of each entry, by the same
statements, but 20,000 entries a transaction, and without sealing keys that are there. The last entries before
each size, the clients' keys, maps and looks at the trail come the ordinary way.
"""

import os
import random
import shutil
import sqlite3
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from benchmarks.log_append import CLIENTS, ORIGIN, access, append
from benchmarks.results import Row, row
from privguard.audit.merkle import extend, leaf_hash, needed
from privguard.audit.proof import inclusion, inclusions
from privguard.audit.record import Head, columns, drafts, encode, link, subject_columns
from privguard.audit.verify import Pin
from privguard.crypto.keyring import Keyring, new_keyring, parse
from privguard.machine import SystemClock, SystemEntropy
from privguard.model import SubjectRef
from privguard.oversight.completeness import commit_map
from privguard.oversight.filters import Filter
from privguard.oversight.trail import Trail
from privguard.oversight.verification import verify_store
from privguard.store import schema, sqlite_append
from privguard.store.audit_log import SqlAuditLog
from privguard.store.engine import Store
from privguard.store.ledger import Ledger, prepare
from privguard.store.map_keeper import MapKeeper
from privguard.store.statements import Rows, driver
from privguard.store.subjects import SubjectKeys
from privguard.store.trail_reader import TrailReader
from privguard.store.tree_reader import TreeReader

BATCH = 20_000
LIVE = 5_000
REPORTS = (1_000, 10_000)
"""How many entries the clients have whose reports are timed; a log of 10,000 has none of the longer."""
PAGE = 50
AT = "log, SQLite, at "


def measure(quick: bool, folder: Path, *, full: bool = False) -> list[Row]:
    """Rows of each size; ``full`` goes on to ten million, which takes half an hour and 20 GB."""
    sizes = (10_000, 100_000) if quick else (10_000, 100_000, 1_000_000, *([10_000_000] if full else []))
    keys, place = parse(new_keyring(os.urandom)), folder / "growth"
    url, rows = f"sqlite+aiosqlite:///{place}/log.db", list[Row]()
    schema.upgrade(url)
    for size in sizes:
        clients = [CLIENTS + 10 * len(rows) + at for at, length in enumerate(REPORTS) if 2 * length <= size]
        _grow(url, keys, size - LIVE, clients)
        rows += _costs(url, keys, f"{AT}{size:,} events", clients)
        rows.append(row(f"{AT}{size:,} events: database", "MB", [_megabytes(place / "log.db")]))
    shutil.rmtree(place)
    return rows


def table(rows: Sequence[Row], at: str) -> str:
    """Rows by the beginning of their names, in Markdown: a line for each cost, a column for each size."""
    cells: dict[str, dict[str, str]] = {}
    sizes = dict[str, None]()
    for each in rows:
        if each.name.startswith(at) and each.median is not None:
            size, _, cost = each.name.removeprefix(at).partition(" events: ")
            sizes[size] = None
            cells.setdefault(f"{cost} ({each.unit})", {})[size] = f"{each.median:,.10g}"
    lines = [f"| Events | {' | '.join(sizes)} |", f"| --- |{' ---: |' * len(sizes)}"]
    lines += [
        f"| {cost} | {' | '.join(found.get(size, '–') for size in sizes)} |" for cost, found in cells.items()
    ]
    return "\n".join(lines)


def _grow(url: str, keys: Keyring, size: int, probes: Sequence[int]) -> None:
    """Grows the log to a size; those of the probed clients (``REPORTS``) are spread evenly."""
    with closing(Store(url)) as store:
        clients = [*range(CLIENTS), *probes]
        parts = [access(*clients[at : at + 500]) for at in range(0, len(clients), 500)]
        Ledger(store, keys, SystemEntropy(), ORIGIN).append(list(map(prepare, parts)))
        names = SubjectKeys(keys, SystemEntropy())
        tokens = {one: names.name(("default", "client", f"C{one:07d}")) for one in clients}
        bulk, drawn, there = _Bulk(store), random.Random(size), TreeReader(store).head()[0]
        steps = {probe: (size - there) // length for probe, length in zip(probes, REPORTS, strict=False)}
        for start in range(there, size, BATCH):
            chosen = [
                next((probe for at, (probe, step) in enumerate(steps.items()) if index % step == at), None)
                or drawn.randrange(CLIENTS)
                for index in range(start, min(start + BATCH, size))
            ]
            bulk.add([tokens[one] for one in chosen])


class _Bulk:
    """Writes entries of one client each."""

    def __init__(self, store: Store) -> None:
        self._store = store
        with store.read() as connection:
            heads = connection.exec_driver_sql("SELECT tok, count, last_idx FROM subject_head").all()
            self._tokens = dict(connection.exec_driver_sql("SELECT ref_hmac, tok FROM subject").all())
            self._ts = connection.exec_driver_sql("SELECT max(ts_us) FROM event").scalar_one()
        self._heads: dict[str, Head] = {token: (count, last) for token, count, last in heads}
        [self._draft] = drafts(access(0))

    def add(self, names: Sequence[str]) -> None:
        """Adds an entry for each name of a client."""
        tokens = [self._tokens[name] for name in names]
        with self._store.write() as transaction:
            connection = driver(transaction)
            state = sqlite_append.read_state(connection, [], [])
            rows = Rows(fresh=[])
            for index, token in enumerate(tokens, state.tree.size):
                self._leaf(rows, index, token)
            held = {
                span.level: sqlite_append.read_span(connection, span)
                for span in needed(state.tree, len(tokens))
            }
            tree, rows.tiles = extend(state.tree, rows.hashes, held)
            rows.heads = {token: self._heads[token] for token in tokens}
            sqlite_append.write(connection, rows, tree, tree.root())

    def _leaf(self, rows: Rows, index: int, token: str) -> None:
        leaf = self._draft.leaf
        self._ts += 10
        leaf.id, leaf.actor = f"{index:012x}{os.urandom(10).hex()}", f"rm-{index % 200}"
        leaf.ts, leaf.skew = self._ts, 0
        link(self._draft, [[token]], self._heads, index, self._ts)
        data = encode(leaf)
        rows.events.append((index, *columns(leaf), data))
        rows.hashes.append(leaf_hash(data))
        rows.subjects.extend(subject_columns(leaf, index))


def _costs(url: str, keys: Keyring, name: str, probes: Sequence[int]) -> list[Row]:
    _, waits, seconds = append(url, keys, 128, LIVE)
    rows = [
        row(f"{name}: append", "events/s", [LIVE / seconds]),
        row(f"{name}: append p99", "ms", [statistics.quantiles(waits, n=100)[98] * 1e3]),
    ]
    log = SqlAuditLog.open(url, keys, SystemEntropy(), origin=ORIGIN, deadline_s=60)
    with closing(log), closing(Store(url)) as store:
        commit_map(MapKeeper(store), log, SystemClock(), SystemEntropy(), 60)
        size, root = TreeReader(store).head()
        places = [random.randrange(size) for _ in range(200)]
        firsts = [_ms(partial(inclusion, place, size, TreeReader(store).entries)) for place in places]
        prove = inclusions(size, TreeReader(store).entries)
        rows += [
            row(f"{name}: first inclusion proof", "ms", firsts),
            row(f"{name}: inclusion proof", "ms", [_ms(partial(prove, place)) for place in places]),
        ]
        reader = TrailReader(store, SubjectKeys(keys, SystemEntropy()))
        trail = Trail(reader, log, SystemClock(), SystemEntropy(), who="benchmark", deadline_s=60)
        for probe, length in zip(probes, REPORTS, strict=False):
            client = SubjectRef("client", f"C{probe:07d}")
            first = [_ms(partial(trail.search, Filter(client=client), limit=PAGE)) for _ in range(20)]
            whole = [_ms(partial(_read, trail, client)) for _ in range(5)]
            rows += [
                row(f"{name}: first page of {length:,} entries of a client", "ms", first),
                row(f"{name}: report of {length:,} entries in full", "ms", whole),
                row(
                    f"{name}: report of {length:,} entries, each",
                    "µs",
                    [each / length * 1e3 for each in whole],
                ),
            ]
    rate = size / _ms(partial(_verified, url, size, root)) * 1e3
    return [*rows, row(f"{name}: verify", "events/s", [rate])]


def _megabytes(file: Path) -> float:
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return file.stat().st_size / 1e6


def _ms(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1e3


def _read(trail: Trail, client: SubjectRef) -> None:
    report = trail.report(client)
    assert sum(1 for _ in report.entries) == report.count


def _verified(url: str, size: int, root: bytes) -> None:
    assert verify_store(url, size, [Pin(size, root)]).ok
