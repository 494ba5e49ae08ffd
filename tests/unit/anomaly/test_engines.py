"""The look back gives the same in PostgreSQL, ClickHouse and Spark as in DuckDB."""

from __future__ import annotations

import json
import site
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import ibis
import ibis.expr.types as ir
import psycopg
import pytest

from privguard.anomaly import batch, drift, together
from privguard.oversight.lookback import Lookback
from tests.postgres import Server
from tests.unit.anomaly.test_batch import ANN, BOB, did, fill, look, ordinary, rows

FIRST, LAST = 2, 60
APART = Path(__file__).parents[2] / ".cache/engines"
"""Where ``.ci/servers.sh engines`` installs those that are too large for the project's own environment."""
TABLES = {
    "scored": "day, actor, client, cell, why, score",
    "drift": "day, actor, visits, unexplained, night, expected, excess, drift",
    "doubt": "day, actor, client, doubt, habit",
    "surge": "day, client, actors, surge",
    "company": "day, actor, others, shared",
}

Rows = Sequence[Sequence[Any]]


class Engine(Protocol):
    """A database by its tables."""

    def hold(self, name: str, schema: Mapping[str, str], held: Rows) -> None:
        """Makes a table of rows."""
        ...

    def make(self, name: str, expression: ir.Table) -> None:
        """Makes a table of what an expression gives."""
        ...

    def ask(self, query: str) -> Rows:
        """The rows of an answer."""
        ...


class Postgres:
    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def hold(self, name: str, schema: Mapping[str, str], held: Rows) -> None:
        kinds = {"int32": "integer", "int64": "bigint", "boolean": "boolean"}
        self._connection.execute(f"CREATE TABLE {name} ({_columns(schema, kinds)})")  # type: ignore[call-overload]
        with self._connection.cursor() as cursor:
            cursor.executemany(f"INSERT INTO {name} VALUES ({', '.join(['%s'] * len(schema))})", held)  # type: ignore[arg-type]

    def make(self, name: str, expression: ir.Table) -> None:
        self._connection.execute(f"CREATE TABLE {name} AS {batch.sql(expression, 'postgres')}")  # type: ignore[call-overload]

    def ask(self, query: str) -> Rows:
        return self._connection.execute(query).fetchall()  # type: ignore[call-overload, no-any-return]


class ClickHouse:
    """The engine itself, in this process."""

    def __init__(self, session: Any) -> None:
        self._session = session
        session.query("SET join_use_nulls = 1")  # as the standard, and ibis, has it

    def hold(self, name: str, schema: Mapping[str, str], held: Rows) -> None:
        kinds = {"int32": "Int32", "int64": "Int64", "boolean": "Bool"}
        self._session.query(f"CREATE TABLE {name} ({_columns(schema, kinds)}) ENGINE = Memory")
        lines = "\n".join(json.dumps(row) for row in held)
        self._session.query(f"INSERT INTO {name} FORMAT JSONCompactEachRow {lines}")

    def make(self, name: str, expression: ir.Table) -> None:
        self._session.query(f"CREATE TABLE {name} ENGINE = Memory AS {batch.sql(expression, 'clickhouse')}")

    def ask(self, query: str) -> Rows:
        answer = str(self._session.query(query, "JSONCompactEachRow"))
        return [json.loads(line) for line in answer.splitlines()]


