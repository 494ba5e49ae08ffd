"""An upstream that notes every request byte for byte and answers as it is told; in a thread of the test."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

HOP_BY_HOP = ("connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade")


@dataclass(frozen=True)
class Seen:
    """One request as it arrived.

    Attributes:
        target: between the two spaces of the request line.
        headers: names and values as they were written, in their order.
    """

    method: str
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.decode("latin-1").partition("?")[0]

    def values(self, name: str) -> list[str]:
        """The values of all headers of this name, whatever its case."""
        return [
            value.decode("latin-1") for key, value in self.headers if key.decode("latin-1").lower() == name
        ]


Reply = Callable[[Seen], bytes | Iterator[bytes]]
"""Gives the bytes of an answer, in pieces if need be; an answer without length ends its connection."""


def answer(status: int, body: bytes | str = b"", media: str = "application/json", **headers: str) -> bytes:
    """The bytes of an answer; ``_`` in a header's name stands for ``-``."""
    data = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(data)}"]
    if media:
        lines.append(f"Content-Type: {media}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + data


def as_json(value: Any, status: int = 200, **headers: str) -> bytes:
    return answer(status, json.dumps(value, ensure_ascii=False), **headers)


def echo(seen: Seen) -> bytes:
    """What arrived: method, target, headers."""
    headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in seen.headers]
    return as_json({"method": seen.method, "target": seen.target.decode("latin-1"), "headers": headers})


def relay(port: int) -> Reply:
    """Hands a request on to the CRM as it came, and its answer back whole."""

    def ask(seen: Seen) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in seen.headers}
        connection.request(seen.method, seen.target.decode("latin-1"), seen.body, headers)
        answer = connection.getresponse()
        body = answer.read()
        kept = [f"{name}: {value}" for name, value in answer.getheaders() if name.lower() not in _FRAMING]
        connection.close()
        head = [f"HTTP/1.1 {answer.status} X", f"Content-Length: {len(body)}", *kept]
        return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body

    return ask


_FRAMING = (*HOP_BY_HOP, "content-length", "date", "server")


@dataclass
class Recorder:
    """The upstream's side.

    Attributes:
        replies: by ``METHOD /path``, else by path, else ``default``.
        seen: all requests, in the order in which they were complete.
        connections: how many were opened, whether or not a request came.
        broken: bytes of requests that could not be read.
    """

    port: int = 0
    replies: dict[str, Reply] = field(default_factory=dict)
    default: Reply = echo
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0
    broken: list[bytes] = field(default_factory=list)

    def reply(self, seen: Seen) -> bytes | Iterator[bytes]:
        chosen = self.replies.get(f"{seen.method} {seen.path}") or self.replies.get(seen.path) or self.default
        return chosen(seen)

    def say(self, where: str, value: Any, status: int = 200) -> None:
        """Answers with this JSON there."""
        self.replies[where] = lambda _: as_json(value, status)

    def lines(self, since: int = 0) -> list[str]:
        """Method and target of what arrived."""
        return [f"{seen.method} {seen.target.decode('latin-1')}" for seen in self.seen[since:]]

    @contextmanager
    def unasked(self) -> Iterator[None]:
        """Within the block nothing may arrive but the question who asks (its answer is kept a minute)."""
        before = len(self.seen)
        yield
        assert [line for line in self.lines(before) if line != "GET /me"] == []


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128
    recorder: Recorder


class _Connection(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        recorder = self.server.recorder
        recorder.connections += 1
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError):
            while (seen := self._read()) is not None:
                recorder.seen.append(seen)  # before it is answered: whoever has the answer finds it noted
                said = recorder.reply(seen)
                for piece in (said,) if isinstance(said, bytes) else said:
                    self.request.sendall(piece)
                if not isinstance(said, bytes) or b"\r\ncontent-length:" not in said[:4096].lower():
                    return

    def _read(self) -> Seen | None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self.rfile.readline(1 << 20)
            if not line:
                if head:
                    self.server.recorder.broken.append(head)
                return None
            head += line
        first, *lines = head[:-4].split(b"\r\n")
        method, target, _ = first.split(b" ")
        pairs = [line.partition(b":") for line in lines]
        headers = tuple((name, value.strip(b" \t")) for name, _, value in pairs)
        seen = Seen(method.decode("latin-1"), target, headers, b"")
        return Seen(seen.method, target, headers, self._body(seen))

    def _body(self, seen: Seen) -> bytes:
        if seen.values("transfer-encoding"):
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body
        return self.rfile.read(int("".join(seen.values("content-length")) or "0"))


@contextmanager
def recording(replies: Mapping[str, Reply] | None = None) -> Iterator[Recorder]:
    """A recording upstream on a free loopback port, until the block ends."""
    with _Server(("127.0.0.1", 0), _Connection) as server:
        server.recorder = Recorder(server.server_address[1], dict(replies or {}))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server.recorder
        finally:
            server.shutdown()
            thread.join()


STAFF = "staff-token-0123456789"
OTHER = "other-token-0123456789"
DEMO = f"""
[identity]
mode = "demo"
[[identity.demo]]
token = "{STAFF}"
id = "e-17"
roles = ["staff"]
branch = "north"
[[identity.demo]]
token = "{OTHER}"
id = "e-18"
roles = ["staff"]
branch = "south"
"""
"""Two members of staff of two branches, for a recorder that knows nobody."""

POLICY = """\
privguard: 1
defaults: {purpose: service}
classes:
  name:    {mask: cjk_name}
  contact: {mask: cn_mobile_3_4, write: any}
  secret:  {mask: withhold}
resources:
  client:
    match: [GET /clients, "GET /clients/{id}", "PATCH /clients/{id}", "GET /clients.csv"]
    records: ["$.items[*]", $.client]
    id: id
    params: {page: paging, size: paging}
    fields: {id: public, name: name, mobile: contact, branch: secret}
relations:
  same_branch: subject.branch == record.branch
rules:
  - {id: staff-read, roles: [staff], relation: same_branch, show: {clear: [name], masked: [contact]}}
  - {id: staff-export, roles: [staff], relation: same_branch, export: {formats: [csv], max_clients: 100000}}
passthrough: ["GET /public/*", "POST /public/*"]
"""


def client(number: int | str, branch: str = "north") -> dict[str, Any]:
    """A made-up client whose values can be told apart; mobiles are in a range nobody holds."""
    tail = int(number) if str(number).isdigit() else 0
    return {"id": number, "name": f"客户{tail:05d}", "mobile": f"1990{tail:07d}", "branch": branch}


def crm(seen: Seen) -> bytes:
    """Answers like a small CRM: /clients, /clients/ID, PATCH; anything else is echoed."""
    parts = seen.path.strip("/").split("/")
    if seen.path == "/clients":
        return as_json({"items": [client(number) for number in range(1, 11)]})
    if parts[0] == "clients" and len(parts) == 2:
        return as_json({"client": client(parts[1])})
    return echo(seen)
