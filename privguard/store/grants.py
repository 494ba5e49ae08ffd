"""Grants in the store: what is spent, decided or revoked is so for every worker at once (S08)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Final

import msgspec
from msgspec import Struct
from sqlalchemy import bindparam, delete, insert, select, update

from privguard.crypto.envelope import EnvelopeError
from privguard.crypto.keyring import Keyring
from privguard.errors import (
    SPENT,
    AccessDeniedError,
    GrantSpentError,
    TooManyDisclosuresError,
    UnauthenticatedError,
)
from privguard.model import Once, SubjectRef
from privguard.ports import Claim, Entropy
from privguard.stepup.grant import Grant, Scope, canonical, mark_of
from privguard.store.claims import Statement, together
from privguard.store.engine import Store
from privguard.store.sealed import SealedColumn
from privguard.store.tables import access_grant, grant_quota, review, spent_challenge

REMEMBERED: Final = 10_000
"""Scopes a process keeps: they never change, and whether a grant holds is asked when it is spent."""
SWEPT_US: Final = 60_000_000
"""How often what was used once, and is too old to be used again, is forgotten."""
KEPT_US: Final = 30 * 86_400_000_000
"""How long a grant that is over stays to be looked at."""
_PAGE: Final = 1_000
_HOUR_US: Final = 3_600_000_000

_SPEND: Final = Statement("""
UPDATE access_grant SET reads_left = reads_left - 1
WHERE mark = :mark AND reads_left > 0 AND revoked_us IS NULL AND until_us > :now
  AND (approvers = '' OR approver IS NOT NULL)""")
_APPROVE: Final = Statement("""
UPDATE access_grant SET approver = :approver, until_us = :now + ttl * 1000000
WHERE name = :name AND tenant = :tenant AND approvers <> '' AND approver IS NULL AND NOT refused
  AND revoked_us IS NULL AND until_us > :now AND actor <> :approver AND session <> :session""")
_REFUSE: Final = Statement("""
UPDATE access_grant SET refused = true, revoked_us = :now
WHERE name = :name AND tenant = :tenant AND approvers <> '' AND approver IS NULL AND NOT refused
  AND revoked_us IS NULL AND until_us > :now""")
_QUOTA: Final = Statement("""
INSERT INTO grant_quota (tenant, actor, rule, slot, taken) VALUES (:tenant, :actor, :rule, :slot, 1)
ON CONFLICT (tenant, actor, rule, slot) DO UPDATE SET taken = grant_quota.taken + 1
WHERE grant_quota.taken < :most""")
_MEET: Final = Statement(
    "INSERT INTO spent_challenge (nonce, until_us) VALUES (:nonce, :until) ON CONFLICT (nonce) DO NOTHING"
)
_REVIEWED: Final = Statement("UPDATE review SET done_us = :now WHERE name = :name AND done_us IS NULL")
_DECIDED: Final = "It is decided already, over, or yours: somebody else has to decide."
_FIND: Final = select(access_grant).where(access_grant.c.mark == bindparam("m"))


class Standing(Struct, frozen=True):
    """A grant as it stands.

    Attributes:
        approvers: roles whoever approves must have; empty: nobody has to.
        until_us: when it is over, or when it is too late to approve.
    """

    name: str
    scope: Scope
    reads_left: int
    issued_us: int
    until_us: int
    approvers: frozenset[str]
    approver: str | None
    refused: bool
    revoked: bool

    def state(self, now_us: int) -> str:
        """``pending | active | refused | revoked | spent | over``."""
        if self.refused:
            return "refused"
        if self.revoked:
            return "revoked"
        if self.until_us <= now_us:
            return "over"
        if self.approvers and self.approver is None:
            return "pending"
        return "active" if self.reads_left > 0 else "spent"


class Grants:
    """``ports.Grants``, and all else that is done with grants; for any thread, blocks as the store does."""

    def __init__(self, store: Store, keyring: Keyring, entropy: Entropy) -> None:
        self._store = store
        self._sealed = SealedColumn(keyring, entropy, "access_grant", "scope")
        self._known: dict[str, Grant] = {}
        self._swept_us = 0

    def known(self, secret: str) -> Grant | None:
        """See ``ports.Grants.known``."""
        return self._known.get(mark_of(secret))

    def find(self, secret: str, now_us: int) -> Grant | None:
        """See ``ports.Grants.find``."""
        mark = mark_of(secret)
        with self._store.read() as connection:
            row = connection.execute(_FIND, {"m": mark}).first()
        if row is None or self._standing(row).state(now_us) != "active":
            return None
        found = Grant(mark, row.name, self._scope(row))
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[mark] = found
        return found

    def spend(self, grant: Grant, now_us: int) -> Claim:
        """See ``ports.Grants.spend``."""
        return _SPEND.claim({"mark": grant.mark, "now": now_us}, GrantSpentError, SPENT)

    def take_once(self, once: Once, now_us: int) -> Claim:
        """See ``ports.Grants.take_once``."""
        take = _MEET.claim(
            {"nonce": once.name, "until": once.until_us},
            UnauthenticatedError,
            "What proves who asks was used before, and holds once.",
        )
        if now_us < self._swept_us + SWEPT_US:
            return take
        self._swept_us = now_us

        def sweep(connection: Any) -> None:
            connection.execute(delete(spent_challenge).where(spent_challenge.c.until_us < now_us))

        return together(sweep, take)

    # issuing

    def issue(
        self,
        grant: Grant,
        *,
        nonce: str,
        nonce_until_us: int,
        reads: int,
        ttl: int,
        until_us: int,
        approvers: Collection[str],
        now_us: int,
    ) -> Claim:
        """Meets a challenge, once, and issues a grant for it."""
        scope = grant.scope
        row = {
            "mark": grant.mark,
            "name": grant.name,
            "tenant": scope.tenant,
            "actor": scope.actor,
            "session": scope.session,
            "scope": self._sealed.seal(scope.tenant, grant.name, canonical(scope)),
            "reads_left": reads,
            "ttl": ttl,
            "issued_us": now_us,
            "until_us": until_us,
            "approvers": " ".join(sorted(approvers)),
        }

        def claim(connection: Any) -> None:
            connection.execute(delete(spent_challenge).where(spent_challenge.c.until_us < now_us))
            connection.execute(delete(access_grant).where(access_grant.c.until_us < now_us - KEPT_US))
            if not _MEET.changes(connection, {"nonce": nonce, "until": nonce_until_us}):
                raise AccessDeniedError("The challenge was met already: ask for the record again.")  # S09
            connection.execute(insert(access_grant).values(row))

        return claim

    def take_quota(self, scope: Scope, rule: str, most: int, seconds: int, now_us: int) -> Claim:
        """One of the grants an actor may have in a span of time, or TooManyDisclosuresError."""
        span = seconds * 1_000_000
        values = {
            "tenant": scope.tenant,
            "actor": scope.actor,
            "rule": rule,
            "slot": now_us // span,
            "most": most,
        }

        def claim(connection: Any) -> None:
            old = grant_quota.c.slot < now_us // span
            mine = (grant_quota.c.tenant == scope.tenant, grant_quota.c.actor == scope.actor)
            connection.execute(delete(grant_quota).where(*mine, grant_quota.c.rule == rule, old))
            if not _QUOTA.changes(connection, values):
                raise TooManyDisclosuresError(
                    f"The {most} grants of rule {rule} are spent.",
                    retry_after=1 + (span - now_us % span) // 1_000_000,
                )

        return claim

    def review_due(self, grant: Grant, due_us: int) -> Claim:
        """Somebody has to look at this grant afterwards."""
        scope = grant.scope
        row = {"name": grant.name, "tenant": scope.tenant, "actor": scope.actor, "due_us": due_us}

        def claim(connection: Any) -> None:
            connection.execute(insert(review).values(row))

        return claim

    # deciding and revoking

    def approve(self, name: str, tenant: str, approver: str, session: str, now_us: int) -> Claim:
        """Approves a grant that waits: by somebody else, in another session, once (S09)."""
        values = {"name": name, "tenant": tenant, "approver": approver, "session": session, "now": now_us}
        return _APPROVE.claim(values, AccessDeniedError, _DECIDED)

    def refuse(self, name: str, tenant: str, now_us: int) -> Claim:
        """Refuses a grant that waits."""
        return _REFUSE.claim({"name": name, "tenant": tenant, "now": now_us}, AccessDeniedError, _DECIDED)

    def revoke(self, tenant: str, actor: str, now_us: int, name: str | None = None) -> Claim:
        """Revokes one grant of an actor, or all: in force everywhere with the entry."""
        change = update(access_grant).where(
            access_grant.c.tenant == tenant,
            access_grant.c.actor == actor,
            access_grant.c.revoked_us.is_(None),
        )
        if name is not None:
            change = change.where(access_grant.c.name == name)

        def claim(connection: Any) -> None:
            connection.execute(change.values(revoked_us=now_us))

        return claim

    def reviewed(self, name: str, now_us: int) -> Claim:
        """The review was done, once."""
        return _REVIEWED.claim(
            {"name": name, "now": now_us}, AccessDeniedError, "It was reviewed, or is none."
        )

    def forget(self, tenant: str, client: SubjectRef, now_us: int) -> Claim:
        """Deletes what was asked for or granted for a client's record, whatever became of it (L13).

        It looks through all grants at once, for scopes are sealed; through the last hour's again as the claim
        is made, under the log's lock: what is issued meanwhile is one of them, be a worker's clock off.

        Raises:
            EnvelopeError: a row was changed, so whom it names cannot be told. The claim, too.
        """
        c = access_grant.c
        query = select(c.mark, c.name, c.tenant, c.scope).where(c.tenant == tenant).order_by(c.mark)
        marks, last = [], ""
        with self._store.read() as connection:
            while rows := connection.execute(query.where(c.mark > last).limit(_PAGE)).all():
                marks += self._naming(client, rows)
                last = rows[-1].mark

        def claim(connection: Any) -> None:
            late = connection.execute(query.where(c.issued_us > now_us - _HOUR_US))
            found = {*marks, *self._naming(client, late)}
            connection.execute(delete(access_grant).where(c.mark.in_(found)))

        return claim

    # what is there

    def standing(self, name: str, tenant: str) -> Standing | None:
        """A grant by its name."""
        query = select(access_grant).where(access_grant.c.name == name, access_grant.c.tenant == tenant)
        with self._store.read() as connection:
            row = connection.execute(query).first()
        return None if row is None else self._standing(row)

    def waiting(self, tenant: str, now_us: int) -> list[Standing]:
        """Grants that wait to be approved, oldest first."""
        query = select(access_grant).where(
            access_grant.c.tenant == tenant,
            access_grant.c.approvers != "",
            access_grant.c.approver.is_(None),
            access_grant.c.revoked_us.is_(None),
            access_grant.c.until_us > now_us,
        )
        with self._store.read() as connection:
            return [
                self._standing(row) for row in connection.execute(query.order_by(access_grant.c.issued_us))
            ]

    def due(self) -> list[tuple[str, str, int]]:
        """Reviews that are not done: the grant's name, its actor, when it is due."""
        query = select(review).where(review.c.done_us.is_(None)).order_by(review.c.due_us)
        with self._store.read() as connection:
            return [(row.name, row.actor, row.due_us) for row in connection.execute(query)]

    def _standing(self, row: Any) -> Standing:
        return Standing(
            name=row.name,
            scope=self._scope(row),
            reads_left=row.reads_left,
            issued_us=row.issued_us,
            until_us=row.until_us,
            approvers=frozenset(row.approvers.split()),
            approver=row.approver,
            refused=row.refused,
            revoked=row.revoked_us is not None,
        )

    def _naming(self, client: SubjectRef, rows: Iterable[Any]) -> list[str]:
        """Marks of the grants that name a client."""
        return [row.mark for row in rows if client in self._told(row).clients]

    def _told(self, row: Any) -> Scope:
        try:
            return self._scope(row)
        except EnvelopeError:
            raise EnvelopeError(
                f"The grant {row.name} was changed, or moved from another row: keep a copy of its row of "
                "access_grant as evidence, DELETE it, and try again."
            ) from None

    def _scope(self, row: Any) -> Scope:
        text_ = self._sealed.open(row.tenant, row.name, row.scope)
        return msgspec.json.decode(text_, type=Scope)
