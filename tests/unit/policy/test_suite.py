"""Tests beside a policy, and that the shipped policies' tests are worth something."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import UNSET

from privguard.errors import PolicyError
from privguard.model import FieldView, Verb
from privguard.policy import InvalidPolicyError, compile_policy, lint, load
from privguard.policy.suite import Report, load_suite, run
from tests.unit.policy.samples import policy

POLICIES = Path(__file__).parents[3] / "policies"
RULES = [
    {"id": "gate", "gate": "all", "tier": ["private"], "require": {"mfa": {"max_age": "30m"}}},
    {
        "id": "read",
        "roles": ["rm"],
        "relation": "assigned",
        "show": {"clear": ["name"], "masked": ["contact"]},
    },
    {"id": "unused", "roles": ["aml"], "show": {"masked": ["name"]}},
]
FIELDS = {
    "id": "public", "name": "name", "mobile": "contact", "cards[*].pan": "contact", "more{json}.x": "name",
    "by.*": "name", "money": "money", "cvv": "secret",
}  # fmt: skip
POLICY = policy(RULES, client={"fields": FIELDS}, passthrough=["POST /login"])
HEAD = """
actors:
  lin: {id: rm.li, roles: [rm], branch: pudong}
  guest: {}
records:
  zhang: {id: 1, name: 张, mobile: 138, rm_ids: [rm.li], branch: pudong, tier: mass, amount: 100.50,
          cards: [{pan: 1}, {pan: 2}], more: '{"x": 5}', by: {a: 1, b: 2}, money: null}
  vip: {rm_ids: [rm.li], branch: pudong, tier: private}
  broken: {more: no json, cards: 1, by: [1], rm_ids: [rm.li], branch: x, tier: mass}
