"""Fills an empty database: the same seed makes the same bank."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from sqlalchemy import Engine, insert

from . import people
from .tables import Account, Base, Card, Client, Complaint, Kin, Staff, Visit

Row = dict[str, Any]

BRANCHES = (
    "pudong", "xujiahui", "chaoyang", "haidian", "tianhe", "nanshan",
    "gulou", "wuhou", "yuzhong", "jianghan", "xihu", "siming",
)  # fmt: skip
# prefix of the user name, roles, surname of the first, how many
POSTS = (
    ("rm", ["rm"], "li", 18),
    ("mgr", ["rm_manager"], "chen", 12),
    ("teller", ["teller"], "wu", 18),
    ("aml", ["aml"], "zhao", 4),
    ("amllead", ["aml", "aml_lead"], "gao", 1),
    ("comp", ["compliance"], "he", 2),
    ("ana", ["analyst"], "lin", 3),
    ("audit", ["auditor"], "sun", 2),
)
OPENED = datetime(2008, 1, 1, 9, tzinfo=UTC)
DAYS_OPEN = 6500
KINDS_OF_KIN = (("spouse", "spouse"), ("parent", "child"), ("sibling", "sibling"))
NOTES = (
    "客户的联系人{name}（电话 {mobile}，身份证 {id_no}）常代为办理业务。",
    "Spoke with {name}, call back on +86 {mobile} or write to {email}.",
    "推荐人{name}，邮箱 {email}；喜欢喝茶，不要在上午来电。",
    "担保人身份证号{id_no}，手机{spaced}。",
    "Prefers letters to calls.",
    "",
)


@dataclass(frozen=True)
class Samples:
    """Accounts and clients that are the same whatever the seed and size, for demos and tests."""

    password: str = "demo"
    rm: str = "rm.li"
    other_rm: str = "rm.wang"
    untrained_rm: str = "rm.zhang"  # privacy course passed more than a year ago
    manager: str = "mgr.chen"  # of the branch of rm.li
    teller: str = "teller.wu"
    aml: str = "aml.zhao"
    aml_lead: str = "amllead.gao"
    compliance: str = "comp.he"
    analyst: str = "ana.lin"
    auditor: str = "audit.sun"
    assigned: int = 1  # to rm; a client with relatives 2 (also theirs), 7 (private) and 11 (not theirs)
    assigned_western: int = 3
    assigned_compound: int = 4
    private: int = 7  # of the private tier, assigned to rm
    unassigned: int = 11  # another branch, assigned to other_rm
    staff_client: str = "rm.wang"  # a member of staff who is a client, in a portfolio of their own
    staff_client_id: int = 12


SAMPLES = Samples()
OWNED_BY_FIRST_RM = range(1, 11)
STAFF_WHO_ARE_CLIENTS = {"rm.wang": 12, "teller.wu": 13, "mgr.chen": 14, "ana.lin": 15, "comp.he": 16}
FEWEST = 20
NAMED = {
    1: ("male", "张伟民", "zhang.weimin"),
    3: ("female", "Siobhán O'Brien", "siobhan.obrien"),
    4: ("female", "欧阳明月", "ouyang.mingyue"),
}
KIN = ((1, 2, "spouse", "spouse"), (1, 7, "parent", "child"), (1, 11, "sibling", "sibling"))


def fill(engine: Engine, clients: int, seed: int, today: date) -> None:
    """Insert staff, `clients` clients and what belongs to them; training dates count back from `today`."""
    if clients < FEWEST:
        raise ValueError(f"at least {FEWEST} clients, for the samples to exist")
    rng = Random(seed)
    staff = _staff(rng, today)
    rows = _clients(rng, clients, staff)
    accounts = [account for row in rows for account in _accounts(row, rng)]
    cards = [card for row in rows for card in _cards(row, rng)]
    tables: list[tuple[type[Base], list[Row]]] = [
        (Staff, staff),
        (Client, rows),
        (Account, accounts),
        (Card, cards),
        (Kin, _kin(rng, clients)),
        (Visit, [visit for row in rows for visit in _visits(row, rng)]),
        (Complaint, [complaint for row in rows for complaint in _complaints(row, rng)]),
    ]
    with engine.begin() as connection:
        for table, content in tables:
            connection.execute(insert(table.__table__), content)  # type: ignore[arg-type]


def _staff(rng: Random, today: date) -> list[Row]:
    latin = [spelling for _, spelling in people.SURNAMES]
    rows: list[Row] = []
    for prefix, roles, first, count in POSTS:
        for place in range(count):
            hanzi, surname = people.SURNAMES[(latin.index(first) + place) % len(latin)]
            username = f"{prefix}.{surname}"
            gender = "female" if username in STAFF_WHO_ARE_CLIENTS else rng.choice(("male", "female"))
            lapsed = username == SAMPLES.untrained_rm
            rows.append({
                "id": username,
                "name": hanzi + rng.choice(people.GIVEN[gender])[0],
                "roles": roles,
                "branch": BRANCHES[place % len(BRANCHES)],
                "client_id": STAFF_WHO_ARE_CLIENTS.get(username),
                "privacy_training": today - timedelta(days=rng.randrange(10, 180) + 500 * lapsed),
            })  # fmt: skip
    return rows


def _clients(rng: Random, count: int, staff: list[Row]) -> list[Row]:
    rms = [member for member in staff if "rm" in member["roles"]]
    weights = [rng.uniform(0.85, 1.15) for _ in rms]
    known = NAMED | {
        member["client_id"]: ("female", member["name"], member["id"])
        for member in staff
        if member["client_id"]
    }
    rows = []
    for number, chosen in enumerate(rng.choices(rms, weights, k=count), start=1):
        pinned = number <= SAMPLES.staff_client_id
        owner = chosen if not pinned else rms[0 if number in OWNED_BY_FIRST_RM else 1]
        deputy = [] if pinned or rng.random() > 0.1 else [rng.choice(rms)["id"]]
        created = OPENED + timedelta(days=rng.randrange(DAYS_OPEN), seconds=rng.randrange(30_000))
        updated = created + timedelta(days=rng.randrange(1, 60), seconds=rng.randrange(30_000))
        row = people.person(number, count, rng, known.get(number)) | {
            "tier": _tier(number, rng),
            "branch": owner["branch"],
            "rm_ids": list(dict.fromkeys([owner["id"], *deputy])),
            "created_at": created,
            "updated_at": updated,
        }
        rows.append(row)
    for row in rows:
        other = rng.choice(rows)
        spaced = f"{other['mobile'][:3]} {other['mobile'][3:7]} {other['mobile'][7:]}"
        text = NOTES[0] if row["id"] <= SAMPLES.staff_client_id else rng.choice(NOTES)
        row["notes"] = text.format(spaced=spaced, **other)
    return rows


def _tier(number: int, rng: Random) -> str:
    if number <= SAMPLES.staff_client_id:
        return "private" if number == SAMPLES.private else "mass"
    chance = rng.random()
    return "private" if chance < 0.005 else "affluent" if chance < 0.15 else "mass"


def _accounts(row: Row, rng: Random) -> list[Row]:
    """Return a client's accounts, and set the client's balance to what the first holds (in CNY)."""
    spread = {"mass": (100, 500_000), "affluent": (600_000, 5_000_000), "private": (6_000_000, 90_000_000)}
    cents = rng.randint(*spread[row["tier"]]) * 100
    if row["id"] != SAMPLES.assigned and rng.random() < 0.8:
        cents += rng.randrange(100)
    row["balance"] = Decimal(cents).scaleb(-2)
    foreign = Decimal(rng.randrange(10_000_000)).scaleb(-2)
    held = [("CNY", row["balance"])] + ([("USD", foreign)] if rng.random() < 0.2 else [])
    return [
        {
            "client_id": row["id"],
            "no": f"6099{row['id']:08d}{place:02d}",
            "currency": currency,
            "balance": amount,
        }
        for place, (currency, amount) in enumerate(held, start=1)
    ]


def _cards(row: Row, rng: Random) -> list[Row]:
    count = rng.choice((1, 1, 1, 2))
    return [{"client_id": row["id"]} | people.card(row["id"] * 10 + place, rng) for place in range(count)]


def _kin(rng: Random, clients: int) -> list[Row]:
    pairs = {(one, other): (there, back) for one, other, there, back in KIN}
    for _ in range(clients // 6):
        one, other = sorted(rng.sample(range(SAMPLES.staff_client_id + 1, clients + 1), 2))
        pairs[one, other] = rng.choice(KINDS_OF_KIN)
    return [
        {"client_id": client, "relative_id": relative, "relation": relation}
        for (one, other), (there, back) in pairs.items()
        for client, relative, relation in ((one, other, there), (other, one, back))
    ]


def _visits(row: Row, rng: Random) -> list[Row]:
    count = 1 if row["id"] == SAMPLES.assigned else rng.randrange(4) if row["tier"] != "mass" else 0
    return [
        {
            "client_id": row["id"],
            "at": row["created_at"] + timedelta(days=rng.randrange(1, 400)),
            "staff_id": row["rm_ids"][0],
            "place": rng.choice(("branch", "home", "office")),
            "summary": f"拜访{row['name']}，回访电话 {row['mobile']}。",
        }
        for _ in range(count)
    ]


def _complaints(row: Row, rng: Random) -> list[Row]:
    if row["id"] != SAMPLES.assigned and rng.random() > 0.06:
        return []
    return [{
        "client_id": row["id"],
        "at": row["created_at"] + timedelta(days=rng.randrange(1, 400)),
        "channel": rng.choice(("phone", "branch", "letter")),
        "status": rng.choice(("open", "closed")),
        "text": f"{row['name']} was charged twice; wants a call on {row['mobile']}.",
    }]  # fmt: skip
