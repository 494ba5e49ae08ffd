"""Where a caller is: by the connection's address, or a trusted proxy's word."""

from __future__ import annotations

import pytest

from privguard.asgi.zones import Zones, networks
from privguard.errors import ConfigError

ZONES = Zones(
    (("hq", networks(["10.0.1.0/24"], "z")), ("branch", networks(["10.0.0.0/8", "fd00::/8"], "z"))),
    networks(["192.0.2.1"], "t"),
)


@pytest.mark.parametrize(
    ("peer", "forwarded", "zone"),
    [
        ("10.0.1.7", "", "hq"),
        ("10.9.9.9", "", "branch"),
        ("fd00::1", "", "branch"),
        ("203.0.113.5", "", None),
        ("203.0.113.5", "10.0.1.7", None),  # nobody believes the caller's own word
        ("192.0.2.1", "10.0.1.7", "hq"),
        ("192.0.2.1", "10.0.1.7, 203.0.113.5", None),
        ("192.0.2.1", "10.0.1.7, nonsense", None),
        ("unknown", "", None),
    ],
)
def test_s11_a_zone_is_that_of_the_last_address_nobody_trusted_gave(
    peer: str, forwarded: str, zone: str | None
) -> None:
    headers = [(b"x-forwarded-for", forwarded.encode())] if forwarded else []
    assert ZONES.of({"client": (peer, 1), "headers": headers}) == zone


def test_networks_that_are_none_are_named() -> None:
    with pytest.raises(ConfigError, match=r"\[\[zones\]\] networks: each is"):
        networks(["10.0.0.0/33"], "[[zones]] networks")
