"""`python -m tests.fuzz [--seconds N] [name ...]`: looks for inputs that a reader neither takes nor refuses.

Atheris mutates what came nearest to new code, for so many seconds a target; the first fault ends it with the
input in a file beside (``crash-...``), which goes into ``test_targets`` before the mend. ``make fuzz``.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["privguard"]):
    from tests.fuzz.targets import TARGETS


def main() -> int:
    """0: nothing was found; otherwise what libFuzzer says."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=600, help="for each (default: %(default)s)")
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(TARGETS)}; default: all")
    args = parser.parse_args()
    if unknown := set(args.names) - set(TARGETS):
        parser.error(f"no target {', '.join(sorted(unknown))}")
    if len(args.names) == 1:
        _fuzz(args.names[0], args.seconds)
    for name in args.names or TARGETS:  # libFuzzer ends its process, so each has one
        command = [sys.executable, "-m", "tests.fuzz", "--seconds", str(args.seconds), name]
        if (done := subprocess.run(command, check=False)).returncode:
            print(f"{name}: a fault (see above)")
            return done.returncode
    return 0


def _fuzz(name: str, seconds: int) -> None:
    read, seeds = TARGETS[name]
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(seeds):
            (Path(corpus) / str(number)).write_bytes(seed)
        longest = max(4096, 2 * max(map(len, seeds)))
        options = [f"-max_total_time={seconds}", f"-max_len={longest}", "-timeout=10", "-rss_limit_mb=2048"]
        atheris.Setup([name, *options, "-print_final_stats=1", corpus], read)
        atheris.Fuzz()


if __name__ == "__main__":
    raise SystemExit(main())
