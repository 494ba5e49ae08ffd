"""Readers of what strangers hand in, as functions of bytes: each accepts, or refuses by its own error (L14).

What is accepted holds what it is said to hold; anything else that is raised is a fault. ``__main__`` lets
atheris look for one, led by coverage; ``test_targets`` tries mutations of the seeds in each test run.
"""

from __future__ import annotations

import contextlib
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from privguard.audit.archive import Begin, Seal, read_begin, read_seal
from privguard.audit.checkpoint import Checkpoint, CheckpointError, parse_text
from privguard.audit.merkle import leaf_hash
from privguard.audit.note import (
    COSIGNED_ED25519,
    COSIGNED_ML_DSA_44,
    ED25519,
    LocalSigner,
    Note,
    NoteError,
    parse_key,
    parse_note,
    parse_signature,
    verified,
)
from privguard.audit.proof import (
    ProofError,
    ProofFile,
    check_consistency,
    check_inclusion,
    consistency,
    inclusion,
    parse_proof,
    root_at,
)
from privguard.audit.record import VERSION, Group, Leaf, LeafError, encode, parse, subject_columns
from privguard.audit.report_proof import ReportProof, check_report, proved, texts
from privguard.audit.stretch import COMMITTER
from privguard.audit.tiles import TileError, path_of, span_of
from privguard.audit.timestamp import StampAuthority, StampError, read_stamped, request_of
from privguard.audit.trust import TrustError, parse_trust, write_trust
from privguard.audit.verifiable_map import bucket_of, check_map, hash_bucket, hash_page, prove, updated
from privguard.audit.verify import verify_log
from privguard.errors import MalformedRequestError
from privguard.model import MapRoot
from privguard.oversight.bundle import CHECKPOINT, check_folder
from privguard.oversight.filters import Filter, cursor_of, index_of
from privguard.witness.exchange import Asked, parse_asked
from tests.stamper import NOW, Authority

ORIGIN = "fuzz.invalid/log"
LOG, SECOND = LocalSigner(ORIGIN, ED25519, b"a" * 32), LocalSigner(ORIGIN, COSIGNED_ML_DSA_44, b"b" * 32)
WITNESS = LocalSigner("w.invalid", COSIGNED_ED25519, b"w" * 32)
TOKEN = "A" * 22
ALL_SEEN = Filter()


class Target(NamedTuple):
    """A reader, and inputs that it accepts."""

    read: Callable[[bytes], object]
    seeds: tuple[bytes, ...]


def _leaf(number: int, **more: object) -> bytes:
    group = Group(fields={"name": "clear"}, resource="client", subjects=[(TOKEN, number + 1, number - 1)])
    given = {"action": "read", "actor": "rm.li", "tenant": "default", "groups": [group], **more}
    return encode(Leaf(id=f"{number:032x}", outcome="permitted", ts=number, v=VERSION, **given))  # type: ignore[arg-type]


_CLIENT = [_leaf(number) for number in range(3)]
_BUCKET = [(TOKEN, 3, 2)]
_PAGES = updated({}, {bucket_of(TOKEN): hash_bucket(_BUCKET)})
_MAP_ROOT = hash_page(_PAGES[""])
_tenant, _actor, _action = COMMITTER
_COMMIT = _leaf(3, groups=[], tenant=_tenant, actor=_actor, action=_action, map=MapRoot(_MAP_ROOT.hex(), 3))
LEAVES = [*_CLIENT, _COMMIT, _leaf(4, groups=[])]
SIZE = len(LEAVES)


def _entries(level: int, start: int, stop: int) -> list[bytes]:
    assert level == 0
    return [leaf_hash(leaf) for leaf in LEAVES[start:stop]]


ROOT = root_at(SIZE, _entries)
TEXT = Checkpoint(ORIGIN, SIZE, ROOT).text
NOTE = str(Note(TEXT, tuple(each.sign(TEXT, 1_700_000_000) for each in (LOG, SECOND, WITNESS)))).encode()
POLICY = f"log {LOG.key}\nlog {SECOND.key}\nwitness w {WITNESS.key} https://w.invalid\nquorum w\n"
TRUST = parse_trust(POLICY)
ACCEPTED = TRUST.accept(NOTE)
_PATHS = [inclusion(index, SIZE, _entries) for index in range(SIZE)]


def note(data: bytes) -> None:
    with contextlib.suppress(NoteError, CheckpointError, TrustError):
        found = parse_note(data)
        assert str(found).encode() == data
        with contextlib.suppress(NoteError):
            assert not verified(found, [LOG.key, SECOND.key, WITNESS.key]) or found.text == TEXT
        assert parse_text(found.text).text == found.text
        assert TRUST.accept(data).checkpoint == ACCEPTED.checkpoint


