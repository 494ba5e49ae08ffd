"""What explains a visit, who drifts, who looks together: small logs whose answers are known."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import ibis
import pytest

from privguard.anomaly import batch, drift, together
from privguard.anomaly.access import Relation
from privguard.anomaly.batch import MONTH, Why
from privguard.oversight.lookback import Lookback

DAY = 86_400
NINE = 9 * 3600
ANN, BOB, EVE = 1, 2, 3
TEAM = {ANN: 10, BOB: 10, EVE: 20}


def look(day: int, actor: int, client: int, relations: int = 0, at: int = NINE) -> tuple[Any, ...]:
    return (day, day * DAY + at, actor, client, 7, TEAM.get(actor, actor % 5), relations, False)


def did(day: int, client: int, actor: int, at: int = NINE + 600) -> tuple[Any, ...]:
    return (day, day * DAY + at, client, actor, TEAM.get(actor, actor % 5))


def fill(back: Lookback, looks: Sequence[tuple[Any, ...]], work: Sequence[tuple[Any, ...]]) -> None:
    back.add("access", dict(zip(batch.ACCESS, zip(*looks, strict=True), strict=True)))
    if work:
        back.add("work", dict(zip(batch.WORK, zip(*work, strict=True), strict=True)))


@pytest.fixture
def back() -> Iterator[Lookback]:
    with Lookback() as made:
        yield made


def ordinary(days: int, seed: int = 1) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """Twenty staff, each with work for whom they look at, of 2,000 clients; one visit of 50 has none."""
    draws, looks, work = random.Random(seed), list[tuple[Any, ...]](), list[tuple[Any, ...]]()
    for day in range(days):
        for actor in range(100, 120):
            for _ in range(12):
                client, at = draws.randrange(2000), draws.randrange(NINE, 2 * NINE)
                looks.append(look(day, actor, client, at=at))
                if draws.random() < 0.98:
                    work.append(did(day, client, actor, at + 300))
    return looks, work


def rows(back: Lookback, query: str) -> list[tuple[Any, ...]]:
    return back.database.execute(query).fetchall()


FIRST = MONTH + 2
"""The first day that a month of work and a month to learn from lie before."""


CASES: Sequence[tuple[int, list[tuple[int, int, int]], Why]] = [  # relations, work as (day, actor, at), why
    (0, [], Why.NOBODY),
    (int(Relation.BRANCH), [], Why.BRANCH),
    (int(Relation.PORTFOLIO), [], Why.RELATION),
    (int(Relation.BRANCH | Relation.KIN), [], Why.PRIVATE),
    (int(Relation.KIN), [(40, ANN, NINE + 600)], Why.OWN_WORK),
    (0, [(40, ANN, NINE + 600)], Why.OWN_WORK),
    (0, [(40, ANN, NINE)], Why.NOBODY),  # the look's own record
    (0, [(41, ANN, NINE)], Why.OWN_WORK),
    (0, [(38, ANN, NINE)], Why.OWN_WORK),
    (0, [(37, ANN, NINE)], Why.OWN_BEFORE),
    (0, [(10, ANN, NINE)], Why.OWN_BEFORE),
    (0, [(9, ANN, NINE)], Why.NOBODY),
    (0, [(42, ANN, NINE)], Why.NOBODY),
    (0, [(40, BOB, NINE + 600)], Why.TEAM_WORK),
    (0, [(39, BOB, NINE)], Why.TEAM_WORK),
    (0, [(39, EVE, NINE)], Why.NO_FOLLOW_UP),
]


def test_a_visit_is_explained_by_what_is_on_record_around_it(back: Lookback) -> None:
    """Each case has a client of its own."""
    looks = [look(40, ANN, client, relations) for client, (relations, _, _) in enumerate(CASES)]
    work = [did(day, client, *who) for client, (_, done, _) in enumerate(CASES) for day, *who in done]
    fill(back, [*looks, look(39, BOB, 99)], work)
    back.learn(FIRST)
    back.judge(40, 41)
    assert rows(back, "SELECT client, why FROM scored ORDER BY client") == [
        (client, why.value) for client, (_, _, why) in enumerate(CASES)
    ]


def bits_of(visit: tuple[int, int, int, int, int], work: Sequence[tuple[Any, ...]]) -> int:
    """What the cell says of work, by its definition, a row at a time."""
    day, actor, client, first, last = visit
    cell = 0
    for who, mine in enumerate((
        lambda _, one: one == actor, lambda team, _: team == TEAM[actor], lambda *_: True
    )):  # fmt: skip
        at = [(on, then) for on, then, whose, one, team in work if whose == client and mine(team, one)]
        found = (
            who < 2 and any(on == day and (then < last or then > first) for on, then in at),
            any(on - day in (-2, -1, 1) for on, _ in at),
            any(-MONTH - 2 <= on - day < -2 for on, _ in at),
        )
        cell |= sum(bit << place for place, bit in enumerate(found)) << 3 * who
    return cell & 0b111111 | cell >> 7 << 6


@pytest.mark.parametrize("seed", range(2))
def test_a_cell_is_what_its_definition_says(back: Lookback, seed: int) -> None:
    """Of few clients, days and moments, so that work is at the moment of a look as often as not."""
    draws = random.Random(seed)

    def some(days: int, count: int) -> list[tuple[int, int, int, int]]:
        return [
            (draws.randrange(days), draws.choice([ANN, BOB, EVE]), draws.randrange(15), draws.randrange(2))
            for _ in range(count)
        ]

    looks = [look(30 + day, who, client, at=NINE + at) for day, who, client, at in some(9, 400)]
    work = [did(day, client, who, NINE + at) for day, who, client, at in some(62, 600)]
    fill(back, [*looks, look(2, BOB, 99), look(3, ANN, 98)], work)
    back.learn(2)
    back.judge(30, 60)
    seen: dict[tuple[int, int, int], list[int]] = {}
    for day, at, who, client, *_ in looks:
        seen.setdefault((day, who, client), []).append(at)
    expected = {key: bits_of((*key, min(at), max(at)), work) for key, at in seen.items()}
    found = {tuple(key): cell for *key, cell in rows(back, "SELECT day, actor, client, cell FROM scored")}
    assert found == expected


def test_work_explains_and_chance_does_not(back: Lookback) -> None:
    looks, work = ordinary(60)
    snoop = [look(day, ANN, 1999 - day, at=NINE) for day in range(33, 60)]
    fill(back, looks + snoop, work)
    back.learn(2)
    back.judge(30, 60)
    [(mine,)] = rows(back, f"SELECT avg(score) FROM scored WHERE actor = {ANN}")
    [(theirs,)] = rows(back, f"SELECT avg(score) FROM scored WHERE actor <> {ANN}")
    assert mine > 0.9
    assert theirs < 0.1


def test_kin_and_sensitive_clients_are_looked_at_more_closely(back: Lookback) -> None:
    looks, work = ordinary(60)
    known = [did(day, 5, EVE) for day in range(30, 50)]
    famous = (*look(50, ANN, 5)[:-1], True)
    fill(back, [*looks, look(50, BOB, 5), famous, look(50, EVE + 1, 5, int(Relation.KIN))], work + known)
    back.learn(20)
    back.judge(48, 51)
    scores = dict(rows(back, f"SELECT actor, score FROM scored WHERE client = 5 AND actor < {EVE + 2}"))
    assert scores[BOB] < scores[ANN] < scores[EVE + 1]


def test_a_log_taken_day_by_day_gives_what_it_gives_at_once() -> None:
    looks, work = ordinary(64)
    found = []
    for step in (2, 64):
        with Lookback() as back:
            fill(back, looks, work)
            back.learn(2)
            for first in range(52, 64, step):
                back.judge(first, min(64, first + step))
            back.judge(54, 56)  # a second time changes nothing
            back.trends()
            sums = "day, actor, round(excess, 9), round(drift, 9)"
            shared = "day, actor, others, round(shared, 9)"
            doubt = "day, actor, client, round(doubt, 9), round(habit, 9)"
            parts = (
                ("scored", "*"),
                ("drift", sums),
                ("surge", "day, client, actors, round(surge, 9)"),
                ("company", shared),
                ("doubt", doubt),
            )
            found.append([sorted(rows(back, f"SELECT {of} FROM {name}")) for name, of in parts])
    assert found[0] == found[1]


def days_of(back: Lookback, unexplained: Sequence[Sequence[float]]) -> list[list[tuple[float, float]]]:
    """(excess, drift) of each day of each actor, of 20 visits a day of which so many are unexplained."""
    back.database.execute(
        "CREATE TABLE d (day BIGINT, actor BIGINT, role BIGINT, visits BIGINT, unexplained DOUBLE)"
    )
    for actor, values in enumerate(unexplained):
        for day, value in enumerate(values):
            back.database.execute("INSERT INTO d VALUES (?, ?, 1, 20, ?)", [day, actor, value])
    back.database.execute(f"CREATE TABLE f AS {ibis.to_sql(drift.drift(back.table('d')), dialect='duckdb')}")
    return [
        rows(back, f"SELECT excess, drift FROM f WHERE actor = {actor} ORDER BY day")
        for actor in range(len(unexplained))
    ]


def test_drift_is_the_sum_that_never_falls_below_zero(back: Lookback) -> None:
    draws = random.Random(3)
    for found in days_of(back, [[draws.random() * 3 for _ in range(40)] for _ in range(3)]):
        level = 0.0
        for excess, drifted in found:
            level = max(0.0, level + min(excess, 5.0) - 0.5)
            assert drifted == pytest.approx(level, abs=1e-9)


def test_who_ramps_up_slowly_for_60_days_drifts_all_the_same(back: Lookback) -> None:
    """Poisoning: a visit more every five days; what is usual of the role bounds what is learned."""
    draws = random.Random(4)
    staff = [[float(draws.random() < 0.4) for _ in range(90)] for _ in range(8)]
    slow = [0.4 + max(0, day - 20) / 5 for day in range(90)]
    *others, found = days_of(back, [*staff, slow])
    assert max(drifted for each in others for _, drifted in each) < 10
    assert found[60][1] > 30


def scored_of(back: Lookback, visits: Sequence[tuple[int, int, int, float]]) -> Any:
    back.database.execute("CREATE TABLE scored (day BIGINT, actor BIGINT, client BIGINT, score DOUBLE)")
    back.database.executemany("INSERT INTO scored VALUES (?, ?, ?, ?)", visits)
    return back.table("scored")


def test_a_surge_is_several_staff_within_two_days(back: Lookback) -> None:
    odd = [(4, actor, 77, 0.9) for actor in range(4)] + [(5, actor, 77, 0.8) for actor in range(3, 7)]
    calm = [(4, 20, 78, 0.1), (4, 21, 78, 0.1), (4, 22, 79, 0.9), (8, 23, 79, 0.9)]
    query = ibis.to_sql(together.surges(scored_of(back, odd + calm)), dialect="duckdb")
    assert sorted(rows(back, f"SELECT day, client, actors, round(surge, 6) FROM ({query})")) == [
        (4, 77, 4, 3.6), (5, 77, 7, 6.0), (6, 77, 4, 3.2),
    ]  # fmt: skip


def test_company_is_clients_shared_without_a_reason(back: Lookback) -> None:
    """Two of three always look at the same ones; a month later, or with a reason, is no company."""
    group = [(day, actor, 100 + day * 3 + actor % 2, 0.9) for day in range(6) for actor in (1, 2, 3)]
    alone = [(day, 9, 500 + day, 0.9) for day in range(6)] + [(2, 9, 106, 0.9), (2, 8, 107, 0.2)]
    late = [(60, 7, 100, 0.9), (60, 7, 101, 0.9), (61, 7, 103, 0.9)]
    others = [(2, 50, 10_000 + client, 0.1) for client in range(5000)]
    query = ibis.to_sql(together.company(scored_of(back, group + alone + late + others)), dialect="duckdb")
    last = rows(back, f"SELECT actor, max(others), max(shared) FROM ({query}) GROUP BY actor ORDER BY actor")
    assert [(actor, with_whom, round(shared)) for actor, with_whom, shared in last] == [(1, 1, 6), (3, 1, 6)]


def test_who_looks_at_many_clients_shares_some_by_chance(back: Lookback) -> None:
    draws = random.Random(6)
    busy = [
        (day, actor, draws.randrange(100), 0.9) for day in range(20) for actor in (1, 2) for _ in range(5)
    ]
    query = ibis.to_sql(together.company(scored_of(back, busy)), dialect="duckdb")
    [(common, shared)] = rows(back, f"SELECT count(*), max(shared) FROM ({query})")
    assert common
    assert shared < 6


def test_a_habit_and_an_odd_hour_make_a_look_more_doubtful(back: Lookback) -> None:
    looks, work = ordinary(60)
    habit = [look(day, ANN, 5000) for day in (50, 53, 56)]
    fill(back, [*looks, *habit, look(50, BOB, 5001), look(50, EVE, 5002, at=2 * 3600)], work)
    back.learn(20)
    back.judge(48, 60)
    back.trends()
    of = dict(rows(back, "SELECT (actor, day)::VARCHAR, habit FROM doubt WHERE client >= 5000"))
    assert of["(1, 50)"] == of["(2, 50)"] < of["(1, 53)"] < of["(1, 56)"]
    assert of["(3, 50)"] > of["(2, 50)"]
    assert rows(back, "SELECT why FROM scored WHERE client = 5002") == [(Why.ODD_HOUR.value,)]
    assert rows(back, f"SELECT night > 0 FROM drift WHERE actor = {EVE}") == [(True,)]
    [(first,), (last,)] = rows(
        back, "SELECT doubt FROM doubt WHERE client IN (5000, 5001) AND day = 50 ORDER BY client DESC"
    )
    assert last > first


def test_expressions_compile_for_engines_that_have_outgrown_a_machine() -> None:
    access, work = ibis.table(batch.ACCESS, name="access"), ibis.table(batch.WORK, name="work")
    usual = batch.hours(access)
    visit = ibis.table(batch.visits(access, usual).schema(), name="visit")
    judged = ibis.table(batch.judged(visit, work, 40).schema(), name="judged")
    weights = ibis.table(batch.learned(judged).schema(), name="weights")
    scored = ibis.table(batch.scored(judged, weights).schema(), name="scored")
    days = ibis.table(drift.drift(drift.actor_days(scored)).schema(), name="drift")
    stages = (
        batch.visits(access, usual),
        batch.strangers(visit),
        batch.judged(visit, work, 40),
        batch.learned(judged),
        batch.scored(judged, weights),
        drift.drift(drift.actor_days(scored)),
        drift.doubts(scored, days),
        together.surges(scored),
        together.company(scored),
    )
    for each in stages:
        for dialect in ("postgres", "clickhouse", "trino"):
            assert "SELECT" in batch.sql(each, dialect)


def test_a_day_stands_out_by_what_was_done_on_it(back: Lookback) -> None:
    """Two snoop at the same clients, one of them again later; on ordinary days neither stands out."""
    looks, work = ordinary(60)
    for day in range(45, 60):
        looks += [look(day, who, 3_000 + who) for who in (ANN, EVE)]
        work += [did(day, 3_000 + who, who) for who in (ANN, EVE)]
    looks += [look(day, who, 6_000 + at) for day in (50, 51) for who in (ANN, EVE) for at in range(10)]
    looks += [look(55, EVE, 6_000 + at) for at in range(10)]
    fill(back, looks, work)
    back.learn(20)
    back.judge(45, 60)
    back.trends()
    found, days = back.user_days(), range(50, 60)
    drifting = dict(rows(back, f"SELECT day, drift FROM drift WHERE actor = {EVE}"))
    assert min(drifting[day] for day in days) > 4
    assert [day for day in days if (day, EVE) in found["drift"]] == [50, 51, 55]
    assert (55, ANN) in rows(back, "SELECT day, actor FROM company WHERE shared > 0")
    assert [day for day in days if (day, ANN) in found["shared"]] == [50, 51]


def test_a_day_is_named_for_the_looks_that_weigh_most(back: Lookback) -> None:
    """One look at kin among a busy day's three; or several alike, which one more of another kind is not."""
    private, team, nobody = Why.PRIVATE.value, Why.TEAM_WORK.value, Why.NOBODY.value
    looks = [
        *((1, 7, client, 0.93, team) for client in range(3)), (1, 7, 3, 0.999, private),
        *((2, 7, client, 0.97, nobody) for client in range(3)), (2, 7, 3, 0.98, private),
        (3, 7, 1, 0.9, nobody), (3, 8, 1, 0.9, team),
    ]  # fmt: skip
    back.database.execute("CREATE TABLE doubt (day INT, actor INT, client INT, doubt DOUBLE, why VARCHAR)")
    back.database.executemany("INSERT INTO doubt VALUES (?, ?, ?, ?, ?)", looks)
    back.database.execute("CREATE TABLE scored AS SELECT day, actor, client, why FROM doubt")
    back.database.execute("ALTER TABLE doubt DROP COLUMN why")
    assert back.reasons() == {(1, 7): private, (2, 7): nobody, (3, 7): nobody, (3, 8): team}
