"""What staff should not do, as definitions: who looks at whom, how often, for how long.

Each takes the population, a generator and the days it may lie in, and says what one insider or group does.
They know nothing of detectors, and fit a real log as well as the simulator's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

from privguard.anomaly.simulate.draws import Draws, chosen, sample
from privguard.anomaly.simulate.plan import BUSY, DAY, Look, Plan, Population

Span = tuple[int, int]
"""First day, and the day after the last."""
Scenario = Callable[[Population, Draws, Span], Plan]


def _within(draws: Draws, span: Span, low: int, high: int) -> Span:
    """``low`` to ``high`` days somewhere in the span; as many as it has, if it is shorter."""
    length = min(draws.randrange(low, high + 1), span[1] - span[0])
    first = span[0] + draws.randrange(0, span[1] - span[0] - length + 1)
    return first, first + length


def _workdays(people: Population, span: Span) -> Iterator[int]:
    return (day for day in range(*span) if people.workday(day))


def _at(people: Population, draws: Draws, day: int, first_h: float = 9, last_h: float = 17) -> int:
    return people.start_s + day * DAY + draws.randrange(int(first_h * 3600), int(last_h * 3600))


def vip(people: Population, draws: Draws, span: Span) -> Plan:
    """After news: 5–25 staff, 1–3 views each within 48 h."""
    first, _ = _within(draws, span, 3, 3)
    client = people.vip(draws.random())
    curious = sample(draws, people.staff, draws.randrange(5, 26))
    return Plan([
        Look(_at(people, draws, first + draws.randrange(0, 2)), actor, client)
        for actor in curious for _ in range(draws.randrange(1, 4))
    ])  # fmt: skip


def _acquaintance(kind: str) -> Scenario:
    def scenario(people: Population, draws: Draws, span: Span) -> Plan:
        actor, plan = chosen(draws, people.staff), Plan()
        client = people.close(actor, kind, draws.random())
        first, end = _within(draws, span, 4 * 7, 26 * 7)
        for week in range(first, end, 7):
            days = list(_workdays(people, (week, min(week + 7, end))))
            for day in sample(draws, days, draws.randrange(1, 3)):
                plan.looks.append(Look(_at(people, draws, day), actor, client))
        return plan

    scenario.__doc__ = f"A {kind}'s record: 1–2 looks a week for 4–26 weeks."
    return scenario


def bulk(people: Population, draws: Draws, span: Span) -> Plan:
    """100–500 distinct clients in 15–60 minutes, or one export: as many in two minutes."""
    actor, count = chosen(draws, people.staff), draws.randrange(100, 501)
    day = chosen(draws, list(_workdays(people, span)))
    at = _at(people, draws, day, 9, 16)
    lasts = 120 if draws.random() < 0.25 else draws.randrange(900, 3601)
    return Plan([
        Look(at + lasts * each // count, actor, people.stranger(actor, day, draws.random()))
        for each in range(count)
    ])  # fmt: skip


def slow(people: Population, draws: Draws, span: Span) -> Plan:
    """5–15 unrelated clients a day for 20–550 days."""
    actor = chosen(draws, people.staff)
    return _daily(people, draws, actor, _within(draws, span, 20, 550), 5, 15)


def _daily(people: Population, draws: Draws, actor: str, span: Span, low: int, high: int) -> Plan:
    return Plan([
        Look(_at(people, draws, day), actor, people.stranger(actor, day, draws.random()))
        for day in _workdays(people, span) for _ in range(draws.randrange(low, high + 1))
    ])  # fmt: skip


def off_hours(people: Population, draws: Draws, span: Span) -> Plan:
    """10–30 views between 22 and 05 h on 1–3 nights."""
    actor, plan = chosen(draws, people.staff), Plan()
    first, end = _within(draws, span, 5, 5)
    for night in sample(draws, range(first, end), draws.randrange(1, 4)):
        for _ in range(draws.randrange(10, 31)):
            client = people.stranger(actor, night, draws.random())
            plan.looks.append(Look(_at(people, draws, night, 22, 29), actor, client))
    return plan


def unrelated(people: Population, draws: Draws, span: Span) -> Plan:
    """20–40 % of the views outside branch and portfolio for 5–20 days."""
    actor, share = chosen(draws, people.staff), 0.2 + 0.2 * draws.random()
    count = max(2, round(people.daily(actor) * share / (1 - share)))
    return _daily(people, draws, actor, _within(draws, span, 5, 20), count, count)


def takeover(people: Population, draws: Draws, span: Span) -> Plan:
    """New device and network, too far away to travel; 30–200 views/h at a machine's pace (CV < 0.3)."""
    actor, rate = chosen(draws, people.staff), draws.randrange(30, 201)
    day = chosen(draws, range(*span))
    at, plan = float(_at(people, draws, day, 0, 22)), Plan()
    for _ in range(rate * draws.randrange(1, 3)):
        client = people.stranger(actor, day, draws.random())
        plan.looks.append(Look(int(at), actor, client, device="d-unknown", zone="z-abroad"))
        at += 3600 / rate * (0.6 + 0.8 * draws.random())
    return plan


