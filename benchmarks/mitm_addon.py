"""The masking script that mitmproxy runs: decode, mask the twelve fields, encode.

Its codec is the relay's, so that only the proxy differs.
"""

from decimal import Decimal
from typing import Any

import msgspec

from benchmarks.masks import mask_body

_decode = msgspec.json.Decoder(float_hook=Decimal).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode


def response(flow: Any) -> None:
    """Mask a JSON answer (mitmproxy's hook: the whole body has come)."""
    if flow.response.headers.get("content-type", "").startswith("application/json"):
        body = _decode(flow.response.content)
        mask_body(body)
        flow.response.content = _encode(body)
