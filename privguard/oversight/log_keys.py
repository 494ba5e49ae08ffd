"""Rotates and retires the keys that sign the log, for somebody who is on record with it (L11).

The signer's state is held all the while, so no process signs. Rotating, in this order:

1. prove that the tree goes on from what was signed last: old keys vouch for nothing else;
2. keep the new keys in the file, with what the old ones say of them: from here on nothing is signed;
3. append the leaf, or find that it is there;
4. sign the tree with the new keys: whoever has but the old ones does not go on from that state;
5. let the new keys sign.

Whatever ends a run after 2, ``rotate`` again goes on from there with the same leaf.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from msgspec.structs import replace

from privguard.audit.rotation import ROTATED, about, announcement
from privguard.audit.signing_keys import (
    INTERRUPTED,
    Announced,
    KeyFile,
    LogKeys,
    log_keys_of,
    read_file,
    retired,
    rotated,
    write_file,
)
from privguard.errors import AuditUnavailableError, ConfigError, StoreUnavailableError
from privguard.files import put_secret
from privguard.keystore.keyset_file import read_secret
from privguard.model import AccessEvent, Outcome
from privguard.ports import Clock, Entropy
from privguard.store.custody import Custody
from privguard.store.publisher import check_signed, sign, signed_last
from privguard.store.signer_state import SignerState
from privguard.store.tree_reader import TreeReader

RETIRED = "oversight:log:retire"


class SigningKeysFile:
    """The file of the log's signing keys, of a log in an epoch."""

    def __init__(self, path: Path, origin: str, epoch: int) -> None:
        self._path = path
        self.origin = origin
        self.epoch = epoch

    def read(self) -> KeyFile:
        """What it holds. Raises ConfigError."""
        return read_file(read_secret(self._path))

    def put(self, file: KeyFile) -> LogKeys:
        """Changes it, durably, and gives the keys it makes.

        Raises:
            StoreUnavailableError: it could not be written.
        """
        try:
            put_secret(self._path, write_file(file))
        except OSError as error:
            raise StoreUnavailableError(
                f"{self._path}: {error.strerror}: the file of signing keys must be writable."
            ) from None
        return self.keys(file)

    def keys(self, file: KeyFile) -> LogKeys:
        """The keys that such a file makes. Raises ConfigError."""
        return log_keys_of(write_file(file), self.origin, self.epoch)


class LogKeyCustodian:
    """The keys that sign the log, as one person keeps them.

    Args:
        who: the person, as the log will name them.
    """

    def __init__(
        self,
        custody: Custody,
        file: SigningKeysFile,
        state: SignerState,
        tree: TreeReader,
        clock: Clock,
        entropy: Entropy,
        *,
        who: str,
    ) -> None:
        self._custody = custody
        self._file = file
        self._state = state
        self._tree = tree
        self._clock = clock
        self._entropy = entropy
        self._who = who

    def rotate(self) -> tuple[int, int]:
        """Makes new keys and lets them sign; gives the last size of the old ones, and the leaf's index.

        Raises:
            AuditUnavailableError: the log is not what was signed, or the leaf is not on record.
            StoreUnavailableError: file, state or database fail.
        """
        with self._state.held() as last:
            file = self._file.read()
            keys = self._file.keys(file)
            if keys.announced is None:
                signed = signed_last(last, keys.trust)
                if signed is not None:
                    check_signed(self._tree, signed, *self._tree.head())  # 1
                file = self._announced(file)
                keys = self._file.put(file)  # 2
            old, new = keys.generations[-2:]
            said = keys.announced
            if said is None:
                raise AuditUnavailableError(INTERRUPTED)
            event = AccessEvent(
                event_id=hashlib.sha256(said.note.encode()).hexdigest()[:32],
                at_us=said.at_us,
                action=ROTATED,
                outcome=Outcome.PERMITTED,
                actor=said.actor,
                about=about(
                    said.note, [each.key for each in old.signers], [each.key for each in new.signers]
                ),
            )
            receipt = self._custody.record(event)  # 3
            size, root = self._tree.head()
            done = replace(file, announced=None)
            note = sign(self._file.keys(done), size, root, self._now_s())
            self._state.swap(str(note).encode())  # 4
            self._file.put(done)  # 5
        return old.last, receipt.index

    def retire(self) -> list[str]:
        """Destroys keys that do not sign any more, for good; gives their ids.

        Raises:
            ConfigError: there are none, or a rotation to others was interrupted.
        """
        with self._state.held():
            file = self._file.read()
            keys = self._file.keys(file)
            if keys.announced is not None:
                raise ConfigError(INTERRUPTED)
            if not file.before:
                raise ConfigError("Every key there is signs: `privguard signing rotate` comes first.")
            gone = [signer.key.id.hex() for each in keys.generations[:-1] for signer in each.signers]
            self._custody.record(
                AccessEvent(
                    event_id=self._entropy.token(16).hex(),
                    at_us=self._clock.now_us(),
                    action=RETIRED,
                    outcome=Outcome.PERMITTED,
                    actor=self._who,
                    about={"keys": " ".join(gone)},
                )
            )
            self._file.put(retired(file, self._file.origin, self._file.epoch))
        return gone

    def _announced(self, file: KeyFile) -> KeyFile:
        size, _ = self._tree.head()
        grown = rotated(file, size, self._file.epoch, self._entropy.token)
        old, new = self._file.keys(grown).generations[-2:]
        note = announcement(new.signers[0].key.name, size, old.signers, new.signers, self._now_s())
        return replace(grown, announced=Announced(str(note), self._clock.now_us(), self._who))

    def _now_s(self) -> int:
        return self._clock.now_us() // 1_000_000
