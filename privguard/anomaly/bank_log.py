"""A bank's own event log in XES (IEEE 1849), as days of accesses and work, and its staff as a population.

Each event of a person is a look at the client's file, and, as it changed something, work as well; a look is
never explained by its own record, as only work at another moment counts. Events of the automation, and of
nobody, are work alone. Such a log knows no relations, no devices and no hours but its own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import IO, Final
from xml.etree import ElementTree

from msgspec import Struct

from privguard.anomaly.access import Access, Day, Labelled, Work, in_order
from privguard.anomaly.simulate.plan import DAY

AUTOMATION: Final = "112"
"""The resource of BPI Challenge 2012 that is no person."""
ROLE: Final = "clerk"
_BOOK: Final = 200
_ATTENDED: Final = 3


class Event(Struct, frozen=True):
    """One event; ``at_s`` by the bank's own clock, so that hours are office hours; ``actor`` "" of nobody."""

    at_s: int
    actor: str
    client: str
    activity: str


def read_xes(file: IO[bytes]) -> Iterator[Event]:
    """The events of a log, trace by trace, in flat memory; a trace is a client.

    Raises:
        ElementTree.ParseError: it is no XML.
        KeyError, ValueError: an event has no name or no time.
    """
    events: list[dict[str, str]] = []
    # expat itself bounds what entities expand to (from 2.4.1 on); the file is the operator's own
    for _, element in ElementTree.iterparse(file):  # noqa: S314
        tag = element.tag.rpartition("}")[2]
        if tag == "event":
            events.append({each.get("key", ""): each.get("value", "") for each in element})
            element.clear()
        elif tag == "trace":
            names = [each.get("value", "") for each in element if each.get("key") == "concept:name"]
            client = names[0] if names else ""
            for event in events:
                yield _event(event, client)
            events.clear()
            element.clear()


def _event(event: Mapping[str, str], client: str) -> Event:
    local = datetime.fromisoformat(event["time:timestamp"]).replace(tzinfo=UTC)
    actor = event.get("org:resource", "")
    return Event(int(local.timestamp()), actor, client, event["concept:name"])


class BankLog:
    """A log's staff, clients and days: a ``Population`` into whose log scenarios can be planted.

    Attributes:
        split: the first day of the later part; clients in private or of public interest are known before.
    """

    def __init__(self, events: Iterable[Event], *, automation: str = AUTOMATION) -> None:
        ordered = sorted(events, key=lambda each: (each.at_s, each.actor, each.client, each.activity))
        self.start_s = ordered[0].at_s // DAY * DAY
        self.days = (ordered[-1].at_s - self.start_s) // DAY + 1
        self.split = self.days * 13 // 24
        self._events = ordered
        people = [each for each in ordered if each.actor not in ("", automation)]
        self._automation = automation
        self._desk = _desks(people)
        self.staff: Sequence[str] = tuple(sorted(self._desk))
        self._clients, self._known = _arrivals(ordered, self.start_s, self.days)
        self._touched: dict[str, Counter[str]] = defaultdict(Counter)
        present: dict[int, set[str]] = defaultdict(set)
        for each in people:
            self._touched[each.actor][each.client] += 1
            present[(each.at_s - self.start_s) // DAY].add(each.actor)
        self._present = {day: len(actors) for day, actors in present.items()}
        days = Counter(actor for actors in present.values() for actor in actors)
        self._daily = {actor: self._touched[actor].total() / days[actor] for actor in self.staff}
        self._usual = sorted(self._present.values())[len(self._present) // 2]

    def log(self) -> Iterator[Day]:
        """The days, in order; one without an event is empty."""
        looks: list[list[Labelled]] = [[] for _ in range(self.days)]
        work: list[list[Work]] = [[] for _ in range(self.days)]
        for each in self._events:
            day = (each.at_s - self.start_s) // DAY
            person = each.actor not in ("", self._automation)
            work[day].append(Work(each.at_s, each.client, each.actor if person else "", each.activity))
            if person:
                team = self.team(each.actor)
                made = Access(
                    each.at_s, each.actor, each.client, ROLE, team, device=f"d-{each.actor}", zone=f"z-{team}"
                )
                looks[day].append(Labelled(made))
        for day in range(self.days):
            yield Day(day, in_order(looks[day]), work[day])

    def role(self, actor: str) -> str:
        """The log knows none."""
        return ROLE

    def team(self, actor: str) -> str:
        """Those who do mostly the same kind of work."""
        return self._desk[actor]

    def stranger(self, actor: str, day: int, u: float) -> str:
        """Any client who came before the day's end, and with whom the actor never had work."""
        known, mine = self._known[day], self._touched[actor]
        at = int(u * known)
        ahead = (self._clients[(at + step) % known] for step in range(known))
        return next((client for client in ahead if client not in mine), self._clients[at])

    def close(self, actor: str, kind: str, u: float) -> str:
        """A stranger of before the split; the log knows nobody's family."""
        return self.stranger(actor, self.split, u)

    def segment(self, u: float, count: int) -> Sequence[str]:
        """Clients who came one after the other, before the split."""
        count = min(count, self._known[self.split])
        first = int(u * (self._known[self.split] - count + 1))
        return self._clients[first : first + count]

    def book(self, actor: str) -> Sequence[str]:
        """Those with whom the actor had most work."""
        return [client for client, _ in self._touched[actor].most_common(_BOOK)]

    def vip(self, u: float) -> str:
        """Anybody of before the split; the log does not say who is in the news."""
        return self._clients[int(u * self._known[self.split])]

    def honey(self) -> str:
        """Nobody in the log."""
        return "honey"

    def daily(self, actor: str) -> float:
        """Events a day, of days with any."""
        return self._daily[actor]

    def relations(self, actor: str, client: str, day: int) -> int:
        """None are known."""
        return 0

    def workday(self, day: int) -> bool:
        """At least a third of the usual number are there."""
        return self._present.get(day, 0) * _ATTENDED >= self._usual


def _desks(people: Sequence[Event]) -> dict[str, str]:
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for each in people:
        kinds[each.actor][each.activity] += 1
    most: Callable[[Counter[str]], str] = lambda of: min(of, key=lambda kind: (-of[kind], kind))  # noqa: E731
    return {actor: most(of) for actor, of in kinds.items()}


def _arrivals(ordered: Sequence[Event], start_s: int, days: int) -> tuple[list[str], list[int]]:
    """Clients in the order they came, and how many had come by the end of each day."""
    first: dict[str, int] = {}
    for each in ordered:
        first.setdefault(each.client, (each.at_s - start_s) // DAY)
    arrived, known = Counter(first.values()), 0
    counts = [known := known + arrived[day] for day in range(days)]
    return list(first), counts
