"""A process that puts accesses on record and says which are acknowledged, until it is killed.

Run as ``python -m tests.faults.log_writer FOLDER NAME COUNT``: a line ``event-id index size root`` for each
receipt. COUNT 0 goes on for ever.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import sys
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path

from privguard.crypto.keyring import parse
from privguard.model import AccessEvent, AuditReceipt
from privguard.store.audit_log import SqlAuditLog
from tests.unit.audit.events import access
from tests.unit.store.logs import ORIGIN, SystemEntropy, url_of


def write(folder: Path, name: str, count: int, output: int) -> None:
    keyring = parse((folder / "keys.json").read_bytes())
    log = SqlAuditLog.open(url_of(folder), keyring, SystemEntropy(), origin=ORIGIN, deadline_s=60)
    waiting: dict[Future[AuditReceipt], AccessEvent] = {}
    for number in itertools.count() if not count else range(count):
        event = access(
            f"{name}-{number % 5}",
            f"shared-{number % 3}",
            event_id=hashlib.sha256(f"{name}/{number}/{os.getpid()}".encode()).hexdigest()[:32],
            at_us=number,
            actor=name,
        )
        waiting[log.submit(event)] = event
        if len(waiting) >= 20:
            acknowledge(waiting, set(wait(waiting, return_when=FIRST_COMPLETED).done), output)
    acknowledge(waiting, set(waiting), output)
    log.close()


def acknowledge(
    waiting: dict[Future[AuditReceipt], AccessEvent], done: set[Future[AuditReceipt]], output: int
) -> None:
    lines = []
    for future in done:
        receipt = future.result()
        event = waiting.pop(future)
        lines.append(f"{event.event_id} {receipt.index} {receipt.size} {receipt.root.hex()}\n")
    os.write(output, "".join(lines).encode())


if __name__ == "__main__":
    write(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), output=1)
