"""Seals old entries in an archive and raises the prune floor, for somebody who is on record with it.

1. What an interrupted run left below the floor is deleted.
2. How far the floor may rise: no further than each category's time, a hold, or what was signed allows.
3. The intent is on record.
4. The archive is written, read back as a stranger would, and on the disk; only then it has its name.
5. The floor rises, in one transaction with the leaf that says so and names the archive.
6. What is below it is deleted.

Whatever ends a run between two of these, the next run goes on from there: an archive that is whole is taken
as it is, and one that is not is written anew.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from privguard.audit.archive import VERSION, Seal, write_begin
from privguard.audit.floor import PRUNED, about, map_root
from privguard.audit.merkle import Span
from privguard.audit.proof import ProofError, consistency, inclusion, root_at
from privguard.audit.report_proof import proved, texts
from privguard.audit.trust import Trust, write_trust
from privguard.errors import ConfigError, PrivguardError
from privguard.files import sync
from privguard.model import AccessEvent, AuditReceipt, Outcome
from privguard.oversight.bundle import SEALED, check_folder, write_entries
from privguard.oversight.export import new_folder
from privguard.ports import Clock, Entropy
from privguard.store.custody import Custody
from privguard.store.engine import Store
from privguard.store.log_reader import LogReader
from privguard.store.retention import Retention, start_at
from privguard.store.tree_reader import Published, TreeReader


class Pruned(Struct, frozen=True):
    """What came of it.

    Attributes:
        floor: entries with a lower index are sealed now.
        count: of those sealed in this run; none where ``archive`` is None.
        why: what keeps the floor from rising further: a category, ``hold`` or ``checkpoint``.
        swept: rows of entries that were deleted.
    """

    floor: int
    count: int
    why: str
    swept: int
    archive: str | None = None
    digest: str = ""
    index: int | None = None


class Pruner:
    """The retention of a log, as one person exercises it.

    Args:
        trust: the log's keys and witnesses.
        who: the person, as the log will name them.
    """

    def __init__(
        self,
        store: Store,
        custody: Custody,
        trust: Trust,
        clock: Clock,
        entropy: Entropy,
        who: str,
    ) -> None:
        self._store = store
        self._custody = custody
        self._retention = Retention(store)
        self._tree = TreeReader(store)
        self._trust = trust
        self._clock = clock
        self._entropy = entropy
        self._who = who

    def prune(self, keep_from: Mapping[str, int | None], archives: Path) -> Pruned:
        """Prunes as far as it may; the map must have been brought up since the last checkpoint.

        Args:
            keep_from: see ``store.retention.Retention.due``.
            archives: the folder that archives are kept in.

        Raises:
            ConfigError: no checkpoint was published, or the archive cannot be written.
            OnHoldError, AuditUnavailableError, StoreUnavailableError: the floor did not rise.
        """
        swept = self._retention.sweep()  # 1
        published = self._tree.published()
        if published is None:
            raise ConfigError("No checkpoint was published yet: `privguard audit checkpoint`.")
        old = self._retention.floor()
        floor, why = self._retention.due(keep_from, published.size)  # 2
        if floor <= old:
            return Pruned(old, 0, why, swept)
        event = self._event()
        intent = {"from": str(old), "floor": str(floor)}
        said = self._custody.record(replace(event, outcome=Outcome.INTENT, about=intent))  # 3
        try:
            folder, digest = self._archive(archives, old, floor, published)  # 4
            receipt = self._raise(floor, digest, floor - old, said.index)  # 5
        except PrivguardError as error:
            failed = replace(self._event(), outcome=Outcome.ABORTED, problem=error.problem, intent=said.index)
            self._custody.record(failed)
            raise
        swept += self._retention.sweep()  # 6
        return Pruned(floor, floor - old, why, swept, str(folder), digest, receipt.index)

    def _archive(self, archives: Path, old: int, floor: int, published: Published) -> tuple[Path, str]:
        """Where the archive of these entries is, and its digest; written, if it is not there."""
        folder = archives / f"entries-{old}-{floor}"
        if not folder.exists():
            archives.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.rmtree(folder.with_name(f"{folder.name}.part"), ignore_errors=True)
            with new_folder(folder) as part:
                self._write(part, old, floor, published)
                self._check(part, old, floor)
                _to_disk(part)
            sync(archives)
        return folder, self._check(folder, old, floor)

    def _write(self, part: Path, old: int, floor: int, published: Published) -> None:
        size, entries = published.size, self._tree.entries
        leaves = (leaf for _, leaf in LogReader(self._store).entries(old, floor - old))
        begin = begin_of(self._store, self._tree, size)
        write_entries(part, published.note, write_trust(self._trust), Span(0, old, floor), leaves, begin)
        path = consistency(floor, size, entries)
        [root] = texts([root_at(floor, entries)])
        (part / SEALED).write_bytes(msgspec.json.encode(Seal(VERSION, old, floor, root, texts(path))))

    def _check(self, folder: Path, old: int, floor: int) -> str:
        """The digest of an archive that holds these entries, all of them. Raises ConfigError."""
        try:
            _, found, seal = check_folder(folder, self._trust)
        except ProofError as error:
            raise ConfigError(f"{folder} is no archive of this log: {error}. Move it away.") from None
        if not found.ok or seal is None or (seal.start, seal.stop) != (old, floor):
            raise ConfigError(
                f"{folder} is no archive of these entries ({found.kind}): `privguard audit verify`."
            )
        return hashlib.sha256((folder / SEALED).read_bytes()).hexdigest()

    def _raise(self, floor: int, digest: str, count: int, intent: int) -> AuditReceipt:
        root = map_root(start_at(self._store, floor).heads)
        tenant, actor, action = PRUNED
        event = replace(
            self._event(),
            tenant=tenant,
            actor=actor,
            action=action,
            intent=intent,
            about=about(floor, root, digest, count),
        )
        return self._custody.record(event, lambda connection: self._retention.raise_to(floor, connection))

    def _event(self) -> AccessEvent:
        return AccessEvent(
            event_id=self._entropy.token(16).hex(),
            at_us=self._clock.now_us(),
            action=PRUNED[2],
            outcome=Outcome.PERMITTED,
            actor=self._who,
        )


def begin_of(store: Store, tree: TreeReader, size: int) -> bytes | None:
    """The file ``begin`` of a log as of a checkpoint's size; None where nothing was pruned.

    Raises:
        ConfigError: the leaf that says the floor is not in that checkpoint yet.
    """
    found = Retention(store).said()
    if found is None:
        return None
    (index, leaf), said = found
    if index >= size:
        raise ConfigError("The checkpoint does not hold the last pruning yet: `privguard audit checkpoint`.")
    return write_begin(start_at(store, said.floor), proved(index, leaf, inclusion(index, size, tree.entries)))


def _to_disk(folder: Path) -> None:
    """What is deleted next must be here whatever happens."""
    for file in folder.rglob("*"):
        sync(file)
    sync(folder)