class Spark:
    """In local mode."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def hold(self, name: str, schema: Mapping[str, str], held: Rows) -> None:
        kinds = {"int32": "int", "int64": "bigint", "boolean": "boolean"}
        self._session.createDataFrame(held, _columns(schema, kinds)).createOrReplaceTempView(name)

    def make(self, name: str, expression: ir.Table) -> None:
        made = self._session.sql(batch.sql(expression, "pyspark")).cache()
        made.createOrReplaceTempView(name)

    def ask(self, query: str) -> Rows:
        return [tuple(row) for row in self._session.sql(query).collect()]


def _columns(schema: Mapping[str, str], kinds: Mapping[str, str]) -> str:
    return ", ".join(f"{column} {kinds[kind]}" for column, kind in schema.items())


def look_back(there: Engine, looks: Rows, work: Rows) -> None:
    """The stages of ``Lookback``, one table each."""

    def made(name: str, expression: ir.Table) -> ir.Table:
        there.make(name, expression)
        return ibis.table(expression.schema(), name=name)

    def judged(name: str, visit: ir.Table, first: int) -> ir.Table:
        return made(name, batch.judged(visit, done, first))

    there.hold("access", batch.ACCESS, looks)
    there.hold("work", batch.WORK, work)
    access, done = ibis.table(batch.ACCESS, name="access"), ibis.table(batch.WORK, name="work")
    early = access.filter(access.day >= FIRST, access.day < FIRST + batch.MONTH)
    usual = made("usual", batch.hours(early))
    visit = made("visit", batch.visits(early, usual))
    both = ibis.union(visit, batch.strangers(visit))
    weights = made("weights", batch.learned(judged("learning", both, FIRST)))
    parts = []
    for at, first in enumerate(range(batch.BEFORE, LAST, batch.MONTH)):
        span = access.filter(access.day >= first, access.day < min(first + batch.MONTH, LAST))
        visit = made(f"visit_{at}", batch.visits(span, usual))
        parts.append(batch.scored(judged(f"judged_{at}", visit, first), weights))
    scored = made("scored", ibis.union(*parts))
    made("doubt", drift.doubts(scored, made("drift", drift.drift(drift.actor_days(scored)))))
    made("surge", together.surges(scored))
    made("company", together.company(scored))


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    if request.param == "postgres":
        server: Server = request.getfixturevalue("postgres_server")
        server.create("engines")
        with psycopg.connect(server.dsn("engines"), autocommit=True) as connection:
            yield Postgres(connection)
        return
    if not (APART / "installed").exists():
        pytest.skip("ClickHouse and Spark are absent (.ci/servers.sh engines installs them)")
    for packages in APART.glob("lib/*/site-packages"):
        site.addsitedir(str(packages))
    if request.param == "clickhouse":
        from chdb.session import Session

        with Session() as session:
            yield ClickHouse(session)
        return
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[1]").config("spark.driver.bindAddress", "127.0.0.1")
    for name, value in {
        "driver.host": "127.0.0.1",
        "driver.memory": "1g",
        "ui.enabled": "false",
        "sql.shuffle.partitions": "1",
        "sql.adaptive.enabled": "false",
        "sql.ansi.enabled": "true",
        # a few thousand rows: to compile each query would take longer than all of them
        "sql.codegen.wholeStage": "false",
        "sql.codegen.factoryMode": "NO_CODEGEN",
        "driver.extraJavaOptions": "-XX:TieredStopAtLevel=1",
    }.items():
        builder = builder.config(f"spark.{name}", value)
    _ = ibis.pyspark  # its compiler reads the back end's options
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    try:
        yield Spark(session)
    finally:
        session.stop()


@pytest.mark.filterwarnings("ignore:PySpark does not yet:FutureWarning")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("engine", ["postgres", "clickhouse", "spark"], indirect=True)
def test_an_engine_gives_what_duckdb_gives(engine: Engine) -> None:
    looks, work = ordinary(LAST)
    looks += [look(day, who, 7_000, at=2 * 3600) for day in (40, 41, 50, 57) for who in (ANN, BOB)]
    work += [did(day, 7_000, ANN, 2 * 3600) for day in (50, 57)]  # a look's own record
    with Lookback() as back:
        fill(back, looks, work)
        back.learn(FIRST)
        back.judge(batch.BEFORE, LAST)
        back.trends()
        look_back(engine, looks, work)
        for table, columns in TABLES.items():
            asked = f"SELECT {columns} FROM {table} ORDER BY 1, 2, 3"
            here, found = rows(back, asked), engine.ask(asked)
            assert len(here) == len(found) > 0, table
            for one, other in zip(here, found, strict=True):
                expected = tuple(each if isinstance(each, str) else float(each) for each in other)
                assert one == pytest.approx(expected), table
