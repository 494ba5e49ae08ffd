"""L11: the log's signing keys rotate; what a retired key, stolen or forgotten, can still do."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from privguard.audit.checkpoint import Checkpoint, parse_text
from privguard.audit.note import COSIGNED_ED25519, Note, parse_note
from privguard.audit.record import parse
from privguard.audit.rotation import ROTATED, Rotation, about, announcement, followed, rotation_of
from privguard.audit.signing_keys import LogKeys, log_keys_of, new_signing_keys, read_file, signers_of
from privguard.audit.trust import LogKey, Trust, TrustError, Witness, parse_trust, trusting, write_trust
from privguard.errors import AuditUnavailableError, ConfigError, PrivguardError, StoreUnavailableError
from privguard.model import Outcome
from privguard.oversight import log_keys
from privguard.oversight.log_keys import LogKeyCustodian, SigningKeysFile
from privguard.store.custody import Custody
from privguard.store.engine import Store
from privguard.store.log_reader import LogReader
from privguard.store.publisher import Publisher, sign
from privguard.store.signer_state import SignerState
from privguard.store.tree_reader import TreeReader
from privguard.testing import FrozenClock
from privguard.witness.exchange import Asked
from privguard.witness.server import Witness as WitnessServer
from tests.unit.audit.events import access
from tests.unit.store.logs import ORIGIN, SystemEntropy, custody_of, open_log, url_of

NOW = 1_700_000_000
WITNESS = signers_of(new_signing_keys(os.urandom), "w.example", COSIGNED_ED25519, COSIGNED_ED25519)[:1]


class Kept:
    """A log of twenty entries whose keys are in a file, and that was signed once."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / "signing.json"
        self.path.write_bytes(new_signing_keys(os.urandom))
        self.path.chmod(0o600)
        self.grow(20)
        self.store = Store(url_of(folder))
        self.tree, self.state = TreeReader(self.store), SignerState(folder / "signer.state")
        self.custody = custody_of(self.store)
        self.publish()

    def grow(self, count: int = 1) -> None:
        with closing(open_log(self.folder)) as log:
            for _ in range(count):
                log.submit(access("a")).result(5)

    def keys(self) -> LogKeys:
        return log_keys_of(self.path.read_bytes(), ORIGIN)

    def custodian(self) -> LogKeyCustodian:
        file = SigningKeysFile(self.path, ORIGIN, 0)
        clock, entropy = FrozenClock(), SystemEntropy()
        return LogKeyCustodian(self.custody, file, self.state, self.tree, clock, entropy, who="officer")

    def publish(self, keys: LogKeys | None = None) -> bytes:
        made = Publisher(self.tree, self.state, self.keys if keys is None else lambda: keys)
        published = made.publish(NOW)
        assert published is not None
        return published.note

    def rotations(self) -> list[Rotation]:
        leaves = LogReader(self.store).of_action(ROTATED)
        return [found for index, leaf in leaves if (found := rotation_of(parse(leaf), index)) is not None]


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    made = Kept(tmp_path)
    yield made
    made.store.close()


def forged(keys: LogKeys, size: int) -> bytes:
    """What a thief signs with keys they hold: another tree."""
    return str(sign(replace(keys, announced=None), size, b"f" * 32, NOW)).encode()


