"""Hand-written masks for the twelve personal fields, as a masking script for a general proxy would hold them.

Standard library only: mitmproxy imports this in its own environment. `stages.py` times it as well.
"""

import re
from decimal import Decimal
from typing import Any

_NUMBER = re.compile(r"\d{7,}")
_BANDS = (Decimal(10_000), Decimal(100_000), Decimal(1_000_000))


def mask_body(body: dict[str, Any]) -> None:
    """Mask every client record of a decoded answer, in place."""
    if "client" in body:
        mask_client(body["client"])
    for record in body.get("items", ()):
        mask_client(record)


def mask_client(record: dict[str, Any]) -> None:
    """Mask one record of `records.client`, in place."""
    record["name"] = record["name"][0] + "**"
    record["mobile"] = record["mobile"][:3] + "****" + record["mobile"][-4:]
    record["phone"] = "****" + record["phone"][-4:]
    record["email"] = record["email"][0] + "***@" + record["email"].partition("@")[2]
    record["id_no"] = record["id_no"][0] + "*" * 16 + record["id_no"][-1]
    record["dob"] = record["dob"][:4]
    record["address"] = record["address"][:6] + "****"
    record["balance"] = band(record["balance"])
    record["income"] = band(record["income"])
    record["notes"] = _NUMBER.sub("****", record["notes"])
    for card in record["cards"]:
        card["pan"] = "************" + card["pan"][-4:]
        del card["cvv"]


def band(amount: Decimal) -> str:
    """The order of magnitude an amount lies in."""
    for edge in _BANDS:
        if amount < edge:
            return f"<{edge}"
    return f">={_BANDS[-1]}"
