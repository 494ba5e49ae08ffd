"""Recovery codes: written down, good once each, for who lost every other factor.

The store keeps a fingerprint of each, one row a code, so that two uses at once are decided by one row (S06).
"""

from __future__ import annotations

import base64
import hmac
import re
from typing import Final

from privguard.crypto.envelope import joined

CODES: Final = 10
_BYTES: Final = 10
RANDOM_BYTES: Final = CODES * _BYTES
"""80 bits each, where NIST SP 800-63B-4 §4.2.1.1 asks for 64."""

_RFC_4648: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's: no I, L, O, which are read as 1 and 0
_WRITTEN: Final = str.maketrans(_RFC_4648, _ALPHABET)
_READ: Final = str.maketrans("ILO", "110", " -")
_TYPED: Final = re.compile(r"[0-9A-Za-z -]{16,32}")
_FORM: Final = re.compile(f"[{_ALPHABET}]{{16}}")


def recovery_codes(random: bytes) -> tuple[str, ...]:
    """Ten codes as they are shown, once: four groups of four.

    Args:
        random: 100 unpredictable bytes.

    Raises:
        ValueError: it is not 100 bytes.
    """
    if len(random) != RANDOM_BYTES:
        raise ValueError(f"Recovery codes take {RANDOM_BYTES} random bytes.")
    return tuple(_shown(random[start : start + _BYTES]) for start in range(0, RANDOM_BYTES, _BYTES))


def fingerprint(pepper: bytes, code: str) -> bytes | None:
    """What the store knows a code by (32 bytes), or None if it is none.

    Case, spaces and hyphens are as one likes: every spelling has one fingerprint, so none is a second code.

    Args:
        pepper: a key that is not in the store, so that what is there cannot be tried out elsewhere.
        code: as it was typed.
    """
    if _TYPED.fullmatch(code) is None:
        return None
    plain = code.upper().translate(_READ)
    if _FORM.fullmatch(plain) is None:
        return None
    return hmac.digest(pepper, joined("recovery", plain), "sha256")


def _shown(random: bytes) -> str:
    plain = base64.b32encode(random).decode("ascii").translate(_WRITTEN)
    return "-".join(plain[start : start + 4] for start in range(0, len(plain), 4))
