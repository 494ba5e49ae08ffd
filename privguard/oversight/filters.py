"""What of the trail is asked for, and where the last page ended."""

from __future__ import annotations

import base64
import hashlib
from typing import Annotated, Final

import msgspec
from msgspec import Struct

from privguard.anomaly import Level
from privguard.audit.record import Group, Leaf
from privguard.errors import MalformedRequestError
from privguard.model import Outcome, SubjectRef
from privguard.store.trail_reader import Where

_DIGEST: Final = 12
"""Bytes of the filter's digest in a cursor: enough that no other filter has them by accident."""


class Filter(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Entries that are asked for: any value of a list, and all lists.

    Attributes:
        action: ``source:subject:verb``, or its beginning up to a colon.
        field: paths, one of which left clear.
        rule: ids, one of which decided.
        risk: levels; an entry of which nobody judged how unusual it was has none.
        client: the one client whose entries these are.
        since_us, until_us: log time in microseconds, UTC; ``until_us`` is not included.
    """

    tenant: str = "default"
    actor: tuple[str, ...] = ()
    role: tuple[str, ...] = ()
    action: Annotated[tuple[str, ...], msgspec.Meta(max_length=500)] = ()  # SQLite nests 1,000 deep
    outcome: tuple[Outcome, ...] = ()
    purpose: tuple[str, ...] = ()
    rule: tuple[str, ...] = ()
    field: tuple[str, ...] = ()
    system: tuple[str, ...] = ()
    risk: tuple[Level, ...] = ()
    client: SubjectRef | None = None
    since_us: int | None = None
    until_us: int | None = None

    @property
    def where(self) -> Where:
        """The part that columns answer."""
        return Where(self.tenant, self.actor, self.action, self.outcome)

    def matches(self, leaf: Leaf) -> bool:
        """Whether a leaf is asked for, its client aside."""
        return (
            leaf.tenant == self.tenant
            and (not self.actor or leaf.actor in self.actor)
            and (not self.action or any(map(leaf.action.startswith, self.action)))
            and (not self.outcome or leaf.outcome in self.outcome)
            and (not self.purpose or leaf.purpose in self.purpose)
            and (not self.system or leaf.system in self.system)
            and (not self.risk or (leaf.risk is not None and leaf.risk.level in self.risk))
            and (not self.role or not set(self.role).isdisjoint(leaf.roles))
            and (not self.rule or not set(self.rule).isdisjoint(rules(leaf)))
            and (not self.field or any(_clear(group, self.field) for group in shown(leaf)))
            and (self.since_us is None or leaf.ts >= self.since_us)
            and (self.until_us is None or leaf.ts < self.until_us)
        )

    def echo(self) -> dict[str, object]:
        """The filter as it was asked, without what was left open."""
        said: dict[str, object] = msgspec.to_builtins(self)
        return {name: value for name, value in said.items() if value not in (None, [], ())}


def shown(leaf: Leaf) -> list[Group]:
    """The groups of which something left."""
    return [group for group in leaf.groups if leaf.outcome == group.outcome == Outcome.PERMITTED]


def rules(leaf: Leaf) -> list[str]:
    """The rules that decided, wherever they did."""
    return list(dict.fromkeys([*leaf.rules, *[rule for group in leaf.groups for rule in group.rules]]))


def _clear(group: Group, fields: tuple[str, ...]) -> bool:
    return any(group.fields.get(field) == "clear" for field in fields)


def cursor_of(asked: Filter, index: int) -> str:
    """Where a page ended: opaque, and good for the same filter only."""
    return base64.urlsafe_b64encode(_digest(asked) + index.to_bytes(8, "big")).decode().rstrip("=")


def index_of(asked: Filter, cursor: str) -> int:
    """The index at which a page ended.

    Raises:
        MalformedRequestError: it is no cursor, or one of another filter (L15).
    """
    try:
        data = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except ValueError:
        data = b""
    if len(data) != _DIGEST + 8:
        raise MalformedRequestError("This is not a cursor: take the one that the last page ended with.")
    if data[:_DIGEST] != _digest(asked):
        raise MalformedRequestError(
            "The cursor belongs to another filter: repeat the filter of the first page, or leave it out."
        )
    return int.from_bytes(data[_DIGEST:], "big")


def _digest(asked: Filter) -> bytes:
    return hashlib.sha256(msgspec.json.encode(asked, order="deterministic")).digest()[:_DIGEST]
