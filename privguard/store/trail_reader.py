"""Reads the log for people: by what its columns hold, along a client's chain, and by whose keys still are.

What is read here is not yet on the trail; ``oversight.trail`` sees to that before it reads (L15).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Select, literal, or_, select

from privguard.audit.floor import Sealed
from privguard.audit.record import Head, Leaf, parse
from privguard.crypto.envelope import EnvelopeError, unseal
from privguard.errors import StoreUnavailableError
from privguard.model import SubjectRef
from privguard.store.engine import Store
from privguard.store.log_reader import Indexed, Span, first_since, of_actors
from privguard.store.retention import floor_of, said_of
from privguard.store.subjects import DataKey, SubjectKeys
from privguard.store.tables import event, event_subject, secret, subject, subject_head

PAGE: Final = 500
"""Leaves read at a time, so that a slow reader holds up no checkpoint."""


class Where(NamedTuple):
    """What the columns are asked: each of the lists that is not empty must hold the entry's value."""

    tenant: str
    actors: Sequence[str] = ()
    actions: Sequence[str] = ()
    outcomes: Sequence[str] = ()


class TrailReader:
    """The log as people ask for it; safe to share between threads."""

    def __init__(self, store: Store, keys: SubjectKeys) -> None:
        self._store = store
        self._keys = keys

    def floor(self) -> int:
        """Entries below it were sealed in an archive; some of their rows may be there still."""
        with self._store.read() as connection:
            return floor_of(connection)

    def sealed(self) -> Sealed | None:
        """What the log says of the floor; None where nothing was pruned."""
        with self._store.read() as connection:
            found = said_of(connection) if floor_of(connection) else None
        return None if found is None else found[1]

    def since(self, ts_us: int) -> int | None:
        """Index of the first entry of a log time (microseconds) or later; None if there is none."""
        with self._store.read() as connection:
            return first_since(connection, ts_us)

    def entries(self, where: Where, span: Span, *, newest_first: bool) -> Iterator[Indexed]:
        """The leaves of a span that the columns allow, in flat memory."""
        query, (start, stop) = _columns(where), span
        if where.actors:
            yield from of_actors(self._read, query, span, newest_first=newest_first)
            return
        order = event.c.idx.desc() if newest_first else event.c.idx
        while start < stop:
            page = self._read(
                query.where(event.c.idx >= start, event.c.idx < stop).order_by(order).limit(PAGE)
            )
            yield from page
            if len(page) < PAGE:
                return
            start, stop = (start, page[-1][0]) if newest_first else (page[-1][0] + 1, stop)

    def chain(self, token: str, last: int) -> Iterator[Indexed]:
        """The leaves a client stands in, newest first, from the one with index ``last`` on."""
        while last >= 0:
            page = self._read(_chain(token, last))
            yield from page
            if len(page) < PAGE:
                return
            last = self._before(token, page[-1][0])

    def head(self, token: str) -> Head | None:
        """How many entries a client has, and the index of the last; None without any."""
        query = select(subject_head.c.count, subject_head.c.last_idx).where(subject_head.c.tok == token)
        with self._store.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else (row[0], row[1])

    def token(self, tenant: str, client: SubjectRef) -> str | None:
        """What the log calls a client; None if it has none, or its key is gone. Raises as ``clients``."""
        name = self._keys.name((tenant, client.kind, client.id))
        query = select(subject).where(subject.c.ref_hmac == name, subject.c.destroyed_at.is_(None))
        with self._store.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else self._key(row).token

    def clients(self, tokens: Sequence[str]) -> dict[str, SubjectRef]:
        """Whom tokens name, as far as their keys still are.

        Raises:
            EnvelopeError: a row was changed, or says another client's token (L01, S16).
        """
        query = select(subject).where(subject.c.tok.in_(tokens), subject.c.destroyed_at.is_(None))
        with self._store.read() as connection:
            rows = connection.execute(query).all()
        known: dict[str, SubjectRef] = {}
        for row in rows:
            key = self._key(row)
            known[row.tok] = self._keys.client(row.tenant, row.ref_hmac, key, row.ref)
        return known

    def parts(self, event_id: str) -> Sequence[Indexed]:
        """The leaves of an entry, in the order of their parts; none if it is not in the log."""
        return self._read(_leaves.where(event.c.event_id == event_id).order_by(event.c.part))

    def leaf(self, index: int) -> bytes | None:
        """The leaf with an index; None beyond the end."""
        return next((data for _, data in self._read(_leaves.where(event.c.idx == index))), None)

    def detail(self, parts: Sequence[Indexed]) -> tuple[tuple[str, str], ...] | None:
        """What was sealed with an entry; None where it was deleted, or the key of one of its clients was.

        Args:
            parts: all leaves of the entry.

        Raises:
            EnvelopeError: it was changed (L01).
        """
        leaves = [parse(data) for _, data in parts]
        if not any(leaf.detail for leaf in leaves):
            return ()
        index = next(at for (at, _), leaf in zip(parts, leaves, strict=True) if leaf.detail)
        tokens = list(dict.fromkeys(token for leaf in leaves for token in _tokens(leaf)))
        with self._store.read() as connection:
            sealed = connection.execute(select(secret.c.ct).where(secret.c.idx == index)).scalar_one_or_none()
            rows = connection.execute(select(subject).where(subject.c.tok.in_(tokens))).all()
        if sealed is None or len([row for row in rows if row.wrapped_dek]) < len(tokens):
            return None
        said = next(leaf.detail for leaf in leaves if leaf.detail)
        if hashlib.sha256(sealed).hexdigest() != said:
            raise EnvelopeError("The sealed detail of the entry was changed in the database.")
        try:
            keys = [self._key(row).key for row in rows]
            key = self._keys.detail_key(leaves[0].tenant, keys)
            text = unseal(key, sealed, leaves[0].id.encode())
        except (EnvelopeError, StoreUnavailableError):
            return None
        return msgspec.json.decode(text, type=tuple[tuple[str, str], ...])

    def _key(self, row: Any) -> DataKey:
        """The key in a row of ``subject``, which its token must hang on: reports go by that (L01, S16)."""
        key = self._keys.unwrap(row.tenant, row.ref_hmac, row.wrapped_dek)
        if key.token != row.tok:
            raise EnvelopeError("A client's row was changed in the database: it has another's token.")
        return key

    def _before(self, token: str, index: int) -> int:
        query = select(event_subject.c.prev).where(event_subject.c.idx == index, event_subject.c.tok == token)
        with self._store.read() as connection:
            before: int = connection.execute(query).scalar_one()
        return before

    def _read(self, query: Select[int, bytes]) -> Sequence[Indexed]:
        with self._store.read() as connection:
            return connection.execute(query).all()


