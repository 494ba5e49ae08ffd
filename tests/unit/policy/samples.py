"""Policies for the tests, built as plain values and written as JSON, which is YAML."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from privguard.model import MISSING, AccessPlan, AccessRequest, Assurance, Decision, Principal, Route, Verb
from privguard.policy import Document, Policy, compile_policy
from privguard.policy.document import PolicyFile
from privguard.policy.source import Source

NOW_S = 1_767_600_000
NOW_US = NOW_S * 1_000_000
CLASSES = {
    "name": {"mask": "cjk_name"},
    "contact": {"mask": "cn_mobile_3_4"},
    "money": {"mask": "band"},
    "secret": {"mask": "withhold", "reveal": "never"},
}
FIELDS = {"id": "public", "name": "name", "mobile": "contact", "balance": "money", "cvv": "secret"}
RELATIONS = {
    "assigned": "subject.id in record.rm_ids",
    "same_branch": "subject.branch == record.branch",
    "flagged": "has(record.flag) and record.flag == true",
}
RECORD = {
    "id": 1, "name": "张伟民", "mobile": "13812345678", "balance": 5, "cvv": "123",
    "rm_ids": ["rm.li"], "branch": "pudong", "tier": "mass", "flag": False,
}  # fmt: skip
RM = Principal("rm.li", frozenset({"rm"}), branch="pudong")


def document(rules: list[dict[str, Any]], **over: Any) -> dict[str, Any]:
    """A policy as plain values; ``over`` replaces top-level keys, ``client`` keys of the resource."""
    client = {
        "match": ["GET /clients", "GET /clients/{id}", "PATCH /clients/{id}", "GET /clients.csv"],
        "records": ["$.items[*]", "$.client"],
        "tier": "tier",
        "fields": FIELDS,
        **over.pop("client", {}),
    }  # fmt: skip
    return {
        "privguard": 1,
        "defaults": {"purpose": "service"},
        "classes": CLASSES,
        "resources": {"client": client},
        "relations": RELATIONS,
        "rules": rules,
        **over,
    }


def text(content: Mapping[str, Any]) -> str:
    """As a policy file."""
    return json.dumps(content, ensure_ascii=False, indent=1)


def policy(rules: list[dict[str, Any]], **over: Any) -> Policy:
    """Compiled."""
    return compiled(document(rules, **over))


def compiled(content: Mapping[str, Any]) -> Policy:
    """Compiled from plain values, without the detour over text, which is slow."""
    source = Source("policy.yaml", "0" * 64, content, {}, {})
    return compile_policy(Document(msgspec.convert(content, PolicyFile), source))


def plan(compiled: Policy, actor: Principal = RM, verb: Verb = Verb.READ, **said: Any) -> AccessPlan:
    """The plan for ``client``; ``said`` goes into the request."""
    return compiled.plan(actor, Route("client", verb, ""), AccessRequest(**said), NOW_US)


def judge(made: AccessPlan, record: Mapping[str, Any] = RECORD, actor: Principal = RM) -> Decision:
    """What the plan says of a record."""
    return made.judge(actor, [record.get(path, MISSING) for path in made.reads])


def views(ruling: Decision) -> dict[str, str]:
    """Views by path."""
    return {field.spec.path: field.view.label for field in ruling.fields}


def fresh(
    actor: Principal = RM, *, ago: int = 0, resistant: bool = False, at: int | None = None
) -> Principal:
    """The actor with a second factor given some seconds ago."""
    auth_time = NOW_S - ago if at is None else at
    proof = Assurance(auth_time=auth_time, multi_factor=True, phishing_resistant=resistant)
    return Principal(actor.id, actor.roles, branch=actor.branch, attributes=actor.attributes, assurance=proof)


def trained(passed: object, actor: Principal = RM) -> Principal:
    """The actor with a privacy course passed on this date."""
    return Principal(actor.id, actor.roles, branch=actor.branch, attributes={"training": {"privacy": passed}})
