"""A plan of lists without honey clients: nobody comes upon one but by looking for them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from privguard.model import AccessPlan, Decision, FieldView, Outcome, Principal

_NOTHING: Final = Decision(Outcome.DENIED)


class WithoutDecoys:
    """An ``AccessPlan`` that refuses the records of some clients; their number shows in no total (M12).

    Args:
        honey: ids of the clients.
    """

    sees_all = False

    def __init__(self, plan: AccessPlan, honey: Collection[str]) -> None:
        self.shape = plan.shape
        self.rules = plan.rules
        self.purpose = plan.purpose
        self.export = plan.export
        self.reads = tuple(dict.fromkeys((*plan.reads, plan.shape.id)))
        self._plan = plan
        self._honey = honey
        self._id = self.reads.index(plan.shape.id)
        self._own = len(plan.reads)

    def judge(self, actor: Principal, values: Sequence[object]) -> Decision:
        """What the policy says of the record with these ``reads``; never raises."""
        own = values[self._id]
        if type(own) in (str, int) and str(own) in self._honey:
            return _NOTHING
        return self._plan.judge(actor, values[: self._own])

    def unread(self) -> Decision:
        """The ruling where no record can be read: that of the plan."""
        return self._plan.unread()

    def strongest(self) -> tuple[FieldView, ...]:
        """For each field the strongest view that any record could give this actor."""
        return self._plan.strongest()

    def weakest(self) -> tuple[FieldView, ...]:
        """For each field the weakest view that any permitted record gives."""
        return self._plan.weakest()

    def nested(self, resource: str) -> AccessPlan:
        """The plan of a resource inside."""
        return self._plan.nested(resource)
