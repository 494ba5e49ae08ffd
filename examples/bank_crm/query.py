"""What a caller may say: values, filters and sort keys, for any column."""

import json
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from fastapi.exceptions import RequestValidationError
from sqlalchemy import JSON, ColumnElement, String, cast, or_

from .tables import CENT, TIERS, Client

COLUMNS: dict[str, Any] = dict(Client.__table__.columns.items())
OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
LARGEST = 2**53


def invalid(where: str, name: str, value: object, message: str) -> RequestValidationError:
    """Make the 422 that says which value was wrong."""
    return RequestValidationError(
        [{"type": "value_error", "loc": (where, name), "msg": message, "input": value}], body=value
    )


def convert(column: Any, value: Any, where: str = "body") -> Any:
    """Turn text or a JSON value into what the column holds, or raise a 422 that echoes it."""
    kind = column.type.python_type
    if value is None and column.nullable:
        return None
    if column.name == "tier" and value not in TIERS:
        raise invalid(where, column.name, value, f"{value} is not a valid choice of {', '.join(TIERS)}")
    try:
        return json_value(value) if isinstance(column.type, JSON) else PARSERS[kind](value)
    except (ValueError, TypeError, ArithmeticError):
        raise invalid(where, column.name, value, f"{value} is not a valid {kind.__name__}") from None


def json_value(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def amount(value: Any) -> Decimal:
    number = Decimal(str(value)).quantize(CENT)
    return Decimal(bounded(number))


def bounded(number: Any) -> Any:
    if not math.isfinite(number) or abs(number) > LARGEST:
        raise ValueError("out of range")
    return number


def moment(value: Any) -> datetime:
    when = datetime.fromisoformat(value)
    return when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)


def text(value: Any) -> str:
    if isinstance(value, (dict, list)) or value is None:
        raise TypeError("not text")
    return str(value)


PARSERS: dict[type, Callable[[Any], Any]] = {
    int: lambda value: bounded(int(value)),
    float: lambda value: bounded(float(value)),
    Decimal: amount,
    date: date.fromisoformat,
    datetime: moment,
    str: text,
}


def condition(name: str, value: str) -> ColumnElement[bool] | None:
    """Read `column=value` or `column_operator=value`; None for other parameters."""
    column, verb = COLUMNS.get(name), "eq"
    if column is None:
        stem, _, verb = name.rpartition("_")
        column = COLUMNS.get(stem)
    if column is None or verb not in (*OPERATORS, "like", "in"):
        return None
    if verb == "like":
        return cast(column, String).like(value)
    if isinstance(column.type, JSON):
        return cast(column, String).contains(json.dumps(value))
    if verb == "in":
        values = [convert(column, item, "query") for item in value.split(",")]
        return or_(*(column == item for item in values))
    compared: ColumnElement[bool] = OPERATORS[verb](column, convert(column, value, "query"))
    return compared


def conditions(params: Mapping[str, str]) -> list[ColumnElement[bool]]:
    """Read all filters of a query string; parameters that name no column are not filters."""
    found = [condition(name, value) for name, value in params.items()]
    wanted = params.get("q")
    if wanted:
        found.append(matching(wanted))
    return [each for each in found if each is not None]


def matching(wanted: str) -> ColumnElement[bool]:
    return or_(*(COLUMNS[name].contains(wanted, autoescape=True) for name in ("name", "mobile", "notes")))


def order(sort: str) -> Iterable[ColumnElement[Any]]:
    """Read `sort=tier,-balance`; ties by id."""
    for key in filter(None, sort.split(",")):
        column = COLUMNS.get(key.removeprefix("-"))
        if column is None:
            raise invalid("query", "sort", sort, f"{key} is not a column")
        yield column.desc() if key.startswith("-") else column.asc()
    yield COLUMNS["id"].asc()
