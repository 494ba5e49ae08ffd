"""Starts gateways fast: a process that has loaded privguard forks for each, and `privguard serve` runs there.

Loading takes one to five seconds of a start here, so fifty restarts would be minutes of imports.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PRELOAD = """
import privguard.bootstrap, privguard.cli.serve, privguard.gateway.server, privguard.gateway.upstream
import uvicorn.lifespan.on, uvloop
"""


class Zygote:
    """The loaded process; what it forked is killed at the end, if a test has not done so."""

    def __init__(self) -> None:
        self._forked: list[int] = []
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def fork(self, config: Path, log: Path) -> int:
        """Starts `privguard serve` in a process group of its own, its output in a file; gives its pid."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("no pipes")
        self._process.stdin.write(json.dumps([str(config), str(log)]) + "\n")
        self._process.stdin.flush()
        self._forked.append(int(self._process.stdout.readline()))
        return self._forked[-1]

    def close(self) -> None:
        for pid in self._forked[-1:]:  # the others' numbers may be somebody else's by now
            if alive(pid):
                kill(pid)
        self._process.communicate()


@contextmanager
def zygote() -> Iterator[Zygote]:
    made = Zygote()
    try:
        yield made
    finally:
        made.close()


def kill(pid: int) -> None:
    """kill -9, the whole process group; waits until it is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    until = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists():
        if time.monotonic() > until:
            raise RuntimeError("does not end")
        time.sleep(0.002)


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _serve(config: str, log: str) -> None:
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    from privguard.cli import main

    sys.argv = ["privguard", "serve", "--config", config]
    main()


def _main() -> None:
    exec(PRELOAD)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel forgets who ended
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            try:
                _serve(*json.loads(line))
            finally:
                os._exit(1)
        print(pid, flush=True)


if __name__ == "__main__":
    _main()
