from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from privguard.crypto.keyring import parse
from privguard.store.audit_log import SqlAuditLog
from tests.faults.writers import ROOT, check_acknowledged, make_log, start_writer
from tests.unit.store.logs import ORIGIN, SystemEntropy, url_of


def test_l10_two_writers_leave_a_dense_log_without_loss_or_duplicate(log_folder: Path) -> None:
    make_log(log_folder)
    writers = [start_writer(log_folder, name, 400) for name in ("one", "two")]
    acknowledged = [line for writer in writers for line in writer.communicate()[0].splitlines(keepends=True)]
    assert [writer.returncode for writer in writers] == [0, 0]
    assert len(acknowledged) == 800
    assert check_acknowledged(log_folder, acknowledged) == 800


@pytest.mark.parametrize("events", [10_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_l10_sixteen_writers_killed_at_random_lose_and_double_nothing(log_folder: Path, events: int) -> None:
    make_log(log_folder)
    seed = random.SystemRandom().randrange(1 << 32)
    command = [sys.executable, "-m", "tests.faults.swarm", str(log_folder), "16", str(events), str(seed)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    print(f"seed {seed}: {ended.stdout}{ended.stderr[-2000:]}")
    assert ended.returncode == 0
    lines = (log_folder / "acknowledged").read_bytes().splitlines(keepends=True)
    assert len(lines) >= events
    assert check_acknowledged(log_folder, lines) >= events
    killed = int(ended.stdout.split(", ")[1].split()[0])
    assert killed > 5, "hardly any was killed"
    log = SqlAuditLog.open(
        url_of(log_folder), parse((log_folder / "keys.json").read_bytes()), SystemEntropy(), origin=ORIGIN
    )
    log.close()
