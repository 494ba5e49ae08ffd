"""``privguard signing`` beside a gateway with two workers that is never restarted (L11)."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from privguard.audit.trust import TrustError, parse_trust
from tests.command import Said, privguard
from tests.door import Gateway, Running, ask, make_gateway


@pytest.fixture(scope="module")
def served(bank: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    made = make_gateway(tmp_path_factory.mktemp("rotated"), bank.port)
    made.workers = 2
    made.start()
    yield made
    made.stop()


def run(gateway: Gateway, *arguments: object) -> Said:
    said = privguard(*arguments, "--config", gateway.config)
    assert said.returncode == 0, said.stderr
    return said


def checkpoint(gateway: Gateway, beyond: int) -> bytes:
    """The checkpoint, once it is of more than a size: a worker signs once a second."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        came = ask(gateway.port, "GET", "/_privguard/log/checkpoint")
        if came.status == 200 and int(came.body.split(b"\n")[1]) > beyond:
            return came.body
        time.sleep(0.1)
    raise AssertionError(gateway.output[-2000:])


def test_l11_keys_rotate_under_two_workers_while_they_serve(served: Gateway, tmp_path: Path) -> None:
    """Nothing is refused or restarted; each checkpoint that was shown is of keys in force at its size."""
    token, ended, refused, shown = served.token("rm.li"), threading.Event(), list[int](), set[bytes]()

    def read() -> None:
        while not ended.is_set():
            status = ask(served.port, "GET", "/clients/1", token=token).status
            if status != 200:
                refused.append(status)
            came = ask(served.port, "GET", "/_privguard/log/checkpoint")
            if came.status == 200:
                shown.add(came.body)
            ended.wait(0.02)

    old_trust, new_trust = tmp_path / "old", tmp_path / "new"
    old_trust.write_bytes(run(served, "audit", "trust").stdout)
    reading = threading.Thread(target=read)
    reading.start()
    try:
        before = checkpoint(served, 0)
        said = run(served, "signing", "rotate").stdout.decode().split()
        last, index = int(said[said.index("size") + 1].strip(",")), int(said[said.index("entry") + 1])
        after = checkpoint(served, index)
        assert len(run(served, "signing", "retire").stdout.decode().split(",")) == 2
        checkpoint(served, int(after.split(b"\n")[1]))
    finally:
        ended.set()
        reading.join(30)
    assert refused == []
    assert "publishing-failed" not in served.output
    new_trust.write_bytes(run(served, "audit", "trust").stdout)
    trust, old = parse_trust(new_trust.read_text()), parse_trust(old_trust.read_text())
    for note in shown:
        by_the_old = int(note.split(b"\n")[1]) <= last
        assert {key in [log.key for log in old.logs] for key in trust.accept(note).signed} == {by_the_old}
    assert old.accept(before) == trust.accept(before)
    with pytest.raises(TrustError, match="privguard signing follow"):
        old.accept(after)

    rows = [json.loads(line) for line in run(served, "signing", "list", "--json").stdout.splitlines()]
    assert [(row["first"], row["last"]) for row in rows] == [(0, last)] * 2 + [(last + 1, None)] * 2
    assert b"sizes 0 to " in run(served, "signing", "list").stdout

    rotated, retired = (
        next(leaf for leaf in served.leaves() if leaf["action"] == f"oversight:log:{verb}")
        for verb in ("rotate", "retire")
    )
    assert served.leaves().index(rotated) == index
    assert set(retired["about"]["keys"].split()) == {row["key"] for row in rows[:2]}
    file = json.loads((served.folder / "signing.json").read_text())
    assert "before" not in file
    assert "announced" not in file


def test_l11_who_has_the_old_trust_file_is_led_to_the_new_keys(served: Gateway, tmp_path: Path) -> None:
    """The bundle that the old file refuses holds the leaf that leads on, and so does the trail."""
    old, new, folder = tmp_path / "old", tmp_path / "new", tmp_path / "bundle"
    old.write_bytes(run(served, "audit", "trust").stdout)
    run(served, "signing", "rotate")
    run(served, "audit", "export", folder, "--bundle")
    check = ["audit", "verify", "--bundle", folder, "--key"]
    refused = privguard(*check, old)
    assert refused.returncode == 1
    assert b"privguard signing follow" in refused.stderr
    said = privguard("signing", "follow", folder / "rotations", "--key", old)
    assert said.returncode == 0, said.stderr
    assert said.stdout == run(served, "audit", "trust").stdout
    new.write_bytes(said.stdout)
    good = privguard(*check, new)
    assert good.returncode == 0, good.stderr
    assert b"2 keys" in good.stdout
    found = run(served, "audit", "search", "--action", "oversight:log:rotate", "--json")
    (tmp_path / "found").write_bytes(found.stdout)
    assert privguard("signing", "follow", tmp_path / "found", "--key", old).stdout == said.stdout
    for wrong, key in ((b"{}\n", old), (b"x\n", old), (b"", old), (found.stdout, new)):
        (tmp_path / "wrong").write_bytes(wrong)
        bad = privguard("signing", "follow", tmp_path / "wrong", "--key", key)
        assert (bad.returncode, bad.stdout) == (1, b"")
        assert b"Traceback" not in bad.stderr
    assert privguard("audit", "verify", "--config", served.config).returncode == 0


def test_l11_a_log_that_was_not_signed_gets_keys_once(own_folder: Path) -> None:
    gateway = make_gateway(own_folder, 1)
    file = gateway.folder / "signing.json"
    backup = file.rename(file.with_name("backup.json"))
    run(gateway, "signing", "init")
    assert file.stat().st_mode & 0o777 == 0o600
    again = privguard("signing", "init", "--config", gateway.config)
    assert (again.returncode, b"is left alone" in again.stderr) == (1, True)
    run(gateway, "audit", "search")  # puts an entry on record
    run(gateway, "audit", "checkpoint")
    assert b"signed with 2 keys" in run(gateway, "audit", "verify").stdout
    file.rename(backup)
    other = privguard("signing", "init", "--config", gateway.config)
    assert (other.returncode, b"signed by other keys" in other.stderr) == (1, True)
    assert not file.exists()
