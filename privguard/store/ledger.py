"""Appends batches of entries to the log, each batch in one transaction.

1. take the write lock, begin;
2. read the tree's state, which entries are there already, and keys of clients this process does not remember;
3. make keys for new clients; read where the clients' chains end;
4. pass over entries that are there: their answer was lost, not they;
5. make what each entry claims (a grant's read, a factor's try); who finds it gone has no entry;
   give each leaf its log time and chain, seal its detail, encode and hash it;
6. fold the hashes into the tree's edge, make the tiles that are full;
7. write all rows and the new state;
8. commit. Only what is committed is remembered, and only then are there receipts.

Nothing of the log is kept between batches, so an interrupted one leaves nothing to recover.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Struct
from sqlalchemy import Connection as Transaction

from privguard.audit.merkle import extend, leaf_hash, needed
from privguard.audit.record import Draft, columns, drafts, encode, link, parse, subject_columns
from privguard.crypto.envelope import NONCE_BYTES, seal
from privguard.crypto.keyring import Keyring
from privguard.errors import AuditUnavailableError, PrivguardError
from privguard.model import AccessEvent, AuditReceipt
from privguard.ports import Claim, Entropy
from privguard.store.claims import Single, settled
from privguard.store.dialects import statements_of
from privguard.store.engine import ConflictError, Store
from privguard.store.statements import Rows, State, Statements, driver
from privguard.store.subjects import Client, DataKey, Strangers, SubjectKeys

REUSED: Final = "An event id was used for two different entries: give every entry an id of its own."

Placed = int | PrivguardError
"""Index of an entry's last leaf, or why it is not in the log."""

Keys = list[DataKey | None]
"""Of an entry's clients, in their order."""

Tokens = list[list[str]]
"""Of the clients of each group of a draft."""

_TRIES: Final = 5
"""Of a batch that the database undoes because of another (40001)."""


class _Log(NamedTuple):
    """A transaction as the append needs it: what to say, and to whom."""

    sql: Statements
    connection: Any


class Entry(Struct, gc=False, frozen=True, eq=False):
    """An access with all that can be made of it before its place in the log is known.

    Attributes:
        clients: of every group of every draft, as often as they stand there.
        detail: what is to be sealed, as JSON; empty if there is none.
        claim: see ``ports.AuditLog.submit``.
    """

    event: AccessEvent
    drafts: tuple[Draft, ...]
    clients: list[Client]
    detail: bytes
    claim: Claim | None = None

    def by_group(self, tokens: list[str]) -> list[Tokens]:
        """The clients' tokens, for each draft's groups."""
        if len(self.drafts) == 1 and len(self.drafts[0].subjects) == 1:
            return [[tokens]]
        rest = iter(tokens)
        return [[list(islice(rest, len(group))) for group in draft.subjects] for draft in self.drafts]


def prepare(event: AccessEvent, claim: Claim | None = None) -> Entry:
    """Makes an entry of an access.

    Raises:
        AuditUnavailableError: no leaf can hold it.
    """
    made, tenant = drafts(event), event.tenant
    clients = [(tenant, ref.kind, ref.id) for draft in made for group in draft.subjects for ref in group]
    return Entry(event, made, clients, msgspec.json.encode(event.detail) if event.detail else b"", claim)


class Ledger:
    """The writing side of the log; one batch at a time."""

    def __init__(self, store: Store, keyring: Keyring, entropy: Entropy, origin: str) -> None:
        self._store = store
        self._entropy = entropy
        self._origin = origin
        self._suite = keyring.suite
        self._keys = SubjectKeys(keyring, entropy)
        self._remembered_of = (store.file, 0)

    def append(
        self, entries: Sequence[Entry], change: Callable[[Transaction], None] | None = None
    ) -> list[AuditReceipt | PrivguardError]:
        """Appends entries in the order given, and makes a change with them; durable when this returns.

        Raises:
            Exception: the database's or the operating system's; then all are in the log, or none.
        """
        for _ in range(_TRIES - 1):
            with contextlib.suppress(ConflictError):
                return self._append(entries, change)
        return self._append(entries, change)

    def _append(
        self, entries: Sequence[Entry], change: Callable[[Transaction], None] | None
    ) -> list[AuditReceipt | PrivguardError]:
        with self._store.write() as transaction:
            log = _Log(statements_of(transaction), driver(transaction))
            keys, strangers, state = self._read(log, entries)
            batch = _Batch(log, state, keys, strangers)
            seal_detail = partial(self._seal, self._nonces(entries))
            made = _settled(transaction, batch, entries, keys)
            placed = [
                batch.place(entry, held, seal_detail)
                if entry.claim is None
                else _claimed(transaction, entry.claim, batch, entry, held, seal_detail, made)
                for entry, held in zip(entries, keys, strict=True)
            ]
            size, root = batch.finish()
            if change is not None:
                change(transaction)
        if size > state.tree.size:  # or else the rows of the keys that were made are not written either
            self._keys.remember(strangers.met)
        return [
            AuditReceipt(self._origin, place, size, root) if isinstance(place, int) else place
            for place in placed
        ]

    def _read(self, log: _Log, entries: Sequence[Entry]) -> tuple[list[Keys], Strangers, State]:
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
        state = log.sql.read_state(log.connection, ids, list(strangers.names.values()))
        remembered_of = (self._store.file, state.erasures)
        if remembered_of != self._remembered_of:  # some keys are destroyed (L13), or it is another database
            self._keys.forget()
            self._remembered_of = remembered_of
            return self._read(log, entries)
        self._keys.meet(strangers, state.wrapped, state.kek_floor)
        for entry, held in unmet:
            for place, client in enumerate(entry.clients):
                held[place] = held[place] or strangers.met.get(client)
        return keys, strangers, state

    def _nonces(self, entries: Sequence[Entry]) -> Iterator[bytes]:
        """One for each detail, drawn at once: drawing lets go of the interpreter lock."""
        size = NONCE_BYTES * sum(1 for entry in entries if entry.detail)
        drawn = self._entropy.token(size) if size else b""
        return (drawn[at : at + NONCE_BYTES] for at in range(0, size, NONCE_BYTES))

    def _seal(self, nonces: Iterator[bytes], entry: Entry, held: Sequence[DataKey]) -> bytes:
        key = self._keys.detail_key(entry.event.tenant, [one.key for one in held])
        return seal(key, next(nonces), entry.detail, entry.event.event_id.encode(), suite=self._suite)