def dormant(people: Population, draws: Draws, span: Span) -> Plan:
    """Idle for 90 days or more, then 20 views a day or more."""
    actor = chosen(draws, people.staff)
    first, end = _within(draws, (max(span[0], 105), max(span[1], 108)), 3, 10)
    plan = _daily(people, draws, actor, (first, end), 20, 40)
    plan.quiet.append((actor, max(0, first - draws.randrange(90, 106)), end))
    return plan


def leaver(people: Population, draws: Draws, span: Span) -> Plan:
    """The last 14–30 days: 2–4 times the rate, 60 % of the own book or more swept, and gone."""
    actor = chosen(draws, people.staff)
    first, end = _within(draws, span, 14, 30)
    book = people.book(actor)
    swept = sample(draws, book, int(len(book) * (0.6 + 0.4 * draws.random())))
    days = list(_workdays(people, (first, end)))
    extra = int(people.daily(actor) * len(days) * draws.randrange(1, 4))
    plan = Plan(quiet=[(actor, end, people.days)])
    for client in [*swept, *(chosen(draws, book) for _ in range(extra - len(swept)))]:
        plan.looks.append(Look(_at(people, draws, chosen(draws, days)), actor, client))
    return plan


def collusion(people: Population, draws: Draws, span: Span) -> Plan:
    """3–6 staff, 10–20 a day each, of the same segment, for 10 to 20 days."""
    group = sample(draws, people.staff, draws.randrange(3, 7))
    clients, plan = people.segment(draws.random(), 600), Plan()
    for day in _workdays(people, _within(draws, span, 10, 20)):
        for actor in group:
            for _ in range(draws.randrange(10, 21)):
                plan.looks.append(Look(_at(people, draws, day), actor, chosen(draws, clients)))
    return plan


def reveal_abuse(people: Population, draws: Draws, span: Span) -> Plan:
    """Clear values of the own book, 5 times as many as the peers, and no transaction after; 5 to 15 days."""
    actor, plan = chosen(draws, people.staff), Plan()
    book, count = people.book(actor), max(5, round(people.daily(actor) * 0.5))
    for day in _workdays(people, _within(draws, span, 5, 15)):
        for _ in range(count):
            plan.looks.append(Look(_at(people, draws, day), actor, chosen(draws, book), clear=True))
    return plan


def honey(people: Population, draws: Draws, span: Span) -> Plan:
    """One touch of a client who does not exist."""
    actor = chosen(draws, people.staff)
    return Plan([Look(_at(people, draws, draws.randrange(*span)), actor, people.honey())])


def mimicry(people: Population, draws: Draws, span: Span) -> Plan:
    """Only clients with work less than 2 days old: 10 a day for 20 working days."""
    actor, first = chosen(draws, people.staff), _within(draws, span, 28, 28)
    days = list(_workdays(people, first))[:20]
    return Plan([Look(_at(people, draws, day), actor, BUSY) for day in days for _ in range(10)])


def intesa(people: Population, draws: Draws, span: Span) -> Plan:
    """The anchor case: about 11 views and 6 new clients a working day, to the end; some are seen again."""
    actor, known, plan = chosen(draws, people.staff), list[str](), Plan()
    for day in _workdays(people, span):
        fresh = [people.stranger(actor, day, draws.random()) for _ in range(6)]
        known += fresh
        for client in (*fresh, *(chosen(draws, known) for _ in range(5))):
            plan.looks.append(Look(_at(people, draws, day), actor, client))
    return plan


SCENARIOS: Final[Mapping[str, Scenario]] = MappingProxyType(
    {
        "vip": vip,
        "family": _acquaintance("family"),
        "colleague": _acquaintance("colleague"),
        "neighbour": _acquaintance("neighbour"),
        "bulk": bulk,
        "slow": slow,
        "off-hours": off_hours,
        "unrelated": unrelated,
        "takeover": takeover,
        "dormant": dormant,
        "leaver": leaver,
        "collusion": collusion,
        "reveal-abuse": reveal_abuse,
        "honey": honey,
        "mimicry": mimicry,
        "intesa": intesa,
    }
)
