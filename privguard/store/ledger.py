"""Appends batches of entries to the log, each batch in one transaction.

1. take the write lock, begin;
2. read the tree's state, which entries are there already, and keys of clients this process does not remember;
3. make keys for new clients; read where the clients' chains end;
4. pass over entries that are there: their answer was lost, not they;
5. give each leaf its log time and chain, seal its detail, encode and hash it;
6. fold the hashes into the tree's edge, make the tiles that are full;
7. write all rows and the new state;
8. commit. Only what is committed is remembered, and only then are there receipts.

Nothing of the log is kept between batches, so an interrupted one leaves nothing to recover.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from itertools import chain
from sqlite3 import Connection
from typing import Final

import msgspec
from msgspec import Struct

from privguard.audit.merkle import extend, leaf_hash, needed
from privguard.audit.record import Draft, columns, drafts, encode, link, parse, subject_columns
from privguard.crypto.envelope import NONCE_BYTES, seal
from privguard.crypto.keyring import Keyring
from privguard.errors import AuditUnavailableError
from privguard.model import AccessEvent, AuditReceipt
from privguard.ports import Entropy
from privguard.store.engine import Store
from privguard.store.statements import (
    Rows,
    State,
    driver,
    read_heads,
    read_leaves,
    read_span,
    read_state,
    write,
)
from privguard.store.subjects import Client, Recall, SubjectKeys

REUSED: Final = "An event id was used for two different entries: give every entry an id of its own."

Groups = tuple[Sequence[Client], ...]
"""The clients of each group of a draft."""

Placed = int | AuditUnavailableError
"""Index of an entry's last leaf, or why it is not in the log."""


class Entry(Struct, frozen=True, eq=False):
    """An access with all that can be made of it before its place in the log is known.

    Attributes:
        groups: of each draft.
        clients: of all groups, as often as they stand there.
        detail: what is to be sealed, as JSON; empty if there is none.
    """

    event: AccessEvent
    drafts: tuple[Draft, ...]
    groups: tuple[Groups, ...]
    clients: Sequence[Client]
    detail: bytes


def prepare(event: AccessEvent) -> Entry:
    """Makes an entry of an access.

    Raises:
        AuditUnavailableError: no leaf can hold it.
    """
    made, tenant = drafts(event), event.tenant
    groups = tuple(
        tuple([(tenant, ref.kind, ref.id) for ref in group] for group in draft.subjects) for draft in made
    )
    clients = list(chain.from_iterable(chain.from_iterable(groups)))
    return Entry(event, made, groups, clients, msgspec.json.encode(event.detail) if event.detail else b"")


class Ledger:
    """The writing side of the log; one batch at a time."""

    def __init__(self, store: Store, keyring: Keyring, entropy: Entropy, origin: str) -> None:
        self._store = store
        self._entropy = entropy
        self._origin = origin
        self._keys = SubjectKeys(keyring, entropy)
        self._remembered_of: tuple[tuple[int, int] | None, int] = None, 0

    def append(self, entries: Sequence[Entry]) -> list[AuditReceipt | AuditUnavailableError]:
        """Appends entries in the order given; durable when this returns.

        Raises:
            Exception: the database's or the operating system's; then all are in the log, or none.
        """
        with self._store.write() as transaction:
            connection = driver(transaction)
            state, recall = self._read(connection, entries)
            batch = _Batch(connection, state, recall)
            placed = [batch.place(entry, self._seal) for entry in entries]
            size, root = batch.finish()
        if size > state.tree.size:  # or else the rows of the keys that were made are not written either
            self._keys.remember(recall.met)
        return [
            AuditReceipt(self._origin, place, size, root) if isinstance(place, int) else place
            for place in placed
        ]

    def _read(self, connection: Connection, entries: Sequence[Entry]) -> tuple[State, Recall]:
        ids = [entry.event.event_id for entry in entries]
        recall = self._keys.recall(list(chain.from_iterable(entry.clients for entry in entries)))
        state = read_state(connection, ids, list(recall.names.values()))
        remembered_of = (self._store.file, state.erasures)
        if remembered_of != self._remembered_of:  # some keys are destroyed (L13), or it is another database
            self._keys.forget()
            self._remembered_of = remembered_of
            return self._read(connection, entries)
        self._keys.complete(recall, state.wrapped)
        return state, recall

    def _seal(self, entry: Entry, recall: Recall) -> bytes:
        keys = [recall.held[client].key for client in entry.clients]
        key = self._keys.detail_key(entry.event.tenant, keys)
        return seal(key, self._entropy.token(NONCE_BYTES), entry.detail, entry.event.event_id.encode())


