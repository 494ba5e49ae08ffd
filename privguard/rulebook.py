"""One policy version, with all that is compiled from it while it is in force."""

from __future__ import annotations

from typing import Final, TypeVar

from privguard.anomaly import Relation
from privguard.masking import BodyMasker, MaskTools, compile_masker
from privguard.masking.paths import route_parameter
from privguard.model import PRIVATE, AccessPlan
from privguard.policy import GrantedPlan, Policy, WithoutDecoys

K = TypeVar("K")
V = TypeVar("V")
_MOST: Final = 4096


class Rulebook:
    """One policy version with the maskers compiled from its plans; swapped as a whole on reload."""

    def __init__(self, policy: Policy, tools: MaskTools) -> None:
        self.policy = policy
        self.tools = tools
        private = {f"{PRIVATE}{kind}": kind for shape in policy.shapes.values() for kind, _ in shape.private}
        related = {**policy.related, **private}
        self.related = {name: int(Relation[what.upper()]) for name, what in related.items()}
        self.honey = frozenset(f"{kind}:{each}" for kind, ids in policy.honey.items() for each in ids)
        self._maskers: dict[AccessPlan, BodyMasker] = {}
        self._decoyed: dict[AccessPlan, WithoutDecoys] = {}
        self._granted: dict[tuple[AccessPlan | None, AccessPlan, bool | None], GrantedPlan] = {}

    def masker(self, plan: AccessPlan) -> BodyMasker:
        """The compiled masker of a plan; compiled on first use."""
        return self._maskers.get(plan) or _kept(self._maskers, plan, compile_masker(plan, self.tools))

    def granted(self, plain: AccessPlan | None, granted: AccessPlan, here: bool | None) -> AccessPlan:
        """Both plans as one."""
        key = plain, granted, here
        return self._granted.get(key) or _kept(self._granted, key, GrantedPlan(plain, granted, here=here))

    def list_plan(self, plan: AccessPlan) -> AccessPlan:
        """The plan of a list, which no honey client is in."""
        honey = self.policy.honey.get(plan.shape.kind)
        if not honey or route_parameter(plan.shape.id):
            return plan
        return self._decoyed.get(plan) or _kept(self._decoyed, plan, WithoutDecoys(plan, honey))


def _kept(cache: dict[K, V], key: K, made: V) -> V:
    """Keeps what was made; bounded, for the keys keep plans alive."""
    if len(cache) >= _MOST:
        cache.clear()
    cache[key] = made
    return made
