"""A gateway whose checkpoints an authority stamps, while it answers and while it does not."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

from tests.command import privguard
from tests.door import Gateway, Running, ask, make_gateway
from tests.stamper import Authority, served


def until(gateway: Gateway, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, gateway.output[-2000:]
        time.sleep(0.1)


def failures(gateway: Gateway) -> float:
    said = ask(gateway.port, "GET", "/_privguard/metrics").body.decode()
    [count] = re.findall(r'privguard_failures_total\{work="timestamping-failed"\} ([0-9.]+)', said)
    return float(count)


def test_checkpoints_are_stamped_and_no_stamp_is_waited_for(bank: Running, own_folder: Path) -> None:
    authority, gone = Authority(at=None), []

    def answer(request: bytes) -> bytes:
        return b"" if gone else authority(request)

    roots, stranger = own_folder.parent / "roots.pem", own_folder.parent / "stranger.pem"
    stranger.write_bytes(Authority("stranger").root)
    with served(answer) as url:
        extra = f'[audit.timestamps]\nurl = "{url}"\nroots = "roots.pem"\ninterval_s = 1\n'
        made = make_gateway(own_folder, bank.port, extra=extra)
        for file in (
            roots,
            made.folder / "roots.pem",
        ):  # the setting is relative to the configuration's folder
            file.write_bytes(authority.root)
        check = ["audit", "verify", "--config", made.config]

        def stamps() -> int:
            made.get("rm.li", "/clients/1")
            said = privguard(*check, "--json")
            return json.loads(said.stdout)["timestamps"]["count"] if said.returncode == 0 else 0

        made.start()
        try:
            until(made, lambda: stamps() >= 1)
            assert failures(made) == 0
            gone.append("the authority")
            until(made, lambda: failures(made) > 0)
            assert made.get("rm.li", "/clients/1").status == 200
            assert "timestamping-failed" in made.output
            assert stamps() >= 1, "the log goes on, and what was stamped stays so"
        finally:
            made.stop()
    said = privguard(*check)
    assert re.search(rb"; \d+ time stamps, by the last \d+ entries were there at 20\d\d-", said.stdout), said
    wrong = privguard(*check, "--tsa", stranger)
    assert wrong.returncode == 1
    assert b"WRONG: the time stamp of the checkpoint at " in wrong.stderr

    trust, folder = own_folder.parent / "trust", own_folder.parent / "bundle"
    trust.write_bytes(privguard("audit", "trust", "--config", made.config).stdout)
    assert privguard("audit", "export", folder, "--bundle", "--config", made.config).returncode == 0
    bundle = ["audit", "verify", "--bundle", folder, "--key", trust]
    assert b"name --tsa" in privguard(*bundle).stderr
    good = privguard(*bundle, "--tsa", roots)
    assert b" time stamps, by the last " in good.stdout, good
    lines = (folder / "timestamps").read_bytes()
    first = json.loads(lines.splitlines()[0])
    for broken in (
        lines.replace(b'"answer":"M', b'"answer":"N', 1),
        lines[:-50],
        json.dumps({**first, "proof": first["proof"][1:]}).encode(),
        json.dumps({**first, "note": first["note"].replace("\n\n", "\nx\n\n")}).encode(),
    ):
        (folder / "timestamps").write_bytes(broken)
        bad = privguard(*bundle, "--tsa", roots)
        assert bad.returncode == 1
        assert bad.stderr.startswith(b"Error: WRONG: "), bad
    (folder / "timestamps").unlink()
    assert b"; no time stamps" in privguard(*bundle, "--tsa", roots).stdout
    assert b"PEM" in privguard(*bundle, "--tsa", trust).stderr
    assert b"signing" in privguard("doctor", "--config", made.config).stdout
