from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privguard.errors import ConfigError
from privguard.identity.directory import ALWAYS, Span, Staff, difference, imported, read_table, standing
from privguard.model import Assurance, Principal

STAFF = """\
id,roles,branch,status,client_id,training.privacy,training.aml
rm.li,rm,pudong,active,,2026-03-01,
rm.wang,rm; rm_lead ,xujiahui,,12,,2026-01-05
rm.old,rm,pudong,dismissed,,,
"""
ASSIGNMENTS = """\
staff,client,from,until
rm.li,C1,,
rm.li,C2,2026-05-01,2026-05-31
rm.wang,C3,2026-05-01T09:00+08:00,2026-05-01T18:00+08:00
"""
ABSENCES = "staff,cover,from,until\nrm.li,rm.wang,2026-05-20,2026-06-10\n"


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def token(kind: str, text: str) -> str:
    return f"{kind}-{len(text)}"


def directory(**files: str) -> dict[str, Staff]:
    return imported({}, [read_table(f"{kind}.csv", text) for kind, text in files.items()], token)


WHOLE = directory(staff=STAFF, assignments=ASSIGNMENTS, absences=ABSENCES)


def test_the_three_files_make_one_directory() -> None:
    li, wang = WHOLE["rm.li"], WHOLE["rm.wang"]
    assert (li.roles, li.branch, li.status, li.training) == (
        ("rm",),
        "pudong",
        "active",
        {"privacy": "2026-03-01"},
    )
    assert (wang.roles, wang.client_id, wang.training) == (("rm", "rm_lead"), "12", {"aml": "2026-01-05"})
    assert li.assignments[0] == Span("C1", 0, ALWAYS)
    assert wang.assignments == (Span("C3", at("2026-05-01T01:00"), at("2026-05-01T10:00")),)
    assert WHOLE["rm.old"].status == "dismissed"


@pytest.mark.parametrize(
    ("name", "when", "clients"),
    [
        ("rm.li", "2026-04-30T23:59:59", {"C1"}),
        ("rm.li", "2026-05-01", {"C1", "C2"}),
        ("rm.li", "2026-05-31T23:59:59", {"C1", "C2"}),
        ("rm.li", "2026-06-01", {"C1"}),
        ("rm.wang", "2026-05-01T01:00", {"C3"}),
        ("rm.wang", "2026-05-01T10:00", set()),
        ("rm.wang", "2026-05-20", {"C1", "C2"}),
        ("rm.wang", "2026-06-05", {"C1"}),
        ("rm.wang", "2026-06-11", set()),
        ("rm.old", "2026-05-20", set()),
    ],
)
def test_assignments_and_cover_are_bounded_in_time(name: str, when: str, clients: set[str]) -> None:
    assert standing(WHOLE[name], at(when)).clients == clients


def test_the_directory_decides_and_the_token_keeps_who_and_how() -> None:
    token = Principal(
        "rm.wang", frozenset({"admin"}), "bank", "elsewhere", 99,
        {"x": 1, "training": {"privacy": "2026-05-01"}},
        "session", Assurance(acr="phr"),
    )  # fmt: skip
    actor = standing(WHOLE["rm.wang"], at("2026-05-20")).admit(token)
    assert (actor.roles, actor.branch, actor.client_id) == ({"rm", "rm_lead"}, "xujiahui", "12")
    assert actor.attributes == {"x": 1, "training": {"aml": "2026-01-05"}, "clients": {"C1", "C2"}}
    assert (actor.id, actor.tenant, actor.session, actor.assurance) == (
        "rm.wang",
        "bank",
        "session",
        Assurance("phr"),
    )


def test_an_empty_cell_does_not_make_somebody_no_client() -> None:
    assert standing(WHOLE["rm.li"], 0).admit(Principal("rm.li", client_id=7)).client_id == 7


def test_each_file_replaces_all_of_its_kind_and_leaves_the_others() -> None:
    fewer = imported(WHOLE, [read_table("a.csv", "staff,client,from,until\nrm.li,C9,,\n")], token)
    assert fewer["rm.wang"].assignments == ()
    assert fewer["rm.wang"].covers == (Span("C9", at("2026-05-20"), at("2026-06-11")),)
    assert fewer["rm.li"].absences == WHOLE["rm.li"].absences
    alone = imported(WHOLE, [read_table("s.csv", "id,roles\nrm.li,rm\n")], token)
    assert alone.keys() == {"rm.li"}
    assert alone["rm.li"].assignments == WHOLE["rm.li"].assignments


def test_differences_name_no_client() -> None:
    after = imported(WHOLE, [read_table("a.csv", ASSIGNMENTS.replace("C1", "SECRET"))], token)
    said = {name: difference(WHOLE[name], after[name]) for name in WHOLE}
    assert said == {"rm.li": "assignments +1 -1", "rm.wang": "covers +1 -1", "rm.old": ""}
    assert (difference(None, WHOLE["rm.li"]), difference(WHOLE["rm.li"], None)) == ("added", "removed")
    later = imported(
        WHOLE, [read_table("s.csv", STAFF.replace("rm,pudong,active", "teller,pudong,suspended"))], token
    )
    assert difference(WHOLE["rm.li"], later["rm.li"]) == "roles, status"


