"""The log's append: as a library, beside a raw one-table insert of the same bytes in the same batches.

The raw insert has no encryption, no hashes, no index but the primary key and no chain: it is what the disk
and the database allow, not an alternative.
"""

import asyncio
import gc
import itertools
import multiprocessing
import os
import secrets
import shutil
import sqlite3
import statistics
import time
from collections.abc import Callable, Sequence
from multiprocessing.synchronize import Barrier
from pathlib import Path

from benchmarks.results import Row, missing, row
from privguard.crypto.keyring import Keyring, new_keyring, parse
from privguard.model import AccessEvent, AuditReceipt, Disclosure, FieldShown, Outcome, SubjectRef, View
from privguard.store import schema
from privguard.store.audit_log import SqlAuditLog
from privguard.store.engine import Store
from privguard.store.log_reader import LogReader

IN_FLIGHT = (1, 128)
CLIENTS = 5_000
ORIGIN = "bench.invalid/log"
PROCESSES = 4
FIELDS = tuple(
    FieldShown(name, view, mask)
    for name, view, mask in (
        ("name", View.CLEAR, ""), ("mobile", View.MASKED, "cn_mobile_3_4"), ("branch", View.CLEAR, ""),
        ("email", View.MASKED, "email"), ("balance", View.WITHHELD, ""), ("id_no", View.MASKED, "cn_id_1_1"),
    )
)  # fmt: skip


class _Entropy:
    def token(self, size: int) -> bytes:
        return os.urandom(size)


def access(*numbers: int) -> AccessEvent:
    """A read of clients' records, of 6 fields each; of one client, a leaf of about 600 bytes."""
    now = time.time_ns() // 1000
    clients = tuple(SubjectRef("client", f"C{number:07d}") for number in numbers)
    return AccessEvent(
        event_id=f"{now // 1000:012x}{secrets.token_hex(10)}",
        at_us=now,
        action="gateway:client:read",
        outcome=Outcome.PERMITTED,
        actor=f"rm-{secrets.randbelow(200)}",
        roles=("rm",),
        system="crm",
        route="GET /clients/{id}",
        purpose="service",
        policy="3f7a" * 16,
        status=200,
        rules=("rm-read",),
        disclosures=(Disclosure("client", FIELDS, clients, rules=("rm-read",), relations=("assigned",)),),
    )


def measure(quick: bool, folder: Path) -> list[Row]:
    """Rows of the embedded database, then of PostgreSQL."""
    rounds, events = (3, 6_000) if quick else (5, 20_000)
    keys = parse(new_keyring(os.urandom))
    rows = []
    for in_flight in IN_FLIGHT:
        count = events if in_flight > 1 else events // 10
        rates, raws, halves, tails = [], [], [], []
        for number in range(rounds):
            place = folder / f"log-{in_flight}-{number}"
            receipts, waits, seconds = append(
                _made(f"sqlite+aiosqlite:///{place}/log.db"), keys, in_flight, count
            )
            rates.append(count / seconds)
            raws.append(_raw(place, receipts))
            halves.append(statistics.median(waits) * 1e3)
            tails.append(statistics.quantiles(waits, n=100)[98] * 1e3)
            shutil.rmtree(place)
        name, raw = f"log, SQLite, {in_flight} in flight", f"raw insert, batches of {in_flight} in flight"
        rows += [
            row(f"{name}: append", "events/s", rates, raw, raws),
            row(f"{raw}: append", "rows/s", raws),
            row(f"{name}: p50", "ms", halves),
            row(f"{name}: p99", "ms", tails),
        ]
    return rows + _postgres(keys, rounds, 2 * events)


def _made(url: str) -> str:
    schema.upgrade(url)
    return url


def append(
    url: str, keys: Keyring, in_flight: int, count: int, ready: Callable[[], object] = lambda: None
) -> tuple[list[AuditReceipt], list[float], float]:
    """Receipts, how long each caller waited (s), and how long all took (s).

    Args:
        ready: called when everything is set up and every client has a key, which is remembered.
    """
    log = SqlAuditLog.open(url, keys, _Entropy(), origin=ORIGIN, deadline_s=60)
    events = iter([access(secrets.randbelow(CLIENTS)) for _ in range(count)])
    gc.collect()
    gc.freeze()  # the events, which a gateway would not hold all at once
    receipts, waits = list[AuditReceipt](), list[float]()

    async def caller() -> None:
        for event in events:
            began = time.perf_counter()
            receipts.append(await log.append(event))
            waits.append(time.perf_counter() - began)

    async def run() -> None:
        await asyncio.gather(*(caller() for _ in range(in_flight)))

    try:
        asyncio.run(log.append(access(*range(CLIENTS))))
        ready()
        began = time.perf_counter()
        asyncio.run(run())
        return receipts, waits, time.perf_counter() - began
    finally:
        log.close()


def _raw(folder: Path, receipts: Sequence[AuditReceipt]) -> float:
    """Rows a second of the log's leaves into a table of (number, bytes), in the batches that the log made."""
    store = Store(f"sqlite+aiosqlite:///{folder}/log.db")
    leaves = [leaf for _, leaf in LogReader(store).entries()]
    store.close()
    sizes = sorted({receipt.size for receipt in receipts})
    database = sqlite3.connect(folder / "raw.db", isolation_level=None)
    for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL",
                      "CREATE TABLE raw (idx INTEGER PRIMARY KEY, leaf BLOB NOT NULL)"):  # fmt: skip
        database.execute(statement)
    began = time.perf_counter()
    for start, stop in itertools.pairwise([sizes[0] - 1, *sizes]):
        database.execute("BEGIN IMMEDIATE")
        database.executemany("INSERT INTO raw VALUES (?, ?)", enumerate(leaves[start:stop], start))
        database.execute("COMMIT")
    seconds = time.perf_counter() - began
    database.close()
    return (sizes[-1] - sizes[0] + 1) / seconds


def _postgres(keys: Keyring, rounds: int, events: int) -> list[Row]:
    name = f"log, PostgreSQL, {PROCESSES} processes of 128 in flight: append"
    try:
        from tests.postgres import postgres
    except ImportError as error:
        return [missing(name, "events/s", f"{error.name} is not installed")]
    rates = []
    with postgres(durable=True) as server:
        for number in range(rounds):
            url = _made(server.create(f"bench_{number}"))
            context = multiprocessing.get_context("spawn")
            ready, share = context.Barrier(PROCESSES), events // PROCESSES
            with context.Pool(PROCESSES, _inherit, (ready,)) as pool:
                took = pool.starmap(_worker, [(url, keys, share)] * PROCESSES, chunksize=1)
            rates.append(PROCESSES * share / max(took))
    return [row(name, "events/s", rates)]


_ready: list[Barrier] = []


def _inherit(ready: Barrier) -> None:
    _ready.append(ready)


def _worker(url: str, keys: Keyring, count: int) -> float:
    """Seconds, from when all processes are ready."""
    return append(url, keys, 128, count, _ready[0].wait)[2]
