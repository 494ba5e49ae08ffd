"""The tables. Binary columns hold bytes as they are; names and sealed keys are base64url text.

What a column repeats of a leaf is re-derived from the leaf's bytes by the verifier (L01), with
``record.columns`` and ``record.subject_columns``.
"""

from __future__ import annotations

from typing import Any, Final

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
    literal_column,
    text,
)
from sqlalchemy.schema import SchemaItem
from sqlalchemy.types import TypeEngine

metadata: Final = MetaData()

# SQLite numbers rows itself only in a column of type INTEGER, which holds 64 bits there.
_Index = BigInteger().with_variant(Integer(), "sqlite")


def _each(kind: type[TypeEngine[Any]], *names: str) -> list[Column[Any]]:
    """Columns of one type, none of which may be null."""
    return [Column(name, kind, nullable=False) for name in names]


def _keys(kind: type[TypeEngine[Any]], *names: str) -> list[Column[Any]]:
    """The same of a primary key."""
    return [Column(name, kind, primary_key=True, autoincrement=False) for name in names]


def _named(name: str, *parts: SchemaItem) -> Table:
    """A table whose rows are found by a text: SQLite needs no number of its own for them."""
    return Table(name, metadata, *parts, sqlite_with_rowid=False)


event: Final = Table(
    "event",
    metadata,
    Column("idx", _Index, primary_key=True, autoincrement=False),
    Column("event_id", Text, nullable=False),
    Column("part", Integer, nullable=False),
    Column("ts_us", BigInteger, nullable=False),
    *_each(Text, "tenant", "actor", "action", "outcome"),
    *_each(LargeBinary, "leaf_hash", "leaf"),
    UniqueConstraint("event_id", "part", name="event_id_part"),
)
"""One row a leaf; ``leaf`` is the exact bytes that were hashed."""

BLOCK_EVENTS: Final = 1024
BLOCK: Final = event.c.idx.bitwise_rshift(literal_column(str(BLOCK_EVENTS.bit_length() - 1)))
"""The number of an entry's block: ``log_reader.of_actors`` goes through them."""
Index("event_actor", BLOCK, event.c.tenant, event.c.actor)

event_subject: Final = _named(
    "event_subject",
    Column("idx", _Index, primary_key=True, autoincrement=False),
    Column("tok", Text, primary_key=True),
    Column("prev", BigInteger, nullable=False),
    Column("view", SmallInteger, nullable=False),
)
"""A client in a leaf: ``prev`` is the index of the client's entry before, ``view`` the strongest seen."""

subject_head: Final = _named(
    "subject_head",
    Column("tok", Text, primary_key=True),
    *_each(BigInteger, "count", "last_idx"),
)
"""Where a client's chain of entries ends: "who saw this client" goes from here through ``prev``."""

subject: Final = _named(
    "subject",
    Column("ref_hmac", Text, primary_key=True),
    Column("tok", Text, nullable=False, unique=True),
    *_each(Text, "tenant", "wrapped_dek", "ref"),
    Column("kek_version", Integer, nullable=False),
    Column("hold", Boolean, nullable=False, server_default=false()),
    Column("destroyed_at", BigInteger),
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
    *_each(LargeBinary, "data", "root"),
)
"""Full tiles (8192 bytes); ``root`` is the tile's entry in the level above."""

tree_state: Final = Table(
    "tree_state",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("size", BigInteger, nullable=False),
    *_each(LargeBinary, "edge", "root"),
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

keyset_seen: Final = _named(
    "keyset_seen",
    Column("process", Text, primary_key=True),
    *_each(BigInteger, "newest", "at_us"),
)
"""The newest version of the wrapping key that each running gateway process knows, and when it said so."""

staff: Final = _named(
    "staff",
    *_keys(Text, "tenant", "id"),
    Column("version", BigInteger, nullable=False),
    Column("record", Text, nullable=False),
)
"""The staff directory; ``record`` (``identity.directory.Staff``) is sealed, for it names clients."""

lookup: Final = _named(
    "lookup",
    *_keys(Text, "tenant", "actor"),
    Column("hour", BigInteger, primary_key=True, autoincrement=False),
    Column("taken", Integer, nullable=False),
)
"""How many exact look-ups by masked fields an actor made in an hour since the epoch (M01)."""

factor: Final = _named(
    "factor",
    Column("id", Text, primary_key=True),
    *_each(Text, "tenant", "actor", "kind", "state", "data"),
    Column("created_us", BigInteger, nullable=False),
    Column("fails", Integer, nullable=False, server_default="0"),
    Column("locked_us", BigInteger, nullable=False, server_default="0"),
    Column("last_step", BigInteger, nullable=False, server_default="-1"),
    Index("factor_actor", "tenant", "actor"),
)
"""A second factor. ``data`` (``stepup.factor``) is sealed; ``state`` is pending or active.

``fails``: tries since it was last proved, each counted before it is judged; none may be before ``locked_us``.
``last_step``: the last time step of a TOTP, or the counter of a WebAuthn key, that was accepted.
"""

recovery_code: Final = _named(
    "recovery_code",
    *_keys(Text, "factor", "mark"),
)
"""Recovery codes that are left, one row each, as a keyed hash; one that was used is gone."""

sent_code: Final = _named(
    "sent_code",
    Column("factor", Text, primary_key=True),
    Column("mark", Text, nullable=False),
    Column("until_us", BigInteger, nullable=False),
)
"""The code that was sent last to each address, as a keyed hash over it and the challenge it is for."""

spent_challenge: Final = _named(
    "spent_challenge",
    Column("nonce", Text, primary_key=True),
    Column("until_us", BigInteger, nullable=False),
)
"""Challenges that were met: none is met twice."""

access_grant: Final = _named(
    "access_grant",
    Column("mark", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    *_each(Text, "tenant", "actor", "session", "scope"),
    *_each(Integer, "reads_left", "ttl"),
    *_each(BigInteger, "issued_us", "until_us"),
    Column("approvers", Text, nullable=False, server_default=""),
    Column("approver", Text),
    Column("refused", Boolean, nullable=False, server_default=false()),
    Column("revoked_us", BigInteger),
    Index("access_grant_actor", "tenant", "actor"),
)
"""Grants. ``mark`` is the hash of the secret its holder has; ``scope`` (``stepup.grant.Scope``) is sealed.

``approvers``: roles whoever approves must have, with a space between; until then ``until_us`` is how long
somebody may take to.
"""

grant_quota: Final = _named(
    "grant_quota",
    *_keys(Text, "tenant", "actor", "rule"),
    Column("slot", BigInteger, primary_key=True, autoincrement=False),
    Column("taken", Integer, nullable=False),
)
"""How many grants an actor had under a rule in a span of time since the epoch."""

review: Final = _named(
    "review",
    Column("name", Text, primary_key=True),
    *_each(Text, "tenant", "actor"),
    Column("due_us", BigInteger, nullable=False),
    Column("done_us", BigInteger),
)
"""Grants of those who broke the glass, each to be looked at afterwards."""

client_seen: Final = _named(
    "client_seen",
    *_keys(Text, "tenant", "actor", "span"),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("mark", Text, primary_key=True),
)
"""Which clients an actor was shown in the present hour and day: ``mark`` is a keyed hash of the client."""
