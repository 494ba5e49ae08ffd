"""The protocol of evaluation: plant scenarios in a log, see what inline, batch and baselines make of it.

1. A log, of the simulator or a bank's own, is split in time: what is learned is learned before the split.
2. Scenarios are planted after it, a few incidents at a time, by seed; those of ``TRAIN_SEED`` and up are what
   thresholds and weights may be chosen by, those of ``TEST_SEED`` and up are what is reported.
3. Every detector ranks events, user-days and staff; levels are in units of what one in a thousand ordinary
   user-days before the split reached, so that 1 is an alert, and each day's budget takes the highest.
4. User-days on which another scenario was planted count neither for nor against.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from msgspec.structs import asdict

from privguard.anomaly import batch
from privguard.anomaly.access import Access, Day, Labelled, Work
from privguard.anomaly.evidence import Risk
from privguard.anomaly.levels import ORDINARY, levels
from privguard.anomaly.measure import (
    BUDGET,
    Incident,
    UserDay,
    alerts,
    average_precision,
    detected,
    discoveries,
    quantile,
)
from privguard.anomaly.score import Scorer, surprise
from privguard.anomaly.simulate import CONTROLS, Plan, World, inject
from privguard.anomaly.simulate.plan import Population
from privguard.anomaly.watch import REACH_S, Sight, Watch
from privguard.oversight.baselines import baselines
from privguard.oversight.lookback import Lookback
from privguard.oversight.planting import Source, plans_of, streams_of
from privguard.oversight.protocol import CALM, EXPECTED, FALSE, GROUPS, Report, report_of

Curves = dict[str, dict[str, list[tuple[float, bool]]]]


class Seen(NamedTuple):
    """An event after the split, and what inline scoring and batch say of it."""

    labelled: Labelled
    day: int
    actor: int
    client: int
    inline: float
    cause: str
    batch: float


class Ranking(NamedTuple):
    """What a detector says of user-days; ``events`` is whether it judges events as well."""

    levels: Mapping[UserDay, float]
    reasons: Mapping[UserDay, str]
    events: Callable[[Seen], float] | None = None
    at_once: bool = False
    late: int = 0


def evaluate(
    sources: Callable[[int], Source],
    scenarios: Sequence[str],
    seeds: Sequence[int],
    say: Callable[[str], None],
    curves: Curves | None = None,
) -> Report:
    """Runs the protocol.

    Args:
        sources: the log for a seed; a bank's own is the same for each.
        say: told of each log that is through.
        curves: takes in, by scenario and detector, how all seeds' user-days were ranked.
    """
    gathered: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    sums: dict[str, list[float]] = defaultdict(list)
    about: dict[str, Any] = {}
    for seed in seeds:
        source = sources(seed)
        for at, group in enumerate(GROUPS):
            chosen = [name for name in group if name in scenarios]
            controls = at == len(GROUPS) - 1 and isinstance(source.people, World)
            if not chosen and not controls:
                continue
            found = Judged(source, plans_of(source, chosen, seed, controls), seed)
            for scenario in chosen:
                for detector, figures in found.figures(scenario).items():
                    gathered[detector, scenario].append(figures)
                if curves is not None:
                    for detector, ranked in found.ranked(scenario).items():
                        curves.setdefault(scenario, {}).setdefault(detector, []).extend(ranked)
            found.add_sums(sums)
            about = found.about()
            say(f"seed {seed}: {', '.join(chosen) or 'controls'}")
    return report_of(gathered, sums, about, seeds)


class Judged:
    """One log with its plants, judged by everything there is."""

    def __init__(self, source: Source, plans: Mapping[tuple[str, str], Plan], seed: int) -> None:
        self.source, self.seed = source, seed
        self._numbers: dict[str, int] = {"": -1}
        self.days = list(inject(source.days, source.people, streams_of(seed), plans))
        inline, before = self._score()
        found, self._trends = self._look_back()
        self.seen = [
            Seen(each, day, *key, *inline[at], found.get((day, *key), 0.0))
            for at, (day, each) in enumerate(self._late())
            for key in [(self._number(each.access.actor), self._number(each.access.client))]
        ]
        self._planted: dict[UserDay, set[str]] = defaultdict(set)
        self._all: set[UserDay] = set()
        for each in self.seen:
            self._all.add((each.day, each.actor))
            if each.labelled.scenario:
                self._planted[each.day, each.actor].add(each.labelled.scenario)
        self.rankings = self._rank(before)

    def _number(self, name: str) -> int:
        return self._numbers.setdefault(name, len(self._numbers))

    def _late(self) -> Iterator[tuple[int, Labelled]]:
        for day in self.days[self.source.split :]:
            for each in day.accesses:
                yield day.number, each

    def _score(self) -> tuple[list[tuple[float, str]], dict[UserDay, float]]:
        """Surprise and top cause of each event after the split; before it, the highest of each user-day.

        By the watch, as it runs in a worker: it knows the team's last looks, and work as the CRM says it.
        """
        scorer, before, late = Timed(), dict[UserDay, float](), list[tuple[float, str]]()
        watch, honey = Watch(scorer), {self.source.people.honey()}
        watch.awake = True
        for day in self.days:
            work = deque(day.work)
            for each in day.accesses:
                access = each.access
                while work and work[0].at_s < access.at_s:  # no record explains the look that it is of
                    _worked(watch, work.popleft())
                place = access.zone, access.device
                sight = Sight(
                    access.at_s, access.actor, access.role, access.team, access.clear, place=place,
                    relations={"": access.relations},
                )  # fmt: skip
                risk = watch.look("", sight, [(access.client, ("",))], honey)
                if day.number < self.source.split:
                    key = (day.number, self._number(access.actor))
                    before[key] = max(before.get(key, 0.0), surprise(risk))
                    scorer.took.clear()
                else:
                    late.append((surprise(risk), _top(risk)))
            for done in work:
                _worked(watch, done)
        self._took = scorer.took
        return late, before

    def _look_back(self) -> tuple[dict[tuple[int, int, int], float], dict[str, dict[UserDay, float]]]:
        split, people = self.source.split, self.source.people
        with Lookback() as back:
            for day in self.days:
                rows = [each.access for each in day.accesses]
                if rows:
                    back.add("access", self._access(day.number, rows))
                if day.work:
                    back.add("work", self._work(day, people))
            back.learn(split - batch.MONTH)
            back.judge(batch.BEFORE, people.days)
            back.trends()
            scored = back.database.execute(
                "SELECT day, actor, client, coalesce(doubt, score) FROM scored"
                " LEFT JOIN doubt USING (day, actor, client) WHERE day >= ?",
                [split],
            )
            found = {(row[0], row[1], row[2]): row[3] for row in scored.fetchall()}
            self._whys = back.reasons()
            return found, back.user_days()

    def _access(self, day: int, rows: Sequence[Access]) -> dict[str, list[Any]]:
        number = self._number
        return {
            "day": [day] * len(rows),
            "at_s": [each.at_s for each in rows],
            "actor": [number(each.actor) for each in rows],
            "client": [number(each.client) for each in rows],
            "role": [number(each.role) for each in rows],
            "team": [number(each.team) for each in rows],
            "relations": [each.relations for each in rows],
            "sensitive": [each.sensitive for each in rows],
        }

    def _work(self, day: Day, people: Population) -> dict[str, list[Any]]:
        number = self._number
        return {
            "day": [day.number] * len(day.work),
            "at_s": [each.at_s for each in day.work],
            "client": [number(each.client) for each in day.work],
            "actor": [number(each.actor) for each in day.work],
            "team": [number(people.team(each.actor) if each.actor else "") for each in day.work],
        }

    def _rank(self, before: Mapping[UserDay, float]) -> dict[str, Ranking]:
        split = self.source.split
        scale = quantile(before.values(), ORDINARY) or 1.0
        self.scale = scale
        inline, cause = dict[UserDay, float](), dict[UserDay, str]()
        for each in self.seen:
            key = (each.day, each.actor)
            if each.inline / scale > inline.get(key, -1.0):
                inline[key], cause[key] = each.inline / scale, each.cause
        looked, reason = dict.fromkeys(inline, 0.0), dict[UserDay, str]()
        named = {"shared": "shared", "surge": "surge", "night": str(batch.Why.ODD_HOUR)}
        for key, (level, name) in levels(self._trends, range(split - CALM, split)).items():
            if key in looked:
                looked[key] = level
                reason[key] = named.get(name) or self._whys.get(key, "")
        found = {
            "inline": Ranking(inline, cause, lambda each: each.inline, at_once=True),
            "batch": Ranking(looked, reason, lambda each: each.batch, late=1),
        }
        for name, (earlier, later) in baselines(self.days, split, self._number, self.seed).items():
            unit = quantile(earlier.values(), ORDINARY) or 1.0
            found[name] = Ranking({key: value / unit for key, value in later.items()}, {})
        return found

    def ranked(self, scenario: str) -> dict[str, list[tuple[float, bool]]]:
        """User-days by level, of each detector, and whether the scenario was planted on them."""
        clean, true = self._clean(scenario), {key for each in self._incidents(scenario) for key in each.days}
        return {
            name: [(level, key in true) for key, level in ranking.levels.items() if key in clean]
            for name, ranking in self.rankings.items()
        }

    def _clean(self, scenario: str) -> set[UserDay]:
        """Those on which nothing else was planted."""
        return {key for key in self._all if self._planted.get(key, {scenario}) == {scenario}}

    def figures(self, scenario: str) -> dict[str, dict[str, Any]]:
        """What each detector makes of a scenario."""
        clean, incidents = self._clean(scenario), self._incidents(scenario)
        for incident in incidents:  # they begin where nothing else is planted, or are no incident
            incident.days = {key: planted for key, planted in incident.days.items() if key in clean}
        incidents = [incident for incident in incidents if incident.days]
        true = {key for each in incidents for key in each.days}
        events = [each for each in self.seen if each.labelled.scenario in ("", scenario)]
        staff = {actor for _, actor in true}
        answer: dict[str, dict[str, Any]] = {}
        for name, ranking in self.rankings.items():
            levels = {key: level for key, level in ranking.levels.items() if key in clean}
            highest: dict[int, float] = {}
            for (_, actor), level in levels.items():
                highest[actor] = max(highest.get(actor, 0.0), level)
            judge = ranking.events
            judged = [(judge(each), bool(each.labelled.scenario)) for each in events] if judge else []
            answer[name] = {
                "event_pr_auc": average_precision(judged) if judge else None,
                "event_pr_auc_at_1_percent": average_precision(judged, 0.01) if judge else None,
                "user_day_pr_auc": average_precision((level, key in true) for key, level in levels.items()),
                "incident_pr_auc": average_precision((level, who in staff) for who, level in highest.items()),
                **asdict(self._detected(incidents, levels, ranking, EXPECTED[scenario])),
                "planted_events": sum(bool(e.labelled.scenario) for e in events),
                "planted_user_days": len(true),
            }
        return answer

    def _detected(
        self,
        incidents: list[Incident],
        levels: Mapping[UserDay, float],
        ranking: Ranking,
        fits: frozenset[str],
    ) -> Any:
        def exposed(incident: Incident, alert: UserDay) -> int:
            return self._exposed(incident, alert, ranking)

        def reason(incident: Incident, alert: UserDay) -> bool:
            return ranking.reasons.get(alert, "") in fits

        def workdays(first: int, last: int) -> int:
            days = range(first + 1, last + ranking.late + 1)
            return sum(self.source.people.workday(day) for day in days)

        reasons = ranking.reasons
        return detected(incidents, levels, reasons, workdays, exposed, reason if reasons else None)

    def _exposed(self, incident: Incident, alert: UserDay, ranking: Ranking) -> int:
        """Clients seen before the alert: at once where events alert, else when the day's batch is through."""
        clients: set[int] = set()
        for (day, actor), planted in sorted(incident.days.items()):
            if day > alert[0] + ranking.late:
                break
            for at, client in planted:
                if ranking.at_once and (day, actor) == alert and self.seen[at].inline >= self.scale:
                    return len(clients)
                clients.add(client)
        return len(clients)

    def _incidents(self, scenario: str) -> list[Incident]:
        found: dict[str, Incident] = {}
        for at, each in enumerate(self.seen):
            if each.labelled.scenario == scenario:
                incident = found.setdefault(each.labelled.incident, Incident(scenario))
                incident.days.setdefault((each.day, each.actor), []).append((at, each.client))
        return list(found.values())

    def add_sums(self, sums: dict[str, list[float]]) -> None:
        """What is measured of ordinary work and of controls: false alerts, calibration, cost."""
        insiders = {actor for (_, actor), names in self._planted.items() if not names <= set(CONTROLS)}
        innocent = {key for key, names in self._planted.items() if names <= set(CONTROLS)}
        controls = {key for key in innocent if key[1] not in insiders}
        ordinary = {key for key in self._all if key not in self._planted and key[1] not in insiders}
        for name in ("inline", "batch"):
            levels, reasons = self.rankings[name].levels, self.rankings[name].reasons
            for of, days in (("controls", controls), ("ordinary", ordinary)):
                judged = {key: levels[key] for key in days | ordinary if key in levels}
                raised = alerts(judged, BUDGET, reasons, 1.0)
                sums[f"{of} {name}"] += [1000.0 * len(raised & days) / len(days)] if days else []
        plain = [10.0**-each.inline for each in self.seen if not each.labelled.scenario]
        for p in (1e-3, 1e-4):
            sums[f"p {p:g}"].append(sum(each <= p for each in plain) / max(1, len(plain)))
        found = self._discoveries()
        false = found - {key for key, names in self._planted.items() if names - set(CONTROLS)}
        sums["discoveries"].append(len(found) / (self.source.people.days - self.source.split))
        sums["false"] += [len(false) / len(found)] if found else []
        sums["mean"].append(sum(self._took) / max(1, len(self._took)) / 1000)
        sums["p99"].append(quantile(self._took, 0.99) / 1000)

    def _discoveries(self) -> set[UserDay]:
        """User-days that inline takes for false in one of ``FALSE`` at most, and within the budget."""
        looks = Counter((each.day, each.actor) for each in self.seen)
        days: dict[int, dict[UserDay, float]] = defaultdict(dict)
        for key, level in self.rankings["inline"].levels.items():
            days[key[0]][key] = looks[key] * 10.0 ** (-level * self.scale)
        return {key for ps in days.values() for key in discoveries(ps, FALSE)[:BUDGET]}

    def about(self) -> dict[str, Any]:
        """The log in numbers."""
        people = self.source.people
        return {
            "name": self.source.name, "staff": len(people.staff), "days": people.days,
            "split_day": self.source.split, "events": sum(len(day.accesses) for day in self.source.days),
        }  # fmt: skip


class Timed(Scorer):
    """The scorer, and how many nanoseconds each look took it."""

    def __init__(self) -> None:
        super().__init__()
        self.took: list[int] = []

    def score(self, access: Access) -> Risk:
        start = time.perf_counter_ns()
        risk = super().score(access)
        self.took.append(time.perf_counter_ns() - start)
        return risk


def _worked(watch: Watch, done: Work) -> None:
    watch.work(done.at_s, done.client, done.actor, done.kind if done.kind in REACH_S else "task")


def _top(risk: Risk) -> str:
    return str(risk.evidence[0].cause) if risk.evidence else ""
