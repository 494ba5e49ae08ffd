"""L02, L04-L06: what an administrator with the whole database, and the signing keys, cannot do unnoticed."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from privguard.audit.checkpoint import parse_text
from privguard.audit.merkle import Tree, extend, leaf_hash, root_of
from privguard.audit.note import (
    COSIGNED_ED25519,
    COSIGNED_ML_DSA_44,
    Note,
    Signature,
    parse_note,
    parse_signature,
)
from privguard.audit.record import parse
from privguard.audit.signing_keys import log_keys_of, new_signing_keys, signers_of
from privguard.audit.trust import Trust, TrustError, Witness
from privguard.audit.verify import Verification, verify_log
from privguard.errors import AuditUnavailableError, StoreUnavailableError
from privguard.oversight.completeness import commit_map
from privguard.store import map_keeper
from privguard.store.engine import Store
from privguard.store.map_keeper import MapKeeper
from privguard.store.publisher import Publisher
from privguard.store.signer_state import SignerState
from privguard.store.tables import map_page
from privguard.store.tree_reader import TreeReader
from privguard.testing import FrozenClock
from privguard.witness.exchange import Asked
from privguard.witness.server import Witness as WitnessServer
from tests.unit.audit.events import access
from tests.unit.store.logs import ORIGIN, SystemEntropy, leaves_of, open_log, raw, url_of

NOW = 1_700_000_000
KEYS = log_keys_of(new_signing_keys(os.urandom), ORIGIN)
WITNESS_KEYS = signers_of(new_signing_keys(os.urandom), "w.example", COSIGNED_ED25519, COSIGNED_ML_DSA_44)
WITNESS_KEY = WITNESS_KEYS[0].key
TRUST = Trust(KEYS.terms, {"w": Witness(WITNESS_KEY)}, {}, "w")


class Near:
    """A witness without HTTP between; the same server, the same bodies."""

    name = "w.example"

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.server = WitnessServer(lambda: KEYS.trust, WITNESS_KEYS, folder, lambda: NOW)
        self.server.follow()
        self.old = 0
        self.answers: list[int] = []

    def cosign(self, note: Note, prove: Callable[[int], Sequence[bytes]]) -> Signature:
        for _ in range(2):
            asked = Asked(self.old, tuple(prove(self.old)), str(note).encode())
            status, _, body = self.server.add_checkpoint(bytes(asked))
            self.answers.append(status)
            if status == 200:
                self.old = parse_text(note.text).size
                return parse_signature(body.decode().split("\n")[0])
            if status != 409 or not body.strip().isdigit():
                break
            self.old = int(body)
        raise AuditUnavailableError(f"answered {status}")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    log = open_log(tmp_path)
    for number in range(300):
        log.submit(access("abc"[number % 3], at_us=number)).result(5)
    log.close()
    yield tmp_path


def publisher(folder: Path, *witnesses: Near, state: str = "signer.state") -> Publisher:
    tree = TreeReader(Store(url_of(folder)))
    return Publisher(
        tree, SignerState(folder / state), lambda: KEYS, witnesses=witnesses, quorum=len(witnesses)
    )


def grow(folder: Path, count: int = 1) -> None:
    log = open_log(folder)
    for _ in range(count):
        log.submit(access("a", at_us=1_000_000)).result(5)
    log.close()


def verified(folder: Path) -> Verification:
    leaves = leaves_of(folder)
    return verify_log(lambda: leaves, *root_of(leaves))


def rewrite(folder: Path, leaves: Sequence[bytes]) -> None:
    """All that the owner of a database can do: other leaves, with the hashes, tiles and root of these."""
    with raw(folder) as database:
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f"DROP TRIGGER {name}")
        database.execute("DELETE FROM tile")
        database.execute("DELETE FROM event WHERE idx >= ?", (len(leaves),))
        database.execute("DELETE FROM event_subject WHERE idx >= ?", (len(leaves),))
        for index, leaf in enumerate(leaves):
            database.execute(
                "UPDATE event SET leaf = ?, leaf_hash = ? WHERE idx = ?", (leaf, leaf_hash(leaf), index)
            )
        tree, tiles = extend(Tree(), [leaf_hash(leaf) for leaf in leaves], {})
        for tile in tiles:
            database.execute(
                "INSERT INTO tile VALUES (?, ?, ?, ?)", (tile.level, tile.n, tile.data, tile.root)
            )
        database.execute(
            "UPDATE tree_state SET size = ?, edge = ?, root = ?",
            (tree.size, b"".join(tree.edge), tree.root()),
        )


def test_a_checkpoint_bears_both_signatures_and_the_quorums_cosignature(folder: Path) -> None:
    witness = Near(folder / "w")
    published = publisher(folder, witness).publish(NOW)
    assert published is not None
    accepted = TRUST.accept(published.note)
    assert [key.kind for key in accepted.signed] == [0x01, 0x06]
    assert accepted.witnesses == ("w",)
    assert (accepted.checkpoint.size, accepted.checkpoint.root) == root_of(leaves_of(folder))
    assert publisher(folder, witness).publish(NOW + 9) == published, "nothing grew: nothing new is signed"
    grow(folder)
    later = publisher(folder, witness).publish(NOW + 10)
    assert later is not None
    assert later.size == 301


def test_without_its_quorum_a_checkpoint_is_kept_and_not_shown(folder: Path) -> None:
    class Gone(Near):
        def cosign(self, note: Note, prove: Callable[[int], Sequence[bytes]]) -> Signature:
            raise AuditUnavailableError("does not answer")

    gone = publisher(folder, Gone(folder / "x"))
    assert gone.publish(NOW) is None
    assert gone.complaints == {"w.example": "does not answer"}
    published = publisher(folder, Near(folder / "w")).publish(NOW + 1)
    assert published is not None, "asked again, about the same signed checkpoint"
    assert (
        parse_note(published.note).signatures[:2]
        == parse_note((folder / "signer.state").read_bytes()).signatures
    )


def test_l02_a_tail_that_was_cut_off_is_not_signed_over(folder: Path) -> None:
    publisher(folder).publish(NOW)
    rewrite(folder, leaves_of(folder)[:290])
    with pytest.raises(AuditUnavailableError, match="size 300"):
        publisher(folder).publish(NOW)
    rewrite(folder, [])
    with pytest.raises(AuditUnavailableError, match="size 300"):
        publisher(folder).publish(NOW)


def test_l04_a_stolen_key_and_the_whole_database_do_not_rewrite_what_a_witness_saw(folder: Path) -> None:
    """The administrator rewrites, rehashes, drops the signer's state, signs anew: all checks but one pass."""
    witness = Near(folder / "w")
    honest = publisher(folder, witness).publish(NOW)
    assert honest is not None
    leaves = leaves_of(folder)
    leaves[5] = leaves[5].replace(b'"rm-1"', b'"rm-9"')
    rewrite(folder, leaves)
    (folder / "signer.state").unlink()
    with raw(folder) as database:
        database.execute("DELETE FROM checkpoint")
    forged = publisher(folder).publish(NOW)
    assert forged is not None
    accepted = KEYS.trust.accept(forged.note)
    assert verify_log(lambda: leaves_of(folder), accepted.checkpoint.size, accepted.checkpoint.root).ok
    with pytest.raises(TrustError, match="too few witnesses"):  # the one that does not pass
        TRUST.accept(forged.note)
    with raw(folder) as database:
        database.execute("DELETE FROM checkpoint")
    again = Publisher(
        TreeReader(Store(url_of(folder))),
        SignerState(folder / "signer.state"),
        lambda: KEYS,
        witnesses=[witness],
        quorum=1,
    )
    assert again.publish(NOW + 1) is None
    assert witness.answers[-1] == 409, "the witness has seen another log of this size"
    grow(folder, 3)
    assert again.publish(NOW + 2) is None
    assert witness.answers[-1] == 422, "nor does it go on from what it saw"
    pinned = TRUST.accept(honest.note).checkpoint  # an auditor who kept the old checkpoint sees it as well
    assert verify_log(lambda: leaves_of(folder)[: pinned.size], pinned.size, pinned.root).kind == "root"


