"""Stands where the app behind sends its answer: holds it until it is masked and on record."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Final

from privguard.asgi.coding import Decoder
from privguard.asgi.headers import (
    content_type_of,
    fields_header,
    governed_headers,
    media_of,
    receipt_header,
)
from privguard.asgi.messages import Message, RawHeaders, Send
from privguard.errors import (
    AccessDeniedError,
    PrivguardError,
    UnreadableResponseError,
    UpstreamRefusedError,
    contained,
)
from privguard.exchange import Exchange
from privguard.guard import AsyncGuard, Limits
from privguard.masking import PagingRewrite
from privguard.masking.parts import Part
from privguard.masking.stream import StreamMasker
from privguard.model import AuditReceipt

ROWS: Final = frozenset({"text/csv", "application/x-ndjson", "application/ndjson", "application/jsonl"})
"""Media types that are masked row by row, whatever their size."""

ABSENT: Final = frozenset({403, 404, 410})
"""What upstreams say of a record that is not there; Directus says 403."""


class StoppedError(OSError):
    """Tells the app behind that nobody takes its answer any more; carries nothing."""


class Way(enum.Enum):
    """How an answer's body is treated; its status and media type decide."""

    WHOLE = enum.auto()
    PARTS = enum.auto()
    OPAQUE = enum.auto()
    EMPTY = enum.auto()


class GovernedAnswer:
    """Takes an answer message by message; nothing goes on before its record is durable.

    After the app returned, ``finish`` must be called: what failed inside ``take`` must not be lost in an
    app that catches exceptions.

    Args:
        head: the caller asked with HEAD; the app was asked with GET, so that both say the same (M08, M12).
        paging: how ``next`` links are rewritten to the caller's side of the gateway.
    """

    def __init__(
        self,
        exchange: Exchange,
        guard: AsyncGuard,
        send: Send,
        limits: Limits,
        *,
        head: bool = False,
        paging: PagingRewrite | None = None,
    ) -> None:
        self.exchange = exchange
        self.failure: PrivguardError | None = None
        self.begun = False
        self._guard = guard
        self._send = send
        self._limits = limits
        self._head = head
        self._paging = paging
        self._way: Way | None = None
        self._done = False
        self._media = ""
        self._headers: RawHeaders = []
        self._held = bytearray()
        self._decoder: Decoder | None = None
        self._stream: StreamMasker | None = None

    async def take(self, message: Message) -> None:
        """The ``send`` that the app behind gets."""
        if self.failure is not None:
            raise StoppedError
        try:
            await self._take(message)
        except Exception as error:  # noqa: BLE001  # whatever a stage raises, the answer is withheld
            self.failure = contained(error)
            raise StoppedError from None

    def finish(self) -> None:
        """The app has returned.

        Raises:
            PrivguardError: what failed on the way; also where the app ended without a whole answer.
        """
        if self.failure is not None:
            raise self.failure
        if not self._done:
            raise UnreadableResponseError("The app behind ended without a whole answer.")

    async def _take(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start" and self._way is None:
            self._start(message["status"], list(message.get("headers", ())))
        elif kind == "http.response.body" and self._way is not None and not self._done:
            last = not message.get("more_body", False)
            await self._body(message.get("body", b""), last=last)
            self._done = last
        else:  # pathsend, trailers, early hints: no way past the mask (M06)
            raise UnreadableResponseError("The app behind sent a kind of message that cannot be masked.")

    # 5 the app behind answered

    def _start(self, status: int, headers: RawHeaders) -> None:
        self.exchange.answered(status)
        if not 200 <= status < 300:
            if status == 404 or (status in ABSENT and self._of_one_record()):
                raise AccessDeniedError(hidden=True)  # M12: one answer for absent and not permitted
            raise UpstreamRefusedError(status)
        self._media, coding = media_of(headers)
        self._headers = governed_headers(headers)
        self._decoder = Decoder(coding) if coding else None
        if status in (204, 205):
            self._way = Way.EMPTY
        elif self._media in ROWS:
            self._way = Way.PARTS
            self._stream = self.exchange.open_stream(content_type_of(self._headers), self._paging)
        elif self._media == "application/json" or self._media.endswith("+json"):
            self._way = Way.WHOLE
        else:
            self._way = Way.OPAQUE
            self.exchange.mask_opaque(self._media)

    def _of_one_record(self) -> bool:
        route = self.exchange.route
        return route is not None and not route.many and not route.verb.writes

    async def _body(self, raw: bytes, *, last: bool) -> None:
        for chunk in self._decoded(raw, last=last):
            if self._stream is not None:
                await self._parts(self._stream.feed(chunk))
            elif chunk and self._way is Way.EMPTY:
                raise UnreadableResponseError("A body came with a status that has none.")
            else:
                self._held += chunk
                if len(self._held) > self._limits.answer:
                    await self._overflow()
        if last:
            await self._last()

    def _decoded(self, raw: bytes, *, last: bool) -> Iterable[bytes]:
        if self._decoder is None:
            return (raw,)
        return self._decoder.feed(raw, last=last)

    async def _overflow(self) -> None:
        """The body is too large to hold: from here on it leaves in parts."""
        if self._way is not Way.WHOLE:
            raise UnreadableResponseError("The body is larger than max_body.")
        self._way = Way.PARTS
        self._stream = self.exchange.open_stream(content_type_of(self._headers), self._paging)
        held, self._held = bytes(self._held), bytearray()
        await self._parts(self._stream.feed(held))

    # 6 mask, 7 record, 8 release

    async def _last(self) -> None:
        if self._stream is not None:
            await self._parts(self._stream.close())
            if not self.begun:
                await self._part(Part(b"", (), 0))
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        body, offered = bytes(self._held), False
        if self._way is Way.WHOLE:
            masked = self.exchange.mask_json(body, self._paging)
            body, offered = masked.body, bool(masked.offers.fields)
        elif self._way is Way.EMPTY:
            self.exchange.mask_empty()
        receipt = await self._guard.record_access(self.exchange)
        self.exchange.release(receipt)
        await self._open(receipt, len(body), offered=offered)
        body = b"" if self._head else body
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def _parts(self, parts: Iterable[Part]) -> None:
        for part in parts:
            await self._part(part)

    async def _part(self, part: Part) -> None:
        self.exchange.mask_part(part, self._guard.core.new_id())
        receipt = await self._guard.record_access(self.exchange)
        self.exchange.release(receipt)
        if not self.begun:
            await self._open(receipt, None, offered=False)
        if part.body and not self._head:
            await self._send({"type": "http.response.body", "body": part.body, "more_body": True})

    async def _open(self, receipt: AuditReceipt, length: int | None, *, offered: bool) -> None:
        self.begun = True
        headers = self._headers
        if length is not None and self._way is not Way.EMPTY:
            headers.append((b"content-length", b"%d" % length))
        headers.append((b"privguard-receipt", receipt_header(receipt)))
        if fields := fields_header(self.exchange.shown):
            headers.append((b"privguard-fields", fields))
        if offered:
            headers.append((b"link", self._guard.link(self.exchange)))
        await self._send({"type": "http.response.start", "status": self.exchange.status, "headers": headers})
