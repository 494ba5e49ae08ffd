"""Time-based one-time passwords (RFC 6238): six digits, 30 seconds, SHA-1, as every authenticator app has it.

Which step a code belongs to is told, for a code is good once: the store refuses a step that is not after the
last one it took (RFC 6238 §5.2; S01). Nothing but the server binds a code to what it approves.
"""

from __future__ import annotations

import base64
import hmac
import re
from typing import Final

import pyotp

STEP_S: Final = 30
DIGITS: Final = 6
SECRET_BYTES: Final = 20
"""As long as the digest is (RFC 4226 §4, R6)."""
DRIFT: Final = 1
"""Steps that a phone's clock may be off, either way (RFC 6238 §6)."""
_FORM: Final = re.compile(r"[0-9]{6}")


def new_secret(random: bytes) -> str:
    """A new seed in base32 (32 characters).

    Args:
        random: 20 unpredictable bytes.

    Raises:
        ValueError: it is not 20 bytes.
    """
    if len(random) != SECRET_BYTES:
        raise ValueError(f"A seed is {SECRET_BYTES} random bytes.")
    return base64.b32encode(random).decode("ascii")


def provisioning_uri(secret: str, account: str, issuer: str) -> str:
    """The ``otpauth://`` address that an app scans; it holds the seed, so it is shown once and never kept."""
    return pyotp.TOTP(secret).provisioning_uri(name=account, issuer_name=issuer)


def matching_step(secret: str, code: str, now_s: int) -> int | None:
    """The time step, counted from the epoch, whose code this is: the present one or one either side.

    Where two steps share the code it is the later, so that the earlier cannot be used up and the code be
    taken again for the later. Every candidate is computed and compared, whichever it is.

    Args:
        code: as it was typed. Exactly six ASCII digits: what merely looks like them would be a second
            spelling, for which a count of tries by spelling starts anew (S02).
        now_s: seconds since the epoch.
    """
    if _FORM.fullmatch(code) is None:
        return None
    key, found = base64.b32decode(secret), None
    for step in range(now_s // STEP_S - DRIFT, now_s // STEP_S + DRIFT + 1):
        if step >= 0 and hmac.compare_digest(_code(key, step, DIGITS, "sha1"), code):
            found = step
    return found


def _code(key: bytes, step: int, digits: int, digest: str) -> str:
    """The code of a step (RFC 4226 §5.3), for the vectors with other digits and digests too.

    The library takes 60 µs for it, most of them to decode the seed twice.
    """
    mac = hmac.digest(key, step.to_bytes(8, "big"), digest)
    offset = mac[-1] & 0xF
    number = int.from_bytes(mac[offset : offset + 4], "big") & 0x7FFF_FFFF
    return f"{number % 10**digits:0{digits}}"
