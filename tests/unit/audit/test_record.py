from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from privguard.audit.record import (
    MAX_LEAF,
    Draft,
    Group,
    Head,
    Leaf,
    LeafError,
    columns,
    drafts,
    encode,
    link,
    parse,
    parts,
    subject_columns,
)
from privguard.errors import AuditUnavailableError
from privguard.model import AccessEvent, Assessment, Disclosure, FieldShown, Outcome, SubjectRef, View
from tests.unit.audit.events import access, accesses, disclosure, refs


def token(ref: SubjectRef) -> str:
    return f"{ref.kind}-{ref.id}".ljust(22, ".")


def placed(
    draft: Draft, heads: dict[str, Head] | None = None, index: int = 0, ts: int | None = None
) -> bytes:
    tokens = [[token(ref) for ref in group] for group in draft.subjects]
    link(draft, tokens, {} if heads is None else heads, index, draft.leaf.ts if ts is None else ts)
    return encode(draft.leaf)


def leaves(event: AccessEvent) -> list[bytes]:
    heads: dict[str, Head] = {}
    return [placed(draft, heads, index) for index, draft in enumerate(drafts(event))]


def test_a_leaf_is_what_the_reference_says() -> None:
    event = access(
        "17",
        event_id="00112233445566778899aabbccddeeff",
        tenant="bank",
        system="crm",
        route="GET /clients/{id}",
        purpose="service",
        policy="abc",
        status=200,
        rules=("rm-read",),
    )
    (leaf,) = leaves(event)
    assert leaf == (
        b'{"action":"gateway:client:read","actor":"rm-1","groups":[{"fields":{"mobile":"masked:cn_mobile_3_4",'
        b'"name":"clear"},"relations":["assigned"],"resource":"client","rules":["rm-read"],'
        b'"subjects":[["client-17.............",1,-1]]}],"id":"00112233445566778899aabbccddeeff",'
        b'"outcome":"permitted","policy":"abc","purpose":"service","roles":["rm"],'
        b'"route":"GET /clients/{id}","rules":["rm-read"],"status":200,"system":"crm","tenant":"bank",'
        b'"ts":1700000000000000,"v":1}'
    )


@settings(deadline=None)
@given(accesses)
def test_a_leaf_is_sorted_compact_json_and_reads_back(event: AccessEvent) -> None:
    (data,) = leaves(event)
    tree = json.loads(data)
    assert json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() == data
    leaf = parse(data)
    assert encode(leaf) == data
    assert columns(leaf) == (
        event.event_id,
        event.part,
        event.at_us,
        event.tenant,
        event.actor,
        event.action,
        event.outcome.value,
    )
    named = {token(ref) for one in event.disclosures for ref in one.subjects}
    assert {row[1] for row in subject_columns(leaf, 9)} == named


def strongest(event: AccessEvent, ref: SubjectRef) -> int:
    return max(
        (
            max((field.view for field in one.fields), default=View.WITHHELD)
            for one in event.disclosures
            if ref in one.subjects and one.outcome == event.outcome == Outcome.PERMITTED
        ),
        default=View.WITHHELD,
    )


@settings(deadline=None)
@given(accesses)
def test_a_clients_columns_tell_the_strongest_view_that_left(event: AccessEvent) -> None:
    distinct = {one.path for group in event.disclosures for one in group.fields}
    if len(distinct) < sum(len(group.fields) for group in event.disclosures):
        return  # a path named twice in one group has no one view
    (data,) = leaves(event)
    views = {row[1]: row[3] for row in subject_columns(parse(data), 9)}
    assert views == {token(ref): strongest(event, ref) for one in event.disclosures for ref in one.subjects}


def test_l07_log_time_is_given_and_the_skew_recorded() -> None:
    (draft,) = drafts(access("1", at_us=1000))
    leaf = parse(placed(draft, ts=1500))
    assert (leaf.ts, leaf.skew) == (1500, -500)
    (draft,) = drafts(access("1", at_us=1000))
    assert b"skew" not in placed(draft, ts=1000)


def test_a_client_has_one_entry_in_a_leaf_and_a_chain_over_leaves() -> None:
    heads: dict[str, Head] = {token(refs("a")[0]): (6, 40)}
    event = access(disclosures=(disclosure("a", "b", "a"), disclosure("b", "c")))
    first, second = parse(placed(*drafts(event), heads, 41)), parse(placed(*drafts(event), heads, 50))
    a, b, c = (token(ref) for ref in refs("a", "b", "c"))
    assert [group.subjects for group in first.groups] == [[(a, 7, 40), (b, 1, -1)], [(b, 1, -1), (c, 1, -1)]]
    assert [group.subjects for group in second.groups] == [[(a, 8, 41), (b, 2, 41)], [(b, 2, 41), (c, 2, 41)]]


