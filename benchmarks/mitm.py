"""mitmproxy in reverse mode with a masking script: what a team would use that wrote no gateway.

It conflicts with our lock, so it has an environment of its own below `benchmarks/.cache`, made on first use.
"""

import subprocess
import sys
from pathlib import Path

import msgspec

from benchmarks.process import CACHE, ROOT, NotMeasuredError

VERSION = "11.0.2"  # the last that runs on Python 3.11, our lowest
_HOME = CACHE / f"mitmproxy-{VERSION}"
_READY = _HOME / ".ready"


def install() -> None:
    """Make the environment if there is none.

    Raises:
        NotMeasuredError: pip could not install it; pip's own words go to standard error.
    """
    if _READY.exists():
        return
    print(f"installing mitmproxy {VERSION} below {_HOME.relative_to(ROOT)} …", file=sys.stderr)
    wanted = [f"mitmproxy=={VERSION}", f"msgspec=={msgspec.__version__}"]
    steps = [
        [sys.executable, "-m", "venv", "--clear", str(_HOME)],
        [str(_HOME / "bin/python"), "-m", "pip", "install", "--quiet", "--prefer-binary", *wanted],
    ]
    for step in steps:
        try:
            done = subprocess.run(step, capture_output=True, text=True, timeout=600)
        except subprocess.TimeoutExpired:
            raise NotMeasuredError(f"installing mitmproxy {VERSION} took more than ten minutes") from None
        if done.returncode:
            print(done.stderr, file=sys.stderr)
            raise NotMeasuredError(f"pip could not install mitmproxy {VERSION}")
    _READY.touch()


def command(port: int, upstream: int, folder: Path) -> list[str]:
    """The command line of mitmdump in front of the upstream's port, quiet, its keys below `folder`."""
    settings = {"confdir": folder / "mitmproxy", "flow_detail": 0, "keep_host_header": "true"}
    options = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    return [
        *(str(_HOME / "bin/mitmdump"), "--quiet", "--mode", f"reverse:http://127.0.0.1:{upstream}"),
        *("--listen-host", "127.0.0.1", "--listen-port", str(port)),
        *("--scripts", str(ROOT / "benchmarks/mitm_addon.py"), *options),
    ]
