"""One-time codes that are sent: by text message, e-mail, a chat; good for one challenge."""

from __future__ import annotations

import hmac
import re
from typing import Final

from privguard.crypto.envelope import joined

DIGITS: Final = 8
RANDOM_BYTES: Final = 16
_FORM: Final = re.compile(r"[0-9]{8}")


def one_time_code(random: bytes) -> str:
    """Eight digits (NIST SP 800-63B-4 §3.1.3.2 asks for six).

    Args:
        random: 16 unpredictable bytes: so many that no code is likelier than another by more than 2^-101.

    Raises:
        ValueError: it is not 16 bytes.
    """
    if len(random) != RANDOM_BYTES:
        raise ValueError(f"A code takes {RANDOM_BYTES} random bytes.")
    return f"{int.from_bytes(random, 'big') % 10**DIGITS:0{DIGITS}}"


def code_text(code: str, seconds: int) -> str:
    """What is sent: the code and its minutes, in both languages, for who reads it is not known where it goes.

    Nothing else: whoever sees a telephone's screen learns of no client and no bank.
    """
    minutes = seconds // 60
    return (
        f"验证码 {code}，{minutes} 分钟内有效，请勿告诉他人。 "
        f"Code {code}, valid for {minutes} minutes. Tell it to nobody."
    )


def code_fingerprint(pepper: bytes, challenge: str, code: str) -> bytes | None:
    """What the store keeps of a code (32 bytes), or None if it is none; of another challenge, it is another.

    Args:
        pepper: a key that is not in the store: eight digits are soon tried out.
        challenge: the id of the challenge it was sent for (S09).
        code: as it was typed; exactly eight ASCII digits (S02).
    """
    if _FORM.fullmatch(code) is None:
        return None
    return hmac.digest(pepper, joined("code", challenge, code), "sha256")
