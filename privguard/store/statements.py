"""What the append says to a database, whichever kind it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

from msgspec import Struct
from sqlalchemy import Connection as Transaction

from privguard.audit.merkle import HASH_BYTES, Span, Tile, Tree
from privguard.audit.record import Head
from privguard.store.subjects import SubjectRow

NO_STATE: Final = "The log's tree has no state: restore a backup."


def driver(transaction: Transaction) -> Any:
    """The driver's own connection: through SQLAlchemy a statement costs 15 to 20 µs more, a batch has ten."""
    return transaction.connection.driver_connection


class State(Struct, frozen=True):
    """The log as a writer finds it.

    Attributes:
        ts: log time of the last entry, 0 in an empty log.
        present: (event id, part, index) of entries with the ids that were asked for.
        wrapped: data keys by the client's name, for the names that were asked for.
        kek_floor: versions of the wrapping key below it are retired.
    """

    tree: Tree
    erasures: int
    ts: int
    present: list[tuple[str, int, int]]
    wrapped: dict[str, str]
    kek_floor: int


EventRow = tuple[int, str, int, int, str, str, str, str, bytes, bytes]
"""Index, ``record.Columns``, the leaf, its hash."""


class Rows(Struct):
    """What a batch of entries adds to the tables.

    Attributes:
        heads: (token, count, index) of clients whose chains go on.
        first: the same of those who had no entry.
    """

    fresh: list[SubjectRow]
    events: list[EventRow] = []
    hashes: list[bytes] = []
    subjects: list[tuple[int | str, ...]] = []
    heads: list[tuple[str, int, int]] = []
    first: list[tuple[str, int, int]] = []
    secrets: list[tuple[int, bytes]] = []
    tiles: list[Tile] = []


class Statements(Protocol):
    """SQL of the append; ``connection`` is the driver's, inside a transaction that writes."""

    def read_state(self, connection: Any, ids: Sequence[str], names: Sequence[str]) -> State:
        """The log's state, locked, and which of these event ids and clients it knows.

        Raises:
            StoreUnavailableError: there is no state.
        """
        ...

    def read_heads(self, connection: Any, tokens: Sequence[str]) -> dict[str, Head]:
        """Where the chains of these clients end."""
        ...

    def read_span(self, connection: Any, span: Span) -> list[bytes]:
        """Hashes of a begun tile."""
        ...

    def read_leaves(self, connection: Any, indexes: Sequence[int]) -> dict[int, bytes]:
        """The exact bytes of these leaves."""
        ...

    def write(self, connection: Any, rows: Rows, tree: Tree, root: bytes) -> None:
        """Everything of a batch; the caller's transaction makes it one."""
        ...


def edge_of(data: bytes) -> tuple[bytes, ...]:
    """The hashes of a tree's edge, which the state holds as one."""
    return tuple(data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES))
