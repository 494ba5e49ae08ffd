"""``privguard factor``: second factors of the staff."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from privguard.cli.options import config_option, json_option, system_account

tenant_option = click.option("--tenant", default="default", show_default=True, help="The tenant.")
staff_argument = click.argument("staff_id", metavar="STAFF")


@click.group()
def factor() -> None:
    """Invite staff to enrol a second factor, list what they have, ask for a reset."""


@factor.command()
@staff_argument
@tenant_option
@config_option
@json_option
def invite(config: Path, as_json: bool, staff_id: str, tenant: str) -> None:
    """Say a code, once, by which somebody without a factor enrols the first one within a week."""
    import asyncio

    from privguard.bootstrap import open_authority
    from privguard.config import load_settings

    with open_authority(load_settings(config), system_account()) as (authority, who):
        code = asyncio.run(authority.enrolment.invite(who, staff_id, tenant))
    if as_json:
        click.echo(msgspec.json.encode({"code": code}))
        return
    click.echo(code)
    click.echo(f"Hand it to {staff_id} in person; it is not shown again.", err=True)


@factor.command("list")
@staff_argument
@tenant_option
@config_option
@json_option
def list_(config: Path, as_json: bool, staff_id: str, tenant: str) -> None:
    """List somebody's factors; secrets and addresses are not shown."""
    import asyncio

    from privguard.bootstrap import open_authority
    from privguard.config import load_settings
    from privguard.model import Principal

    with open_authority(load_settings(config), system_account()) as (authority, _):
        found = asyncio.run(authority.enrolment.mine(Principal(staff_id, tenant=tenant)))
    for one in found:
        since = datetime.fromtimestamp(one.created_us // 1_000_000, UTC)
        if as_json:
            row = {"id": one.id, "kind": one.kind, "label": one.data.label, "state": one.state}
            click.echo(msgspec.json.encode({**row, "since": since}))
        else:
            click.echo(f"{one.id}  {one.kind}  {one.state}  since {since:%Y-%m-%d}  {one.data.label}")
    if not found and not as_json:
        click.echo(f"no factor (`privguard factor invite {staff_id}`)", err=True)


@factor.command()
@staff_argument
@click.option("--factor", "only", multiple=True, help="Only this one, by its id; may repeat.")
@tenant_option
@config_option
@json_option
def reset(config: Path, as_json: bool, staff_id: str, tenant: str, only: tuple[str, ...]) -> None:
    """Ask that somebody's factors be removed; who has [stepup] reset_role approves it."""
    import asyncio

    from msgspec.structs import replace

    from privguard.bootstrap import open_authority
    from privguard.config import load_settings

    with open_authority(load_settings(config), system_account()) as (authority, who):
        scope = authority.enrolment.scope(replace(who, tenant=tenant), "reset")
        name = asyncio.run(
            authority.granting.request_reset(who, replace(scope, purpose=staff_id, fields=only))
        )
    if as_json:
        click.echo(msgspec.json.encode({"request": name}))
    else:
        click.echo(f"request {name} waits an hour for whoever may approve it")