_leaves: Final = select(event.c.idx, event.c.leaf)


def _columns(where: Where) -> Select[int, bytes]:
    query = _leaves.where(event.c.tenant == where.tenant)
    for column, values in ((event.c.actor, where.actors), (event.c.outcome, where.outcomes)):
        if values:
            query = query.where(column.in_(values))
    if where.actions:
        query = query.where(or_(*[_action(action) for action in where.actions]))
    return query


def _action(action: str) -> ColumnElement[bool]:
    """``gateway:client:read``, or a beginning of it that ends with a colon."""
    return (
        event.c.action.startswith(action, autoescape=True)
        if action.endswith(":")
        else event.c.action == action
    )


def _chain(token: str, last: int) -> Select[int, bytes]:
    """A page of a chain; it is walked by ``prev``, whose end is inside, so a page costs what it holds."""
    rows = event_subject
    first = select(rows.c.idx, rows.c.prev, literal(1).label("depth"))
    chain = first.where(rows.c.idx == last, rows.c.tok == token).cte(recursive=True)
    before = select(rows.c.idx, rows.c.prev, chain.c.depth + 1).where(
        rows.c.idx == chain.c.prev, rows.c.tok == token, chain.c.depth < PAGE
    )
    whole = chain.union_all(before)
    return _leaves.join(whole, whole.c.idx == event.c.idx).order_by(event.c.idx.desc())


def _tokens(leaf: Leaf) -> Iterator[str]:
    return (token for group in leaf.groups for token, _, _ in group.subjects)
