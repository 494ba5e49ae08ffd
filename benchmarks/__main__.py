"""`python -m benchmarks [--quick] [--full] [names…]`: measure side by side, write results.json.

A run of some keeps the rows of the others, and README's table says of each when it was measured; a quick run
does not write there.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from benchmarks import (
    growth,
    key_rotation,
    log_append,
    lookback,
    memory,
    results,
    risk,
    stages,
    startup,
    stepup,
    throughput,
)
from benchmarks.process import CACHE, ROOT

_BENCHES = {
    "throughput": throughput.measure,
    "log_append": log_append.measure,
    "growth": growth.measure,
    "key_rotation": key_rotation.measure,
    "risk": risk.measure,
    "lookback": lookback.measure,
    "stepup": stepup.measure,
    "memory": memory.measure,
    "startup": startup.measure,
    "stages": stages.measure,
}


def main() -> int:
    """Run the named benchmarks, or all; 0 when done, 2 when the call was wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes; figures are rough")
    parser.add_argument("--full", action="store_true", help="growth goes on to ten million events")
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(_BENCHES)}; default: all")
    args = parser.parse_args()
    if unknown := set(args.names) - set(_BENCHES):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}: there are {', '.join(_BENCHES)}")
    if not sys.platform.startswith("linux"):
        parser.error("CPU and memory are read from /proc: run this on Linux")
    benches = {**_BENCHES, "growth": partial(growth.measure, full=args.full)}
    measured = _measure({name: benches[name] for name in args.names or benches}, args.quick)
    for bench in (growth, lookback):
        if any(each.name.startswith(bench.AT) for each in measured.rows):
            print(f"\n{growth.table(measured.rows, bench.AT)}")
    file = ROOT / "benchmarks/results.json"
    merged = results.merged(measured, file) if args.names else measured
    results.write_json(merged, file)
    print(f"\n{results.table(measured)}\n\nbenchmarks/results.json written")
    if args.quick:
        print("README.md keeps its table: no quick run replaces it")
    else:
        print(results.write_readme(merged, ROOT / "README.md"))
    return 0


def _measure(
    benches: Mapping[str, Callable[[bool, Path], list[results.Row]]], quick: bool
) -> results.Results:
    found = results.Results(results.machine(quick), [])
    CACHE.mkdir(exist_ok=True)
    folder = Path(
        tempfile.mkdtemp(prefix="run-", dir=CACHE)
    )  # on the project's own disk: a memory disk makes fsync free
    try:
        for name, measure in benches.items():
            print(f"{name} …", flush=True)
            found.rows.extend(measure(quick, folder))
    finally:
        shutil.rmtree(folder)
    return found


if __name__ == "__main__":
    sys.exit(main())
