"""Counts exact look-ups by masked fields in the database: whoever may guess may not guess on and on.

A counter that may deny is SQL's: one conditional UPDATE, so that parallel requests never take more than there
is (M01).
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import text

from privguard.store.engine import Store

HOUR_US: Final = 3_600_000_000

_TAKE: Final = text("""
INSERT INTO lookup (tenant, actor, hour, taken) VALUES (:tenant, :actor, :hour, 1)
ON CONFLICT (tenant, actor, hour) DO UPDATE SET taken = lookup.taken + 1 WHERE lookup.taken < :limit""")
_FORGET: Final = text("DELETE FROM lookup WHERE tenant = :tenant AND actor = :actor AND hour < :hour")


class SqlLookups:
    """``ports.Lookups`` on a database; safe to share between threads. Blocks as the store does."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def take(self, tenant: str, actor: str, limit: int, now_us: int) -> int:
        hour = now_us // HOUR_US
        named = {"tenant": tenant, "actor": actor, "hour": hour}
        with self._store.write() as connection:
            connection.execute(_FORGET, named)
            taken = connection.execute(_TAKE, {**named, "limit": limit}).rowcount
        return 0 if taken else 1 + (HOUR_US - now_us % HOUR_US) // 1_000_000
