"""L08 to L10 as a table: each method of ports.AuditLog, failing before and after persisting, and hanging."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine.default import DefaultDialect

from privguard.errors import AuditUnavailableError
from privguard.model import AccessEvent, AuditReceipt
from privguard.store.audit_log import SqlAuditLog
from tests.unit.audit.events import access
from tests.unit.store.logs import check_whole, leaves_of, open_log

DEADLINE = 1.0
Hand = Callable[[SqlAuditLog, AccessEvent], AuditReceipt]
METHODS: dict[str, Hand] = {
    "submit": lambda log, event: log.submit(event).result(10),
    "append": lambda log, event: asyncio.run(log.append(event)),
}
LEFT = {"before": (0, 0), "after": (1, 1), "hangs before": (0, 1), "hangs after": (1, 1)}
"""Entries there when the caller is refused, and once whatever hung has gone on."""


@contextmanager
def fault(kind: str) -> Iterator[None]:
    run, go_on = DefaultDialect.do_commit, threading.Event()

    def do_commit(self: Any, connection: Any) -> None:
        if "after" in kind:
            run(self, connection)
        if "hangs" in kind:
            go_on.wait(20)
        else:
            raise OSError(5, "Input/output error")
        if "before" in kind:
            run(self, connection)

    patch = pytest.MonkeyPatch()
    patch.setattr(DefaultDialect, "do_commit", do_commit)
    try:
        yield
    finally:
        patch.undo()
        go_on.set()


@pytest.mark.parametrize("kind", LEFT)
@pytest.mark.parametrize("method", METHODS)
def test_l08_l09_l10_whatever_fails_is_refused_in_time_and_there_once(
    log_folder: Path, method: str, kind: str
) -> None:
    log, hand, event = open_log(log_folder, DEADLINE), METHODS[method], access("a", detail=(("reason", "r"),))
    with fault(kind):
        begin = time.monotonic()
        with pytest.raises(AuditUnavailableError) as caught:
            hand(log, event)
        assert time.monotonic() - begin < 2 * DEADLINE
        assert ("deadline" in caught.value.detail) is ("hangs" in kind)
        assert len(leaves_of(log_folder)) == LEFT[kind][0]
    again = [hand(log, one) for one in (access("b"), event, event)]
    log.close()
    assert len(check_whole(log_folder)) == 2
    first = LEFT[kind][1]  # whether the refused entry, or the one after it, stands first
    assert [receipt.index for receipt in again] == ([1, 0, 0] if first else [0, 1, 1])
