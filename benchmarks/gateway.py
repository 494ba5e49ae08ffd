"""The gateway as a contender: its own folder with settings, policy, keys and log for every start."""

from __future__ import annotations

import os
import sys
from pathlib import Path

TOKEN = "benchmark-token-of-rm01"
HEADERS = (f"Authorization: Bearer {TOKEN}", "Privguard-Purpose: service")
POLICY = Path(__file__).parent / "policy.yaml"
_SETTINGS = """\
[gateway]
listen = "127.0.0.1:{port}"

[[systems]]
name = "crm"
upstream = "http://127.0.0.1:{upstream}"
policy = "{policy}"

[identity]
mode = "demo"

[[identity.demo]]
token = "{token}"
id = "rm01"
roles = ["rm"]
branch = "BJ-0102"
"""


def command(port: int, upstream: int, folder: Path) -> list[str]:
    """Writes a folder and gives the command that serves from it."""
    from privguard.crypto.keyring import new_keyring
    from privguard.store import schema

    settings = folder / "privguard.toml"
    settings.write_text(_SETTINGS.format(port=port, upstream=upstream, policy=POLICY, token=TOKEN))
    keys = folder / "keys.json"
    keys.write_bytes(new_keyring(os.urandom))
    keys.chmod(0o600)
    schema.upgrade(f"sqlite+aiosqlite:///{folder / 'privguard.db'}")
    return [sys.executable, "-m", "privguard", "serve", "--config", str(settings)]
