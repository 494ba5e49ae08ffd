"""Reads the trail for somebody, who is on it before anything of it is read (L15).

What a look gives is bounded by its own entry: it shows the log as it was before, whoever writes meanwhile.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice

import msgspec
from msgspec import Struct

from privguard.audit.floor import Sealed
from privguard.audit.record import UNSEEN, Leaf, parse
from privguard.errors import AuditUnavailableError, NotOnRecordError
from privguard.model import AccessEvent, AuditReceipt, Disclosure, Outcome, SubjectRef
from privguard.oversight.filters import Filter, cursor_of, index_of
from privguard.ports import AuditLog, Claim, Clock, Entropy
from privguard.store.log_reader import Indexed, Span
from privguard.store.trail_reader import TrailReader


class Entry(Struct, frozen=True):
    """One leaf of the log; ``data`` is its exact bytes."""

    index: int
    leaf: Leaf
    data: bytes


class Page(Struct, frozen=True):
    """Entries, newest first, and where the next page begins; no cursor after the last."""

    entries: list[Entry]
    cursor: str | None


class Shown(Struct, frozen=True):
    """An entry with all its parts and what only the key holder may read.

    Attributes:
        detail: reason, ticket, parameters; None where they were erased.
        clients: whom its tokens name, as far as their keys still are.
    """

    parts: list[Entry]
    detail: tuple[tuple[str, str], ...] | None
    clients: dict[str, SubjectRef]


class ClientReport(Struct, frozen=True):
    """Every entry a client stands in, newest first; ``token`` is what the log calls the client.

    Attributes:
        look: the receipt of this look.
        count: how many there are, as the client's chain says; each is read and numbered from ``count`` down:
            to 1, or to the last that is not sealed in an archive.
        sealed: where entries before that are, if the log was pruned.
    """

    look: AuditReceipt
    token: str
    count: int
    entries: Iterator[Entry]
    sealed: Sealed | None = None


class Trail:
    """The trail as one person sees it.

    Args:
        who: the person, as the log will name them.
        source: the door they came through, first part of the action in the log.
        deadline_s: seconds within which the look must be on record.
    """

    def __init__(
        self,
        reader: TrailReader,
        log: AuditLog,
        clock: Clock,
        entropy: Entropy,
        *,
        who: str,
        source: str = "cli",
        deadline_s: float = 2.0,
    ) -> None:
        self._reader = reader
        self._log = log
        self._clock = clock
        self._entropy = entropy
        self._who = who
        self._source = source
        self._deadline_s = deadline_s

    def search(self, asked: Filter, *, limit: int, cursor: str | None = None) -> Page:
        """A page of what is asked for, newest first.

        Raises:
            MalformedRequestError: the cursor is none of this filter.
            AuditUnavailableError: the look could not be put on record; nothing is read.
        """
        below = None if cursor is None else index_of(asked, cursor)
        receipt, token = self._look("search", asked)
        found = self._newest(asked, token, receipt.index if below is None else below)
        entries = list(islice(found, limit + 1))
        rest = cursor_of(asked, entries[limit - 1].index) if len(entries) > limit else None
        return Page(entries[:limit], rest)

    def tail(self, asked: Filter, count: int) -> list[Entry]:
        """The newest entries that are asked for, oldest of them first. Raises as ``search``."""
        receipt, token = self._look("tail", asked)
        return list(islice(self._newest(asked, token, receipt.index), count))[::-1]

    def every(self, asked: Filter) -> tuple[AuditReceipt, Iterator[Entry]]:
        """All that is asked for, oldest first, in flat memory; and the receipt of this look."""
        receipt, token = self._look("export", asked)
        if token is not None:
            return receipt, reversed(list(self._newest(asked, token, receipt.index)))
        found = () if asked.client else self._columns(asked, receipt.index, newest_first=False)
        return receipt, (entry for entry in found if asked.matches(entry.leaf))

    def show(self, wanted: str, tenant: str = "default") -> Shown:
        """An entry by its index or its event id.

        Raises:
            NotOnRecordError: there is none.
        """
        self._look("show", Filter(tenant=tenant), ("entry", wanted))
        event_id, sealed = wanted, self.sealed()
        if wanted.isascii() and wanted.isdecimal() and len(wanted) < 20:  # an event id has 32
            if sealed is not None and int(wanted) < sealed.floor:
                raise NotOnRecordError(f"{words_of(sealed)}.")
            data = self._reader.leaf(int(wanted))
            event_id = parse(data).id if data is not None else ""
        parts = list(map(entry_of, self._reader.parts(event_id)))
        if not parts or parts[0].leaf.tenant != tenant or (sealed and parts[0].index < sealed.floor):
            where = f" {words_of(sealed)}." if sealed else ""
            raise NotOnRecordError(f"No entry of the log has this index or event id.{where}")
        tokens = {token for part in parts for group in part.leaf.groups for token, _, _ in group.subjects}
        detail = self._reader.detail([(part.index, part.data) for part in parts])
        return Shown(parts, detail, self._reader.clients(sorted(tokens)))

    def report(self, client: SubjectRef, tenant: str = "default") -> ClientReport:
        """Who saw a client, complete: the chain is walked from its head to its first entry.

        The look itself is the client's newest entry and the first of the report.

        Raises:
            NotOnRecordError: the log knows no such client, or the client's key is destroyed.
            AuditUnavailableError: while it is read, if an entry is missing from the chain.
        """
        report = self._report("report", client, tenant)
        if not report.token:
            raise NotOnRecordError(
                f"The log knows no such client of kind `{client.kind}` (--kind), or the client was erased."
            )
        return report

    def statement(self, client: SubjectRef, tenant: str = "default") -> ClientReport:
        """The same, for what the client is handed; empty, without a token, where the log knows nobody.

        That is no error here: who is known only by what is under embargo must be answered like a stranger.
        """
        return self._report("statement", client, tenant)

    def issue(
        self, action: str, look: AuditReceipt, about: Mapping[str, str], policy: str, tenant: str
    ) -> AuditReceipt:
        """Puts on record what will be handed out of a look, by its digests, in a leaf that names nobody.

        Raises:
            AuditUnavailableError: it could not be; nothing may leave.
        """
        return self._record(
            AccessEvent(
                event_id=self._entropy.token(16).hex(),
                at_us=self._clock.now_us(),
                action=action,
                outcome=Outcome.PERMITTED,
                actor="privguard",  # this leaf may be handed out too; the look before it says who
                tenant=tenant,
                policy=policy,
                intent=look.index,
                about=about,
            )
        )

    def sealed(self) -> Sealed | None:
        """What was pruned of the log; None if nothing was. That much is no secret, and not on the trail."""
        return self._reader.sealed()

    # inside

    def _report(self, verb: str, client: SubjectRef, tenant: str) -> ClientReport:
        look, token = self._look(verb, Filter(tenant=tenant, client=client))
        head = self._reader.head(token) if token is not None else None
        if token is None or head is None:
            return ClientReport(look, "", 0, iter(()), self.sealed())
        return ClientReport(look, token, head[0], self._whole(token, head), self.sealed())

    def _whole(self, token: str, head: tuple[int, int]) -> Iterator[Entry]:
        (count, last), floor = head, self._reader.floor()
        for entry in map(entry_of, self._reader.chain(token, last)):
            if (count, last) == UNSEEN or (link := _link(entry.leaf, token)) is None:
                break
            if entry.index != last or link[0] != count or last < floor:
                break
            yield entry
            count, last = count - 1, link[1]
        if (count, last) != UNSEEN and not 0 <= last < self._reader.floor():  # which may rise meanwhile
            raise AuditUnavailableError(
                f"Entry {count} of this client is missing from the chain: the log was changed "
                "(`privguard audit verify` says where)."
            )

    def _newest(self, asked: Filter, token: str | None, stop: int) -> Iterator[Entry]:
        if asked.client is None:
            found = self._columns(asked, stop, newest_first=True)
        elif token is not None and (head := self._reader.head(token)) is not None:
            chain = map(entry_of, self._reader.chain(token, head[1]))
            floor = self._reader.floor()
            found = (entry for entry in chain if floor <= entry.index < stop)
        else:
            return iter(())
        return (entry for entry in found if asked.matches(entry.leaf))

    def _columns(self, asked: Filter, stop: int, *, newest_first: bool) -> Iterator[Entry]:
        start = 0 if asked.since_us is None else self._reader.since(asked.since_us)
        until = None if asked.until_us is None else self._reader.since(asked.until_us)
        start = stop if start is None else max(start, self._reader.floor())
        span = Span(start, stop if until is None else min(stop, until))
        return map(entry_of, self._reader.entries(asked.where, span, newest_first=newest_first))

    def _look(self, verb: str, asked: Filter, *detail: tuple[str, str]) -> tuple[AuditReceipt, str | None]:
        """Puts the look on record; then whose entries it is about, if they have a name in the log."""
        token = self._reader.token(asked.tenant, asked.client) if asked.client is not None else None
        about = (Disclosure("audit", (), (asked.client,)),) if asked.client is not None and token else ()
        event = AccessEvent(
            event_id=self._entropy.token(16).hex(),
            at_us=self._clock.now_us(),
            action=f"{self._source}:audit:{verb}",
            outcome=Outcome.PERMITTED,
            actor=self._who,
            tenant=asked.tenant,
            disclosures=about,
            detail=(("filter", msgspec.json.encode(asked.echo()).decode()), *detail),
        )
        return self._record(event), token

    def note(
        self,
        action: str,
        about: Mapping[str, str],
        detail: tuple[tuple[str, str], ...],
        tenant: str,
        claim: Claim | None = None,
    ) -> AuditReceipt:
        """Puts on record what somebody found in the trail; ``detail`` is sealed. Raises the claim's error."""
        event = AccessEvent(
            event_id=self._entropy.token(16).hex(),
            at_us=self._clock.now_us(),
            action=action,
            outcome=Outcome.PERMITTED,
            actor=self._who,
            tenant=tenant,
            about=about,
            detail=detail,
        )
        return self._record(event, claim)

    def _record(self, event: AccessEvent, claim: Claim | None = None) -> AuditReceipt:
        try:
            return self._log.submit(event, claim).result(self._deadline_s)
        except concurrent.futures.TimeoutError:
            raise AuditUnavailableError("The look at the trail could not be put on record in time.") from None


def words_of(sealed: Sealed) -> str:
    """Where entries are that are not here any more, for people."""
    day = datetime.fromtimestamp(sealed.ts // 1_000_000, UTC).date()
    return f"Entries below {sealed.floor} were sealed on {day} in an archive (sha256 {sealed.archive})"


def entry_of(indexed: Indexed) -> Entry:
    """An entry as the log's reader gives it."""
    index, data = indexed
    return Entry(index, parse(data), data)


def count_of(entry: Entry, token: str) -> int:
    """Which of a client's entries this is, from 1 on; 0: it is none."""
    link = _link(entry.leaf, token)
    return 0 if link is None else link[0]


def _link(leaf: Leaf, token: str) -> tuple[int, int] | None:
    """The client's number and entry before, as a leaf has them."""
    links = ((k, prev) for group in leaf.groups for each, k, prev in group.subjects if each == token)
    return next(links, None)
