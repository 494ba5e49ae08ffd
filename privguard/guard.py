"""Drives an exchange through the ports: ``AsyncGuard`` for event loops, ``Guard`` for everybody else.

Both are thin: what is decided stands in ``exchange``; here is only the waiting for the log.
"""

from __future__ import annotations

import concurrent.futures
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Final

from msgspec import Struct

from privguard.errors import (
    AuditUnavailableError,
    PolicyUnavailableError,
    contained,
)
from privguard.exchange import Exchange, Rulebook
from privguard.masking import MaskTools
from privguard.model import AccessEvent, AccessRequest, AuditReceipt, Outcome, Principal, Verb
from privguard.policy import Policy
from privguard.ports import AuditLog, Clock, Entropy, IdentityProvider

LATE: Final = "The record was not durable within the deadline; nothing was released. Check the store's disk."


class Limits(Struct, frozen=True):
    """Bytes a door holds at once.

    Attributes:
        answer: of an answer; a larger one leaves in parts.
        request: of a governed write's body; a larger one is refused.
    """

    answer: int = 1_048_576
    request: int = 1_048_576


class Door(Struct, frozen=True):
    """What an HTTP door needs beside the core.

    Attributes:
        identity: tells who asks.
        credentials: headers that never go to the app behind on a governed route (S11): they name an actor to
            privguard alone, or to the app behind alone.
        query_forms: ``_purpose`` and ``_reveal`` are taken from the query, and never forwarded.
    """

    identity: IdentityProvider
    credentials: frozenset[bytes] = frozenset()
    limits: Limits = Limits()
    query_forms: bool = False


class GuardCore:
    """What both drivers share: the policy in force, the log, time and randomness.

    Args:
        system: name of the guarded system, as the log holds it.
        mode: ``enforce``, or ``observe``: everything is recorded as it would have been, nothing is changed.
        deadline_s: seconds an answer may wait for its record.
        door: what an HTTP door needs; a guard for library calls alone has none.

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
    ) -> None:
        self.log = log
        self.clock = clock
        self.entropy = entropy
        self.tools = tools
        self.system = system
        self.mode = mode
        self.deadline_s = deadline_s
        self.door = door
        self.counts: Counter[tuple[str, str]] = Counter()
        self._rulebook: Rulebook | None = None

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

    def submit(self, event: AccessEvent) -> Future[AuditReceipt]:
        """Queues an entry and counts it."""
        self.counts[event.outcome, event.problem] += 1
        return self.log.submit(event)

    def new_id(self) -> str:
        """A fresh event id."""
        return self.entropy.token(16).hex()

    def begin(self, source: str) -> Exchange:
        """Starts an exchange under the policy in force.

        Raises:
            PolicyUnavailableError: there is none.
        """
        if self._rulebook is None:
            raise PolicyUnavailableError("The policy file is missing or was never valid: put it back.")
        return Exchange(
            self._rulebook, source=source, system=self.system, mode=self.mode, event_id=self.new_id()
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

    def disclosing(
        self, actor: Principal, request: AccessRequest, record: Mapping[str, object]
    ) -> tuple[Exchange, Mapping[str, object]]:
        """The steps of a library disclosure up to its record; a refusal is in ``exchange.error``."""
        exchange = self.begin("library")
        view: Mapping[str, object] = {}
        try:
            exchange.identified(actor)
            exchange.decide(request, self.clock.now_us())
            exchange.answered(200)
            view = exchange.mask_record(record)
        except Exception as error:  # noqa: BLE001  # whatever a stage raises, the answer is withheld
            exchange.refused(contained(error), self.new_id())
        return exchange, view


class AsyncGuard:
    """The guard for event loops; never blocks one."""

    def __init__(self, core: GuardCore) -> None:
        self.core = core

    async def record(self, event: AccessEvent) -> AuditReceipt:
        """Waits until the entry is durable.

        Raises:
            AuditUnavailableError: it was not within the deadline.
        """
        self.core.counts[event.outcome, event.problem] += 1
        return await self.core.log.append(event)

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
        receipt = exchange.recorded(await self.record(exchange.event(self.core.clock.now_us())))
        exchange.release(receipt)
        if exchange.error is not None:
            raise exchange.error
        return view


class Guard:
    """The guard for synchronous callers; safe to share between threads."""

    def __init__(self, core: GuardCore) -> None:
        self.core = core

    def record(self, event: AccessEvent) -> AuditReceipt:
        """Waits until the entry is durable. Raises AuditUnavailableError past the deadline."""
        try:
            return self.core.submit(event).result(self.core.deadline_s)
        except concurrent.futures.TimeoutError:
            raise AuditUnavailableError(LATE) from None

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
            AuditUnavailableError: the record could not be made durable in time.
        """
        request = _library_request(resource, purpose, reason, reveal)
        exchange, view = self.core.disclosing(actor, request, record)
        receipt = exchange.recorded(self.record(exchange.event(self.core.clock.now_us())))
        exchange.release(receipt)
        if exchange.error is not None:
            raise exchange.error
        return view


def _library_request(
    resource: str, purpose: str | None, reason: str | None, reveal: tuple[str, ...]
) -> AccessRequest:
    return AccessRequest(resource=resource, verb=Verb.READ, purpose=purpose, reason=reason, reveal=reveal)