def field_names(event: Iterable[AccessEvent]) -> set[str]:
    return {field.path for part in event for one in part.disclosures for field in one.fields}


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2500), st.integers(0, 160)), min_size=1, max_size=4),
    st.integers(0, 3),
)
@example([(3, 160)], 0)
def test_a_larger_disclosure_is_split_and_nothing_is_lost(shape: list[tuple[int, int]], part: int) -> None:
    groups = tuple(
        Disclosure(
            f"r{number}",
            tuple(FieldShown(f"{'f' * 500}{field}", View.MASKED, "m") for field in range(fields)),
            tuple(SubjectRef("client", f"{number}-{client}") for client in range(clients)),
        )
        for number, (clients, fields) in enumerate(shape)
    )
    event = access(disclosures=groups, detail=(("reason", "r"),), part=part)
    split = tuple(parts(event))
    assert [one.part for one in split] == list(range(part, part + len(split)))
    assert {one.event_id for one in split} == {event.event_id}
    assert [bool(one.detail) for one in split] == [True] + [False] * (len(split) - 1)
    for group in groups:
        kept = [one for each in split for one in each.disclosures if one.resource == group.resource]
        assert {(f.path, s.id) for one in kept for f in one.fields for s in one.subjects} == {
            (f.path, s.id) for f in group.fields for s in group.subjects
        }
        assert {f.path for one in kept for f in one.fields} == {f.path for f in group.fields}
        assert {s for one in kept for s in one.subjects} == set(group.subjects)
    heads: dict[str, Head] = {token(ref): (10**15, 10**15) for group in groups for ref in group.subjects}
    for draft in drafts(event):
        assert len(placed(draft, heads, 10**15 + 1, 2**53)) <= MAX_LEAF


def test_parts_are_as_few_as_fit() -> None:
    event = access(*map(str, range(3000)))
    assert len(drafts(event)) == 3
    assert len(drafts(access(*map(str, range(900))))) == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"actor": "a" * 70_000}, "too long"),
        ({"disclosures": (disclosure("1", fields=[FieldShown("f" * 70_000, View.CLEAR)]),)}, "too long"),
        ({"actor": "a" * 70_000, "disclosures": ()}, "too long"),
        ({"roles": ("a" * 40_000,), "disclosures": (disclosure(*map(str, range(900))),)}, "too long"),
        ({"actor": "a\0b"}, "NUL"),
        ({"actor": "\ud800"}, "Unicode"),
    ],
)
def test_what_no_leaf_can_hold_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(AuditUnavailableError, match=said) as caught:
        drafts(access(**{"disclosures": (disclosure("1"),), **changes}))
    assert "aaa" not in str(caught.value)


GOOD = leaves(access("1", event_id="e" * 32))[0]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"{}",
        b"\xff",
        GOOD[:-1],
        GOOD + b" ",
        GOOD.replace(b'"v":1', b'"v":2'),
        GOOD.replace(b'"v":1', b'"v":1.0'),
        GOOD.replace(b'"v":1', b'"v":1,"x":1'),
        GOOD.replace(b'"v":1', b'"v":1,"v":1'),
        GOOD.replace(b'{"action"', b'{ "action"'),
        GOOD.replace(b'"ts":', b'"ts":"1'),
        GOOD.replace(b",1,-1]", b",1]"),
        b'{"action":"' + b"a" * MAX_LEAF + GOOD[len(b'{"action":"') :],
        b"[" * 100_000,
    ],
    ids=lambda _: "bytes",  # the same on every worker: what is drawn at import is not
)
def test_l14_bytes_that_are_no_leaf_are_refused(data: bytes) -> None:
    with pytest.raises(LeafError):
        parse(data)


def test_an_unknown_view_is_refused() -> None:
    leaf = parse(GOOD.replace(b'"clear"', b'"naked"'))
    with pytest.raises(LeafError):
        list(subject_columns(leaf, 0))


def test_the_reference_explains_every_key() -> None:
    reference = (Path(__file__).parents[3] / "docs/reference/leaf.md").read_text()
    rows = set(re.findall(r"^\| `(\w+)` \|", reference, re.MULTILINE))
    keys = {
        field.encode_name for struct in (Leaf, Group, Assessment) for field in msgspec.structs.fields(struct)
    }
    assert keys <= rows
