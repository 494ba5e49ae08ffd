"""Wrapping keys: which versions are retired, and which the running processes know."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0005"

FUNCTION = """CREATE FUNCTION keep_kek_floor() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
IF new.kek_floor < old.kek_floor THEN
  RAISE EXCEPTION 'the log is append-only' USING ERRCODE = 'integrity_constraint_violation';
END IF; RETURN new; END $$"""
TRIGGER = "CREATE TRIGGER keep_kek_floor BEFORE UPDATE ON tree_state"


def upgrade() -> None:
    op.add_column("tree_state", sa.Column("kek_floor", sa.BigInteger, nullable=False, server_default="0"))
    op.create_table(
        "keyset_seen",
        sa.Column("process", sa.Text, primary_key=True),
        sa.Column("newest", sa.BigInteger, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(FUNCTION)
        op.execute(f"{TRIGGER} FOR EACH ROW EXECUTE FUNCTION keep_kek_floor()")
        op.execute("GRANT UPDATE (kek_floor) ON tree_state TO privguard_keeper")
        op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON keyset_seen TO privguard_service")
        op.execute("GRANT SELECT ON keyset_seen TO privguard_keeper")
    else:
        op.execute(
            f"{TRIGGER} WHEN new.kek_floor < old.kek_floor "
            "BEGIN SELECT RAISE(ROLLBACK, 'the log is append-only'); END"
        )
