"""The load generator: N keep-alive connections for T seconds, in a process of its own.

Each connection asks again as soon as it has its answer. Every answer's status and length are checked.
Our own rather than wrk: it walks through many client ids, checks lengths, and is the same on every machine.
"""

import argparse
import asyncio
import sys
import time
from array import array
from contextlib import suppress
from itertools import cycle

import msgspec
import uvloop


class Report(msgspec.Struct):
    """What one run saw: latencies in ms, CPU in seconds of this process.

    `requests` were answered within `seconds`; `answered` counts those that were under way then, too.
    """

    requests: int
    answered: int
    seconds: float
    p50: float
    p99: float
    cpu: float
    wrong: str


class Run:
    """What the connections of one run share."""

    def __init__(self, requests: list[bytes], length: int) -> None:
        self.requests = cycle(requests)
        self.length = length
        self.latencies = array("q")
        self.stopping = False
        self.spoilt = asyncio.Event()
        self.wrong = ""

    def fail(self, why: str) -> None:
        """Keep the first fault; one is enough to spoil the run."""
        self.wrong = self.wrong or why
        self.stopping = True
        self.spoilt.set()


class Caller(asyncio.Protocol):
    """One connection: ask, await the whole answer, ask again."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._head = b""
        self._missing = 0
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._run.stopping:
            self._run.fail("the connection was closed")
        self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self._missing:
            self._missing -= len(data)
        else:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            self._missing = self._length(self._head[:end]) - (len(self._head) - end - 4)
            self._head = b""
        if self._missing <= 0 or self._run.wrong:
            self._done()

    def _length(self, head: bytes) -> int:
        status, _, headers = head.partition(b"\r\n")
        at = headers.lower().find(b"content-length: ")
        length = int(headers[at + 16 :].partition(b"\r\n")[0]) if at >= 0 else -1
        if not status.startswith(b"HTTP/1.1 200") or length != self._run.length:
            said = status[9:12].decode("latin-1")
            self._run.fail(f"status {said}, length {length}; expected 200, {self._run.length}")
        return length

    def _ask(self) -> None:
        self._began = time.perf_counter_ns()
        self._transport.write(next(self._run.requests))

    def _done(self) -> None:
        if self._missing < 0:
            self._run.fail("more came than the answer's length")
        self._run.latencies.append(time.perf_counter_ns() - self._began)
        if self._run.stopping:
            self._transport.close()
        else:
            self._ask()


async def drive(port: int, run: Run, connections: int, seconds: float) -> Report:
    """Load one server and report."""
    loop = asyncio.get_running_loop()
    began, busy = time.perf_counter(), time.process_time()
    made = [loop.create_connection(lambda: Caller(run), "127.0.0.1", port) for _ in range(connections)]
    try:
        callers = [caller for _, caller in await asyncio.gather(*made)]
    except OSError:
        return Report(0, 0, 0, 0, 0, 0, "the connection was refused")
    with suppress(TimeoutError):
        await asyncio.wait_for(run.spoilt.wait(), seconds)
    took = time.perf_counter() - began
    run.stopping = True
    done = len(run.latencies)
    _, late = await asyncio.wait([caller.closed for caller in callers], timeout=30)
    if late:
        run.fail("an answer did not come within 30 s")
    ordered = sorted(run.latencies) or [0]
    p50, p99 = (ordered[int(len(ordered) * share)] / 1e6 for share in (0.5, 0.99))
    return Report(done, len(ordered), took, p50, p99, time.process_time() - busy, run.wrong)


def main() -> None:
    """`python -m benchmarks.load --port N --path P …`: prints one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True, help="{} in it stands for a number")
    parser.add_argument("--ids", type=int, default=1, help="numbers to take in turn, from 0")
    parser.add_argument("--header", action="append", default=[])
    parser.add_argument("--length", type=int, required=True, help="of every answer's body")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=5)
    args = parser.parse_args()
    lines = "".join(f"{header}\r\n" for header in ("Host: crm.example", *args.header))
    paths = [args.path.format(number) for number in range(args.ids)]
    requests = [f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode() for path in paths]
    report = uvloop.run(drive(args.port, Run(requests, args.length), args.connections, args.seconds))
    sys.stdout.buffer.write(msgspec.json.encode(report))


if __name__ == "__main__":
    main()
