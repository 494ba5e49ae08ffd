"""Accesses for tests of the log."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from hypothesis import strategies as st

from privguard.model import AccessEvent, Disclosure, FieldShown, Outcome, SubjectRef, View

FIELDS = (FieldShown("name", View.CLEAR), FieldShown("mobile", View.MASKED, "cn_mobile_3_4"))


def refs(*ids: str) -> tuple[SubjectRef, ...]:
    return tuple(SubjectRef("client", one) for one in ids)


def disclosure(*ids: str, fields: Sequence[FieldShown] = FIELDS) -> Disclosure:
    return Disclosure("client", tuple(fields), refs(*ids), rules=("rm-read",), relations=("assigned",))


def access(*ids: str, **changes: object) -> AccessEvent:
    """A permitted read of these clients' name and mobile."""
    values: dict[str, object] = {
        "event_id": secrets.token_hex(16),
        "at_us": 1_700_000_000_000_000,
        "action": "gateway:client:read",
        "outcome": Outcome.PERMITTED,
        "actor": "rm-1",
        "roles": ("rm",),
        "disclosures": (disclosure(*ids),) if ids else (),
    }
    return AccessEvent(**{**values, **changes})  # type: ignore[arg-type]


_texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
_names = st.lists(_texts, max_size=3).map(tuple)
_fields = st.lists(st.builds(FieldShown, _texts, st.sampled_from(View), _texts), max_size=5).map(tuple)
_disclosures = st.builds(
    Disclosure,
    resource=_texts,
    fields=_fields,
    subjects=st.lists(st.builds(SubjectRef, st.just("client"), st.sampled_from("abcdef")), max_size=8).map(
        tuple
    ),
    rules=_names,
    relations=_names,
    outcome=st.sampled_from(Outcome),
)
accesses = st.builds(
    AccessEvent,
    event_id=st.integers(0, 2**128 - 1).map(lambda number: f"{number:032x}"),
    at_us=st.integers(0, 2**52),
    action=_texts,
    outcome=st.sampled_from(Outcome),
    actor=_texts,
    roles=_names,
    tenant=_texts,
    system=_texts,
    route=_texts,
    purpose=_texts,
    policy=_texts,
    mode=st.sampled_from(["enforce", "observe"]),
    status=st.integers(0, 599),
    problem=_texts,
    rules=_names,
    missing=_names,
    disclosures=st.lists(_disclosures, max_size=3).map(tuple),
    detail=st.lists(st.tuples(_texts, _texts), max_size=2).map(tuple),
    intent=st.none() | st.integers(0, 2**40),
    part=st.integers(0, 5),
)
