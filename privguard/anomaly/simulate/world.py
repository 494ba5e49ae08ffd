"""Staff, clients, books and what joins them, as functions of a number: a million clients take no memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from privguard.anomaly.access import Relation
from privguard.anomaly.simulate.draws import Streams, chosen
from privguard.anomaly.simulate.plan import DAY

MIX: Final[Mapping[str, float]] = MappingProxyType(
    {"teller": 0.33, "rm": 0.30, "call": 0.16, "back": 0.15, "compliance": 0.05, "auditor": 0.01}
)
DAILY: Final[Mapping[str, float]] = MappingProxyType(
    {"teller": 22, "rm": 13, "call": 29, "back": 16, "compliance": 9, "auditor": 6}
)
"""Clients a working day. With the spread of ``ordinary`` a user-day has 12 distinct ones (p50) and 73 to 84
(p99, by seed; 75 in a bank of 2,000); in BPI Challenge 2012 it has 12 and 77."""
VIP: Final = 0.003
STAFF_PER_BRANCH: Final = 15
BRANCHES_PER_REGION: Final = 12
HONEY: Final = "honey"
_HOLIDAYS: Final = frozenset({0, 91, 120, 121, 275, 276, 277, 359, 360})
_LINKS: Final = MappingProxyType(
    {"family": Relation.KIN, "neighbour": Relation.ADDRESS, "colleague": Relation.EMPLOYER}
)


class Duty(Struct, frozen=True):
    """Clients (by number) whose work is somebody's, from ``first`` up to the day before ``end``."""

    clients: range
    relation: int
    first: int = 0
    end: int = 1 << 30


class Member(Struct, frozen=True):
    """One of staff; ``branch`` is -1 for desks that serve them all, ``pace`` is against their role's."""

    id: str
    role: str
    branch: int
    pace: float


class World:
    """A bank of ``staff`` people and ``clients`` clients for ``days`` days from ``start_s``.

    Attributes:
        duties: whose work whose clients are; controls add to it.
        links: by actor, the client numbers that are theirs in private, with the relation.
    """

    def __init__(
        self, streams: Streams, *, staff: int = 2000, clients: int = 200_000, days: int = 180,
        start_s: int = 1_704_067_200,
    ) -> None:  # fmt: skip
        self.start_s, self.days, self.clients = start_s, days, clients
        self.branches = max(1, staff // STAFF_PER_BRANCH)
        self.per_branch = clients // self.branches
        self.members: dict[str, Member] = {}
        self.duties: dict[str, list[Duty]] = {}
        self.links: dict[str, dict[int, int]] = {}
        self._hire(streams, staff)
        self._relate(streams)
        self.staff: Sequence[str] = tuple(self.members)

    def _hire(self, streams: Streams, staff: int) -> None:
        draws, roles = streams("staff"), [r for r, share in MIX.items() for _ in range(round(share * 100))]
        free = {branch: branch * self.per_branch for branch in range(self.branches)}
        for number in range(staff):
            role = roles[number * 37 % len(roles)]
            branch = number % self.branches if role in ("teller", "rm") else -1
            member = Member(f"s{number:05}", role, branch, draws.gammavariate(5.0, 0.2))
            self.members[member.id] = member
            if role == "rm":
                first, size = free[branch], draws.randrange(150, 401)
                end = min(first + size, (branch + 1) * self.per_branch)
                self.duties[member.id] = [Duty(range(first, end), Relation.PORTFOLIO)]
                free[branch] = end

    def _relate(self, streams: Streams) -> None:
        """Everybody has family, a neighbour and a colleague among the clients; every other one a namesake."""
        draws = streams("links")
        for member in self.members.values():
            links = self.links[member.id] = {}
            for relation in _LINKS.values():
                links[draws.randrange(0, self.clients)] = relation
            if draws.random() < 0.5:
                links[draws.randrange(0, self.clients)] = Relation.SURNAME

    def role(self, actor: str) -> str:
        return self.members[actor].role

    def team(self, actor: str) -> str:
        """The branch; or the desk, where a role works for all branches."""
        member = self.members[actor]
        return f"b{member.branch:04}" if member.branch >= 0 else member.role

    def region(self, actor: str) -> int:
        """The region of the actor's branch, -1 for a desk of the head office."""
        return self.members[actor].branch // BRANCHES_PER_REGION

    def name(self, number: int) -> str:
        """The client of a number."""
        return f"c{number:07}"

    def number(self, client: str) -> int:
        """The number of a client, -1 of one that was planted."""
        return int(client[1:]) if client[0] == "c" else -1

    def branch_of(self, number: int) -> range:
        """The clients of the same branch."""
        first = min(number // self.per_branch, self.branches - 1) * self.per_branch
        return range(first, first + self.per_branch)

    def own(self, actor: str, day: int) -> list[Duty]:
        """The duties of a day."""
        return [each for each in self.duties.get(actor, ()) if each.first <= day < each.end]

    def stranger(self, actor: str, day: int, u: float) -> str:
        """Someone of another branch, unless chance has it otherwise."""
        number, member = int(u * self.clients), self.members[actor]
        if member.branch >= 0 and number // self.per_branch == member.branch:
            number = (number + self.per_branch) % self.clients
        return self.name(number)

    def close(self, actor: str, kind: str, u: float) -> str:
        wanted = _LINKS[kind]
        return self.name(next(n for n, relation in self.links[actor].items() if relation == wanted))

    def segment(self, u: float, count: int) -> Sequence[str]:
        first = int(u * max(1, self.clients - count))
        return [self.name(number) for number in range(first, first + count)]

    def book(self, actor: str) -> Sequence[str]:
        """Their portfolio; of who has none, the busiest clients of their branch."""
        own = self.duties.get(actor)
        member = self.members[actor]
        first = max(member.branch, 0) * self.per_branch
        return [self.name(n) for n in (own[0].clients if own else range(first, first + 200))]

    def vip(self, u: float) -> str:
        return self.name(int(u * self.clients * VIP) * round(1 / VIP) % self.clients)

    def honey(self) -> str:
        return HONEY

    def daily(self, actor: str) -> float:
        member = self.members[actor]
        return DAILY[member.role] * member.pace * 1.4

    def sensitive(self, number: int) -> bool:
        """0.3 % are of public interest."""
        return number >= 0 and number % round(1 / VIP) == 0

    def relations(self, actor: str, client: str, day: int) -> int:
        number = self.number(client)
        found = self.links[actor].get(number, 0)
        for duty in self.duties.get(actor, ()):
            if duty.first <= day < duty.end and number in duty.clients:
                found |= duty.relation
        branch = self.members[actor].branch
        if branch >= 0 and number // self.per_branch == branch:
            found |= Relation.BRANCH
        return int(found)

    def workday(self, day: int) -> bool:
        return self.weekday(day) < 5 and self.day_of_year(day) not in _HOLIDAYS

    def weekday(self, day: int) -> int:
        """0 is Monday (1 January 1970 was a Thursday)."""
        return (self.start_s // DAY + day + 3) % 7

    def day_of_year(self, day: int) -> int:
        """From 0; years of 365 days do, for holidays that recur."""
        return (self.start_s // DAY + day) % 365

    def pick(self, streams: Streams, name: str, role: str = "") -> str:
        """One of staff, of a role if one is named."""
        of_role = [m.id for m in self.members.values() if not role or m.role == role]
        return chosen(streams(name), of_role)