class _Batch:
    """The entries of one transaction, as they are given their places."""

    def __init__(self, connection: Connection, state: State, recall: Recall) -> None:
        self._connection = connection
        self._tree = state.tree
        self._ts = state.ts
        self._recall = recall
        self._heads = read_heads(connection, [key.token for key in recall.held.values()])
        self._there = {(event_id, part): index for event_id, part, index in state.present}
        self._placed: dict[tuple[str, int], tuple[AccessEvent, int]] = {}
        self._rows = Rows(fresh=recall.rows)

    def place(self, entry: Entry, seal_detail: Callable[[Entry, Recall], bytes]) -> Placed:
        """Gives an entry its leaves, or finds those it has."""
        for client in entry.clients if self._recall.broken else ():
            if client in self._recall.broken:
                return AuditUnavailableError(self._recall.broken[client].detail)
        there = self._find(entry)
        if there is not None:
            return there
        sealed = seal_detail(entry, self._recall) if entry.detail else b""
        for draft, groups in zip(entry.drafts, entry.groups, strict=True):
            index = self._append(draft, groups, sealed)
            self._placed[entry.event.event_id, draft.leaf.part] = entry.event, index
            sealed = b""
        return index

    def _append(self, draft: Draft, groups: Groups, sealed: bytes) -> int:
        leaf, rows, held = draft.leaf, self._rows, self._recall.held
        index = self._tree.size + len(rows.events)
        self._ts = max(self._ts, leaf.ts)
        tokens = [[held[client].token for client in group] for group in groups]
        link(draft, tokens, self._heads, index, self._ts)
        if sealed:
            leaf.detail = hashlib.sha256(sealed).hexdigest()
            rows.secrets.append((index, sealed))
        data = encode(leaf)
        rows.events.append((index, *columns(leaf), data))
        rows.hashes.append(leaf_hash(data))
        rows.subjects.extend((index, *row) for row in subject_columns(leaf))
        return index

    def finish(self) -> tuple[int, bytes]:
        """Writes what was placed; size and root of the tree with it."""
        rows, tree = self._rows, self._tree
        if not rows.events:
            return tree.size, tree.root()
        held = {span.level: read_span(self._connection, span) for span in needed(tree, len(rows.events))}
        tree, rows.tiles = extend(tree, rows.hashes, held)
        rows.heads = self._heads
        root = tree.root()
        write(self._connection, rows, tree, root)
        return tree.size, root

    def _find(self, entry: Entry) -> Placed | None:
        """Where the entry is already, in this batch or in the log; None if it is new."""
        keys = [(entry.event.event_id, draft.leaf.part) for draft in entry.drafts]
        placed = [self._placed.get(key) for key in keys]
        if any(placed):
            same = all(found is not None and found[0] == entry.event for found in placed)
            return placed[-1][1] if same and placed[-1] is not None else AuditUnavailableError(REUSED)
        there = [self._there.get(key) for key in keys]
        if all(index is None for index in there):
            return None
        indexes = [index for index in there if index is not None]
        leaves = read_leaves(self._connection, indexes)
        same = len(indexes) == len(keys) and all(
            self._same(draft, groups, leaves[index])
            for draft, groups, index in zip(entry.drafts, entry.groups, indexes, strict=True)
        )
        return indexes[-1] if same else AuditUnavailableError(REUSED)

    def _same(self, draft: Draft, groups: Groups, data: bytes) -> bool:
        """Whether a leaf of the log is this draft's, but for its place and the nonce of its detail."""
        leaf, held = parse(data), self._recall.held
        tokens = [list(dict.fromkeys(held[client].token for client in group)) for group in groups]
        if [[token for token, _, _ in group.subjects] for group in leaf.groups] != tokens:
            return False
        leaf.ts, leaf.skew, leaf.detail = leaf.ts + leaf.skew, 0, ""
        for group in leaf.groups:
            group.subjects = []
        return encode(leaf) == encode(draft.leaf)
