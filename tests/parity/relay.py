"""Stands between the gateway and an upstream and notes what reaches it; the bytes go on as they come."""

import contextlib
import re
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager

HOST = "127.0.0.1"
REQUEST_LINE = re.compile(rb"^([A-Z]+ \S+) HTTP/1\.1\r$", re.MULTILINE)


class Relay:
    """What reached an upstream.

    Attributes:
        port: where the relay listens.
        sent: all bytes of all connections, in the order in which they came.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.sent = bytearray()

    def requests(self, since: int = 0) -> list[str]:
        """Method and target of every request; `since` is a length of `sent` from before."""
        return [line.decode() for line in REQUEST_LINE.findall(bytes(self.sent[since:]))]


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    onward: int
    relay: Relay


class _Connection(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        with socket.create_connection((HOST, self.server.onward)) as onward:
            back = threading.Thread(target=_copy, args=(onward, self.request), daemon=True)
            back.start()
            with contextlib.suppress(OSError):
                while chunk := self.request.recv(65_536):
                    self.server.relay.sent += (
                        chunk  # before it goes on: whoever has the answer finds it noted
                    )
                    onward.sendall(chunk)
                onward.shutdown(socket.SHUT_WR)
            back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while chunk := source.recv(65_536):
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)


@contextmanager
def relay(onward: int) -> Iterator[Relay]:
    """A relay to a loopback port, until the block ends."""
    with _Server((HOST, 0), _Connection) as server:
        server.onward = onward
        server.relay = Relay(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server.relay
        finally:
            server.shutdown()
            thread.join()
