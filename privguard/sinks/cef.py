"""An entry as one line of ArcSight's Common Event Format (CEF, version 0)."""

from __future__ import annotations

from typing import Final

from privguard.audit.record import Leaf
from privguard.model import Outcome

_SEVERITY: Final = {Outcome.PERMITTED: 3, Outcome.INTENT: 3, Outcome.CHALLENGED: 5}
_FAILED: Final = 6
"""On CEF's scale to 10: a denial or an abort is medium."""


def line_of(index: int, leaf: Leaf, version: str) -> str:
    """The CEF line of a leaf, without its line end."""
    views = [f"{path}:{view}" for group in leaf.groups for path, view in group.fields.items()]
    clients = dict.fromkeys(token for group in leaf.groups for token, _, _ in group.subjects)
    extension = {
        "rt": str(leaf.ts // 1_000),
        "externalId": leaf.id,
        "suser": leaf.actor,
        "spriv": " ".join(leaf.roles),
        "act": leaf.action,
        "outcome": leaf.outcome,
        "reason": leaf.problem,
        "request": leaf.route,
        "destinationServiceName": leaf.system,
        "cn1Label": "index",
        "cn1": str(index),
        "cs1Label": "purpose",
        "cs1": leaf.purpose,
        "cs2Label": "clients",
        "cs2": " ".join(clients),
        "cs3Label": "fields",
        "cs3": " ".join(dict.fromkeys(views)),
        "cs4Label": "rules",
        "cs4": " ".join(
            dict.fromkeys([*leaf.rules, *[rule for group in leaf.groups for rule in group.rules]])
        ),
    }
    severity = _SEVERITY.get(Outcome(leaf.outcome), _FAILED)
    head = ("CEF:0", "privguard", "privguard", version, leaf.action, leaf.action, str(severity))
    said = " ".join(f"{key}={_value(value)}" for key, value in extension.items() if value)
    return "|".join([head[0], *map(_header, head[1:]), said])


def _header(text: str) -> str:
    return _one_line(text.replace("\\", "\\\\").replace("|", "\\|"))


def _value(text: str) -> str:
    return _one_line(text.replace("\\", "\\\\").replace("=", "\\="))


def _one_line(text: str) -> str:
    """Line ends are written as escapes: a value must not begin an event of its own."""
    return "".join(char if char.isprintable() else "\\n" for char in text)
