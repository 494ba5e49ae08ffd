"""Bad input: whatever arrives, the gateway makes no 500, does not hang, passes nothing on, tells nothing.

Short forms; `FUZZ_TIMES=20` makes them twenty times as long.
"""

from __future__ import annotations

import contextlib
import copy
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from bank_crm import SAMPLES, create_app
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from tests.door import Gateway, make_gateway, start_bank

pytestmark = pytest.mark.xdist_group("fuzz")
LONGER = int(os.environ.get("FUZZ_TIMES", "1"))
PATIENCE_S = 10
"""An answer that takes longer is a hang."""


def fuzzing(examples: int) -> settings:
    return settings(
        max_examples=examples * LONGER, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )


# -- the door, and what must hold afterwards ----------------------------------------------------------------


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway and a CRM of their own, for some of what is made up here is written.

    Afterwards it serves, has no connection left, its log verifies, and its output holds no traceback.
    """
    bank = start_bank(tmp_path_factory.mktemp("bank"))
    made = make_gateway(tmp_path_factory.mktemp("fuzz"), bank.port).start()
    try:
        assert made.get(SAMPLES.rm, f"/clients/{SAMPLES.assigned}").status == 200
        idle = sockets(made)
        yield made
        began = time.monotonic()
        assert made.get(SAMPLES.rm, f"/clients/{SAMPLES.assigned}").status == 200
        assert time.monotonic() - began < PATIENCE_S
        while sockets(made) > idle + 8:  # to the upstream some are kept
            assert time.monotonic() - began < 45, "connections that nobody closes"
            time.sleep(0.2)
        outcomes = [leaf["outcome"] for leaf in made.leaves()]
        assert made.verify() == len(outcomes)
        if len(outcomes) > 300:
            assert min(map(outcomes.count, ("permitted", "denied"))) > 20, "what came was all alike"
        assert "Traceback" not in made.output
        assert not re.search(r"error|exception", made.output, re.IGNORECASE), made.output[-2000:]
    finally:
        made.stop()
        bank.stop()


def sockets(door: Gateway) -> int:
    """Sockets that the gateway has open; how many files of its store, is the store's affair."""
    assert door.running is not None
    found = 0
    for each in Path(f"/proc/{door.running.process.pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            found += str(each.readlink()).startswith("socket:")
    return found


@pytest.fixture(scope="module")
def secrets(door: Gateway) -> frozenset[bytes]:
    """Values of all clients that nobody here sees more than masked."""
    items = door.upstream(SAMPLES.rm, "GET", "/clients?size=200").json()["items"]
    found: set[str] = set()
    for item in items:
        found |= {item[name] for name in ("mobile", "id_no", "iban", "email", "address")}
        found |= {card["pan"] for card in item["cards"]} | {account["no"] for account in item["accounts"]}
    assert len(found) > 1_000
    values = frozenset(value.encode() for value in found)
    assert min(map(len, values)) > 7, "too short to be told from chance"
    return values


def check(answer: bytes, secrets: frozenset[bytes]) -> None:
    """An answer, if there is one, is HTTP, is no 500, and holds no value and no traceback."""
    for status in re.findall(rb"^HTTP/1\.[01] ([0-9]{3})", answer, re.MULTILINE):
        assert int(status) != 500
    assert not answer or answer.startswith(b"HTTP/1.1 ")
    assert b"Traceback" not in answer
    assert not [secret for secret in secrets if secret in answer]


# -- requests changed at random places ----------------------------------------------------------------------

STAFF = b"Host: crm\r\nAuthorization: Bearer %t\r\nConnection: close\r\n"
JSON = b"Content-Type: application/json\r\n"
FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"
CLEAR = b'Privguard-Reveal: mobile\r\nPrivguard-Reason: "a reason long enough"\r\n'
REQUESTS = (
    b"GET /clients/1 HTTP/1.1\r\n" + STAFF + b"\r\n",
    b"GET /clients?page=1&size=5&q=a HTTP/1.1\r\n" + STAFF + b"\r\n",
    b"GET /clients.csv HTTP/1.1\r\n" + STAFF + b"Privguard-Purpose: reporting\r\n\r\n",
    b"PATCH /clients/1 HTTP/1.1\r\n" + STAFF + JSON + b'Content-Length: 17\r\n\r\n{"mobile": "199"}',
    b"POST /clients/1 HTTP/1.1\r\n"
    + STAFF
    + FORM
    + b"Transfer-Encoding: chunked\r\n\r\n5\r\nname=\r\n0\r\n\r\n",
    b"GET /clients/1 HTTP/1.1\r\n" + STAFF + CLEAR + b"\r\n",
    b"HEAD /clients/11 HTTP/1.1\r\n" + STAFF + b'If-None-Match: "x"\r\n\r\n',
    b"GET /assets/app.css HTTP/1.1\r\n" + STAFF + b"\r\n",
)
PIECES = (
    *(mark.encode() for mark in "\r\n\0 \t;#?&='\"{"),
    *(b"\r\n", b"%2f", b"..", b"//", b"\xff", b"\xc0\xaf", b"[gte]", b"[" * 500, b"9" * 400, "客户".encode()),
    *(b"HTTP/1.1", b"GET ", b"Host: x\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"),
    *(b"Range: bytes=0-1\r\n", b"Privguard-Purpose: ", b"Privguard-Break-Glass: ?1\r\n", b"0\r\n\r\n"),
    *(b"X-Forwarded-For: 1\r\n", b"Upgrade: h2c\r\n", b"Expect: 100-continue\r\n", b"a" * 70_000),
    *(b"Content-Encoding: gzip\r\n", b"Cookie: crm_session=x\r\n", b"?id_no_like=11%25", b"&sort=-balance"),
)


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    """A real request with up to four places changed, perhaps with another one behind it."""
    request = bytearray(draw(st.sampled_from(REQUESTS)))
    if draw(st.integers(0, 9)) == 0:
        request += draw(st.sampled_from(REQUESTS))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(request)))
        piece = draw(st.one_of(st.sampled_from(PIECES), st.binary(max_size=6)))
        cut = draw(st.integers(0, 3))
        request[at : at + cut] = piece
    return bytes(request)


