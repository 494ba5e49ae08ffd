"""An access as a leaf of the log, and back.

A leaf is sorted-key compact JSON of less than 65,535 bytes; what the tree holds is exactly these bytes, so
they are never encoded a second time. It names clients by token, fields by path and view, and never holds a
client's value, a raw path or a query (L12). Every key is explained in docs/reference/leaf.md.

An access becomes a leaf in two steps, for its place in the log is known only under the log's lock:
``drafts`` does what needs no place, ``link`` and ``encode`` do the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from privguard.errors import AuditUnavailableError
from privguard.model import (
    AccessEvent,
    Assessment,
    Disclosure,
    EpochBegun,
    FieldShown,
    MapRoot,
    Outcome,
    SubjectRef,
    View,
)

VERSION: Final = 1
MAX_LEAF: Final = 65_534
"""Bytes; C2SP tlog-tiles gives an entry's length 16 bits."""

Head = tuple[int, int]
"""How many entries a client has, and the index of the last one."""
UNSEEN: Final[Head] = (0, -1)

TOO_LONG: Final = "The entry is too long for a leaf: the names of its actor, roles, rules or fields."

_SUBJECT_ROOM: Final = 64
"""Bytes a subject can take: 22 of token, twice 16 digits, punctuation."""
_PLACE_ROOM: Final = 160
"""Bytes that the keys can take which are known only with the place: ts, skew, detail."""
_LABELS: Final = tuple(view.label for view in View)
_VIEWS: Final = {view.label: view.value for view in View}
# Python 3.11 looks a member of an enumeration up in Python: half a microsecond an entry.
_PERMITTED: Final = Outcome.PERMITTED.value
_WITHHELD: Final = View.WITHHELD.value
_CLEAR: Final = View.CLEAR.value


class Group(Struct, gc=False, kw_only=True, omit_defaults=True):
    """Clients of whom the same fields left in the same views: see ``model.Disclosure``.

    Attributes:
        fields: path to ``withheld | token:OPERATOR | masked:OPERATOR | clear``.
        subjects: (token, k, prev): this is the client's k-th entry, the one before has index prev, or -1.
    """

    fields: dict[str, str] = {}
    outcome: str = Outcome.PERMITTED.value
    relations: Sequence[str] = ()
    resource: str
    rules: Sequence[str] = ()
    subjects: list[tuple[str, int, int]]


class Leaf(Struct, gc=False, kw_only=True, omit_defaults=True):
    """What a leaf says; keys are declared in sorted order, which is the order they are written in.

    Attributes:
        about: what an act of administration was about: see ``model.AccessEvent``.
        detail: SHA-256 of the encrypted detail in hex, or empty.
        ts: log time in microseconds since the epoch, UTC; never less than the leaf's before it.
        skew: the writer's clock minus ``ts``, where they differ (L07).
        v: version of this format.
    """

    about: Mapping[str, str] = {}
    action: str
    actor: str
    detail: str = ""
    epoch: EpochBegun | None = None
    groups: list[Group] = []
    id: str
    intent: int | None = None
    map: MapRoot | None = None
    missing: Sequence[str] = ()
    mode: str = "enforce"
    outcome: str
    part: int = 0
    policy: str = ""
    problem: str = ""
    purpose: str = ""
    risk: Assessment | None = None
    roles: Sequence[str] = ()
    route: str = ""
    rules: Sequence[str] = ()
    skew: int = 0
    status: int = 0
    system: str = ""
    tenant: str
    ts: int
    v: int


class Columns(NamedTuple):
    """What the event table repeats of a leaf, to be searched by."""

    event_id: str
    part: int
    ts_us: int
    tenant: str
    actor: str
    action: str
    outcome: str


class Draft(Struct, gc=False, frozen=True):
    """A leaf without its place, and the clients whose tokens its groups will hold."""

    leaf: Leaf
    subjects: tuple[tuple[SubjectRef, ...], ...]


class LeafError(ValueError):
    """Bytes that are no leaf of a known version; says nothing of the content."""


