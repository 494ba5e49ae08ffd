"""Which credentials the CRM may act by: those that its who-am-I call was made with (S11)."""

from __future__ import annotations

import pytest

from privguard.asgi.credentials import identity_provider
from privguard.config import Settings
from privguard.testing import FrozenClock


@pytest.mark.parametrize(
    ("named", "kept_back"),
    [
        (["authorization"], {b"cookie"}),
        (["cookie:session"], {b"authorization"}),
        (["Authorization", "cookie:session"], set()),
        (["x-api-key"], {b"authorization", b"cookie"}),
    ],
)
def test_s11_what_the_who_am_i_call_does_not_carry_does_not_go_on(
    named: list[str], kept_back: set[bytes]
) -> None:
    settings = Settings.model_validate(
        {
            "systems": [{"name": "crm", "upstream": "http://127.0.0.1:1", "policy": "p.yaml"}],
            "identity": {"mode": "upstream", "upstream": {"whoami": "/me", "credentials": named}},
        }
    )
    _, credentials = identity_provider(settings, FrozenClock())
    assert credentials == kept_back
