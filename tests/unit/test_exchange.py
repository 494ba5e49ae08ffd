"""The order of an access: the transition table walked in full, and release only with a receipt."""

from __future__ import annotations

import itertools

import pytest

from privguard.errors import AccessDeniedError, IllegalTransitionError, StepUpRequiredError
from privguard.exchange import TRANSITIONS, Exchange, State
from privguard.model import AccessRequest, AuditReceipt, Outcome, Principal
from privguard.testing import guard_core

POLICY = """
privguard: 1
levels: [public, C2]
defaults: {purpose: service}
classes:
  contact: {level: C2, mask: cn_mobile_3_4}
resources:
  client:
    match: ["GET /clients/{id}", "PATCH /clients/{id}"]
    records: ["$.client"]
    id: id
    fields: {id: public, mobile: contact}
rules:
  - {id: read, roles: [rm], purpose: [service], show: {masked: [contact]}}
"""
RM = Principal(id="rm1", roles=frozenset({"rm"}))
RECEIPT = AuditReceipt(origin="t.invalid/log", index=0, size=1, root=bytes(32))


def exchange() -> Exchange:
    core, _ = guard_core(POLICY)
    return core.begin("library")


@pytest.mark.parametrize(("source", "target"), list(itertools.product(State, State)))
def test_only_the_transitions_of_the_table_are_taken(source: State, target: State) -> None:
    walking = exchange()
    walking.state = source
    if target in TRANSITIONS[source]:
        walking._go(target)
        assert walking.state is target
    else:
        with pytest.raises(IllegalTransitionError):
            walking._go(target)
        assert walking.state is source


def test_every_state_but_received_is_reached_and_every_end_goes_through_recorded() -> None:
    reached = {target for targets in TRANSITIONS.values() for target in targets}
    assert reached == set(State) - {State.RECEIVED}
    assert [s for s in State if State.RELEASED in TRANSITIONS[s]] == [State.RECORDED]


def test_release_needs_the_receipt_of_a_durable_record() -> None:
    reading = exchange()
    reading.identified(RM)
    reading.decide(AccessRequest(method="GET", path="/clients/1"), 0)
    reading.answered(200)
    masked = reading.mask_json(b'{"client":{"id":1,"mobile":"13800138000"}}', None)
    assert masked.body == b'{"client":{"id":1,"mobile":"138****8000"}}'
    with pytest.raises(IllegalTransitionError):
        reading.release(RECEIPT)
    reading.recorded(RECEIPT)
    with pytest.raises(IllegalTransitionError):
        reading.release(None)  # type: ignore[arg-type]
    reading.release(RECEIPT)
    assert reading.state is State.RELEASED


def test_a_refusal_is_an_event_with_its_problem() -> None:
    refused = exchange()
    refused.identified(Principal(id="x", roles=frozenset({"visitor"})))
    with pytest.raises(AccessDeniedError) as caught:
        refused.decide(AccessRequest(method="GET", path="/clients/1"), 0)
    refused.refused(caught.value, "f" * 32)
    event = refused.event(7)
    assert (event.outcome, event.problem, event.status, event.at_us) == (
        Outcome.DENIED,
        "not-permitted",
        403,
        7,
    )
    assert event.action == "library:client:read"


def test_asking_for_clear_values_ends_in_a_challenge() -> None:
    core, _ = guard_core(
        POLICY
        + "  - {id: reveal, roles: [rm], purpose: [service], reveal: [contact],\n"
        + "     require: {mfa: {max_age: 15m}}}\n"
    )
    asking = core.begin("library")
    asking.identified(RM)
    asking.decide(AccessRequest(method="GET", path="/clients/1", reveal=("mobile",)), 0)
    asking.answered(200)
    with pytest.raises(StepUpRequiredError) as caught:
        asking.mask_json(b'{"client":{"id":1,"mobile":"13800138000"}}', None)
    asking.refused(caught.value, "f" * 32)
    assert asking.state is State.CHALLENGED
    assert caught.value.fields == ("mobile",)


def test_an_answer_in_parts_is_recorded_part_by_part() -> None:
    walking = exchange()
    walking.state = State.RELEASED
    walking._go(State.MASKED)
    with pytest.raises(IllegalTransitionError):
        walking._go(State.RELEASED)