def test_l11_old_keys_name_the_new_ones_and_sign_no_further(kept: Kept) -> None:
    old, before = kept.keys(), kept.publish()
    kept.grow(5)
    last, index = kept.custodian().rotate()
    assert (last, index) == (25, 25)
    new = kept.keys()
    kept.grow(5)
    after = kept.publish()
    assert {key.public for key in new.trust.accept(after).signed}.isdisjoint(
        key.public for key in old.trust.accept(before).signed
    )
    assert parse_text(parse_note(after).text).size == 31
    assert new.trust.accept(before).checkpoint.size == 20, "what was signed before stays signed"
    [rotation] = kept.rotations()
    assert followed(old.trust, [rotation]).logs == new.terms, "the leaf leads from the old keys to the new"
    with pytest.raises(TrustError, match="privguard signing follow"):
        old.trust.accept(after)
    gone = kept.custodian().retire()
    assert len(gone) == 2
    assert b"before" not in kept.path.read_bytes()
    assert kept.keys().terms == new.terms
    kept.grow()
    assert kept.keys().trust.accept(kept.publish()).checkpoint.size == 33, "and the leaf that says so"
    assert kept.keys().trust.accept(before).checkpoint.size == 20
    with pytest.raises(ConfigError, match="Every key there is signs"):
        kept.custodian().retire()


def test_l11_a_retired_key_that_signs_a_later_checkpoint_is_refused(kept: Kept) -> None:
    """By who verifies, by the witness, and by who would sign on from it; one of two kinds as well as both."""
    old = kept.keys()
    kept.custodian().rotate()
    new = kept.keys()
    with pytest.raises(TrustError, match="signs sizes 0 to 20 signed the checkpoint, which is of 21"):
        new.trust.accept(forged(old, 21))
    stolen, mine = parse_note(forged(old, 21)), parse_note(forged(replace(new, retired=()), 21))
    for mixed in ((stolen.signatures[0], mine.signatures[1]), (mine.signatures[0], stolen.signatures[1])):
        with pytest.raises(TrustError, match="not in force"):
            new.trust.accept(str(Note(mine.text, mixed)).encode())
    assert len(new.trust.accept(str(mine).encode()).signed) == 2
    with pytest.raises(TrustError, match="signs from size 21 on"):  # nor does a new key say what was before
        new.trust.accept(str(_signed(new.generations[-1].signers, 20)).encode())

    witness = WitnessServer(lambda: new.trust, WITNESS, kept.folder, lambda: NOW)
    witness.follow()
    status, _, body = witness.add_checkpoint(bytes(Asked(0, (), forged(old, 21))))
    assert status == 403
    assert b"not in force" in body

    with pytest.raises(AuditUnavailableError, match="not what these keys signed"):
        kept.publish(old)  # a machine that did not hear of it: the state is the new keys'
    with kept.state.held():
        kept.state.swap(forged(old, 21))
    with pytest.raises(AuditUnavailableError, match="not in force"):
        kept.publish()


def _signed(signers: tuple, size: int) -> Note:  # type: ignore[type-arg]
    text = Checkpoint(ORIGIN, size, b"f" * 32).text
    return Note(text, tuple(each.sign(text, NOW) for each in signers))


def test_l11_a_stolen_retired_key_forks_nothing_that_a_witness_saw(kept: Kept) -> None:
    """Of a size that it did sign, all that is left to a thief: no witness cosigns it any more."""
    old = kept.keys()
    kept.custodian().rotate()
    new, note = kept.keys(), kept.publish()
    (kept.folder / "w").mkdir()
    witness = WitnessServer(lambda: new.trust, WITNESS, kept.folder / "w", lambda: NOW)
    witness.follow()
    assert witness.add_checkpoint(bytes(Asked(0, (), note)))[0] == 200
    trust = Trust(new.terms, {"w": Witness(WITNESS[0].key)}, {}, "w")
    for size in (7, 20):
        fork = forged(old, size)
        assert witness.add_checkpoint(bytes(Asked(size, (), fork)))[0] == 409
        with pytest.raises(TrustError, match="too few witnesses"):
            trust.accept(fork)