_encoder: Final = msgspec.json.Encoder(order="deterministic")
_decoder: Final = msgspec.json.Decoder(Leaf)


def encode(leaf: Leaf) -> bytes:
    """The leaf's bytes."""
    return _encoder.encode(leaf)


def parse(data: bytes) -> Leaf:
    """Reads a leaf.

    Raises:
        LeafError: not a leaf of this version, or written in another way than ``encode`` does (so that two
            JSON parsers cannot read two things in it).
    """
    try:
        leaf = _decoder.decode(data)
        same = _encoder.encode(leaf) == data
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise LeafError("not a leaf") from None
    if not same or leaf.v != VERSION or len(data) > MAX_LEAF:
        raise LeafError("a leaf of another version or form, or too long")
    return leaf


def columns(leaf: Leaf) -> Columns:
    """The event table's columns, from the leaf alone."""
    return Columns(leaf.id, leaf.part, leaf.ts, leaf.tenant, leaf.actor, leaf.action, leaf.outcome)


def subject_columns(leaf: Leaf, index: int) -> Iterable[tuple[int, str, int, int]]:
    """The subject table's columns (index, token, prev, view), one row a client, from the leaf and its place.

    ``view`` is the number of the strongest view in which anything left, 0 if nothing did.

    Raises:
        LeafError: a view is not known.
    """
    if len(leaf.groups) == 1:
        view = _strongest(leaf, leaf.groups[0])
        return [(index, token, prev, view) for token, _, prev in leaf.groups[0].subjects]
    rows: dict[str, tuple[int, str, int, int]] = {}
    for group in leaf.groups:
        view = _strongest(leaf, group)
        for token, _, prev in group.subjects:
            if token not in rows or rows[token][3] < view:
                rows[token] = (index, token, prev, view)
    return rows.values()


def _strongest(leaf: Leaf, group: Group) -> int:
    if not leaf.outcome == group.outcome == _PERMITTED:
        return _WITHHELD
    views = group.fields.values()
    if "clear" in views:
        return _CLEAR
    try:
        return max((_VIEWS[view.partition(":")[0]] for view in views), default=_WITHHELD)
    except KeyError:
        raise LeafError("a view that this version does not know") from None


def link(draft: Draft, tokens: Sequence[Sequence[str]], heads: dict[str, Head], index: int, ts: int) -> None:
    """Gives a draft its place: log time, and for each client its number and the entry before.

    A client that stands in several groups of one leaf has one entry there. ``heads`` is brought up to date.

    Args:
        tokens: of the clients of each group, in the draft's order.
        heads: of every token that has an entry.
        ts: log time; the draft's own is what the writer's clock said.
    """
    leaf = draft.leaf
    leaf.skew, leaf.ts = leaf.ts + leaf.skew - ts, ts  # the same again where a batch is tried again
    if len(tokens) == 1 and len(tokens[0]) == 1:  # as nearly all are
        (token,) = tokens[0]
        count, last = heads.get(token, UNSEEN)
        heads[token] = (count + 1, index)
        leaf.groups[0].subjects = [(token, count + 1, last)]
        return
    entries: dict[str, tuple[str, int, int]] = {}
    for group, named in zip(leaf.groups, tokens, strict=True):
        distinct = dict.fromkeys(named)
        for token in distinct:
            if token not in entries:
                count, last = heads.get(token, UNSEEN)
                heads[token] = (count + 1, index)
                entries[token] = (token, count + 1, last)
        group.subjects = [entries[token] for token in distinct]


def drafts(event: AccessEvent) -> tuple[Draft, ...]:
    """The leaves of an access, one as a rule, still without their place.

    Raises:
        AuditUnavailableError: the access cannot be put in leaves.
    """
    try:
        draft = _draft(event)
        room, data = _room(draft)
    except UnicodeEncodeError:
        raise AuditUnavailableError(
            "A text of the entry is not Unicode (it holds a lone surrogate)."
        ) from None
    if (
        b"\\u0000" in data
    ):  # SQLite cuts a text there and PostgreSQL takes none: columns would differ from leaves
        raise AuditUnavailableError("A text of the entry holds a NUL character.")
    return (draft,) if room >= 0 else tuple(_draft(part) for part in parts(event))


