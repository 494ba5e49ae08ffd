"""Where a caller is: their address, and the network zone that it lies in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from msgspec import Struct

from privguard.asgi.messages import Scope
from privguard.errors import ConfigError

Network = IPv4Network | IPv6Network


class Zones(Struct, frozen=True):
    """The zones of the configuration; the first that holds the address counts.

    Attributes:
        trusted: proxies whose X-Forwarded-For is believed.
    """

    named: tuple[tuple[str, tuple[Network, ...]], ...] = ()
    trusted: tuple[Network, ...] = ()

    def of(self, scope: Scope) -> str | None:
        """The zone a request comes from; None where no zone holds its address."""
        if not self.named:
            return None
        try:
            address = ip_address(caller_address(scope, self.trusted))
        except ValueError:
            return None
        return next((name for name, held in self.named if any(address in each for each in held)), None)


def networks(written: Iterable[str], where: str) -> tuple[Network, ...]:
    """Addresses and networks as they stand in the configuration. Raises ConfigError."""
    try:
        return tuple(ip_network(address) for address in written)
    except ValueError:
        raise ConfigError(f"{where}: each is an IP address or network (10.0.0.0/8).") from None


def caller_address(scope: Scope, trusted: Sequence[Network]) -> str:
    """The caller's address: the last one in X-Forwarded-For that no trusted proxy has."""
    peer: str = (scope.get("client") or ("unknown", 0))[0]
    if not trusted:
        return peer
    given = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
    chain = [peer, *(part.strip() for part in reversed(",".join(given).split(",")) if part.strip())]
    for at, address in enumerate(chain):
        try:
            known = any(ip_address(address) in network for network in trusted)
        except ValueError:  # not an address: believe the one before it only
            return chain[at - 1] if at else peer
        if not known:
            return address
    return chain[-1]
