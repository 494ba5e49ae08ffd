"""``privguard factor``: second factors of the staff."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec
from msgspec.structs import replace

from privguard.cli.options import acted, as_option, asked, config_option, json_option, say, tenant_option
from privguard.model import Principal

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
    code = acted(config, lambda authority, who: authority.enrolment.invite(who, staff_id, tenant))
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

    whose = Principal(staff_id, tenant=tenant)
    found = acted(config, lambda authority, _: authority.enrolment.mine(whose))
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
@as_option
@tenant_option
@config_option
@json_option
def reset(config: Path, as_json: bool, staff_id: str, tenant: str, only: tuple[str, ...], by: str) -> None:
    """Ask that somebody's factors be removed; who has [stepup] reset_role approves it."""
    name = asked(config, by, tenant, lambda own: replace(own, purpose=staff_id, fields=only), "reset")
    say(as_json, {"request": name}, f"request {name} waits an hour for whoever may approve it")
