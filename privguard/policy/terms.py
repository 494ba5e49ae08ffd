"""What a grant under some rules takes, and how long and how often it then holds."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from privguard.model import AccessRequest, Obligation, Principal
from privguard.policy.decide import Policy
from privguard.policy.requirements import merge


class Terms(Struct, frozen=True):
    """Of several rules the strictest counts.

    Attributes:
        factor: the second factor that is asked for; None: none is.
        approvers: roles, all of which who approves must have; empty: nobody has to.
        missing: what must be met beside these, and is not.
        ttl: seconds the grant holds.
        reads: answers it gives.
        quotas: (rule id, number, seconds): grants an actor may have in that time.
        emergency: the glass is broken.
    """

    factor: Obligation | None
    approvers: frozenset[str]
    missing: tuple[Obligation, ...]
    ttl: int
    reads: int
    quotas: tuple[tuple[str, int, int], ...]
    emergency: bool


def terms(
    policy: Policy,
    rule_ids: Iterable[str],
    actor: Principal,
    request: AccessRequest,
    now_us: int,
    usual: tuple[int, int],
) -> Terms:
    """The terms of a grant under these rules.

    Args:
        request: what the caller says: reason and ticket.
        usual: seconds and reads of a grant whose rule sets none.

    Raises:
        KeyError: the policy has no such rule (any more).
    """
    rules = [policy.rule(rule_id) for rule_id in rule_ids]
    requires = [each for rule in rules for each in rule.requires]
    open_ = merge(each for each in requires if not each.met(actor, request, now_us))
    grants = [rule.grant for rule in rules if rule.grant is not None] or [usual]
    exports = any(rule.effect == "export" for rule in rules)
    return Terms(
        factor=next((o for o in open_ if o.kind == "mfa"), None),
        approvers=frozenset(o.role for o in open_ if o.kind == "approval"),
        missing=tuple(o for o in open_ if o.kind not in ("mfa", "approval")),
        ttl=min(ttl for ttl, _ in grants),
        reads=1 if exports else min(reads for _, reads in grants),
        quotas=tuple((rule.id, *rule.quota) for rule in rules if rule.quota is not None),
        emergency=any(rule.emergency for rule in rules),
    )
