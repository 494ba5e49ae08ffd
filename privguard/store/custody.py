"""Holds and erasures of clients: each change with its entry in one transaction, so there is none without.

After an erasure nobody can tell whom the client's token names, nor read a detail of an entry that the client
stands in, nor a grant for the client's record or a request for one. The leaves stay, and so every proof holds
(L13).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from sqlalchemy import Connection, delete, select, text, update

from privguard.errors import AuditUnavailableError, NotOnRecordError, OnHoldError, PrivguardError
from privguard.model import AccessEvent, AuditReceipt, SubjectRef
from privguard.store.engine import Store
from privguard.store.grants import Grants
from privguard.store.ledger import Ledger, prepare
from privguard.store.subjects import Client, SubjectKeys
from privguard.store.tables import subject, tree_state

_DETAILS: Final = text("""
DELETE FROM secret WHERE idx IN (
  WITH RECURSIVE chain (idx) AS (
    SELECT last_idx FROM subject_head WHERE tok = :tok
    UNION ALL
    SELECT prev FROM event_subject JOIN chain ON event_subject.idx = chain.idx WHERE tok = :tok AND prev >= 0)
  SELECT idx FROM chain)""")


class Erased(NamedTuple):
    """Where the erasure is on record, and how many sealed details went."""

    receipt: AuditReceipt
    details: int


class Custody:
    """Who keeps or destroys clients' keys; blocks as the store does, for one thread.

    On PostgreSQL its login needs the role ``privguard_keeper``.

    Attributes:
        store: whose transactions these are.
    """

    def __init__(self, store: Store, ledger: Ledger, keys: SubjectKeys, grants: Grants) -> None:
        self.store = store
        self._ledger = ledger
        self._keys = keys
        self._grants = grants

    def hold(self, event: AccessEvent, client: Client, *, on: bool) -> AuditReceipt:
        """Puts a client on hold, or lets go: while on hold, its key and details cannot be erased.

        Raises:
            NotOnRecordError: the log knows no such client.
        """
        change = update(subject).where(subject.c.ref_hmac == self.name(client)).values(hold=on)

        def keep(connection: Connection) -> None:
            connection.execute(change)

        return self.record(event, keep)

    def erase(self, event: AccessEvent, client: Client) -> Erased:
        """Destroys a client's key, the details it opens and the grants that name the client.

        Every process forgets the key before its next entry.

        Raises:
            NotOnRecordError: the log knows no such client.
            OnHoldError: the client is on hold; nothing was done.
            EnvelopeError: a grant was changed: whom it names cannot be told; nothing was done.
        """
        name, details = self.name(client), 0
        forget = self._grants.forget(client[0], SubjectRef(*client[1:]), event.at_us)

        def destroy(connection: Connection) -> None:
            nonlocal details
            token, hold = connection.execute(
                select(subject.c.tok, subject.c.hold).where(subject.c.ref_hmac == name)
            ).one()
            if hold:
                raise OnHoldError(
                    "The client is on hold: release it first (`privguard client hold --release`)."
                )
            connection.execute(delete(subject).where(subject.c.ref_hmac == name))
            details = connection.execute(_DETAILS, {"tok": token}).rowcount
            forget(connection)
            connection.execute(update(tree_state).values(erasures=tree_state.c.erasures + 1))

        return Erased(self.record(event, destroy), details)

    def begin_epoch(self, event: AccessEvent, size: int) -> AuditReceipt:
        """Begins the epoch that an entry announces, in one transaction with it.

        Raises:
            AuditUnavailableError: the log is not of this size any more; nothing was done.
        """

        def begin(connection: Connection) -> None:
            here = tree_state.c.size == size + 1  # with the entry
            begun = update(tree_state).where(here).values(epoch=tree_state.c.epoch + 1)
            if connection.execute(begun).rowcount != 1:
                raise AuditUnavailableError("The log went on meanwhile: stop whoever writes to it.")

        return self.record(event, begin)

    def record(self, event: AccessEvent, change: Callable[[Connection], None] | None = None) -> AuditReceipt:
        """Appends an entry, with a change or without.

        Raises:
            AuditUnavailableError: it is not on record, and nothing was done.
        """
        (answer,) = self._ledger.append([prepare(event)], change)
        if isinstance(answer, PrivguardError):
            raise answer
        return answer

    def name(self, client: Client) -> str:
        """What the key of a client is looked up by. Raises NotOnRecordError."""
        name = self._keys.name(client)
        with self.store.read() as connection:
            if connection.execute(select(subject.c.tok).where(subject.c.ref_hmac == name)).first() is None:
                raise NotOnRecordError("The log knows no such client, or the client was erased.")
        return name