def test_l11_a_stolen_retired_key_names_no_other_heir(kept: Kept) -> None:
    old = kept.keys()
    kept.custodian().rotate()
    [genuine] = kept.rotations()
    thief = log_keys_of(new_signing_keys(os.urandom), ORIGIN).generations[0].signers
    for size in (3, 20, 21):
        named = announcement(ORIGIN, size, old.generations[0].signers, thief, NOW)
        heir = _rotation(
            about(str(named), [s.key for s in old.generations[0].signers], [s.key for s in thief])
        )
        with pytest.raises(TrustError, match="no rotation here"):
            followed(kept.keys().trust, [heir])
        assert followed(old.trust, [genuine, heir]).logs == kept.keys().terms, "it comes too late"


def _rotation(said: dict[str, str]) -> Rotation:
    found = _leaf(said)
    assert found is not None
    return found


def _leaf(said: dict[str, str], index: int = 99, **changes: object) -> Rotation | None:
    from privguard.audit.record import drafts

    event = access(action=ROTATED, actor="officer", about=said, disclosures=(), **changes)
    return rotation_of(drafts(event)[0].leaf, index)


def test_l11_a_leaf_says_a_rotation_only_if_every_key_of_it_signed(kept: Kept) -> None:
    old = kept.keys().generations[0].signers
    new = log_keys_of(new_signing_keys(os.urandom), ORIGIN).generations[0].signers
    elsewhere = log_keys_of(new_signing_keys(os.urandom), "other.example").generations[0].signers
    one, other = [each.key for each in old], [each.key for each in new]
    note = announcement(ORIGIN, 20, old, new, NOW)
    good = about(str(note), one, other)
    assert _rotation(good) == Rotation(20, tuple(one), tuple(other))
    assert _leaf(good, 19) is None, "it stands after what the old keys signed"
    assert _leaf(good, problem="x", outcome=Outcome.DENIED) is None
    for at in range(4):
        short = Note(note.text, note.signatures[:at] + note.signatures[at + 1 :])
        assert _leaf(about(str(short), one, other)) is None
    wrongs = [
        {}, {**good, "note": ""}, {**good, "new": ""}, {**good, "new": good["old"]}, {**good, "new": "x"},
        about(str(note), other, one), about(str(note), one[:1], other), about(str(note), one, other[::-1]),
        about(str(announcement(ORIGIN, 20, old, old, NOW)), one, one),
        about(str(announcement(ORIGIN, 20, old, new[:1], NOW)), one, other[:1]),
        about(str(note).replace("\n20\n", "\n21\n"), one, other),
        about(str(announcement(ORIGIN, 20, old, elsewhere, NOW)), one, [each.key for each in elsewhere]),
    ]  # fmt: skip
    for wrong in wrongs:
        assert _leaf(wrong) is None, wrong
    with pytest.raises(TrustError):  # what is signed there is no checkpoint of the log
        kept.keys().trust.accept(str(note).encode())


STEPS: dict[str, tuple[object, str, int]] = {
    "file": (log_keys, "put_secret", 0),
    "leaf": (Custody, "record", 0),
    "leaf, after it is durable": (Custody, "record", 1),
    "state": (SignerState, "swap", 0),
    "state, after it is durable": (SignerState, "swap", 1),
    "file again": (log_keys, "put_secret", 2),
}
"""What fails; 0 before it is done, 1 after, 2 the second time."""


