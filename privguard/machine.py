"""The machine's own: time and chance, as ports, and who runs a command."""

from __future__ import annotations

import os
import pwd
import time
from datetime import UTC, date, datetime


class SystemClock:
    """The machine's clock."""

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def today(self) -> date:
        return datetime.fromtimestamp(time.time(), UTC).date()


class SystemEntropy:
    """The operating system's generator."""

    def token(self, size: int) -> bytes:
        return os.urandom(size)


def system_account() -> str:
    """Who runs the command, by the system's own account: the environment could name anybody."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"
