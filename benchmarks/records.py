"""The made-up client records that every contender carries: 25 fields, about 1 KB each.

The shape is that of the bank policy, with four more personal fields and ten plain ones.
Twelve fields are masked by a masking contender: see `masks.py`.
"""

import csv
import io
from decimal import Decimal
from typing import Any

import msgspec
from stdnum import luhn
from stdnum.cn import ric

PER_LIST = 100
SINGLE = 7  # whose values every `GET /clients/{id}` carries, so that all answers have one length
ID = "C%06d"

_SURNAMES = "王李张刘陈杨黄赵"
_NOTE = (
    "客户来电咨询大额存单与养老理财，希望周五下午到网点面谈；请提前备好产品说明书与风险揭示书，"
    "回访电话%s，勿在客户上班时间致电。上次投诉（转账限额）已办结，客户表示满意。下次拜访请先核对预留资料。"
)
_encode = msgspec.json.Encoder(decimal_format="number").encode


def client(number: int, client_id: str | None = None) -> dict[str, Any]:
    """One record of 25 fields; the same number always gives the same values."""
    mobile = f"1380013{number % 10000:04d}"
    born = f"19{50 + number % 50:02d}-{1 + number % 12:02d}-{1 + number % 28:02d}"
    return {
        "id": client_id or ID % number,
        "name": _SURNAMES[number % len(_SURNAMES)] + "晓明",
        "mobile": mobile,
        "phone": f"010-6655{number % 10000:04d}",
        "email": f"client{number % 10000:04d}@mail.example",
        "id_no": _resident_id(born, number),
        "dob": born,
        "address": f"北京市朝阳区示范路{number % 900 + 100}号院2号楼1单元",
        "balance": Decimal(f"{100000 + number % 1000 * 37}.00"),
        "income": Decimal(f"{200000 + number % 1000 * 11}.50"),
        "cards": [_card(number, 0), _card(number, 1)],
        "notes": _NOTE % mobile,
        "rm_ids": ["rm01", "rm02"],
        "branch": "BJ-0102",
        "tier": "affluent",
        "segment": "salaried",
        "status": "active",
        "opened_on": "2016-03-14",
        "updated_at": "2026-02-11T09:30:00+08:00",
        "language": "zh-CN",
        "channel": "branch",
        "currency": "CNY",
        "risk_rating": 3,
        "marketing_consent": False,
        "visits": 12,
    }


def clear_values(number: int) -> dict[str, str]:
    """What must not be found in a masking contender's answer about this client, by field."""
    record = client(number)
    values = {name: str(record[name]) for name in ("name", "mobile", "phone", "email", "id_no", "address")}
    cards = {f"cards[{at}].pan": str(card["pan"]) for at, card in enumerate(record["cards"])}
    return values | cards | {name: str(record[name]) for name in ("dob", "balance", "income")}


def single(client_id: str) -> bytes:
    """The body of `GET /clients/{id}`."""
    return _encode({"client": client(SINGLE, client_id)})


def listing() -> bytes:
    """The body of `GET /clients`: 100 records, about 100 KB."""
    items = [client(number) for number in range(1, PER_LIST + 1)]
    return _encode({"items": items, "total": len(items)})


def json_block() -> bytes:
    """100 records joined by commas, each id a `%06d` to be filled in: a block of the large JSON array."""
    return b",".join(_encode(client(number, ID)) for number in range(PER_LIST))


def csv_header() -> bytes:
    """The header line of the large CSV file."""
    return _line(list(_flat(client(0))))


def csv_block() -> bytes:
    """100 lines, each id a `%06d` to be filled in: a block of the large CSV file."""
    return b"".join(_line([str(value) for value in _flat(client(n, ID)).values()]) for n in range(PER_LIST))


def _flat(record: dict[str, Any]) -> dict[str, Any]:
    card = record["cards"][0]
    plain = {name: value for name, value in record.items() if name not in ("cards", "rm_ids")}
    return plain | {"rm_id": record["rm_ids"][0], "card_pan": card["pan"], "card_cvv": card["cvv"]}


def _line(cells: list[str]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerow(cells)
    return out.getvalue().encode()


def _resident_id(born: str, number: int) -> str:
    head = "110105" + born.replace("-", "") + f"{number % 1000:03d}"
    return head + str(ric.calc_check_digit(head + "0"))


def _card(number: int, which: int) -> dict[str, str]:
    head = f"62220000{number % 1000000:06d}{which}"
    return {
        "pan": head + str(luhn.calc_check_digit(head)),
        "cvv": f"{number * 7 % 1000:03d}",
        "expires": "2029-08",
    }
