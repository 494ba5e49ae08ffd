"""``privguard keys``: the keys that wrap clients' keys."""

from __future__ import annotations

import os
import time
from pathlib import Path

import click

from privguard.cli.options import config_option, json_option, say, settings_of
from privguard.errors import ConfigError


@click.group()
def keys() -> None:
    """Make, list, rotate and retire the keys that wrap clients' keys; each act is on record."""


@keys.command()
@click.option(
    "--suite",
    default="aes256gcm-sha256",
    show_default=True,
    type=click.Choice(["aes256gcm-sha256", "sm4gcm-sm3"]),
    help="Algorithms, for good.",
)
@config_option
def init(config: Path, suite: str) -> None:
    """Write a new key file where the configuration names one; never overwrites."""
    from privguard.bootstrap import keyset_file
    from privguard.cli.opening import open_keys
    from privguard.crypto.keyring import new_key_file
    from privguard.store.engine import Store
    from privguard.store.wrapped import count_by_version

    settings = settings_of(config)
    if settings.keys.provider != "file" and suite != "aes256gcm-sha256":
        raise ConfigError("A security module seals by AES-256-GCM here: leave --suite out.")
    store = Store(settings.store.url)
    try:
        held = sum(count_by_version(store).values())
    finally:
        store.close()
    if held:
        raise ConfigError(
            f"The log knows {held} clients by other keys, which new ones cannot open: "
            "restore the key file from its backup."
        )
    keyset = keyset_file(settings)
    keyset.create(lambda: new_key_file(keyset.provider, os.urandom, suite))
    with open_keys(settings) as (custodian, _):
        custodian.made()
    click.echo(f"wrote {settings.keys.file}: back it up now, apart from the log")


@keys.command("list")
@config_option
@json_option
def list_(config: Path, as_json: bool) -> None:
    """Say which versions there are, which of them wraps, and how many clients' keys each wraps."""
    from privguard.bootstrap import keyset_file
    from privguard.store.engine import Store
    from privguard.store.wrapped import count_by_version

    settings = settings_of(config)
    file, store = keyset_file(settings).read(), Store(settings.store.url)
    try:
        counts = count_by_version(store)
    finally:
        store.close()
    if not as_json:
        click.echo(f"keyset {file.id}, {file.suite}, provider {settings.keys.provider}")
    for version in sorted({*file.keks, *counts}):
        state = "primary" if version == file.primary else "old" if version < file.primary else "added"
        state = state if version in file.keks else "MISSING"
        row = {"version": version, "state": state, "wraps": counts.get(version, 0)}
        say(as_json, row, f"  {version:4}  {state:8}  wraps {row['wraps']} keys")


@keys.command()
@click.option(
    "--wait", default=90, show_default=True, help="Seconds for running processes to know the new version."
)
@config_option
def rotate(config: Path, wait: int) -> None:
    """Add a version, wait until every running process knows it, then wrap by it; safe to repeat."""
    from privguard.bootstrap import keyset_file
    from privguard.cli.opening import open_keys

    settings = settings_of(config)
    file = keyset_file(settings).read()
    with open_keys(settings) as (custodian, _):
        if file.newest == file.primary:
            click.echo(f"version {custodian.add()} is added")
        until = time.monotonic() + wait
        while custodian.behind() and time.monotonic() < until:
            time.sleep(0.2)
        click.echo(f"version {custodian.promote()} wraps from now on")
    click.echo("Next: privguard keys rewrap, then privguard keys retire")


@keys.command()
@config_option
@json_option
def rewrap(config: Path, as_json: bool) -> None:
    """Wrap by the primary version what others still wrap; may be interrupted and begun again."""
    from privguard.cli.opening import open_keys

    with open_keys(settings_of(config)) as (custodian, wrapped):
        done = custodian.rewrap()
        left = wrapped.left()
    say(as_json, {"rewrapped": done, "left": left}, f"{done} keys are wrapped anew, {left} are left")
    if left:
        raise SystemExit(1)


@keys.command()
@click.argument("version", metavar="VERSION", type=click.IntRange(min=1))
@config_option
def retire(config: Path, version: int) -> None:
    """Destroy a version that wraps nothing any more, and those before it. Not to be undone."""
    from privguard.cli.opening import open_keys

    with open_keys(settings_of(config)) as (custodian, _):
        custodian.retire(version)
    click.echo(f"version {version} is retired: what only it opens, such as an old backup, is lost for good")
