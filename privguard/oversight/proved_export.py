"""Checks an export without a database: each of its rows is that of an entry of a signed log.

1. the checkpoint is trusted;
2. each leaf of the proofs is in its tree, one after the other;
3. the file of entries is what these leaves make in its form, to the byte.

That an entry is missing which the filter would have found, it does not tell: a bundle or a proved report
does.
"""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from privguard.audit.proof import ProofError
from privguard.audit.report_proof import Proved, checked_leaf
from privguard.audit.trust import Accepted, Trust
from privguard.files import open_handed, read_handed
from privguard.oversight.bundle import CHECKPOINT
from privguard.oversight.export import FORMS, MANIFEST, PROOFS, Form
from privguard.oversight.trail import Entry

_ZIP: Final = (zipfile.BadZipFile, zlib.error)
_LINE: Final = 500_000
"""Bytes: a leaf as JSON text, every character of it escaped, and 63 hashes."""


class Look(Struct, frozen=True):
    origin: str
    index: int


class Manifest(Struct, frozen=True):
    """What ``export.json`` says, as far as it is needed here; nothing of it is trusted."""

    count: int
    files: Mapping[str, str]
    look: Look
    version: str


def check_export(
    folder: Path, trust: Trust, forms: Callable[[str, str], Mapping[str, Form]]
) -> tuple[Accepted, int]:
    """Checks an export; gives the checkpoint it stands on, and the number of its entries.

    Args:
        forms: every form, as the log of this name and this version of privguard write it.

    Raises:
        ProofError: a row is not that of an entry of the log, or a file is missing or none of ours.
        TrustError: its checkpoint is not trusted.
    """
    try:
        manifest = msgspec.json.decode(read_handed(folder / MANIFEST), type=Manifest)
        accepted = trust.accept(read_handed(folder / CHECKPOINT))  # 1
        form = next(
            form
            for form in forms(manifest.look.origin, manifest.version).values()
            if form.name in manifest.files
        )
        count = 0

        def counted() -> Iterator[Entry]:
            nonlocal count
            for entry in _entries(folder / PROOFS, accepted):
                count += 1
                yield entry

        with tempfile.TemporaryFile() as again, open_handed(folder / form.name) as file:
            form.write(again, counted())  # 2
            if not same_content(form, again, file):  # 3
                raise ProofError(f"{form.name} is not what its entries make (privguard {manifest.version})")
    except (msgspec.DecodeError, UnicodeError, StopIteration, RuntimeError, *_ZIP):
        raise ProofError("not an export") from None
    except OSError as error:
        raise ProofError(f"{error.filename}: {error.strerror}") from None
    if count != manifest.count:
        raise ProofError(f"{count} entries are proved, {MANIFEST} says {manifest.count}")
    return accepted, count


def _entries(file: Path, accepted: Accepted) -> Iterator[Entry]:
    last = -1
    with open_handed(file) as lines:
        while line := lines.readline(_LINE):
            proved = msgspec.json.decode(line, type=Proved)
            if proved.index <= last:
                raise ProofError("the entries are not in their order")
            last = proved.index
            yield Entry(last, checked_leaf(proved, accepted), proved.leaf.encode())


def same_content(form: Form, ours: Any, its: Any) -> bool:
    """Whether two files of a form say the same; what they are is the form's to say, not theirs."""
    content = _sheet if form.name == FORMS["xlsx"].name else _text
    return all(one == other for one, other in zip_longest(content(ours), content(its)))


def _text(file: Any) -> Iterator[object]:
    file.seek(0)
    yield hashlib.file_digest(file, "sha256").hexdigest()


def _sheet(file: Any) -> Iterator[object]:
    """Each part but the properties, which name the time: name and size, and if they agree its hash."""
    with zipfile.ZipFile(file) as book:
        for info in book.infolist():
            if not info.filename.startswith("docProps/"):
                yield info.filename, info.file_size
                with book.open(info) as part:
                    yield hashlib.file_digest(part, "sha256").hexdigest()  # type: ignore[arg-type]
