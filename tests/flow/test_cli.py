"""The command line as people meet it: exit codes, messages with the mend, no traceback."""

from __future__ import annotations

import codecs
import getpass
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from privguard.config import load_settings
from privguard.errors import ConfigError
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
        ('mode = "enforce"', 'mode = "enforced"', "privguard.toml:3:1: [gateway] mode"),
        ('listen = "', 'lisen = "x"\nlisten = "', "[gateway] lisen is not a setting. Did you mean listen?"),
        ("[store]", "[stor]\nx = 1\n[store]", "stor is not a setting"),
        ('name = "crm"', 'name = "The CRM"', "[[systems]] name does not fit: the CRM's name"),
        ('policy = "', '# policy = "', "[[systems]] policy is missing: file of the policy"),
        ('upstream = "http', 'upstream = "x', "[[systems]] upstream does not fit: scheme://host:port"),
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


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        (
            "PRIVGUARD_GATEWAY__LISEN",
            "x",
            "environment PRIVGUARD_GATEWAY__LISEN: [gateway] lisen is not a setting",
        ),
        ("PRIVGUARD_GATWAY__MODE", "observe", "PRIVGUARD_GATWAY__MODE is not a setting"),
        ("PRIVGUARD_GATEWAY__TRUSTED_PROXIES", "10.0.0.1", "does not parse"),
        ("PRIVGUARD_GATEWAY__MODE", "no", "environment PRIVGUARD_GATEWAY__MODE: [gateway] mode: "),
    ],
)
def test_a_wrong_setting_of_the_environment_is_named(
    folder: Gateway, monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: str
) -> None:
    monkeypatch.setenv(name, value)
    said = privguard("doctor", "--config", str(folder.config))
    assert said.returncode == 1
    assert expected in said.stdout
    assert "Traceback" not in said.stderr


def test_files_are_looked_for_beside_the_configuration(folder: Gateway) -> None:
    text = (
        folder.config.read_text()
        + """
[anomaly]
work_secret = "work.secret"
[alerts]
file = "alerts.ndjson"
[stepup.sender]
secret = "/etc/sender.secret"
"""
    )
    folder.config.write_bytes(codecs.BOM_UTF8 + text.encode())
    settings = load_settings(folder.config)
    assert settings.anomaly.work_secret == folder.folder / "work.secret"
    assert settings.alerts is not None
    assert settings.alerts.file == folder.folder / "alerts.ndjson"
    assert settings.stepup.sender is not None
    assert settings.stepup.sender.secret == Path("/etc/sender.secret")


def test_a_configuration_in_another_encoding_is_named(folder: Gateway) -> None:
    folder.config.write_bytes("# 配置\n".encode("gbk") + folder.config.read_bytes())
    said = privguard("doctor", "--config", str(folder.config))
    assert said.returncode == 1
    assert "privguard.toml: the file is not UTF-8" in said.stdout


def test_every_wrong_setting_is_said_once(folder: Gateway) -> None:
    text = folder.config.read_text().replace('policy = "', 'credentials = {header = "x"}\n# "', 1)
    folder.config.write_text(text)
    said = privguard("serve", "--config", str(folder.config)).stderr.splitlines()
    assert len(said) == 2
    assert any("[[systems]] policy is missing" in line for line in said)
    assert any("[systems.credentials] from_file is missing" in line for line in said)


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
        "config", "policy", "keys", "store", "signing", "upstream", "identity", "staff", "disk",
    ]  # fmt: skip
    as_json = privguard("doctor", "--json", "--config", str(folder.config))
    assert all(json.loads(line)["ok"] for line in as_json.stdout.splitlines())


def test_doctor_says_that_a_log_has_nobodys_name(folder: Gateway) -> None:
    assert "NAMELESS" not in privguard("doctor", "--config", str(folder.config)).stdout
    folder.config.write_text(folder.config.read_text().replace("test.invalid/log", "privguard.invalid/log"))
    assert "NAMELESS" in privguard("doctor", "--config", str(folder.config)).stdout


