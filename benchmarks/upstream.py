"""The CRM that all contenders stand in front of: fixed bytes from one asyncio protocol, to cost least.

`GET /clients/{id}` is about 1 KB and `GET /clients` about 100 KB;
`GET /clients.csv` and `GET /clients.json` (an array) are `--large` MB, in chunks.
"""

import argparse
import asyncio
from collections.abc import Iterator

import uvloop

from benchmarks import records

_PREFIX, _SUFFIX = records.single("\0id").split(b"\\u0000id")
_LIST = records.listing()
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
_CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ntransfer-encoding: chunked\r\n\r\n"
_LIST_ANSWER = _HEAD % len(_LIST) + _LIST
_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"


class Upstream(asyncio.Protocol):
    """One connection; requests have no body, and a large answer is written only as fast as it is read."""

    def __init__(self, large: int) -> None:
        self._large = large
        self._pending = b""
        self._stream: Iterator[bytes] = iter(())
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        *requests, self._pending = (self._pending + data).split(b"\r\n\r\n")
        for request in requests:
            self._answer(request.split(b" ", 2)[1].partition(b"?")[0])

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._pump()

    def _answer(self, path: bytes) -> None:
        if path.startswith(b"/clients/"):
            body = b"%b%b%b" % (_PREFIX, path[9:], _SUFFIX)
            self._transport.write(_HEAD % len(body) + body)
        elif path == b"/clients":
            self._transport.write(_LIST_ANSWER)
        elif path in (b"/clients.csv", b"/clients.json"):
            self._stream = large_answer(path, self._large)
            self._pump()
        else:
            self._transport.write(_NOT_FOUND)

    def _pump(self) -> None:
        while not self._paused and not self._transport.is_closing():
            piece = next(self._stream, None)
            if piece is None:
                return
            self._transport.write(piece)


def large_answer(path: bytes, size: int) -> Iterator[bytes]:
    """Head and chunks of the large CSV file or JSON array, `size` bytes and a little more; no id twice."""
    is_csv = path.endswith(b".csv")
    block = records.csv_block() if is_csv else records.json_block()
    yield _CHUNKED % (b"text/csv; charset=utf-8" if is_csv else b"application/json")
    yield _chunk(records.csv_header() if is_csv else b"[")
    sent = number = 0
    while sent < size:
        filled = block % tuple(range(number, number + records.PER_LIST))
        yield _chunk(filled if is_csv or not number else b"," + filled)
        number += records.PER_LIST
        sent += len(filled)
    yield (b"" if is_csv else _chunk(b"]")) + b"0\r\n\r\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def _serve(port: int, large: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Upstream(large), "127.0.0.1", port, backlog=512)
    await server.serve_forever()


def main() -> None:
    """`python -m benchmarks.upstream --port N [--large MB]`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--large", type=int, default=200, help="MB of /clients.csv and /clients.json")
    args = parser.parse_args()
    uvloop.run(_serve(args.port, args.large * 1_000_000))


if __name__ == "__main__":
    main()