def test_l05_a_witness_that_lost_its_state_cosigns_nothing(folder: Path) -> None:
    """An empty folder is no proof that there was nothing: only ``follow`` says so, and never over a state."""
    witness = Near(folder / "w")
    assert publisher(folder, witness).publish(NOW) is not None
    shutil.move(folder / "w", folder / "lost")
    emptied = Near.__new__(Near)
    (folder / "w").mkdir()
    emptied.server = WitnessServer(lambda: KEYS.trust, WITNESS_KEYS, folder / "w", lambda: NOW)
    emptied.old, emptied.answers = 0, []
    assert emptied.server.strangers() == [ORIGIN]
    log = open_log(folder)
    log.submit(access("a", at_us=300)).result(5)
    log.close()
    shown = publisher(folder, emptied).publish(NOW)
    assert shown is not None
    assert (shown.size, emptied.answers) == (300, [404]), "what it cosigned before is all that is shown"
    shutil.rmtree(folder / "w")
    shutil.move(folder / "lost", folder / "w")
    assert witness.server.strangers() == witness.server.follow() == []
    shown = publisher(folder, witness).publish(NOW)
    assert shown is not None
    assert shown.size == 301


def test_l05_two_signers_of_one_origin_are_told_apart_by_the_witness(folder: Path) -> None:
    """A second copy of the log, with the same keys and its own state, grows otherwise."""
    witness = Near(folder / "w")
    other = folder.parent / "other"
    shutil.copytree(folder, other)
    publisher(folder, witness).publish(NOW)
    log = open_log(other)
    log.submit(access("z", at_us=5_000_000)).result(5)
    log.close()
    second = Publisher(
        TreeReader(Store(url_of(other))),
        SignerState(other / "signer.state"),
        lambda: KEYS,
        witnesses=[witness],
        quorum=1,
    )
    assert second.publish(NOW) is not None, "it goes on from what the witness saw"
    grow(folder, 2)
    first = publisher(folder, witness)
    assert first.publish(NOW + 1).size == 300  # type: ignore[union-attr]
    assert "422" in first.complaints["w.example"]


