"""A store that hangs while a factor is proved: refused in time, nothing taken, nobody else held up (L09)."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyotp
import pytest

from privguard.audit.record import parse
from privguard.authority.journal import Journal
from privguard.authority.proving import Prover, Site
from privguard.authority.requesting import RESET, Requesting
from privguard.errors import FactorRefusedError, StoreUnavailableError
from privguard.guard import GuardCore
from privguard.model import Outcome, Principal
from privguard.stepup.assurance import PROFILES
from privguard.stepup.factor import Factor, FactorData, Proof
from privguard.stepup.grant import Scope
from privguard.store.factors import Factors, ReplayedError
from privguard.store.grants import Grants
from privguard.testing import FrozenClock, mask_tools
from tests.unit.store.logs import KEYRING, SystemEntropy, check_whole, open_log, store_of

ACTOR = Principal("rm.li", session="s")
SECRET = pyotp.random_base32()
DEADLINE_S = 0.5


class Proving:
    def __init__(self, folder: Path) -> None:
        self.log, self.clock = open_log(folder), FrozenClock()
        core = GuardCore(self.log, self.clock, SystemEntropy(), mask_tools(), deadline_s=DEADLINE_S)
        self.core, self.journal = core, Journal(core)
        self.factors = Factors(store_of(folder), KEYRING, SystemEntropy())
        self.prover = Prover(self.journal, self.factors, PROFILES["nist-aal2"], Site(), bytes(32))

    async def enrol(self) -> None:
        one = Factor("f1", "default", ACTOR.id, "totp", "active", FactorData(secret=SECRET), 1)
        await self.journal.write(ACTOR, "stepup:factor:enrol", Outcome.PERMITTED, claim=self.factors.add(one))

    async def prove(self) -> None:
        code = pyotp.TOTP(SECRET).at(self.clock.now_us() // 1_000_000)
        proven = await self.prover.prove(ACTOR, Proof("totp", code=code), bytes(32), None)
        await self.journal.write(ACTOR, "stepup:grant:issue", Outcome.PERMITTED, claim=proven.take)


@pytest.fixture
def proving(log_folder: Path) -> Iterator[Proving]:
    made = Proving(log_folder)
    yield made
    made.log.close()


def test_l09_reads_that_hang_are_refused_in_time_and_hold_up_nobody(
    proving: Proving, log_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, read = threading.Event(), proving.factors.of

    def hang(*args: Any) -> list[Factor]:
        go_on.wait(20)
        return read(*args)

    async def run() -> None:
        await proving.enrol()
        monkeypatch.setattr(proving.factors, "of", hang)
        began = time.monotonic()
        found = await asyncio.gather(*(proving.prove() for _ in range(40)), return_exceptions=True)
        assert {type(one) for one in found} == {StoreUnavailableError}
        assert time.monotonic() - began < 2 * DEADLINE_S
        before = time.monotonic()
        await asyncio.to_thread(lambda: None)  # what others need threads for
        assert time.monotonic() - before < DEADLINE_S
        go_on.set()
        monkeypatch.undo()
        await proving.prove()
        with pytest.raises(ReplayedError):
            await proving.prove()

    asyncio.run(run())
    tries = [leaf for leaf in map(parse, check_whole(log_folder)) if leaf.action == "stepup:factor:try"]
    assert len(tries) == 2  # those that hung took nothing


def test_s03_of_many_at_once_on_one_loop_one_code_is_used_once(proving: Proving) -> None:
    async def run() -> list[BaseException | None]:
        await proving.enrol()
        return await asyncio.gather(*(proving.prove() for _ in range(16)), return_exceptions=True)

    found = asyncio.run(run())
    assert found.count(None) == 1
    assert {type(one).__name__ for one in found if one is not None} <= {
        "FactorRefusedError",
        "ReplayedError",
    }


def test_s01_a_code_that_a_request_was_made_with_is_used(proving: Proving, log_folder: Path) -> None:
    """Whether the request was new or waits already; and whoever tries it again hears what all hear."""
    grants = Grants(store_of(log_folder), KEYRING, SystemEntropy())
    approvers = {RESET: "compliance"}
    requesting = Requesting(proving.journal, proving.prover, grants, approvers)

    def scope(whom: str) -> Scope:
        return Scope(
            tenant="default", actor=ACTOR.id, session="", system="", resource="factor", action=RESET,
            purpose=whom, policy="", rules=(), fields=(), clients=(),
        )  # fmt: skip

    async def ask(whom: str) -> str:
        code = pyotp.TOTP(SECRET).at(proving.clock.now_us() // 1_000_000)
        return await requesting.ask_by_code(ACTOR, scope(whom), code, "root")

    async def run() -> None:
        await proving.enrol()
        name = await ask("rm.wang")
        for whom in ("rm.wang", "rm.zhao"):
            with pytest.raises(FactorRefusedError):
                await ask(whom)
        proving.clock.now += timedelta(minutes=1)
        assert await ask("rm.wang") == name
        with pytest.raises(FactorRefusedError):
            await ask("rm.wang")

    asyncio.run(run())
    problems = [leaf.problem for leaf in map(parse, check_whole(log_folder))]
    assert problems.count("replayed") == 3
