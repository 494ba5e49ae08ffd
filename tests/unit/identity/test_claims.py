"""Claims become a Principal only where every type is as it should be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privguard.errors import UnauthenticatedError
from privguard.identity import AssuranceMap, ClaimMap, read_principal, session_name
from privguard.model import Principal

NOW = 1_767_600_000
FULL = ClaimMap(
    branch="branch",
    client_id="own",
    tenant="tenant",
    attributes=(("training", "profile.training"), ("managed_device", "device.managed")),
)


def read(claims: dict[str, object], paths: ClaimMap = FULL, **more: object) -> Principal:
    return read_principal(claims, paths, now=NOW, **more)  # type: ignore[arg-type]


def test_every_part_is_read_from_its_path() -> None:
    actor = read(
        {
            "sub": "e-17",
            "roles": ["rm", "teller"],
            "branch": 17,
            "own": 4711,
            "tenant": "bank-a",
            "profile": {"training": {"privacy": "2026-01-02"}},
            "device": {"managed": True},
            "acr": "urn:bank:high",
            "amr": ["pwd", "otp"],
            "auth_time": NOW - 30,
        },
        session="s" * 32,
    )
    assert (actor.id, actor.roles, actor.branch) == ("e-17", {"rm", "teller"}, "17")
    assert (actor.client_id, actor.tenant, actor.session) == (4711, "bank-a", "s" * 32)
    assert actor.attributes == {"training": {"privacy": "2026-01-02"}, "managed_device": True}
    assert actor.assurance.auth_time == NOW - 30
    assert actor.assurance.factors == {"pwd", "otp"}


def test_absent_and_null_claims_give_nothing() -> None:
    actor = read({"sub": "e-17", "branch": None, "device": None})
    assert actor == Principal(id="e-17")


@pytest.mark.parametrize(
    ("path", "claims"),
    [
        ("realm_access.roles", {"realm_access": {"roles": ["rm"]}}),
        ("https://bank.example/roles", {"https://bank.example/roles": ["rm"]}),
        ("user.groups[*].name", {"user": {"groups": [{"name": "rm"}, {"id": 3}, "loose"]}}),
        ("role", {"role": "rm"}),
    ],
)
def test_roles_are_found_below_a_path(path: str, claims: dict[str, object]) -> None:
    assert read({"sub": "e", **claims}, ClaimMap(roles=path)).roles == {"rm"}


LISTED = ClaimMap(id="items[*].id", roles="items[*].role", branch="items[*].branch")


def test_a_list_of_one_names_the_actor() -> None:
    """Some CRMs have no who-am-I route, but a list of accounts that holds the caller alone."""
    actor = read({"items": [{"id": "u1", "role": "rm", "branch": "SH-01"}]}, LISTED)
    assert actor == Principal(id="u1", roles=frozenset({"rm"}), branch="SH-01")


@pytest.mark.parametrize(
    "items", [[], [{}], [{"id": "u1"}, {"id": "u2"}], [{"id": "u1"}, {}], [{}, {"id": "u1"}], {"id": "u1"}]
)
def test_a_list_of_several_or_none_names_nobody(items: object) -> None:
    """An administrator's list holds everybody: the first of it is somebody else."""
    with pytest.raises(UnauthenticatedError, match=r"items\[\*\]\.id"):
        read({"items": items}, LISTED)


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"sub": None},
        {"sub": ""},
        {"sub": True},
        {"sub": 1.5},
        {"sub": ["e"]},
        {"sub": "e\n17"},
        {"sub": " e"},
        {"sub": "e\u202e17"},
        {"sub": "e" * 257},
        {"sub": "e", "roles": 7},
        {"sub": "e", "roles": True},
        {"sub": "e", "roles": [1]},
        {"sub": "e", "roles": {"rm": True}},
        {"sub": "e", "roles": [["rm"]]},
        {"sub": "e", "roles": ["r"] * 257},
        {"sub": "e", "branch": True},
        {"sub": "e", "branch": ["17"]},
        {"sub": "e", "own": False},
        {"sub": "e", "own": 1 << 70},
        {"sub": "e", "tenant": {}},
        {"sub": "e", "amr": [None]},
        {"sub": "e", "acr": 1.0},
        {"sub": "e", "auth_time": True},
        {"sub": "e", "auth_time": str(NOW)},
        {"sub": "e", "auth_time": NOW * 1000},
        {"sub": "e", "auth_time": NOW + 61},
        {"sub": "e", "auth_time": 0},
        {"sub": "e", "auth_time": -1},
        {"sub": "e", "auth_time": float("nan")},
        {"sub": "e", "auth_time": float("inf")},
    ],
)
def test_wrong_types_and_times_are_refused(claims: dict[str, object]) -> None:
    with pytest.raises(UnauthenticatedError):
        read(claims)


def test_the_refusal_names_the_path_and_not_the_value() -> None:
    with pytest.raises(UnauthenticatedError) as caught:
        read({"sub": "e", "branch": ["CANARY"]})
    assert "branch" in caught.value.detail
    assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize(
    ("acr", "amr", "several", "resistant"),
    [
        (None, [], False, False),
        (None, ["pwd"], False, False),
        (None, ["pwd", "otp"], True, False),
        (None, ["otp"], False, False),
        (None, ["mfa"], True, False),
        ("gold", [], True, False),
        ("phrh", ["hwk"], False, True),
        ("pwd+otp", [], True, False),
    ],
)
def test_the_issuers_words_are_mapped(
    acr: str | None, amr: list[str], several: bool, resistant: bool
) -> None:
    words = AssuranceMap(multi_factor=frozenset({"mfa", "gold", "pwd+otp"}))
    found = read({"sub": "e", "acr": acr, "amr": amr}, assurance=words).assurance
    assert (found.multi_factor, found.phishing_resistant) == (several, resistant)


def test_session_names_are_keyed_and_keep_parts_apart() -> None:
    name = session_name(b"k" * 32, "iss", "sid")
    assert name is not None
    assert len(name) == 32
    assert session_name(None, "iss", "sid") is None
    assert name == session_name(b"k" * 32, "iss", "sid")
    assert len({name, session_name(b"l" * 32, "iss", "sid"), session_name(b"k" * 32, "is", "ssid")}) == 3


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(
    st.dictionaries(
        st.sampled_from(
            ["sub", "roles", "branch", "own", "tenant", "profile", "device", "acr", "amr", "auth_time"]
        ),
        _json,
    )
)
def test_whatever_the_claims_hold_there_is_a_principal_or_a_refusal(claims: dict[str, object]) -> None:
    try:
        actor = read(claims)
    except UnauthenticatedError:
        return
    assert actor.id.isprintable()
    assert all(isinstance(role, str) for role in actor.roles)
    assert actor.assurance.auth_time is None or 0 < actor.assurance.auth_time <= NOW + 60