def test_doctor_says_that_an_empty_directory_refuses_everybody(
    folder: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRIVGUARD_DIRECTORY__REQUIRED", "true")
    said = privguard("doctor", "--config", str(folder.config))
    assert said.returncode == 1
    assert "`privguard directory import`" in said.stdout


def test_doctor_asks_the_crm_who_am_i(folder: Gateway) -> None:
    folder.config.write_text(folder.config.read_text().replace('whoami = "/me"', 'whoami = "/whoami"'))
    said = privguard("doctor", "--config", str(folder.config))
    assert said.returncode == 1
    assert "/whoami answers 404" in said.stdout
    assert "[identity.upstream] whoami" in said.stdout


def test_doctor_says_where_the_store_should_be(folder: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRIVGUARD_STORE__URL", f"sqlite+aiosqlite:///{folder.folder}/nowhere/log.db")
    said = privguard("doctor", "--config", str(folder.config))
    assert said.returncode == 1
    assert "Correct [store] url" in said.stdout
    assert "Traceback" not in said.stderr


def test_the_demo_refuses_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = privguard("demo", "--port", str(taken.getsockname()[1]))
    assert said.returncode == 1
    assert "--port" in said.stderr


def test_policy_commands_say_what_to_name(tmp_path: Path) -> None:
    said = privguard("policy", "lint", cwd=tmp_path)
    assert said.returncode == 2
    assert "Name a policy file" in said.stderr
    said = privguard("policy", "explain", "policies/bank.yaml")
    assert said.returncode == 2
    assert "--as NAME" in said.stderr
    assert "teller" in said.stderr  # an actor of the tests beside the policy


def test_a_missing_extra_is_named() -> None:
    code = "import sys; sys.modules['uvicorn'] = None; from privguard.cli import main; main()"
    said = subprocess.run([sys.executable, "-c", code, "serve"], capture_output=True, text=True, cwd=REPO)
    assert said.returncode == 1
    assert "privguard[gateway]" in said.stderr
    assert "Traceback" not in said.stderr


def test_the_environment_overrides_the_file(folder: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRIVGUARD_GATEWAY__MODE", "observe")
    said = privguard("doctor", "--config", str(folder.config))
    assert "mode observe" in said.stdout
    monkeypatch.setenv("PRIVGUARD_SYSTEMS__0__NAME", "archive")
    monkeypatch.setenv("PRIVGUARD_SYSTEMS__0__TLS__CA", "/nowhere.pem")
    monkeypatch.setenv("PRIVGUARD_SYSTEMS__0__HEADERS__X_A", "b")
    settings = load_settings(folder.config)
    assert (settings.system.name, str(settings.system.tls.ca)) == ("archive", "/nowhere.pem")
    assert settings.system.headers == {"x_a": "b"}
    assert settings.system.upstream == f"http://127.0.0.1:{folder.upstream_port}"
    monkeypatch.setenv("PRIVGUARD_SYSTEMS__0__NO_SUCH", "x")
    with pytest.raises(ConfigError, match=r"\[\[systems\]\] no_such is not a setting"):
        load_settings(folder.config)


def test_the_tutorials_look_at_the_log_runs(folder: Gateway) -> None:
    said = privguard("client", "hold", "1", "--reason", "x", "--config", str(folder.config))
    assert said.returncode == 1, "the log knows no client yet; the intent is on record"
    tutorial = (REPO / "docs" / "tutorial.md").read_text()
    (folder.folder / "log.py").write_text(tutorial.split("```python\n")[1].split("```")[0])
    told = subprocess.run(
        [sys.executable, "log.py", "privguard.toml"], cwd=folder.folder, capture_output=True, text=True
    )
    assert told.stdout.splitlines() == [
        "0 root oversight:client:hold intent  0 clients".replace("root", getpass.getuser()),
        "verified: True",
    ], told.stderr


@pytest.mark.parametrize("file", ["keys.json", "signing.json", "privguard.db"])
def test_what_is_gone_is_named_with_its_mend(folder: Gateway, file: str) -> None:
    (folder.folder / file).unlink()
    said = privguard("doctor", "--config", str(folder.config))
    [line, *_] = [line for line in said.stdout.splitlines() if f"{file}: No such file" in line]
    assert "Restore it from its backup" in line or "Put the log back" in line
