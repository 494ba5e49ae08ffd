"""Proving a factor, and what a grant costs an access: checks a second, and the ratio to an access without."""

from __future__ import annotations

import asyncio
import http.client
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pyotp

from benchmarks.log_append import ORIGIN
from benchmarks.results import Row, missing, row
from privguard.authority.journal import Journal
from privguard.authority.proving import Prover, Site
from privguard.crypto.keyring import new_keyring, parse
from privguard.guard import GuardCore
from privguard.machine import SystemClock, SystemEntropy
from privguard.model import Outcome, Principal
from privguard.stepup.assurance import PROFILES
from privguard.stepup.factor import Factor, FactorData, Proof
from privguard.store import schema
from privguard.store.audit_log import SqlAuditLog
from privguard.store.claims import together
from privguard.store.engine import Store
from privguard.store.factors import Factors
from privguard.testing import mask_tools

if TYPE_CHECKING:
    from tests.attacks.stepup import Person

CALLERS = 64
SECRET = pyotp.random_base32()


def measure(quick: bool, folder: Path) -> list[Row]:
    """Rows of SQLite, then of PostgreSQL."""
    count, rounds = (1_000, 2) if quick else (4_000, 5)
    place = folder / "stepup"
    rows = _rows("SQLite", f"sqlite+aiosqlite:///{place}/log.db", count, rounds)
    shutil.rmtree(place)
    rows += _access_rows(300 if quick else 1_000, 3 if quick else 7, folder)
    try:
        from tests.postgres import postgres
    except ImportError as error:
        return [*rows, missing("TOTP, PostgreSQL: prove", "proofs/s", f"{error.name} is not installed")]
    with postgres(durable=True) as server:
        return [*rows, *_rows("PostgreSQL", server.create("stepup"), count, rounds)]


def _rows(engine: str, url: str, count: int, rounds: int) -> list[Row]:
    """The whole path: the try on record, the code judged, and the act with what it takes on record."""
    schema.upgrade(url)
    keys, entropy, store = parse(new_keyring(os.urandom)), SystemEntropy(), Store(url)
    log = SqlAuditLog.open(url, keys, entropy, origin=ORIGIN, deadline_s=30)
    core = GuardCore(log, SystemClock(), entropy, mask_tools(), deadline_s=30)
    journal, factors = Journal(core), Factors(store, keys, entropy)
    prover = Prover(journal, factors, PROFILES["nist-aal2"], Site(), os.urandom(32))
    rates = []
    for number in range(rounds):
        actors = [Principal(f"rm{number}-{each}", session="s") for each in range(count)]
        rows = [
            Factor(os.urandom(8).hex(), "default", each.id, "totp", "active", FactorData(secret=SECRET), 1)
            for each in actors
        ]
        for start in range(0, count, 500):
            claims = [factors.add(one) for one in rows[start : start + 500]]
            enrol = journal.write(
                actors[0], "stepup:factor:enrol", Outcome.PERMITTED, claim=together(*claims)
            )
            asyncio.run(enrol)
        rates.append(asyncio.run(_prove(journal, prover, actors)))
        print(f"  {engine}: {count} proofs, {rates[-1]:.0f}/s")
    log.close()
    store.close()
    return [row(f"TOTP, {engine}, {CALLERS} callers: prove and act", "proofs/s", rates)]


async def _prove(journal: Journal, prover: Prover, actors: list[Principal]) -> float:
    code = pyotp.TOTP(SECRET).now()  # what a phone shows
    waiting = iter(actors)

    async def run() -> None:
        for actor in waiting:
            proven = await prover.prove(actor, Proof("totp", code=code), bytes(32), None)
            await journal.write(actor, "stepup:grant:issue", Outcome.PERMITTED, claim=proven.take)

    began = time.perf_counter()
    await asyncio.gather(*(run() for _ in range(CALLERS)))
    return len(actors) / (time.perf_counter() - began)


def _access_rows(count: int, rounds: int, folder: Path) -> list[Row]:
    """An access of the running gateway with a grant and without, alternately, on one connection each."""
    from tests.attacks.stepup import Person
    from tests.door import BANK_POLICY, make_gateway, start_bank

    policy = BANK_POLICY.read_text().replace("grant: {ttl: 5m, reads: 10}", "grant: {ttl: 50m, reads: 10000}")
    bank = start_bank(folder)
    gateway = make_gateway(folder / "gateway", bank.port, policy=policy)
    try:
        gateway.start()
        person = Person(gateway, "rm.li").sign_in()
        person.enrol()
        clear = {"Privguard-Reveal": "mobile", "Privguard-Grant": f'"{person.granted()}"'}
        plain, granted = list[float](), list[float]()
        for _ in range(rounds):
            plain.append(_access_rate(person, count, {}))
            granted.append(_access_rate(person, count, clear))
    finally:
        gateway.stop()
        bank.stop()
    name = "access, 1 KB, 16 callers"
    return [
        row(f"{name}: masked", "requests/s", plain),
        row(f"{name}: clear under a grant", "requests/s", granted, f"{name}: masked", plain),
    ]


def _access_rate(person: Person, count: int, headers: dict[str, str]) -> float:
    """Requests a second of 16 callers, each on a connection of its own."""
    sent = {"Authorization": f"Bearer {person.token}", **headers}

    def run(_: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", person.gateway.port)
        for _each in range(count // 16):
            connection.request("GET", "/clients/1", headers=sent)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise RuntimeError(f"an access was answered {answer.status}")
        connection.close()

    began = time.perf_counter()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(run, range(16)))
    return count // 16 * 16 / (time.perf_counter() - began)
