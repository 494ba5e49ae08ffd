"""Clients as JSON: how a record is written out, and how values are written into it."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

import msgspec
from fastapi import Response
from sqlalchemy.orm import joinedload, selectinload
from sqlalchemy.orm.interfaces import ORMOption

from .query import COLUMNS, amount, convert, invalid, text
from .tables import Account, Card, Client, Kin

ENCODER = msgspec.json.Encoder(decimal_format="number")


class Json(Response):
    """JSON in which an amount keeps its two decimals: 100.00."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return ENCODER.encode(content)


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _cards(client: Client) -> list[dict[str, Any]]:
    return [{"pan": c.pan, "cvv": c.cvv, "expiry": c.expiry, "type": c.type} for c in client.cards]


def accounts(client: Client) -> list[dict[str, Any]]:
    return [{"no": a.no, "currency": a.currency, "balance": a.balance} for a in client.accounts]


RELATIVE = ("id", "name", "mobile", "tier", "branch", "rm_ids")


def _relatives(client: Client) -> list[dict[str, Any]]:
    return [
        {key: getattr(k.relative, key) for key in RELATIVE} | {"relation": k.relation} for k in client.kin
    ]


NESTED: dict[str, Callable[[Client], Any]] = {"cards": _cards, "accounts": accounts, "relatives": _relatives}
FIELDS: dict[str, Callable[[Client], Any]] = {name: attrgetter(name) for name in COLUMNS} | NESTED
EAGER: dict[str, ORMOption] = {
    "cards": selectinload(Client.cards),
    "accounts": selectinload(Client.accounts),
    "relatives": selectinload(Client.kin).options(
        joinedload(Kin.relative).load_only(*(getattr(Client, key) for key in RELATIVE))
    ),
}


def selected(fields: str | None) -> list[str]:
    """Read `fields=id,name`; all of them when none is asked for."""
    return [name for name in (fields or "").split(",") if name in FIELDS] or list(FIELDS)


def loading(names: Iterable[str]) -> list[ORMOption]:
    return [EAGER[name] for name in names if name in EAGER]


def record(client: Client, names: Iterable[str] = tuple(FIELDS)) -> dict[str, Any]:
    return {name: FIELDS[name](client) for name in names}


def _cards_from(values: list[dict[str, Any]]) -> list[Card]:
    return [Card(**{key: text(value[key]) for key in ("pan", "cvv", "expiry", "type")}) for value in values]


def _accounts_from(values: list[dict[str, Any]]) -> list[Account]:
    return [
        Account(no=text(value["no"]), currency=text(value["currency"]), balance=amount(value["balance"]))
        for value in values
    ]


READERS: dict[str, Callable[[Any], Any]] = {"cards": _cards_from, "accounts": _accounts_from}


def assign(client: Client, values: Mapping[str, Any]) -> None:
    """Write any column but the id, and whole lists of cards and accounts; other names are ignored."""
    client.updated_at = now()
    for name, value in values.items():
        if name in READERS:
            try:
                setattr(client, name, READERS[name](value))
            except (KeyError, TypeError, ValueError, ArithmeticError):
                raise invalid("body", name, value, f"{value} is not a valid list of {name}") from None
        elif name in COLUMNS and name != "id":
            setattr(client, name, convert(COLUMNS[name], value))
