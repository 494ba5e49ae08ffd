"""Masks a CSV file row by row: a row becomes a JSON record, is masked as one, and becomes a row again.

A column is a field of the same name; ``address.city`` is the field ``city`` within ``address``, and a field
that the policy lists under ``columns`` is a list within its cell. What leaves:

1. The header depends on the plan alone: fields that some record may show this actor, in the policy's order,
   as far as the upstream has them. Every other column is dropped; one that a condition reads is read before.
2. A cell that is withheld for its row is empty. Every clear cell keeps its text.
3. A cell that was changed never begins like a formula.

The grammar is RFC 4180's, with LF or CRLF and with ``,``, ``;`` or tab as the header has them. Bare quotes,
ragged rows, double columns and NUL can be read in two ways, so they are unreadable (M09).
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from privguard.errors import UnreadableResponseError
from privguard.masking.csv_table import Table, malformed
from privguard.masking.parts import MAX_RECORD, Batch, Desk
from privguard.model import AccessPlan

_CHARSETS: Final[Mapping[str, str]] = {
    "": "utf-8", "utf-8": "utf-8", "utf8": "utf-8", "us-ascii": "utf-8",
    "gb18030": "gb18030", "gbk": "gb18030", "gb2312": "gb18030",
}  # fmt: skip
"""What a charset parameter is decoded as; Chinese bank software writes GBK, a part of GB 18030."""
_CHARSET: Final = re.compile(r'(?:\A|;)\s*charset\s*=\s*"?([\w-]*)', re.IGNORECASE)


class CsvRows:
    """One CSV file.

    Args:
        parameters: of the Content-Type, without the media type.

    Raises:
        UnreadableResponseError: a charset other than UTF-8, ASCII or GB 18030.
    """

    def __init__(self, plan: AccessPlan, desk: Desk, parameters: str) -> None:
        found = _CHARSET.search(parameters)
        charset = _CHARSETS.get(found[1].lower() if found else "")
        if charset is None:
            raise UnreadableResponseError("The upstream's CSV is in a charset that cannot be read.")
        self._charset = charset
        self._decoder = codecs.getincrementaldecoder(charset)()
        self._plan = plan
        self._desk = desk
        self._table: Table | None = None
        self._batch = Batch[Sequence[str]]()
        self._rest = ""

    def feed(self, block: bytes, *, last: bool) -> Iterator[bytes]:
        """Masked rows, the header before the first of them.

        Raises:
            UnreadableResponseError: see the module.
        """
        text = self._rest + self._decoded(block, last=last)
        if last and text and not text.endswith("\n"):
            text += "\n"
        if self._table is None and text:
            self._table = Table(self._plan, text)
            text = text[self._table.begins :]
            yield self._table.header.encode(self._charset)
        if self._table is not None:
            end = self._table.complete(text)
            yield from self._rows(self._table, text[:end], last=last)
            text = text[end:]
        self._rest = text
        if len(self._rest) > (0 if last else MAX_RECORD):
            raise malformed()

    def _rows(self, table: Table, text: str, *, last: bool) -> Iterator[bytes]:
        rows = table.rows(text)
        for row in rows:
            if self._batch.add(row, len(text) // len(rows)):
                yield self._masked(table, self._batch.take())
        if last and (remaining := self._batch.take()):
            yield self._masked(table, remaining)

    def _masked(self, table: Table, rows: Sequence[Sequence[str]]) -> bytes:
        masked = self._desk.records([table.record(row) for row in rows])
        pairs = zip(rows, masked, strict=True)
        lines = [table.line(row, record) for row, record in pairs if record is not None]
        return "".join(lines).encode(self._charset)

    def _decoded(self, block: bytes, *, last: bool) -> str:
        try:
            text = self._decoder.decode(block, last)
        except UnicodeDecodeError:
            raise malformed() from None
        if "\0" in text:
            raise malformed()
        return text
