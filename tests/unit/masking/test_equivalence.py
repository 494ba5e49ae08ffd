"""The generated structs give what the walk gives, byte for byte, whatever comes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from privguard.errors import UnreadableResponseError
from privguard.masking import BodyMasker, Masked, apply, compile_masker, records
from privguard.model import Decision, Disclosure
from tests.unit.masking.plans import ACTOR, TOOLS
from tests.unit.masking.shapes import World, bodies_of, records_of, worlds

SETTINGS = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


class Unfitting:
    """A decoder into which nothing fits, so that the walk decides."""

    def __init__(self, _kind: object) -> None:
        pass

    def decode(self, _value: object) -> Any:
        raise msgspec.ValidationError


@contextmanager
def walking(world: World) -> Iterator[BodyMasker]:
    """A masker without generated structs, nested ones included."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(apply, "decoder", Unfitting)
        patch.setattr(records, "decoder", Unfitting)
        yield compile_masker(world.plan, TOOLS)


def outcome(masker: BodyMasker, body: bytes) -> tuple[object, ...] | str:
    """Everything that is told of an answer, in an order that does not depend on the way it was masked."""
    try:
        masked: Masked = masker.json(body, ACTOR, {})
    except UnreadableResponseError as error:
        return error.detail
    seen = sorted(map(told, masked.disclosures))
    return masked.body, seen, masked.refused, masked.records, masked.left_out, sorted(masked.offers.fields)


def told(disclosure: Disclosure) -> tuple[object, ...]:
    """A disclosure with its subjects sorted."""
    fields = tuple((each.path, each.view, each.mask) for each in disclosure.fields)
    return (
        disclosure.resource,
        disclosure.rules,
        fields,
        disclosure.outcome,
        sorted(s.id for s in disclosure.subjects),
    )


@SETTINGS
@given(st.data())
def test_structs_and_walk_give_the_same_answer(data: st.DataObject) -> None:
    world = data.draw(worlds())
    body = data.draw(bodies_of(world.tree))
    with walking(world) as walker:
        expected = outcome(walker, body)
    assert outcome(compile_masker(world.plan, TOOLS), body) == expected


@SETTINGS
@given(st.data())
def test_records_one_by_one_are_the_records_of_a_body(data: st.DataObject) -> None:
    world = data.draw(worlds())
    raws = data.draw(st.lists(records_of(world.tree).map(str.encode), max_size=5))
    masker = compile_masker(world.plan, TOOLS)
    body = b'{"items":[%b]}' % b",".join(raws)
    try:
        masked = masker.json(body, ACTOR, {})
    except UnreadableResponseError:
        return
    lefts, disclosures = masker.records(raws, ACTOR, {})
    assert masked.body == b'{"items":[%b]}' % b",".join(left for left in lefts if left is not None)
    assert sorted(map(told, disclosures)) == sorted(map(told, masked.disclosures))
    assert masked.left_out == lefts.count(None)


@SETTINGS
@given(st.data())
def test_a_masker_keeps_nothing_of_an_answer(data: st.DataObject) -> None:
    world = data.draw(worlds())
    first, second = data.draw(bodies_of(world.tree)), data.draw(bodies_of(world.tree))
    used = compile_masker(world.plan, TOOLS)
    outcome(used, first)
    assert outcome(used, second) == outcome(compile_masker(world.plan, TOOLS), second)


def test_the_walk_can_be_told_from_the_structs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison above compares two things: usual bodies never reach the walk."""
    from tests.unit.masking.test_apply import BODY, client_plan

    masker = compile_masker(client_plan(), TOOLS)

    def never(*_: object) -> Decision:
        raise RuntimeError("walked")

    monkeypatch.setattr(records.RecordMasker, "look", never)
    assert masker.json(BODY, ACTOR, {}).records == 2
    with pytest.raises(RuntimeError):
        masker.json(BODY.replace(b'"13800138000"', b"{}"), ACTOR, {})
