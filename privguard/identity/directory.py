"""The staff directory: who works here as what, trained when, for which clients, and who stands in for whom.

It comes as CSV, whole, from whoever keeps it (personnel, branch management), told apart by the header:

    id,roles,branch,status,client_id,training.COURSE ...    one row a member of staff
       ...,kin,address,employer,surname                     and what they may share with clients in private
    staff,client,from,until                                 whom they look after
    staff,cover,from,until                                  who looks after their clients meanwhile

Where the directory is required it decides: roles, branch and training are the directory's, whatever the token
says, and so is the own client id where it has one (an empty cell must not lift ``forbid: self``). A token
proves who somebody is; what they may do must end when personnel says so, not when the token expires, and must
be found again later: each import is on record. Pure: texts in, values out.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from privguard.errors import AccessDeniedError, ConfigError
from privguard.identity.claims import MAX_TEXT
from privguard.identity.private import KINDS, Private, Token, tokens
from privguard.model import Principal

ALWAYS: Final = 1 << 53
"""An end that never comes, in seconds since the epoch."""

STATUSES: Final = ("active", "suspended", "dismissed")
_KINDS: Final = {
    "staff": ("id", "roles", "branch", "status", "client_id", *KINDS),
    "assignments": ("staff", "client", "from", "until"),
    "absences": ("staff", "cover", "from", "until"),
}
_TRAINING: Final = "training."
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


class Span(Struct, frozen=True, array_like=True):
    """``whom`` (a client, or who stands in) from ``since`` up to, not including, ``until``: seconds."""

    whom: str
    since: int
    until: int


class Staff(Struct, frozen=True, omit_defaults=True):
    """A member of staff, as the directory has them.

    Attributes:
        training: course to the date (ISO 8601) it was passed.
        private: what they share with clients in private, as tokens by kind; never in clear.
        assignments: their own clients.
        absences: who stands in for them.
        covers: clients of those for whom they stand in; follows from the others' rows.
    """

    id: str
    roles: tuple[str, ...] = ()
    branch: str | None = None
    status: str = "active"
    client_id: str | None = None
    training: dict[str, str] = {}
    private: dict[str, tuple[str, ...]] = {}
    assignments: tuple[Span, ...] = ()
    absences: tuple[Span, ...] = ()
    covers: tuple[Span, ...] = ()


class NotAdmittedError(AccessDeniedError):
    """The directory does not know the actor, or not as one who works here now."""

    def __init__(self, actor: Principal) -> None:
        super().__init__("You are not among the staff who may work here now: ask who keeps the directory.")
        self.actor = actor


class Standing(Struct, frozen=True):
    """What the directory gives a member of staff until a time (seconds) at which that changes."""

    staff: Staff
    clients: frozenset[str]
    until: int
    private: Private | None = None

    def admit(self, actor: Principal) -> Principal:
        """The actor with what the directory says; conditions read ``subject.clients`` and ``.training``."""
        staff = self.staff
        return replace(
            actor,
            roles=frozenset(staff.roles),
            branch=staff.branch,
            client_id=staff.client_id or actor.client_id,
            private=self.private.shares if self.private is not None else None,
            attributes={**actor.attributes, "training": staff.training, "clients": self.clients},
        )


def standing(staff: Staff, now: int, token: Token | None = None) -> Standing:
    """What holds for a member of staff now (seconds since the epoch).

    Args:
        token: by which records are held against what they share with clients in private; without it none are.
    """
    spans = (*staff.assignments, *staff.covers)
    later = [at for span in spans for at in (span.since, span.until) if at > now]
    clients = frozenset(span.whom for span in spans if span.since <= now < span.until)
    private = None
    if staff.private and token is not None:
        private = Private({kind: frozenset(known) for kind, known in staff.private.items()}, token)
    return Standing(staff, clients, min(later, default=ALWAYS), private)


class Table(NamedTuple):
    """A CSV file of one of the kinds; rows with the line each stands on."""

    name: str
    kind: str
    rows: list[tuple[int, dict[str, str]]]

    def wrong(self, line: int, what: str, mend: str) -> ConfigError:
        """Names the place, and no value: it may be a client's."""
        return ConfigError(f"{self.name}:{line}: {what} ({mend})")


def read_table(name: str, text: str) -> Table:
    """Reads a file and says which kind it is.

    Raises:
        ConfigError: names file, line and mend, and no value.
    """
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    try:
        head = next(reader, [])
        kind = next((kind for kind, needed in _KINDS.items() if set(needed[:2]) <= set(head)), "")
        table = Table(name, kind, [])
        known = {*_KINDS.get(kind, ()), *(one for one in head if kind == "staff" and one[:9] == _TRAINING)}
        if not kind or len(set(head)) < len(head) or not set(head) <= known:
            forms = "; ".join(",".join(columns) for columns in _KINDS.values())
            raise table.wrong(
                1, "no header of a directory file", f"one of: {forms}; staff also training.COURSE"
            )
        for cells in reader:
            if cells and len(cells) != len(head):
                raise table.wrong(reader.line_num, "not as many cells as the header", "quote commas")
            if cells:
                table.rows.append((reader.line_num, dict(zip(head, map(str.strip, cells), strict=True))))
    except csv.Error:
        raise ConfigError(f"{name}:{reader.line_num}: not CSV (close its quotes)") from None
    return table


