"""The index by actor in blocks of entries: one is written where the last ones were, not at its actor's place.

Each batch changed a page of the index for nearly each of its entries, most of what it wrote at all. Log time
needs no index, since it never goes back; and one trigger looks at an entry where two did.
"""

from __future__ import annotations

from alembic import op

revision = "0022"
down_revision = "0021"

PRESENT = "new.idx < (SELECT size FROM tree_state WHERE id = 1)"
REPEATED = "EXISTS (SELECT 1 FROM event WHERE event_id = new.event_id AND part = new.part)"


def upgrade() -> None:
    op.drop_index("event_actor", "event")
    op.drop_index("event_ts", "event")
    op.execute("CREATE INDEX event_actor ON event ((idx >> 10), tenant, actor)")
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TRIGGER keep_event_insert_0")
        op.execute("DROP TRIGGER keep_event_insert_1")
        op.execute(
            f"CREATE TRIGGER keep_event_insert_0 BEFORE INSERT ON event WHEN {PRESENT} OR {REPEATED} "
            "BEGIN SELECT RAISE(ROLLBACK, 'the log is append-only'); END"
        )
