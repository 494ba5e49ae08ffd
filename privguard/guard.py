"""Drives an exchange through the ports: ``AsyncGuard`` for event loops, ``Guard`` for everybody else.

Both are thin: what is decided stands in ``exchange``; here is only the waiting for the log.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections import Counter
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from msgspec import Struct

from privguard.anomaly import Watch
from privguard.aside import Aside
from privguard.errors import (
    AuditUnavailableError,
    PolicyUnavailableError,
    StoreUnavailableError,
    TooManyDisclosuresError,
    contained,
)
from privguard.exchange import Exchange, State
from privguard.masking import MaskTools
from privguard.model import AccessEvent, AccessRequest, AuditReceipt, Outcome, Principal, Verb
from privguard.policy import Policy
from privguard.ports import (
    AlertSink,
    AuditLog,
    Budgets,
    Challenges,
    Claim,
    Clock,
    Directory,
    Entropy,
    Grants,
    IdentityProvider,
    Lookups,
)
from privguard.rulebook import Rulebook
from privguard.stepup.grant import Grant

T = TypeVar("T")
LATE: Final = "The record was not durable within the deadline; nothing was released. Check the store's disk."
_NOBODY: Final[frozenset[Any]] = frozenset()


class Limits(Struct, frozen=True):
    """Bytes a door holds at once.

    Attributes:
        answer: of an answer; a larger one leaves in parts.
        request: of a governed write's body; a larger one is refused.
    """

    answer: int = 1_048_576
    request: int = 1_048_576


def _nowhere(_scope: MutableMapping[str, Any]) -> str | None:
    return None


class Door(Struct, frozen=True):
    """What an HTTP door needs beside the core.

    Attributes:
        identity: tells who asks.
        credentials: headers that never go to the app behind on a governed route (S11): they name an actor to
            privguard alone, or to the app behind alone.
        zone: the network zone an ASGI request comes from.
        query_forms: ``_purpose`` and ``_reveal`` are taken from the query, and never forwarded.
    """

    identity: IdentityProvider
    credentials: frozenset[bytes] = frozenset()
    limits: Limits = Limits()
    query_forms: bool = False
    zone: Callable[[MutableMapping[str, Any]], str | None] = _nowhere


class GuardCore:
    """What both drivers share: the policy in force, the log, time and randomness.

    Args:
        system: name of the guarded system, as the log holds it.
        mode: ``enforce``, or ``observe``: everything is recorded as it would have been, nothing is changed.
        deadline_s: seconds an answer may wait for its record.
        door: what an HTTP door needs; a guard for library calls alone has none.
        lookups: counts exact look-ups by masked fields; without it there are none (M01).
        budgets: counts the clients an actor is shown; without it nobody does.
        grants, challenges: what clear values are had by; without them they are not to be had.
        watch: judges how unusual an access is; without it nobody does.
        alerts: who tells people of it.
        directory: admits the actors of library calls (a door's ``identity`` does so itself); None admits all.

    Attributes:
        counts: entries by (outcome, problem), for metrics.
    """

    def __init__(
        self,
        log: AuditLog,
        clock: Clock,
        entropy: Entropy,
        tools: MaskTools,
        *,
        system: str = "",
        mode: str = "enforce",
        deadline_s: float = 2.0,
        door: Door | None = None,
        lookups: Lookups | None = None,
        directory: Directory | None = None,
        budgets: Budgets | None = None,
        grants: Grants | None = None,
        challenges: Challenges | None = None,
        watch: Watch | None = None,
        alerts: AlertSink | None = None,
    ) -> None:
        self.log = log
        self.clock = clock
        self.entropy = entropy
        self.tools = tools
        self.system = system
        self.mode = mode
        self.deadline_s = deadline_s
        self.door = door
        self.lookups = lookups
        self.directory = directory
        self.budgets = budgets
        self.grants = grants
        self.challenges = challenges
        self.watch = watch
        self.alerts = alerts
        self.counts: Counter[tuple[str, str]] = Counter()
        self._rulebook: Rulebook | None = None
        self._aside = Aside("privguard-store", threads=2)

    @property
    def policy(self) -> Policy | None:
        """The policy in force."""
        return self._rulebook.policy if self._rulebook is not None else None

    def use(self, policy: Policy | None) -> Future[AuditReceipt]:
        """Puts a policy in force, whole and at once; None refuses everything. The change is on record.

        Accesses under way finish by the version they began with (M13).
        """
        return self.submit(self.put_in_force(policy))

    def put_in_force(self, policy: Policy | None) -> AccessEvent:
        """The same, for who submits the entry: until it is on record, again and again."""
        self._rulebook = Rulebook(policy, self.tools) if policy is not None else None
        return AccessEvent(
            event_id=self.new_id(),
            at_us=self.clock.now_us(),
            action=f"privguard:policy:{'activate' if policy is not None else 'withdraw'}",
            outcome=Outcome.PERMITTED,
            actor="privguard",
            system=self.system,
            policy=policy.digest if policy is not None else "",
            mode=self.mode,
        )

    def submit(self, event: AccessEvent, claim: Claim | None = None) -> Future[AuditReceipt]:
        """Queues an entry, with what it takes, and counts it."""
        self.counts[event.outcome, event.problem] += 1
        return self.log.submit(event, claim)

    async def within(self, work: Callable[..., T], *args: object) -> T:
        """Work that may block on the store, in one of two threads of the guard's own.

        More would be in each other's way (the interpreter lock); with the loop's own, a store that hangs
        would hold up everybody else's work.

        Raises:
            StoreUnavailableError: it was not done within the deadline.
        """
        try:
            async with asyncio.timeout(self.deadline_s):
                return await self._aside.do(work, *args)
        except TimeoutError:
            raise StoreUnavailableError("The store did not answer within the deadline.") from None

    def alert(self, event: AccessEvent, receipt: AuditReceipt) -> None:
        """The entry is durable: tells whom the policy wants told of it."""
        if event.risk is None or self.alerts is None or self._rulebook is None:
            return
        effect = self._rulebook.policy.effects.get(event.risk.level)
        if effect is not None and effect.alert:
            self.alerts.tell(event, receipt.index, effect.alert)

    def new_id(self) -> str:
        """A fresh event id, which begins with the time in milliseconds, as RFC 9562's version 7 does.

        So the index of ids grows at one end, where random ids would dirty a page of it each.
        """
        return f"{self.clock.now_us() // 1000:012x}{self.entropy.token(10).hex()}"

    def begin(self, source: str) -> Exchange:
        """Starts an exchange under the policy in force.

        Raises:
            PolicyUnavailableError: there is none.
        """
        if self._rulebook is None:
            raise PolicyUnavailableError("The policy file is missing or was never valid: put it back.")
        return Exchange(
            self._rulebook,
            source=source,
            system=self.system,
            mode=self.mode,
            event_id=self.new_id(),
            watch=self.watch,
        )

    def unruled(self, status: int, source: str, problem: str) -> AccessEvent:
        """The entry for an access that was refused because no policy is in force."""
        return AccessEvent(
            event_id=self.new_id(),
            at_us=self.clock.now_us(),
            action=f"{source}:-:read",
            outcome=Outcome.ABORTED,
            actor="",
            system=self.system,
            mode=self.mode,
            status=status,
            problem=problem,
        )

    def spending(self, exchange: Exchange) -> tuple[Claim | None, frozenset[Any]]:
        """What the entry of an access takes, and which clients are counted with it.

        Of the grant it was made under it is one read an access; a write takes that with its intent, for
        afterwards would be too late. Of the actor's budget it is whom they did not see yet.
        """
        now, seen = self.clock.now_us(), _NOBODY
        claims: list[Claim] = []
        if self.grants is not None and exchange.spends:
            if exchange.grant is not None:
                claims.append(self.grants.spend(exchange.grant, now))
            if exchange.actor.once is not None:
                claims.append(self.grants.take_once(exchange.actor.once, now))
        actor = exchange.actor
        limits = exchange.rulebook.policy.client_limits(actor)
        if limits and self.budgets is not None and exchange.state is State.MASKED:
            seen = self.budgets.new(actor.tenant, actor.id, exchange.clients, limits, now)
            if seen:
                claims.append(self.budgets.take(seen, limits, now))
        return (_all(claims) if len(claims) > 1 else claims[0] if claims else None), seen

    def spent(self, seen: frozenset[Any]) -> None:
        """The entry is durable: these clients are counted."""
        if seen and self.budgets is not None:
            self.budgets.taken(seen)

    def disclosing(
        self, actor: Principal, request: AccessRequest, record: Mapping[str, object]
    ) -> tuple[Exchange, Mapping[str, object]]:
        """The steps of a library disclosure up to its record; a refusal is in ``exchange.error``."""
        exchange = self.begin("library")
        view: Mapping[str, object] = {}
        try:
            exchange.identified(actor)
            if self.directory is not None:
                exchange.admitted(self.directory.admit(actor, self.clock.now_us()))
            exchange.decide(request, self.clock.now_us())
            exchange.answered(200)
            view = exchange.mask_record(record)
        except Exception as error:  # noqa: BLE001  # whatever a stage raises, the answer is withheld
            exchange.refused(contained(error), self.new_id())
        return exchange, view


def _all(claims: Sequence[Claim]) -> Claim:
    def claim(connection: Any) -> None:
        for each in claims:
            each(connection)

    return claim


class AsyncGuard:
    """The guard for event loops; never blocks one."""

    def __init__(self, core: GuardCore) -> None:
        self.core = core

    async def record(self, event: AccessEvent, claim: Claim | None = None) -> AuditReceipt:
        """Waits until the entry is durable, and what it takes is taken.

        Raises:
            AuditUnavailableError: it was not within the deadline.
            PrivguardError: the claim's own, where it does not hold; there is no entry then.
        """
        self.core.counts[event.outcome, event.problem] += 1
        receipt = await self.core.log.append(event, claim)
        self.core.alert(event, receipt)
        return receipt

    async def grant(self, secret: str | None) -> Grant | None:
        """The grant that a caller presents, as far as it is one.

        Raises:
            StoreUnavailableError: it could not be looked up within the deadline.
        """
        grants = self.core.grants
        if secret is None or grants is None:
            return None
        known = grants.known(secret)
        if known is not None:  # whether it holds is asked when it is spent
            return known
        return await self.core.within(grants.find, secret, self.core.clock.now_us())

    async def challenge(self, exchange: Exchange) -> Mapping[str, object]:
        """What a refusal says of the challenge that would lead on; empty where there is none."""
        scope, challenges = exchange.offer, self.core.challenges
        if scope is None or challenges is None:
            return {}
        said = exchange.request.reason or ""
        try:
            return await challenges.describe(scope, said, self.core.clock.now_us())
        except StoreUnavailableError:
            return {}

    def link(self, exchange: Exchange) -> bytes:
        """The ``Link`` to where the clear values of a masked answer may be had."""
        scope, challenges = exchange.offer, self.core.challenges
        query = ""
        if scope is not None and challenges is not None:
            said = exchange.request.reason or ""
            query = f"?challenge={challenges.seal(scope, said, self.core.clock.now_us())}"
        return f'</_privguard/stepup/{query}>; rel="privguard-stepup"'.encode("ascii")

    async def record_access(self, exchange: Exchange) -> AuditReceipt:
        """Records the state an access reached, with what it takes. Raises as ``record``."""
        claim, seen = self.core.spending(exchange)
        receipt = await self.record(exchange.event(self.core.clock.now_us()), claim)
        self.core.spent(seen)
        return exchange.recorded(receipt)

    async def take_lookup(self, exchange: Exchange) -> None:
        """Takes one of the actor's look-ups of this hour.

        Raises:
            TooManyDisclosuresError: there is none left.
            StoreUnavailableError: it could not be counted within the deadline.
        """
        core, actor = self.core, exchange.actor
        if core.lookups is None:
            raise StoreUnavailableError("Nothing counts look-ups here: give the guard `lookups`.")
        wait = await self.core.within(
            core.lookups.take, actor.tenant, actor.id, exchange.lookups, core.clock.now_us()
        )
        if wait:
            raise TooManyDisclosuresError(
                f"{exchange.lookups} look-ups an hour by fields that are masked are spent.", retry_after=wait
            )

    async def disclose(
        self,
        actor: Principal,
        *,
        resource: str,
        record: Mapping[str, object],
        purpose: str | None = None,
        reason: str | None = None,
        reveal: tuple[str, ...] = (),
    ) -> Mapping[str, object]:
        """Masks a record for an actor; when this returns, the disclosure is on record.

        Raises:
            AccessDeniedError, StepUpRequiredError: the policy refuses; that is on record too.
            AuditUnavailableError: the record could not be made durable in time.
        """
        request = _library_request(resource, purpose, reason, reveal)
        exchange, view = self.core.disclosing(actor, request, record)
        try:
            receipt = await self.record_access(exchange)
        except TooManyDisclosuresError as error:
            exchange.refused(error, self.core.new_id())
            receipt = await self.record_access(exchange)
        exchange.release(receipt)
        if exchange.error is not None:
            raise exchange.error
        return view


class Guard:
    """The guard for synchronous callers; safe to share between threads."""

    def __init__(self, core: GuardCore) -> None:
        self.core = core

    def record(self, event: AccessEvent, claim: Claim | None = None) -> AuditReceipt:
        """Waits until the entry is durable. Raises AuditUnavailableError past the deadline."""
        try:
            receipt = self.core.submit(event, claim).result(self.core.deadline_s)
        except concurrent.futures.TimeoutError:
            raise AuditUnavailableError(LATE) from None
        self.core.alert(event, receipt)
        return receipt

    def _record_access(self, exchange: Exchange) -> AuditReceipt:
        claim, seen = self.core.spending(exchange)
        receipt = self.record(exchange.event(self.core.clock.now_us()), claim)
        self.core.spent(seen)
        return exchange.recorded(receipt)

    def disclose(
        self,
        actor: Principal,
        *,
        resource: str,
        record: Mapping[str, object],
        purpose: str | None = None,
        reason: str | None = None,
        reveal: tuple[str, ...] = (),
    ) -> Mapping[str, object]:
        """Masks a record for an actor; when this returns, the disclosure is on record.

        Raises:
            AccessDeniedError, StepUpRequiredError: the policy refuses; that is on record too.
            TooManyDisclosuresError: the actor's budget of clients is spent.
            AuditUnavailableError: the record could not be made durable in time.
        """
        request = _library_request(resource, purpose, reason, reveal)
        exchange, view = self.core.disclosing(actor, request, record)
        try:
            receipt = self._record_access(exchange)
        except TooManyDisclosuresError as error:
            exchange.refused(error, self.core.new_id())
            receipt = self._record_access(exchange)
        exchange.release(receipt)
        if exchange.error is not None:
            raise exchange.error
        return view


def _library_request(
    resource: str, purpose: str | None, reason: str | None, reveal: tuple[str, ...]
) -> AccessRequest:
    return AccessRequest(resource=resource, verb=Verb.READ, purpose=purpose, reason=reason, reveal=reveal)
