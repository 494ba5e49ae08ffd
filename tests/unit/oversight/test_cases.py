"""Cases are read off entries: by actor and cause, a quiet week apart."""

from __future__ import annotations

from typing import Any

import msgspec

from privguard.audit.record import Group, Leaf
from privguard.model import Assessment, Reason
from privguard.oversight.cases import QUIET_US, _grouped
from privguard.oversight.trail import Entry


def entry(
    index: int, ts: int, actor: str = "a", cause: str = "new", level: str = "high", **more: Any
) -> Entry:
    risk = Assessment(at=ts // 1_000_000, level=level, p=1e-5, why=(Reason(cause, 1e-5),) if cause else ())
    group = Group(resource="client", subjects=[(token, 1, -1) for token in more.get("tokens", ("t",))])
    leaf = Leaf(
        action="gateway:client:read", actor=actor, groups=[group], id=f"{index:032x}", outcome="permitted",
        risk=risk, tenant="default", ts=ts, v=1,
    )  # fmt: skip
    return Entry(index, leaf, msgspec.json.encode(leaf))


def test_what_belongs_together_is_one_case() -> None:
    found = _grouped(
        [
            entry(1, 0, tokens=("t", "u")),
            entry(2, 5, actor="b"),
            entry(3, 9, level="severe"),
            entry(4, 9, cause="views"),
            entry(5, 9 + QUIET_US),
            entry(6, 10 + 2 * QUIET_US),
            entry(7, 11 + 2 * QUIET_US, cause="", level="rule"),
        ]
    )
    assert [(key, each.indexes, each.level) for key, each in found] == [
        (("a", "new"), [1, 3, 5], "severe"),
        (("b", "new"), [2], "high"),
        (("a", "views"), [4], "high"),
        (("a", "new"), [6], "high"),
        (("a", "rule"), [7], "rule"),
    ]
    assert [len(each.tokens) for _, each in found] == [2, 1, 1, 1, 1]
