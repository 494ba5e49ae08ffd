"""The prune floor in the database: how far it may rise, raising it, and deleting what is below.

The floor rises in one transaction with the leaf that says so; deleting comes after, and is begun again by
whoever was interrupted. On PostgreSQL it needs the role ``privguard_keeper``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, func, not_, or_, select, text, update

from privguard.audit.floor import PRUNED, Sealed, Start, sealed
from privguard.audit.proof import edge_at
from privguard.audit.record import Head, parse
from privguard.audit.stretch import STRETCH
from privguard.errors import AuditUnavailableError, OnHoldError
from privguard.store.engine import Store
from privguard.store.log_reader import Indexed, Span, first_since, of_actors
from privguard.store.tables import event, subject_head, tree_state
from privguard.store.tree_reader import TreeReader

_DISCLOSURES: Final = or_(*[event.c.action.startswith(source) for source in ("gateway:", "library:")])
_ADMINISTRATION: Final = event.c.action.startswith("oversight:")
CATEGORIES: Final[Mapping[str, ColumnElement[bool]]] = {
    "disclosures": _DISCLOSURES,
    "administration": _ADMINISTRATION,
    "other": and_(not_(_DISCLOSURES), not_(_ADMINISTRATION)),
}
"""What retention tells apart, by the action's source."""

# Only the chains of clients on hold are walked: there are few of them.
_HELD: Final = text("""
WITH RECURSIVE chain (tok, idx) AS (
  SELECT subject_head.tok, last_idx FROM subject_head
    JOIN subject ON subject.tok = subject_head.tok WHERE hold
  UNION ALL
  SELECT event_subject.tok, prev FROM event_subject
    JOIN chain ON event_subject.idx = chain.idx AND event_subject.tok = chain.tok WHERE prev >= :floor)
SELECT min(idx) FROM chain WHERE idx >= :floor""")
_TOUCHED: Final = text("SELECT tok, count(*), min(prev) FROM event_subject WHERE idx >= :floor GROUP BY tok")
_SWEEP: Final = [
    text(f"DELETE FROM {table} WHERE idx >= :start AND idx < :stop")  # noqa: S608 - our own names
    for table in ("secret", "event_subject", "event")
]


def floor_of(connection: Connection) -> int:
    """The floor; 0 where nothing was pruned."""
    floor: int = connection.execute(select(tree_state.c.floor)).scalar_one()
    return floor


def said_of(connection: Connection) -> tuple[Indexed, Sealed] | None:
    """The newest leaf that says a floor, and what it says; None if there is none."""
    tenant, actor, action = PRUNED
    own = and_(event.c.tenant == tenant, event.c.actor == actor, event.c.action == action)
    size = connection.execute(select(tree_state.c.size)).scalar_one()
    newest = next(
        of_actors(
            lambda query: connection.execute(query).all(),
            select(event.c.idx, event.c.leaf).where(own),
            Span(0, size),
            newest_first=True,
        ),
        None,
    )
    said = None if newest is None else sealed(parse(newest[1]))
    return None if newest is None or said is None else (newest, said)


def heads_at(connection: Connection, floor: int) -> dict[str, Head]:
    """The heads of all clients with an entry below a floor, as of there."""
    now = connection.execute(select(subject_head.c.tok, subject_head.c.count, subject_head.c.last_idx))
    heads = {token: (count, last) for token, count, last in now}
    for token, count, before in connection.execute(_TOUCHED, {"floor": floor}):
        heads[token] = heads.get(token, (0, 0))[0] - count, before
    return {token: head for token, head in heads.items() if head[1] >= 0}


def start_at(store: Store, floor: int) -> Start:
    """Where a log with this floor begins."""
    with store.read() as connection:
        heads = heads_at(connection, floor)
    return Start(floor, edge_at(floor, TreeReader(store).entries), heads)


class Retention:
    """The floor of a log; blocks as the store does."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def floor(self) -> int:
        """Entries below it are sealed away."""
        with self._store.read() as connection:
            return floor_of(connection)

    def said(self) -> tuple[Indexed, Sealed] | None:
        """The leaf that says the floor, and what it says."""
        with self._store.read() as connection:
            return said_of(connection)

    def due(self, keep_from: Mapping[str, int | None], below: int) -> tuple[int, str]:
        """How far the floor may rise: to a multiple of ``STRETCH``, less than ``below``.

        Args:
            keep_from: by category, the log time (microseconds) from which on entries stay; None: all stay.

        Returns:
            That floor; and what keeps it from rising further: a category, ``hold`` or ``checkpoint``.
        """
        with self._store.read() as connection:
            floor = floor_of(connection)
            limits = {"checkpoint": below - 1}
            for category, since_us in keep_from.items():
                first = _first(connection, CATEGORIES[category], floor, since_us)
                if first is not None:
                    limits[category] = first
            held = connection.execute(_HELD, {"floor": floor}).scalar_one()
            if held is not None:
                limits["hold"] = held
        why = min(limits, key=limits.__getitem__)
        return max(floor, limits[why] - limits[why] % STRETCH), why

    def raise_to(self, floor: int, connection: Connection) -> None:
        """Raises the floor, in the transaction of the leaf that says so.

        Raises:
            OnHoldError: a client below it was put on hold meanwhile.
            AuditUnavailableError: it is not lower now.
        """
        held = connection.execute(_HELD, {"floor": floor_of(connection)}).scalar_one()
        if held is not None and held < floor:
            raise OnHoldError(f"Entry {held} is of a client that was put on hold meanwhile: prune again.")
        raised = update(tree_state).where(tree_state.c.floor < floor).values(floor=floor)
        if connection.execute(raised).rowcount != 1:
            raise AuditUnavailableError("The log was pruned meanwhile: run this again.")

    def sweep(self) -> int:
        """Deletes what stands below the floor, a stretch at a time; how many entries that were."""
        done = 0
        with self._store.read() as connection:
            floor = floor_of(connection)
            first = connection.execute(select(func.min(event.c.idx))).scalar_one()
        for start in range(0 if first is None else first - first % STRETCH, floor, STRETCH):
            span = {"start": start, "stop": min(start + STRETCH, floor)}
            with self._store.write() as connection:
                for delete in _SWEEP:
                    gone = connection.execute(delete, span).rowcount
            done += gone
        return done


def _first(
    connection: Connection, category: ColumnElement[bool], floor: int, since_us: int | None
) -> int | None:
    """Index of the first entry of a category that stays."""
    if since_us is not None:
        found = first_since(connection, since_us, floor)
        if found is None:
            return None
        floor = found
    query = select(event.c.idx).where(event.c.idx >= floor, category).order_by(event.c.idx).limit(1)
    return connection.execute(query).scalar_one_or_none()
