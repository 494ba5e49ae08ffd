"""Reads the tree: its head, the entries of its tiles, and the checkpoints that were published of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct
from sqlalchemy import select, text

from privguard.audit.merkle import HASH_BYTES, TILE_WIDTH
from privguard.errors import StoreUnavailableError
from privguard.store.engine import Store
from privguard.store.statements import driver
from privguard.store.tables import checkpoint, tree_state

KEPT = 1024
"""Tiles that are kept; 8 MB."""


class Published(Struct, frozen=True):
    """A checkpoint as it was published: a signed note, with the cosignatures that came by now."""

    size: int
    note: bytes


class TreeReader:
    """The tree of a log; safe to share between threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tiles: dict[tuple[int, int], bytes] = {}

    def head(self) -> tuple[int, bytes]:
        """Size and root (32 bytes)."""
        with self._store.read() as connection:
            size, root = connection.execute(select(tree_state.c.size, tree_state.c.root)).one()
        return size, root

    def epoch(self) -> int:
        """Which epoch the log is in: how often it was recovered."""
        with self._store.read() as connection:
            epoch: int = connection.execute(select(tree_state.c.epoch)).scalar_one()
        return epoch

    def entries(self, level: int, start: int, stop: int) -> Sequence[bytes]:
        """Hashes of entries of a tile level, all of one tile (``proof.Entries``).

        Tiles never change, so those that were read are kept; proofs made of them lead to a root that is not.

        Raises:
            StoreUnavailableError: one of them is missing.
        """
        number, first = divmod(start, TILE_WIDTH)
        held = self._tiles.get((level, number), b"")
        needed = (stop - number * TILE_WIDTH) * HASH_BYTES
        if len(held) < needed:
            held = self._read(level, number)
            if len(held) < needed:
                raise StoreUnavailableError("The log's tree has a gap (`privguard audit verify` says where).")
            if len(self._tiles) >= KEPT:
                self._tiles.clear()
            self._tiles[level, number] = held
        return [held[at : at + HASH_BYTES] for at in range(first * HASH_BYTES, needed, HASH_BYTES)]

    def _read(self, level: int, number: int) -> bytes:
        """A tile, as far as it is there."""
        start, stop = number * TILE_WIDTH, (number + 1) * TILE_WIDTH
        with self._store.read() as connection:
            read, mark = driver(connection), connection.dialect.paramstyle == "qmark"
            whole = read.execute(_FULL[mark], (level, number)).fetchone()
            if whole is not None:
                return bytes(whole[0])
            if level == 0:
                rows = read.execute(_LEAVES[mark], (start, stop)).fetchall()
            else:
                rows = read.execute(_ROOTS[mark], (level - 1, start, stop)).fetchall()
        dense = [digest for at, (index, digest) in enumerate(rows) if index == start + at]
        return b"".join(dense)

    def published(self, size: int = 0) -> Published | None:
        """The last checkpoint of this size or more that the quorum saw; None if there is none."""
        query = (
            select(checkpoint.c.size, checkpoint.c.note, checkpoint.c.cosignatures)
            .where(checkpoint.c.size >= size, checkpoint.c.quorate)
            .order_by(checkpoint.c.size.desc())
            .limit(1)
        )
        with self._store.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else Published(row.size, f"{row.note}{row.cosignatures}".encode())

    def keep(self, size: int, note: str, cosignatures: str, *, quorate: bool) -> None:
        """Keeps a signed checkpoint with its cosignatures; one of its size that is there keeps its note."""
        with self._store.write() as connection:
            connection.execute(
                _KEEP, {"size": size, "note": note, "cosignatures": cosignatures, "quorate": quorate}
            )

    def to_stamp(self) -> tuple[int, str] | None:
        """Size and note of the last checkpoint that may be shown; None if it is stamped, or there is none."""
        last = select(checkpoint.c.size, checkpoint.c.note, checkpoint.c.timestamp_token)
        query = last.where(checkpoint.c.quorate).order_by(checkpoint.c.size.desc()).limit(1)
        with self._store.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None or row.timestamp_token is not None else (row.size, row.note)

    def stamp(self, size: int, answer: bytes) -> None:
        """Keeps the time stamp of a checkpoint, unless it has one."""
        with self._store.write() as connection:
            connection.execute(_STAMP, {"size": size, "answer": answer})

    def last_stamped(self) -> tuple[int, str, bytes] | None:
        """Size, note and time stamp of the last checkpoint that has one."""
        with self._store.read() as connection:
            row = connection.execute(_stamped.order_by(checkpoint.c.size.desc()).limit(1)).one_or_none()
        return None if row is None else (row.size, row.note, row.timestamp_token)

    def stamped(self, size: int) -> Iterator[tuple[int, str, bytes]]:
        """The same of every such checkpoint up to a size, in order; in flat memory."""
        start = 0
        while True:
            query = _stamped.where(checkpoint.c.size > start, checkpoint.c.size <= size)
            with self._store.read() as connection:
                page = connection.execute(query.order_by(checkpoint.c.size).limit(_PAGE)).all()
            for row in page:
                yield row.size, row.note, row.timestamp_token
            if len(page) < _PAGE:
                return
            start = page[-1].size


def _marked(query: str) -> tuple[str, str]:
    """For the driver itself (``statements.driver``): with PostgreSQL's marks, and with SQLite's."""
    return query.replace("?", "%s"), query


_FULL = _marked("SELECT data FROM tile WHERE level = ? AND n = ?")
_LEAVES = _marked("SELECT idx, leaf_hash FROM event WHERE idx >= ? AND idx < ? ORDER BY idx")
_ROOTS = _marked("SELECT n, root FROM tile WHERE level = ? AND n >= ? AND n < ? ORDER BY n")
_PAGE = 100
_stamped = select(checkpoint.c.size, checkpoint.c.note, checkpoint.c.timestamp_token).where(
    checkpoint.c.timestamp_token.is_not(None)
)
_STAMP = text(
    "UPDATE checkpoint SET timestamp_token = :answer WHERE size = :size AND timestamp_token IS NULL"
)
_KEEP = text("""
INSERT INTO checkpoint (size, note, cosignatures, quorate) VALUES (:size, :note, :cosignatures, :quorate)
ON CONFLICT (size) DO UPDATE SET cosignatures = excluded.cosignatures, quorate = excluded.quorate
WHERE checkpoint.note = excluded.note""")
