"""The inline scorer: one access in, one risk out; no I/O, nothing raised, the same to the bit when replayed.

1. The actor's day is turned, if it is over: an unsuspicious one is learned from, a flagged one is not.
2. Rules (L0): honey client, leaver, cap of distinct clients, dormant account, two places at once.
3. Counts (L1): of what the access adds to, each that is higher than any of the day is asked how improbable.
   A refusal adds to refusals alone, and goes no further.
4. Distance, hour and place: how rare among the role's accesses.
5. The least p, by Bonferroni's bound over what was asked, weighted where the client is of public interest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from msgspec import Struct, field

from privguard.anomaly.access import Access
from privguard.anomaly.baseline import Expectation, Role, Sums, learn
from privguard.anomaly.calibration import FLAGGED, TESTS
from privguard.anomaly.counters import CELLS, HALF_LIVES, KINDS, Counted, client_key
from privguard.anomaly.evidence import BY_CLOSENESS, BY_KIND, NOTHING, UNKNOWN, Cause, Evidence, Level, Risk
from privguard.anomaly.features import ASSIGNED, PRIVATE, RELATED, TASKS, UNRELATED, distance, hour_of_week
from privguard.anomaly.tail import FLOOR, at_least_one

DAY: Final = 86_400
DORMANT_S: Final = 90 * DAY
CONCURRENT_S: Final = 300
PLACES: Final = 6
"""Devices and zones that are remembered of an actor."""
RAISED_P, HIGH_P, SEVERE_P = 1e-3, FLAGGED, 1e-6
_ODD: Final = 0.005
"""Hours that hold less than this share of a role's accesses are odd."""
_RARE: Final = 0.02
"""What is less rare than this is no evidence."""
_SENSITIVE: Final = 4.0
_REFUSAL: Final = (len(KINDS) - 1,)
_OF_THE_ACCOUNT: Final = frozenset({Cause.DORMANT, Cause.CONCURRENT, Cause.PLACE})
"""What is odd about who looks, not about whom they look at: it is told first, for the rest of the day."""
_BROAD: Final[Mapping[Cause, int]] = {
    **dict.fromkeys((Cause.UNRELATED, Cause.DISTANCE, Cause.AGAIN, Cause.REFUSED), 1),
    **dict.fromkeys((Cause.NEW, Cause.VIEWS), 2),
}
"""How much else could be behind it: each clear value and each stranger is a view, too."""
_WAKING_DAYS: Final = 7
"""An account that slept is told of for so long."""


class Rules(Struct, frozen=True):
    """What L0 goes by; ``caps``: distinct clients a day by role."""

    honey: frozenset[str] = frozenset()
    leavers: frozenset[str] = frozenset()
    caps: Mapping[str, int] = field(default_factory=dict)


class Actor:
    """What is known of one actor; about 8 kB, most of it whom they have seen."""

    __slots__ = (
        "counted", "expected", "flagged", "highest", "last_place", "lately", "odd", "peers", "places",
        "role", "sums", "woke",
    )  # fmt: skip

    def __init__(self, role: Role, peers: Sums) -> None:
        self.counted = Counted()
        self.role, self.peers, self.sums = role, peers, Sums()
        self.expected = Expectation(self.sums, peers, role)
        self.highest = [0.0] * CELLS
        self.flagged = self.lately = False
        self.places: tuple[tuple[str, str], ...] = ()
        self.last_place = ("", "")
        self.odd: dict[Cause, Evidence] = {}
        self.woke = 0

    def turn(self, day: int) -> None:
        """Ends the actor's day, and begins another."""
        if self.counted.day and not (self.flagged or self.lately):
            learn(self.highest, self.expected, self.sums, self.peers, self.role)
        self.lately = self.flagged and day == self.counted.day + 1
        self.counted.turn(day)
        self.role.turn(day)
        self.expected = Expectation(self.sums, self.peers, self.role)
        self.highest = self.counted.decayed.carried(day * DAY)
        self.flagged = False
        waking = self.odd.get(Cause.DORMANT)
        self.odd = {Cause.DORMANT: waking} if waking and day < self.woke + _WAKING_DAYS else {}