tests:
"""


def masked(view: FieldView, value: object) -> object:
    return UNSET if value is None else f"<{view.mask.operator} {value}>"


def ran(*rows: str) -> Report:
    suite = load_suite(HEAD + "".join(f"  - {{{row}}}\n" for row in rows), "t.yaml")
    return run(POLICY, suite, masked)


def difference(row: str) -> str:
    """The one difference of a row."""
    [only] = ran(row).rows
    assert len(only.differs) == 1, only.differs
    assert only.where == f"t.yaml:{HEAD.count(chr(10)) + 1}:5"
    return only.differs[0]


@pytest.mark.parametrize(
    "row",
    [
        "as: lin, record: zhang, expect: {name: 张, mobile: masked, id: clear, cvv: withheld}, rule: read",
        "as: lin, record: zhang, expect: {mobile: <cn_mobile_3_4 138>, id: 1}",
        "as: lin, record: zhang, expect: {'cards[*].pan': [<cn_mobile_3_4 1>, <cn_mobile_3_4 2>]}",
        "as: lin, record: zhang, expect: {'more{json}.x': 5, 'by.*': [1, 2]}",
        "as: lin, record: zhang, absent: [cvv, amount]",
        "as: lin, record: {more: no json, rm_ids: [rm.li], branch: x, tier: mass}, absent: [cvv]",
        "as: lin, record: zhang",
        "as: lin, record: {rm_ids: [], branch: x, tier: mass}, expect: not-permitted",
        "as: lin, record: {}, expect: not-permitted",
        "as: lin, record: vip, expect: step-up-required, rule: gate",
        "as: lin, record: vip, context: {mfa: 29m}, expect: {name: clear}",
        "as: lin, record: vip, context: {mfa: 31m}, expect: step-up-required",
        "as: guest, record: zhang, expect: not-permitted",
        "as: lin, purpose: curiosity, record: zhang, expect: not-permitted",
        "as: lin, record: zhang, context: {reveal: [mobile]}, expect: not-permitted",
        "as: lin, request: GET /clients, expect: permitted",
        "as: lin, request: PATCH /clients/1, record: zhang, expect: {name: clear}",
        "as: lin, request: GET /clients.csv, expect: not-permitted",
        "as: lin, request: GET /nowhere, expect: ungoverned-route",
        "as: lin, request: POST /login, expect: passthrough",
        "as: lin, resource: client, expect: {name: clear}",
    ],
)
def test_rows_that_hold(row: str) -> None:
    assert ran(row).passed, ran(row).rows


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("as: lin, record: zhang, expect: {name: masked}", "name: expected masked, got clear"),
        ("as: lin, record: zhang, expect: {mobile: 138}", "mobile: expected 138, got <cn_mobile_3_4 138>"),
        ("as: lin, record: zhang, expect: {cvv: x}", "cvv: expected x, got nothing"),
        ("as: lin, record: zhang, expect: {nmae: clear}", "nmae: the resource has no such field"),
        (
            "as: lin, record: zhang, expect: not-permitted",
            "expected not-permitted, got permitted (rule read)",
        ),
        ("as: lin, record: vip, expect: {name: clear}", "expected fields, got step-up-required (rule gate)"),
        (
            "as: guest, record: zhang, expect: permitted",
            "expected permitted, got not-permitted (No rule gives",
        ),
        (
            "as: lin, record: {mobile: [1], rm_ids: [rm.li], branch: x, tier: mass}",
            "mobile: the record has no single",
        ),
        ("as: lin, record: broken, expect: {'more{json}.x': 5}", "more{json}.x: expected 5, got nothing"),
        ("as: lin, record: broken, expect: {'cards[*].pan': [1]}", "cards[*].pan: expected [1], got []"),
        ("as: lin, record: broken, expect: {'by.*': [1]}", "by.*: expected [1], got []"),
        ("as: lin, record: zhang, absent: [name]", "name: expected nothing, got clear"),
        ("as: lin, record: zhang, absent: [cvvv]", "cvvv: neither the resource nor the record has it"),
        ("as: lin, record: zhang, rule: gate", "expected rule gate, got read"),
        (
            "as: lin, request: GET /clients, expect: {name: 张}",
            "name: a value can only be expected of a record",
        ),
        ("as: lin, record: {tier: mass}, expect: permitted", "failed: assigned"),
        ("as: lin, request: GET /x, expect: permitted", "expected permitted, got ungoverned-route"),
    ],
)
def test_rows_that_differ_say_how(row: str, says: str) -> None:
    assert says in difference(row)
    assert not ran(row).passed


def test_rules_that_no_row_sees_at_work_are_named() -> None:
    assert ran("as: lin, record: zhang", "as: lin, record: vip, expect: step-up-required").untried == (
        "unused",
    )


def test_titles_tell_who_asks_for_what() -> None:
    row = "as: lin, purpose: audit, record: zhang, context: {reveal: [mobile]}, expect: not-permitted"
    assert ran(row).rows[0].title == "lin: zhang, for audit, reveal mobile"
    assert ran("as: lin, request: GET /clients").rows[0].title == "lin: GET /clients"


@pytest.mark.parametrize(
    ("text", "where", "says"),
    [
        (HEAD, "t.yaml:10:1", "nothing stands where a list is expected"),
        (HEAD.replace("tests:", "tests: []"), "t.yaml:10:8", "there is nothing in it"),
        (HEAD + "  - {as: li}", "t.yaml:11:10", "there is no actor `li` (did you mean `lin`?)"),
        (HEAD + "  - {as: lin, record: zang}", "t.yaml:11:23", "there is no record `zang`"),
        (HEAD + "  - {as: lin, expct: permitted}", "t.yaml:11:15", "did you mean `expect`?"),
        (HEAD + "  - {as: lin}\nnow: 2026-01-01T00:00:00", "t.yaml:12:6", "not a time with its zone"),
        (HEAD + "  - {as: lin}\nnow: soon", "t.yaml:12:6", "not a time with its zone"),
    ],
    ids=range(7),
)
def test_a_test_file_that_is_wrong_says_where(text: str, where: str, says: str) -> None:
    with pytest.raises(InvalidPolicyError) as caught:
        load_suite(text, "t.yaml")
    assert caught.value.where == where
    assert says in str(caught.value)


@pytest.mark.parametrize("name", ["bank", "minimal"])
def test_shipped_policies_have_no_findings(name: str) -> None:
    text = (POLICIES / f"{name}.yaml").read_text("utf-8")
    assert lint(load(text, f"{name}.yaml")) == []


EXPORT = {"bank": ("export",), "minimal": ()}
"""Rules whose requirement cannot be met yet, so that no ruling can name them."""


@pytest.mark.parametrize("name", ["bank", "minimal"])
def test_each_rule_of_a_shipped_policy_is_seen_at_work_and_needed(name: str) -> None:
    text = (POLICIES / f"{name}.yaml").read_text("utf-8")
    suite = load_suite((POLICIES / f"{name}_test.yaml").read_text("utf-8"), "t.yaml")
    report = views_only(run(compile_policy(load(text)), suite, masked))
    assert report.passed, [row for row in report.rows if row.differs]
    assert report.untried == EXPORT[name]


def views_only(report: Report) -> Report:
    """Without the values that leave, which the command checks with the real masks."""
    rows = [
        type(row)(
            row.where, row.title, tuple(d for d in row.differs if "got <" not in d and "got [" not in d)
        )
        for row in report.rows
    ]
    return Report(tuple(rows), report.untried)


def test_the_bank_profile_holds_what_the_contract_promises() -> None:
    compiled = compile_policy(load((POLICIES / "bank.yaml").read_text("utf-8")))
    ids = {"no-self", "vip-gate", "rm-read", "rm-reveal", "aml-reveal", "export"}
    assert ids <= {rule.id for rule in compiled.rules}
    assert compiled.rule("rm-reveal").grant == (300, 10)
    assert compiled.rule("rm-reveal").quota == (30, 86_400)
    assert compiled.rule("export").max_clients == 200
    assert compiled.rule("analyst-export").max_clients == 10_000
    assert compiled.rule("analyst-export").formats == ("csv",)
    assert compiled.break_glass is not None
    assert compiled.budgets["rm"].clients_per_day == 200
    route = compiled.match("POST", "/clients/17")
    assert route is not None
    assert route.verb is Verb.UPDATE


def test_a_test_file_that_is_not_yaml_is_refused() -> None:
    with pytest.raises(PolicyError):
        load_suite("tests: [", "t.yaml")
