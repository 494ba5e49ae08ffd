"""The command line as people meet it: exit codes, messages with the mend, no traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.door import REPO, Gateway, Running, make_gateway


def privguard(*arguments: str, cwd: Path = REPO) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "privguard", *arguments], cwd=cwd, capture_output=True, text=True, timeout=120
    )


@pytest.fixture
def folder(bank: Running, own_folder: Path) -> Gateway:
    """A gateway's folder; not started."""
    return make_gateway(own_folder, bank.port)


def test_help_names_every_command_and_loads_no_server() -> None:
    said = privguard("--help")
    assert said.returncode == 0
    for command in ("demo", "init", "serve", "doctor", "policy", "db"):
        assert command in said.stdout
    loaded = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "privguard", "--help"],
        capture_output=True,
        text=True,
        cwd=REPO,
    )
    for heavy in ("fastapi", "sqlalchemy", "aiohttp", "pydantic", "ruamel"):
        assert f" {heavy}\n" not in loaded.stderr


def test_importing_privguard_loads_no_server_and_gives_the_public_names() -> None:
    code = (
        "import sys, privguard; names = [getattr(privguard, n) for n in privguard.__all__];"
        "print(sorted({'fastapi', 'sqlalchemy', 'aiohttp'} & set(sys.modules)), len(names))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPO)
    assert said.stdout.split() == ["[]", "9"], said.stderr


def test_a_wrong_call_ends_with_2() -> None:
    assert privguard("serve", "--no-such-option").returncode == 2
    assert privguard("no-such-command").returncode == 2


@pytest.mark.parametrize("command", [["serve"], ["doctor"], ["db", "status"]])
def test_a_missing_configuration_is_named_with_its_mend(command: list[str], tmp_path: Path) -> None:
    said = privguard(*command, "--config", str(tmp_path / "none.toml"))
    assert said.returncode == 1
    assert "privguard init" in said.stderr + said.stdout
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('mode = "enforce"', 'mode = "enforced"', "gateway.mode"),
        ('listen = "', 'lisen = "x"\nlisten = "', "gateway.lisen is not a setting"),
        ("[store]", "[stor]\nx = 1\n[store]", "stor is not a setting"),
        ('name = "crm"', 'name = "The CRM"', "systems.0.name"),
        ("[gateway]", "[gateway", "privguard.toml: "),
    ],
)
def test_a_wrong_setting_is_named_with_its_line(folder: Gateway, old: str, new: str, expected: str) -> None:
    text = folder.config.read_text()
    assert old in text
    folder.config.write_text(text.replace(old, new, 1))
    said = privguard("serve", "--config", str(folder.config))
    assert said.returncode == 1
    assert expected in said.stderr
    assert "privguard.toml" in said.stderr
    assert "Traceback" not in said.stderr


def test_serve_refuses_keys_that_others_may_read(folder: Gateway) -> None:
    (folder.folder / "keys.json").chmod(0o644)
    said = privguard("serve", "--config", str(folder.config))
    assert said.returncode == 1
    assert "chmod 600" in said.stderr


def test_serve_refuses_a_policy_that_is_not_valid_with_line_and_column(folder: Gateway) -> None:
    policy = folder.folder / "policy.yaml"
    policy.write_text(policy.read_text().replace("mask: cn_mobile_3_4", "mask: cn_mobile_34", 1))
    said = privguard("serve", "--config", str(folder.config))
    assert said.returncode == 1
    assert "policy.yaml:" in said.stderr
    assert "cn_mobile_3_4" in said.stderr  # the nearest name, as the mend
    assert "Traceback" not in said.stderr


def test_serve_refuses_a_store_whose_tables_are_missing(folder: Gateway) -> None:
    folder.database.unlink()
    said = privguard("serve", "--config", str(folder.config))
    assert said.returncode == 1
    assert "privguard db upgrade" in said.stderr


def test_db_upgrade_makes_the_tables_and_status_says_so(folder: Gateway) -> None:
    folder.database.unlink()
    assert privguard("db", "upgrade", "--config", str(folder.config)).returncode == 0
    said = privguard("db", "status", "--json", "--config", str(folder.config))
    assert said.returncode == 0
    found = json.loads(said.stdout)
    assert found["current"] == found["needed"]


def test_doctor_says_one_line_a_check(folder: Gateway) -> None:
    said = privguard("doctor", "--config", str(folder.config))
    assert said.returncode == 0, said.stdout + said.stderr
    assert [line.split()[1] for line in said.stdout.splitlines()] == [
        "config", "policy", "keys", "store", "upstream", "disk",
    ]  # fmt: skip
    as_json = privguard("doctor", "--json", "--config", str(folder.config))
    assert all(json.loads(line)["ok"] for line in as_json.stdout.splitlines())


def test_the_environment_overrides_the_file(folder: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRIVGUARD_GATEWAY__MODE", "observe")
    said = privguard("doctor", "--config", str(folder.config))
    assert "mode observe" in said.stdout
