"""Writers of one log in many processes that are killed at random, each replaced by the next.

Run as ``python -m tests.faults.swarm FOLDER WRITERS EVENTS SEED``. Receipts go to ``FOLDER/acknowledged`` as
lines ``event-id index size root``; ends with one line of figures once so many are there.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import sys
import time
from pathlib import Path

from tests.faults.log_writer import write

BUSY_S = 0.15
"""At most so long until the next of the writers is killed."""


def start(folder: Path, name: str) -> int:
    child = os.fork()
    if child:
        return child
    try:
        output = os.open(folder / "acknowledged", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        write(folder, name, 0, output)
    finally:
        os._exit(1)  # only after a failure: a writer goes on until it is killed


def main(folder: Path, writers: int, events: int, seed: int) -> None:
    chance, names = random.Random(seed), itertools.count()
    pids = [start(folder, f"w{next(names)}") for _ in range(writers)]
    began, kills = time.monotonic(), 0
    try:
        while acknowledged(folder) < events:
            time.sleep(chance.uniform(0, BUSY_S))
            place = chance.randrange(writers)
            stop(pids[place])
            pids[place], kills = start(folder, f"w{next(names)}"), kills + 1
        seconds = time.monotonic() - began
    finally:
        for pid in pids:
            stop(pid)
    print(f"{acknowledged(folder)} acknowledged, {kills} killed meanwhile, {seconds:.1f} s")


def stop(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != -signal.SIGKILL:
        sys.exit("a writer failed by itself")


def acknowledged(folder: Path) -> int:
    file = folder / "acknowledged"
    return file.read_bytes().count(b"\n") if file.exists() else 0


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
