"""``privguard keys`` beside a gateway with two workers that is never restarted."""

from __future__ import annotations

import json
import os
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from privguard.bootstrap import Wiring, wire
from privguard.config import load_settings
from privguard.errors import AuditUnavailableError, ConfigError
from privguard.model import Principal
from tests.command import Said, privguard
from tests.door import Answer, Gateway, ask, make_gateway
from tests.recorder import DEMO, POLICY, STAFF, client

pytestmark = pytest.mark.xdist_group("staffed")


def run(gateway: Gateway, *arguments: object) -> Said:
    return privguard("keys", *arguments, "--config", gateway.config)


def versions(gateway: Gateway) -> dict[int, tuple[str, int]]:
    rows = [json.loads(line) for line in run(gateway, "list", "--json").stdout.splitlines()]
    return {row["version"]: (row["state"], row["wraps"]) for row in rows}


def key_file(gateway: Gateway) -> Any:
    return json.loads((gateway.folder / "keys.json").read_text())


class Reading:
    """Somebody who reads client after client; what was not answered is kept."""

    def __init__(self, gateway: Gateway, clients: range) -> None:
        self._gateway, self._clients = gateway, clients
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read)
        self.answered = 0
        self.refused: list[Answer] = []

    def one(self, number: int) -> None:
        answer = ask(self._gateway.port, "GET", f"/clients/{number}", token=STAFF)
        self.answered += 1
        if answer.status != 200:
            self.refused.append(answer)

    def _read(self) -> None:
        while not self._ended.is_set():
            self.one(self._clients[self.answered % len(self._clients)])

    def __enter__(self) -> Reading:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def test_l11_a_rotation_under_way_refuses_no_read_and_needs_no_restart(staffed: Gateway) -> None:
    known, fresh = range(101, 131), range(201, 205)
    staff, clients = staffed.folder / "staff.csv", staffed.folder / "clients.csv"
    staff.write_text("id,roles\ne-17,staff\n")
    clients.write_text("staff,client\n" + "".join(f"e-17,{number}\n" for number in (*known, *fresh)))
    said = privguard("directory", "import", staff, clients, "--config", staffed.config)
    assert said.returncode == 0, said
    with Reading(staffed, known) as reading:
        for number in known:
            reading.one(number)
        before = versions(staffed)[1][1]
        assert before >= len(known)
        rotated = run(staffed, "rotate")
        assert rotated.returncode == 0, rotated
        assert b"version 2 wraps from now on" in rotated.stdout
        assert run(staffed, "retire", 1).returncode == 1
        assert run(staffed, "rewrap").returncode == 0
        assert run(staffed, "retire", 1).returncode == 0
        for number in fresh:  # the log does not know them: they are wrapped by version 2
            for _ in range(4):
                reading.one(number)
    assert reading.refused == []
    assert versions(staffed) == {2: ("primary", before + len(fresh))}
    acts = [leaf for leaf in staffed.leaves() if leaf["action"].startswith("oversight:keys:")]
    assert [(leaf["action"].rpartition(":")[2], leaf["outcome"]) for leaf in acts] == [
        ("add", "intent"), ("add", "permitted"), ("promote", "intent"), ("promote", "permitted"),
        ("retire", "intent"), ("retire", "aborted"), ("rewrap", "intent"), ("rewrap", "permitted"),
        ("retire", "intent"), ("retire", "permitted"),
    ]  # fmt: skip
    assert acts[7]["about"] == {"key": f"{key_file(staffed)['id']}/2", "rows": str(before)}


def disclose(gateway: Gateway, number: int, wiring: Wiring | None = None) -> None:
    """By the library; in a process that remembers nothing, where none is given."""
    if wiring is None:
        with closing(wire(load_settings(gateway.config))) as fresh:
            disclose(gateway, number, fresh)
        return
    actor = Principal("e-17", frozenset({"staff"}), branch="north")
    assert wiring.guard.disclose(actor, resource="client", record=client(number))["id"] == number


def test_s15_s16_keys_are_made_once_and_a_lost_key_file_is_not_replaced(own_folder: Path) -> None:
    gateway = make_gateway(own_folder, 1, policy=POLICY, identity=DEMO)
    file = gateway.folder / "keys.json"
    assert b"left alone" in run(gateway, "init").stderr
    file.unlink()
    assert run(gateway, "init", "--suite", "sm4gcm-sm3").returncode == 0
    assert file.stat().st_mode & 0o777 == 0o600
    disclose(gateway, 1)
    assert privguard("audit", "report", "1", "--config", gateway.config).returncode == 0
    lost = file.rename(file.with_name("lost.json"))
    assert b"restore the key file from its backup" in run(gateway, "init").stderr
    with pytest.raises(ConfigError, match="from its backup"):
        disclose(gateway, 1)
    lost.rename(file)
    file.chmod(0o640)
    for command in (("list",), ("rotate",), ("rewrap",), ("retire", "1")):
        assert b"chmod 600" in run(gateway, *command).stderr
    acts = [leaf["about"] for leaf in gateway.leaves() if leaf["action"] == "oversight:keys:init"]
    assert acts == [{"key": f"{key_file(gateway)['id']}/1"}]


def test_s16_a_security_module_keeps_the_keys_of_a_gateway(
    own_folder: Path, softhsm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = f'provider = "pkcs11"\npkcs11 = {{module = "{softhsm}", token = "bank", pin_file = "pin"}}'
    gateway = make_gateway(own_folder, 1, policy=POLICY, identity=DEMO)
    gateway.config.write_text(gateway.config.read_text().replace('provider = "file"', module))
    (gateway.folder / "keys.json").unlink()
    pin = gateway.folder / "pin"
    pin.write_text("1234\n")
    assert b"chmod 600" in run(gateway, "init").stderr
    pin.chmod(0o600)
    assert b"leave --suite out" in run(gateway, "init", "--suite", "sm4gcm-sm3").stderr
    assert run(gateway, "init").returncode == 0
    disclose(gateway, 1)
    assert set(key_file(gateway)["keks"].values()) == {f"privguard/{key_file(gateway)['id']}/1"}
    for command in (("rotate",), ("rewrap",), ("retire", 1)):
        said = run(gateway, *command)
        assert said.returncode == 0, said
    assert versions(gateway) == {2: ("primary", 1)}
    wiring = wire(load_settings(gateway.config))
    tokens = Path(os.environ["SOFTHSM2_CONF"]).with_name("tokens")
    with closing(wiring):
        disclose(gateway, 1, wiring)
        away = tokens.rename(tokens.with_name("away"))  # the module is down
        disclose(gateway, 1, wiring)
        with pytest.raises(AuditUnavailableError, match="security module"):
            disclose(gateway, 2, wiring)
        away.rename(tokens)
        disclose(gateway, 2, wiring)
    assert privguard("audit", "report", "1", "--config", gateway.config, "--json").stdout.count(b"\n") >= 2
    gateway.verify()
