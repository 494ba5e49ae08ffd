"""``privguard client`` beside a running gateway."""

from __future__ import annotations

import json
from pathlib import Path

from tests.command import Said, privguard
from tests.door import Gateway, Running, make_gateway


def run(gateway: Gateway, *arguments: str) -> Said:
    return privguard(*arguments, "--config", gateway.config)


def test_l13_hold_release_erase_while_the_gateway_serves(bank: Running, own_folder: Path) -> None:
    gateway = make_gateway(own_folder, bank.port).start()
    try:
        client = str(gateway.get("rm.li", "/clients?page=1&size=50").json()["items"][-1]["id"])
        seen = gateway.get("rm.li", f"/clients/{client}")
        assert seen.status == 200
        assert run(gateway, "client", "hold", client, "--reason", "case 7").returncode == 0
        refused = run(gateway, "client", "erase", client, "--reason", "asked for")
        assert refused.returncode == 1
        assert b"on hold" in refused.stderr
        said = run(gateway, "client", "hold", client, "--reason", "closed", "--release", "--json")
        assert json.loads(said.stdout)["hold"] is False
        erased = json.loads(run(gateway, "client", "erase", client, "--reason", "asked for", "--json").stdout)
        leaves = gateway.leaves()
        assert leaves[erased["index"]]["action"] == "oversight:client:erase"
        (old,) = [token for token, _, _ in leaves[seen.index]["groups"][0]["subjects"]]
        assert run(gateway, "audit", "report", client).returncode == 1
        again = gateway.get("rm.li", f"/clients/{client}")
        (new,) = [token for token, _, _ in gateway.leaves()[again.index]["groups"][0]["subjects"]]
        assert new != old
        gateway.verify()
        assert run(gateway, "client", "erase", "nobody", "--reason", "x").returncode == 1
        assert run(gateway, "client", "erase", client).returncode == 2
    finally:
        gateway.stop()
