"""Looks back over the log itself: entries in, days of staff out that nothing on record explains.

1. Every entry of an access becomes a visit of the client's token; nobody's name is needed, and none is kept.
2. What says that somebody had work becomes work: entries of ``crm:client:work``, and writes that succeeded.
3. The month before the days asked for says what is ordinary, and they are measured by it.

Lists are left out: nobody has work with all clients of a list, so nothing would explain them; the inline
checker holds them against other lists.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from msgspec import Struct

from privguard.anomaly import batch
from privguard.anomaly.levels import levels
from privguard.anomaly.measure import UserDay
from privguard.audit.record import Leaf
from privguard.errors import NotOnRecordError
from privguard.model import Assessment
from privguard.oversight.following import works
from privguard.oversight.lookback import Lookback
from privguard.oversight.trail import Entry

DAY_S: Final = 86_400
NEEDED: Final = batch.BEFORE + batch.MONTH
"""Days of log before the first that can be judged."""
CLOSED: Final = 10
"""Days in a row on which nobody may have looked at anything: how old the log is, its first look says."""
_BATCH: Final = 50_000
_WRITES: Final = frozenset({"create", "update", "delete"})
_REFUSED: Final = 400
_SHOWN: Final = 10


class Finding(Struct, frozen=True):
    """A day of somebody, and why it stands out.

    Attributes:
        day: UTC, as ISO 8601 has it.
        level: from 1 on beyond what one in a thousand ordinary days reached.
        by: what the level is by, a name of ``anomaly.levels.FLOORS``.
        why: what explains the most of the unexplained visits least: names of ``anomaly.batch.Why``.
        unexplained, expected: of ``visits``, by score.
        entries: indexes of the first unexplained ones, for ``privguard audit show``.
    """

    day: str
    actor: str
    level: float
    by: str
    why: str
    visits: int
    unexplained: float
    expected: float
    entries: list[int]


class Findings:
    """Entries as tables, and what is found in them. ``back`` gets a table of entries' indexes as well."""

    def __init__(self, back: Lookback) -> None:
        self._back = back
        self._numbers: dict[str, int] = {"": -1}
        self._teams: dict[str, str] = {}
        self._rows: dict[str, list[tuple[Any, ...]]] = {"access": [], "work": []}
        back.database.execute("CREATE TABLE entry (day BIGINT, actor BIGINT, client BIGINT, idx BIGINT)")
        self._entries: list[tuple[int, int, int, int]] = []
        self.first, self.last = 1 << 40, -1

    def take(self, entries: Iterable[Entry]) -> None:
        """Puts entries into the tables, in flat memory but for names and tokens."""
        for entry in entries:
            leaf = entry.leaf
            if works(leaf):
                self._work(leaf, int(leaf.about["at"]), leaf.about["for"])
            elif leaf.outcome == "permitted":
                if leaf.risk is not None and not leaf.risk.many:
                    self._access(entry.index, leaf, leaf.risk)
                if leaf.action.rpartition(":")[2] in _WRITES and leaf.status < _REFUSED:
                    self._work(leaf, leaf.risk.at if leaf.risk else leaf.ts // 1_000_000, leaf.actor)
            if len(self._entries) + len(self._rows["work"]) >= _BATCH:
                self._flush()
        self._flush()

    def found(self, first: int, last: int, budget: int) -> list[Finding]:
        """The days of staff that stand out, from ``first`` to ``last``: of each at most ``budget``.

        Raises:
            NotOnRecordError: the log does not go back far enough.
        """
        if first - self.first < NEEDED:
            days = last - first + 1
            raise NotOnRecordError(
                f"The log has {max(0, self.last - self.first + 1)} days with accesses; to look back at {days}"
                f" takes {NEEDED + days}: two months say what is ordinary. Ask for fewer days, or wait."
            )
        self._back.learn(first - batch.MONTH)
        self._back.judge(first - batch.MONTH, last + 1)
        self._back.trends()
        known = levels(self._back.user_days(), range(first - batch.MONTH, first))
        chosen = list[UserDay]()
        for day in range(first, last + 1):
            today = sorted(
                (-level, key) for key, (level, _) in known.items() if key[0] == day and level >= 1.0
            )
            chosen += [key for _, key in today[:budget]]
        names = {number: name for name, number in self._numbers.items()}
        return [self._finding(key, names[key[1]], *known[key]) for key in chosen]

    def _access(self, index: int, leaf: Leaf, risk: Assessment) -> None:
        actor, day, relations = self._number(leaf.actor), risk.at // DAY_S, dict(risk.relations)
        self._teams[leaf.actor] = risk.team
        role, team = self._number("+".join(sorted(leaf.roles))), self._number(risk.team)
        self.first, self.last = min(self.first, day), max(self.last, day)
        for group in leaf.groups:
            joined = 0
            for name in group.relations:
                joined |= relations.get(name, 0)
            for token, _, _ in group.subjects:
                client = self._number(token)
                self._rows["access"].append((day, risk.at, actor, client, role, team, joined, False))
                self._entries.append((day, actor, client, index))

    def _work(self, leaf: Leaf, at_s: int, actor: str) -> None:
        whose, team = self._number(actor), self._number(self._teams.get(actor, ""))
        for group in leaf.groups:
            for token, _, _ in group.subjects:
                self._rows["work"].append((at_s // DAY_S, at_s, self._number(token), whose, team))

    def _number(self, name: str) -> int:
        return self._numbers.setdefault(name, len(self._numbers))

    def _flush(self) -> None:
        for table, schema in (("access", batch.ACCESS), ("work", batch.WORK)):
            rows = self._rows[table]
            if rows:
                self._back.add(table, dict(zip(schema, zip(*rows, strict=True), strict=True)))
                rows.clear()
        if self._entries:
            columns = zip(*self._entries, strict=True)
            self._back.add("entry", dict(zip(("day", "actor", "client", "idx"), columns, strict=True)))
            self._entries.clear()

    def _finding(self, key: UserDay, actor: str, level: float, by: str) -> Finding:
        ask = self._back.database.execute
        day = ask(
            "SELECT visits, unexplained, expected FROM drift WHERE day = ? AND actor = ?", list(key)
        ).fetchone()
        odd = ask(
            "SELECT why FROM scored WHERE day = ? AND actor = ? AND score >= ?"
            " GROUP BY why ORDER BY count(*) DESC, why LIMIT 1",
            [*key, batch.UNEXPLAINED],
        ).fetchone()
        shown = ask(
            "SELECT min(idx) AS first FROM scored JOIN entry USING (day, actor, client)"
            " WHERE day = ? AND actor = ? AND score >= ? GROUP BY client ORDER BY first LIMIT ?",
            [*key, batch.UNEXPLAINED, _SHOWN],
        ).fetchall()
        visits, unexplained, expected = day or (0, 0.0, 0.0)
        return Finding(
            iso(key[0]), actor, round(level, 3), by, odd[0] if odd else "", visits, round(unexplained, 3),
            round(expected, 3), [row[0] for row in shown],
        )  # fmt: skip


def iso(day: int) -> str:
    """A day since the epoch, as ISO 8601 has it."""
    return str(date(1970, 1, 1) + timedelta(days=day))


def since_us(now_us: int, days: int) -> int:
    """Log time from which entries are needed to look back at so many days."""
    before = timedelta(days=days + NEEDED + CLOSED + 1)
    start = datetime.fromtimestamp(now_us // 1_000_000, UTC).date() - before
    return (start - date(1970, 1, 1)).days * DAY_S * 1_000_000
