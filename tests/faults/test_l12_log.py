from __future__ import annotations

import logging
from pathlib import Path

import pytest

from privguard.errors import AuditUnavailableError
from privguard.model import FieldShown, View
from privguard.store import ledger
from privguard.store.statements import driver
from tests.faults.writers import Failing
from tests.unit.audit.events import access, disclosure
from tests.unit.store.logs import leaves_of, open_log

CLIENT, REASON, NAME = "canary-client-8812", "canary-reason-5521", "金丝雀张三"
CANARIES = [text.encode(form) for text in (CLIENT, REASON, NAME) for form in ("utf-8", "utf-16-le")]


def accesses() -> list[object]:
    detail = (("reason", REASON), ("q", NAME), ("id", CLIENT))
    return [
        access(detail=detail, disclosures=(disclosure(CLIENT, NAME), disclosure(CLIENT))),
        access(detail=detail),
        access(CLIENT, intent=0),
    ]


def test_l12_nothing_of_a_client_is_in_the_files_or_the_logs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    log = open_log(tmp_path)
    for one in accesses() * 3:
        log.submit(one).result(5)  # type: ignore[arg-type]
    files = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert len(files["log.db-wal"]) > 4096, "the write-ahead log is looked at while it holds the entries"
    log.close()
    files |= {f"closed {file.name}": file.read_bytes() for file in tmp_path.iterdir()}
    for name, content in files.items():
        assert not [canary for canary in CANARIES if canary in content], name
    assert b"rm-1" in files["closed log.db"], "the search would find what is there"
    said = caplog.text + "".join(capfd.readouterr())
    assert not [text for text in (CLIENT, REASON, NAME) if text in said]
    assert len(leaves_of(tmp_path)) == 3


@pytest.mark.parametrize(
    "statement",
    ["INSERT OR ROLLBACK INTO event ", "INSERT OR ROLLBACK INTO subject ", "INSERT OR ROLLBACK INTO secret"],
)
def test_l12_a_failing_statement_is_reported_without_its_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, statement: str
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(ledger, "driver", lambda transaction: Failing(driver(transaction), statement))
    log = open_log(tmp_path)
    with pytest.raises(AuditUnavailableError) as caught:
        log.submit(access(CLIENT, detail=(("reason", REASON),), actor=NAME)).result(5)
    log.close()
    error: BaseException | None = caught.value
    while error is not None:
        for text in (CLIENT, REASON, NAME, "canary", "while writing"):
            assert text not in f"{error!r} {error} {getattr(error, 'detail', '')}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    assert "canary" not in caplog.text


def test_l12_an_entry_that_cannot_be_a_leaf_is_refused_without_its_values(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    fields = [FieldShown(NAME * 20_000, View.CLEAR)]
    with pytest.raises(AuditUnavailableError) as caught:
        log.submit(access(disclosures=(disclosure(CLIENT, fields=fields),))).result(5)
    log.close()
    assert NAME not in repr(caught.value)
    assert CLIENT not in repr(caught.value)
