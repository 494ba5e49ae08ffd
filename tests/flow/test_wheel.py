"""The wheel stands alone: built, installed in a clean environment, it runs init and demo from anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.door import REPO


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder), cwd=REPO)
    [built] = folder.glob("*.whl")
    return built


def run(*arguments: str, cwd: Path, status: int = 0) -> str:
    """Runs a command with an environment that knows nothing of the checkout."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(arguments, cwd=cwd, env=kept, capture_output=True, text=True, timeout=240)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def clean(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel in it; its dependencies are the locked ones that are here already."""
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder / "env", with_pip=True)
    python = folder / "env" / "bin" / "python"
    run(str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel), cwd=folder)
    site = next((folder / "env" / "lib").glob("python*/site-packages"))
    dependencies = folder / "dependencies"
    dependencies.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith(("privguard", "_privguard", "_editable")) and entry.suffix != ".pth":
            (dependencies / entry.name).symlink_to(entry)
    (site / "dependencies.pth").write_text(f"{dependencies}\n")
    return folder


def test_the_wheel_ships_policies_and_the_sample_crm_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "privguard/_shipped/policies/bank.yaml" in names
    assert "privguard/_shipped/policies/schema.json" in names
    assert "privguard/_shipped/bank_crm/app.py" in names
    pages = "privguard/gateway/pages"
    assert {f"{pages}/static/privguard.js", f"{pages}/templates/base.html", f"{pages}/words/zh.toml"} <= set(
        names
    )
    assert any(name.startswith("privguard/store/migrations/versions/0001") for name in names)
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/", "examples/"))]


def test_init_from_the_wheel_writes_a_folder_that_its_own_tools_accept(clean: Path) -> None:
    privguard = str(clean / "env" / "bin" / "privguard")
    where = run(
        str(clean / "env" / "bin" / "python"), "-c", "import privguard; print(privguard.__file__)", cwd=clean
    )
    assert str(clean) in where
    run(privguard, "init", "guard", cwd=clean)
    made = {file.name: oct(file.stat().st_mode & 0o777) for file in (clean / "guard").iterdir()}
    assert made["keys.json"] == "0o600"
    assert made["privguard.db"] == "0o600"
    run(privguard, "policy", "lint", "guard/policy.yaml", cwd=clean)
    run(privguard, "policy", "test", "guard/policy.yaml", cwd=clean)
    said = run(privguard, "doctor", "--config", "guard/privguard.toml", cwd=clean, status=1)
    assert [line.split()[:2] for line in said.splitlines() if line.startswith("FAIL")] == [
        ["FAIL", "upstream"],
        ["FAIL", "identity"],  # who-am-I is the upstream's
    ]
    again = subprocess.run(
        [privguard, "init", "guard"], cwd=clean, capture_output=True, text=True, timeout=60
    )
    assert again.returncode == 1
    assert "left alone" in again.stderr


def test_demo_once_from_the_wheel_plays_to_its_end(clean: Path) -> None:
    said = run(str(clean / "env" / "bin" / "privguard"), "demo", "--once", cwd=clean)
    assert "computed the same root" in said
