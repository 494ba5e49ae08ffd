"""A witness: cosigns what goes on from what it cosigned before, and nothing else (C2SP tlog-witness).

For every log it keeps one file: the last checkpoint it cosigned, swapped durably before a signature leaves.
The file is made by ``follow`` alone: a witness that lost it would cosign another history as its first (L05).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from privguard.audit.checkpoint import Checkpoint, CheckpointError, parse_text
from privguard.audit.note import Note, NoteError, Signer, parse_note
from privguard.audit.proof import ProofError, check_consistency
from privguard.audit.trust import Trust, TrustError
from privguard.store.signer_state import SignerState
from privguard.witness.client import SIZE
from privguard.witness.exchange import Asked, parse_asked

Answer = tuple[int, str, bytes]
"""Status, media type, body."""
_TEXT: Final = "text/plain; charset=utf-8"


class Witness:
    """Cosigns checkpoints of the logs it knows.

    Args:
        trust: gives the logs' keys, as they are trusted now; a key's name is the log's origin.
        signers: the witness's own keys; every one signs.
        folder: where its state is kept, a file a log.
        now_s: the time, in seconds since the epoch.
    """

    def __init__(
        self, trust: Callable[[], Trust], signers: Sequence[Signer], folder: Path, now_s: Callable[[], int]
    ) -> None:
        self._trust = trust
        self._signers = signers
        self._folder = folder
        self._now_s = now_s

    def follow(self) -> list[str]:
        """Begins the state of every known log that has none; gives the logs' origins.

        Raises:
            StoreUnavailableError: the state could not be kept.
        """
        begun = self.strangers()
        for origin in begun:
            self._state(origin).swap(b"")
        return begun

    def strangers(self) -> list[str]:
        """Origins of known logs that have no state here: never followed, or lost."""
        origins = dict.fromkeys(log.key.name for log in self._trust().logs)
        return [origin for origin in origins if not self._state(origin).begun]

    def add_checkpoint(self, body: bytes) -> Answer:
        """What a request is answered; durable before it is. Blocks on the file system.

        Raises:
            StoreUnavailableError: the state could not be kept.
            ConfigError: nobody can say whom to trust.
        """
        try:
            asked = parse_asked(body)
            note = parse_note(asked.note)
            checkpoint = parse_text(note.text)
        except (ProofError, NoteError, CheckpointError) as error:
            return _said(400, str(error))
        trust = self._trust()
        if all(log.key.name != checkpoint.origin for log in trust.logs):
            return _said(404, "the log is not known here")
        try:
            trust.signed(note, checkpoint)  # L11: each of its kinds, and none that is retired
        except (TrustError, NoteError) as error:
            return _said(403, str(error))
        if asked.old > checkpoint.size:
            return _said(400, "the old size is larger than the checkpoint's")
        state = self._state(checkpoint.origin)
        with state.held() as last:
            if not state.begun:
                return _said(404, "the witness has no state of this log")
            return self._judge(asked, note, checkpoint, state, last)

    def _state(self, origin: str) -> SignerState:
        return SignerState(self._folder / hashlib.sha256(origin.encode()).hexdigest())

    def _judge(
        self, asked: Asked, note: Note, checkpoint: Checkpoint, state: SignerState, last: bytes
    ) -> Answer:
        known = parse_text(last.decode()) if last else Checkpoint(checkpoint.origin, 0, b"")
        if asked.old != known.size:
            return 409, SIZE, b"%d\n" % known.size
        if known.size == checkpoint.size and known.size and known.root != checkpoint.root:
            return _said(409, "another root of this size was cosigned")
        try:
            if known.size:
                check_consistency(known.size, checkpoint.size, asked.proof, known.root, checkpoint.root)
            elif asked.proof:
                raise ProofError("a proof from nothing is empty")
        except ProofError as error:
            return _said(422, str(error))
        state.swap(note.text.encode())
        lines = [signer.sign(note.text, self._now_s()).line for signer in self._signers]
        return 200, _TEXT, "".join(lines).encode()


def _said(status: int, why: str) -> Answer:
    return status, _TEXT, f"{why}\n".encode()
