"""What a statement tells depends on nothing that is under embargo."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from privguard.audit.record import drafts, encode, link, parse
from privguard.audit.statement import Statement, digest
from privguard.errors import PolicyError
from privguard.model import AccessEvent, AuditReceipt, Disclosure, FieldShown, Outcome, SubjectRef, View
from privguard.oversight.custodian import LIFT
from privguard.oversight.layout import lay_out, report_line
from privguard.oversight.statement import compose, rules_of
from privguard.oversight.trail import ClientReport, Entry
from privguard.oversight.wording import Words
from privguard.policy import compile_policy, load
from privguard.testing import FrozenClock
from tests.unit.audit.events import access, disclosure

POLICY = """
privguard: 1
roles: [rm, aml]
purposes: [service, aml_case, fraud]
classes: {name: {mask: cjk_name}}
resources: {client: {match: ["GET /clients/{id}"], fields: {id: public, name: name, mobile: name}}}
rules: [{id: all, show: {clear: [name]}}]
statement:
  embargo: {aml_case: until_released, aml: until_released, fraud: 30d}
  names: {rm: {en: Adviser, zh: 顾问}, mobile: {en: mobile number, zh: 手机号码}}
"""
NOW = FrozenClock().now_us()
DAY = 86_400_000_000
TOKEN = "token-of-this-client-0"
RECEIPT = AuditReceipt("test.invalid/log", 900, 901, b"\x01" * 32)


def chain(events: Sequence[AccessEvent]) -> list[Entry]:
    """The client's entries, newest first; every access stands at the next index, the client's or not."""
    heads: dict[str, tuple[int, int]] = {}
    entries = []
    for index, event in enumerate(events):
        [draft] = drafts(event)
        tokens = [[TOKEN if s.id == "a" else f"token-of-client-{s.id}" for s in g] for g in draft.subjects]
        link(draft, tokens, heads, index, event.at_us)
        data = encode(draft.leaf)
        if any(TOKEN in group for group in tokens):
            entries.append(Entry(index, parse(data), data))
    return entries[::-1]


compiled = functools.cache(lambda text: compile_policy(load(text)))


def told(events: Sequence[AccessEvent], policy: str = POLICY) -> Statement:
    entries = chain(events)
    report = ClientReport(RECEIPT, TOKEN, len(entries), iter(entries))
    made = compiled(policy)
    return compose(report, SubjectRef("client", "a"), made, rules_of(made), NOW)


def seen(**changes: Any) -> AccessEvent:
    return access("a", **{"at_us": NOW - DAY, "purpose": "service", **changes})


def lift(*names: str) -> AccessEvent:
    about = dict.fromkeys(names, "lifted")
    return access(
        action=LIFT, disclosures=(Disclosure("client", (), (SubjectRef("client", "a"),)),), about=about
    )


plain = st.builds(
    seen,
    at_us=st.integers(NOW - 90 * DAY, NOW),
    actor=st.sampled_from(["li", "wu"]),
    disclosures=st.sampled_from(
        [(disclosure("a"),), (disclosure("b", "a"),), (disclosure("b"), disclosure("a", fields=()))]
    ),
    mode=st.sampled_from(["enforce", "observe"]),
    outcome=st.sampled_from(Outcome),
)
hidden = st.builds(
    seen,
    at_us=st.integers(NOW - 29 * DAY, NOW),
    actor=st.just("officer"),
    disclosures=st.sampled_from([(disclosure("a"),), (disclosure("a", "c"),)]),
    mode=st.sampled_from(["enforce", "observe"]),
    purpose=st.sampled_from(["aml_case", "fraud"]),
) | st.builds(seen, roles=st.just(("rm", "aml")), mode=st.sampled_from(["enforce", "observe"]))


def test_what_staff_and_client_share_in_private_is_not_told() -> None:
    shown = replace(disclosure("a"), relations=("assigned", "private.kin"))
    [seen_once] = told([seen(disclosures=(shown,))]).seen
    assert seen_once.relations == ["assigned"]


@settings(deadline=None)
@given(st.lists(st.tuples(plain, st.lists(hidden, max_size=2)), max_size=5))
def test_accesses_under_embargo_change_nothing(history: list[tuple[AccessEvent, list[AccessEvent]]]) -> None:
    """Somebody else's access stands where each of them does, so that even indexes are the same."""
    under, without = list[AccessEvent](), list[AccessEvent]()
    for event, covered in history:
        under += [*covered, event]
        without += [*[access("other") for _ in covered], event]
    one, other = told(under), told(without)
    bare = [[(each.index, each.at, each.fields, each.unmasked) for each in s.seen] for s in (one, other)]
    assert bare[0] == bare[1]
    assert one.names == other.names
    for lang in ("en", "zh"):
        first, second = lay_out(one, lang, "+08:00"), lay_out(other, lang, "+08:00")
        assert first.rows == second.rows
        assert len(first.facts) == len(second.facts)


