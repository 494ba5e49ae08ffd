from __future__ import annotations

from pathlib import Path

from privguard.audit.record import parse
from tests.unit.audit.events import access
from tests.unit.store.logs import check_whole, open_log


def test_l07_a_clock_that_goes_back_does_not_take_log_time_back(log_folder: Path) -> None:
    clock = [1000, 5000, 2000, 5000, 1, 6000]
    log = open_log(log_folder)
    for at_us in clock[:3]:
        log.submit(access("a", at_us=at_us)).result(5)
    log.close()
    log = open_log(log_folder)  # a writer with another clock, and several entries in one batch
    for future in [log.submit(access("a", at_us=at_us)) for at_us in clock[3:]]:
        future.result(5)
    log.close()
    leaves = [parse(leaf) for leaf in check_whole(log_folder)]
    assert [leaf.ts for leaf in leaves] == [1000, 5000, 5000, 5000, 5000, 6000]
    assert [leaf.ts + leaf.skew for leaf in leaves] == clock
