"""Signed notes, checkpoints and trust (C2SP signed-note, tlog-checkpoint, tlog-cosignature, tlog-policy)."""

from __future__ import annotations

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privguard.audit.checkpoint import Checkpoint, CheckpointError, parse_text
from privguard.audit.note import (
    COSIGNED_ED25519,
    COSIGNED_ML_DSA_44,
    ED25519,
    Key,
    LocalSigner,
    Note,
    NoteError,
    parse_key,
    parse_note,
    parse_signature,
    verified,
)
from privguard.audit.trust import TrustError, parse_trust, trusting

ORIGIN = "bank.example/log"
CHECKPOINT = Checkpoint(ORIGIN, 7, bytes(range(32)))
LOG, SECOND = LocalSigner(ORIGIN, ED25519, b"a" * 32), LocalSigner(ORIGIN, COSIGNED_ML_DSA_44, b"b" * 32)
W1, W2 = (LocalSigner(f"w{n}.example", COSIGNED_ED25519, bytes([n]) * 32) for n in (1, 2))
W3 = LocalSigner("w3.example", COSIGNED_ML_DSA_44, b"3" * 32)
ALL = (LOG, SECOND, W1, W2, W3)


def signed(*signers: LocalSigner, text: str = CHECKPOINT.text, time_s: int = 1_700_000_000) -> bytes:
    return str(Note(text, tuple(each.sign(text, time_s) for each in signers))).encode()


def test_the_specifications_note_verifies() -> None:
    """C2SP signed-note: the example note, and Go's published key for it (golang.org/x/mod/sumdb/note, PeterNeumann)."""
    key = parse_key("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    text = (
        "If you think cryptography is the answer to your problem,\n"
        "then you don't know what your problem is.\n"
    )
    line = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
    note = parse_note(f"{text}\n{line}\n".encode())
    assert verified(note, [key]) == (key,)
    assert str(key).startswith("PeterNeumann+c74f20a3+")
    with pytest.raises(NoteError, match="does not hold"):
        verified(parse_note(f"{text.replace('answer', 'Answer')}\n{line}\n".encode()), [key])


@pytest.mark.parametrize("signer", ALL, ids=lambda signer: f"{signer.key.name} {signer.key.kind}")
def test_what_is_signed_verifies_by_its_key_alone(signer: LocalSigner) -> None:
    note = parse_note(signed(signer))
    assert verified(note, [each.key for each in ALL]) == (signer.key,)
    assert parse_key(str(signer.key)) == signer.key
    assert (
        verified(note, [each.key for each in ALL if each is not signer]) == ()
    )  # unknown: passed over (L11)
    for other in (CHECKPOINT.text.replace("\n7\n", "\n8\n"), CHECKPOINT.text.replace("bank", "Bank")):
        with pytest.raises(NoteError):  # known, and does not hold (L11)
            verified(Note(other, note.signatures), [signer.key])
    renamed = Key("other.example", signer.key.kind, signer.key.public)
    moved = Note(note.text, tuple(type(s)("other.example", renamed.id, s.data) for s in note.signatures))
    if signer.key.kind == COSIGNED_ML_DSA_44:  # this kind commits to the name
        with pytest.raises(NoteError):
            verified(moved, [renamed])


def test_a_cosignature_names_its_time() -> None:
    [line] = parse_note(signed(W1, time_s=1_679_315_147)).signatures
    assert int.from_bytes(line.data[:8], "big") == 1_679_315_147
    late = type(line)(line.name, line.key_id, (2**63).to_bytes(8, "big") + line.data[8:])
    with pytest.raises(NoteError):
        verified(Note(CHECKPOINT.text, (late,)), [W1.key])


def test_ml_dsa_signs_checkpoints_only() -> None:
    """C2SP tlog-cosignature: extension lines are not in the message, so a text with them is not signed."""
    for text in ("hello\n", CHECKPOINT.text + "extension\n"):
        with pytest.raises((CheckpointError, NoteError)):
            SECOND.sign(text, 0)
        [line] = parse_note(signed(SECOND)).signatures
        with pytest.raises(NoteError):
            verified(Note(text, (line,)), [SECOND.key])