BAD = {
    "no kind": ("a,b\n", 1),
    "nothing": ("", 1),
    "unknown column": ("id,roles,salary\nx,rm,SECRET\n", 1),
    "a column twice": ("id,roles,roles\nx,a,b\n", 1),
    "cells": ("id,roles\nx,rm,SECRET\n", 2),
    "quote": ('id,roles\nx,"SECRET\n', 2),
    "twice": ("id,roles\nx,rm\nx,SECRET\n", 3),
    "no id": ("id,roles\n,SECRET\n", 2),
    "unprintable": ("id,roles\nSEC\tRET,rm\n", 2),
    "status": ("id,roles,status\nx,rm,SECRET\n", 2),
    "training": ("id,roles,training.p\nx,rm,SECRET\n", 2),
    "no such day": ("id,roles,training.p\nx,rm,2026-02-30\n", 2),
    "stranger": ("staff,client\nSECRET,C1\n", 2),
    "from": ("staff,client,from\nrm.li,C1,SECRET\n", 2),
    "no zone": ("staff,client,from\nrm.li,C1,2026-05-01T10:00\n", 2),
    "too late": ("staff,client,until\nrm.li,C1,9999-12-31\n", 2),
    "backwards": ("staff,client,from,until\nrm.li,SECRET,2026-05-02,2026-05-01\n", 2),
    "own cover": ("staff,cover,from,until\nrm.li,rm.li,,\n", 2),
    "strange cover": ("staff,cover,from,until\nrm.li,SECRET,,\n", 2),
}


@pytest.mark.parametrize(("text", "line"), BAD.values(), ids=BAD)
def test_l12_what_is_wrong_is_named_by_its_line_and_never_by_its_value(text: str, line: int) -> None:
    with pytest.raises(ConfigError, match=rf"^file\.csv:{line}: .*\(.+\)$") as caught:
        imported(WHOLE, [read_table("file.csv", text)], token)
    assert "SECRET" not in str(caught.value)


def test_two_files_of_one_kind_are_refused() -> None:
    with pytest.raises(ConfigError, match="one kind"):
        directory(a=STAFF, b=STAFF)


spans = st.builds(
    lambda whom, since, length: Span(whom, since, since + length),
    st.sampled_from("ABC"), st.integers(0, 20), st.integers(1, 20),
)  # fmt: skip


@given(st.lists(spans, max_size=6), st.lists(spans, max_size=6), st.integers(0, 45))
def test_a_standing_holds_until_it_says_and_changes_at_no_other_time(
    own: list[Span], covers: list[Span], now: int
) -> None:
    staff = Staff("x", assignments=tuple(own), covers=tuple(covers))
    held = standing(staff, now)
    for later in range(now, min(held.until, 50)):
        assert standing(staff, later).clients == {
            span.whom for span in own + covers if span.since <= later < span.until
        }
        assert standing(staff, later).clients == held.clients
    assert held.until > now


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd")), max_size=8))
def test_an_import_again_changes_nothing(absences: list[tuple[str, str]]) -> None:
    staff = "id,roles\n" + "".join(f"{name},rm\n" for name in "abcd")
    clients = "staff,client\n" + "".join(f"{name},C{name}\n" for name in "abcd")
    away = "staff,cover,from,until\n" + "".join(
        f"{one},{other},2026-05-01,2026-05-02\n" for one, other in absences if one != other
    )
    files = [read_table(name, text) for name, text in (("s", staff), ("c", clients), ("a", away))]
    once = imported({}, files, token)
    assert imported(once, files, token) == once
    for one, other in absences:  # what is lent are the absent one's own clients, once
        if one != other:
            assert f"C{one}" in {span.whom for span in once[other].covers}


def test_what_is_private_is_kept_as_tokens_and_is_no_claim() -> None:
    header = "id,roles,kin,address,employer,surname"
    kept = directory(staff=f"{header}\nrm.li,rm,1042; 77,Elm 12,,Li\nrm.wang,rm,,,,\n")
    assert kept["rm.li"].private == {
        "kin": ("kin-2", "kin-4"), "address": ("address-5",), "surname": ("surname-2",),
    }  # fmt: skip
    assert kept["rm.wang"].private == {}
    actor = standing(kept["rm.li"], 0, token).admit(Principal("rm.li"))
    assert actor.private is not None
    assert (actor.private("kin", 1042), actor.private("kin", 1), actor.private("employer", "x")) == (
        True, False, False,
    )  # fmt: skip
    assert actor.attributes.keys() == {"training", "clients"}
    assert standing(kept["rm.wang"], 0, token).admit(Principal("rm.wang")).private is None
    assert difference(kept["rm.wang"], standing(kept["rm.li"], 0).staff).endswith("private")
