"""Counts distinct clients an actor was shown, in the transaction of the entry that shows them.

Whom a process has seen counted it remembers, so only an actor's first look at a client in an hour or a day
costs a statement.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import bindparam, delete, func, select, text

from privguard.crypto.envelope import joined
from privguard.crypto.keyring import Keyring
from privguard.errors import TooManyDisclosuresError
from privguard.model import SubjectRef
from privguard.ports import Claim
from privguard.store.engine import Store
from privguard.store.tables import client_seen

REMEMBERED: Final = 200_000
"""Clients, of all actors, that a process remembers to be counted."""
SPANS: Final = {"hour": 3_600_000_000, "day": 86_400_000_000}
"""Microseconds; both begin at the full hour or day in UTC."""

Seen = tuple[str, str, str, int, str]
"""Tenant, actor, span, its number since the epoch, and the client's mark."""


class SqlBudgets:
    """``ports.Budgets`` on a database; for any thread."""

    def __init__(self, store: Store, keyring: Keyring) -> None:
        self._store = store
        self._keyring = keyring
        self._keys: dict[str, bytes] = {}
        self._known: set[Seen] = set()

    def new(
        self,
        tenant: str,
        actor: str,
        clients: Iterable[SubjectRef],
        limits: Sequence[tuple[str, int]],
        now_us: int,
    ) -> frozenset[Seen]:
        """See ``ports.Budgets.new``."""
        marks = [self._mark(tenant, client) for client in clients]
        spans = [(span, now_us // SPANS[span]) for span, _ in limits]
        found = {(tenant, actor, span, number, mark) for span, number in spans for mark in marks}
        return frozenset(found - self._known)

    def take(self, seen: frozenset[Seen], limits: Sequence[tuple[str, int]], now_us: int) -> Claim:
        """See ``ports.Budgets.take``."""
        names = ("tenant", "actor", "span", "number", "mark")
        rows = [dict(zip(names, each, strict=True)) for each in sorted(seen)]
        tenant, actor = rows[0]["tenant"], rows[0]["actor"]

        def claim(connection: Any) -> None:
            connection.execute(_ADD, rows)
            for span, most in limits:
                number = now_us // SPANS[span]
                where = {"t": tenant, "a": actor, "s": span, "n": number}
                if connection.execute(_COUNT, where).scalar_one() > most:
                    left = SPANS[span] - now_us % SPANS[span]
                    raise TooManyDisclosuresError(
                        f"{most} clients in one {span} were seen, as many as your role's budget has.",
                        retry_after=1 + left // 1_000_000,
                    )
                connection.execute(_FORGET, where)

        return claim

    def taken(self, seen: frozenset[Seen]) -> None:
        """See ``ports.Budgets.taken``."""
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known |= seen

    def _mark(self, tenant: str, client: SubjectRef) -> str:
        key = self._keys.get(tenant)
        if key is None:
            key = self._keys[tenant] = self._keyring.derive("budget", tenant)
        return hmac.digest(key, joined(client.kind, client.id), "sha256")[:16].hex()


_MINE: Final = (
    client_seen.c.tenant == bindparam("t"),
    client_seen.c.actor == bindparam("a"),
    client_seen.c.span == bindparam("s"),
)
_COUNT: Final = (
    select(func.count()).select_from(client_seen).where(*_MINE, client_seen.c.number == bindparam("n"))
)
_FORGET: Final = delete(client_seen).where(*_MINE, client_seen.c.number < bindparam("n"))
_ADD: Final = text(
    "INSERT INTO client_seen (tenant, actor, span, number, mark)"
    " VALUES (:tenant, :actor, :span, :number, :mark) ON CONFLICT DO NOTHING"
)