@pytest.mark.parametrize(
    "wrong",
    [
        b"", b"\n\n", b"text\n", b"text\n\n", b"text\n\n- a QUFBQUE=\n", "text\n\n— a QUFBQUE=".encode(),
        "text\n\n— a b QUFBQUE=\n".encode(), "text\n\n— a+b QUFBQUE=\n".encode(), "text\n\n— a !!!!!!!!\n".encode(),
        "te\txt\n\n— a QUFBQUE=\n".encode(), "text\r\n\n— a QUFBQUE=\n".encode(), b"\xff\n\n\xe2\x80\x94 a QUFBQUE=\n",
        "text\n\n— a QUFBQUF=\n".encode(), ("text\n\n" + "— a QUFBQUE=\n" * 33).encode(),
        ("x" * 100_000 + "\n\n— a QUFBQUE=\n").encode(),
    ],
)  # fmt: skip
def test_l14_what_is_no_note_is_refused(wrong: bytes) -> None:
    with pytest.raises(NoteError):
        parse_note(wrong)


@given(st.binary(max_size=200), st.text(max_size=100))
def test_l14_any_bytes_are_a_note_or_refused(data: bytes, text: str) -> None:
    for each in (
        data,
        b"text\n\n\xe2\x80\x94 " + data,
        f"{text}\n\n— a QUFBQUE=\n".encode("utf-8", "replace"),
    ):
        with contextlib.suppress(NoteError):
            assert str(parse_note(each)).encode() == each
    with contextlib.suppress(NoteError):
        assert parse_signature(text).line == text + "\n"
    with contextlib.suppress(NoteError):
        assert str(parse_key(text)) == text


@pytest.mark.parametrize(
    "wrong",
    [
        "", "a", "a+b", "a+00000000+", "a+00000000+AQ==", str(LOG.key).replace("+", "+0", 1),
        f"{ORIGIN}+{LOG.key.id.hex()}+{base64.b64encode(bytes([9]) + LOG.key.public).decode()}",
        str(LOG.key).replace(ORIGIN, "other.example"), " " + str(LOG.key),
    ],
)  # fmt: skip
def test_what_is_no_key_is_refused(wrong: str) -> None:
    with pytest.raises(NoteError):
        parse_key(wrong)


@given(st.integers(0, 2**63 - 1), st.binary(min_size=32, max_size=32))
def test_a_checkpoint_reads_as_it_was_written(size: int, root: bytes) -> None:
    made = Checkpoint(ORIGIN, size, root)
    assert parse_text(made.text) == made


@pytest.mark.parametrize(
    "wrong",
    [
        "", "a\n1\n", f"{ORIGIN}\n7\n{'A' * 43}=", f"{ORIGIN}\n07\n{'A' * 43}=\n", f"{ORIGIN}\n-7\n{'A' * 43}=\n",
        f"{ORIGIN}\n7\nQUFB\n", f"{ORIGIN}\n7\n{'A' * 42}B=\n", f"\n7\n{'A' * 43}=\n", f"a b\n7\n{'A' * 43}=\n",
        f"{ORIGIN}\n7\n{'A' * 43}=\nextension\n", f"{ORIGIN}\n9999999999999999999\n{'A' * 43}=\n", f"{ORIGIN}\n٧\n{'A' * 43}=\n",
    ],
)  # fmt: skip
def test_l14_what_is_no_checkpoint_is_refused(wrong: str) -> None:
    with pytest.raises(CheckpointError):
        parse_text(wrong)


# -- trust --------------------------------------------------------------------------------------------------

POLICY = f"""
# two of three witnesses, and both of the log's keys are known
log {LOG.key} https://log.example/
log {SECOND.key}
witness one {W1.key}
witness two\t{W2.key} https://w2.example/
  witness three {W3.key}
group some 2 one two three
quorum some
"""


