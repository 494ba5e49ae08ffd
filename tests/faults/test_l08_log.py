from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.faults.writers import check_acknowledged, make_log, start_writer
from tests.unit.store.logs import open_log


@pytest.mark.parametrize("rounds", [4, pytest.param(60, marks=pytest.mark.slow)])
def test_l08_what_a_killed_writer_acknowledged_is_in_the_log_once(log_folder: Path, rounds: int) -> None:
    make_log(log_folder)
    acknowledged: list[bytes] = []
    sizes = [0]
    for number in range(rounds):
        writer = start_writer(log_folder, f"w{number}")
        assert writer.stdout is not None
        acknowledged.append(writer.stdout.readline())  # it is under way
        time.sleep(random.uniform(0, 0.25))
        writer.kill()
        rest = writer.stdout.read().splitlines(keepends=True)
        writer.wait()
        writer.stdout.close()
        acknowledged += [line for line in rest if line.endswith(b"\n")]
        sizes.append(check_acknowledged(log_folder, acknowledged))
        assert len(acknowledged) > number
        assert sizes[-1] > sizes[-2]
    open_log(log_folder).close()
