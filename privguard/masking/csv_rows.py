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
import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from privguard.errors import UnreadableResponseError
from privguard.masking.parts import BATCH, MAX_RECORD, Desk
from privguard.masking.paths import Each, Key, parse_path, route_parameter
from privguard.model import AccessPlan, View

_CHARSETS: Final[Mapping[str, str]] = {
    "": "utf-8", "utf-8": "utf-8", "utf8": "utf-8", "us-ascii": "utf-8",
    "gb18030": "gb18030", "gbk": "gb18030", "gb2312": "gb18030",
}  # fmt: skip
"""What a charset parameter is decoded as; Chinese bank software writes GBK, a part of GB 18030."""
_CHARSET: Final = re.compile(r'(?:\A|;)\s*charset\s*=\s*"?([\w-]*)', re.IGNORECASE)
_DELIMITER: Final = re.compile(r'(?:"[^"]*+"|[^",;\t\r\n])*+([,;\t])')
_QUOTED: Final = re.compile(r'["\r\n]')
_FORMULA: Final = frozenset("=+-@\t\r")


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
        self._table: _Table | None = None
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
            self._table = _Table(self._plan, text)
            text = text[self._table.begins :]
            yield self._table.header.encode(self._charset)
        if self._table is not None:
            end = self._table.complete(text)
            for rows in self._table.batches(text[:end]):
                masked = self._desk.records([self._table.record(row) for row in rows])
                yield self._table.lines(rows, masked).encode(self._charset)
            text = text[end:]
        self._rest = text
        if len(self._rest) > (0 if last else MAX_RECORD):
            raise _malformed()

    def _decoded(self, block: bytes, *, last: bool) -> str:
        try:
            text = self._decoder.decode(block, last)
        except UnicodeDecodeError:
            raise _malformed() from None
        if "\0" in text:
            raise _malformed()
        return text


class _Column(Struct, frozen=True):
    """A column that is read: its place in the row and in the record."""

    position: int
    path: tuple[str, ...]
    separator: str | None


class _Table:
    """What the header row says.

    Args:
        text: the beginning of the file, up to the end of the header row at least.

    Attributes:
        begins: where the rows begin.
        header: the header row that leaves.
    """

    def __init__(self, plan: AccessPlan, text: str) -> None:
        mark = "\ufeff" if text.startswith("\ufeff") else ""
        found = _DELIMITER.match(text, len(mark))
        self._delimiter = found[1] if found else ","
        row = _row(self._delimiter)
        head = re.compile(row).match(text, len(mark))
        if head is None:
            raise _malformed()
        self._rows = re.compile(f"(?:{row})*+")
        self._ending = "\r\n" if head[0].endswith("\r\n") else "\n"
        names = next(self._parse(head[0]), [])
        self._width = len(names)
        readable, shown = _columns(plan)
        self._read = [
            _Column(names.index(name), path, separator)
            for name, (path, separator) in readable.items()
            if name in names
        ]
        of = {column.position: column for column in self._read}
        self._shown = [of[names.index(name)] for name in shown if name in names]
        self._check(plan, names)
        self._flat = all(len(column.path) == 1 and column.separator is None for column in self._read)
        self._keys = [column.path[0] for column in self._read]
        self.begins = head.end()
        self.header = mark + self._text([[names[column.position] for column in self._shown]])

    def _check(self, plan: AccessPlan, names: Sequence[str]) -> None:
        paths = {column.path for column in self._read}
        if len(set(names)) < len(names):
            raise UnreadableResponseError("The upstream's CSV has a column twice.")
        if any(path[:length] in paths for path in paths for length in range(1, len(path))):
            raise UnreadableResponseError("The upstream's CSV has a column within another.")
        if route_parameter(plan.shape.id) is None and _names(plan.shape.id) not in paths:
            raise UnreadableResponseError(
                f"The upstream's CSV has no column {plan.shape.id}: whose the rows are is not known."
            )
        if not self._shown:
            raise UnreadableResponseError("The upstream's CSV has no column that this actor may see.")

    def complete(self, text: str) -> int:
        """Where the last whole row ends."""
        found = self._rows.match(text)
        return found.end() if found else 0

    def batches(self, text: str) -> Iterator[list[list[str]]]:
        """Whole rows, in batches; empty lines are nothing."""
        rows = [row for row in self._parse(text) if row]
        if any(len(row) != self._width for row in rows):
            raise UnreadableResponseError("The upstream's CSV has a row of another width than its header.")
        for start in range(0, len(rows), BATCH):
            yield rows[start : start + BATCH]

    def record(self, row: Sequence[str]) -> bytes:
        """The row as a JSON record: an empty cell is null, every other is text or a list of texts."""
        if self._flat:
            cells = (row[column.position] or None for column in self._read)
            return msgspec.json.encode(dict(zip(self._keys, cells, strict=True)))
        record: dict[str, Any] = {}
        for column in self._read:
            inner = record
            for key in column.path[:-1]:
                inner = inner.setdefault(key, {})
            inner[column.path[-1]] = _value(row[column.position], column.separator)
        return msgspec.json.encode(record)

    def lines(self, rows: Sequence[Sequence[str]], masked: Sequence[bytes | None]) -> str:
        """The rows that leave, as text."""
        return self._text(
            [_cell(record, column, row[column.position]) for column in self._shown]
            for row, raw in zip(rows, masked, strict=True)
            if raw is not None
            for record in (msgspec.json.decode(raw),)
        )

    def _parse(self, text: str) -> Iterator[list[str]]:
        try:
            yield from csv.reader(io.StringIO(text, newline=""), delimiter=self._delimiter, strict=True)
        except csv.Error:  # a cell beyond csv's 128 KB
            raise _malformed() from None

    def _text(self, rows: Iterable[Sequence[str]]) -> str:
        return "".join(self._line(row) for row in rows)

    def _line(self, cells: Sequence[str]) -> str:
        """The row with quotes where RFC 4180 has them; csv.writer leaves a bare CR in a file of LF lines."""
        line = self._delimiter.join(cells)
        plain = line.count(self._delimiter) == len(cells) - 1 and not _QUOTED.search(line)
        return (line if line and plain else self._delimiter.join(map(_quoted, cells))) + self._ending


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"'


