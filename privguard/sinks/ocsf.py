"""An entry as an OCSF event: Datastore Activity (class 6005 of schema 1.1.0).

Clients stand there by token, fields by name: nothing leaves for a collector that the leaf does not hold.
"""

from __future__ import annotations

from typing import Any, Final

from privguard.audit.record import Leaf
from privguard.model import Outcome

SCHEMA: Final = "1.1.0"
CLASS: Final = 6005
_ACTIVITIES: Final = {"read": 1, "update": 2, "search": 4, "create": 6, "delete": 7}
_OTHER: Final = 99
_STATUS: Final = {Outcome.PERMITTED: 1, Outcome.DENIED: 2, Outcome.CHALLENGED: 2, Outcome.ABORTED: 2}
_UNKNOWN: Final = 0
_SEVERITY: Final = {Outcome.DENIED: 2, Outcome.CHALLENGED: 2, Outcome.ABORTED: 2}
"""Low, where an access did not succeed; informational otherwise."""


def event_of(index: int, leaf: Leaf, origin: str, version: str) -> dict[str, Any]:
    """The OCSF event of a leaf, JSON values only.

    Args:
        origin: name of the log.
        version: privguard's.
    """
    verb = leaf.action.rpartition(":")[2]
    activity = _ACTIVITIES.get(verb, _OTHER)
    outcome = Outcome(leaf.outcome)
    return {
        "activity_id": activity,
        "activity_name": verb,
        "actor": {
            "user": {"uid": leaf.actor, "name": leaf.actor, "groups": [{"name": r} for r in leaf.roles]}
        },
        "category_uid": 6,
        "class_uid": CLASS,
        "message": leaf.action,
        "metadata": {
            "version": SCHEMA,
            "uid": leaf.id,
            "sequence": index,
            "log_name": origin,
            "tenant_uid": leaf.tenant,
            "product": {"name": "privguard", "vendor_name": "privguard", "version": version},
        },
        "severity_id": _SEVERITY.get(outcome, 1),
        "src_endpoint": {"svc_name": leaf.action.partition(":")[0]},
        "status_id": _STATUS.get(outcome, _UNKNOWN),
        "status": leaf.outcome,
        "status_detail": leaf.problem,
        "time": leaf.ts // 1_000,
        "type_uid": CLASS * 100 + activity,
        "unmapped": {
            "purpose": leaf.purpose,
            "route": leaf.route,
            "system": leaf.system,
            "mode": leaf.mode,
            "policy": leaf.policy,
            "risk": leaf.risk.level if leaf.risk is not None else "",
            "why": [reason.cause for reason in leaf.risk.why] if leaf.risk is not None else [],
            "groups": [
                {
                    "resource": group.resource,
                    "fields": group.fields,
                    "outcome": group.outcome,
                    "relations": list(group.relations),
                    "rules": list(group.rules),
                    "clients": [token for token, _, _ in group.subjects],
                }
                for group in leaf.groups
            ],
        },
    }
