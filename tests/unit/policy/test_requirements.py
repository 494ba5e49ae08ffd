"""What counts as met, and what does not (S10)."""

from __future__ import annotations

from typing import Any

import pytest

from privguard.model import AccessRequest, Assurance, Principal
from privguard.policy.document import Require
from privguard.policy.requirements import Requirements, merge
from privguard.policy.shape import build
from privguard.policy.source import read
from tests.unit.policy.samples import NOW_S, NOW_US, RM, fresh, trained


def met(require: str, actor: Principal = RM, *, reveal: bool = False, **said: Any) -> bool:
    """Whether all that ``require`` (YAML) asks for is met."""
    required = Requirements().of(build(Require, read(require, "r")), reveal=reveal)
    return all(requirement.met(actor, AccessRequest(**said), NOW_US) for requirement in required)


@pytest.mark.parametrize(
    ("actor", "is_met"),
    [
        (RM, False),
        (fresh(), True),
        (fresh(ago=1800), True),
        (fresh(ago=1801), False),
        (fresh(ago=-60), True),  # the issuer's clock may be a little ahead
        (fresh(ago=-61), False),
        (fresh(at=NOW_S * 1000), False),  # milliseconds
        (fresh(at=0), False),
        (Principal("x", assurance=Assurance(multi_factor=True)), False),
        (Principal("x", assurance=Assurance(acr="high", factors=frozenset({"otp"}), auth_time=NOW_S)), False),
    ],
)
def test_second_factor(actor: Principal, is_met: bool) -> None:
    assert met("mfa: {max_age: 30m}", actor) is is_met


def test_phishing_resistant_where_it_is_asked() -> None:
    assert not met("mfa: {max_age: 30m, phishing_resistant: true}", fresh())
    assert met("mfa: {max_age: 30m, phishing_resistant: true}", fresh(resistant=True))


def test_a_reveal_needs_a_grant_however_fresh_the_login() -> None:
    assert not met("mfa: {max_age: 30m}", fresh(), reveal=True)
    assert not met("reason: {min: 1}", fresh(), reveal=True, reason="because")


@pytest.mark.parametrize(
    ("reason", "is_met"),
    [
        ("client asked for it", True),
        ("0123456789", True),
        ("客户要求回电核对地址信息", True),
        ("012345678", False),
        ("  012345678  ", False),
        ("a         b", False),
        ("\u200b" * 20, False),
        ("..........", False),
        ("", False),
        (None, False),
    ],
)
def test_reason(reason: str | None, is_met: bool) -> None:
    assert met("reason: {min: 10}", reason=reason) is is_met


@pytest.mark.parametrize(
    ("ticket", "is_met"),
    [
        ("AML-12", True),
        ("AML-", False),
        ("xAML-12", False),
        ("AML-12x", False),
        ("AML-12\n", False),
        ("AML-" + "1" * 61, False),
        ("", False),
        (None, False),
    ],
)
def test_ticket(ticket: str | None, is_met: bool) -> None:
    assert met(r'ticket: "AML-\\d+"', ticket=ticket) is is_met


@pytest.mark.parametrize(
    ("passed", "is_met"),
    [
        ("2026-01-05", True),  # the day of NOW
        ("2026-01-06", True),  # tomorrow already, further east
        ("2026-01-07", False),
        ("2025-01-05", True),
        ("2025-01-04", False),
        ("2025-02-30", False),
        ("20260105", False),
        ("2026-W01-1", False),
        ("２０２６-01-05", False),
        (None, False),
        (20260105, False),
    ],
)
def test_training(passed: object, is_met: bool) -> None:
    assert met("training: {privacy: 365d}", trained(passed)) is is_met


def test_training_of_a_misshapen_claim_does_not_count() -> None:
    assert not met("training: {privacy: 365d}", Principal("x", attributes={"training": "privacy"}))
    assert not met(
        "training: {privacy: 365d}", Principal("x", attributes={"training": {"other": "2026-01-05"}})
    )
    assert not met("training: {privacy: 365d}")


def test_an_approval_cannot_be_had_yet() -> None:
    assert not met("approval: {role: boss}", fresh())


def test_all_of_it_is_required() -> None:
    both = "{mfa: {max_age: 30m}, reason: {min: 3}}"
    assert not met(both, fresh())
    assert not met(both, reason="because")
    assert met(both, fresh(), reason="because")


def test_equal_obligations_are_one_and_a_grant_is_another() -> None:
    known = Requirements()
    spec = build(Require, read("{mfa: {max_age: 30m}, reason: {min: 3}}", "r"))
    shown, again, revealed = (
        known.of(spec, reveal=False),
        known.of(spec, reveal=False),
        known.of(spec, reveal=True),
    )
    assert [r.number for r in shown] == [r.number for r in again]
    assert {r.obligation.kind for r in shown if r in revealed} == {"reason"}


def test_second_factors_merge_to_the_strictest() -> None:
    known = Requirements()
    specs = [
        "mfa: {max_age: 30m}",
        "mfa: {max_age: 5m}",
        "mfa: {max_age: 1h, phishing_resistant: true}",
        "reason: {min: 3}",
    ]
    merged = merge(r for spec in specs for r in known.of(build(Require, read(spec, "r")), reveal=False))
    assert [(o.kind, o.max_age, o.phishing_resistant) for o in merged] == [
        ("mfa", 300, True),
        ("reason", None, False),
    ]


@pytest.mark.parametrize(("zone", "is_met"), [("branch", True), ("hq", True), ("home", False), (None, False)])
def test_network_zone(zone: str | None, is_met: bool) -> None:
    assert met("zone: [branch, hq]", zone=zone) is is_met


@pytest.mark.parametrize(
    ("said", "is_met"), [(True, True), (False, False), ("true", False), (1, False), (None, False)]
)
def test_managed_device(said: object, is_met: bool) -> None:
    assert met("device: managed", Principal("x", attributes={"managed_device": said})) is is_met
    assert not met("device: managed")


def test_working_hours() -> None:
    """It is a Monday, 2026-01-05, 08:00 UTC."""
    assert met('hours: {from: "08:00", to: "18:00"}')
    assert met('hours: {from: "08:00", to: "08:01"}')
    assert not met('hours: {from: "07:00", to: "08:00"}')
    assert not met('hours: {from: "08:01", to: "18:00"}')
    assert not met('hours: {from: "08:00", to: "18:00", days: [tue, sun]}')
    assert met('hours: {from: "16:00", to: "16:30", offset: "+08:00"}')
    assert met('hours: {from: "22:00", to: "24:00", days: [sun], offset: "-10:00"}')
    assert not met('hours: {from: "08:00", to: "18:00", offset: "+12:00"}')