def key_or_signature(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    with contextlib.suppress(NoteError):
        assert str(parse_key(text)) == text
    with contextlib.suppress(NoteError):
        assert parse_signature(text).line == text + "\n"


def trust(data: bytes) -> None:
    with contextlib.suppress(TrustError):
        found = parse_trust(data.decode("utf-8", "replace"))
        assert parse_trust(write_trust(found)) == found


def proof_file(data: bytes) -> None:
    with contextlib.suppress(ProofError):
        found = parse_proof(data)
        assert parse_proof(bytes(found)) == found  # extra data that are empty may stand there, or not


def hashes_and_numbers(data: bytes) -> None:
    """Inclusion and consistency: two numbers of eight bytes, then hashes of up to 32."""
    if len(data) < 16:
        return
    one, two = struct.unpack(">qq", data[:16])
    path = [data[at : at + 32] for at in range(16, len(data), 32)]
    with contextlib.suppress(ProofError):
        check_inclusion(one, two, leaf_hash(LEAVES[1]), path, ROOT)
        assert (one, two) == (1, SIZE) and tuple(path) == _PATHS[1]
    with contextlib.suppress(ProofError):
        check_consistency(one, two, path, root_at(3, _entries), ROOT)
        assert (one, two) == (3, SIZE)


def tile_path(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    with contextlib.suppress(TileError):
        assert path_of(span_of(text)) == text


def leaf(data: bytes) -> None:
    with contextlib.suppress(LeafError):
        found = parse(data)
        assert encode(found) == data
        list(subject_columns(found, 0))


def log(data: bytes) -> None:
    """Leaves, each after its length of two bytes."""
    leaves, at = list[bytes](), 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 2], "big")
        leaves.append(data[at + 2 : at + 2 + length])
        at += 2 + length
    if verify_log(lambda: leaves, SIZE, ROOT).ok:
        assert leaves == LEAVES


def map_proof(data: bytes) -> None:
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = msgspec.msgpack.decode(data, type=type(_MAP_PROOF))
        with contextlib.suppress(ProofError):
            assert check_map(TOKEN, found, _MAP_ROOT) == (3, 2)


def report(data: bytes) -> None:
    with contextlib.suppress(ProofError, TrustError):
        found = check_report(data, TRUST)
        assert found.token != TOKEN or found.count == 3


def archive(data: bytes) -> None:
    with contextlib.suppress(ProofError):
        read_begin(data, ACCEPTED)
        raise AssertionError("no leaf of this log says a floor")
    with contextlib.suppress(ProofError):
        read_seal(data, ACCEPTED)


def stamps(data: bytes) -> None:
    with contextlib.suppress(StampError):
        list(read_stamped(data))


def stamp(data: bytes) -> None:
    with contextlib.suppress(StampError):
        assert _STAMPS.check(data, NOTE) == NOW


def bundle(data: bytes) -> None:
    """A folder of the log's checkpoint, whose only tile of entries is this."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / CHECKPOINT).write_bytes(NOTE)
        tile = folder / f"tile/entries/000.p/{SIZE}"
        tile.parent.mkdir(parents=True)
        tile.write_bytes(data)
        with contextlib.suppress(ProofError):
            _, found, _ = check_folder(folder, TRUST)
            assert not found.ok or data == ENTRIES


def witness(data: bytes) -> None:
    with contextlib.suppress(ProofError):
        assert bytes(parse_asked(data)) == data


def cursor(data: bytes) -> None:
    with contextlib.suppress(MalformedRequestError):
        assert index_of(ALL_SEEN, data.decode("utf-8", "replace")) >= 0


_AUTHORITY = Authority()
_STAMPS = StampAuthority(_AUTHORITY.root)
_MAP_PROOF = prove(TOKEN, _BUCKET, _PAGES)
_CONSISTENT = consistency(3, SIZE, _entries)
ENTRIES = b"".join(len(each).to_bytes(2, "big") + each for each in LEAVES)
_REPORT = ReportProof(
    1,
    TOKEN,
    NOTE.decode(),
    proved(3, _COMMIT, _PATHS[3]),
    _MAP_PROOF.bucket,
    texts(_MAP_PROOF.path),
    tuple(proved(index, LEAVES[index], _PATHS[index]) for index in (2, 1, 0)),
)
_BEGIN = Begin(1, 3, texts(_CONSISTENT), (*_BUCKET,), proved(3, _COMMIT, _PATHS[3]))
_SEAL = Seal(1, 0, 3, texts([root_at(3, _entries)])[0], texts(_CONSISTENT))

TARGETS: dict[str, Target] = {
    "note": Target(note, (NOTE,)),
    "key_or_signature": Target(
        key_or_signature, (str(LOG.key).encode(), NOTE.splitlines()[-1], str(SECOND.key).encode())
    ),
    "trust": Target(
        trust, (POLICY.encode(), f"log {LOG.key}\n#signs 0 9 {SECOND.key}\nquorum none\n".encode())
    ),
    "proof_file": Target(proof_file, (bytes(ProofFile(1, _PATHS[1], NOTE, b"more")),)),
    "hashes_and_numbers": Target(
        hashes_and_numbers,
        (
            struct.pack(">qq", 1, SIZE) + b"".join(_PATHS[1]),
            struct.pack(">qq", 3, SIZE) + b"".join(_CONSISTENT),
        ),
    ),
    "tile_path": Target(tile_path, (b"tile/0/x001/x234/067", b"tile/3/000.p/9")),
    "leaf": Target(leaf, (LEAVES[0], _COMMIT)),
    "log": Target(log, (ENTRIES,)),
    "map_proof": Target(map_proof, (msgspec.msgpack.encode(_MAP_PROOF),)),
    "report": Target(report, (msgspec.json.encode(_REPORT),)),
    "archive": Target(archive, (msgspec.json.encode(_BEGIN), msgspec.json.encode(_SEAL))),
    "stamps": Target(stamps, (b'{"note":"n","answer":"QUFB","proof":["QQ=="]}\n',)),
    "stamp": Target(stamp, (_AUTHORITY(request_of(NOTE)),)),
    "bundle": Target(bundle, (ENTRIES,)),
    "witness": Target(witness, (bytes(Asked(3, _CONSISTENT, NOTE)),)),
    "cursor": Target(cursor, (cursor_of(ALL_SEEN, 7).encode(),)),
}
