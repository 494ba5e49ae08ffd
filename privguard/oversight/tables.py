"""The log as tables to look back over: what an access was and what work there was, by numbers.

1. Every entry of an access becomes a visit of the client's token; nobody's name is needed, and none is kept.
2. What says that somebody had work becomes work: entries of ``crm:client:work``, and writes that succeeded.

Lists are left out: nobody has work with all clients of a list, so nothing would explain them; the inline
checker holds them against other lists.

Tables stay in a file (``kept``), and the next time takes what came since. It is a copy and no more: if it is
odd, or the log is another, it is made anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import duckdb

from privguard.anomaly import Relation, batch
from privguard.audit.record import Leaf
from privguard.errors import StoreUnavailableError
from privguard.files import locked
from privguard.model import Assessment
from privguard.oversight.filters import Filter
from privguard.oversight.following import works
from privguard.oversight.lookback import Lookback
from privguard.oversight.trail import Entry, Trail
from privguard.telemetry import logger

DAY_S: Final = 86_400
NEEDED: Final = batch.BEFORE + batch.MONTH
"""Days of log before the first that can be judged."""
CLOSED: Final = 10
"""Days in a row on which nobody may have looked at anything: how old the log is, its first look says."""
MOST_DAYS: Final = 30
"""Days that are made up for at most; older ones would be judged by what came long after."""
_KEPT: Final = MOST_DAYS + 3
"""What it takes to look back at so many days stays in any case."""
_WEEK: Final = 7
"""Days: to take out names takes as long as to take in a day."""
_FORM: Final = 1
"""Of the tables: those of another are made anew."""
_BATCH: Final = 50_000
_WRITES: Final = frozenset({"create", "update", "delete"})
_REFUSED: Final = 400
_NOBODY: Final = -1
_NEVER: Final = (1 << 40, -1)
_COLUMNS: Final = {
    "access": batch.ACCESS,
    "work": batch.WORK,
    "entry": {"day": "int32", "actor": "int32", "client": "int32", "idx": "int64"},
    "name": {"number": "int32", "name": "string"},
}
_TAKEN: Final = (
    "CREATE TABLE IF NOT EXISTS taken (form INTEGER, since_us BIGINT, idx BIGINT, ts BIGINT, leaf BLOB)"
)
"""From when on the log was taken, up to which entry, and what that was."""
_UNNAMED: Final = """
DELETE FROM name WHERE number NOT IN (
  SELECT unnest([actor, client, role, team]) FROM access UNION SELECT unnest([actor, client, team]) FROM work
)"""


class Tables:
    """Accesses and work of a log in ``back``, and what its numbers mean.

    Attributes:
        first, last: days of the first and the last access.
    """

    def __init__(self, back: Lookback) -> None:
        self.back = back
        for name in ("entry", "name"):
            back.make(name, _COLUMNS[name])
        back.database.execute(_TAKEN)
        self._rows: dict[str, list[tuple[Any, ...]]] = {table: [] for table in _COLUMNS}
        self._since_us = 0
        self.first, self.last = _NEVER
        self._load()

    def name_of(self, actor: int) -> str:
        """Whom a number stands for."""
        return next(name for name, number in self._numbers.items() if number == actor)

    def follow(
        self,
        trail: Trail,
        tenant: str,
        now_us: int,
        days: int,
        read: Callable[[Iterable[Entry]], Iterable[Entry]] = iter,
    ) -> None:
        """Takes what it needs of the log to look back at so many days; what was taken before, stays.

        Args:
            read: gives the entries on, as they are read.
        """
        wanted_us = since_us(now_us, days)
        if self._taken is not None and self._since_us <= wanted_us and not self._sealed(trail):
            index, ts, leaf = self._taken
            entries = iter(read(trail.every(Filter(tenant=tenant, since_us=ts))[1]))
            if _goes_on(entries, index, leaf):
                self.take(entries)
                self._drop(since_us(now_us, max(days, _KEPT)))
                return
        self._forget()
        self._since_us = wanted_us
        self.take(read(trail.every(Filter(tenant=tenant, since_us=wanted_us))[1]))

    def take(self, entries: Iterable[Entry]) -> None:
        """Puts entries into the tables, in flat memory but for names and tokens; a part at a time is kept."""
        entry = None
        for entry in entries:
            leaf = entry.leaf
            if works(leaf):
                self._work(leaf, int(leaf.about["at"]), leaf.about["for"])
            elif leaf.outcome == "permitted":
                if leaf.risk is not None and not leaf.risk.many:
                    self._access(entry.index, leaf, leaf.risk)
                if leaf.action.rpartition(":")[2] in _WRITES and leaf.status < _REFUSED:
                    self._work(leaf, leaf.risk.at if leaf.risk else leaf.ts // 1_000_000, leaf.actor)
            if len(self._rows["access"]) + len(self._rows["work"]) >= _BATCH:
                self._flush(entry)
        if entry is not None:
            self._flush(entry)

    def _access(self, index: int, leaf: Leaf, risk: Assessment) -> None:
        actor, day, relations = self._number(leaf.actor), risk.at // DAY_S, dict(risk.relations)
        role, team = self._number("+".join(sorted(leaf.roles))), self._number(risk.team)
        self._teams[actor] = team
        self.first, self.last = min(self.first, day), max(self.last, day)
        for group in leaf.groups:
            joined = 0
            for name in group.relations:
                joined |= relations.get(name, 0)
            for token, _, _ in group.subjects:
                client = self._number(token)
                sensitive = bool(joined & Relation.SENSITIVE)
                self._rows["access"].append((day, risk.at, actor, client, role, team, joined, sensitive))
                self._rows["entry"].append((day, actor, client, index))

    def _work(self, leaf: Leaf, at_s: int, actor: str) -> None:
        whose = self._number(actor)
        team = self._teams.get(whose, _NOBODY)
        for group in leaf.groups:
            for token, _, _ in group.subjects:
                self._rows["work"].append((at_s // DAY_S, at_s, self._number(token), whose, team))

    def _number(self, name: str) -> int:
        number = self._numbers.get(name)
        if number is None:
            number = self._numbers[name] = self._next
            self._rows["name"].append((number, name))
            self._next += 1
        return number

    def _load(self) -> None:
        ask = self.back.database.execute
        self._numbers: dict[str, int] = dict(ask("SELECT name, number FROM name").fetchall())
        self._next = max(self._numbers.values(), default=_NOBODY) + 1
        self._numbers[""] = _NOBODY
        self._teams: dict[int, int] = dict(
            ask("SELECT actor, arg_max(team, at_s) FROM access GROUP BY actor").fetchall()
        )
        first, last = ask("SELECT min(day), max(day) FROM access").fetchone() or (None, None)
        self.first, self.last = _NEVER if last is None else (first, last)
        self._taken: tuple[int, int, bytes] | None = ask("SELECT idx, ts, leaf FROM taken").fetchone()
        [self._since_us] = ask("SELECT since_us FROM taken").fetchone() or (0,)

    def _flush(self, last: Entry) -> None:
        """Puts what was read on the disk, and how far: all of it or none."""
        database = self.back.database
        database.execute("BEGIN")
        for table, rows in self._rows.items():
            if rows:
                columns = zip(_COLUMNS[table], zip(*rows, strict=True), strict=True)
                self.back.add(table, dict(columns))
                rows.clear()
        self._taken = last.index, last.leaf.ts, hashlib.sha256(last.data).digest()
        database.execute("DELETE FROM taken")
        database.execute("INSERT INTO taken VALUES (?, ?, ?, ?, ?)", [_FORM, self._since_us, *self._taken])
        database.execute("COMMIT")

    def _drop(self, since: int) -> None:
        """Takes out the days before a log time, and names that then nothing is about, every week or so."""
        day, ask = since // (DAY_S * 1_000_000), self.back.database.execute
        if self.first > day - _WEEK:
            return
        ask("BEGIN")
        for table in ("access", "work", "entry"):
            ask(f"DELETE FROM {table} WHERE day < ?", [day])  # noqa: S608  # names of ours
        ask(_UNNAMED)
        ask("UPDATE taken SET since_us = ?", [max(since, self._since_us)])
        ask("COMMIT")
        self._load()

    def _sealed(self, trail: Trail) -> bool:
        """Whether the log was pruned of entries that are here: what is kept no longer goes here, too."""
        sealed = trail.sealed()
        [first] = self.back.database.execute("SELECT min(idx) FROM entry").fetchone() or (None,)
        return sealed is not None and first is not None and first < sealed.floor

    def _forget(self) -> None:
        for table in (*_COLUMNS, "taken"):
            self.back.database.execute(f"DELETE FROM {table}")  # noqa: S608  # names of ours
        self._load()


def _goes_on(entries: Iterator[Entry], index: int, leaf: bytes) -> bool:
    """Whether the last entry that was taken is in this log; it is read up to it."""
    at = next((each for each in entries if each.index >= index), None)
    return at is not None and at.index == index and hashlib.sha256(at.data).digest() == leaf


@contextlib.contextmanager
def kept(place: Path, tenant: str) -> Iterator[Tables]:
    """What was taken of a tenant's log until now; who else wants it waits.

    Args:
        place: the file, but for an ending that tells tenants apart.

    Raises:
        StoreUnavailableError: the file cannot be used.
    """
    file = place.with_name(f"{place.name}-{hashlib.sha256(tenant.encode()).hexdigest()[:16]}.duckdb")
    mask = os.umask(0o077)  # DuckDB makes files of its own beside it
    with contextlib.ExitStack() as stack:
        stack.callback(os.umask, mask)
        try:
            stack.enter_context(locked(file))
            back = stack.enter_context(_opened(file))
        except OSError as error:
            raise StoreUnavailableError(
                f"What a look back has read cannot be kept ({error.strerror}): have [anomaly] look_back_file"
                " name a place that privguard may write."
            ) from None
        try:
            yield Tables(back)
        except duckdb.Error as error:
            _remove(file)
            raise StoreUnavailableError(
                f"Looking back failed ({type(error).__name__}). The next time it reads all it needs anew."
            ) from None


def _opened(file: Path) -> Lookback:
    if file.exists():
        with contextlib.suppress(duckdb.Error):
            back = Lookback(str(file))
            if back.database.execute("SELECT form FROM taken").fetchone() == (_FORM,):
                return back
            back.database.close()
        logger().info("look-back-begins-anew", cause="what it had read cannot be used")
        _remove(file)
    return Lookback(str(file))


def _remove(file: Path) -> None:
    for each in (file, file.with_name(f"{file.name}.wal")):
        each.unlink(missing_ok=True)


def since_us(now_us: int, days: int) -> int:
    """Log time from which entries are needed to look back at so many days."""
    before = timedelta(days=days + NEEDED + CLOSED + 1)
    start = datetime.fromtimestamp(now_us // 1_000_000, UTC).date() - before
    return (start - date(1970, 1, 1)).days * DAY_S * 1_000_000
