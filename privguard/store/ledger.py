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
from itertools import islice
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
from privguard.store.subjects import Client, DataKey, Strangers, SubjectKeys

REUSED: Final = "An event id was used for two different entries: give every entry an id of its own."

Placed = int | AuditUnavailableError
"""Index of an entry's last leaf, or why it is not in the log."""

Keys = list[DataKey | None]
"""Of an entry's clients, in their order."""

Tokens = list[list[str]]
"""Of the clients of each group of a draft."""


class Entry(Struct, frozen=True, eq=False):
    """An access with all that can be made of it before its place in the log is known.

    Attributes:
        clients: of every group of every draft, as often as they stand there.
        detail: what is to be sealed, as JSON; empty if there is none.
    """

    event: AccessEvent
    drafts: tuple[Draft, ...]
    clients: list[Client]
    detail: bytes

    def by_group(self, tokens: list[str]) -> list[Tokens]:
        """The clients' tokens, for each draft's groups."""
        if len(self.drafts) == 1 and len(self.drafts[0].subjects) == 1:
            return [[tokens]]
        rest = iter(tokens)
        return [[list(islice(rest, len(group))) for group in draft.subjects] for draft in self.drafts]


def prepare(event: AccessEvent) -> Entry:
    """Makes an entry of an access.

    Raises:
        AuditUnavailableError: no leaf can hold it.
    """
    made, tenant = drafts(event), event.tenant
    clients = [(tenant, ref.kind, ref.id) for draft in made for group in draft.subjects for ref in group]
    return Entry(event, made, clients, msgspec.json.encode(event.detail) if event.detail else b"")


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
            keys, strangers, state = self._read(connection, entries)
            batch = _Batch(connection, state, keys, strangers)
            placed = [batch.place(entry, held, self._seal) for entry, held in zip(entries, keys, strict=True)]
            size, root = batch.finish()
        if size > state.tree.size:  # or else the rows of the keys that were made are not written either
            self._keys.remember(strangers.met)
        return [
            AuditReceipt(self._origin, place, size, root) if isinstance(place, int) else place
            for place in placed
        ]

    def _read(self, connection: Connection, entries: Sequence[Entry]) -> tuple[list[Keys], Strangers, State]:
        """The log's state, and the keys of every entry's clients: None for a client that can have none."""
        keys = [self._keys.recall(entry.clients) for entry in entries]
        unmet = [pair for pair in zip(entries, keys, strict=True) if None in pair[1]]
        strangers = self._keys.strangers(
            client
            for entry, held in unmet
            for client, key in zip(entry.clients, held, strict=True)
            if key is None
        )
        ids = [entry.event.event_id for entry in entries]
        state = read_state(connection, ids, list(strangers.names.values()))
        remembered_of = (self._store.file, state.erasures)
        if remembered_of != self._remembered_of:  # some keys are destroyed (L13), or it is another database
            self._keys.forget()
            self._remembered_of = remembered_of
            return self._read(connection, entries)
        self._keys.meet(strangers, state.wrapped)
        for entry, held in unmet:
            for place, client in enumerate(entry.clients):
                held[place] = held[place] or strangers.met.get(client)
        return keys, strangers, state

    def _seal(self, entry: Entry, held: Sequence[DataKey]) -> bytes:
        key = self._keys.detail_key(entry.event.tenant, [one.key for one in held])
        return seal(key, self._entropy.token(NONCE_BYTES), entry.detail, entry.event.event_id.encode())


class _Batch:
    """The entries of one transaction, as they are given their places."""

    def __init__(
        self, connection: Connection, state: State, keys: Sequence[Keys], strangers: Strangers
    ) -> None:
        self._connection = connection
        self._tree = state.tree
        self._ts = state.ts
        self._broken = strangers.broken
        self._heads = read_heads(connection, [key.token for held in keys for key in held if key is not None])
        self._there = {(event_id, part): index for event_id, part, index in state.present}
        self._ids = {event_id for event_id, _, _ in state.present}
        self._placed: dict[tuple[str, int], tuple[AccessEvent, int]] = {}
        self._rows = Rows(fresh=strangers.rows)

    def place(
        self, entry: Entry, keys: Keys, seal_detail: Callable[[Entry, Sequence[DataKey]], bytes]
    ) -> Placed:
        """Gives an entry its leaves, or finds those it has."""
        held = [key for key in keys if key is not None]
        if len(held) < len(keys):
            return AuditUnavailableError(self._broken[entry.clients[keys.index(None)]].detail)
        tokens = entry.by_group([key.token for key in held])
        there = self._find(entry, tokens)
        if there is not None:
            return there
        sealed = seal_detail(entry, held) if entry.detail else b""
        for draft, named in zip(entry.drafts, tokens, strict=True):
            index = self._append(draft, named, sealed)
            self._placed[entry.event.event_id, draft.leaf.part] = entry.event, index
            sealed = b""
        self._ids.add(entry.event.event_id)
        return index

    def _append(self, draft: Draft, tokens: Tokens, sealed: bytes) -> int:
        leaf, rows = draft.leaf, self._rows
        index = self._tree.size + len(rows.events)
        self._ts = max(self._ts, leaf.ts)
        link(draft, tokens, self._heads, index, self._ts)
        if sealed:
            leaf.detail = hashlib.sha256(sealed).hexdigest()
            rows.secrets.append((index, sealed))
        data = encode(leaf)
        rows.events.append((index, *columns(leaf), data))
        rows.hashes.append(leaf_hash(data))
        rows.subjects.extend(subject_columns(leaf, index))
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

    def _find(self, entry: Entry, tokens: Sequence[Tokens]) -> Placed | None:
        """Where the entry is already, in this batch or in the log; None if it is new."""
        if entry.event.event_id not in self._ids:
            return None
        keys = [(entry.event.event_id, draft.leaf.part) for draft in entry.drafts]
        placed = [self._placed.get(key) for key in keys]
        if any(placed):
            same = all(found is not None and found[0] == entry.event for found in placed)
            return placed[-1][1] if same and placed[-1] is not None else AuditUnavailableError(REUSED)
        indexes = [self._there[key] for key in keys if key in self._there]
        if not indexes:
            return None
        leaves = read_leaves(self._connection, indexes)
        same = len(indexes) == len(keys) and all(
            _same(draft, named, leaves[index])
            for draft, named, index in zip(entry.drafts, tokens, indexes, strict=True)
        )
        return indexes[-1] if same else AuditUnavailableError(REUSED)


def _same(draft: Draft, tokens: Tokens, data: bytes) -> bool:
    """Whether a leaf of the log is this draft's, but for its place and the nonce of its detail."""
    leaf = parse(data)
    if [[token for token, _, _ in group.subjects] for group in leaf.groups] != [
        list(dict.fromkeys(g)) for g in tokens
    ]:
        return False
    leaf.ts, leaf.skew, leaf.detail = leaf.ts + leaf.skew, 0, ""
    for group in leaf.groups:
        group.subjects = []
    return encode(leaf) == encode(draft.leaf)
