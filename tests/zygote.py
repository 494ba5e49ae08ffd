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
import threading
import time
from collections.abc import Iterator, Mapping
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
        self._asking = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def fork(self, config: Path, log: Path, env: Mapping[str, str] | None = None) -> int:
        """Starts `privguard serve` in a process group of its own, its output in a file; gives its pid."""
        pid = self._ask([str(config), str(log), dict(env or {})])
        assert pid is not None
        self._forked.append(pid)
        return pid

    def ended(self, pid: int) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._ask(pid)

    def close(self) -> None:
        for pid in self._forked[-1:]:  # the others' numbers may be somebody else's by now
            if alive(pid):
                kill(pid)
        self._process.communicate()

    def _ask(self, question: object) -> int | None:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("no pipes")
        with self._asking:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            answer: int | None = json.loads(self._process.stdout.readline())
        return answer


class Forked:
    """What ``subprocess.Popen`` would be of a process that a zygote forked."""

    def __init__(self, source: Zygote, config: Path, log: Path, env: Mapping[str, str]) -> None:
        self._source = source
        self._ended: int | None = None
        self.pid = source.fork(config, log, env)

    def poll(self) -> int | None:
        if self._ended is None:
            self._ended = self._source.ended(self.pid)
        return self._ended

    def wait(self, timeout: float = 60) -> int:
        until = time.monotonic() + timeout
        while (ended := self.poll()) is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired("privguard serve", timeout)
            time.sleep(0.005)
        return ended

    def terminate(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)


@contextmanager
def zygote() -> Iterator[Zygote]:
    made = Zygote()
    try:
        yield made
    finally:
        made.close()


def kill(pid: int) -> None:
    """kill -9, the whole process group; waits until it is gone."""
    until = time.monotonic() + 20
    while alive(pid):
        with contextlib.suppress(ProcessLookupError):  # it may not lead a group yet
            os.killpg(pid, signal.SIGKILL)
        if time.monotonic() > until:
            raise RuntimeError("does not end")
        time.sleep(0.002)


def alive(pid: int) -> bool:
    """Whether it runs; who has ended and was not asked about yet does not, once the last thread has.

    A thread that waits for the disk outlives the first, and its process's sockets live on with it.
    """
    try:
        ended = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        return not ended or len(list(Path(f"/proc/{pid}/task").iterdir())) > 1
    except OSError:
        return False


def _serve(config: str, log: str, env: Mapping[str, str]) -> None:
    os.setsid()
    os.environ.update(env)
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
    for line in sys.stdin:
        question = json.loads(line)
        if isinstance(question, int):
            pid, status = os.waitpid(question, os.WNOHANG)
            print(json.dumps(os.waitstatus_to_exitcode(status) if pid else None), flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            try:
                _serve(*question)
            finally:
                os._exit(1)
        print(pid, flush=True)


if __name__ == "__main__":
    _main()
