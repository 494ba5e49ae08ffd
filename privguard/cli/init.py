"""``privguard init``: a folder to start from."""

from __future__ import annotations

import os
from pathlib import Path

import click

from privguard.cli.options import ANY_FOLDER
from privguard.cli.shipped import shipped
from privguard.errors import ConfigError
from privguard.files import write_new

_TOML = """\
# privguard's configuration. Any key can also be set as PRIVGUARD_SECTION__KEY in the environment.
# Every setting: docs/reference/configuration.md. Check it with `privguard doctor`.

[gateway]
listen = "127.0.0.1:8080"
mode = "observe"            # "observe" changes nothing and records everything; then "enforce"

[[systems]]
name = "crm"
upstream = "{upstream}"
policy = "policy.yaml"

[identity]
mode = "upstream"           # ask the CRM itself who holds a token; or "jwt", "proxy"

[identity.upstream]
whoami = "/me"
credentials = ["authorization"]    # headers, and cookies as "cookie:NAME"
id = "id"
roles = "roles"
branch = "branch"
client_id = "client_id"

[store]
url = "sqlite+aiosqlite:///privguard.db"

[audit]
origin = "privguard.invalid/log"   # a name of your own, for ever: it stands in every receipt
signing_keys = "signing.json"
signer_state = "signer.state"      # what was signed last: keep it apart from the database and its backups
statement_signer = "statement.pem" # signs clients' statements; put your authority's certificate in its place

[keys]
provider = "file"
file = "keys.json"
"""


@click.command()
@click.argument("folder", metavar="DIR", type=ANY_FOLDER)
@click.option("--upstream", default="http://127.0.0.1:8000", show_default=True, help="The CRM to guard.")
@click.option("--profile", default="bank", show_default=True, help="Policy to start from.")
def init(folder: Path, upstream: str, profile: str) -> None:
    """Write privguard.toml, a policy with its tests, keys and an empty log into DIR; never overwrites."""
    from privguard.audit.signing_keys import new_signing_keys
    from privguard.crypto.keyring import new_keyring
    from privguard.machine import SystemClock
    from privguard.oversight.pdf import new_signer
    from privguard.store import schema

    policies = shipped("policies")
    names = sorted(p.name.removesuffix("_test.yaml") for p in policies.glob("*_test.yaml"))
    if profile not in names:
        raise click.BadParameter(f"{profile!r} is not a profile; there are: {', '.join(names)}.")
    files = {
        "privguard.toml": _TOML.format(upstream=upstream).encode(),
        "policy.yaml": (policies / f"{profile}.yaml").read_bytes(),
        "policy_test.yaml": (policies / f"{profile}_test.yaml").read_bytes(),
        "keys.json": new_keyring(os.urandom),
        "signing.json": new_signing_keys(os.urandom),
        "statement.pem": new_signer("privguard", SystemClock().today()),
    }
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in (*files, "privguard.db"):
        if (folder / name).exists():
            raise ConfigError(f"{folder / name} is there already and is left alone. Choose another folder.")
    for name, content in files.items():
        write_new(folder / name, content, secret=name in ("keys.json", "signing.json", "statement.pem"))
        click.echo(f"wrote {folder / name}")
    schema.upgrade(f"sqlite+aiosqlite:///{folder.resolve() / 'privguard.db'}")
    click.echo(f"made  {folder / 'privguard.db'}: the log, empty")
    click.echo(
        f"Next: edit {folder / 'privguard.toml'} (who asks: [identity]), then\n"
        f"  privguard policy test {folder / 'policy.yaml'}\n"
        f"  privguard doctor --config {folder / 'privguard.toml'}\n"
        f"  privguard serve --config {folder / 'privguard.toml'}"
    )