class Scorer:
    """All actors' state, of one worker; ``merge`` takes in another's counts.

    Attributes:
        excused: of an actor, what two people said is expected, and until when (seconds); never a rule.
    """

    def __init__(self, rules: Rules | None = None) -> None:
        self.rules = rules or Rules()
        self.excused: dict[tuple[str, Cause], int] = {}
        self.actors: dict[str, Actor] = {}
        self._roles: dict[str, Role] = {}
        self._peers: dict[tuple[str, str], Sums] = {}

    def score(self, access: Access) -> Risk:
        """The risk of an access; what fails here is a risk that nobody knows, for the policy to judge."""
        try:
            return self._score(access)
        except Exception:  # noqa: BLE001  # the path of an access does not end here
            return UNKNOWN

    def merge(self, other: Scorer) -> None:
        """Adds what another worker counted; what is ordinary is learned from the log, not from workers.

        Until they merge, a client whom one has seen is new to the other, and counts as new with both.
        """
        for name, theirs in other.actors.items():
            mine = self.actors.get(name)
            if mine is None:
                mine = self.actors[name] = Actor(theirs.role, theirs.peers)
            mine.counted.merge(theirs.counted)

    def _actor(self, access: Access) -> Actor:
        role = self._roles.setdefault(access.role, Role())
        peers = self._peers.setdefault((access.role, access.team), Sums())
        actor = self.actors[access.actor] = Actor(role, peers)
        return actor

    def _score(self, access: Access) -> Risk:
        actor = self.actors.get(access.actor) or self._actor(access)
        counted, at, key, role = actor.counted, access.at_s, client_key(access.client), actor.role
        if at // DAY > counted.day:  # 1
            actor.turn(at // DAY)
            role.calibration.meet(access.actor, at // DAY)
        if access.refused:
            evidence = self._rules(access, actor)  # 2
            if raised := counted.decayed.add(at, _REFUSAL, actor.highest, actor.expected.high):
                self._counts(actor, raised, evidence)
            risk = self._risk(actor, access, evidence)
            role.calibration.see(access.actor, RELATED, 0, evidence)
            return risk
        counted.today.add(key)
        far, hour = distance(access), hour_of_week(at)
        evidence = self._rules(access, actor)  # 2
        new, kinds = counted.seen.add(at, key), list[int]()
        if not access.relations & TASKS:
            kinds.append(0)
            if new and not access.relations & ASSIGNED:
                kinds.append(1)
        if access.clear:
            kinds.append(2)
        if far >= UNRELATED:
            kinds.append(3)
        if role.rare[hour] < _ODD:
            kinds.append(4)
        of_day = kinds[1:] if new and kinds[:1] == [0] and access.relations & ASSIGNED else None
        if raised := counted.decayed.add(at, kinds, actor.highest, actor.expected.high, of_day):  # 3
            self._counts(actor, raised, evidence)
        again = counted.strangers.add(at, key) if far >= UNRELATED else 0
        if far:
            self._distance(role, access, far, again, evidence)  # 4
        self._rarities(actor, access, hour, evidence)
        if at > counted.last_s:
            counted.last_s = at
        risk = self._risk(actor, access, evidence)  # 5
        if role.calibration.see(access.actor, far, again, evidence):
            role.see(hour)
        return risk

    def _rules(self, access: Access, actor: Actor) -> list[Evidence]:
        rules, counted = self.rules, actor.counted
        found: list[Evidence] = []
        if rules.honey and access.client in rules.honey:
            found.append(Evidence(Cause.HONEY, 0.0))
        if rules.leavers and access.actor in rules.leavers:
            found.append(Evidence(Cause.LEAVER, 0.0))
        cap = rules.caps.get(access.role) if rules.caps else None
        if cap is not None and (clients := counted.today.count()) > cap:
            found.append(Evidence(Cause.CAP, 0.0, clients, cap, window_s=DAY))
        if counted.last_s < 0:
            return found
        gap = access.at_s - counted.last_s
        if gap >= DORMANT_S:
            found.append(Evidence(Cause.DORMANT, 0.0, gap, DORMANT_S))
        elif gap < CONCURRENT_S:
            device, zone = actor.last_place
            if device != access.device and zone != access.zone:
                found.append(Evidence(Cause.CONCURRENT, 0.0, gap, CONCURRENT_S))
        return found

    def _counts(self, actor: Actor, raised: list[int], evidence: list[Evidence]) -> None:
        for cell in raised:
            count = actor.highest[cell]
            p = actor.expected.p(cell, count)
            if p < _RARE:
                cause, half_life = BY_KIND[cell % len(KINDS)], HALF_LIVES[cell // len(KINDS)]
                peers = actor.peers.total[cell] / max(1, actor.peers.days)
                evidence.append(Evidence(cause, p, count, actor.expected.mean[cell], peers, half_life))

    def _distance(self, role: Role, access: Access, far: int, again: int, evidence: list[Evidence]) -> None:
        p, often = role.calibration.share(Cause.DISTANCE, far), role.calibration.share(Cause.AGAIN, again)
        if far >= PRIVATE:  # who comes back to their kin is named for the kin
            p, often = min(p, often), 1.0
        if p < _RARE:
            cause = Cause.DISTANCE if far < PRIVATE else BY_CLOSENESS[far - PRIVATE]
            evidence.append(Evidence(cause, p, access.idle_s if far < PRIVATE else 0.0))
        if often < _RARE:
            evidence.append(Evidence(Cause.AGAIN, often, again + 1))

    def _rarities(self, actor: Actor, access: Access, hour: int, evidence: list[Evidence]) -> None:
        role = actor.role
        if (p := role.rare[hour]) < _RARE:
            evidence.append(Evidence(Cause.HOUR, p, hour))
        device, zone = actor.last_place
        if device == access.device and zone == access.zone:
            return
        actor.last_place = place = (access.device, access.zone)
        if place not in actor.places:
            actor.places = (*actor.places[-PLACES + 1 :], place)
            role.new_places += 1
            p = role.new_places / (role.accesses + 1)
            if role.sums.days and p < _RARE and len(actor.places) > 1:
                evidence.append(Evidence(Cause.PLACE, p))

    def _risk(self, actor: Actor, access: Access, evidence: list[Evidence]) -> Risk:
        """Of what is not excused; the rest is taken out of ``evidence``, for nobody to learn from."""
        if evidence and self.excused:
            evidence[:] = [e for e in evidence if e.p == 0.0 or not self._excused(access, e.cause)]
        if not evidence:
            return NOTHING
        calibration = actor.role.calibration
        told = [
            Evidence(e.cause, calibration.worth(e), e.observed, e.expected, e.peers, e.window_s)
            for e in evidence
        ]
        p = at_least_one((each.p for each in told), TESTS)
        for each in told:
            if each.cause in _OF_THE_ACCOUNT:
                actor.odd[each.cause] = each
                actor.woke = actor.counted.day if each.cause is Cause.DORMANT else actor.woke
        if actor.odd and p < RAISED_P:
            told = [*actor.odd.values(), *(each for each in told if each.cause not in actor.odd)]
        if len(told) > 1:
            told.sort(key=_rank)
        if access.sensitive:
            p /= _SENSITIVE
        if p < HIGH_P:
            actor.flagged = True
        if p < calibration.flagged:
            calibration.suspect(access.actor, actor.role.day)
        return Risk(_level(p), p, tuple(told))

    def _excused(self, access: Access, cause: Cause) -> bool:
        return access.at_s < self.excused.get((access.actor, cause), 0)


def _rank(evidence: Evidence) -> tuple[int, int, int, float]:
    """Rules, then what is odd about the account, then the gravest; of those as grave what says the most."""
    p, cause = evidence.p, evidence.cause
    group = 1 if cause in _OF_THE_ACCOUNT else 2 if p else 0
    grave = sum(p >= bound for bound in (SEVERE_P, HIGH_P, RAISED_P))
    return group, grave, _BROAD.get(cause, 0), p


def _level(p: float) -> Level:
    if p <= 0.0:
        return Level.RULE
    if p < SEVERE_P:
        return Level.SEVERE
    return Level.HIGH if p < HIGH_P else Level.RAISED if p < RAISED_P else Level.LOW


def surprise(risk: Risk) -> float:
    """The risk as a number to rank by: -log10 of p; a honey client before everything, other rules as severe.

    Nobody looks at a honey client by accident; but accounts are used again, and from two places, and of those
    who did the worst statistics come first.
    """
    if risk.level is Level.RULE and risk.evidence[0].cause is Cause.HONEY:
        return 99.0
    p = min((each.p for each in risk.evidence if each.p), default=1.0) if risk.level is Level.RULE else risk.p
    return -math.log10(max(min(p, SEVERE_P) if risk.level is Level.RULE else p, FLOOR))
