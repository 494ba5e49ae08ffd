"""The log as somebody sees it who trusts neither privguard nor its database."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from privguard.audit.merkle import leaf_hash
from privguard.audit.proof import check_inclusion, parse_proof
from privguard.audit.trust import parse_trust
from tests.command import privguard
from tests.door import Answer, Gateway, Running, ask, free_port, make_gateway, start


@pytest.fixture(scope="module")
def witness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A witness process that knows the log of ``door``, once that is there."""
    folder, port = tmp_path_factory.mktemp("witness"), free_port()
    made = privguard("witness", "keys", "--name", "w1.example", "--keys", folder / "keys.json")
    yield {"folder": folder, "port": port, "key": made.stdout.decode().split("\n")[0], "process": []}


@pytest.fixture(scope="module")
def door(
    bank: Running, witness: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    extra = f'[[audit.witnesses]]\nurl = "http://127.0.0.1:{witness["port"]}"\nkey = "{witness["key"]}"\n'
    made = make_gateway(tmp_path_factory.mktemp("signed"), bank.port, extra=extra)
    trust = privguard("audit", "trust", "--config", made.config)
    assert trust.returncode == 0, trust.stderr
    (made.folder / "trust").write_bytes(trust.stdout)
    its_own = ["--name", "w1.example", "--keys", str(witness["folder"] / "keys.json")]
    its_own += ["--logs", str(made.folder / "trust"), "--state", str(witness["folder"] / "state")]
    refused = privguard("witness", "serve", *its_own)
    assert refused.returncode == 1
    assert b"test.invalid/log" in refused.stderr
    assert b"privguard witness follow" in refused.stderr
    assert privguard("witness", "follow", *its_own).stdout == b"test.invalid/log: followed from now on\n"
    assert privguard("witness", "follow", *its_own).stdout == b""
    serving = [sys.executable, "-m", "privguard", "witness", "serve", *its_own]
    serving += ["--listen", f"127.0.0.1:{witness['port']}"]
    running = start(serving, witness["port"], witness["folder"] / "log")
    made.start()
    for number in range(40):
        made.get("rm.li", f"/clients/{number}")
    yield made
    made.stop()
    running.stop()


def log(door: Gateway, path: str) -> Answer:
    return ask(door.port, "GET", f"/_privguard/log/{path}")


def published(door: Gateway, size: int) -> Answer:
    """The checkpoint, once it is of this size or more: the gateway signs once a second."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        came = log(door, "checkpoint")
        if came.status == 200 and int(came.body.split(b"\n")[1]) >= size:
            return came
        time.sleep(0.1)
    raise AssertionError(door.output[-2000:])


def test_the_gateway_publishes_a_checkpoint_that_its_witness_cosigned(door: Gateway) -> None:
    size = len(door.leaves())
    came = published(door, size)
    assert came.headers["cache-control"] == "no-store"
    trust = parse_trust((door.folder / "trust").read_text())
    accepted = trust.accept(came.body)
    assert accepted.witnesses == ("w1",)
    assert len(accepted.signed) == 2


def test_tiles_hold_the_hashes_of_what_is_signed_and_no_entry_leaves(door: Gateway) -> None:
    size = int(published(door, 40).body.split(b"\n")[1])
    tile = log(door, f"tile/0/000.p/{min(size, 255)}")
    hashes = [
        leaf_hash(json.dumps(leaf, ensure_ascii=False, separators=(",", ":")).encode())
        for leaf in door.leaves()
    ]
    assert tile.body == b"".join(hashes[: min(size, 255)])
    assert "immutable" in tile.headers["cache-control"]
    assert log(door, "tile/entries/000.p/1").problem == "not-permitted"
    for wrong in ("tile/0/000.p/999", "tile/0/001", "tile/9/000", "tile/0/000/", "x", "", "checkpoint/"):
        assert log(door, wrong).status == 404, wrong


def test_an_entry_is_proved_by_a_file(door: Gateway) -> None:
    said = privguard("audit", "prove", "7", "--config", door.config)
    assert said.returncode == 0, said.stderr
    proof = parse_proof(said.stdout)
    accepted = parse_trust((door.folder / "trust").read_text()).accept(proof.checkpoint).checkpoint
    leaf = json.dumps(door.leaves()[7], ensure_ascii=False, separators=(",", ":")).encode()
    check_inclusion(proof.index, accepted.size, leaf_hash(leaf), proof.path, accepted.root)
    beyond = privguard("audit", "prove", "999999", "--config", door.config)
    assert beyond.returncode == 1
    assert b"Traceback" not in beyond.stderr


def test_the_log_is_verified_where_it_is(door: Gateway) -> None:
    published(door, len(door.leaves()))
    said = privguard("audit", "verify", "--config", door.config, "--json")
    assert said.returncode == 0, said.stderr
    found = json.loads(said.stdout)
    assert found["ok"]
    assert found["size"] >= found["checkpoint"] > 40
    plain = privguard("audit", "verify", "--config", door.config, "--key", door.folder / "trust")
    assert plain.stdout.startswith(b"whole: ")
    assert b"2 keys, seen by 1 witnesses" in plain.stdout


def test_a_bundle_is_verified_without_database_and_configuration(door: Gateway, tmp_path: Path) -> None:
    folder, key = tmp_path / "bundle", tmp_path / "key"
    made = privguard("audit", "export", folder, "--bundle", "--config", door.config)
    assert made.returncode == 0, made.stderr
    key.write_bytes((door.folder / "trust").read_bytes())
    check = ["audit", "verify", "--bundle", folder, "--key", key]
    good = privguard(*check, "--json")
    assert good.returncode == 0, good.stderr
    assert json.loads(good.stdout)["ok"]
    assert door.last()["action"] == "cli:audit:export", "that it left is on the trail (L15)"
    [entries] = [file for file in (folder / "tile/entries").rglob("*") if file.is_file()]
    whole = entries.read_bytes()
    for wrong in (whole[:-9], whole.replace(b"rm.li", b"rm.la", 1), b"", whole + whole[:50]):
        entries.write_bytes(wrong)
        bad = privguard(*check)
        assert bad.returncode == 1, wrong[:80]
        assert bad.stderr.startswith(b"WRONG: ")
    for other in (lambda: os.mkfifo(entries), lambda: entries.symlink_to("/dev/zero")):  # neither has an end
        entries.unlink()
        other()
        assert b"This is no regular file" in privguard(*check).stderr
    entries.unlink()
    entries.touch()
    os.truncate(entries, 20 << 30)
    assert b"This has more than" in privguard(*check).stderr
    entries.write_bytes(whole)
    (folder / "checkpoint").write_bytes((folder / "checkpoint").read_bytes().replace(b"\n4", b"\n5", 1))
    assert b"not to be trusted" in privguard(*check).stderr
    assert privguard("audit", "verify", "--bundle", folder).returncode == 2
    export = ["audit", "export", "--bundle", "--config", door.config]
    assert privguard(*export, tmp_path / "less", "--actor", "rm.li").returncode == 2, (
        "it would be all the same"
    )
    for wrong in (".", "", "/", key / "x"):
        said = privguard(*export, wrong)
        assert (said.returncode, said.stderr[:7]) == (1, b"Error: "), wrong
    assert json.loads(privguard(*export, tmp_path / "more", "--json").stdout)["count"] > 40


def test_an_unsigned_log_says_so(bank: Running, own_folder: Path) -> None:
    made = make_gateway(own_folder, bank.port)
    made.config.write_text(made.config.read_text().replace('signing_keys = "signing.json"\n', ""))
    for command in (["trust"], ["checkpoint"], ["prove", "0"], ["verify"]):
        said = privguard("audit", *command, "--config", made.config)
        assert said.returncode == 1
        assert b"The log is unsigned" in said.stderr
    made.start()
    try:
        assert "unsigned-log" in made.output
        assert log(made, "checkpoint").status == 404
    finally:
        made.stop()


def test_l06_a_gateway_does_not_start_on_an_older_database(bank: Running, own_folder: Path) -> None:
    made = make_gateway(own_folder, bank.port)
    backup = made.database.read_bytes()
    made.start()
    for _ in range(5):
        made.get("rm.li", "/clients/1")
    published(made, 5)
    made.stop()
    for file in made.folder.glob("privguard.db*"):
        file.unlink()
    made.database.write_bytes(backup)
    made.database.chmod(0o600)
    with pytest.raises(AssertionError, match="does not go on from what was signed last"):
        made.start()


def test_a_witness_refuses_what_is_no_request(witness: dict[str, Any], door: Gateway) -> None:
    def post(body: bytes) -> int:
        return ask(witness["port"], "POST", "/add-checkpoint", body=body).status

    note = published(door, 1).body
    assert post(b"") == post(b"old 1\n\nx") == post(b"old x\n\n" + note) == 400
    assert post(b"old 0\n\n" + note.replace(b"test.invalid/log", b"other.invalid/log")) == 404
    assert post(b"old 0\n\n" + note.replace(b"\n4", b"\n5", 1)) == 403
    assert post(b"old 1\n\n" + note) == 409
    assert post(b"old 0\n\n" + b"x" * 200_000) == 413
    assert ask(witness["port"], "GET", "/").status == 404
    with socket.create_connection(("127.0.0.1", witness["port"]), timeout=5) as line:
        line.sendall(os.urandom(64) + b"\r\n\r\n")
        assert b"500" not in line.recv(100)


def test_a_report_proves_that_no_access_is_missing(door: Gateway, tmp_path: Path) -> None:
    client = door.get("rm.li", "/clients?page=1&size=50").json()["items"][0]["id"]
    for _ in range(3):
        door.get("rm.li", f"/clients/{client}")
    file = tmp_path / "report"
    made = privguard("audit", "report", str(client), "--proof", file, "--config", door.config)
    assert made.returncode == 0, made.stderr
    check = ["audit", "verify", "--report", file, "--key", door.folder / "trust"]
    said = privguard(*check)
    assert said.stdout.startswith(b"complete: all "), said.stderr
    report = json.loads(file.read_text())
    leaves = [json.loads(entry["leaf"]) for entry in report["entries"]]
    assert leaves[0]["action"] == "cli:audit:report", "this look at the client is the newest"
    assert len([leaf for leaf in leaves if leaf["action"] == "gateway:client:read"]) >= 3
    assert json.loads(report["map"]["leaf"])["action"] == "privguard:map:commit"
    other = json.loads(json.dumps(report))
    for wrong in (
        {**report, "entries": report["entries"][1:]},
        {**report, "entries": report["entries"][:-1]},
        {**report, "entries": [report["entries"][0], *report["entries"][2:]]},
        {**report, "entries": report["entries"][::-1]},
        {**report, "entries": [report["map"], *report["entries"][1:]]},
        {**report, "entries": [], "bucket": []},
        {**report, "map": report["entries"][0]},
        {**report, "token": "x" * 22},
        {**report, "v": 2},
        {
            **report,
            "bucket": [[t, c - 1, i] if t == report["token"] else [t, c, i] for t, c, i in other["bucket"]],
        },
    ):
        file.write_text(json.dumps(wrong))
        bad = privguard(*check)
        assert bad.returncode == 1
        assert bad.stderr.startswith(b"WRONG: "), bad


def test_l06_a_lost_log_begins_an_epoch_that_says_what_was_lost(bank: Running, own_folder: Path) -> None:
    operators = {}
    for name in ("op1.example", "op2.example", "stranger.example"):
        keys = own_folder.parent / name
        operators[name] = (
            privguard("audit", "operator", "--name", name, "--keys", keys).stdout.decode().strip()
        )
    trusted = [operators["op1.example"], operators["op2.example"]]
    made = make_gateway(own_folder, bank.port)
    made.config.write_text(
        made.config.read_text().replace("[audit]\n", f"[audit]\noperators = {json.dumps(trusted)}\n")
    )
    config = ["--config", made.config]
    made.start()
    made.get("rm.li", "/clients/1")
    with sqlite3.connect(made.database) as source, sqlite3.connect(own_folder / "backup") as target:
        source.backup(target)
    for _ in range(3):
        made.get("rm.li", "/clients/1")
    lost = int(published(made, len(made.leaves())).body.split(b"\n")[1])
    old = privguard("audit", "prove", "0", *config).stdout
    made.stop()
    assert b"nothing to recover" in privguard("audit", "recover", "--reason", "x", *config).stderr
    for file in made.folder.glob("privguard.db*"):
        file.unlink()
    (own_folder / "backup").rename(made.database)
    made.database.chmod(0o600)

    statement, once, twice = (own_folder / name for name in ("statement", "once", "twice"))
    statement.write_bytes(privguard("audit", "recover", "--reason", "disk burnt", *config).stdout)
    assert f"lost {lost} ".encode() in statement.read_bytes()

    def signed(source: Path, target: Path, name: str) -> None:
        said = privguard("audit", "sign", source, "--name", name, "--keys", own_folder.parent / name)
        assert said.returncode == 0, said.stderr
        target.write_bytes(said.stdout)

    signed(statement, once, "op1.example")
    for second in ("op1.example", "stranger.example"):
        signed(once, twice, second)
        assert b"1 of the 2 operators" in privguard("audit", "recover", "--signed", twice, *config).stderr
    signed(once, twice, "op2.example")
    twice.write_bytes(twice.read_bytes().replace(b"disk burnt", b"disk stolen"))
    assert privguard("audit", "recover", "--signed", twice, *config).returncode == 1
    signed(once, twice, "op2.example")
    said = privguard("audit", "recover", "--signed", twice, *config)
    assert said.returncode == 0, said.stderr

    made.start()
    try:
        epoch = next(leaf["epoch"] for leaf in made.leaves() if "epoch" in leaf)
        assert f"lost {lost} " in epoch["statement"]
        made.get("rm.li", "/clients/1")
        now = published(made, len(made.leaves()))
        assert now.body.startswith(b"test.invalid/log/epoch1\n")
        trust = parse_trust(privguard("audit", "trust", *config).stdout.decode())
        trust.accept(now.body)
        trust.accept(parse_proof(old).checkpoint)  # what was proved before stays proved
        assert privguard("audit", "verify", *config).returncode == 0
    finally:
        made.stop()


WRONGS = {
    "edited": "UPDATE event SET leaf = replace(CAST(leaf AS TEXT), 'rm.li', 'rm.la') WHERE idx = 9",
    "reordered": """UPDATE event SET leaf = (SELECT leaf FROM event WHERE idx = 12) WHERE idx = 9;
                    UPDATE event SET leaf = (SELECT leaf FROM kept WHERE idx = 9) WHERE idx = 12""",
    "columns": "UPDATE event SET actor = 'somebody' WHERE idx = 9",
    "columns ": "UPDATE event_subject SET prev = prev + 1 WHERE idx = 9",
    "columns  ": "DELETE FROM event_subject WHERE idx = 9",
    "missing": "DELETE FROM event WHERE idx = 9",
    "missing ": "DELETE FROM event WHERE idx >= 9",
    "form": "UPDATE event SET leaf = CAST('{}' AS BLOB), leaf_hash = x'{empty}' WHERE idx = 9",
}


@pytest.mark.parametrize("kind", WRONGS)
def test_l01_l03_verify_names_the_first_wrong_entry_and_how(door: Gateway, tmp_path: Path, kind: str) -> None:
    """Each on a copy of the running gateway's database, with its triggers dropped."""
    published(door, 41)
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("privguard.toml", "policy.yaml", "keys.json", "signing.json", "signer.state"):
        (copy / name).write_bytes((door.folder / name).read_bytes())
        (copy / name).chmod(0o600)
    with sqlite3.connect(door.database) as source, sqlite3.connect(copy / "privguard.db") as target:
        source.backup(target)
        for (name,) in target.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            target.execute(f"DROP TRIGGER {name}")
        target.execute("CREATE TABLE kept AS SELECT * FROM event")
        [at] = target.execute(
            "SELECT min(idx) FROM event_subject JOIN event USING (idx) WHERE idx > 8 AND actor = 'rm.li'"
        ).fetchone()
        wrong = WRONGS[kind].replace("{empty}", leaf_hash(b"{}").hex())
        target.executescript(
            wrong.replace("idx = 9", f"idx = {at}")
            .replace("idx >= 9", f"idx >= {at}")
            .replace("12", str(at + 1))
        )
    (copy / "privguard.db").chmod(0o600)
    said = privguard("audit", "verify", "--config", copy / "privguard.toml", "--json")
    assert said.returncode == 1, said.stdout
    found = json.loads(said.stdout)
    assert (found["kind"], found["first_bad"]) == (kind.strip(), at)
