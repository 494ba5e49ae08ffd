"""Wall time of `privguard --help`, in turn with a bare interpreter."""

import subprocess
import sys
import time
from pathlib import Path

from benchmarks import results
from benchmarks.process import ROOT, NotMeasuredError

_BARE = "python -c pass"
_COMMANDS = {
    _BARE: [sys.executable, "-c", "pass"],
    "privguard --help": [str(Path(sys.executable).parent / "privguard"), "--help"],
}


def measure(quick: bool, _folder: Path) -> list[results.Row]:
    """3 (quick) or 20 runs of each command, in turn, after one that warms the file cache."""
    samples: dict[str, list[float]] = {name: [] for name in _COMMANDS}
    failed: dict[str, str] = {}
    for turn in range(4 if quick else 21):
        for name, argv in _COMMANDS.items():
            try:
                took = _run(name, argv)
                if turn:
                    samples[name].append(took)
            except NotMeasuredError as why:
                failed[name] = str(why)
    return [
        results.missing(f"start-up: {name}", "ms", failed[name])
        if name in failed
        else results.row(
            f"start-up: {name}", "ms", taken, *((_BARE, samples[_BARE]) if name != _BARE else ())
        )
        for name, taken in samples.items()
    ]


def _run(name: str, argv: list[str]) -> float:
    began = time.perf_counter()
    try:
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        raise NotMeasuredError(f"{name} could not be run") from None
    if done.returncode:
        raise NotMeasuredError(f"{name} ended with code {done.returncode}")
    return (time.perf_counter() - began) * 1e3
