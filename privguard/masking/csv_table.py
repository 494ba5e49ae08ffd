"""A CSV file's header, and what it makes of rows: JSON records on the way in, rows again on the way out."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from privguard.errors import UnreadableResponseError
from privguard.masking.paths import Each, Key, parse_path, route_parameter
from privguard.model import AccessPlan, View

_DELIMITER: Final = re.compile(r'(?:"[^"]*+"|[^",;\t\r\n])*+([,;\t])')
_SPECIAL: Final = re.compile(r'["\r\n]')
_FORMULA: Final = "=+@\t\r-"
"""First characters by which a spreadsheet knows a formula."""


class _Field(Struct, frozen=True):
    """What a column stands for.

    Attributes:
        path: names of the keys that lead to it in the record.
        separator: what parts the list within a cell; None if it is no list.
    """

    path: tuple[str, ...]
    separator: str | None

    @property
    def plain(self) -> bool:
        """A text at the top of the record, as nearly every column is."""
        return len(self.path) == 1 and self.separator is None


class Table:
    """What the header row says.

    Args:
        text: the beginning of the file, up to the end of the header row at least.

    Attributes:
        begins: where the rows begin.
        header: the header row that leaves.

    Raises:
        UnreadableResponseError: no header row, a column twice or within another, none that says whose the row
            is, none that this actor may see.
    """

    def __init__(self, plan: AccessPlan, text: str) -> None:
        mark = "\ufeff" if text.startswith("\ufeff") else ""
        found = _DELIMITER.match(text, len(mark))
        self._delimiter = found[1] if found else ","
        row = _row(self._delimiter)
        head = re.compile(row).match(text, len(mark))
        if head is None:
            raise malformed()
        self._complete = re.compile(f"(?:{row})*+")
        # One pattern with both in it has no literal to look for, and takes 20 µs a line instead of 1.
        self._formula = re.compile(f"{self._delimiter}[{_FORMULA}]")
        self._quote = re.compile(f'["\\r\\n{self._delimiter}]')
        self._ending = "\r\n" if head[0].endswith("\r\n") else "\n"
        self.begins = head.end()

        names = next(self._parse(head[0]), [])
        self._width = len(names)
        fields, shown = _columns(plan)
        self._read = {names.index(name): field for name, field in fields.items() if name in names}
        self._shown = [names.index(name) for name in shown if name in names]
        self._check(plan, names)

        plain = {at: field.path[0] for at, field in self._read.items() if field.plain}
        self._keys, self._positions = list(plain.values()), list(plain)
        self._odd = [(at, field) for at, field in self._read.items() if not field.plain]
        self._odd_shown = [(n, self._read[at]) for n, at in enumerate(self._shown) if at not in plain]
        texts = [plain[at] for at in self._shown if at in plain]
        self._decode = msgspec.json.Decoder(_struct_of(texts)).decode
        self.header = mark + self._written([names[at] for at in self._shown], names)

    def _check(self, plan: AccessPlan, names: Sequence[str]) -> None:
        paths = {field.path for field in self._read.values()}
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
        found = self._complete.match(text)
        return found.end() if found else 0

    def rows(self, text: str) -> list[list[str]]:
        """The cells of whole rows; empty lines are nothing.

        Raises:
            UnreadableResponseError: a row of another width than the header.
        """
        rows = [row for row in self._parse(text) if row]
        if any(len(row) != self._width for row in rows):
            raise UnreadableResponseError("The upstream's CSV has a row of another width than its header.")
        return rows

    def record(self, row: Sequence[str]) -> bytes:
        """The row as a JSON record: an empty cell is null, every other is text or a list of texts."""
        record: dict[str, Any] = dict(
            zip(self._keys, [row[at] or None for at in self._positions], strict=True)
        )
        for at, field in self._odd:
            inner = record
            for key in field.path[:-1]:
                inner = inner.setdefault(key, {})
            cell = row[at]
            inner[field.path[-1]] = cell or None if field.separator is None else _split(cell, field.separator)
        return msgspec.json.encode(record)

    def line(self, row: Sequence[str], masked: bytes) -> str:
        """The row that leaves for a masked record; ``row`` is what it was."""
        cells = [text or "" for text in msgspec.structs.astuple(self._decode(masked))]
        if self._odd_shown:
            record = msgspec.json.decode(masked)
            for at, field in self._odd_shown:
                cells.insert(at, _cell(record, field))
        line = self._delimiter.join(cells)
        plain = line.count(self._delimiter) == len(cells) - 1 and not _SPECIAL.search(line)
        if plain and line and line[0] not in _FORMULA and not self._formula.search(line):
            return line + self._ending
        return self._written(cells, row)

    def _written(self, cells: Sequence[str], row: Sequence[str]) -> str:
        """The cells with quotes where needed; one that was changed does not begin like a formula."""
        changed = [row[at] != cell for at, cell in zip(self._shown, cells, strict=True)]
        safe = [
            f"'{cell}" if new and cell.startswith(tuple(_FORMULA)) else cell
            for cell, new in zip(cells, changed, strict=True)
        ]
        quoted = [_quoted(cell) if self._quote.search(cell) else cell for cell in safe]
        # An empty line would be no row.
        return (self._delimiter.join(quoted) or '""') + self._ending

    def _parse(self, text: str) -> Iterator[list[str]]:
        try:
            yield from csv.reader(io.StringIO(text, newline=""), delimiter=self._delimiter, strict=True)
        except csv.Error:  # a cell beyond csv's 128 KB
            raise malformed() from None


def _row(delimiter: str) -> str:
    """A whole row as RFC 4180 has it."""
    cell = rf'(?:"[^"]*+(?:""[^"]*+)*+"|[^"{delimiter}\r\n]*+)'
    return rf"{cell}(?:{delimiter}{cell})*+\r?\n"


def _columns(plan: AccessPlan) -> tuple[Mapping[str, _Field], Sequence[str]]:
    """The columns to be read, by name, and the names of those that may leave, in the policy's order."""
    separators = {_names(path): separator for path, separator in plan.shape.columns}
    views = [view for view in plan.strongest() if view.spec.nested is None]
    wanted = [view.spec.path for view in views] + list(plan.reads)
    if route_parameter(plan.shape.id) is None:
        wanted.append(plan.shape.id)
    paths = {path: names for path in wanted if (names := _names(path))}
    fields = {".".join(names): _Field(names, separators.get(names)) for names in paths.values()}
    shown = [view.spec.path for view in views if view.view > View.WITHHELD and view.spec.path in paths]
    return fields, list(dict.fromkeys(".".join(paths[path]) for path in shown))


