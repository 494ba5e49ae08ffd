"""The log: events, their clients and their keys, the tree."""

from __future__ import annotations

import hashlib

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

Index = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "event",
        sa.Column("idx", Index, primary_key=True, autoincrement=False),
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("part", sa.Integer, nullable=False),
        sa.Column("ts_us", sa.BigInteger, nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("leaf_hash", sa.LargeBinary, nullable=False),
        sa.Column("leaf", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("event_id", "part", name="event_id_part"),
    )
    op.create_index("event_actor", "event", ["tenant", "actor", "idx"])
    op.create_index("event_ts", "event", ["ts_us"], postgresql_using="brin")
    op.create_table(
        "event_subject",
        sa.Column("idx", Index, primary_key=True, autoincrement=False),
        sa.Column("tok", sa.Text, primary_key=True),
        sa.Column("prev", sa.BigInteger, nullable=False),
        sa.Column("view", sa.SmallInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "subject_head",
        sa.Column("tok", sa.Text, primary_key=True),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Column("last_idx", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "subject",
        sa.Column("ref_hmac", sa.Text, primary_key=True),
        sa.Column("tok", sa.Text, nullable=False, unique=True),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("wrapped_dek", sa.Text, nullable=False),
        sa.Column("ref", sa.Text, nullable=False),
        sa.Column("kek_version", sa.Integer, nullable=False),
        sa.Column("hold", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("destroyed_at", sa.BigInteger),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "secret",
        sa.Column("idx", Index, primary_key=True, autoincrement=False),
        sa.Column("ct", sa.LargeBinary, nullable=False),
    )
    _create_tree()


def _create_tree() -> None:
    op.create_table(
        "tile",
        sa.Column("level", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("n", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.Column("root", sa.LargeBinary, nullable=False),
    )
    state = op.create_table(
        "tree_state",
        sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("edge", sa.LargeBinary, nullable=False),
        sa.Column("root", sa.LargeBinary, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("erasures", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "checkpoint",
        sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("cosignatures", sa.Text, nullable=False, server_default=""),
        sa.Column("timestamp_token", sa.LargeBinary),
    )
    op.create_table(
        "signer_state",
        sa.Column("origin", sa.Text, primary_key=True),
        sa.Column("note", sa.Text, nullable=False),
    )
    empty = hashlib.sha256(b"").digest()
    op.bulk_insert(state, [{"id": 1, "size": 0, "edge": b"", "root": empty, "epoch": 0, "erasures": 0}])
