"""The policies beside this file: the linter has nothing to say, their own tests hold, every rule is tried."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from privguard.cli import cli

HERE = Path(__file__).parent


@pytest.mark.parametrize("name", ["pocketbase", "directus"])
def test_a_policy_is_clean_and_its_tests_hold(name: str) -> None:
    policy = HERE / f"{name}.yaml"
    linted = CliRunner().invoke(cli, ["policy", "lint", str(policy)])
    assert (linted.exit_code, linted.output) == (0, f"{policy}: fine\n")
    tested = CliRunner().invoke(cli, ["policy", "test", str(policy)])
    assert tested.exit_code == 0, tested.output
    assert "none of them wrong" in tested.output
    assert "no row sees" not in tested.output
