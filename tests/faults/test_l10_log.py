from __future__ import annotations

from pathlib import Path

from tests.faults.writers import check_acknowledged, make_log, start_writer


def test_l10_two_writers_leave_a_dense_log_without_loss_or_duplicate(tmp_path: Path) -> None:
    make_log(tmp_path)
    writers = [start_writer(tmp_path, name, 400) for name in ("one", "two")]
    acknowledged = [line for writer in writers for line in writer.communicate()[0].splitlines(keepends=True)]
    assert [writer.returncode for writer in writers] == [0, 0]
    assert len(acknowledged) == 800
    assert check_acknowledged(tmp_path, acknowledged) == 800
