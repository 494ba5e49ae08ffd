"""Plans: what rules come to, case by case."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from privguard.errors import (
    AccessDeniedError,
    PurposeRequiredError,
    ReasonRequiredError,
    StepUpRequiredError,
)
from privguard.model import MISSING, AccessRequest, Obligation, Outcome, Principal, Route, Verb
from tests.unit.policy.samples import NOW_US, RECORD, RM, fresh, judge, plan, policy, trained, views

READ = {
    "id": "read", "roles": ["rm"], "relation": "assigned",
    "show": {"clear": ["name"], "masked": ["contact", "money"]},
}  # fmt: skip
SEE = {"id": "see", "roles": ["rm"], "show": {"masked": ["name", "contact"]}}
REVEAL = {
    "id": "reveal", "roles": ["rm"], "relation": "assigned", "reveal": ["contact", "money"],
    "require": {"mfa": {"max_age": "15m"}, "reason": {"min": 10}}, "grant": {"ttl": "5m", "reads": 10},
    "quota": "30/day",
}  # fmt: skip
GATE = {"id": "gate", "gate": "all", "tier": ["private"], "require": {"mfa": {"max_age": "30m"}}}
NO_SELF = {"id": "no-self", "forbid": "all", "relation": "flagged"}
WHY = "client asked for a call back"


def test_a_record_is_shown_as_the_strongest_rule_says() -> None:
    ruling = judge(plan(policy([READ, SEE])))
    assert ruling.outcome is Outcome.PERMITTED
    assert views(ruling) == {
        "id": "clear", "name": "clear", "mobile": "masked", "balance": "masked", "cvv": "withheld",
    }  # fmt: skip
    assert ruling.rules == ("read", "see")
    assert ruling.relations == ("assigned",)
    assert [field.mask.operator for field in ruling.fields] == [
        "clear",
        "clear",
        "cn_mobile_3_4",
        "band",
        "withhold",
    ]


def test_views_have_their_masks() -> None:
    shown = {"id": "t", "show": {"token": ["contact", "secret"], "masked": ["name"]}}
    fields = {
        "id": "public",
        "name": {"class": "name", "mask": {"partial": {"first": 1}}},
        "mobile": "contact",
        "cvv": "secret",
    }
    ruling = judge(plan(policy([shown], client={"fields": fields})))
    assert [(f.view.label, f.mask.operator, f.mask.args) for f in ruling.fields] == [
        ("clear", "clear", ()), ("masked", "partial", (("first", 1),)), ("token", "hash_token", ()),
        ("token", "hash_token", ()),
    ]  # fmt: skip


def test_a_record_without_the_relation_is_refused_unless_another_rule_shows_it() -> None:
    stranger = {**RECORD, "rm_ids": ["x"]}
    assert judge(plan(policy([READ])), stranger).outcome is Outcome.DENIED
    assert views(judge(plan(policy([READ, SEE])), stranger))["name"] == "masked"


def test_a_mask_that_withholds_shows_nothing() -> None:
    only = policy([{"id": "s", "show": {"masked": ["secret"]}}])
    with pytest.raises(AccessDeniedError):
        plan(only)


def test_what_never_leaves_in_clear_may_leave_as_a_token() -> None:
    shown = {"id": "s", "show": {"token": ["secret"], "masked": ["name"]}}
    assert views(judge(plan(policy([shown]))))["cvv"] == "token"


def test_public_alone_is_nothing_unless_a_rule_says_so() -> None:
    forbid = {"id": "f", "forbid": ["name", "contact"]}
    assert judge(plan(policy([SEE, forbid]))).outcome is Outcome.DENIED
    ruling = judge(plan(policy([{"id": "p", "roles": ["rm"], "show": {"clear": ["public"]}}])))
    assert views(ruling) == {
        "id": "clear", "name": "withheld", "mobile": "withheld", "balance": "withheld", "cvv": "withheld",
    }  # fmt: skip


def test_a_forbid_withholds_classes_and_is_named() -> None:
    ruling = judge(plan(policy([READ, {"id": "f", "forbid": ["name"], "relation": "same_branch"}])))
    assert views(ruling)["name"] == "withheld"
    assert ruling.rules == ("read", "f")


def test_a_forbid_of_the_record_wins_and_is_named() -> None:
    ruling = judge(plan(policy([READ, NO_SELF])), {**RECORD, "flag": True})
    assert (ruling.outcome, ruling.rules, ruling.relations, ruling.fields) == (
        Outcome.DENIED, ("no-self",), ("flagged",), (),
    )  # fmt: skip


# conditions that fail (M16)


@pytest.mark.parametrize(
    ("rules", "failed"),
    [
        ([READ, SEE], "assigned"),
        ([SEE, {"id": "f", "forbid": "all", "relation": "assigned"}], "assigned"),
        ([SEE, {**GATE, "relation": "assigned"}], "assigned"),
        ([SEE, REVEAL], "assigned"),
    ],
)
def test_a_condition_that_fails_denies_the_record_whatever_else_shows_it(
    rules: list[dict[str, Any]], failed: str
) -> None:
    record = {key: value for key, value in RECORD.items() if key != "rm_ids"}
    ruling = judge(plan(policy(rules)), record)
    assert (ruling.outcome, ruling.failed, ruling.fields) == (Outcome.DENIED, failed, ())
    assert rules[1]["id"] in ruling.rules or rules[0]["id"] in ruling.rules


def test_a_tier_that_cannot_be_read_denies_the_record() -> None:
    for tier in (MISSING, ["private"], {"private": 1}, 1.5, True):
        ruling = judge(plan(policy([SEE, GATE])), {**RECORD, "tier": tier})
        assert (ruling.outcome, ruling.failed) == (Outcome.DENIED, "record.tier")
    assert judge(plan(policy([SEE, GATE])), {**RECORD, "tier": None}).outcome is Outcome.PERMITTED
    numbered = {**GATE, "tier": ["9"]}
    assert judge(plan(policy([SEE, numbered])), {**RECORD, "tier": 9}).outcome is Outcome.CHALLENGED


def test_conditions_of_rules_that_cannot_apply_are_not_asked() -> None:
    other = {**READ, "id": "other", "roles": ["aml"]}
    made = plan(policy([SEE, other, {**READ, "id": "p", "purpose": ["aml_case"]}]))
    assert made.reads == ()
    assert made.rules == ("see",)


def test_a_gate_that_is_met_is_not_asked_about() -> None:
    made = plan(policy([SEE, GATE]), fresh())
    assert made.reads == ()
    assert judge(made, {}, fresh()).outcome is Outcome.PERMITTED


# gates


def test_a_gate_challenges_what_would_be_seen() -> None:
    made = plan(policy([READ, GATE]))
    ruling = judge(made, {**RECORD, "tier": "private"})
    assert (ruling.outcome, ruling.rules, ruling.fields, ruling.offered) == (
        Outcome.CHALLENGED,
        ("gate",),
        (),
        (),
    )
    assert [(o.kind, o.max_age) for o in ruling.missing] == [("mfa", 1800)]
    assert judge(made, RECORD).outcome is Outcome.PERMITTED


def test_a_gate_says_nothing_of_what_would_not_be_seen_anyhow() -> None:
    ruling = judge(plan(policy([READ, GATE])), {**RECORD, "tier": "private", "rm_ids": []})
    assert (ruling.outcome, ruling.missing) == (Outcome.DENIED, ())


def test_a_gate_of_everything_is_refused_before_the_record() -> None:
    gate = {"id": "g", "gate": "all", "require": {"mfa": {"max_age": "30m", "phishing_resistant": True}}}
    with pytest.raises(StepUpRequiredError) as caught:
        plan(policy([SEE, gate]), fresh())
    assert caught.value.max_age == 1800
    assert caught.value.acr_values == "phishing-resistant"
    assert plan(policy([SEE, gate]), fresh(resistant=True)).sees_all


# requirements


def test_a_rule_whose_requirement_is_unmet_gives_nothing_and_is_offered() -> None:
    strong = {
        "id": "strong",
        "roles": ["rm"],
        "show": {"clear": ["contact"]},
        "require": {"mfa": {"max_age": "5m"}},
    }
    weak = judge(plan(policy([SEE, strong])))
    assert (weak.outcome, views(weak)["mobile"], weak.offered) == (Outcome.PERMITTED, "masked", ("mobile",))
    assert [o.kind for o in weak.missing] == ["mfa"]
    full = judge(plan(policy([SEE, strong]), fresh()))
    assert (views(full)["mobile"], full.offered, full.missing) == ("clear", (), ())


def test_a_record_only_an_unmet_rule_would_show_is_challenged() -> None:
    strong = {**READ, "id": "strong", "require": {"mfa": {"max_age": "5m"}}}
    other = {**SEE, "id": "other", "relation": "flagged"}
    ruling = judge(plan(policy([strong, other])))
    assert (ruling.outcome, ruling.rules, ruling.offered) == (Outcome.CHALLENGED, ("strong",), ("name",))
    assert judge(plan(policy([strong, other])), {**RECORD, "rm_ids": []}).outcome is Outcome.DENIED


@pytest.mark.parametrize(
    ("require", "error"),
    [
        ({"reason": {"min": 5}}, ReasonRequiredError),
        ({"ticket": "T-1"}, ReasonRequiredError),
        ({"mfa": {"max_age": "5m"}}, StepUpRequiredError),
        ({"mfa": {"max_age": "5m"}, "reason": {"min": 5}}, ReasonRequiredError),
        ({"training": {"privacy": "365d"}}, AccessDeniedError),
        ({"training": {"privacy": "365d"}, "reason": {"min": 5}}, AccessDeniedError),
        ({"approval": {"role": "boss"}}, StepUpRequiredError),
    ],
)
def test_what_is_missing_for_everything_is_said_before_the_record(
    require: dict[str, Any], error: type[Exception]
) -> None:
    compiled = policy([{**SEE, "require": require}])
    with pytest.raises(AccessDeniedError) as caught:
        plan(compiled)
    assert type(caught.value) is error


def test_the_easiest_way_is_the_one_that_is_named() -> None:
    hard = {**SEE, "id": "hard", "require": {"approval": {"role": "boss"}}}
    easy = {**SEE, "id": "easy", "require": {"reason": {"min": 5}}}
    with pytest.raises(ReasonRequiredError, match="at least 5 characters"):
        plan(policy([hard, easy]))


def test_training_is_named_when_it_lapsed() -> None:
    with pytest.raises(AccessDeniedError, match="training: privacy, passed within 365d"):
        plan(policy([{**SEE, "require": {"training": {"privacy": "365d"}}}]), trained("2020-01-01"))


# what is asked for in clear


def test_a_clear_value_asked_for_is_offered_record_by_record() -> None:
    made = plan(policy([READ, REVEAL]), reveal=("mobile",), reason=WHY)
    ruling = judge(made)
    assert (ruling.outcome, ruling.offered, ruling.rules) == (
        Outcome.PERMITTED,
        ("mobile",),
        ("read", "reveal"),
    )
    assert ruling.missing == (Obligation("mfa", 900, detail="a second factor within 900 s"),)
    assert views(ruling)["mobile"] == "masked"
    assert judge(plan(policy([READ, REVEAL]), fresh(), reveal=("mobile",), reason=WHY)).offered == ("mobile",)


def test_unasked_everything_that_could_be_had_is_offered() -> None:
    ruling = judge(plan(policy([READ, REVEAL])))
    assert ruling.offered == ("mobile", "balance")
    assert {o.kind for o in ruling.missing} == {"mfa", "reason"}
    assert ruling.rules == ("read",)


def test_a_reveal_rule_alone_shows_nothing_until_asked() -> None:
    with pytest.raises(AccessDeniedError):
        plan(policy([REVEAL]))
    ruling = judge(plan(policy([REVEAL]), reveal=("contact",), reason=WHY))
    assert (ruling.outcome, ruling.offered) == (Outcome.CHALLENGED, ("mobile",))


@pytest.mark.parametrize(
    ("reveal", "said", "error"),
    [
        (("mobile",), {}, ReasonRequiredError),
        (("contact",), {"reason": "short"}, ReasonRequiredError),
        (("cvv",), {"reason": WHY}, AccessDeniedError),
        (("secret",), {"reason": WHY}, AccessDeniedError),
        (("mobile", "cvv"), {"reason": WHY}, AccessDeniedError),
        (("nonsense",), {"reason": WHY}, AccessDeniedError),
        (("mobile", "nonsense"), {"reason": WHY}, AccessDeniedError),
    ],
)
def test_what_no_rule_reveals_is_refused_at_once(
    reveal: tuple[str, ...], said: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(AccessDeniedError) as caught:
        plan(policy([READ, REVEAL]), reveal=reveal, **said)
    assert type(caught.value) is error
    assert "nonsense" not in str(caught.value)


def test_what_is_clear_already_may_be_asked_for() -> None:
    ruling = judge(plan(policy([READ]), reveal=("name", "id")))
    assert (ruling.outcome, ruling.offered, ruling.missing) == (Outcome.PERMITTED, (), ())


def test_a_forbidden_class_is_never_offered() -> None:
    forbid = {"id": "f", "forbid": ["contact"]}
    assert judge(plan(policy([READ, REVEAL, forbid]))).offered == ("balance",)
    with pytest.raises(AccessDeniedError):
        plan(policy([READ, REVEAL, forbid]), reveal=("mobile",), reason=WHY)


def test_a_lapsed_course_refuses_the_reveal_and_nothing_else() -> None:
    compiled = policy(
        [READ, {**REVEAL, "require": {"mfa": {"max_age": "5m"}, "training": {"privacy": "365d"}}}]
    )
    assert judge(plan(compiled, trained("2020-01-01"))).outcome is Outcome.PERMITTED
    with pytest.raises(AccessDeniedError, match="training"):
        plan(compiled, trained("2020-01-01"), reveal=("mobile",))
    assert judge(
        plan(compiled, trained("2026-01-01"), reveal=("mobile",)), actor=trained("2026-01-01")
    ).offered


# roles, purposes, actions, resources


def test_a_rule_applies_to_any_of_the_actors_roles_and_without_roles_to_everybody() -> None:
    both = Principal("rm.li", frozenset({"rm", "guest"}), branch="pudong")
    assert judge(plan(policy([READ]), both), actor=both).outcome is Outcome.PERMITTED
    everybody = {"id": "e", "show": {"masked": ["name"]}}
    guest = Principal("g", frozenset())
    assert judge(plan(policy([everybody]), guest), actor=guest).outcome is Outcome.PERMITTED


def test_purposes() -> None:
    rules = [{**SEE, "purpose": ["service"]}, {**SEE, "id": "a", "roles": ["aml"], "purpose": ["aml_case"]}]
    compiled = policy(rules)
    assert plan(compiled).purpose == "service"
    assert plan(compiled, purpose="service") is plan(compiled)
    for purpose in ("aml_case", "curiosity", "SERVICE"):  # of other roles, unknown, another case (M11)
        with pytest.raises(AccessDeniedError):
            plan(compiled, purpose=purpose)
    with pytest.raises(PurposeRequiredError):
        plan(policy(rules, defaults={}))
    assert plan(policy([SEE, rules[1]]), purpose="aml_case").purpose == "aml_case"


def test_actions() -> None:
    compiled = policy([SEE, {**SEE, "id": "make", "action": ["create", "delete"]}])
    verbs = (Verb.READ, Verb.UPDATE, Verb.CREATE, Verb.DELETE)
    assert [plan(compiled, verb=verb).rules for verb in verbs] == [("see",), ("see",), ("make",), ("make",)]
    with pytest.raises(AccessDeniedError):
        plan(policy([SEE]), verb=Verb.DELETE)
    with pytest.raises(AccessDeniedError):
        plan(compiled, verb=Verb.EXPORT)  # shown, and no rule exports


def test_an_unknown_resource_is_refused() -> None:
    with pytest.raises(AccessDeniedError):
        policy([SEE]).plan(RM, Route("nonsense", Verb.READ, ""), AccessRequest(), NOW_US)


# exports


def test_exports() -> None:
    export = {
        "id": "x",
        "roles": ["rm"],
        "relation": "same_branch",
        "export": {"formats": ["csv"], "max_clients": 200},
    }
    compiled = policy([SEE, export])
    made = plan(compiled, verb=Verb.EXPORT)
    assert made.export == (("csv", 200),)
    assert judge(made).rules == ("see", "x")
    assert judge(made, {**RECORD, "branch": "x"}).outcome is Outcome.DENIED
    assert plan(compiled).export == ()  # on a read, only what holds for every record counts
    free = {"id": "y", "roles": ["rm"], "export": {"formats": ["csv", "ndjson"]}}
    assert plan(policy([SEE, export, free])).export == (("csv", None), ("ndjson", None))


def test_an_export_may_need_more_for_some_records() -> None:
    near = {"id": "near", "relation": "same_branch", "export": {"formats": ["csv"]}}
    far = {
        "id": "far",
        "relation": "assigned",
        "export": {"formats": ["csv"]},
        "require": {"reason": {"min": 5}},
    }
    made = plan(policy([SEE, near, far]), verb=Verb.EXPORT)
    assert judge(made).rules == ("see", "near")
    elsewhere = judge(made, {**RECORD, "branch": "x"})
    assert (elsewhere.outcome, elsewhere.rules) == (Outcome.CHALLENGED, ("far",))
    assert judge(made, {**RECORD, "branch": "x", "rm_ids": []}).outcome is Outcome.DENIED


def test_a_forbid_of_everything_is_refused_before_the_record() -> None:
    with pytest.raises(AccessDeniedError, match="A rule forbids this role all of client"):
        plan(policy([SEE, {"id": "f", "roles": ["rm"], "forbid": "all"}]))


def test_an_export_that_needs_more_says_so() -> None:
    export = {"id": "x", "export": {"formats": ["csv"]}, "require": {"approval": {"role": "boss"}}}
    with pytest.raises(AccessDeniedError, match="approval: role boss"):
        plan(policy([SEE, export]), verb=Verb.EXPORT)
    with pytest.raises(StepUpRequiredError):
        plan(policy([SEE, {**export, "require": {"mfa": {"max_age": "5m"}}}]), verb=Verb.EXPORT)


# the rest of the protocol


def test_sees_all_only_if_no_record_can_be_refused() -> None:
    assert plan(policy([SEE])).sees_all
    for rule in (READ, NO_SELF, GATE, REVEAL):
        assert not plan(policy([SEE, rule])).sees_all
    assert plan(policy([SEE, GATE]), fresh()).sees_all


def test_strongest_and_weakest() -> None:
    made = plan(policy([READ, SEE, {"id": "f", "forbid": ["money"], "relation": "flagged"}]))
    labels = ["id", "name", "mobile", "balance", "cvv"]
    assert [(f.spec.path, f.view.label) for f in made.strongest()] == list(
        zip(labels, ["clear", "clear", "masked", "masked", "withheld"], strict=True)
    )
    assert [f.view.label for f in made.weakest()] == ["clear", "masked", "masked", "withheld", "withheld"]
    hides = plan(policy([SEE, {"id": "f", "forbid": ["contact"], "relation": "flagged"}]))
    assert [f.view.label for f in hides.weakest()] == ["clear", "masked", "withheld", "withheld", "withheld"]
    assert [f.view.label for f in hides.strongest()] == ["clear", "masked", "masked", "withheld", "withheld"]
    either = plan(policy([READ, {**SEE, "relation": "same_branch"}]))  # some records hold by the weaker alone
    assert [f.view.label for f in either.weakest()] == ["clear", "masked", "masked", "withheld", "withheld"]
    only = plan(policy([READ]))
    assert [f.view.label for f in only.weakest()] == ["clear", "clear", "masked", "masked", "withheld"]


def test_unread_lets_permits_fail_and_forbids_hold() -> None:
    compiled = policy(
        [
            SEE,
            READ,
            {**READ, "id": "r2", "action": ["create"]},
            {**SEE, "id": "c", "action": ["create"]},
            NO_SELF,
        ]
    )
    assert plan(compiled).unread().outcome is Outcome.DENIED  # whether it is forbidden cannot be told
    assert plan(compiled).unread() is plan(compiled).unread()
    created = plan(compiled, verb=Verb.CREATE).unread()  # no record yet that anything could hold for
    assert (created.outcome, created.rules, views(created)["name"]) == (Outcome.PERMITTED, ("c",), "masked")
    assert plan(policy([SEE, GATE])).unread().outcome is Outcome.CHALLENGED
    assert plan(policy([READ])).unread().outcome is Outcome.DENIED


def test_nested_records_have_their_own_plan() -> None:
    fields = {"id": "public", "name": "name", "relatives[*]": {"resource": "relative"}}
    relative = {"fields": {"id": "public", "name": "name", "partners[*]": {"resource": "client"}}}
    over = {"resources": {"client": {"match": ["GET /clients"], "fields": fields}, "relative": relative}}
    rule = {"id": "r", "roles": ["rm"], "resource": ["client"], "show": {"clear": ["name"]}}
    gated = {**rule, "id": "g", "resource": ["relative"], "require": {"reason": {"min": 5}}}
    compiled = policy([rule, gated], **over)
    outer = plan(compiled)
    assert [f.view.label for f in outer.strongest()] == ["clear", "clear", "clear"]
    inner = outer.nested("relative")
    assert inner.judge(RM, ()).outcome is Outcome.CHALLENGED
    told = plan(compiled, reason="because of this")
    assert told is not outer  # the requirement of what is inside is part of the key
    assert told.nested("relative").judge(RM, ()).outcome is Outcome.PERMITTED
    assert told.nested("relative") is told.nested("relative")
    assert told.nested("relative").nested("client") is told
    blind = plan(policy([rule], **over)).nested("relative")  # no rule at all: left out, not raised
    assert blind.judge(RM, ()).outcome is Outcome.DENIED


def test_one_plan_for_one_key_and_one_ruling_for_one_answer() -> None:
    compiled = policy([READ, SEE, GATE])
    other = Principal("someone", frozenset({"rm", "unknown"}), tenant="t2", branch="x")
    assert plan(compiled) is plan(compiled)
    assert plan(compiled, other) is plan(compiled)
    assert plan(compiled, fresh()) is not plan(compiled)
    assert plan(compiled, reason="any") is plan(compiled)  # nothing asks for it
    made = plan(compiled)
    assert judge(made) is judge(made, {**RECORD, "id": 2, "name": "x"})
    assert judge(made, {**RECORD, "rm_ids": 5}) is judge(made, {**RECORD, "rm_ids": 6})
    assert judge(made, {**RECORD, "tier": "mass"}) is judge(made, {**RECORD, "tier": "affluent"})


def test_actors_do_not_get_each_others_answers() -> None:
    made = plan(policy([READ]))
    other = Principal("rm.wang", frozenset({"rm"}))
    for _ in range(2):
        assert judge(made, actor=RM).outcome is Outcome.PERMITTED
        assert judge(made, actor=other).outcome is Outcome.DENIED


def test_caches_do_not_grow_without_end() -> None:
    compiled = policy([SEE])
    for n in range(5000):
        actor = Principal("x", frozenset({"rm", f"role-{n}"}))
        assert plan(compiled, actor).rules == ("see",)
    assert len(compiled._scopes) <= 4097


def test_what_callers_ask_for_does_not_fill_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("privguard.policy.decide._MOST", 2)
    compiled = policy([{"id": "all", "roles": ["rm"], "show": {"clear": ["name", "contact", "money"]}}])
    for reveal in (("name",), ("mobile",), ("balance",), ("name", "mobile"), ("contact",)):
        assert judge(plan(compiled, reveal=reveal)).outcome is Outcome.PERMITTED
    [scope] = {id(scope): scope for scope in compiled._scopes.values()}.values()
    assert len(scope.plans) <= 2


def test_what_later_rooms_need_is_there() -> None:
    content = {
        "break_glass": {
            "roles": ["rm"], "reveal": ["contact"], "require": {"mfa": {"max_age": "1m"}}, "ttl": "15m",
            "alert": ["compliance"], "review_within": "24h",
        },
        "budgets": {"rm": {"clients_per_hour": 60}},
    }  # fmt: skip
    compiled = policy([READ, REVEAL], **content)
    assert compiled.rule("reveal").grant == (300, 10)
    assert compiled.rule("reveal").quota == (30, 86_400)
    assert compiled.budgets["rm"].clients_per_hour == 60
    assert compiled.break_glass is not None
    assert compiled.break_glass.roles == ("rm",)
    with pytest.raises(KeyError):
        compiled.rule("nonsense")


def test_the_shape_is_what_the_document_says() -> None:
    client = {
        "subject": "person", "id": "no", "envelope": {"total": "count"}, "columns": {"rm_ids": ";"},
        "params": {"q": ["name", "mobile"], "page": "paging", "filter[*]": "contact"},
        "unknown_params": "drop", "media": {"image/png": "secret"},
    }  # fmt: skip
    shape = policy([SEE], client=client, defaults={"purpose": "service", "withheld_as": None}).shapes[
        "client"
    ]
    assert (shape.kind, shape.id, shape.tier, shape.withheld_as, shape.unknown_params) == (
        "person", "no", "tier", "null", "drop",
    )  # fmt: skip
    assert shape.params == (("q", ("name", "mobile")), ("page", ("paging",)), ("filter[*]", ("contact",)))
    assert shape.columns == (("rm_ids", ";"),)
    assert shape.envelope == (("total", "count"),)
    assert [spec.path for spec in shape.fields] == ["id", "name", "mobile", "balance", "cvv", "image/png"]
    assert [(media, cls.name) for media, cls in shape.media] == [("image/png", "secret")]
    assert policy([SEE]).shapes["client"].unknown_params == "deny"


def test_a_list_is_narrowed_by_what_the_actor_is() -> None:
    narrow = [
        {"roles": ["rm", "junior"], "param": "owner", "by": "subject.id"},
        {"roles": ["lead"], "param": "unit", "by": "subject.team.unit"},
    ]
    narrowing = policy([SEE], client={"narrow": narrow}).narrowing

    def by(*roles: str, **claims: Any) -> tuple[str, str] | None:
        return narrowing(Principal("x", frozenset(roles), attributes=claims), "client")

    assert by("rm") == by("rm", "junior") == ("owner", "x")
    assert by("lead", team={"unit": "u1"}) == ("unit", "u1")
    assert by("rm", "lead", team={"unit": "u1"}) is None  # nobody can tell which shows all
    assert by("lead") is by("lead", team={"unit": 5}) is by("lead", team={"unit": ""}) is by() is None


SHARED = {"private": {"client": {"kin": "id", "surname": "name", "address": ["street", "city"]}}}


def like(*shared: tuple[str, object]) -> Principal:
    return replace(RM, private=lambda kind, value: (kind, value) in shared)


def test_what_is_shared_in_private_is_said_and_decides_nothing() -> None:
    made = plan(policy([READ, SEE], anomaly=SHARED))
    record = {**RECORD, "street": "Elm 12", "city": "X"}
    plain = judge(made, record)
    alike = [("kin", record["id"]), ("address", "Elm 12 X")]
    close = judge(made, record, like(*alike))
    assert close.relations == (*plain.relations, "private.kin", "private.address")
    assert replace(close, relations=()).fields == plain.fields
    assert (close.outcome, close.rules) == (plain.outcome, plain.rules)
    assert judge(made, {**record, "street": "Elm 13"}, like(*alike[1:])).relations == plain.relations
    assert judge(made, record, like(*alike)) is close
    assert made.sees_all == plan(policy([READ, SEE])).sees_all


def test_a_tier_of_public_interest_is_said_and_decides_nothing() -> None:
    made = plan(policy([READ, SEE], anomaly={"sensitive": ["private"]}))
    vip, asked = {**RECORD, "tier": "private"}, like(("sensitive", "private"))
    plain = judge(made, vip)  # of a list, where nobody was looked for
    told = judge(made, vip, asked)
    assert told.relations == (*plain.relations, "private.sensitive")
    assert (told.outcome, told.rules, told.fields) == (plain.outcome, plain.rules, plain.fields)
    assert judge(made, {**RECORD, "tier": "mass"}, asked).relations == plain.relations


def test_a_record_without_what_could_be_shared_is_judged_all_the_same() -> None:
    made = plan(policy([READ, SEE], anomaly=SHARED))
    bare = {key: value for key, value in RECORD.items() if key != "name"}
    ruling = judge(made, bare, like(("kin", RECORD["id"])))
    assert (ruling.outcome, ruling.relations[-1]) == (Outcome.PERMITTED, "private.kin")


def test_a_refusal_says_what_is_shared_too() -> None:
    made = plan(policy([READ], anomaly=SHARED))
    record = {**RECORD, "rm_ids": []}
    ruling = judge(made, record, like(("kin", record["id"])))
    assert (ruling.outcome, ruling.relations) == (Outcome.DENIED, ("private.kin",))
