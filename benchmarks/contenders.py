"""Who is measured. A contender is a command line that serves on a port in front of the upstream's port.

To add one, append it to `CONTENDERS`; throughput and memory take it from there.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import gateway, mitm, records
from benchmarks.process import NotMeasuredError, cores, free_port, get, serving

DIRECT = "upstream alone"
RELAY = "relay"
MITM = f"mitmproxy {mitm.VERSION}"


def _ready() -> None:
    """Most contenders need no preparation."""


@dataclass(frozen=True)
class Contender:
    """One server under measurement.

    Args:
        command: own port, upstream's port, scratch folder → command line.
        masks: its answers hold no clear personal value; otherwise they are the upstream's, byte for byte.
        headers: what every request carries, as `Name: value`.
        against: names of the contenders whose figures its own are divided by.
        streams: it can carry the large bodies (`memory.py`).
        prepare: runs once before the command; raises NotMeasuredError.
    """

    name: str
    command: Callable[[int, int, Path], list[str]]
    masks: bool
    headers: tuple[str, ...] = ()
    against: tuple[str, ...] = (RELAY,)
    streams: bool = False
    prepare: Callable[[], None] = _ready


@dataclass(frozen=True)
class Server:
    """A contender that runs."""

    contender: Contender
    port: int
    pid: int


@contextmanager
def running(contender: Contender, upstream: int, folder: Path) -> Iterator[Server]:
    """Prepare and start a contender on any core, with a fresh scratch folder; stop it afterwards.

    Raises:
        NotMeasuredError: it could not be prepared or did not serve.
    """
    contender.prepare()
    port, scratch = free_port(), Path(tempfile.mkdtemp(dir=folder))
    argv = contender.command(port, upstream, scratch)
    with serving(argv, port, None, folder / f"{scratch.name}.log") as pid:
        yield Server(contender, port, pid)


@contextmanager
def upstream_running(folder: Path, large: int = 200) -> Iterator[int]:
    """Start the static upstream on the callers' core and give its port; `large` in MB."""
    port = free_port()
    with serving(_upstream(port, large), port, cores()[0], folder / "upstream.log"):
        yield port


def _upstream(port: int, large: int = 200) -> list[str]:
    return [sys.executable, "-m", "benchmarks.upstream", "--port", str(port), "--large", str(large)]


def _relay(port: int, upstream: int, _folder: Path) -> list[str]:
    target = f"http://127.0.0.1:{upstream}"
    return [sys.executable, "-m", "benchmarks.relay", "--port", str(port), "--upstream", target]


CONTENDERS = (
    Contender(DIRECT, lambda port, _, __: _upstream(port), masks=False, against=()),
    Contender(RELAY, _relay, masks=False, against=(DIRECT,), streams=True),
    Contender(MITM, mitm.command, masks=True, prepare=mitm.install),
    Contender(
        "privguard",
        gateway.command,
        masks=True,
        streams=True,
        against=(RELAY, MITM, DIRECT),
        headers=gateway.HEADERS,
    ),
)


def check(contender: Contender, port: int, path: str) -> int:
    """Fetch a path once, see that the answer is what it should be, and give its length.

    Raises:
        NotMeasuredError: another status, changed bytes, or a personal value left clear.
    """
    status, body = get(port, path, contender.headers)
    if status != 200:
        raise NotMeasuredError(f"{path} answered {status}")
    numbers = [records.SINGLE] if path != "/clients" else range(1, records.PER_LIST + 1)
    expected = records.listing() if path == "/clients" else records.single(path.rpartition("/")[2])
    if not contender.masks and body != expected:
        raise NotMeasuredError(f"{path} came back changed")
    clear = {
        name
        for number in numbers
        for name, value in records.clear_values(number).items()
        if value.encode() in body
    }
    if contender.masks and clear:
        raise NotMeasuredError(f"{path} left clear: {', '.join(sorted(clear))}")
    return len(body)
