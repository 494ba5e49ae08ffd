"""Keeps the anomaly checker's state what the log makes of it: reads what came since, this worker's or not."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from typing import Final, TypeVar

from privguard.anomaly import Cause, Risk, Sight, Watch, sight_of
from privguard.anomaly.watch import REMEMBERED, Seen
from privguard.audit.record import Leaf, LeafError, parse
from privguard.model import Outcome, SubjectRef
from privguard.store.log_reader import Indexed, LogReader
from privguard.store.trail_reader import TrailReader
from privguard.telemetry import logger

T = TypeVar("T")
EXCUSED: Final = "stepup:excuse:approve"
"""Action of an entry by which a second person agrees that something is expected of an actor for a while."""
WORK: Final = "crm:client:work"
"""Action of an entry that says of work with clients: what, whose, and when, in ``about``."""
ERASED: Final = "oversight:client:erase"
"""Action of an entry that says that a client was erased."""
PAGE: Final = 200
"""Leaves whose clients are looked up at once."""
LISTED: Final = 20_000
"""Clients of others' lists and exports, and those of one more, that are known by name once the log was read
to its end; about 6 MB."""
_UNDER_WAY_S: Final = 0.01


class SharedWatch(Watch):
    """A watch that callers and the follower share between threads."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    def look(self, entry: str, sight: Sight, clients: Iterable[Seen], honey: Collection[str]) -> Risk:
        """The risk of an answer: see ``Watch.look``."""
        with self._lock:
            return super().look(entry, sight, clients, honey)

    def replay(self, entry: str, sight: Sight, clients: Iterable[Seen]) -> Risk | None:
        """Counts an entry of the log: see ``Watch.replay``."""
        with self._lock:
            return super().replay(entry, sight, clients)

    def work(self, at_s: int, client: str, actor: str, what: str) -> None:
        """Takes note of work with a client: see ``Watch.work``."""
        with self._lock:
            super().work(at_s, client, actor, what)

    def forget(self, client: str, token: str) -> None:
        """Knows a client by their token alone: see ``Watch.forget``."""
        with self._lock:
            super().forget(client, token)

    def excuse(self, actor: str, cause: Cause, until_s: int) -> None:
        """Takes note of what is expected: see ``Watch.excuse``."""
        with self._lock:
            super().excuse(actor, cause, until_s)


class Follower:
    """Reads the log from a time on, and on.

    Args:
        since_us: log time in microseconds from which entries count.
    """

    def __init__(self, watch: Watch, log: LogReader, trail: TrailReader, since_us: int) -> None:
        self._watch = watch
        self._log = log
        self._trail = trail
        self._since_us = since_us
        self._next: int | None = None
        # Two generations, as large as the watch's and in step with them: whom it has by name is named here.
        self._names: dict[str, str] = {}
        self._named: dict[str, str] = {}
        # Of lists and exports, whose clients the watch does not remember: one export may show them all.
        self._listed: dict[str, str] = {}

    def refresh(self) -> None:
        """Reads to the log's end; called once a second."""
        count = sum(1 for _ in self.replayed())
        if not self._watch.awake:
            self._watch.awake = True
            logger().info("watching", entries=count)
            time.sleep(_UNDER_WAY_S)
            for _ in self.replayed():  # what was looked at before, and put on record only now
                pass
            self._listed = {}  # months of lists name the same clients again, the next second's do not

    def replayed(self) -> Iterator[tuple[int, Leaf, Risk | None]]:
        """What came since: index, leaf, and the risk that the state makes of it (see ``Watch.replay``)."""
        if self._next is None:
            first = self._trail.since(self._since_us)
            self._next = max(self._log.head()[0] if first is None else first, self._trail.floor())
        for page in _pages(self._log.entries(self._next)):
            leaves = list(_readable(page))
            self._learn(token for _, leaf in leaves if _remembered(leaf) for token in _tokens(leaf))
            for index, leaf in leaves:
                self._next = index + 1  # before: an entry that fails is passed over, and none counts twice
                if works(leaf):
                    self._worked(leaf)
                elif leaf.action == EXCUSED:
                    actor, cause = f"{leaf.tenant}:{leaf.about['actor']}", Cause(leaf.about["cause"])
                    self._watch.excuse(actor, cause, int(leaf.about["until"]))
                elif leaf.action == ERASED and leaf.outcome == Outcome.PERMITTED:
                    self._forget(leaf)
                if leaf.risk is not None:
                    if leaf.risk.many and not self._watch.is_own(leaf.id):
                        self._learn_listed(leaf)
                    sight = sight_of(f"{leaf.tenant}:{leaf.actor}", leaf.roles, leaf.risk)
                    yield index, leaf, self._watch.replay(leaf.id, sight, self._seen(leaf).items())
            self._next = page[-1][0] + 1

    def _worked(self, leaf: Leaf) -> None:
        actor = leaf.about["for"] and f"{leaf.tenant}:{leaf.about['for']}"
        for client in self._seen(leaf):
            self._watch.work(int(leaf.about["at"]), client, actor, leaf.about["what"])

    def _forget(self, leaf: Leaf) -> None:
        """Keeps no name of who was erased (L13)."""
        for token in _tokens(leaf):
            if (name := self._name(token)) != token:
                self._watch.forget(name, token)
            self._names.pop(token, None)
            self._named.pop(token, None)
            self._listed.pop(token, None)

    def _seen(self, leaf: Leaf) -> dict[str, Collection[str]]:
        return {self._name(token): group.relations for group in leaf.groups for token, _, _ in group.subjects}

    def _name(self, token: str) -> str:
        return self._names.get(token) or self._named.get(token) or self._listed.get(token, token)

    def _learn(self, tokens: Iterable[str]) -> None:
        """Finds out whom tokens name; who was erased stays a token."""
        if len(self._names) >= REMEMBERED // 2:
            self._named, self._names = self._names, {}
        unknown = [token for token in dict.fromkeys(tokens) if token not in self._names]
        self._names |= {token: self._named[token] for token in unknown if token in self._named}
        self._names |= self._asked(token for token in unknown if token not in self._named)

    def _learn_listed(self, leaf: Leaf) -> None:
        if len(self._listed) >= (LISTED if self._watch.awake else REMEMBERED // 2):
            self._listed = {}
        self._listed |= self._asked(
            token for token in dict.fromkeys(_tokens(leaf)) if self._name(token) == token
        )

    def _asked(self, tokens: Iterable[str]) -> dict[str, str]:
        return {
            token: name_of(client)
            for some in _pages(tokens)
            for token, client in self._trail.clients(some).items()
        }


def _readable(page: Iterable[Indexed]) -> Iterator[tuple[int, Leaf]]:
    """The entries that are leaves; one that is none blinds nobody to those after it."""
    for index, data in page:
        try:
            yield index, parse(data)
        except LeafError:
            logger().error("entry-unreadable", entry=index, mend="`privguard audit verify` says what it is")


def _pages(every: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(every)
    return iter(lambda: list(islice(rest, PAGE)), [])


def _remembered(leaf: Leaf) -> bool:
    """Whether the watch remembers by name who is in an entry: who was looked at alone, or worked with."""
    return works(leaf) or (leaf.risk is not None and not leaf.risk.many)


def _tokens(leaf: Leaf) -> Iterator[str]:
    return (token for group in leaf.groups for token, _, _ in group.subjects)


def works(leaf: Leaf) -> bool:
    """Whether an entry says of work with clients."""
    return leaf.action == WORK


def name_of(client: SubjectRef) -> str:
    """What the checker calls a client."""
    return f"{client.kind}:{client.id}"
