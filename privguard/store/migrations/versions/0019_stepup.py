"""Factors, grants, and what is counted of them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0016"


def upgrade() -> None:
    text, big, number = sa.Text, sa.BigInteger, sa.Integer
    tables: dict[str, list[sa.Column[Any]]] = {
        "factor": [
            sa.Column("id", text, primary_key=True),
            *_required(text, "tenant", "actor", "kind", "state", "data"),
            *_required(big, "created_us"),
            sa.Column("fails", number, nullable=False, server_default="0"),
            sa.Column("locked_us", big, nullable=False, server_default="0"),
            sa.Column("last_step", big, nullable=False, server_default="-1"),
        ],
        "recovery_code": _keys(text, "factor", "mark"),
        "sent_code": [*_keys(text, "factor"), *_required(text, "mark"), *_required(big, "until_us")],
        "spent_challenge": [*_keys(text, "nonce"), *_required(big, "until_us")],
        "access_grant": [
            *_keys(text, "mark"),
            sa.Column("name", text, nullable=False, unique=True),
            *_required(text, "tenant", "actor", "session", "scope"),
            *_required(number, "reads_left", "ttl"),
            *_required(big, "issued_us", "until_us"),
            sa.Column("approvers", text, nullable=False, server_default=""),
            sa.Column("approver", text),
            sa.Column("refused", sa.Boolean, nullable=False, server_default=sa.false()),
            sa.Column("revoked_us", big),
        ],
        "grant_quota": [
            *_keys(text, "tenant", "actor", "rule"),
            sa.Column("slot", big, primary_key=True, autoincrement=False),
            *_required(number, "taken"),
        ],
        "review": [
            *_keys(text, "name"),
            *_required(text, "tenant", "actor"),
            *_required(big, "due_us"),
            sa.Column("done_us", big),
        ],
    }
    for name, columns in tables.items():
        op.create_table(name, *columns, sqlite_with_rowid=False)
    op.create_index("factor_actor", "factor", ["tenant", "actor"])
    op.create_index("access_grant_actor", "access_grant", ["tenant", "actor"])
    if op.get_bind().dialect.name == "postgresql":
        for name in tables:
            op.execute(
                f"GRANT SELECT, INSERT, UPDATE, DELETE ON {name} TO privguard_service, privguard_keeper"
            )


def _keys(kind: Any, *names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind, primary_key=True) for name in names]


def _required(kind: Any, *names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind, nullable=False) for name in names]
