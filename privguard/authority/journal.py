"""Writes the authority's acts down, each in one transaction with what it takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from privguard.guard import AsyncGuard, GuardCore
from privguard.model import AccessEvent, AuditReceipt, Disclosure, Outcome, Principal, SubjectRef
from privguard.ports import Claim


class Journal:
    """The log as the authority writes it, and whom it tells."""

    def __init__(self, core: GuardCore) -> None:
        self.core = core
        self._guard = AsyncGuard(core)

    async def write(
        self,
        actor: Principal,
        action: str,
        outcome: Outcome,
        *,
        claim: Claim | None = None,
        problem: str = "",
        purpose: str = "",
        rules: Sequence[str] = (),
        clients: Sequence[SubjectRef] = (),
        resource: str = "",
        detail: Mapping[str, str] | None = None,
        about: Mapping[str, str] | None = None,
    ) -> AuditReceipt:
        """Waits until the entry is durable, and what it claims taken.

        Args:
            detail: goes into the log sealed; empty texts are left out.

        Raises:
            AuditUnavailableError: it was not within the deadline.
            PrivguardError: the claim's own.
        """
        core = self.core
        event = AccessEvent(
            event_id=core.new_id(),
            at_us=core.clock.now_us(),
            action=action,
            outcome=outcome,
            actor=actor.id,
            roles=tuple(sorted(actor.roles)),
            tenant=actor.tenant,
            system=core.system,
            purpose=purpose,
            policy=core.policy.digest if core.policy is not None else "",
            mode=core.mode,
            status=0,
            problem=problem,
            rules=tuple(rules),
            disclosures=(Disclosure(resource, (), tuple(clients), tuple(rules)),) if clients else (),
            detail=tuple((name, text) for name, text in (detail or {}).items() if text),
            about=dict(about or {}),
        )
        return await self._guard.record(event, claim)

    def tell(self, roles: Iterable[str], text: str) -> None:
        """Has the roles told, where anything brings messages; never blocks."""
        if self.core.alerts is not None:
            self.core.alerts.say(sorted(roles), text)
