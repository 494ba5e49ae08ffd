"""Refusals say why in words of ours; whatever else goes wrong says nothing, and is never a 500."""

from __future__ import annotations

import json

import pytest

from privguard import errors
from privguard.asgi.problem import problem_response
from privguard.errors import (
    AccessDeniedError,
    FilterNotPermittedError,
    IllegalTransitionError,
    PolicyError,
    PrivguardError,
    StepUpRequiredError,
    TooManyDisclosuresError,
)
from privguard.model import AuditReceipt

RECEIPT = AuditReceipt("bank.example/log", 7, 9, b"\x00" * 32)


def test_a_refusal_is_a_problem_document() -> None:
    status, headers, body = problem_response(
        FilterNotPermittedError("The parameter sort is not permitted.", parameters=("sort",)), RECEIPT
    )
    assert status == 403
    assert json.loads(body) == {
        "type": "urn:privguard:problem:filter-not-permitted",
        "title": "A parameter is not permitted",
        "status": 403,
        "detail": "The parameter sort is not permitted.",
        "parameters": ["sort"],
        "receipt": {"origin": "bank.example/log", "index": 7, "root": "A" * 43 + "="},
    }
    assert dict(headers)[b"content-type"] == b"application/problem+json"
    assert dict(headers)[b"content-length"] == str(len(body)).encode()
    assert dict(headers)[b"cache-control"] == b"no-store"


def test_a_challenge_keeps_its_headers() -> None:
    status, headers, body = problem_response(StepUpRequiredError(fields=("mobile",), max_age=900))
    assert status == 401
    assert dict(headers)[b"www-authenticate"].startswith(b'Bearer error="insufficient_user_authentication"')
    assert json.loads(body)["fields"] == ["mobile"]
    assert "receipt" not in json.loads(body)
    assert (b"retry-after", b"9") in problem_response(TooManyDisclosuresError(retry_after=9))[1]


def test_m12_the_two_refusals_of_a_record_are_the_same_bytes() -> None:
    assert problem_response(AccessDeniedError(hidden=True)) == problem_response(
        AccessDeniedError("x", hidden=True)
    )


@pytest.mark.parametrize(
    "error",
    [
        ValueError("CANARY"),
        KeyError("CANARY"),
        RecursionError("CANARY"),
        PrivguardError("CANARY"),
        IllegalTransitionError("CANARY"),
        PolicyError("CANARY", "file:1:1"),
    ],
)
def test_any_other_failure_is_a_503_that_quotes_nothing(error: Exception) -> None:
    status, headers, body = problem_response(error, RECEIPT)
    assert status == 503
    assert b"CANARY" not in body + repr(headers).encode()
    assert json.loads(body)["type"] == "urn:privguard:problem:internal-error"
    assert json.loads(body)["receipt"]["index"] == 7


def test_a_members_name_never_replaces_what_the_rfc_defines() -> None:
    class OddError(PrivguardError):
        status = 409

        def members(self) -> dict[str, object]:
            return {"status": 200, "own": 1}

    document = json.loads(problem_response(OddError("x"))[2])
    assert (document["status"], document["own"]) == (409, 1)


def test_no_error_of_the_tree_becomes_a_500() -> None:
    found = [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, PrivguardError)
    ]
    assert len(found) > 15
    for cls in found:
        error = cls.__new__(cls)
        PrivguardError.__init__(error, "x")
        error.__dict__.update(
            fields=(), parameters=(), paths=(), retry_after=1, max_age=0, acr_values="mfa", challenge={}
        )
        assert problem_response(error)[0] != 500
