"""Starting a command line, waiting for its port, and what its process tree used, read from /proc."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / "benchmarks/.cache"
_TICK = os.sysconf("SC_CLK_TCK")


class NotMeasuredError(Exception):
    """A contender could not be measured; the message goes into its row."""


def free_port() -> int:
    """A loopback port that nobody holds now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(argv: list[str], port: int, cpu: int | None, log: Path) -> Iterator[int]:
    """Start a server, wait for its port, give its process id, and stop its process group afterwards.

    Raises:
        NotMeasuredError: it ended, or its port stayed shut for 30 s; what it wrote is in `log`.
    """
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    with log.open("wb") as out:
        server = subprocess.Popen(argv, cwd=ROOT, env=env, stdout=out, stderr=out, start_new_session=True)
    try:
        pin(server.pid, cpu)
        _wait_for_port(server, port, Path(argv[0]).name)
        yield server.pid
    finally:
        if server.poll() is not None:
            print(log.read_text(errors="replace"), file=sys.stderr)
        _stop(server)


def pin(pid: int, cpu: int | None) -> None:
    """Bind a process that has just started, and what it will start, to one core."""
    if cpu is not None:
        os.sched_setaffinity(pid, {cpu})


def cores() -> tuple[int | None, int | None]:
    """The first core, for callers and upstream, and the last; None, None where there is but one."""
    usable = sorted(os.sched_getaffinity(0))
    return (usable[0], usable[-1]) if len(usable) > 1 else (None, None)


def get(port: int, path: str, headers: tuple[str, ...]) -> tuple[int, bytes]:
    """Status and body of one GET.

    Raises:
        NotMeasuredError: no whole answer came.
    """
    with connection(port) as caller:
        caller.request("GET", path, headers=dict(header.split(": ", 1) for header in headers))
        answer = caller.getresponse()
        return answer.status, answer.read()


@contextmanager
def connection(port: int) -> Iterator[http.client.HTTPConnection]:
    """A connection to a loopback port, closed afterwards.

    Raises:
        NotMeasuredError: it was refused, cut or not understood.
    """
    caller = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    try:
        yield caller
    except (OSError, http.client.HTTPException) as why:
        raise NotMeasuredError(f"no whole answer came ({type(why).__name__})") from None
    finally:
        caller.close()


def tree(pid: int) -> list[int]:
    """A process and its living descendants."""
    found = [pid]
    for parent in found:
        for listing in Path(f"/proc/{parent}/task").glob("*/children"):
            found.extend(int(child) for child in _read(listing).split())
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of the process tree so far, children that have ended included (10 ms steps)."""
    return sum(_ticks(member) for member in tree(pid)) / _TICK


def resident(pid: int, field: str = "VmRSS") -> int:
    """Resident bytes of the process tree: now (VmRSS), or each member's own peak (VmHWM)."""
    return sum(_status(member, field) for member in tree(pid)) * 1024


def forget_peak(pid: int) -> None:
    """Make VmHWM start afresh (proc(5), clear_refs)."""
    for member in tree(pid):
        Path(f"/proc/{member}/clear_refs").write_text("5")


def _ticks(pid: int) -> int:
    after_name = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return sum(int(part) for part in after_name[11:15])  # utime, stime, cutime, cstime


def _status(pid: int, field: str) -> int:
    for line in _read(Path(f"/proc/{pid}/status")).splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    return 0


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):  # it has ended since it was listed
        return ""


def _wait_for_port(server: subprocess.Popen[bytes], port: int, name: str) -> None:
    if not wait_until(lambda: server.poll() is not None or _answers(port), 30):
        raise NotMeasuredError(f"{name} did not open its port within 30 s")
    if server.poll() is not None:
        raise NotMeasuredError(f"{name} ended with code {server.returncode} before it served")


def wait_until(happened: Callable[[], bool], seconds: float) -> bool:
    """Ask every 20 ms; False when the time is over."""
    end = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _stop(server: subprocess.Popen[bytes]) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, sign)
            server.wait(10)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
