"""Writes what a filter finds into a folder, in flat memory and without a cap.

    entries.*      the entries, in the form that was asked for
    export.json    who asked, the filter, how many there are, the tree they were read from, its hash
    proofs.ndjson  each entry's leaf and inclusion proof, one a line; where the log is signed
    checkpoint     the signed checkpoint to which they are proved

A folder that is there is whole: it is written beside its place, and named when all of it is durable.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import msgspec
from msgspec import Raw
from msgspec.structs import astuple

from privguard import __version__
from privguard.audit.floor import Sealed
from privguard.audit.report_proof import proved
from privguard.errors import ConfigError
from privguard.model import AuditReceipt
from privguard.oversight.bundle import CHECKPOINT
from privguard.oversight.filters import Filter
from privguard.oversight.rows import COLUMNS, row_of
from privguard.oversight.trail import Entry

MANIFEST: Final = "export.json"
PROOFS: Final = "proofs.ndjson"
SHEET_ROWS: Final = 1_000_000
"""Rows a sheet; Excel's own end is at 1,048,576."""
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


class Form(NamedTuple):
    """A form of export: the file's name, and what writes entries into it."""

    name: str
    write: Callable[[BinaryIO, Iterator[Entry]], None]


class Proofs(NamedTuple):
    """A signed checkpoint, and what gives an entry's inclusion proof in its tree."""

    checkpoint: bytes
    path: Callable[[int], Sequence[bytes]]


def export(
    folder: Path,
    form: Form,
    asked: Filter,
    receipt: AuditReceipt,
    entries: Iterator[Entry],
    proofs: Proofs | None = None,
    sealed: Sealed | None = None,
) -> int:
    """Writes an export; gives the number of entries.

    Args:
        folder: where it goes; must not be there yet.
        receipt: of the look that read them.
        proofs: None where the log is unsigned.
        sealed: what was pruned of the log before.

    Raises:
        ConfigError: the folder is there, or cannot be made.
    """
    count = 0

    def counted() -> Iterator[Entry]:
        nonlocal count
        for entry in entries:
            count += 1
            if proving is not None and proofs is not None:
                line = proved(entry.index, entry.data, proofs.path(entry.index))
                proving.write(msgspec.json.encode(line) + b"\n")
            yield entry

    with new_folder(folder) as place, ExitStack() as files:
        file = files.enter_context((place / form.name).open("x+b"))
        proving = files.enter_context((place / PROOFS).open("xb")) if proofs is not None else None
        form.write(file, counted())
        _to_disk(file)
        if proving is not None and proofs is not None:
            _to_disk(proving)
            (place / CHECKPOINT).write_bytes(proofs.checkpoint)
        file.seek(0)
        manifest = {
            "count": count,
            "filter": asked.echo(),
            "look": {"origin": receipt.origin, "index": receipt.index},
            "tree": {"size": receipt.size, "root": receipt.root.hex()},
            "sealed": sealed,
            "version": __version__,
            "files": {form.name: hashlib.file_digest(file, "sha256").hexdigest()},
        }
        with (place / MANIFEST).open("xb") as said:
            said.write(msgspec.json.format(msgspec.json.encode(manifest), indent=2))
            _to_disk(said)
    return count


def lines(line: Callable[[Entry], bytes]) -> Callable[[BinaryIO, Iterator[Entry]], None]:
    """What writes an entry a line."""
    return lambda file, entries: file.writelines(line(entry) + b"\n" for entry in entries)


def leaf_line(entry: Entry) -> bytes:
    """The index and the leaf's own bytes, which can be hashed again."""
    return msgspec.json.encode({"index": entry.index, "leaf": Raw(entry.data)})


def _csv(file: BinaryIO, entries: Iterator[Entry]) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows(map(_cells, entries))
    text.detach()


def _xlsx(file: BinaryIO, entries: Iterator[Entry]) -> None:
    try:
        import xlsxwriter
    except ModuleNotFoundError:
        raise ConfigError("XLSX needs xlsxwriter: install 'privguard[console]', or export CSV.") from None
    options = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    with xlsxwriter.Workbook(file, options) as book:
        for first in entries:  # of a sheet
            sheet = book.add_worksheet()
            for row, cells in enumerate([COLUMNS, _cells(first)]):
                sheet.write_row(row, 0, cells)
            for row, entry in enumerate(islice(entries, SHEET_ROWS - 1), 2):
                sheet.write_row(row, 0, _cells(entry))
        if not book.worksheets():
            book.add_worksheet().write_row(0, 0, COLUMNS)


def _cells(entry: Entry) -> list[Any]:
    return [_harmless(value) for value in astuple(row_of(entry))]


FORMS: Final[Mapping[str, Form]] = {
    "ndjson": Form("entries.ndjson", lines(leaf_line)),
    "csv": Form("entries.csv", _csv),
    "xlsx": Form("entries.xlsx", _xlsx),
}


def _harmless(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula is marked as text."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder that gets its name when all of it is there. Raises ConfigError: it cannot be made."""
    if folder.exists():
        raise ConfigError(f"{folder} is there already: name a folder that is not.")
    beside = folder.with_name(f"{folder.name}.part")
    try:
        beside.mkdir(mode=0o700)
    except OSError as error:
        raise ConfigError(f"{beside}: {error.strerror}. Remove it, or name another folder.") from None
    try:
        yield beside
        beside.rename(folder)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