def _names(path: str) -> tuple[str, ...]:
    """The names of a path that a column can stand for; ``tags[*]`` is the list ``tags``; else empty."""
    steps = parse_path(path)
    if isinstance(steps[-1], Each):
        steps = steps[:-1]
    names = tuple(step.name for step in steps if isinstance(step, Key))
    return names if len(names) == len(steps) else ()


def _struct_of(keys: Sequence[str]) -> Any:
    """Takes just these members, which are text or null, in this order."""
    fields = [(f"c{at}", str | None, msgspec.field(name=key, default=None)) for at, key in enumerate(keys)]
    return msgspec.defstruct("Cells", fields, gc=False)


def _split(cell: str, separator: str) -> list[str]:
    return cell.split(separator) if cell else []


def _cell(record: Any, field: _Field) -> str:
    """What the masker left of a field that is a list, or stands deeper in the record."""
    value = record
    for key in field.path:
        value = value.get(key) if isinstance(value, dict) else None
    if isinstance(value, list) and field.separator is not None:
        return field.separator.join(item for item in value if isinstance(item, str))
    return value if isinstance(value, str) else ""


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"'


def malformed() -> UnreadableResponseError:
    """The error of a body that is no plain CSV."""
    return UnreadableResponseError("The upstream's answer is not the CSV it is said to be.")