def imported(before: Mapping[str, Staff], tables: Sequence[Table], token: Token) -> dict[str, Staff]:
    """The directory after an import: each kind of file replaces all of its kind, the others stay.

    Args:
        token: what is private is kept by.

    Raises:
        ConfigError: names file, line and mend; nothing is imported.
    """
    given = {table.kind: table for table in tables}
    if len(given) < len(tables):
        raise ConfigError("Two files of one kind: each replaces all of its kind, so put them in one.")
    staff = dict(before)
    if "staff" in given:
        staff = {
            one.id: replace(
                one,
                assignments=before[one.id].assignments if one.id in before else (),
                absences=before[one.id].absences if one.id in before else (),
            )
            for one in _staff(given["staff"], token)
        }
    if "assignments" in given:
        spans = _spans(given["assignments"], "client", staff)
        staff = {name: replace(one, assignments=spans.get(name, ())) for name, one in staff.items()}
    if "absences" in given:
        spans = _spans(given["absences"], "cover", staff)
        staff = {name: replace(one, absences=spans.get(name, ())) for name, one in staff.items()}
    covers = _covers(staff.values())
    return {name: replace(one, covers=covers.get(name, ())) for name, one in staff.items()}


def difference(before: Staff | None, after: Staff | None) -> str:
    """What an import changes of one member of staff, in words that name no client; empty if nothing."""
    if before is None or after is None:
        return "added" if before is None else "removed"
    said = [name for name in Staff.__struct_fields__[1:7] if getattr(before, name) != getattr(after, name)]
    for name in ("assignments", "absences", "covers"):
        was, now = set(getattr(before, name)), set(getattr(after, name))
        if was != now:
            said.append(f"{name} +{len(now - was)} -{len(was - now)}")
    return ", ".join(said)


def _staff(table: Table, token: Token) -> Iterator[Staff]:
    seen: set[str] = set()
    for line, row in table.rows:
        status = row.get("status") or "active"
        if status not in STATUSES:
            raise table.wrong(line, "no such status", f"one of {', '.join(STATUSES)}")
        training = {name[9:]: row[name] for name in row if name.startswith(_TRAINING) and row[name]}
        if not all(map(_is_date, training.values())):
            raise table.wrong(line, "a course's date is no date", "such as 2026-05-31")
        one = Staff(
            _named(table, line, row["id"]),
            tuple(sorted({role.strip() for role in row["roles"].split(";")} - {""})),
            row.get("branch") or None,
            status,
            row.get("client_id") or None,
            training,
            {kind: kept for kind in KINDS if (kept := tokens(kind, row.get(kind, ""), token))},
        )
        if one.id in seen:
            raise table.wrong(line, "this id stands here twice", "one row a member of staff")
        seen.add(one.id)
        yield one


def _spans(table: Table, whom: str, staff: Mapping[str, Staff]) -> dict[str, tuple[Span, ...]]:
    found: dict[str, set[Span]] = {}
    for line, row in table.rows:
        name, other = _named(table, line, row["staff"]), _named(table, line, row[whom])
        if name not in staff or (whom == "cover" and (other not in staff or other == name)):
            raise table.wrong(line, "not a member of staff, or their own cover", "add them to the staff file")
        since = _instant(table, line, row.get("from", ""), 0)
        until = _instant(table, line, row.get("until", ""), 1) if row.get("until") else ALWAYS
        if until <= since:
            raise table.wrong(
                line, "it ends before it begins", "until is the last day, or the moment of the end"
            )
        found.setdefault(name, set()).add(Span(other, since, until))
    return {name: tuple(sorted(spans, key=_order)) for name, spans in found.items()}


def _covers(staff: Iterable[Staff]) -> dict[str, tuple[Span, ...]]:
    """Clients lent during absences: their own ones alone, for nobody decided who covers for a cover."""
    found: dict[str, set[Span]] = {}
    for one in staff:
        for absence in one.absences:
            for span in one.assignments:
                since, until = max(span.since, absence.since), min(span.until, absence.until)
                if since < until:
                    found.setdefault(absence.whom, set()).add(Span(span.whom, since, until))
    return {name: tuple(sorted(spans, key=_order)) for name, spans in found.items()}


def _order(span: Span) -> tuple[str, int, int]:
    return span.whom, span.since, span.until


def _named(table: Table, line: int, text: str) -> str:
    if not 0 < len(text) <= MAX_TEXT or not text.isprintable():
        raise table.wrong(line, "an id is missing, too long or not printable", f"1 to {MAX_TEXT} characters")
    return text


def _is_date(text: str) -> bool:
    try:
        return bool(_DATE.fullmatch(text) and date.fromisoformat(text))
    except ValueError:
        return False


def _instant(table: Table, line: int, text: str, days: int) -> int:
    """Seconds of a time with its zone, or of a date's beginning in UTC, ``days`` later; 0 for nothing."""
    if not text:
        return 0
    try:
        at = datetime.fromisoformat(text)
        if _is_date(text):
            at = at.replace(tzinfo=UTC) + timedelta(days=days)
        if at.tzinfo is not None:
            return int(at.timestamp())
    except (ValueError, OverflowError):
        pass
    raise table.wrong(line, "no time", "2026-05-31, or with its zone: 2026-05-31T18:00+08:00")
