"""Tools that nobody here wrote accept our logs, and refuse tampered ones.

Go's golang.org/x/mod/sumdb (Debian: golang-golang-x-mod-dev), npm's @sigstore/verify and @noble/post-quantum.
`.ci/servers.sh go oracles` installs them; where they are absent these tests say so, in CI they fail.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from privguard.audit import proof
from privguard.audit.checkpoint import Checkpoint, parse_text
from privguard.audit.note import COSIGNED_ML_DSA_44, ED25519, LocalSigner, Note, Signature
from tests.unit.audit.test_proof import TREE

HERE = Path(__file__).parent
NPM = HERE.parent / ".cache/oracles"
GOPATH = Path("/usr/share/gocode")
ORIGIN = "bank.example/log"


class Oracle:
    """A process that answers questions, a line each."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(self, **question: Any) -> bool:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        said = self._process.stdout.readline().strip()
        assert said in ("ok", "no"), said
        return said == "ok"


def _absent(why: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


def _running(command: list[str | Path], **env: str) -> Iterator[Oracle]:
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **env}
    )
    yield Oracle(process)
    process.communicate(timeout=30)


@pytest.fixture(scope="module")
def go(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    if shutil.which("go") is None or not (GOPATH / "src/golang.org/x/mod/sumdb").is_dir():
        _absent("Go's sumdb is absent: .ci/servers.sh go")
    folder = tmp_path_factory.mktemp("go")
    env = {"GO111MODULE": "off", "GOPATH": str(GOPATH), "GOCACHE": str(folder / "cache"), "GOFLAGS": ""}
    build = ["go", "build", "-o", folder / "oracle", HERE / "oracle.go"]
    subprocess.run(build, check=True, env={**os.environ, **env}, timeout=240)
    yield from _running([folder / "oracle"])


@pytest.fixture(scope="module")
def node() -> Iterator[Oracle]:
    if shutil.which("node") is None or not (NPM / "node_modules").is_dir():
        _absent("the npm oracles are absent: .ci/servers.sh oracles")
    yield from _running(["node", HERE / "oracle.mjs", NPM])


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def inclusion(index: int, size: int) -> dict[str, Any]:
    path = proof.inclusion(index, size, TREE.entries)
    return {
        "ask": "inclusion", "index": index, "size": size, "leaf": text(TREE.leaves[index]),
        "path": list(map(text, path)), "root": text(TREE.root(size)),
    }  # fmt: skip


PLACES = [
    (0, 1),
    (0, 2),
    (1, 2),
    (2, 3),
    (5, 7),
    (6, 7),
    (255, 256),
    (255, 257),
    (256, 257),
    (700, 999),
    (998, 999),
]


@pytest.mark.parametrize(("index", "size"), PLACES)
@pytest.mark.parametrize("tool", ["go", "node"])
def test_our_inclusion_proofs_hold_and_tampered_ones_do_not(
    request: pytest.FixtureRequest, tool: str, index: int, size: int
) -> None:
    ask = request.getfixturevalue(tool)
    good = inclusion(index, size)
    assert ask(**good)
    assert not ask(**{**good, "leaf": text(b"other")})
    assert not ask(**{**good, "root": text(TREE.root(size + 1))})
    assert not ask(**{**good, "path": [*good["path"], text(b"\0" * 32)]})
    if good["path"]:
        assert not ask(**{**good, "path": good["path"][:-1]})
        assert not ask(**{**good, "index": index ^ 1})


@pytest.mark.parametrize(
    ("old", "size"), [(1, 2), (1, 9), (2, 3), (3, 7), (6, 8), (255, 256), (256, 257), (300, 999), (999, 999)]
)
def test_our_consistency_proofs_hold_and_tampered_ones_do_not(go: Oracle, old: int, size: int) -> None:
    path = list(map(text, proof.consistency(old, size, TREE.entries)))
    roots = {"OldRoot": text(TREE.root(old)), "Root": text(TREE.root(size))}
    good = {"ask": "consistency", "old": old, "size": size, "path": path, **roots}
    assert go(**good)
    assert not go(**{**good, "OldRoot": text(TREE.hashes[9])})
    assert not go(**{**good, "Root": text(TREE.hashes[9])})
    assert not go(**{**good, "path": [*path, text(b"\0" * 32)]})


def test_gos_notes_open_ours_and_no_other(go: Oracle) -> None:
    """Ed25519, as the log signs; a second signature beside it is passed over."""
    log, second = LocalSigner(ORIGIN, ED25519, b"a" * 32), LocalSigner(ORIGIN, COSIGNED_ML_DSA_44, b"b" * 32)
    body = Checkpoint(ORIGIN, 999, TREE.root(999)).text
    note = str(Note(body, (log.sign(body, 0), second.sign(body, 0))))
    assert go(ask="note", key=str(log.key), note=note)
    assert not go(ask="note", key=str(log.key), note=note.replace("\n999\n", "\n998\n"))
    assert not go(ask="note", key=str(LocalSigner(ORIGIN, ED25519, b"c" * 32).key), note=note)
    assert not go(ask="note", key=str(log.key), note=str(Note(body, (second.sign(body, 0),))))


def test_nobles_ml_dsa_accepts_ours_and_no_other(node: Oracle) -> None:
    """The message is put together here, from the words of C2SP tlog-cosignature, not by our code."""
    signer = LocalSigner(ORIGIN, COSIGNED_ML_DSA_44, b"b" * 32)
    body = Checkpoint(ORIGIN, 999, TREE.root(999)).text
    made: Signature = signer.sign(body, 1_700_000_000)
    name, checkpoint = ORIGIN.encode(), parse_text(body)
    message = b"subtree/v1\n\0" + bytes([len(name)]) + name + (1_700_000_000).to_bytes(8, "big")
    message += bytes([len(name)]) + name + bytes(8) + (999).to_bytes(8, "big") + checkpoint.root
    good = {
        "ask": "mldsa",
        "key": text(signer.key.public),
        "message": text(message),
        "signature": text(made.data[8:]),
    }
    assert node(**good)
    assert not node(**{**good, "message": text(message[:-1] + b"x")})
    assert not node(**{**good, "signature": text(made.data[8:-1] + b"x")})
    assert not node(**{**good, "key": text(LocalSigner(ORIGIN, COSIGNED_ML_DSA_44, b"c" * 32).key.public)})
