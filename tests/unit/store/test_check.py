from __future__ import annotations

from pathlib import Path

import pytest

from privguard.errors import AuditUnavailableError
from tests.unit.audit.events import access
from tests.unit.store.logs import disarm, open_log, raw


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("log")
    log = open_log(folder, deadline_s=30)
    for future in [log.submit(access("a", at_us=number)) for number in range(600)]:
        future.result(30)
    log.close()
    return folder


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM event WHERE idx = 599",
        "INSERT INTO event SELECT 600, 'x', 0, 0, '', '', '', '', leaf_hash, leaf FROM event WHERE idx = 599",
        "UPDATE event SET leaf = x'00' WHERE idx = 590",
        "UPDATE event SET leaf_hash = zeroblob(32) WHERE idx = 590",
        "DELETE FROM event WHERE idx = 590",
        "UPDATE tile SET root = zeroblob(32) WHERE n = 1",
        "DELETE FROM tile WHERE n = 1",
        "UPDATE tree_state SET size = 599",
        "UPDATE tree_state SET edge = zeroblob(length(edge))",
        "UPDATE tree_state SET root = zeroblob(32)",
        "DELETE FROM tree_state",
    ],
)
def test_l06_a_log_that_disagrees_with_its_tree_is_not_opened(
    written: Path, tmp_path: Path, change: str
) -> None:
    (tmp_path / "log.db").write_bytes((written / "log.db").read_bytes())
    (tmp_path / "log.db").chmod(0o600)
    open_log(tmp_path).close()
    with raw(tmp_path) as connection:
        disarm(connection)
        assert connection.execute(change).rowcount > 0
    with pytest.raises(AuditUnavailableError, match="disagree"):
        open_log(tmp_path)