def _settled(
    transaction: Transaction, batch: _Batch, entries: Sequence[Entry], keys: Sequence[Keys]
) -> dict[str, PrivguardError | None]:
    """Makes those claims of new entries that take no savepoint: why not, by the entries' ids.

    Entries of one batch were handed in while none of them was durable, so no claim of one rests on another's.
    """
    claims: dict[str, Single] = {}
    for entry, held in zip(entries, keys, strict=True):
        if isinstance(entry.claim, Single) and None not in held and not batch.knows(entry):
            claims.setdefault(entry.event.event_id, entry.claim)
    return settled(transaction, claims) if claims else {}


def _claimed(
    transaction: Transaction,
    claim: Claim,
    batch: _Batch,
    entry: Entry,
    held: Keys,
    seal_detail: Callable[[Entry, Sequence[DataKey]], bytes],
    made: Mapping[str, PrivguardError | None],
) -> Placed:
    """Places an entry with its claim: both, or neither; an entry that is there already has made its claim."""
    if batch.knows(entry) or None in held:
        return batch.place(entry, held, seal_detail)
    if entry.event.event_id in made:
        return made[entry.event.event_id] or batch.place(entry, held, seal_detail)
    connection = driver(transaction)
    connection.execute("SAVEPOINT claim")
    refused: PrivguardError | None = None
    try:
        claim(transaction)
    except PrivguardError as error:
        connection.execute("ROLLBACK TO SAVEPOINT claim")
        refused = error
    connection.execute("RELEASE SAVEPOINT claim")
    return refused or batch.place(entry, held, seal_detail)


class _Batch:
    """The entries of one transaction, as they are given their places."""

    def __init__(self, log: _Log, state: State, keys: Sequence[Keys], strangers: Strangers) -> None:
        self._sql, self._connection = log.sql, log.connection
        self._tree = state.tree
        self._ts = state.ts
        self._broken = strangers.broken
        self._heads = self._sql.read_heads(
            log.connection, [key.token for held in keys for key in held if key is not None]
        )
        self._met = frozenset(self._heads)
        self._there = {(event_id, part): index for event_id, part, index in state.present}
        self._ids = {event_id for event_id, _, _ in state.present}
        self._rows = Rows(fresh=strangers.rows)

    def knows(self, entry: Entry) -> bool:
        """Whether the entry is in the log already, or in this batch."""
        return entry.event.event_id in self._ids

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
        digest = leaf_hash(data)
        rows.events.append((index, *columns(leaf), data, digest))
        rows.hashes.append(digest)
        rows.subjects.extend(subject_columns(leaf, index))
        return index

    def finish(self) -> tuple[int, bytes]:
        """Writes what was placed; size and root of the tree with it."""
        rows, tree = self._rows, self._tree
        if not rows.events:
            return tree.size, tree.root()
        held = {
            span.level: self._sql.read_span(self._connection, span) for span in needed(tree, len(rows.events))
        }
        tree, rows.tiles = extend(tree, rows.hashes, held)
        # Not those of entries that are there already: the database takes no head that stands still.
        for token, head in self._heads.items():
            if head[1] >= self._tree.size:
                (rows.heads if token in self._met else rows.first).append((token, *head))
        root = tree.root()
        self._sql.write(self._connection, rows, tree, root)
        return tree.size, root

    def _find(self, entry: Entry, tokens: Sequence[Tokens]) -> Placed | None:
        """Where the entry is already, in this batch or in the log; None if it is new."""
        if entry.event.event_id not in self._ids:
            return None
        keys = [(entry.event.event_id, draft.leaf.part) for draft in entry.drafts]
        placed = {(row[1], row[2]): row for row in self._rows.events if row[1] == entry.event.event_id}
        there = self._there | {key: row[0] for key, row in placed.items()}
        indexes = [there[key] for key in keys if key in there]
        if not indexes:
            return None
        leaves = self._sql.read_leaves(self._connection, indexes) | {
            row[0]: row[8] for row in placed.values()
        }
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
