"""An entry as one flat row: what people read on a screen, in CSV and in a sheet."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from msgspec import Struct

from privguard.audit.record import Group, Leaf
from privguard.model import Outcome, Verb
from privguard.oversight.filters import rules, shown
from privguard.oversight.trail import Entry


class Row(Struct, frozen=True):
    """The columns, in their order; lists are joined with a blank.

    Attributes:
        time: log time, ISO 8601, UTC.
        clients: tokens of those who stand in the entry.
        clear, masked: paths of fields that left so; ``masked`` counts tokens too.
        risk, why: how unusual it was, and the causes, strongest first.
    """

    index: int
    time: str
    actor: str
    roles: str
    action: str
    outcome: str
    purpose: str
    clients: str
    clear: str
    masked: str
    relations: str
    rules: str
    route: str
    system: str
    status: int
    problem: str
    mode: str
    risk: str
    why: str
    event: str


COLUMNS = Row.__struct_fields__


def row_of(entry: Entry) -> Row:
    """The row of an entry."""
    leaf = entry.leaf
    groups = shown(leaf)
    return Row(
        index=entry.index,
        time=time_of(leaf.ts),
        actor=leaf.actor,
        roles=_joined(leaf.roles),
        action=leaf.action,
        outcome=leaf.outcome,
        purpose=leaf.purpose,
        clients=_joined(token for group in leaf.groups for token, _, _ in group.subjects),
        clear=_joined(clear(groups)),
        masked=_joined(masked(groups)),
        relations=_joined(relation for group in leaf.groups for relation in group.relations),
        rules=_joined(rules(leaf)),
        route=leaf.route,
        system=leaf.system,
        status=leaf.status,
        problem=leaf.problem,
        mode=leaf.mode,
        risk=leaf.risk.level if leaf.risk is not None else "",
        why=_joined(reason.cause for reason in leaf.risk.why) if leaf.risk is not None else "",
        event=leaf.id,
    )


def time_of(ts: int) -> str:
    """A log time (microseconds) to the second, for people: ISO 8601, UTC."""
    return datetime.fromtimestamp(ts // 1_000_000, UTC).isoformat().replace("+00:00", "Z")


_VERBS: Final = frozenset(Verb)


def unmasked(leaf: Leaf) -> bool:
    """Whether the CRM's answer left as it came, whatever the entry says would have been: in observe mode."""
    verb = leaf.action.rpartition(":")[2]
    observed = leaf.mode == "observe" and leaf.outcome != Outcome.INTENT and verb in _VERBS
    return observed and not leaf.action.startswith("library:")  # there masks are applied all the same


def clear(groups: Iterable[Group]) -> list[str]:
    """Fields that left clear in one of the groups."""
    return _distinct(path for group in groups for path, view in group.fields.items() if view == "clear")


def masked(groups: Iterable[Group]) -> list[str]:
    """Fields that left masked or as a token, and in no group clear."""
    groups = list(groups)
    open_ = set(clear(groups))
    shown = (path for group in groups for path, view in group.fields.items() if view != "withheld")
    return [path for path in _distinct(shown) if path not in open_]


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _joined(values: Iterable[str]) -> str:
    return " ".join(_distinct(values))