def _row(delimiter: str) -> str:
    """A whole row as RFC 4180 has it."""
    cell = rf'(?:"[^"]*+(?:""[^"]*+)*+"|[^"{delimiter}\r\n]*+)'
    return rf"{cell}(?:{delimiter}{cell})*+\r?\n"


def _columns(plan: AccessPlan) -> tuple[dict[str, tuple[tuple[str, ...], str | None]], list[str]]:
    """Columns to be read, by name, as (path, separator); and the names of those that may leave, in order."""
    separators = {_names(path): separator for path, separator in plan.shape.columns}
    fields = [view for view in plan.strongest() if view.spec.nested is None]
    wanted = [view.spec.path for view in fields] + list(plan.reads)
    if route_parameter(plan.shape.id) is None:
        wanted.append(plan.shape.id)
    paths = {path: names for path in wanted if (names := _names(path))}
    readable = {".".join(names): (names, separators.get(names)) for names in paths.values()}
    shown = [
        paths[view.spec.path] for view in fields if view.view > View.WITHHELD and view.spec.path in paths
    ]
    return readable, list(dict.fromkeys(map(".".join, shown)))


def _names(path: str) -> tuple[str, ...]:
    """The names of a path that a column can stand for; ``tags[*]`` is the list ``tags``; else empty."""
    steps = parse_path(path)
    if isinstance(steps[-1], Each):
        steps = steps[:-1]
    names = tuple(step.name for step in steps if isinstance(step, Key))
    return names if len(names) == len(steps) else ()


def _value(cell: str, separator: str | None) -> object:
    if separator is None:
        return cell or None
    return cell.split(separator) if cell else []


def _cell(record: Any, column: _Column, before: str) -> str:
    """The cell that leaves: what the masker left of it, as text."""
    value = record
    for key in column.path:
        value = value.get(key) if isinstance(value, dict) else None
    text = _text_of(value, column.separator)
    return "'" + text if text != before and text[:1] in _FORMULA else text


def _text_of(value: object, separator: str | None) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list) and separator is not None:
        return separator.join(item for item in value if isinstance(item, str))
    return str(value) if isinstance(value, (int, float)) else ""


def _malformed() -> UnreadableResponseError:
    return UnreadableResponseError("The upstream's answer is not the CSV it is said to be.")