def test_an_embargo_ends_by_age_or_by_an_entry_after_it() -> None:
    young, old = seen(purpose="fraud", at_us=NOW - 29 * DAY), seen(purpose="fraud", at_us=NOW - 30 * DAY)
    assert [len(told([event]).seen) for event in (young, old)] == [0, 1]
    case = seen(purpose="aml_case", roles=("aml",))
    assert not told([case, lift("aml_case")]).seen
    assert not told([lift("aml", "aml_case"), case]).seen, "what is lifted is what was before"
    assert len(told([case, lift("aml"), lift("aml_case")]).seen) == 1
    assert len(told([case, lift("aml", "aml_case"), case]).seen) == 1


def test_only_what_left_of_this_client_is_told() -> None:
    fields = (FieldShown("name", View.CLEAR), FieldShown("id_no", View.WITHHELD))
    [told_of] = told(
        [
            seen(outcome=Outcome.DENIED, problem="not-permitted"),
            seen(disclosures=(disclosure("a", fields=fields[1:]),)),
            seen(
                disclosures=(
                    disclosure("a", fields=(FieldShown("mobile", View.MASKED, "x"), *fields)),
                    disclosure("a", fields=(FieldShown("mobile", View.CLEAR),)),
                    disclosure("b", fields=(FieldShown("balance", View.CLEAR),)),
                )
            ),
        ]
    ).seen
    assert told_of.fields == {"name": "clear", "mobile": "clear"}
    assert told_of.actor == ""
    named = told([seen(actor="rm.li")], POLICY.replace("  names:", "  actors: named\n  names:"))
    assert lay_out(named, "zh", "-03:30").rows == [
        (
            "2026-01-04 05:30:00 -03:30",
            "rm.li\n顾问",
            "service\nassigned",
            "查阅",
            "完整显示：name\n部分遮盖：手机号码",
        )
    ]


def test_what_left_while_the_gateway_observed_left_unmasked() -> None:
    events = [
        seen(mode="observe", outcome=Outcome.DENIED, disclosures=(disclosure("a", fields=()),)),
        seen(mode="observe"),
        seen(mode="observe", outcome=Outcome.INTENT),
        seen(mode="observe", action="cli:audit:report", disclosures=(disclosure("a", fields=()),)),
        seen(mode="observe", action="library:client:read"),
    ]
    library, read, denied = told(events).seen
    assert (library.unmasked, library.fields) == (False, {"name": "clear", "mobile": "masked"})
    assert (read.unmasked, read.fields) == (True, {"name": "clear", "mobile": "clear"})
    assert (denied.unmasked, denied.fields) == (True, {})
    rows = lay_out(told(events), "en", "+00:00").rows
    assert rows[2][4] == "the whole record, in full"
    lines = [report_line(entry, Words("zh"), "+00:00") for entry in chain(events)]  # newest first
    assert ["观察模式：原样放行" in line for line in lines] == [False, False, False, True, True]


def test_what_the_policy_does_not_settle_stops_the_statement() -> None:
    with pytest.raises(PolicyError, match="`visit`, which the policy does not know"):
        told([seen(purpose="visit")])
    with pytest.raises(PolicyError, match="does not say what a client may be handed"):
        told([], POLICY[: POLICY.index("statement:")])
    with pytest.raises(PolicyError, match="no purpose or role `aml_cases`"):
        told([], POLICY.replace("embargo: {aml_case", "embargo: {aml_cases"))
    assert digest(told([])) != digest(told([seen()]))
