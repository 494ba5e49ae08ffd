"""``privguard policy``: what it prints and how it exits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from privguard.cli.policy import policy
from privguard.errors import ConfigError

POLICIES = Path(__file__).parents[3] / "policies"
MINIMAL = str(POLICIES / "minimal.yaml")
BANK = str(POLICIES / "bank.yaml")


def call(*arguments: str) -> Result:
    return CliRunner().invoke(policy, arguments, catch_exceptions=False)


def lines(result: Result) -> list[Any]:
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    file = tmp_path / "broken.yaml"
    file.write_text("privguard: 1\nclasses: {a: {mask: emial}}\nresources: {c: {fields: {id: public}}}\n")
    return file


def test_lint_is_quiet_about_what_is_fine() -> None:
    result = call("lint", MINIMAL, BANK)
    assert result.exit_code == 0
    assert result.stdout == f"{MINIMAL}: fine\n{BANK}: fine\n"
    assert call("lint", MINIMAL, "--json").stdout == ""


def test_lint_says_where_and_how_to_mend(broken: Path) -> None:
    result = call("lint", str(broken))
    assert result.exit_code == 1
    assert f"{broken}:2:21: error: there is no mask `emial` (did you mean `email`?)" in result.stdout
    [finding] = lines(call("lint", "--json", str(broken)))
    assert (finding["severity"], finding["where"], finding["mend"]) == (
        "error", f"{broken}:2:21", "did you mean `email`?",
    )  # fmt: skip


def test_a_warning_alone_does_not_fail(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(
        Path(MINIMAL).read_text("utf-8").replace("relations:", "relations:\n  spare: has(record.x)")
    )
    result = call("lint", str(file))
    assert result.exit_code == 0
    assert "warning: no rule uses relation `spare`" in result.stdout


def test_a_file_of_errors_does_not_taint_the_next(broken: Path) -> None:
    result = call("lint", str(broken), MINIMAL)
    assert result.exit_code == 1
    assert result.stdout.endswith(f"{broken}: errors\n{MINIMAL}: fine\n")


@pytest.mark.parametrize("name", ["minimal.yaml", "minimal_test.yaml", "bank_test.yaml"])
def test_shipped_tests_pass_with_the_masks_that_the_gateway_uses(name: str) -> None:
    result = call("test", str(POLICIES / name))
    assert result.exit_code == 0, result.stdout
    assert "none of them wrong" in result.stdout


def test_a_row_that_differs_fails_and_is_shown(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_bytes(Path(MINIMAL).read_bytes())
    tests = tmp_path / "p_test.yaml"
    tests.write_text(
        (POLICIES / "minimal_test.yaml").read_text("utf-8")
        + "  - {as: guest, record: zhang, expect: permitted}\n",
        "utf-8",
    )
    result = call("test", str(tests))
    assert result.exit_code == 1
    assert "guest: zhang: expected permitted, got not-permitted" in result.stdout
    rows = lines(call("test", "--json", str(tests)))
    assert [bool(row["differs"]) for row in rows[-2:]] == [False, True]


def test_a_policy_without_tests_fails(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_bytes(Path(MINIMAL).read_bytes())
    result = call("test", str(file))
    assert result.exit_code == 1
    assert "the policy has no tests (write p_test.yaml beside it" in result.stderr
    [row] = lines(call("test", "--json", str(file)))
    assert "no tests" in row["differs"][0]


def test_tests_without_their_policy_fail(tmp_path: Path) -> None:
    file = tmp_path / "p_test.yaml"
    file.write_bytes((POLICIES / "minimal_test.yaml").read_bytes())
    result = call("test", str(file))
    assert result.exit_code == 1
    assert "p.yaml" in result.stderr


def test_a_broken_policy_fails_its_tests_with_all_errors(broken: Path) -> None:
    result = call("test", str(broken))
    assert result.exit_code == 1
    assert ":2:21:" in result.stderr


def test_a_file_that_is_not_there_is_a_wrong_call() -> None:
    for command in ("lint", "test", "explain"):
        assert call(command, "nowhere.yaml").exit_code == 2


def test_a_file_that_is_not_text_fails(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_bytes(b"\xff\xfe")
    assert "not UTF-8" in call("lint", str(file)).stdout


def test_explain_shows_rules_and_fields() -> None:
    result = call("explain", BANK, "--as", "rm", "--record", "own")
    assert result.exit_code == 0
    assert "read client for service: permitted" in result.stdout
    assert "+ rm-read" in result.stdout
    assert "is for another role" in result.stdout
    assert "offered  mobile" in result.stdout
    explanation = json.loads(call("explain", BANK, "--as", "rm", "--record", "vip", "--json").stdout)
    assert explanation["answer"] == "step-up-required"
    assert explanation["missing"][0]["kind"] == "mfa"


def test_explain_takes_a_role_and_a_record_file(tmp_path: Path) -> None:
    record = tmp_path / "r.json"
    record.write_text('{"id": 1, "branch": "pudong", "name": "x"}')
    said = ("--role", "staff", "--branch", "pudong", "--record", str(record), "--json")
    explanation = json.loads(call("explain", MINIMAL, *said).stdout)
    assert explanation["answer"] == "permitted"
    assert ["name", "clear", "clear"] in explanation["fields"]
    refused = json.loads(call("explain", MINIMAL, "--role", "staff", "--purpose", "x", "--json").stdout)
    assert refused["answer"] == "not-permitted"
    assert "no such purpose" in call("explain", MINIMAL, "--role", "staff", "--purpose", "x").stdout


def test_explain_says_what_failed() -> None:
    assert "failed   assigned" in call("explain", BANK, "--as", "rm", "--record", "no_owner").stdout


def test_explain_refuses_what_is_no_record(tmp_path: Path) -> None:
    listed = tmp_path / "r.json"
    listed.write_text("[]")
    for record in ("nowhere", str(listed)):
        with pytest.raises(ConfigError):
            call("explain", BANK, "--as", "rm", "--record", record)


def test_explain_needs_to_know_who_asks() -> None:
    assert call("explain", MINIMAL).exit_code == 2
    assert call("explain", MINIMAL, "--as", "nobody").exit_code == 2


def test_without_a_file_the_configured_policy_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(policy, ["lint"]).exit_code != 0
