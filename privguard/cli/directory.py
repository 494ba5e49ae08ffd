"""``privguard directory``: who works here, as what, trained when, for whom."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from privguard.cli.options import FILE, config_option, json_option, settings_of, tenant_option
from privguard.errors import NotOnRecordError


@click.group()
def directory() -> None:
    """Import and show the staff directory: roles, training, assignments and who stands in for whom."""


@directory.command("import")
@click.argument(
    "files",
    metavar="FILE",
    nargs=-1,
    required=True,
    type=FILE,
)
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
@tenant_option
@config_option
@json_option
def import_(config: Path, as_json: bool, files: tuple[Path, ...], tenant: str, dry_run: bool) -> None:
    """Replace the directory by CSV files, all or nothing; each file replaces all of its kind."""
    from privguard.cli.opening import open_registrar

    with open_registrar(settings_of(config)) as (registrar, _):
        planned = registrar.plan({str(file): file.read_bytes() for file in files}, tenant)
        receipt = registrar.apply(planned) if planned.changes and not dry_run else None
    if as_json:
        index = None if receipt is None else receipt.index
        click.echo(msgspec.json.encode({"changes": planned.changes, "index": index}))
        return
    for name, said in planned.changes.items():
        click.echo(f"{'+' if said == 'added' else '-' if said == 'removed' else '~'} {name}: {said}")
    if receipt is not None:
        click.echo(f"in force; entry {receipt.index} of the log")
    else:
        click.echo("nothing was changed")


@directory.command()
@click.argument("staff_id", metavar="[STAFF]", required=False)
@tenant_option
@config_option
@json_option
def show(config: Path, as_json: bool, staff_id: str | None, tenant: str) -> None:
    """Say who is in the directory, or one of them; clients are counted, not named."""
    from privguard.cli.opening import open_registrar
    from privguard.identity.directory import standing
    from privguard.machine import SystemClock

    with open_registrar(settings_of(config)) as (_, kept):
        found = kept.snapshot(tenant).staff
    if staff_id is not None:
        if staff_id not in found:
            raise NotOnRecordError("The directory has nobody of this id.")
        found = {staff_id: found[staff_id]}
    now = SystemClock().now_us() // 1_000_000
    for one in found.values():
        clients = len(standing(one, now).clients)
        covers = [span.whom for span in one.absences if span.since <= now < span.until]
        if as_json:
            row = {"id": one.id, "status": one.status, "roles": one.roles, "branch": one.branch}
            click.echo(
                msgspec.json.encode(
                    {**row, "training": one.training, "clients": clients, "covered_by": covers}
                )
            )
        else:
            said = f"{one.id}: {one.status}, {'/'.join(one.roles) or 'no role'}, {one.branch or 'no branch'}"
            cover = f", covered by {', '.join(covers)}" if covers else ""
            click.echo(f"{said}, {clients} clients{cover}")
            for course, passed in one.training.items():
                click.echo(f"    {course} passed {passed}")
