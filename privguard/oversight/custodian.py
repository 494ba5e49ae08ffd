"""Holds, releases and erases clients for somebody, who is on record with the reason before it is done."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from privguard.errors import OnHoldError
from privguard.model import AccessEvent, AuditReceipt, Disclosure, Outcome, SubjectRef
from privguard.ports import Clock, Entropy
from privguard.store.custody import Custody, Erased

LIFT: Final = "oversight:client:lift"
"""The action of an entry that ends embargoes of a client; their names stand in ``about``."""


class Custodian:
    """The custody of clients' keys, as one person exercises it.

    Every act is two entries: the intent, with the reason, which no erasure of the client takes; and, naming
    the client and the intent's index, what was done, in one transaction with doing it.

    Args:
        who: the person, as the log will name them.
    """

    def __init__(self, custody: Custody, clock: Clock, entropy: Entropy, *, who: str) -> None:
        self._custody = custody
        self._clock = clock
        self._entropy = entropy
        self._who = who

    def hold(
        self, client: SubjectRef, reason: str, tenant: str = "default", *, on: bool = True
    ) -> AuditReceipt:
        """Puts a client on hold, or lets go of it.

        Raises:
            NotOnRecordError: the log knows no such client.
            AuditUnavailableError: it could not be put on record; nothing was done.
        """
        event = self._intend("hold" if on else "release", client, reason, tenant)
        return self._custody.hold(event, (tenant, client.kind, client.id), on=on)

    def erase(self, client: SubjectRef, reason: str, tenant: str = "default") -> Erased:
        """Destroys a client's key and the details it opens. Raises as ``hold``, and:

        Raises:
            OnHoldError: the client is on hold; the attempt is on record.
        """
        event = self._intend("erase", client, reason, tenant)
        try:
            return self._custody.erase(event, (tenant, client.kind, client.id))
        except OnHoldError as error:
            self._custody.record(replace(event, outcome=Outcome.DENIED, problem=error.problem))
            raise

    def lift(
        self, client: SubjectRef, names: Iterable[str], reason: str, tenant: str = "default"
    ) -> AuditReceipt:
        """Ends embargoes: the client may learn of the accesses up to now. Raises as ``hold``."""
        event = self._intend("lift", client, reason, tenant)
        self._custody.name((tenant, client.kind, client.id))  # a stranger is not made known by it
        return self._custody.record(replace(event, about=dict.fromkeys(names, "lifted")))

    def _intend(self, verb: str, client: SubjectRef, reason: str, tenant: str) -> AccessEvent:
        """Puts the intent on record; the entry that says what became of it."""
        event = AccessEvent(
            event_id=self._entropy.token(16).hex(),
            at_us=self._clock.now_us(),
            action=f"oversight:client:{verb}",
            outcome=Outcome.PERMITTED,
            actor=self._who,
            tenant=tenant,
        )
        intent = replace(event, outcome=Outcome.INTENT, detail=(("reason", reason),))
        return replace(
            event,
            event_id=self._entropy.token(16).hex(),
            intent=self._custody.record(intent).index,
            disclosures=(Disclosure(client.kind, (), (client,)),),
        )
