"""Publishes signed checkpoints: proof from the last signed size, both signatures, state, witnesses (L02-L06).

1. hold the signer's state: nobody else signs meanwhile;
2. prove that the tree goes on from what was signed last; refuse if it does not;
3. sign, and swap the state before the signature leaves;
4. keep the checkpoint; ask the witnesses; keep what they cosigned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from privguard.audit.checkpoint import Checkpoint
from privguard.audit.note import Note, Signature, parse_note
from privguard.audit.proof import ProofError, check_consistency, consistency
from privguard.audit.signing_keys import LogKeys
from privguard.audit.trust import Trust, TrustError
from privguard.errors import AuditUnavailableError, PrivguardError
from privguard.store.signer_state import SignerState
from privguard.store.tree_reader import Published, TreeReader

FORKED: Final = (
    "The log does not go on from what was signed last, at size {}: an older or another database stands here. "
    "Nothing is signed or written. Put the database back that goes with the signer's state, or begin a new "
    "epoch (`privguard audit recover`)."
)


class Cosigner(Protocol):
    """A witness."""

    @property
    def name(self) -> str:
        """By which its failures are told."""
        ...

    def cosign(self, note: Note, prove: Callable[[int], Sequence[bytes]]) -> Signature:
        """Its signature on a checkpoint; ``prove`` gives the consistency proof from an older size.

        Raises:
            PrivguardError: it does not answer, or refuses.
        """
        ...


class Publisher:
    """Signs the log's checkpoints; one at a time on a machine.

    Args:
        keys: gives the log's keys as they are now, for they rotate.
        quorum: how many of the witnesses must have cosigned a checkpoint that is shown.

    Attributes:
        complaints: why witnesses did not cosign the last checkpoint, by name.
    """

    def __init__(
        self,
        tree: TreeReader,
        state: SignerState,
        keys: Callable[[], LogKeys],
        *,
        witnesses: Sequence[Cosigner] = (),
        quorum: int = 0,
    ) -> None:
        self._tree = tree
        self._state = state
        self._keys = keys
        self._witnesses = witnesses
        self._quorum = quorum
        self.complaints: dict[str, str] = {}

    def publish(self, now_s: int) -> Published | None:
        """Publishes the tree as it is now, if it grew; gives the checkpoint that may be shown.

        Raises:
            AuditUnavailableError: the tree does not go on from what was signed last.
            StoreUnavailableError: database or state fail.
        """
        with self._state.held() as last:
            keys = self._keys()  # not before the state is held: a rotation holds it
            size, root = self._tree.head()
            signed = signed_last(last, keys.trust)
            if signed is not None:
                check_signed(self._tree, signed, size, root)
            shown = self._tree.published(size)
            if shown is not None or size == 0:
                return shown
            if signed is not None and signed.size == size:
                note = parse_note(last)
            else:
                note = sign(keys, size, root, now_s)
                self._state.swap(str(note).encode())
            self._keep(size, note)
        return self._tree.published()

    def _keep(self, size: int, note: Note) -> None:
        self._tree.keep(size, str(note), "", quorate=not self._quorum)
        if not self._witnesses:
            return
        self.complaints = {}
        lines = list[str]()
        for witness in self._witnesses:
            try:
                lines.append(
                    witness.cosign(note, lambda old: consistency(old, size, self._tree.entries)).line
                )
            except PrivguardError as error:
                self.complaints[witness.name] = error.detail
        if lines:
            self._tree.keep(size, str(note), "".join(lines), quorate=len(lines) >= self._quorum)


def sign(keys: LogKeys, size: int, root: bytes, now_s: int) -> Note:
    """The tree's checkpoint, signed by the keys in force at its size.

    Raises:
        AuditUnavailableError: none are.
    """
    text = Checkpoint(keys.origin, size, root).text
    return Note(text, tuple(signer.sign(text, now_s) for signer in keys.at(size)))


def signed_last(note: bytes, trust: Trust) -> Checkpoint | None:
    """What the signer's state says was signed last; None if nothing was.

    Args:
        trust: in the log's keys.

    Raises:
        AuditUnavailableError: the state holds something that these keys did not sign.
    """
    if not note:
        return None
    try:
        return trust.accept(note).checkpoint
    except TrustError as error:
        raise AuditUnavailableError(
            f"The signer's state is not what these keys signed ({error}): "
            "put back the state that goes with the keys, or bring the keys that are in force."
        ) from None


def check_signed(tree: TreeReader, signed: Checkpoint, size: int, root: bytes) -> None:
    """Holds the tree to a checkpoint that was signed of it.

    Raises:
        AuditUnavailableError: it is smaller, or another one (L02, L06).
    """
    try:
        if signed.size:
            check_consistency(
                signed.size, size, consistency(signed.size, size, tree.entries), signed.root, root
            )
    except ProofError:
        raise AuditUnavailableError(FORKED.format(signed.size)) from None
