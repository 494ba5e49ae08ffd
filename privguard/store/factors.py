"""Second factors in the store: what may be tried or used once, conditional statements decide (S01, S03).

What these methods give as a ``Claim`` is done in the transaction of the log entry that says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import asdict
from sqlalchemy import delete, insert, select

from privguard.crypto.keyring import Keyring
from privguard.errors import AccessDeniedError, CodeNotSentError
from privguard.ports import Claim, Entropy
from privguard.stepup.assurance import DISABLED_AFTER
from privguard.stepup.factor import Factor, FactorData
from privguard.store.claims import Statement, together
from privguard.store.engine import Store
from privguard.store.sealed import SealedColumn
from privguard.store.tables import factor, recovery_code, sent_code

REMEMBERED: Final = 10_000
"""Actors whose factors a process keeps in memory at most."""
_USED: Final = "That code was used."
_TRY: Final = Statement("""
UPDATE factor SET fails = fails + 1,
  locked_us = CASE WHEN (fails + 1) % :tries = 0 THEN :locked_until ELSE locked_us END
WHERE id = :id AND locked_us <= :now AND fails < :most""")
_PROVED: Final = Statement("UPDATE factor SET fails = 0, locked_us = 0 WHERE id = :id")
_STEP: Final = Statement(
    "UPDATE factor SET last_step = :step, fails = 0, locked_us = 0 WHERE id = :id AND last_step < :step"
)
_OF: Final = Statement("""
SELECT id, tenant, actor, kind, state, data, created_us, last_step, fails FROM factor
WHERE tenant = :tenant AND actor = :actor ORDER BY created_us, id""")
_CONFIRM: Final = Statement("""
UPDATE factor SET state = 'active', data = :data, last_step = :step, fails = 0
WHERE id = :id AND state = 'pending'""")
_USE_CODE: Final = Statement("DELETE FROM recovery_code WHERE factor = :id AND mark = :mark")
_USE_SENT: Final = Statement("DELETE FROM sent_code WHERE factor = :id AND mark = :mark AND until_us > :now")
_SEND: Final = Statement("""
INSERT INTO sent_code (factor, mark, until_us) VALUES (:factor, :mark, :until)
ON CONFLICT (factor) DO UPDATE SET mark = :mark, until_us = :until WHERE sent_code.until_us <= :last""")
_FORGET_SENT: Final = Statement("DELETE FROM sent_code WHERE factor = :id")
PAUSE_US: Final = 60_000_000
"""From one code that nobody used to the next: messages cost money, and wake people."""


class ThrottledError(AccessDeniedError):
    """Too many tries in a row; the caller hears what whoever was wrong hears."""


class ReplayedError(AccessDeniedError):
    """What was presented was accepted before; the caller hears what whoever was wrong hears."""


class Factors:
    """Factors of all actors; safe to share between threads, blocks as the store does."""

    def __init__(self, store: Store, keyring: Keyring, entropy: Entropy) -> None:
        self._store = store
        self._sealed = SealedColumn(keyring, entropy, "factor", "data")
        self._known: dict[tuple[str, str], list[Factor]] = {}

    def remembered(self, tenant: str, actor: str) -> list[Factor]:
        """The actor's factors as this process saw them last, if it did; never blocks.

        They will do to be tried, since a try asks whether the factor is there; reading and unsealing them
        takes longer than all else of a proof.
        """
        return self._known.get((tenant, actor), [])

    def forget(self, tenant: str, actor: str) -> None:
        """Sees to it that they are read again."""
        self._known.pop((tenant, actor), None)

    def of(self, tenant: str, actor: str) -> list[Factor]:
        """All of an actor's factors, oldest first."""
        with self._store.read(once=True) as connection:
            rows = _OF.rows(connection, {"tenant": tenant, "actor": actor})
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        found = self._known[tenant, actor] = [self._read(row) for row in rows]
        return found

    # claims

    def add(self, new: Factor, codes: Sequence[str] = ()) -> Claim:
        """Stores a factor; ``codes`` are the marks of recovery codes."""
        row = {**asdict(new), "data": self._seal(new)}
        marks = [{"factor": new.id, "mark": mark} for mark in codes]

        def claim(connection: Any) -> None:
            connection.execute(insert(factor).values(row))
            if marks:
                connection.execute(insert(recovery_code), marks)

        return claim

    def confirm(self, pending: Factor) -> Claim:
        """Makes a pending factor active, with what was learnt of it; once."""
        values = {"id": pending.id, "data": self._seal(pending), "step": pending.last_step}
        first = _CONFIRM.claim(
            values, ReplayedError, "The factor does not wait to be confirmed: begin again."
        )
        if pending.kind != "code":
            return first
        return together(first, _FORGET_SENT.claim({"id": pending.id}, ReplayedError, _USED))

    def remove(self, ids: Sequence[str]) -> Claim:
        """Forgets factors, with what hangs on them."""

        def claim(connection: Any) -> None:
            for table, column in (
                (factor, factor.c.id),
                (recovery_code, recovery_code.c.factor),
                (sent_code, sent_code.c.factor),
            ):
                connection.execute(delete(table).where(column.in_(ids)))

        return claim

    def attempt(self, one: str, *, tries: int, lock_us: int, now_us: int) -> Claim:
        """Counts a try before it is judged. Raises ThrottledError where there may be none."""
        values = {
            "id": one,
            "tries": tries,
            "locked_until": now_us + lock_us,
            "now": now_us,
            "most": DISABLED_AFTER,
        }
        return _TRY.claim(values, ThrottledError, "Too many tries in a row.")

    def proved(self, one: str, step: int | None = None) -> Claim:
        """The factor was proved: its tries begin anew, and a time step counts once (RFC 6238 §5.2)."""
        if step is None:
            return _PROVED.claim({"id": one}, ReplayedError, "The factor was removed meanwhile.")
        return _STEP.claim({"id": one, "step": step}, ReplayedError, _USED)

    def counted(self, one: str, count: int) -> Claim:
        """A WebAuthn key's counter (§6.1.1): one that never counts stays at 0."""
        return self.proved(one, count or None)

    def use_code(self, one: str, mark: str) -> Claim:
        """Takes a recovery code: of two at once one wins (S06)."""
        taken = _USE_CODE.claim({"id": one, "mark": mark}, ReplayedError, _USED)
        return together(taken, self.proved(one))

    def send(self, one: str, mark: str, until_us: int) -> Claim:
        """The code that counts from now on for this address; the one before does not.

        Raises CodeNotSentError within ``PAUSE_US`` of one that nobody used.
        """
        values = {"factor": one, "mark": mark, "until": until_us, "last": until_us - PAUSE_US}
        return _SEND.claim(values, CodeNotSentError, "A code is on its way: ask for another in a minute.")

    def use_sent(self, one: str, mark: str, now_us: int) -> Claim:
        """Takes a code that was sent."""
        taken = _USE_SENT.claim({"id": one, "mark": mark, "now": now_us}, ReplayedError, _USED)
        return together(taken, self.proved(one))

    # what is there

    def has_code(self, one: str, mark: str) -> bool:
        """Whether a recovery code is left."""
        query = select(recovery_code.c.mark).where(
            recovery_code.c.factor == one, recovery_code.c.mark == mark
        )
        with self._store.read() as connection:
            return connection.execute(query).first() is not None

    def sent(self, one: str, now_us: int) -> str | None:
        """The mark of the code that counts."""
        query = select(sent_code.c.mark).where(sent_code.c.factor == one, sent_code.c.until_us > now_us)
        with self._store.read() as connection:
            return connection.execute(query).scalar_one_or_none()

    def _seal(self, one: Factor) -> str:
        return self._sealed.seal(one.tenant, f"{one.actor} {one.id}", msgspec.json.encode(one.data))

    def _read(self, row: Sequence[Any]) -> Factor:
        one, tenant, actor, kind, state, sealed, created_us, last_step, fails = row
        data = _data.decode(self._sealed.open(tenant, f"{actor} {one}", sealed))
        state = state if fails < DISABLED_AFTER else "disabled"
        return Factor(one, tenant, actor, kind, state, data, created_us, last_step)


_data: Final = msgspec.json.Decoder(FactorData)
