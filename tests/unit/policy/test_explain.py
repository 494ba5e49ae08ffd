"""Why: every rule, in the policy's order, with what it did."""

from __future__ import annotations

from privguard.model import AccessRequest, Principal, Verb
from privguard.policy.explain import explain
from tests.unit.policy.samples import NOW_US, RECORD, RM, fresh, policy

RULES = [
    {"id": "no-self", "forbid": "all", "relation": "flagged"},
    {"id": "no-money", "roles": ["rm"], "forbid": ["money"], "tier": ["mass"]},
    {"id": "gate", "gate": "all", "tier": ["private"], "require": {"mfa": {"max_age": "30m"}}},
    {
        "id": "read",
        "roles": ["rm"],
        "relation": "assigned",
        "show": {"clear": ["name"], "masked": ["contact"]},
    },
    {"id": "more", "roles": ["rm"], "show": {"clear": ["money"]}, "require": {"reason": {"min": 5}}},
    {"id": "reveal", "roles": ["rm"], "reveal": ["contact"], "require": {"mfa": {"max_age": "5m"}}},
    {"id": "other", "roles": ["aml"], "show": {"clear": ["money"]}},
    {"id": "make", "roles": ["rm"], "action": ["create"], "show": {"clear": ["money"]}},
    {"id": "audit", "roles": ["rm"], "purpose": ["audit"], "show": {"clear": ["money"]}},
    {"id": "out", "roles": ["rm"], "export": {"formats": ["csv"]}},
    {"id": "else", "roles": ["rm"], "resource": ["visit"], "show": {"clear": ["money"]}},
]
OVER = {
    "resources": {
        "client": {
            "tier": "tier",
            "fields": {
                "id": "public",
                "name": "name",
                "mobile": "contact",
                "balance": "money",
                "cvv": "secret",
            },
        },
        "visit": {"tier": "tier", "fields": {"id": "public", "x": "money"}},
    }
}
POLICY = policy(RULES, **OVER)


def test_every_rule_says_what_it_did() -> None:
    explanation = explain(POLICY, RM, "client", None, RECORD, now_us=NOW_US)
    assert explanation.answer == "permitted"
    assert explanation.purpose == "service"
    assert {rule.id: (rule.applied, rule.why) for rule in explanation.rules} == {
        "no-self": (False, "relation `flagged` does not hold"),
        "no-money": (True, "forbids money"),
        "gate": (False, "is for other tiers"),
        "read": (True, "name clear, contact masked"),
        "more": (False, "needs reason: at least 5 characters"),
        "reveal": (False, "needs mfa: a second factor within 300 s"),
        "other": (False, "is for another role"),
        "make": (False, "is for another action"),
        "audit": (False, "is for another purpose"),
        "out": (True, "permits csv"),
        "else": (False, "is for another resource"),
    }
    assert [rule.id for rule in explanation.rules] == [rule["id"] for rule in RULES]
    assert ("name", "clear", "clear") in explanation.fields
    assert ("balance", "withheld", "withhold") in explanation.fields
    assert explanation.offered == ("mobile",)


def test_a_refusal_is_explained() -> None:
    explanation = explain(POLICY, Principal("x"), "client", "service", RECORD, now_us=NOW_US)
    assert explanation.answer == "not-permitted"
    assert "No rule gives this role" in explanation.detail
    assert explain(POLICY, RM, "client", "nonsense", RECORD, now_us=NOW_US).answer == "not-permitted"
    assert explain(POLICY, RM, "nonsense", None, RECORD, now_us=NOW_US).answer == "not-permitted"


def test_a_challenge_and_a_met_gate_are_explained() -> None:
    private = {**RECORD, "tier": "private"}
    challenged = explain(POLICY, RM, "client", None, private, now_us=NOW_US)
    assert challenged.answer == "step-up-required"
    assert {r.id: r.why for r in challenged.rules}["gate"] == "asks for more first"
    met = explain(POLICY, fresh(), "client", None, private, now_us=NOW_US)
    assert met.answer == "permitted"
    assert {r.id: r.why for r in met.rules}["gate"] == "is met"


def test_what_fails_is_explained() -> None:
    record = {key: value for key, value in RECORD.items() if key not in ("rm_ids", "tier")}
    explanation = explain(POLICY, RM, "client", None, record, now_us=NOW_US)
    assert (explanation.answer, explanation.failed) == ("not-permitted", "assigned")
    whys = {rule.id: rule.why for rule in explanation.rules}
    assert whys["read"] == "relation `assigned` cannot be evaluated: the record is denied"
    assert whys["no-money"] == "the tier cannot be read: the record is denied"


def test_without_a_record_the_best_any_record_could_give_is_shown() -> None:
    explanation = explain(POLICY, RM, "client", None, None, now_us=NOW_US)
    assert ("name", "clear", "clear") in explanation.fields
    assert {r.id: r.applied for r in explanation.rules}["read"]


def test_what_the_caller_says_and_does_counts() -> None:
    said = explain(POLICY, RM, "client", None, RECORD, request=AccessRequest(reason="because"), now_us=NOW_US)
    assert {r.id: r.applied for r in said.rules}["more"]
    asked = explain(
        POLICY, RM, "client", None, RECORD, request=AccessRequest(reveal=("mobile",)), now_us=NOW_US
    )
    assert asked.answer == "step-up-required"
    made = explain(POLICY, RM, "client", None, RECORD, action=Verb.CREATE, now_us=NOW_US)
    assert {r.id: r.applied for r in made.rules}["make"]
