"""The clients both upstreams are seeded with; every sensitive value is a canary that stands nowhere else.

Numbers carry valid check digits, so that recognisers meet what they would meet in a bank.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stdnum import luhn
from stdnum.cn import ric

CLIENT_COUNT = 20
TIERS = ("mass", "affluent", "private")
BRANCHES = ("SH-01", "BJ-02")
NAMES = (
    "王建国",
    "李秀英",
    "张伟",
    "刘洋",
    "陈静",
    "杨帆",
    "赵敏",
    "黄志强",
    "周丽",
    "吴磊",
    "徐芳",
    "孙浩",
    "马晓燕",
    "朱军",
    "胡雪",
    "郭鹏",
    "林小红",
    "何勇",
    "高洁",
    "欧阳海",
)


@dataclass(frozen=True)
class Manager:
    """Who looks after a client."""

    name: str
    phone: str


@dataclass(frozen=True)
class Card:
    """A client's bank card."""

    pan: str
    cvv: str


@dataclass(frozen=True)
class StaffSeed:
    """A member of staff before the upstream knows them; `key` is what rm_ids below refers to."""

    key: str
    email: str
    password: str
    role: str
    branch: str


@dataclass(frozen=True)
class ClientSeed:
    """A client as written to an upstream; `manager` and `rms` refer to MANAGERS and STAFF."""

    number: int
    fields: Mapping[str, Any]
    manager: int
    rms: tuple[str, ...]
    cards: tuple[Card, ...]


MANAGERS = (
    Manager("钱经理", "02150010001"),
    Manager("冯经理", "02150010002"),
    Manager("卫经理", "01060010003"),
)
STAFF = (
    StaffSeed("rm", "rm@example.org", "parity-rm-password", "rm", "SH-01"),
    StaffSeed("other_rm", "other.rm@example.org", "parity-other-rm-password", "rm", "BJ-02"),
    StaffSeed("rm_manager", "rm.manager@example.org", "parity-manager-password", "rm_manager", "SH-01"),
)


def client_seed(number: int) -> ClientSeed:
    """Client `number`, 1 to CLIENT_COUNT: odd ones have 138 mobiles, live in Shanghai and belong to `rm`."""
    odd = number % 2 == 1
    mobile = f"{138 if odd else 139}00138{number:03d}"
    dob = f"{1959 + number}-{number % 12 + 1:02d}-{number:02d}"
    fields = {
        "name": NAMES[number - 1],
        "mobile": mobile,
        "id_no": _id_no(dob, number),
        "dob": dob,
        "balance": round(50_000 + number * 1_370.01, 2),
        "notes": f"客户来电 {mobile},约周四家访。CANARY-NOTE-{number:02d}",
        "branch": BRANCHES[0] if odd else BRANCHES[1],
        "tier": TIERS[number % 3],
        "email": f"canary.client.{number:02d}@example.org",
        "meta": _meta(number, mobile),
    }
    rms = ("rm", "other_rm") if number == 1 else ("rm",) if odd else ("other_rm",)
    cards = tuple(_card(number, k) for k in range(1 + number % 2))
    return ClientSeed(number, fields, number % len(MANAGERS), rms, cards)


def _id_no(dob: str, number: int) -> str:
    digits = f"110101{dob.replace('-', '')}{number:03d}"
    return digits + ric.calc_check_digit(digits + "0")


def _card(number: int, k: int) -> Card:
    digits = f"6222020{number:07d}{k}"
    return Card(digits + luhn.calc_check_digit(digits), f"{100 + number}")


def _meta(number: int, mobile: str) -> dict[str, Any]:
    """Nested data, a list of objects, and JSON inside a string (M05)."""
    return {
        "kyc": {"passport": f"E{88_000_000 + number}", "risk": "R3"},
        "contacts": [{"name": f"CANARY-KIN-{number:02d}", "mobile": f"13700137{number:03d}"}],
        "raw": json.dumps({"mobile": mobile}),
    }
