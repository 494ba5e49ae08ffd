"""Who is told of an unusual access, and how often."""

from __future__ import annotations

import pytest

from privguard.errors import CodeNotSentError
from privguard.model import AccessEvent, Assessment, Outcome, Reason
from privguard.oversight.alarms import QUIET_US, Alarms


class Sent:
    """A sender that keeps what it is given."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.unknown: set[str] = set()
        self.tries = 0

    def send(self, address: str, text: str, code: str) -> None:
        self.tries += 1
        if address in self.unknown:
            raise CodeNotSentError("nobody of this name")
        self.told.append((address, text))


def access(at_us: int, level: str) -> AccessEvent:
    return AccessEvent(
        event_id="0" * 32,
        at_us=at_us,
        action="gateway:client:read",
        outcome=Outcome.PERMITTED,
        actor="rm.li",
        risk=Assessment(at=0, level=level, p=1e-5, why=(Reason("views", 1e-5, 40.0, 5.0, 5.0, 600),)),
    )


def test_a_mild_alert_silences_no_worse_one() -> None:
    sent = Sent()
    alarms = Alarms(sent)
    for at_us, level, role in ((1, "high", "manager"), (2, "high", "manager"), (3, "severe", "compliance")):
        alarms.tell(access(QUIET_US + at_us, level), at_us, [role])
    alarms.deliver()
    assert [role for role, _ in sent.told] == ["manager", "compliance"]
    assert "risk severe" in sent.told[1][1]
    alarms.tell(access(2 * QUIET_US + 1, "high"), 4, ["manager"])
    alarms.deliver()
    assert "1 more since" in sent.told[2][1]


def test_who_cannot_be_reached_holds_up_nobody_else() -> None:
    sent = Sent()
    sent.unknown.add("manager")
    alarms = Alarms(sent)
    alarms.say(["manager"], "first")
    alarms.say(["manager", "compliance"], "second")
    with pytest.raises(CodeNotSentError, match="Alarms for manager wait, 2 in all"):
        alarms.deliver()
    assert sent.told == [("compliance", "second")]
    assert sent.tries == 2, "of many for a role that is not reached one is tried a second"
    sent.unknown.clear()
    alarms.deliver()
    alarms.deliver()
    assert sent.told[1:] == [("manager", "first"), ("manager", "second")]


def test_of_two_senders_each_gets_a_message_once_whatever_the_other_does() -> None:
    fails, goes = Sent(), Sent()
    fails.unknown.add("manager")
    alarms = Alarms(fails, goes)
    alarms.say(["manager"], "first")
    for _ in range(2):
        with pytest.raises(CodeNotSentError, match="1 in all"):
            alarms.deliver()
    fails.unknown.clear()
    alarms.deliver()
    assert (fails.told, goes.told) == ([("manager", "first")],) * 2