def parts(event: AccessEvent) -> Iterator[AccessEvent]:
    """Splits an access over several leaves: all with its id, numbered on from its ``part``.

    The detail goes with the first. A client stands in more than one part only if the fields of its group
    alone are too many for one.

    Raises:
        AuditUnavailableError: what cannot be split is itself too long.
    """
    room, _ = _room(_draft(replace(event, disclosures=())))
    if room < MAX_LEAF // 2:  # every part repeats what takes the rest
        raise AuditUnavailableError(TOO_LONG)
    number, left, taken = event.part, room, list[Disclosure]()
    for disclosure in _narrow(event.disclosures, room // 2):
        bare = len(_encoder.encode(_group(replace(disclosure, subjects=())))) + 1
        if bare + _SUBJECT_ROOM > room:
            raise AuditUnavailableError(TOO_LONG)
        subjects = disclosure.subjects
        while True:
            fit = max(0, (left - bare) // _SUBJECT_ROOM)
            if fit:
                taken.append(replace(disclosure, subjects=subjects[:fit]))
                subjects = subjects[fit:]
                left -= bare + _SUBJECT_ROOM * len(taken[-1].subjects)
                if not subjects:
                    break
            yield _part(event, number, taken)
            number, left, taken = number + 1, room, []
    yield _part(event, number, taken)


def _part(event: AccessEvent, number: int, disclosures: list[Disclosure]) -> AccessEvent:
    detail = event.detail if number == event.part else ()
    return replace(event, part=number, disclosures=tuple(disclosures), detail=detail)


def _narrow(disclosures: Iterable[Disclosure], room: int) -> Iterator[Disclosure]:
    """The disclosures, each again for every ``room`` bytes of its fields."""
    for disclosure in disclosures:
        fields: list[FieldShown] = []
        size = 0
        for field in disclosure.fields:
            size += len(_encoder.encode(_fields((field,))))
            if fields and size > room:
                yield replace(disclosure, fields=tuple(fields))
                fields, size = [], len(_encoder.encode(_fields((field,))))
            fields.append(field)
        yield replace(disclosure, fields=tuple(fields))


def _room(draft: Draft) -> tuple[int, bytes]:
    """Bytes that the leaf leaves free at least, whatever its place; and what is known of it by now."""
    data = _encoder.encode(draft.leaf)
    subjects = sum(map(len, draft.subjects))
    return MAX_LEAF - len(data) - _PLACE_ROOM - _SUBJECT_ROOM * subjects, data


def _draft(event: AccessEvent) -> Draft:
    leaf = Leaf(
        about=event.about,
        action=event.action,
        actor=event.actor,
        epoch=event.epoch,
        groups=[_group(disclosure) for disclosure in event.disclosures],
        id=event.event_id,
        intent=event.intent,
        map=event.map,
        missing=event.missing,
        mode=event.mode,
        outcome=event.outcome.value,
        part=event.part,
        policy=event.policy,
        problem=event.problem,
        purpose=event.purpose,
        risk=event.risk,
        roles=event.roles,
        route=event.route,
        rules=event.rules,
        status=event.status,
        system=event.system,
        tenant=event.tenant,
        ts=event.at_us,
        v=VERSION,
    )
    return Draft(leaf, tuple(disclosure.subjects for disclosure in event.disclosures))


def _group(disclosure: Disclosure) -> Group:
    return Group(
        fields=_fields(disclosure.fields),
        outcome=disclosure.outcome.value,
        relations=disclosure.relations,
        resource=disclosure.resource,
        rules=disclosure.rules,
        subjects=[],
    )


def _fields(fields: Iterable[FieldShown]) -> dict[str, str]:
    return {
        field.path: f"{_LABELS[field.view]}:{field.mask}" if field.mask else _LABELS[field.view]
        for field in fields
    }
