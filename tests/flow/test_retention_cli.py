"""``privguard audit prune``, and what every other command says of a log that was pruned."""

from __future__ import annotations

import json
import os
from pathlib import Path

from privguard.audit.stretch import STRETCH
from privguard.crypto.keyring import parse as parse_keyring
from privguard.store.audit_log import SqlAuditLog
from tests.command import Said, privguard
from tests.door import Gateway, make_gateway
from tests.unit.audit.events import access
from tests.unit.store.logs import SystemEntropy

KEPT = "[audit.retention]\ndisclosures = 1825\nadministration = 1825\nother = 1825\n"


def filled(folder: Path) -> Gateway:
    """A gateway's folder whose log has entries of 2015, more than a stretch of them."""
    made = make_gateway(folder, 1, extra=KEPT)
    keys = parse_keyring((folder / "keys.json").read_bytes())
    url = f"sqlite+aiosqlite:///{made.database}"
    log = SqlAuditLog.open(url, keys, SystemEntropy(), origin="test.invalid/log", deadline_s=30)
    for number in range(STRETCH + 20):
        waiting = log.submit(access("1", "2" if number % 2 else "3", at_us=1_420_070_400_000_000 + number))
        if number % 2000 == 0:
            waiting.result(30)
    waiting.result(30)
    log.close()
    return made


def test_a_log_is_pruned_and_every_command_says_so(own_folder: Path, tmp_path: Path) -> None:
    made, key = filled(own_folder), tmp_path / "key"

    def run(*arguments: str | os.PathLike[str], code: int = 0) -> Said:
        said = privguard(*arguments, "--config", made.config)
        assert said.returncode == code, said
        return said

    unsigned = run("audit", "prune", tmp_path / "archives", code=1)
    assert b"privguard audit checkpoint" in unsigned.stderr
    run("audit", "checkpoint")
    pruned = json.loads(run("audit", "prune", tmp_path / "archives", "--json").stdout)
    assert (pruned["floor"], pruned["count"]) == (STRETCH, STRETCH)
    again = run("audit", "prune", tmp_path / "archives")
    assert b"nothing to prune: the log begins at 8192" in again.stdout
    key.write_bytes(run("audit", "trust").stdout)
    archive = privguard("audit", "verify", "--bundle", pruned["archive"], "--key", key)
    assert archive.stdout.startswith(b"whole: archive of entries 0 to 8191; "), archive
    assert run("audit", "verify").stdout.startswith(b"whole: ")
    where = b"Entries below 8192 were sealed on "
    assert where in run("audit", "search", "--actor", "rm-1").stderr
    assert where in run("audit", "show", "5", code=1).stderr
    assert where in run("audit", "report", "1").stderr
    assert run("audit", "prove", "5").stdout.startswith(b"c2sp.org/tlog-proof@v1\n")
    run("audit", "report", "1", "--proof", tmp_path / "proof")
    proved = privguard("audit", "verify", "--report", tmp_path / "proof", "--key", key)
    assert b"8192 more, below index 8192, are in archives" in proved.stdout, proved
    assert where in run("audit", "export", tmp_path / "export").stderr
    manifest = json.loads((tmp_path / "export" / "export.json").read_bytes())
    assert (manifest["sealed"]["floor"], manifest["sealed"]["archive"]) == (STRETCH, pruned["digest"])
    exported = privguard("audit", "verify", "--export", tmp_path / "export", "--key", key)
    assert exported.returncode == 0, exported
    run("audit", "export", tmp_path / "bundle", "--bundle")
    bundle = privguard("audit", "verify", "--bundle", tmp_path / "bundle", "--key", key)
    assert bundle.stdout.startswith(b"whole: "), bundle
    wrong = (tmp_path / "bundle" / "begin").read_bytes().replace(b'"floor":8192', b'"floor":0')
    (tmp_path / "bundle" / "begin").write_bytes(wrong)
    refused = privguard("audit", "verify", "--bundle", tmp_path / "bundle", "--key", key)
    assert refused.returncode == 1
    assert b"WRONG: " in refused.stderr


def test_what_has_no_time_of_retention_stays(own_folder: Path, tmp_path: Path) -> None:
    made = make_gateway(own_folder, 1)
    said = privguard("audit", "prune", tmp_path / "archives", "--config", made.config)
    assert said.returncode == 1
    assert b"[audit.retention]" in said.stderr
