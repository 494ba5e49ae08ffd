"""A worker's watch: judges the clients of each answer, and keeps up with what other workers put on record.

Its state is what the log makes of it: ``look`` counts an answer before it is on record, ``replay`` the
entries of others, and of before. Until the log has been read to its end a risk is unknown.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from privguard.anomaly.access import CLOSE, Access, Relation
from privguard.anomaly.evidence import UNKNOWN, Cause, Evidence, Level, Risk
from privguard.anomaly.score import Scorer
from privguard.model import Assessment, Reason

Worked = tuple[int, str, str]
"""When there was work with a client, whose it was ("": nobody's in particular), and what it was."""
Seen = tuple[str, Collection[str]]
"""A client's name, and the names of the relations that joined the actor to them."""

REACH_S: Final = MappingProxyType(
    {"call": 86_400, "task": 7 * 86_400, "campaign": 30 * 86_400, "cover": 15 * 86_400}
)
"""What work there is, and how long it is a reason to look: names of ``access.Relation``, in small letters."""
WORKED: Final = 8
"""Events of a client that are remembered."""
REMEMBERED: Final = 400_000
"""Clients of teams that are remembered with who looked last; about 100 MB at most."""
COUNTED: Final = 50_000
"""Entries of one's own that are remembered at least: within a second or so they are read in the log."""
_LISTS: Final = "in lists"
_TOLD: Final = 3
"""Pieces of evidence that are put on record."""
TOUCHED: Final = Risk(Level.RULE, 0.0, (Evidence(Cause.HONEY, 0.0),))
"""The risk of a look at a honey client."""


class Sight(Struct, frozen=True):
    """An answer as the scorer sees it, whoever is in it.

    Attributes:
        at_s: seconds since the epoch, UTC.
        role: all of the actor's roles, as one.
        team: branch or desk: the peers.
        clear: clear values were asked for.
        many: a list or an export: its clients count apart from those whose records are opened one by one,
            who would be lost among them.
        relations: by name, what they are taken for (``access.Relation``).
        refused: nothing was shown, of no client or of those named.
    """

    at_s: int
    actor: str
    role: str
    team: str = ""
    clear: bool = False
    many: bool = False
    place: tuple[str, str] = ("", "")
    relations: Mapping[str, int] = {}
    refused: bool = False


class Watch:
    """The scorer with what it goes by.

    Attributes:
        awake: the log was read to its end once.
    """

    def __init__(self, scorer: Scorer | None = None) -> None:
        self.awake = False
        self._scorer = scorer or Scorer()
        self._touched: dict[tuple[str, str], tuple[str, int, int]] = {}
        self._before: dict[tuple[str, str], tuple[str, int, int]] = {}
        self._work: dict[str, tuple[Worked, ...]] = {}
        self._work_before: dict[str, tuple[Worked, ...]] = {}
        self._own: set[str] = set()
        self._own_before: set[str] = set()

    def look(self, entry: str, sight: Sight, clients: Iterable[Seen], honey: Collection[str]) -> Risk:
        """The risk of an answer: of its clients', the highest.

        Args:
            entry: id of the entry that will say so.
            honey: clients that nobody has work with.
        """
        clients = list(clients)
        risk = UNKNOWN
        if self.awake:
            if len(self._own) >= COUNTED:
                self._own_before, self._own = self._own, set()
            self._own.add(entry)
            with contextlib.suppress(
                Exception
            ):  # the path of an access does not end here: the risk is unknown
                risk = self._score(sight, clients)
        return TOUCHED if honey and any(name in honey for name, _ in clients) else risk

    def replay(self, entry: str, sight: Sight, clients: Iterable[Seen]) -> Risk | None:
        """Counts an entry of the log; None for one that ``look`` has counted."""
        if self.is_own(entry):
            return None
        return self._score(sight, clients)

    def is_own(self, entry: str) -> bool:
        """Whether ``look`` has counted an entry of the log."""
        return entry in self._own or entry in self._own_before

    def work(self, at_s: int, client: str, actor: str, what: str) -> None:
        """Takes note of work with a client: a reason to look for whose it is, and less odd for all others.

        Args:
            actor: as in a sight; "" for nobody's in particular.
            what: of ``REACH_S``.
        """
        if len(self._work) >= REMEMBERED // 4:
            self._work_before, self._work = self._work, {}
        known = self._work.get(client) or self._work_before.get(client, ())
        self._work[client] = ((at_s, actor, what), *known)[:WORKED]

    def forget(self, client: str, token: str) -> None:
        """Knows a client by their token alone from now on: they were erased, and so a replay knows them."""
        for kept in (self._touched, self._before):
            for key in [key for key in kept if key[1] == client]:
                kept[key[0], token] = kept.pop(key)
        for known in (self._work, self._work_before):
            if client in known:
                known[token] = known.pop(client)

    def excuse(self, actor: str, cause: Cause, until_s: int) -> None:
        """Takes note that a cause is expected of an actor; days with it are learned from."""
        for name in (actor, f"{actor} {_LISTS}"):
            self._scorer.excused[name, cause] = until_s

    def _score(self, sight: Sight, clients: Iterable[Seen]) -> Risk:
        worst, failed = Risk(Level.LOW), False
        apart = f" {_LISTS}" if sight.many else ""
        actor, role = f"{sight.actor}{apart}", f"{sight.role}{apart}"
        if sight.refused:
            place = sight.place
            return self._scorer.score(
                Access(
                    sight.at_s,
                    sight.actor,
                    "",
                    sight.role,
                    sight.team,
                    device=place[1],
                    zone=place[0],
                    refused=True,
                )
            )
        for client, relations in clients:
            joined = 0
            for name in relations:
                joined |= sight.relations.get(name, 0)
            if sight.many:  # a list shows whoever is in it: nobody's kin were looked for
                joined &= ~CLOSE
            idle_s = self._idle(sight, client)
            for at_s, whose, what in self._work.get(client) or self._work_before.get(client, ()):
                ago = sight.at_s - at_s
                if 0 <= ago <= REACH_S[what] and whose in ("", sight.actor):
                    joined |= Relation[what.upper()]
                if ago >= 0 and (idle_s < 0 or ago < idle_s):
                    idle_s = ago
            zone, device = sight.place
            risk = self._scorer.score(
                Access(
                    sight.at_s,
                    actor,
                    client,
                    role,
                    sight.team,
                    sight.clear,
                    joined,
                    idle_s,
                    device,
                    zone,
                    sensitive=bool(joined & Relation.SENSITIVE),
                )
            )
            failed = failed or risk.level is Level.UNKNOWN
            if risk.p < worst.p:
                worst = risk
        return UNKNOWN if failed and worst.level is Level.LOW else worst

    def _idle(self, sight: Sight, client: str) -> int:
        """Seconds since another of the team looked at this client; -1: none did that is remembered.

        A list shows whoever is in it: that is no look that would explain another's, and is not remembered.
        """
        key = sight.team, client
        found = self._touched.get(key) or self._before.get(key)
        last, at_s, other_s = found or (sight.actor, sight.at_s, -1)
        others = other_s if last == sight.actor else at_s
        if not sight.many:
            if len(self._touched) >= REMEMBERED // 2:
                self._before, self._touched = self._touched, {}
            self._touched[key] = sight.actor, sight.at_s, others
        return max(0, sight.at_s - others) if others >= 0 else -1


def assessment(sight: Sight, risk: Risk) -> Assessment:
    """What the log keeps of a risk."""
    strongest = {e.cause: e for e in reversed(risk.evidence)}  # of a cause that shows in several windows
    told = [e for e in risk.evidence if strongest[e.cause] is e][:_TOLD]
    # A whole number that is an int is read back as another text: such an entry would be no leaf.
    why = tuple(
        Reason(e.cause.value, float(e.p), float(e.observed), float(e.expected), float(e.peers), e.window_s)
        for e in told
    )
    return Assessment(
        at=sight.at_s,
        clear=sight.clear,
        level=risk.level.value,
        many=sight.many,
        p=risk.p,
        place=sight.place,
        refused=sight.refused,
        relations=sight.relations,
        team=sight.team,
        why=why,
    )


def sight_of(actor: str, roles: Iterable[str], said: Assessment) -> Sight:
    """What was seen, of an entry of the log."""
    return Sight(
        said.at,
        actor,
        "+".join(sorted(roles)),
        said.team,
        said.clear,
        said.many,
        said.place,
        said.relations,
        said.refused,
    )
