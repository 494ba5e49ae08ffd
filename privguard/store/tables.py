"""The tables. Binary columns hold bytes as they are; names and sealed keys are base64url text.

What a column repeats of a leaf is re-derived from the leaf's bytes by the verifier (L01), with
``record.columns`` and ``record.subject_columns``.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    false,
)

metadata: Final = MetaData()

# SQLite numbers rows itself only in a column of type INTEGER, which holds 64 bits there.
_Index = BigInteger().with_variant(Integer(), "sqlite")

event: Final = Table(
    "event",
    metadata,
    Column("idx", _Index, primary_key=True, autoincrement=False),
    Column("event_id", Text, nullable=False),
    Column("part", Integer, nullable=False),
    Column("ts_us", BigInteger, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("leaf_hash", LargeBinary, nullable=False),
    Column("leaf", LargeBinary, nullable=False),
    UniqueConstraint("event_id", "part", name="event_id_part"),
    Index("event_actor", "tenant", "actor", "idx"),
    Index("event_ts", "ts_us", postgresql_using="brin"),
)
"""One row a leaf; ``leaf`` is the exact bytes that were hashed."""

event_subject: Final = Table(
    "event_subject",
    metadata,
    Column("idx", _Index, primary_key=True, autoincrement=False),
    Column("tok", Text, primary_key=True),
    Column("prev", BigInteger, nullable=False),
    Column("view", SmallInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""A client in a leaf: ``prev`` is the index of the client's entry before, ``view`` the strongest seen."""

subject_head: Final = Table(
    "subject_head",
    metadata,
    Column("tok", Text, primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("last_idx", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""Where a client's chain of entries ends: "who saw this client" goes from here through ``prev``."""

subject: Final = Table(
    "subject",
    metadata,
    Column("ref_hmac", Text, primary_key=True),
    Column("tok", Text, nullable=False, unique=True),
    Column("tenant", Text, nullable=False),
    Column("wrapped_dek", Text, nullable=False),
    Column("ref", Text, nullable=False),
    Column("kek_version", Integer, nullable=False),
    Column("hold", Boolean, nullable=False, server_default=false()),
    Column("destroyed_at", BigInteger),
    sqlite_with_rowid=False,
)
"""A client's data key, wrapped; ``ref`` is the client's kind and id, sealed under it."""

secret: Final = Table(
    "secret",
    metadata,
    Column("idx", _Index, primary_key=True, autoincrement=False),
    Column("ct", LargeBinary, nullable=False),
)
"""Sealed detail of a leaf, which holds its hash; may be deleted."""

tile: Final = Table(
    "tile",
    metadata,
    Column("level", SmallInteger, primary_key=True, autoincrement=False),
    Column("n", BigInteger, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
    Column("root", LargeBinary, nullable=False),
)
"""Full tiles (8192 bytes); ``root`` is the tile's entry in the level above."""

tree_state: Final = Table(
    "tree_state",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("size", BigInteger, nullable=False),
    Column("edge", LargeBinary, nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("erasures", BigInteger, nullable=False),
)
"""One row (id 1), and the lock that writers take on PostgreSQL.

``epoch`` counts recoveries; ``erasures`` counts destroyed keys: when it changes, every process forgets the
data keys it remembers.
"""

checkpoint: Final = Table(
    "checkpoint",
    metadata,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("note", Text, nullable=False),
    Column("cosignatures", Text, nullable=False, server_default=""),
    Column("timestamp_token", LargeBinary),
)
"""Signed checkpoints with what witnesses and the timestamp authority added."""

signer_state: Final = Table(
    "signer_state",
    metadata,
    Column("origin", Text, primary_key=True),
    Column("note", Text, nullable=False),
)
"""The last checkpoint each origin signed, compared and swapped before the next is published (L05)."""
