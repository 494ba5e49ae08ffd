from __future__ import annotations

import csv
import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import openpyxl
import pytest
from hypothesis import given

from privguard.audit.record import drafts, encode, parse
from privguard.errors import ConfigError
from privguard.model import AccessEvent, AuditReceipt, FieldShown, Outcome, View
from privguard.oversight import export as exporting
from privguard.oversight.export import FORMS, Form, export, lines
from privguard.oversight.filters import Filter
from privguard.oversight.proved_export import same_content
from privguard.oversight.rows import COLUMNS
from privguard.oversight.trail import Entry
from privguard.sinks import cef, ocsf
from tests.unit.audit.events import access, accesses, disclosure

RECEIPT = AuditReceipt("test.invalid/log", 7, 8, b"\x01" * 32)
VIEWS = (FieldShown("name", View.CLEAR), FieldShown("mobile", View.MASKED, "cn_mobile_3_4"))


def entry(index: int, event: AccessEvent) -> Entry:
    leaf = drafts(event)[0].leaf
    for group in leaf.groups:
        group.subjects = [(f"token{index}", 1, -1)]
    data = encode(leaf)
    return Entry(index, parse(data), data)


def some() -> Iterator[Entry]:
    yield entry(0, access("a", event_id="0" * 32, roles=("rm", "lead"), purpose="service"))
    yield entry(1, access(event_id="1" * 32, actor="=1+2", outcome=Outcome.DENIED, problem="not-permitted"))
    yield entry(
        2,
        access(
            "b",
            event_id="2" * 32,
            disclosures=(disclosure("b", fields=VIEWS), disclosure("c", fields=VIEWS[:1])),
        ),
    )


def test_ndjson_holds_the_leaves_own_bytes_and_the_manifest_the_files_hash(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    assert export(folder, FORMS["ndjson"], Filter(actor=("rm-1",)), RECEIPT, some()) == 3
    written = (folder / "entries.ndjson").read_bytes()
    assert written == b"".join(
        b'{"index":%d,"leaf":%s}\n' % (number, each.data) for number, each in enumerate(some())
    )
    manifest = json.loads((folder / "export.json").read_text())
    assert manifest["files"] == {"entries.ndjson": hashlib.sha256(written).hexdigest()}
    assert manifest["filter"] == {"tenant": "default", "actor": ["rm-1"]}
    assert manifest["count"] == 3
    assert manifest["tree"] == {"size": 8, "root": "01" * 32}
    assert folder.stat().st_mode & 0o077 == 0


def test_csv_and_sheet_say_the_same_and_hold_no_formula(tmp_path: Path) -> None:
    export(tmp_path / "csv", FORMS["csv"], Filter(), RECEIPT, some())
    export(tmp_path / "xlsx", FORMS["xlsx"], Filter(), RECEIPT, some())
    with (tmp_path / "csv" / "entries.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    book = openpyxl.load_workbook(tmp_path / "xlsx" / "entries.xlsx")
    sheet = [
        ["" if cell is None else str(cell) for cell in row] for row in book.active.iter_rows(values_only=True)
    ]
    assert rows == sheet
    assert tuple(rows[0]) == COLUMNS
    first, second, third = (dict(zip(COLUMNS, row, strict=True)) for row in rows[1:])
    assert (first["clear"], first["masked"], first["roles"]) == ("name", "mobile", "rm lead")
    assert second["actor"] == "'=1+2"
    assert (third["clear"], third["masked"]) == ("name", "mobile")
    assert first["time"] == "2023-11-14T22:13:20Z"


def test_a_full_sheet_is_followed_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "SHEET_ROWS", 2)
    export(tmp_path / "x", FORMS["xlsx"], Filter(), RECEIPT, some())
    book = openpyxl.load_workbook(tmp_path / "x" / "entries.xlsx")
    assert [sheet.max_row for sheet in book.worksheets] == [3, 2]


def test_what_fails_half_way_leaves_nothing_behind(tmp_path: Path) -> None:
    def broken() -> Iterator[Entry]:
        yield from some()
        raise OSError("full")

    with pytest.raises(OSError, match=r"^full$"):
        export(tmp_path / "x", FORMS["ndjson"], Filter(), RECEIPT, broken())
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "there").mkdir()
    with pytest.raises(ConfigError, match="is there already"):
        export(tmp_path / "there", FORMS["ndjson"], Filter(), RECEIPT, some())
    with pytest.raises(ConfigError, match=r"none\.part"):
        export(tmp_path / "no" / "none", FORMS["ndjson"], Filter(), RECEIPT, some())


def test_ocsf_has_what_the_class_requires() -> None:
    """OCSF 1.1.0, class Datastore Activity: its required attributes, and type_uid as class and activity."""
    for index, each in enumerate(some()):
        event = ocsf.event_of(index, each.leaf, "test.invalid/log", "0.1.0")
        assert event["class_uid"] == 6005
        assert event["type_uid"] == 6005 * 100 + event["activity_id"]
        assert {
            "activity_id",
            "actor",
            "category_uid",
            "metadata",
            "severity_id",
            "src_endpoint",
            "time",
        } <= set(event)
        assert event["metadata"]["product"]["vendor_name"] == "privguard"
        assert event["time"] == each.leaf.ts // 1000
    assert [ocsf.event_of(0, e.leaf, "", "")["status_id"] for e in some()] == [1, 2, 1]


def _fields(line: str) -> list[str]:
    """The seven header fields and the extension, split as CEF says: at a bar that is not escaped."""
    parts, held = [""], False
    for char in line:
        if char == "|" and not held and len(parts) < 8:
            parts.append("")
        else:
            parts[-1] += char
        held = char == "\\" and not held
    return parts


@given(accesses)
def test_cef_is_one_line_of_eight_fields_whatever_the_entry_holds(event: AccessEvent) -> None:
    leaf = drafts(event)[0].leaf
    line = cef.line_of(3, leaf, "0.1.0")
    assert len(line.splitlines()) == 1
    assert line.isprintable()
    parts = _fields(line)
    assert len(parts) == 8
    assert parts[0] == "CEF:0"
    assert "cn1=3" in parts[7]


def test_cef_escapes_by_the_book(tmp_path: Path) -> None:
    leaf = entry(0, access("a", actor="a=b|c\\d\ne", action="x|y\\z")).leaf
    line = cef.line_of(0, leaf, "0.1.0")
    assert "|x\\|y\\\\z|x\\|y\\\\z|3|" in line
    assert "suser=a\\=b|c\\\\d\\ne " in line
    export(
        tmp_path / "x",
        Form("entries.cef", lines(lambda e: cef.line_of(e.index, e.leaf, "1").encode())),
        Filter(),
        RECEIPT,
        some(),
    )
    assert len((tmp_path / "x" / "entries.cef").read_text().splitlines()) == 3


def test_l15_a_text_that_also_ends_like_an_archive_is_held_to_every_byte(tmp_path: Path) -> None:
    end = "PK\x05\x06" + "\0" * 18  # an archive of no parts, to whoever looks for one
    ours, its = io.BytesIO(f"rm.li,{end}".encode()), io.BytesIO(f"rm.la,{end}".encode())
    assert zipfile.is_zipfile(ours)
    form = FORMS["csv"]
    assert not same_content(form, ours, its)
    assert same_content(form, ours, ours)
