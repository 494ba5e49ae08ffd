"""The database refuses too: what is on record is not changed, and goes only below the prune floor (L01).

Whoever owns the database can drop triggers: the proofs are the defence, this is for slips and stolen queries.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

STATE = "(SELECT {} FROM tree_state WHERE id = 1)"
SIZE, FLOOR = STATE.format("size"), STATE.format("floor")
ALWAYS = "true"
PRESENT = f"new.idx < {SIZE}"
KEPT = f"old.idx >= {FLOOR}"
READABLE = """NOT EXISTS (SELECT 1 FROM event_subject LEFT JOIN subject USING (tok)
  WHERE event_subject.idx = old.idx AND subject.tok IS NULL)"""

# SQLite's INSERT OR REPLACE deletes without asking the triggers for DELETE: those for INSERT see it first.
SQLITE = [
    ("event", "INSERT", PRESENT),
    (
        "event",
        "INSERT",
        "EXISTS (SELECT 1 FROM event WHERE event_id = new.event_id AND part = new.part)",
    ),
    ("event", "UPDATE", ALWAYS),
    ("event", "DELETE", KEPT),
    ("event_subject", "INSERT", PRESENT),
    ("event_subject", "UPDATE", ALWAYS),
    ("event_subject", "DELETE", KEPT),
    ("secret", "INSERT", PRESENT),
    ("secret", "UPDATE", ALWAYS),
    ("secret", "DELETE", f"{KEPT} AND {READABLE}"),
    ("subject_head", "INSERT", f"new.last_idx < {SIZE}"),
    (
        "subject_head",
        "UPDATE",
        "new.tok <> old.tok OR new.count <= old.count OR new.last_idx <= old.last_idx",
    ),
    ("subject_head", "DELETE", ALWAYS),
    ("subject", "INSERT", "EXISTS (SELECT 1 FROM subject WHERE ref_hmac = new.ref_hmac OR tok = new.tok)"),
    ("subject", "UPDATE", "(new.ref_hmac, new.tok, new.tenant) <> (old.ref_hmac, old.tok, old.tenant)"),
    ("subject", "DELETE", "old.hold"),
    ("tile", "INSERT", f"new.n < ({SIZE} >> (8 * (new.level + 1)))"),
    ("tile", "UPDATE", ALWAYS),
    ("tile", "DELETE", ALWAYS),
    ("tree_state", "INSERT", "new.id = 1"),
    (
        "tree_state",
        "UPDATE",
        (
            "new.id <> old.id OR new.size < old.size OR new.epoch < old.epoch"
            " OR new.erasures < old.erasures OR new.floor < old.floor OR new.floor > new.size"
        ),
    ),
    ("tree_state", "DELETE", ALWAYS),
    (
        "checkpoint",
        "INSERT",
        "EXISTS (SELECT 1 FROM checkpoint WHERE size = new.size AND note <> new.note)",
    ),
    ("checkpoint", "UPDATE", "new.size <> old.size OR new.note <> old.note"),
    ("checkpoint", "DELETE", ALWAYS),
]


# PostgreSQL has no REPLACE, and refuses by role what may only be added: no trigger looks at an INSERT there.
POSTGRESQL = [(table, verb, when) for table, verb, when in SQLITE if verb != "INSERT"]
TABLES = sorted({table for table, _, _ in SQLITE})

SERVICE, KEEPER = "privguard_service", "privguard_keeper"
GRANTS = f"""
GRANT SELECT ON ALL TABLES IN SCHEMA public TO {SERVICE}, {KEEPER};
GRANT INSERT ON event, event_subject, secret, subject, subject_head, tile, checkpoint, signer_state, lookup
  TO {SERVICE}, {KEEPER};
GRANT UPDATE (size, edge, root, epoch) ON tree_state TO {SERVICE}, {KEEPER};
GRANT UPDATE (count, last_idx) ON subject_head TO {SERVICE}, {KEEPER};
GRANT UPDATE (cosignatures, timestamp_token) ON checkpoint TO {SERVICE};
GRANT UPDATE (note) ON signer_state TO {SERVICE};
GRANT UPDATE (taken), DELETE ON lookup TO {SERVICE};
GRANT UPDATE (erasures, floor) ON tree_state TO {KEEPER};
GRANT UPDATE (hold, wrapped_dek, kek_version) ON subject TO {KEEPER};
GRANT DELETE ON event, event_subject, secret, subject TO {KEEPER};
"""
"""The service adds; who erases and prunes has a login of another role (L13)."""


def upgrade() -> None:
    op.add_column("tree_state", sa.Column("floor", sa.BigInteger, nullable=False, server_default="0"))
    if op.get_bind().dialect.name == "postgresql":
        _refuse_on_postgresql()
    else:
        for number, (table, verb, when) in enumerate(SQLITE):
            # Where a trigger may undo a statement alone, SQLite copies each page before it changes it: the
            # append's triggers undo all.
            undo = "ROLLBACK" if verb == "INSERT" or table == "subject_head" else "ABORT"
            op.execute(
                f"CREATE TRIGGER keep_{table}_{verb.lower()}_{number} BEFORE {verb} ON {table} WHEN {when} "
                f"BEGIN SELECT RAISE({undo}, 'the log is append-only'); END"
            )


def _refuse_on_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION keep_all() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " RAISE EXCEPTION 'the log is append-only' USING ERRCODE = 'integrity_constraint_violation'; END $$"
    )
    for table in TABLES:
        op.execute(f"CREATE TRIGGER keep_{table} BEFORE TRUNCATE ON {table} EXECUTE FUNCTION keep_all()")
    for table, verb, when in POSTGRESQL:
        name, row = f"keep_{table}_{verb.lower()}", "new" if verb == "UPDATE" else "old"
        op.execute(
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF {when} THEN"
            " RAISE EXCEPTION 'the log is append-only' USING ERRCODE = 'integrity_constraint_violation';"
            f" END IF; RETURN {row}; END $$"
        )
        op.execute(f"CREATE TRIGGER {name} BEFORE {verb} ON {table} FOR EACH ROW EXECUTE FUNCTION {name}()")
    for role in (SERVICE, KEEPER):
        # Roles belong to the server, not to the database: another database's upgrade may have made them.
        op.execute(
            "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = "
            f"'{role}') THEN CREATE ROLE {role} NOLOGIN; END IF; END $$"
        )
    for grant in GRANTS.strip().split(";"):
        if grant.strip():
            op.execute(grant)
