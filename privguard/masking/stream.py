"""Masks answers that leave in parts: CSV and JSON lines of any size, JSON documents too large to hold.

    chunks as they come -> blocks of 256 KB -> raw records (csv_rows, json_stream) -> masked batches -> parts

1. A part is 256 records, or about 256 KB of them; the shell puts it on record before its bytes leave.
2. A body is always cut into the same blocks, so what leaves does not depend on the chunks it came in.
3. A raw record goes through the same masker as a whole body: one parser, one truth (M09).
4. Memory holds a block and the record that its end cuts in two, which may have 1 MB.
5. What cannot be read raises, in the middle if need be: the shell then breaks off without a clean end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Protocol

from msgspec.structs import replace

from privguard.errors import AccessDeniedError, UnreadableResponseError
from privguard.masking.csv_rows import CsvRows
from privguard.masking.json_stream import JsonDocument
from privguard.masking.paging import PagingRewrite
from privguard.masking.parts import BLOCK, MAX_RECORD, Batch, Desk, Part, StreamableMasker
from privguard.model import AccessPlan, Principal

EXPORTS: Final[Mapping[str, str]] = {
    "text/csv": "csv",
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
    "application/jsonl": "ndjson",
}
"""Media types that are exports whatever their size, with the format's name in a policy."""


def open_stream(
    media: str,
    masker: StreamableMasker,
    plan: AccessPlan,
    actor: Principal,
    params: Mapping[str, str],
    paging: PagingRewrite | None = None,
) -> StreamMasker:
    """Opens the masker of one answer.

    Args:
        media: its Content-Type; the charset counts for CSV.
        params: parameters of the route.
        paging: how ``next`` links are rewritten; None withholds them.

    Raises:
        AccessDeniedError: an export in a format that the plan does not permit.
        UnreadableResponseError: a media type that cannot be masked in parts.
    """
    if paging is not None:  # what stands around the records is masked apart: nobody knows what was left out
        paging = replace(paging, narrowed=False)
    kind, _, parameters = media.partition(";")
    kind = kind.strip().lower()
    if kind in EXPORTS:
        limits = dict(plan.export)
        if EXPORTS[kind] not in limits:
            raise AccessDeniedError(f"The policy does not permit this actor to export {EXPORTS[kind]}.")
        desk = Desk(masker, actor, params, paging, limits[EXPORTS[kind]])
        return StreamMasker(CsvRows(plan, desk, parameters) if kind == "text/csv" else JsonLines(desk), desk)
    if kind == "application/json" or kind.endswith("+json"):
        desk = Desk(masker, actor, params, paging, None)
        return StreamMasker(JsonDocument(plan.shape.records, desk), desk)
    raise UnreadableResponseError("The upstream's answer is of a media type that cannot be masked in parts.")


class _Format(Protocol):
    def feed(self, block: bytes, *, last: bool) -> Iterator[bytes]:
        """Masked bytes as soon as they are known; what the desk noted belongs to them."""
        ...


class StreamMasker:
    """Takes a body in chunks and gives it masked in parts; ends with ``close``, or with an exception."""

    def __init__(self, rows: _Format, desk: Desk) -> None:
        self._rows = rows
        self._desk = desk
        self._held = bytearray()

    def feed(self, chunk: bytes) -> Iterator[Part]:
        """The parts that this chunk completes.

        Raises:
            UnreadableResponseError: the body cannot be read on.
            AccessDeniedError: it is about more clients than may be exported.
        """
        self._held += chunk
        while len(self._held) > BLOCK:
            block = bytes(self._held[:BLOCK])
            del self._held[:BLOCK]
            yield from self._parts(block, last=False)

    def close(self) -> Iterator[Part]:
        """The remaining parts. Raises as ``feed``; also where the body is not complete."""
        block, self._held = bytes(self._held), bytearray()
        yield from self._parts(block, last=True)

    def _parts(self, block: bytes, *, last: bool) -> Iterator[Part]:
        for body in self._rows.feed(block, last=last):
            part = self._desk.part(body)
            if part.body or part.disclosures:
                yield part


class JsonLines:
    """One JSON record a line (NDJSON); empty lines are nothing."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._rest = b""
        self._batch = Batch[bytes]()

    def feed(self, block: bytes, *, last: bool) -> Iterator[bytes]:
        lines = (self._rest + block).split(b"\n")
        self._rest = b"" if last else lines.pop()
        if any(len(line) > MAX_RECORD for line in (*lines, self._rest)):
            raise UnreadableResponseError("A line of the upstream's answer is longer than 1 MB.")
        for line in lines:
            if line.strip(b" \t\r") and self._batch.add(line, len(line)):
                yield self._masked(self._batch.take())
        if last and (records := self._batch.take()):
            yield self._masked(records)

    def _masked(self, records: list[bytes]) -> bytes:
        return b"".join(line + b"\n" for line in self._desk.records(records) if line is not None)
