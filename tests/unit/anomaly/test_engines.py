"""The look back gives the same in PostgreSQL as in DuckDB."""

from __future__ import annotations

from typing import Any

import ibis
import ibis.expr.types as ir
import psycopg
import pytest

from privguard.anomaly import batch, drift, together
from privguard.oversight.lookback import Lookback
from tests.postgres import Server
from tests.unit.anomaly.test_batch import ANN, BOB, fill, look, ordinary, rows

TYPES = {
    "int32": "integer",
    "int64": "bigint",
    "boolean": "boolean",
    "string": "text",
    "float64": "double precision",
}
FIRST, LAST = 2, 60


class Engine:
    """The stages of a look back, one table each, in PostgreSQL."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection

    def hold(self, name: str, schema: dict[str, str], held: list[tuple[Any, ...]]) -> ir.Table:
        columns = ", ".join(f"{column} {TYPES[kind]}" for column, kind in schema.items())
        self.connection.execute(f"CREATE TABLE {name} ({columns})")
        with self.connection.cursor() as cursor:
            marks = ", ".join(["%s"] * len(schema))
            cursor.executemany(f"INSERT INTO {name} VALUES ({marks})", held)
        return ibis.table(schema, name=name)

    def make(self, name: str, expression: ir.Table) -> ir.Table:
        self.connection.execute(f"CREATE TABLE {name} AS {ibis.to_sql(expression, dialect='postgres')}")
        return ibis.table(expression.schema(), name=name)

    def judged(self, name: str, visit: ir.Table, work: ir.Table, first: int) -> ir.Table:
        done = self.make(f"{name}_done", batch.done(work, first))
        worked = self.make(f"{name}_worked", batch.worked(work, first))
        return self.make(name, batch.judged(visit, done, worked, first))


def test_postgresql_gives_what_duckdb_gives(postgres_server: Server) -> None:
    looks, work = ordinary(LAST)
    looks += [look(day, who, 7_000, at=2 * 3600) for day in (40, 41, 50, 57) for who in (ANN, BOB)]
    postgres_server.create("engines")
    with psycopg.connect(postgres_server.dsn("engines"), autocommit=True) as connection, Lookback() as back:
        fill(back, looks, work)
        back.learn(FIRST)
        back.judge(batch.BEFORE, LAST)
        back.trends()

        there = Engine(connection)
        access, done = there.hold("access", batch.ACCESS, looks), there.hold("work", batch.WORK, work)
        early = access.filter(access.day >= FIRST, access.day < FIRST + batch.MONTH)
        usual = there.make("usual", batch.hours(early))
        visit = there.make("visit", batch.visits(early, usual))
        both = ibis.union(visit, batch.strangers(visit))
        weights = there.make("weights", batch.learned(there.judged("learning", both, done, FIRST)))
        parts = []
        for at, first in enumerate(range(batch.BEFORE, LAST, batch.MONTH)):
            span = access.filter(access.day >= first, access.day < min(first + batch.MONTH, LAST))
            visit = there.make(f"visit_{at}", batch.visits(span, usual))
            parts.append(batch.scored(there.judged(f"judged_{at}", visit, done, first), weights))
        scored = there.make("scored", ibis.union(*parts))
        days = there.make("drift", drift.drift(drift.actor_days(scored)))
        there.make("doubt", drift.doubts(scored, days))
        there.make("surge", together.surges(scored))
        there.make("company", together.company(scored))
        for table, columns in {
            "scored": "day, actor, client, cell, why, score",
            "drift": "day, actor, visits, unexplained, night, expected, excess, drift",
            "doubt": "day, actor, client, doubt, habit",
            "surge": "day, client, actors, surge",
            "company": "day, actor, others, shared",
        }.items():
            asked = f"SELECT {columns} FROM {table} ORDER BY 1, 2, 3"
            here, found = rows(back, asked), connection.execute(asked).fetchall()  # type: ignore[call-overload]
            assert len(here) == len(found) > 0, table
            for one, other in zip(here, found, strict=True):
                assert one == pytest.approx(
                    tuple(float(each) if not isinstance(each, str) else each for each in other)
                ), table
