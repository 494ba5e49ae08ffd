"""Looks back over the log itself: days of staff out that nothing on record explains, with their entries.

The month before the days asked for says what is ordinary, and they are measured by it.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from privguard.anomaly import batch
from privguard.anomaly.levels import levels
from privguard.anomaly.measure import Budget, UserDay
from privguard.errors import NotOnRecordError
from privguard.oversight.lookback import Lookback
from privguard.oversight.tables import NEEDED, Tables

_SHOWN: Final = 10


class Finding(Struct, frozen=True):
    """A day of somebody, and why it stands out.

    Attributes:
        day: UTC, as ISO 8601 has it.
        level: from 1 on beyond what one in a thousand ordinary days reached.
        by: what the level is by, a name of ``anomaly.levels.FLOORS``.
        why: what explains the unexplained visits least, each by its odds: names of ``anomaly.batch.Why``.
        unexplained, expected: of ``visits``, by score.
        entries: indexes of the first unexplained ones, for ``privguard audit show``.
        new: it is in no case that was open already.
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
    new: bool = True

    @property
    def matter(self) -> tuple[str, str]:
        """What a case of it is of."""
        return self.actor, self.why


def found_in(tables: Tables, first: int, last: int, budget: Budget[tuple[str, str]]) -> list[Finding]:
    """The days of staff that stand out, from ``first`` to ``last``: what is new of each, and open cases.

    Raises:
        NotOnRecordError: the log does not go back far enough.
    """
    if first - tables.first < NEEDED:
        days = last - first + 1
        raise NotOnRecordError(
            f"The log has {max(0, tables.last - tables.first + 1)} days with accesses; to look back at {days}"
            f" takes {NEEDED + days}: two months say what is ordinary. Ask for fewer days, or wait."
        )
    back = tables.back
    back.learn(first - batch.MONTH)
    back.judge(first - batch.MONTH, last + 1)
    back.trends()
    known = levels(back.user_days(), range(first - batch.MONTH, first))
    reasons, found = back.reasons(), list[Finding]()
    for day in range(first, last + 1):
        keys = sorted((-level, key) for key, (level, _) in known.items() if key[0] == day and level >= 1.0)
        today = {
            each.matter: each
            for each in (
                _finding(back, key, tables.name_of(key[1]), reasons.get(key, ""), *known[key])
                for _, key in keys
            )
        }
        new, open_ = budget.on(day, today)
        found += [today[matter] for matter in new] + [replace(today[matter], new=False) for matter in open_]
    return found


def _finding(back: Lookback, key: UserDay, actor: str, why: str, level: float, by: str) -> Finding:
    ask = back.database.execute
    day = ask(
        "SELECT visits, unexplained, expected FROM drift WHERE day = ? AND actor = ?", list(key)
    ).fetchone()
    shown = ask(
        "SELECT min(idx) AS first FROM scored JOIN entry USING (day, actor, client)"
        " WHERE day = ? AND actor = ? AND score >= ? GROUP BY client ORDER BY first LIMIT ?",
        [*key, batch.UNEXPLAINED, _SHOWN],
    ).fetchall()
    visits, unexplained, expected = day or (0, 0.0, 0.0)
    return Finding(
        iso(key[0]), actor, round(level, 3), by, why, visits, round(unexplained, 3),
        round(expected, 3), [row[0] for row in shown],
    )  # fmt: skip


def iso(day: int) -> str:
    """A day since the epoch, as ISO 8601 has it."""
    return str(date(1970, 1, 1) + timedelta(days=day))