def test_l05_a_state_that_others_signed_is_not_gone_on_from(folder: Path) -> None:
    publisher(folder).publish(NOW)
    strangers = log_keys_of(new_signing_keys(os.urandom), ORIGIN)
    tree, state = TreeReader(Store(url_of(folder))), SignerState(folder / "signer.state")
    with pytest.raises(AuditUnavailableError, match="not what these keys signed"):
        Publisher(tree, state, lambda: strangers).publish(NOW)
    (folder / "signer.state").write_bytes(b"garbage")
    with pytest.raises(AuditUnavailableError, match="not what these keys signed"):
        publisher(folder).publish(NOW)


def test_l05_what_could_not_be_remembered_is_not_published(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state is swapped before a signature leaves; before and after it is durable."""
    witness = Near(folder / "w")

    def fails(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(StoreUnavailableError, match="No space"):
        publisher(folder, witness).publish(NOW)
    assert witness.answers == []
    assert TreeReader(Store(url_of(folder))).published() is None
    monkeypatch.undo()
    (folder / "signer.state").unlink(missing_ok=True)
    keep = TreeReader.keep
    monkeypatch.setattr(TreeReader, "keep", fails)
    with pytest.raises(OSError, match="No space"):
        publisher(folder, witness).publish(NOW)
    monkeypatch.setattr(TreeReader, "keep", keep)
    remembered = parse_note((folder / "signer.state").read_bytes())
    published = publisher(folder, witness).publish(NOW + 99)
    assert published is not None
    assert parse_note(published.note).signatures[:2] == remembered.signatures, (
        "what was signed is published, not anew"
    )


def test_l06_an_older_backup_is_not_written_to(folder: Path) -> None:
    """Database restored, state not: the gateway does not start on it."""
    from privguard.store.publisher import check_signed, signed_last

    backup = folder.parent / "backup.db"
    with sqlite3.connect(folder / "log.db") as database, sqlite3.connect(backup) as copy:
        database.backup(copy)
    grow(folder, 10)
    publisher(folder).publish(NOW)
    for file in folder.glob("log.db*"):
        file.unlink()
    shutil.copy(backup, folder / "log.db")
    (folder / "log.db").chmod(0o600)
    tree = TreeReader(Store(url_of(folder)))
    signed = signed_last(SignerState(folder / "signer.state").read(), KEYS.trust)
    assert signed is not None
    with pytest.raises(AuditUnavailableError, match="size 310"):
        check_signed(tree, signed, *tree.head())
    grow(folder, 10)  # the same size again, another content
    with pytest.raises(AuditUnavailableError, match="size 310"):
        publisher(folder).publish(NOW)


def test_l09_no_entry_waits_for_the_map(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an export the map takes longer than an entry may: where it held the lock, all were refused."""
    log, read = open_log(folder, deadline_s=0.5), map_keeper._bucket

    def entry() -> None:
        assert log.submit(access("1042")).result(5)

    def another_process() -> None:
        assert MapKeeper(Store(url_of(folder))).catch_up()[1]

    meanwhile = iter([entry, another_process, entry])

    def slow(*asked: Any) -> Any:
        for happens in meanwhile:
            happens()
        return read(*asked)

    monkeypatch.setattr(map_keeper, "_bucket", slow)
    size = len(leaves_of(folder))
    state, receipt = commit_map(MapKeeper(Store(url_of(folder))), log, FrozenClock(), SystemEntropy(), 5)
    log.close()
    assert (state.size, receipt is not None) == (size + 2, True)
    assert verified(folder).ok


def test_l04_a_map_that_leaves_a_client_out_is_found_by_who_reads_the_log(folder: Path) -> None:
    """The one thing a proved report takes on trust is the map's leaf; reading the whole log takes nothing."""
    keeper, store = MapKeeper(Store(url_of(folder))), Store(url_of(folder))
    log = open_log(folder)
    state, receipt = commit_map(keeper, log, FrozenClock(), SystemEntropy(), 5)
    assert receipt is not None
    assert commit_map(keeper, log, FrozenClock(), SystemEntropy(), 5) == (state, None), "nothing changed"
    log.close()
    grow(folder, 2)
    log = open_log(folder)
    later, _ = commit_map(keeper, log, FrozenClock(), SystemEntropy(), 5)
    assert later.size == 303
    assert verified(folder).ok
    with store.write() as connection:
        connection.execute(map_page.delete())
    token = parse(leaves_of(folder)[0]).groups[0].subjects[0][0]
    with raw(folder) as database:  # a map as it would be without that client
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f"DROP TRIGGER {name}")
        database.execute("DELETE FROM subject_head WHERE tok = ?", (token,))
    lying, _ = commit_map(keeper, log, FrozenClock(), SystemEntropy(), 5)
    log.close()
    found = verified(folder)
    assert (found.ok, found.kind, found.first_bad) == (False, "map", lying.size)
