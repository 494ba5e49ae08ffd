"""``privguard audit`` beside a running gateway, as a compliance officer meets it."""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.command import Said, privguard
from tests.door import Gateway


def audit(gateway: Gateway, *arguments: str) -> Said:
    return privguard("audit", *arguments, "--config", gateway.config)


def found(said: Said) -> list[Any]:
    assert said.returncode == 0, said.stderr
    return [json.loads(line) for line in said.stdout.splitlines()]


@pytest.fixture(scope="session")
def trust(gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that an auditor was given."""
    file = tmp_path_factory.mktemp("auditor") / "trust"
    file.write_bytes(audit(gateway, "trust").stdout)
    return file


def own_client(gateway: Gateway) -> str:
    """A client that the manager may see, whom nobody has looked at yet in this test's turn."""
    listed = gateway.get("rm.li", "/clients?page=1&size=50").json()["items"]
    return str(listed[-1]["id"])


def test_l15_who_saw_a_client_is_answered_and_the_question_is_on_record(gateway: Gateway) -> None:
    client = own_client(gateway)
    seen = gateway.get("rm.li", f"/clients/{client}")
    assert seen.status == 200
    said = audit(gateway, "report", client)
    assert b"complete: " in said.stderr
    assert f"{seen.index}  ".encode() in said.stdout
    assert b"rm.li" in said.stdout
    chinese = audit(gateway, "report", client, "--lang", "zh")
    assert f"完整：共 {len(said.stdout.splitlines()) + 1} 条记录" in chinese.stderr.decode()
    [line] = [line for line in chinese.stdout.decode().splitlines() if line.startswith(f"{seen.index}  ")]
    assert "+08:00  rm.li  查阅 gateway:client:read  允许  客户服务  完整显示：" in line
    assert "、姓名、" in line
    entries = found(audit(gateway, "search", "--client", client, "--actor", "rm.li", "--json"))
    assert entries[0]["index"] == seen.index
    looks = [leaf for leaf in gateway.leaves() if leaf["action"].startswith("cli:audit:")]
    assert [look["action"] for look in looks[-2:]] == ["cli:audit:report", "cli:audit:search"]
    assert f'"{client}"' not in json.dumps(looks)
    gateway.verify()


def test_pages_go_on_with_their_cursor_and_only_with_their_filter(gateway: Gateway) -> None:
    for _ in range(3):
        own_client(gateway)
    first = audit(gateway, "search", "--action", "gateway:", "--limit", "2", "--json")
    cursor = first.stderr.decode().partition("--cursor ")[2].strip()
    again = audit(gateway, "search", "--action", "gateway:", "--limit", "2", "--json", "--cursor", cursor)
    assert found(again)[0]["index"] < found(first)[-1]["index"]
    other = audit(gateway, "search", "--cursor", cursor)
    assert other.returncode == 1
    assert b"belongs to another filter" in other.stderr


def test_an_unknown_filter_or_value_is_a_wrong_call(gateway: Gateway) -> None:
    for wrong in (["--colour", "red"], ["--outcome", "maybe"], ["--since", "yesterday"], ["--limit", "0"]):
        said = audit(gateway, "search", *wrong)
        assert (said.returncode, said.stdout) == (2, b""), wrong
    assert audit(gateway, "show", "999999999").returncode == 1
    assert audit(gateway, "search", *["--action=a:"] * 501).returncode == 2
    assert audit(gateway, "search", *["--action=a:"] * 500).returncode == 0
    for wrong in (["search", "--actor", "\udcff"], ["report", "\udcff"], ["show", "\udcff"]):
        assert b"not UTF-8" in audit(gateway, *wrong).stderr, wrong


def test_tail_and_show_tell_one_entry(gateway: Gateway) -> None:
    seen = gateway.get(
        "rm.li", f"/clients/{own_client(gateway)}", headers={"Privguard-Reason": '"call back"'}
    )
    [last] = found(audit(gateway, "tail", "-n", "1", "--action", "gateway:", "--json"))
    assert last["index"] == seen.index
    [shown] = found(audit(gateway, "show", str(seen.index), "--json"))
    assert shown["entries"][0]["leaf"]["actor"] == "rm.li"
    assert shown["detail"]["reason"] == "call back"
    assert next(iter(shown["clients"].values())).startswith("client ")
    assert b"reason: call back" in audit(gateway, "show", last["leaf"]["id"]).stdout


@pytest.mark.parametrize("form", ["ndjson", "csv", "xlsx", "ocsf", "cef"])
def test_l15_an_export_holds_what_a_search_finds_and_a_stranger_checks_each_row(
    gateway: Gateway, tmp_path: Path, trust: Path, form: str
) -> None:
    for _ in range(2):  # one alone has no order to change
        gateway.get("rm.li", f"/clients/{own_client(gateway)}")
    filters = ["--actor", "rm.li", "--action", "gateway:client:read"]
    wanted = found(audit(gateway, "search", *filters, "--limit", "10000", "--json"))
    [said] = found(audit(gateway, "export", str(tmp_path / "out"), "--format", form, *filters, "--json"))
    assert said["count"] == len(wanted)
    manifest = json.loads((tmp_path / "out" / "export.json").read_text())
    assert manifest["filter"]["actor"] == ["rm.li"]
    [name] = manifest["files"]
    if form in ("ndjson", "ocsf", "cef"):
        assert len((tmp_path / "out" / name).read_text().splitlines()) == len(wanted)
    assert gateway.leaves()[manifest["look"]["index"]]["action"] == "cli:audit:export"

    check = ["audit", "verify", "--export", tmp_path / "out", "--key", trust]
    good = privguard(*check, "--json")
    assert good.returncode == 0, good
    assert json.loads(good.stdout)["count"] == len(wanted) > 1
    proofs = (tmp_path / "out" / "proofs.ndjson").read_bytes().splitlines(keepends=True)
    other = json.dumps({**json.loads(proofs[0]), "leaf": json.loads(proofs[-1])["leaf"]}).encode()
    for file, wrong in {
        name: _changed((tmp_path / "out" / name).read_bytes()),
        "proofs.ndjson": b"".join(proofs[:-1]),
        "proofs.ndjson ": b"".join(proofs[::-1]),
        "proofs.ndjson  ": other + b"\n" + b"".join(proofs[1:]),
        "proofs.ndjson   ": b"{}",
        "export.json": b"{}",
        "checkpoint": (tmp_path / "out" / "checkpoint").read_bytes().replace(b"\n\n", b"\n1\n\n", 1),
    }.items():
        place = tmp_path / "out" / file.strip()
        whole = place.read_bytes()
        place.write_bytes(wrong)
        bad = privguard(*check)
        assert (bad.returncode, bad.stderr[:7]) == (1, b"WRONG: "), (file, bad)
        place.write_bytes(whole)
    assert privguard(*check).returncode == 0
    for file in (name, "proofs.ndjson", "export.json", "checkpoint"):
        place = tmp_path / "out" / file
        whole = place.read_bytes()
        place.unlink()
        os.mkfifo(place)
        assert b"This is no regular file" in privguard(*check).stderr, file
        place.unlink()
        place.symlink_to("/dev/zero")  # neither has an end
        assert b"This is no regular file" in privguard(*check).stderr, file
        place.unlink()
        place.write_bytes(whole)
    (tmp_path / "out" / "proofs.ndjson").unlink()
    assert privguard(*check).stderr.endswith(b"proofs.ndjson: No such file or directory\n")
    assert privguard("audit", "verify", "--export", tmp_path / "out").returncode == 2


def _changed(data: bytes) -> bytes:
    """The same file, but for somebody's name in it."""
    if not data.startswith(b"PK"):
        return data.replace(b"rm.li", b"rm.la", 1)
    changed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as book, zipfile.ZipFile(changed, "w") as made:
        for part in book.infolist():
            made.writestr(part, book.read(part).replace(b"rm.li", b"rm.la", 1))
    return changed.getvalue()
