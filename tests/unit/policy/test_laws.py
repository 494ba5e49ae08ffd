"""Laws of decisions, over generated policies and records."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from privguard.errors import AccessDeniedError
from privguard.model import AccessPlan, Decision, Outcome, Principal, Verb, View
from privguard.policy import Policy
from tests.unit.policy.samples import (
    CLASSES,
    FIELDS,
    RELATIONS,
    compiled,
    document,
    fresh,
    judge,
    plan,
    policy,
)

SHOWABLE = ["name", "contact", "money"]
ROLES = ["rm", "aml"]
OPTIONAL = {
    "relation": st.sampled_from(sorted(RELATIONS)),
    "tier": st.sampled_from([["private"], ["mass", "private"]]),
    "purpose": st.sampled_from([["service"], ["service", "audit"], ["audit"]]),
    "roles": st.lists(st.sampled_from(ROLES), min_size=1, max_size=2, unique=True),
}
REQUIRE = st.sampled_from([{"mfa": {"max_age": "30m"}}, {"reason": {"min": 3}}])
SHOWN = st.dictionaries(
    st.sampled_from(SHOWABLE), st.sampled_from(["clear", "masked", "token"]), min_size=1
).map(
    lambda views: {
        view: sorted(name for name, given_view in views.items() if given_view == view)
        for view in sorted(set(views.values()))
    }
)
SHOWS = st.fixed_dictionaries({"show": SHOWN}, optional={**OPTIONAL, "require": REQUIRE})
REVEALS = st.fixed_dictionaries(
    {"reveal": st.lists(st.sampled_from(SHOWABLE), min_size=1, unique=True)},
    optional={**OPTIONAL, "require": REQUIRE},
)
FORBIDS = st.fixed_dictionaries(
    {"forbid": st.just("all") | st.lists(st.sampled_from([*SHOWABLE, "secret"]), min_size=1, unique=True)},
    optional=OPTIONAL,
)
GATES = st.fixed_dictionaries({"gate": st.just("all"), "require": REQUIRE}, optional=OPTIONAL)
RULES = st.lists(SHOWS | SHOWS | SHOWS | FORBIDS | GATES | REVEALS, min_size=1, max_size=6)
RECORDS = st.fixed_dictionaries(
    {
        "rm_ids": st.sampled_from([["rm.li"], ["x", "rm.li"], [], None]),
        "branch": st.sampled_from(["pudong", "x", None]),
        "tier": st.sampled_from(["mass", "private", "other", None]),
    },
    optional={"flag": st.sampled_from([True, False, None])},
)


def actor_of(roles: set[str], branch: str | None, mfa: bool) -> Principal:
    actor = Principal("rm.li", frozenset(roles), branch=branch)
    return fresh(actor) if mfa else actor


ACTORS = st.builds(
    actor_of,
    st.sets(st.sampled_from([*ROLES, "guest"])),
    st.sampled_from(["pudong", None]),
    st.booleans(),
)
SAID = st.sampled_from([{}, {"reason": "because"}])
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.decimals() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)
RANK = {Outcome.DENIED: 0, Outcome.CHALLENGED: 1, Outcome.PERMITTED: 2}
PURPOSES = ["service", "audit"]


def made_of(rules: list[dict[str, Any]]) -> Policy:
    return policy([{"id": f"r{n}", **rule} for n, rule in enumerate(rules)], purposes=PURPOSES)


def answer(
    made: Policy, actor: Principal, record: dict[str, Any], said: dict[str, Any]
) -> tuple[int, tuple[View, ...]]:
    """Rank of the outcome, and the views; what is refused outright ranks as its kind."""
    try:
        ruling = judge(plan(made, actor, **said), record, actor)
    except AccessDeniedError as error:
        return (0 if error.problem == "not-permitted" else 1), ()
    return RANK[ruling.outcome], tuple(field.view for field in ruling.fields)


# a second implementation of SEMANTICS, as plainly as can be


def holds(rule: dict[str, Any], actor: Principal, record: dict[str, Any]) -> bool:
    relation = {
        None: True,
        "assigned": actor.id in (record["rm_ids"] or []),
        "same_branch": actor.branch is not None and actor.branch == record["branch"],
        "flagged": record.get("flag") is True,
    }[rule.get("relation")]
    return (
        relation
        and record["tier"] in rule.get("tier", [record["tier"]])
        and bool(actor.roles & set(rule.get("roles", actor.roles or {"any"})) or "roles" not in rule)
        and "service" in rule.get("purpose", ["service"])
    )


def is_met(rule: dict[str, Any], actor: Principal, said: dict[str, Any]) -> bool:
    require = rule.get("require", {})
    return ("mfa" not in require or actor.assurance.multi_factor) and (
        "reason" not in require or "reason" in said
    )


def expected(
    rules: list[dict[str, Any]], actor: Principal, record: dict[str, Any], said: dict[str, Any]
) -> tuple[Outcome, dict[str, View]]:
    here = [rule for rule in rules if holds(rule, actor, record)]
    forbidden = {name for rule in here for name in rule.get("forbid", [])}
    if any(rule.get("forbid") == "all" for rule in here):
        return Outcome.DENIED, {}

    def shown(met: bool) -> dict[str, View]:
        best = dict.fromkeys(CLASSES, View.WITHHELD)
        for rule in here:
            for view, names in rule.get("show", {}).items():
                for name in names:
                    if is_met(rule, actor, said) or not met:
                        best[name] = max(best[name], View[view.upper()])
        return {name: View.WITHHELD if name in forbidden else view for name, view in best.items()}

    views = shown(met=True)
    if not any(views.values()):
        return (Outcome.CHALLENGED if any(shown(met=False).values()) else Outcome.DENIED), {}
    if any("gate" in rule and not is_met(rule, actor, said) for rule in here):
        return Outcome.CHALLENGED, {}
    return Outcome.PERMITTED, views


@settings(max_examples=400, deadline=None)
@given(RULES, ACTORS, RECORDS, SAID)
def test_decisions_are_those_of_the_semantics(
    rules: list[dict[str, Any]], actor: Principal, record: dict[str, Any], said: dict[str, Any]
) -> None:
    outcome, views = expected(rules, actor, record, said)
    try:
        ruling = judge(plan(made_of(rules), actor, **said), record, actor)
    except AccessDeniedError:
        assert outcome is not Outcome.PERMITTED
        return
    assert ruling.outcome is outcome
    if outcome is Outcome.PERMITTED:
        found = {field.spec.path: field.view for field in ruling.fields}
        assert found == {path: views[cls] if cls != "public" else View.CLEAR for path, cls in FIELDS.items()}


@settings(max_examples=150, deadline=None)
@given(RULES, SHOWS, ACTORS, RECORDS, SAID, st.integers(0, 6))
def test_a_further_show_rule_never_weakens(
    rules: list[dict[str, Any]],
    more: dict[str, Any],
    actor: Principal,
    record: dict[str, Any],
    said: dict[str, Any],
    at: int,
) -> None:
    before = answer(made_of(rules), actor, record, said)
    after = answer(made_of([*rules[:at], more, *rules[at:]]), actor, record, said)
    assert after[0] >= before[0] or (before[0] == 1 and before[1] == ())
    if before[0] == 2:
        assert after[0] == 2
        assert all(one <= other for one, other in zip(before[1], after[1], strict=True))


@settings(max_examples=150, deadline=None)
@given(RULES, FORBIDS, ACTORS, RECORDS, SAID, st.integers(0, 6))
def test_a_further_forbid_never_strengthens(
    rules: list[dict[str, Any]],
    more: dict[str, Any],
    actor: Principal,
    record: dict[str, Any],
    said: dict[str, Any],
    at: int,
) -> None:
    before = answer(made_of(rules), actor, record, said)
    after = answer(made_of([*rules[:at], more, *rules[at:]]), actor, record, said)
    if after[0] == 2:
        assert before[0] == 2
        assert all(one >= other for one, other in zip(before[1], after[1], strict=True))


@settings(max_examples=100, deadline=None)
@given(RULES, ACTORS, RECORDS, SAID, st.sampled_from(SHOWABLE))
def test_a_forbid_wins(
    rules: list[dict[str, Any]], actor: Principal, record: dict[str, Any], said: dict[str, Any], cls: str
) -> None:
    assert answer(made_of([*rules, {"forbid": "all"}]), actor, record, said)[0] <= 1
    rank, views = answer(made_of([*rules, {"forbid": [cls]}]), actor, record, said)
    if rank == 2:
        assert views[list(FIELDS.values()).index(cls)] is View.WITHHELD


@settings(max_examples=100, deadline=None)
@given(RULES, ACTORS, RECORDS, SAID, st.randoms(use_true_random=False))
def test_order_makes_no_difference(
    rules: list[dict[str, Any]],
    actor: Principal,
    record: dict[str, Any],
    said: dict[str, Any],
    chance: random.Random,
) -> None:
    def shuffled(content: dict[str, Any]) -> dict[str, Any]:
        items = list(content.items())
        chance.shuffle(items)
        return dict(items)

    content = document([{"id": f"r{n}", **rule} for n, rule in enumerate(rules)], purposes=PURPOSES)
    other = shuffled(content)
    for part in ("classes", "relations"):
        other[part] = shuffled(content[part])
    other["rules"] = [shuffled(rule) for rule in content["rules"]]
    chance.shuffle(other["rules"])
    one, two = (outline(compiled(each), actor, record, said) for each in (content, other))
    assert one == two


def outline(of: Policy, actor: Principal, record: dict[str, Any], said: dict[str, Any]) -> object:
    try:
        made = plan(of, actor, **said)
    except AccessDeniedError as error:
        return error.problem
    ruling = judge(made, record, actor)
    views = [[f.view for f in fields] for fields in (ruling.fields, made.strongest(), made.weakest())]
    return (
        ruling.outcome, views, set(ruling.rules), set(ruling.relations), set(ruling.missing), ruling.offered,
        ruling.failed, made.sees_all, set(made.rules), set(made.reads), made.export,
    )  # fmt: skip


def made_or_refused(rules: list[dict[str, Any]], actor: Principal, said: dict[str, Any]) -> AccessPlan | None:
    try:
        return plan(made_of(rules), actor, **said)
    except AccessDeniedError:
        return None


@settings(max_examples=200, deadline=None)
@given(RULES, ACTORS, RECORDS, SAID)
def test_every_permitted_view_is_between_weakest_and_strongest(
    rules: list[dict[str, Any]], actor: Principal, record: dict[str, Any], said: dict[str, Any]
) -> None:
    made = made_or_refused(rules, actor, said)
    if made is None:
        return
    ruling = judge(made, record, actor)
    if ruling.outcome is Outcome.PERMITTED:
        bounds = zip(made.weakest(), ruling.fields, made.strongest(), strict=True)
        assert all(low.view <= field.view <= high.view for low, field, high in bounds)


@settings(max_examples=200, deadline=None)
@given(RULES, ACTORS, SAID, st.lists(JUNK, min_size=8, max_size=8))
def test_judging_never_raises_and_whoever_sees_all_is_refused_nothing(
    rules: list[dict[str, Any]], actor: Principal, said: dict[str, Any], junk: list[object]
) -> None:
    made = made_or_refused(rules, actor, said)
    if made is None:
        return
    ruling = made.judge(actor, junk[: len(made.reads)])
    assert isinstance(ruling, Decision)
    if made.sees_all:
        assert ruling.outcome is Outcome.PERMITTED
    if ruling.failed is not None:
        assert ruling.outcome is Outcome.DENIED
    assert made.judge(actor, junk[: len(made.reads)]) is ruling


@settings(max_examples=100, deadline=None)
@given(RULES, ACTORS, RECORDS, SAID)
def test_every_ruling_has_its_reasons(
    rules: list[dict[str, Any]], actor: Principal, record: dict[str, Any], said: dict[str, Any]
) -> None:
    made = made_or_refused(rules, actor, said)
    if made is None:
        return
    ruling = judge(made, record, actor)
    assert set(ruling.rules) <= set(made.rules)
    if ruling.outcome is not Outcome.DENIED:
        assert ruling.rules
    if ruling.outcome is Outcome.CHALLENGED:
        assert ruling.missing
        assert not ruling.fields
    if ruling.offered:
        assert ruling.missing


@settings(max_examples=60, deadline=None)
@given(RULES, ACTORS, SAID, st.sampled_from(list(Verb)))
def test_what_cannot_be_read_is_never_shown_better_than_the_best_record(
    rules: list[dict[str, Any]], actor: Principal, said: dict[str, Any], verb: Verb
) -> None:
    rules = [{**rule, "action": [verb.value]} for rule in rules]
    try:
        made = plan(made_of(rules), actor, verb, **said)
    except AccessDeniedError:
        return
    unread = made.unread()
    if unread.outcome is Outcome.PERMITTED:
        assert all(f.view <= best.view for f, best in zip(unread.fields, made.strongest(), strict=True))
