"""Runs the expressions of B1 to B3 over a log, in DuckDB, a span of days at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final

import duckdb
import ibis
import ibis.expr.types as ir
import pyarrow as pa

from privguard.anomaly import batch, drift, together
from privguard.anomaly.measure import UserDay

_KEYS: Final = {"int32": pa.int32(), "int64": pa.int64(), "boolean": pa.bool_(), "string": pa.string()}

# A day stands out by what was done on it: a sum that it adds nothing to, and what others do at clients of
# somebody who has a reason for all of theirs, were told of before, and hid what is new (ADR 22).
_USER_DAYS: Final = {
    "excess": "SELECT day, actor, excess FROM drift",
    "drift": f"SELECT day, actor, drift FROM drift WHERE excess > {drift.SLACK}",  # noqa: S608  # a number
    "night": "SELECT day, actor, night FROM drift",
    "habit": "SELECT day, actor, max(habit) FROM doubt GROUP BY day, actor",
    "shared": "SELECT day, actor, shared FROM company JOIN drift USING (day, actor) WHERE unexplained > 0",
    "surge": "SELECT d.day, d.actor, max(surge) FROM doubt d JOIN surge USING (day, client)"
    " GROUP BY d.day, d.actor",
}

_REASONS: Final = """
SELECT DISTINCT ON (day, actor) day, actor, why FROM scored JOIN doubt USING (day, actor, client)
GROUP BY day, actor, why ORDER BY day, actor, sum(doubt / (1.0 - doubt)) DESC, why"""


class Lookback:
    """Tables of accesses and work, and of what was found; in memory, or in a file that stays.

    Args:
        memory: what DuckDB may take; beyond, numbers spill to disk, beside the file or where it was started.
    """

    def __init__(self, path: str = ":memory:", *, memory: str = "1500MB", threads: int = 2) -> None:
        self.database = duckdb.connect(path)
        self._kinds: dict[str, Mapping[str, str]] = {}
        settings = {
            "memory_limit": memory,
            "threads": threads,
            "preserve_insertion_order": False,
            "autoinstall_known_extensions": False,  # nothing is fetched from anywhere
            "autoload_known_extensions": False,
        }
        for name, value in settings.items():
            self.database.execute(f"SET {name} = {value!r}".lower())
        self.make("access", batch.ACCESS)
        self.make("work", batch.WORK)

    def __enter__(self) -> Lookback:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.database.close()

    def make(self, name: str, columns: Mapping[str, str]) -> None:
        """Makes a table, if it is not there; its columns' kinds are ibis's."""
        held = ", ".join(f"{column} {kind}" for column, kind in columns.items())
        self.database.execute(f"CREATE TABLE IF NOT EXISTS {name} ({held})")
        self._kinds[name] = columns

    def add(self, name: str, columns: Mapping[str, Sequence[Any]]) -> None:
        """Adds rows to a table, given by column, in the table's order."""
        rows = {each: pa.array(of, _KEYS[self._kinds[name][each]]) for each, of in columns.items()}
        self.database.register("added", pa.table(rows))
        self.database.execute(f"INSERT INTO {name} SELECT * FROM added")  # noqa: S608  # a name of ours
        self.database.unregister("added")

    def learn(self, first: int) -> None:
        """Takes from ``MONTH`` days roles' hours and what each cell is worth, for all judged from now on.

        What was judged before by others is forgotten.
        """
        self.database.execute("DROP TABLE IF EXISTS scored")
        self._make("usual", batch.hours(self._span(first, first + batch.MONTH)))
        visit = self._visits(first, first + batch.MONTH)
        both = ibis.union(visit, batch.strangers(visit))
        self._make("weights", batch.learned(batch.judged(both, self.table("work"), first)))

    def judge(self, first: int, end: int) -> None:
        """Scores the visits of some days; what was found of these days before is replaced.

        Args:
            end: the day after the last; its work should be there, as what follows a look is a reason.
        """
        parts = [(day, min(day + batch.MONTH, end)) for day in range(first, end, batch.MONTH)]
        for start, stop in parts:
            judged = batch.judged(self._visits(start, stop), self.table("work"), start)
            query = batch.sql(batch.scored(judged, self.table("weights")), "duckdb")
            if "scored" in self._names():
                self.database.execute("DELETE FROM scored WHERE day >= ? AND day < ?", [start, stop])
                self.database.execute(f"INSERT INTO scored {query}")
            else:
                self.database.execute(f"CREATE TABLE scored AS {query}")

    def trends(self) -> None:
        """B2 and B3, over all that is scored: drift, doubts in its light, surges around a client, company."""
        scored = self.table("scored")
        self._make("drift", drift.drift(drift.actor_days(scored)))
        self._make("doubt", drift.doubts(scored, self.table("drift")))
        self._make("surge", together.surges(scored))
        self._make("company", together.company(scored))

    def user_days(self) -> dict[str, dict[UserDay, float]]:
        """Each statistic of ``anomaly.levels`` by day and actor; of a surge, that of their busiest client."""
        return {
            name: {(row[0], row[1]): float(row[2]) for row in self.database.execute(query).fetchall()}
            for name, query in _USER_DAYS.items()
        }

    def reasons(self) -> dict[UserDay, str]:
        """What explains the unexplained visits of each day of an actor least, each by its odds.

        By their number it would be what is ordinary of a busy day, and not the one look that stands out.
        """
        rows = self.database.execute(_REASONS).fetchall()
        return {(day, actor): why for day, actor, why in rows}

    def table(self, name: str) -> ir.Table:
        """A table as ibis sees it, unbound: expressions are made without the database."""
        described = self.database.execute(f"DESCRIBE {name}").fetchall()
        kinds = {
            "BIGINT": "int64",
            "INTEGER": "int32",
            "HUGEINT": "int64",
            "DOUBLE": "float64",
            "BOOLEAN": "boolean",
            "VARCHAR": "string",
        }
        return ibis.table({row[0]: kinds.get(row[1], "int64") for row in described}, name=name)

    def columns(self, query: str) -> dict[str, list[Any]]:
        """The answer to a query, by column."""
        answer = self.database.execute(query)
        names = [column[0] for column in answer.description or ()]
        rows = answer.fetchall()
        return {name: [row[at] for row in rows] for at, name in enumerate(names)}

    def _visits(self, first: int, end: int) -> ir.Table:
        self._make("visit", batch.visits(self._span(first, end), self.table("usual")), "TEMP TABLE")
        return self.table("visit")

    def _span(self, first: int, end: int) -> ir.Table:
        access = self.table("access")
        return access.filter(access.day >= first, access.day < end)

    def _names(self) -> set[str]:
        return {row[0] for row in self.database.execute("SHOW TABLES").fetchall()}

    def _make(self, name: str, expression: ir.Table, kind: str = "TABLE") -> None:
        query = batch.sql(expression, "duckdb")
        self.database.execute(f"CREATE OR REPLACE {kind} {name} AS {query}")
