"""``privguard client``: hold, erase, or hand out what the log knows of a client."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from privguard.cli.options import (
    ANY_FOLDER,
    config_option,
    json_option,
    kind_option,
    language_option,
    say,
    settings_of,
    tenant_option,
)
from privguard.errors import ConfigError
from privguard.machine import system_account
from privguard.model import SubjectRef

if TYPE_CHECKING:
    from privguard.config import Settings
    from privguard.oversight.layout import Layout

F = TypeVar("F", bound=Callable[..., Any])


def whom(command: F) -> F:
    """The argument and options that name a client."""
    for option in (
        tenant_option,
        kind_option,
        click.argument("client_id", metavar="CLIENT"),
    ):
        command = option(command)
    return command


def named(command: F) -> F:
    """The same, and why something is done to it."""
    why = click.option(
        "--reason", required=True, help="Why; sealed, and kept whatever becomes of the client."
    )
    return whom(why(command))


@click.group()
def client() -> None:
    """Hold, erase, or hand out what the log knows of a client; each act is on record with who and why."""


@client.command()
@named
@click.option("--release", is_flag=True, help="Let go of a client that is on hold.")
@config_option
@json_option
def hold(
    config: Path, as_json: bool, release: bool, client_id: str, kind: str, tenant: str, reason: str
) -> None:
    """Keep a client from being erased, until it is released."""
    from privguard.cli.opening import open_custody

    with open_custody(settings_of(config)) as custodian:
        receipt = custodian.hold(SubjectRef(kind, client_id), reason, tenant, on=not release)
    say(
        as_json,
        {"hold": not release, "index": receipt.index},
        f"{'released' if release else 'on hold'}; entry {receipt.index} of the log",
    )


@client.command()
@named
@config_option
@json_option
def erase(config: Path, as_json: bool, client_id: str, kind: str, tenant: str, reason: str) -> None:
    """Destroy a client's key: nobody can read its details or tell its token any more. Not to be undone."""
    from privguard.cli.opening import open_custody

    with open_custody(settings_of(config)) as custodian:
        erased = custodian.erase(SubjectRef(kind, client_id), reason, tenant)
    say(
        as_json,
        {"index": erased.receipt.index, "details": erased.details},
        f"erased, with {erased.details} sealed details; entry {erased.receipt.index} of the log",
    )


@client.command()
@named
@click.option("--embargo", "names", multiple=True, required=True, help="Its name in the policy; may repeat.")
@config_option
@json_option
def lift(
    config: Path,
    as_json: bool,
    names: tuple[str, ...],
    client_id: str,
    kind: str,
    tenant: str,
    reason: str,
) -> None:
    """End an embargo: the client may learn of the accesses that were under it by now."""
    from privguard.bootstrap import read_policy
    from privguard.cli.opening import open_custody
    from privguard.oversight.statement import rules_of

    settings = settings_of(config)
    known = sorted(rules_of(read_policy(settings.system.policy)).embargo)
    if not set(names) <= set(known):
        raise click.BadParameter(f"The policy's embargoes are: {', '.join(known) or 'none'}.")
    with open_custody(settings) as custodian:
        receipt = custodian.lift(SubjectRef(kind, client_id), names, reason, tenant)
    say(
        as_json,
        {"lifted": names, "index": receipt.index},
        f"lifted: {', '.join(names)}; entry {receipt.index} of the log",
    )


@client.command()
@whom
@language_option
@click.option(
    "--out",
    type=ANY_FOLDER,
    help="A new folder for statement.pdf, signed, and statement.json, with its proofs.",
)
@config_option
@json_option
def statement(
    config: Path, as_json: bool, client_id: str, kind: str, tenant: str, lang: str, out: Path | None
) -> None:
    """What a client may be handed of who saw their data; what is under embargo leaves no trace in it."""
    from contextlib import nullcontext

    from privguard.audit.statement import DIGEST, ISSUED, PDF, digest, write
    from privguard.bootstrap import open_reader, open_trail, read_policy
    from privguard.cli.proofs import publish
    from privguard.files import write_new
    from privguard.machine import SystemClock
    from privguard.oversight.export import new_folder
    from privguard.oversight.layout import lay_out
    from privguard.oversight.statement import compose, prove, rules_of

    settings, whose = settings_of(config), SubjectRef(kind, client_id)
    policy = read_policy(settings.system.policy)
    rules, now_us = rules_of(policy), SystemClock().now_us()
    with (
        new_folder(out) if out else nullcontext() as place,
        open_trail(settings, system_account()) as trail,
    ):
        report = trail.statement(whose, tenant)
        made = compose(report, whose, policy, rules, now_us)
        layout = lay_out(made, lang, rules.offset)
        about, pdf = {DIGEST: digest(made)}, b""
        if place:
            pdf = _pdf(settings, layout, now_us // 1_000_000)
            about[PDF] = hashlib.sha256(pdf).hexdigest()
        issue = trail.issue(ISSUED, report.look, about, policy.digest, tenant).index
        published, tree = publish(settings, issue + 1)
        [(_, leaf)] = open_reader(settings).entries(issue, 1)
        file = write(prove(made, issue, leaf, published, tree.entries))
        if place:
            write_new(place / "statement.pdf", pdf, secret=True)
            write_new(place / "statement.json", file, secret=True)
    if not report.token:
        click.echo(
            "note: the log knows no such client, or the client was erased: "
            "see that the id and its --kind are right",
            err=True,
        )
    if as_json:
        click.echo(file, nl=False)
    elif out:
        click.echo(f"{out}: statement.pdf, and statement.json (`privguard audit verify --statement`)")
    else:
        click.echo("\n".join(layout.lines()))


def _pdf(settings: Settings, layout: Layout, made_s: int) -> bytes:
    from privguard.keystore.keyset_file import read_secret
    from privguard.oversight.pdf import render, sign

    if settings.audit.statement_signer is None:
        raise ConfigError(
            "Nothing signs statements: name a PEM file with a key and its certificate in [audit] "
            "statement_signer (docs/how-to/client-statement.md)."
        )
    return sign(render(layout, made_s), read_secret(settings.audit.statement_signer), made_s)
