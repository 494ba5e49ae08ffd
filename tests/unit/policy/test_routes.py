"""Requests to resources: canonical paths against templates (M11, S12)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privguard.model import Verb
from privguard.policy.notation import template
from privguard.policy.routes import Router, overlap

GOVERNED = [
    ("GET /clients", "client"),
    ("GET /clients/{id}", "client"),
    ("GET /clients/search", "search"),
    ("POST /clients", "client"),
    ("GET /clients.csv", "client"),
    ("GET /clients/{id}/visits", "visit"),
    ("GET /branches/{branch}/clients", "client"),
    ("GET /{kind}/{id}/x", "other"),
    ("GET /clients/{id}/x", "client-x"),
]
ROUTER = Router(
    [(template(text), name) for text, name in GOVERNED],
    [template(text) for text in ("GET /", "POST /login", "GET /assets/*", "GET /me/{part}")],
)


@pytest.mark.parametrize(
    ("method", "path", "resource"),
    [
        ("GET", "/clients", "client"),
        ("HEAD", "/clients", "client"),
        ("GET", "/clients/17", "client"),
        ("GET", "/clients/search", "search"),  # exact before parameter
        ("GET", "/clients.csv", "client"),
        ("GET", "/clients/17/visits", "visit"),
        ("GET", "/clients/17/x", "client-x"),  # exact further to the left
        ("GET", "/accounts/17/x", "other"),
        ("GET", "/clients/张", "client"),
        ("GET", "/clients/", None),
        ("GET", "/Clients", None),
        ("get", "/clients", None),
        ("PUT", "/clients", None),
        ("GET", "/clients/17/", None),
        ("GET", "clients", None),
        ("GET", "", None),
        ("GET", "*", None),
        ("GET", "//clients", None),
        ("HEAD", "/clients/17/visits", "visit"),
        ("DELETE", "/clients/17", None),
    ],
)
def test_matching(method: str, path: str, resource: str | None) -> None:
    route = ROUTER.match(method, path)
    assert (route.resource if route else None) == resource


def test_a_route_tells_parameters_template_and_whether_many_may_come() -> None:
    one, many = ROUTER.match("HEAD", "/clients/17"), ROUTER.match("GET", "/branches/pudong/clients")
    assert one is not None
    assert (one.params, one.template, one.verb, one.many) == (
        {"id": "17"},
        "GET /clients/{id}",
        Verb.READ,
        False,
    )
    assert many is not None
    assert (many.params, many.many) == ({"branch": "pudong"}, True)


@pytest.mark.parametrize(
    ("method", "path", "passes"),
    [
        ("GET", "/", True),
        ("HEAD", "/", True),
        ("POST", "/login", True),
        ("GET", "/login", False),
        ("GET", "/assets/app.css", True),
        ("GET", "/assets/img/logo.png", True),
        ("GET", "/assets", False),
        ("GET", "/assets/", False),
        ("POST", "/assets/app.css", False),
        ("GET", "/me/x", True),
        ("GET", "/me/", False),
        ("GET", "/me/x/y", False),
        ("GET", "/clients", False),
        ("GET", "assets/x", False),
    ],
)
def test_passthrough(method: str, path: str, passes: bool) -> None:
    assert ROUTER.is_passthrough(method, path) is passes


SEGMENT = st.sampled_from(["a", "b", "{x}", "{y}"])
TEMPLATES = st.lists(SEGMENT, min_size=1, max_size=3, unique=True).flatmap(
    lambda parts: st.sampled_from(["GET /" + "/".join(parts), "GET /" + "/".join([*parts, "*"])])
)


@given(TEMPLATES, TEMPLATES, st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4))
def test_two_templates_that_take_one_request_overlap(one: str, other: str, parts: list[str]) -> None:
    path = "/" + "/".join(parts)
    takes = [Router([], [template(text)]).is_passthrough("GET", path) for text in (one, other)]
    if all(takes):
        assert overlap(template(one), template(other))
    assert overlap(template(one), template(other)) == overlap(template(other), template(one))