USERS = (SAMPLES.rm, SAMPLES.manager, SAMPLES.analyst)


@fuzzing(350)
@given(request=mutations(), user=st.sampled_from(USERS))
def test_requests_changed_at_random_places(
    door: Gateway, secrets: frozenset[bytes], request: bytes, user: str
) -> None:
    token = door.token(user).encode()
    began = time.monotonic()
    check(door.raw(request.replace(b"%t", token), wait=0.2), secrets)
    assert time.monotonic() - began < PATIENCE_S


# -- what the CRM's description allows, and what it does not ------------------------------------------------


def described() -> dict[str, Any]:
    """The CRM's own description, with the filters and bodies that it takes and does not tell of."""
    spec: dict[str, Any] = copy.deepcopy(create_app(clients=20, auth=False).openapi())
    del spec["paths"]["/login"]  # passed through: the CRM's own affair
    words = [
        "name",
        "mobile",
        "id_no",
        "balance",
        "notes",
        "tier",
        "branch",
        "cards",
        "rm_ids",
        "id",
        "*",
        "a",
    ]
    scalar = {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}, {"type": "boolean"}]}
    record = {
        "type": "object",
        "properties": dict.fromkeys(words, scalar),
        "additionalProperties": scalar,
    }
    for route, operations in spec["paths"].items():
        for method, operation in operations.items():
            parameters = operation.setdefault("parameters", [])
            for parameter in parameters:
                if parameter["name"] == "client_id":
                    parameter["schema"] = {"type": "integer", "minimum": -1, "maximum": 40}
            if method in ("post", "patch"):
                content = {
                    "application/json": {"schema": record},
                    "application/x-www-form-urlencoded": {"schema": record},
                }
                operation["requestBody"] = {"content": content}
            elif route in ("/clients", "/clients.csv", "/clients/{client_id}"):
                known = {parameter["name"] for parameter in parameters}
                shapes = {
                    "sort": {"enum": [*words, *(f"-{word}" for word in words)]},
                    "q": {"type": "string"},
                }
                shapes |= {
                    f"{word}{how}": {"type": "string"} for word in words[:4] for how in ("", "_gte", "_like")
                }
                parameters += [
                    {"name": name, "in": "query", "schema": shape}
                    for name, shape in shapes.items()
                    if name not in known
                ]
            headers = {
                "Privguard-Purpose": ["service", "reporting", "audit", "complaint"],
                "Privguard-Reveal": words,
            }
            parameters += [
                {"name": name, "in": "header", "schema": {"enum": values}} for name, values in headers.items()
            ]
    return spec


OPERATIONS = [found.ok() for found in schemathesis.openapi.from_dict(described()).get_all_operations()]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_everything_the_crms_description_allows_and_does_not(
    operation: schemathesis.APIOperation[Any, Any, Any, Any], door: Gateway, secrets: frozenset[bytes]
) -> None:
    """Also what the policy does not know: then it is refused, not passed."""
    modes = [
        operation.as_strategy(generation_mode=mode)
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    ]
    users = st.sampled_from(
        [SAMPLES.rm, SAMPLES.manager, SAMPLES.teller, SAMPLES.analyst, SAMPLES.compliance]
    )

    @fuzzing(12)
    @given(case=st.one_of(modes), user=users)
    def ask(case: schemathesis.Case, user: str) -> None:
        with requests.Session() as session:
            session.trust_env = False
            answer = case.call(
                base_url=f"http://127.0.0.1:{door.port}",
                headers={"Authorization": f"Bearer {door.token(user)}"},
                session=session,
                timeout=PATIENCE_S,
                allow_redirects=False,
            )
        assert answer.status_code != 500
        head = "\n".join(f"{name}: {value}" for name, value in answer.headers.items()).encode()
        check(b"HTTP/1.1 %d\r\n" % answer.status_code + head + answer.content, secrets)

    ask()
