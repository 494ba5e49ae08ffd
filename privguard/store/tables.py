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
    text,
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
    Column("floor", BigInteger, nullable=False, server_default="0"),
    Column("kek_floor", BigInteger, nullable=False, server_default="0"),
)
"""One row (id 1), and the lock that writers take on PostgreSQL.

``epoch`` counts recoveries; ``erasures`` counts destroyed keys: when it changes, every process forgets the
data keys it remembers. Entries below ``floor`` may be pruned (C2SP tlog-tiles, minimum index). Nobody wraps
by versions of the wrapping key below ``kek_floor``: they are retired.
"""

checkpoint: Final = Table(
    "checkpoint",
    metadata,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("note", Text, nullable=False),
    Column("cosignatures", Text, nullable=False, server_default=""),
    Column("timestamp_token", LargeBinary),
    Column("quorate", Boolean, nullable=False, server_default=false()),
    Index(
        "checkpoint_stamped",
        "size",
        sqlite_where=text("timestamp_token IS NOT NULL"),
        postgresql_where=text("timestamp_token IS NOT NULL"),
    ),
)
"""Signed checkpoints with what witnesses and the timestamp authority added.

``quorate``: as many witnesses cosigned it as must have before it is shown. What was signed last stands in a
file apart from the database (``signer_state``): a restored database must not restore that too (L06).
"""

map_page: Final = Table(
    "map_page",
    metadata,
    Column("prefix", Text, primary_key=True),
    Column("data", LargeBinary, nullable=False),
)
"""Pages of the map from clients to their heads (``audit.verifiable_map``): 64 hashes under a prefix."""

keyset_seen: Final = Table(
    "keyset_seen",
    metadata,
    Column("process", Text, primary_key=True),
    Column("newest", BigInteger, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""The newest version of the wrapping key that each running gateway process knows, and when it said so."""

staff: Final = Table(
    "staff",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("record", Text, nullable=False),
    sqlite_with_rowid=False,
)
"""The staff directory; ``record`` (``identity.directory.Staff``) is sealed, for it names clients."""

lookup: Final = Table(
    "lookup",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("actor", Text, primary_key=True),
    Column("hour", BigInteger, primary_key=True, autoincrement=False),
    Column("taken", Integer, nullable=False),
    sqlite_with_rowid=False,
)
"""How many exact look-ups by masked fields an actor made in an hour since the epoch (M01)."""

factor: Final = Table(
    "factor",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("data", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("fails", Integer, nullable=False, server_default="0"),
    Column("locked_us", BigInteger, nullable=False, server_default="0"),
    Column("last_step", BigInteger, nullable=False, server_default="-1"),
    Index("factor_actor", "tenant", "actor"),
    sqlite_with_rowid=False,
)
"""A second factor. ``data`` (``stepup.factor``) is sealed; ``state`` is pending or active.

``fails``: tries since it was last proved, each counted before it is judged; none may be before ``locked_us``.
``last_step``: the last time step of a TOTP, or the counter of a WebAuthn key, that was accepted.
"""

recovery_code: Final = Table(
    "recovery_code",
    metadata,
    Column("factor", Text, primary_key=True),
    Column("mark", Text, primary_key=True),
    sqlite_with_rowid=False,
)
"""Recovery codes that are left, one row each, as a keyed hash; one that was used is gone."""

sent_code: Final = Table(
    "sent_code",
    metadata,
    Column("factor", Text, primary_key=True),
    Column("mark", Text, nullable=False),
    Column("until_us", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""The code that was sent last to each address, as a keyed hash over it and the challenge it is for."""

spent_challenge: Final = Table(
    "spent_challenge",
    metadata,
    Column("nonce", Text, primary_key=True),
    Column("until_us", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""Challenges that were met: none is met twice."""

access_grant: Final = Table(
    "access_grant",
    metadata,
    Column("mark", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("tenant", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("session", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("reads_left", Integer, nullable=False),
    Column("ttl", Integer, nullable=False),
    Column("issued_us", BigInteger, nullable=False),
    Column("until_us", BigInteger, nullable=False),
    Column("approvers", Text, nullable=False, server_default=""),
    Column("approver", Text),
    Column("refused", Boolean, nullable=False, server_default=false()),
    Column("revoked_us", BigInteger),
    Index("access_grant_actor", "tenant", "actor"),
    sqlite_with_rowid=False,
)
"""Grants. ``mark`` is the hash of the secret its holder has; ``scope`` (``stepup.grant.Scope``) is sealed.

``approvers``: roles whoever approves must have, with a space between; until then ``until_us`` is how long
somebody may take to.
"""

grant_quota: Final = Table(
    "grant_quota",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("actor", Text, primary_key=True),
    Column("rule", Text, primary_key=True),
    Column("slot", BigInteger, primary_key=True, autoincrement=False),
    Column("taken", Integer, nullable=False),
    sqlite_with_rowid=False,
)
"""How many grants an actor had under a rule in a span of time since the epoch."""

review: Final = Table(
    "review",
    metadata,
    Column("name", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("due_us", BigInteger, nullable=False),
    Column("done_us", BigInteger),
    sqlite_with_rowid=False,
)
"""Grants of those who broke the glass, each to be looked at afterwards."""

client_seen: Final = Table(
    "client_seen",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("actor", Text, primary_key=True),
    Column("span", Text, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("mark", Text, primary_key=True),
    sqlite_with_rowid=False,
)
"""Which clients an actor was shown in the present hour and day: ``mark`` is a keyed hash of the client."""