@pytest.mark.parametrize("step", STEPS)
def test_l11_an_interrupted_rotation_signs_nothing_and_is_gone_on_with(
    kept: Kept, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, name, when = STEPS[step]
    done: Callable[..., object] = getattr(owner, name)
    calls = []

    def fails(*arguments: object) -> object:
        calls.append(name)
        if when == 2 and len(calls) == 1:
            return done(*arguments)
        if when == 1:
            done(*arguments)
        raise OSError(28, "No space left on device") if owner is log_keys else StoreUnavailableError("gone")

    old = kept.keys()
    monkeypatch.setattr(owner, name, fails)
    with pytest.raises(PrivguardError):
        kept.custodian().rotate()
    monkeypatch.undo()
    kept.grow()
    if step == "file":
        assert old.trust.accept(kept.publish()).checkpoint.size == 21, "nothing has begun: the old keys sign"
    else:
        with pytest.raises(AuditUnavailableError, match="privguard signing rotate"):
            kept.publish()
        with pytest.raises(ConfigError, match="privguard signing rotate"):
            kept.custodian().retire()
    last, _ = kept.custodian().rotate()
    assert last == (21 if step == "file" else 20)
    [rotation] = kept.rotations()
    assert followed(old.trust, [rotation]).logs == kept.keys().terms
    assert read_file(kept.path.read_bytes()).announced is None
    kept.grow()
    assert kept.keys().trust.accept(kept.publish()).checkpoint.size == kept.tree.head()[0]


def test_l11_a_log_that_is_not_what_was_signed_is_not_handed_on(kept: Kept) -> None:
    with kept.state.held():
        kept.state.swap(forged(kept.keys(), 20))
    with pytest.raises(AuditUnavailableError, match="does not go on from what was signed last"):
        kept.custodian().rotate()
    assert kept.rotations() == []
    assert len(kept.keys().generations) == 1


def test_l11_each_epoch_has_its_terms() -> None:
    """A pair signs on in the epochs that begin while it is the newest, and sizes count anew."""
    from privguard.audit.signing_keys import retired, rotated, write_file

    file = rotated(read_file(new_signing_keys(os.urandom)), 10, 0, os.urandom)  # epoch 0: from 11 on
    file = rotated(file, 50, 2, os.urandom)  # epoch 2: from 51 on

    def terms(of: object, epoch: int) -> list[tuple[str, int, int | None]]:
        keys = log_keys_of(write_file(of), ORIGIN, epoch)  # type: ignore[arg-type]
        found = [(t.key.id.hex(), t.first, t.last) for t in keys.terms]
        assert {t.key.name for t in keys.terms} == {ORIGIN if epoch == 0 else f"{ORIGIN}/epoch{epoch}"}
        return sorted(found, key=lambda each: each[1:])

    bounds = [sorted({each[1:] for each in terms(file, epoch)}) for epoch in range(4)]
    end = (1 << 63) - 1
    assert bounds == [[(0, 10), (11, end)], [(0, end)], [(0, 50), (51, end)], [(0, end)]]
    left = retired(file, ORIGIN, 2)
    assert left.before == ()
    for epoch in range(4):
        assert terms(left, epoch) == terms(file, epoch), "retired keys keep their terms"
    with pytest.raises(AuditUnavailableError, match="retired"):
        log_keys_of(write_file(left), ORIGIN, 2).at(50)


def test_l11_a_trust_file_says_which_sizes_a_key_signs(kept: Kept) -> None:
    kept.custodian().rotate()
    trust = Trust(kept.keys().terms, {"w": Witness(WITNESS[0].key, "https://w.example/")}, {}, "w")
    text = write_trust(trust)
    assert parse_trust(text) == trust
    strangers = "\n".join(line for line in text.split("\n") if not line.startswith("#"))
    plain = parse_trust(strangers)  # who knows no terms trusts no retired key
    assert plain.logs == tuple(LogKey(term.key) for term in trust.logs if term.last > 20)
    retired, current = (str(trust.logs[at].key) for at in (0, 2))
    for wrong in (
        f"#signs 0 20 {current}", f"#signs 0 - {retired}", f"#signs x 20 {retired}", f"#signs 0 -1 {retired}",
        f"#signs 0 20 {retired}\n#signs 0 30 {retired}", "#signs 0 20", f"#signs 0 20 {WITNESS[0].key}",
        f"log {retired}\n#signs 0 20 {retired}", f"#signs 0 99999999999999999999 {retired}",
    ):  # fmt: skip
        with pytest.raises(TrustError, match=r"^line [0-9]"):
            parse_trust(f"log {current}\n{wrong}\nquorum none\n")
    with pytest.raises(TrustError):
        followed(trusting(), kept.rotations())