def test_a_checkpoint_is_accepted_that_the_log_signed_and_the_quorum_saw() -> None:
    trust = parse_trust(POLICY)
    accepted = trust.accept(signed(LOG, SECOND, W1, W3))
    assert accepted.checkpoint == CHECKPOINT
    assert accepted.signed == (LOG.key, SECOND.key)
    assert accepted.witnesses == ("one", "three")
    assert trust.witnesses["two"].url == "https://w2.example/"
    for few in ((LOG, W1), (LOG, W1, W1), (W1, W2, W3), (LOG,), (SECOND, W2)):
        with pytest.raises(TrustError):
            trust.accept(signed(*few))
    assert trusting(LOG.key).accept(signed(LOG)).witnesses == ()


def test_l11_each_kind_of_key_that_is_trusted_has_to_sign() -> None:
    """A signature that was renamed to a key nobody knows is ignored as such, and missed all the same."""
    trust, whole = trusting(LOG.key, SECOND.key), parse_note(signed(LOG, SECOND))
    stranger = LocalSigner(ORIGIN, ED25519, b"z" * 32).sign(CHECKPOINT.text, 0)
    more = str(Note(whole.text, (*whole.signatures, stranger))).encode()
    assert trust.accept(more).signed == (LOG.key, SECOND.key)
    for at, kept in enumerate((SECOND, LOG)):
        renamed = list(whole.signatures)
        renamed[at] = stranger
        for wrong in (str(Note(whole.text, tuple(renamed))).encode(), signed(kept)):
            with pytest.raises(TrustError, match="kind of key"):
                trust.accept(wrong)
    assert trusting(LOG.key).accept(signed(LOG, SECOND)).signed == (LOG.key,)  # who knows one of them


def test_a_checkpoint_of_another_log_is_not_accepted_by_this_ones_key() -> None:
    other = Checkpoint("other.example", 7, CHECKPOINT.root)
    with pytest.raises(TrustError):
        trusting(LOG.key).accept(signed(LOG, text=other.text))


def test_groups_of_groups() -> None:
    """C2SP tlog-policy: thresholds at two levels."""
    text = f"log {LOG.key}\nwitness a {W1.key}\nwitness b {W2.key}\nwitness c {W3.key}\n"
    trust = parse_trust(text + "group ab any a b\ngroup all all ab c\nquorum all\n")
    assert trust.accept(signed(LOG, W2, W3)).witnesses == ("b", "c")
    for few in ((LOG, W1, W2), (LOG, W3)):
        with pytest.raises(TrustError):
            trust.accept(signed(*few))
    assert parse_trust(text + "quorum c\n").accept(signed(LOG, W3)).witnesses == ("c",)
    assert parse_trust(text + "quorum none\n").accept(signed(LOG)).witnesses == ()


@pytest.mark.parametrize(
    "line",
    [
        "log", "log x", f"log {W1.key}", f"log {LOG.key}", f"witness one {LOG.key}", f"witness none {W1.key}",
        f"witness a {W1.key}\nwitness a {W2.key}", f"witness a {W1.key}\nwitness b {W1.key}", "group g any", "group g any x",
        f"witness a {W1.key}\ngroup g 2 a", f"witness a {W1.key}\ngroup g 0 a", f"witness a {W1.key}\ngroup g ٢ a",
        f"witness a {W1.key}\ngroup g any a a", f"witness a {W1.key}\ngroup g any a\ngroup h any a", "group g any none",
        "quorum x", "quorum none\nquorum none", "what", f"witness a {W1.key} u v",
    ],
)  # fmt: skip
def test_what_is_no_trust_policy_is_refused_by_its_line(line: str) -> None:
    with pytest.raises(TrustError, match=r"^line [0-9]: "):
        parse_trust(f"log {LOG.key}\n{line}\nquorum none\n")


def test_a_trust_policy_without_a_quorum_or_too_long_is_refused() -> None:
    with pytest.raises(TrustError, match="quorum"):
        parse_trust(f"log {LOG.key}\n")
    with pytest.raises(TrustError, match="too long"):
        parse_trust("#" * 600_000)
