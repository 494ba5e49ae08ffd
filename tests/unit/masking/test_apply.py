"""What leaves of a body, and what is noted about it."""

from __future__ import annotations

from privguard.model import ResourceShape
from tests.unit.masking.plans import Plan, spec

BODY = (
    b'{"total": 2, "items": [{"id": "c1", "mobile": "13800138000", "balance": 100.00, "x": 1},'
    b' {"mobile": "13900139000", "id": "c2", "balance": 1E400}], "facets": {"n": 1}}'
)


def client_plan(**more: object) -> Plan:
    fields = (spec("id"), spec("mobile", "cn_mobile_3_4"), spec("balance"), spec("id_no", "withhold"))
    shape = ResourceShape(
        "client", "client", ("$.items[*]", "$.client"), fields, envelope=(("total", "count"),)
    )
    return Plan(shape, **more)  # type: ignore[arg-type]
