"""``privguard audit``: the trail, for people."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from privguard.cli.handed import forms
from privguard.cli.options import (
    ANY_FILE,
    config_option,
    json_option,
    kind_option,
    language_option,
    say,
    settings_of,
    tenant_option,
    trail_of,
)
from privguard.cli.proofs import checkpoint, prove, publish, trust, verify, write_bundle, write_proof
from privguard.cli.recovery import operator, recover, sign
from privguard.cli.retention import prune
from privguard.model import SubjectRef

if TYPE_CHECKING:
    from privguard.audit.floor import Sealed
    from privguard.config import Settings
    from privguard.oversight.export import Proofs
    from privguard.oversight.filters import Filter
    from privguard.oversight.trail import Entry, Shown
    from privguard.oversight.wording import Words

F = TypeVar("F", bound=Callable[..., Any])


class _Moment(click.ParamType[int]):
    """An ISO 8601 date or time; UTC where it names no zone. Gives microseconds since the epoch."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail("not a date or time: write 2026-11-01 or 2026-11-01T09:30:00+08:00", param, ctx)
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return int(moment.timestamp() * 1_000_000)


_LISTS = {
    "actor": "who asked",
    "role": "a role of who asked",
    "action": "the action, as source:subject:verb, or its beginning up to a colon (gateway:)",
    "outcome": "the outcome: permitted, denied, challenged, aborted or intent",
    "purpose": "what for",
    "rule": "id of a rule that decided",
    "field": "path of a field that left clear",
    "system": "the guarded system",
    "risk": "how unusual it was: low, raised, high, severe, rule or unknown",
}


_SINGLE = (
    click.option("--client", help="The client's id in the CRM."),
    kind_option,
    click.option("--since", type=_Moment(), help="Log time from here on (UTC unless it says otherwise)."),
    click.option("--until", type=_Moment(), help="Log time before this."),
    tenant_option,
)


def filters(command: F) -> F:
    """The options that say which entries; the same for every command that has them."""
    lists = [
        click.option(f"--{name}", multiple=True, help=f"{meaning[0].upper()}{meaning[1:]}; may repeat.")
        for name, meaning in _LISTS.items()
    ]
    for option in reversed((*lists, *_SINGLE)):
        command = option(command)
    return command


@click.group()
def audit() -> None:
    """Search, show, report and export the trail; every look is on it."""


@audit.command()
@filters
@click.option(
    "--limit", default=50, show_default=True, type=click.IntRange(1, 10_000), help="Entries a page."
)
@click.option("--cursor", help="Where the page before ended.")
@config_option
@json_option
def search(config: Path, as_json: bool, limit: int, cursor: str | None, **asked: Any) -> None:
    """Entries that match, newest first, a page at a time."""
    with trail_of(config) as trail:
        page, sealed = trail.search(_filter(asked), limit=limit, cursor=cursor), trail.sealed()
    _print(page.entries, as_json)
    if page.cursor is not None:
        click.echo(f"more: --cursor {page.cursor}", err=True)
    else:
        _say(sealed)


@audit.command()
@filters
@click.option("-n", "count", default=20, show_default=True, type=click.IntRange(1, 10_000), help="Entries.")
@config_option
@json_option
def tail(config: Path, as_json: bool, count: int, **asked: Any) -> None:
    """The newest entries that match, oldest of them first."""
    with trail_of(config) as trail:
        entries = trail.tail(_filter(asked), count)
    _print(entries, as_json)


@audit.command()
@click.argument("entry")
@tenant_option
@language_option
@config_option
@json_option
def show(config: Path, as_json: bool, entry: str, tenant: str, lang: str) -> None:
    """One entry, by index or event id, with its detail and the clients' names as far as keys still are."""
    from privguard.anomaly.explain import sentence
    from privguard.oversight.alarms import evidence_of

    with trail_of(config) as trail:
        shown = trail.show(entry, tenant)
    key, origin = _key(shown)
    names = {token: f"{client.kind} {client.id}" for token, client in shown.clients.items()}
    if as_json:
        parts = [_lossless(part) for part in shown.parts]
        detail = shown.detail and dict(shown.detail)
        _json({"entries": parts, "detail": detail, "clients": names, "key": key, "origin": origin})
        return
    for part in shown.parts:
        click.echo(msgspec.json.format(part.data, indent=2).decode())
    for token, name in names.items():
        click.echo(f"{token} is {name}")
    if shown.detail is None:
        click.echo("detail: erased, or kept elsewhere")
    for name, text in shown.detail or ():
        click.echo(f"{name}: {text}")
    if key is not None:
        signed = f"signed, at {origin}," if key else "DID NOT SIGN"
        click.echo(f"the security key {signed} what is said to be approved")
    if (risk := shown.parts[0].leaf.risk) is not None:
        for reason in evidence_of(risk.why):
            click.echo(f"unusual: {sentence(reason, lang)}")


def _key(shown: Shown) -> tuple[bool | None, str]:
    """Whether a security key signed what an entry says, and where; None: none did, or it is erased."""
    from privguard.errors import FactorRefusedError

    leaf, detail = shown.parts[0].leaf, dict(shown.detail or ())
    if "assertion" not in leaf.about or "approved" not in detail:
        return None, ""
    from privguard.stepup.webauthn import check_approved  # loading it takes 0.2 s

    try:
        scope, origin = check_approved(leaf.about, detail)
    except FactorRefusedError:
        return False, ""
    said = (scope.tenant, scope.actor, scope.purpose, set(scope.clients))
    verb = leaf.action.rpartition(":")[2]
    if verb in ("approve", "refuse") and scope.action != verb:
        return False, origin
    return said == (leaf.tenant, leaf.actor, leaf.purpose, set(shown.clients.values())), origin


@audit.command()
@click.argument("client")
@kind_option
@tenant_option
@click.option(
    "--proof",
    type=ANY_FILE,
    help="A new file for the report with its proof that no entry is missing.",
)
@language_option
@config_option
@json_option
def report(
    config: Path, as_json: bool, client: str, kind: str, tenant: str, proof: Path | None, lang: str
) -> None:
    """Who saw a client, newest first; complete, or it fails: every entry of the client's chain is there."""
    from privguard.oversight.layout import report_line
    from privguard.oversight.wording import Words

    words, offset = (Words(lang), "") if lang == "en" else _policy_words(config, lang)
    with trail_of(config) as trail:
        found = trail.report(SubjectRef(kind, client), tenant)
        if proof is not None:
            write_proof(config, proof, found)
            return
        if lang == "en" or as_json:
            _print(found.entries, as_json)
        else:
            for entry in found.entries:
                click.echo(report_line(entry, words, offset))
    click.echo(words("complete").format(found.count), err=True)
    _say(found.sealed)


@audit.command()
@click.argument("folder", type=click.Path(path_type=Path))
@filters
@click.option(
    "--format",
    "form",
    type=click.Choice(["ndjson", "csv", "xlsx", "ocsf", "cef"]),
    default="ndjson",
    show_default=True,
    help="The form of the entries.",
)
@click.option(
    "--bundle", is_flag=True, help="The whole log with checkpoint and tiles, for strangers to verify."
)
@config_option
@json_option
def export(config: Path, as_json: bool, folder: Path, form: str, bundle: bool, **asked: Any) -> None:
    """Everything that matches, oldest first, into a folder that is not there yet; without a cap."""
    from privguard import __version__
    from privguard.oversight.export import export
    from privguard.oversight.filters import Filter

    wanted, settings = _filter(asked), settings_of(config)
    if bundle and wanted != Filter():  # the look on record would say less than what is handed out
        raise click.UsageError("A bundle is the whole log: leave the filters out, or --bundle.")
    if bundle:
        with trail_of(config) as trail:
            trail.every(wanted)
        count = write_bundle(settings, folder)
        text = f"{count} entries are in {folder}: privguard audit verify --bundle {folder} --key FILE"
        say(as_json, {"folder": str(folder), "count": count}, text)
        return
    with trail_of(config) as trail:
        receipt, entries = trail.every(wanted)
        proving, made = _proofs(settings, receipt.index + 1), forms(receipt.origin, __version__)[form]
        sealed = trail.sealed()
        count = export(folder, made, wanted, receipt, entries, proving, sealed)
    how = (
        f"privguard audit verify --export {folder} --key FILE"
        if proving
        else "the log is unsigned: no proofs"
    )
    if as_json:
        _json({"folder": str(folder), "count": count})
    else:
        click.echo(f"{count} entries are in {folder}: {how}")
        _say(sealed)


for command in (trust, checkpoint, prove, verify, prune, recover, operator, sign):
    audit.add_command(command)


def _say(sealed: Sealed | None) -> None:
    """Says what is not here any more, so that nobody takes the rest for all."""
    from privguard.oversight.trail import words_of

    if sealed is not None:
        click.echo(f"{words_of(sealed)}.", err=True)


def _policy_words(config: Path, lang: str) -> tuple[Words, str]:
    """A language with the policy's names, and the offset of times; without where the policy has none."""
    from privguard.bootstrap import read_policy
    from privguard.oversight.wording import Words

    said = read_policy(settings_of(config).system.policy).statement
    if said is None:
        return Words(lang), "+00:00"
    return Words(lang, msgspec.to_builtins(said.names)), said.offset


def _proofs(settings: Settings, size: int) -> Proofs | None:
    """What proves the entries before ``size``; None where the log is unsigned."""
    from privguard.audit.proof import inclusions
    from privguard.oversight.export import Proofs

    if settings.audit.signing_keys is None:
        return None
    published, tree = publish(settings, size)
    return Proofs(published.note, inclusions(published.size, tree.entries))


def _filter(asked: dict[str, Any]) -> Filter:
    from privguard.oversight.filters import Filter

    client, kind = asked.pop("client"), asked.pop("kind")
    asked["since_us"], asked["until_us"] = asked.pop("since"), asked.pop("until")
    asked["client"] = None if client is None else SubjectRef(kind, client)
    try:
        return msgspec.convert(asked, Filter)
    except msgspec.ValidationError:
        raise click.UsageError(
            "An outcome is permitted, denied, challenged, aborted or intent; "
            "a risk is low, raised, high, severe, rule or unknown; at most 500 actions."
        ) from None


def _print(entries: Iterable[Entry], as_json: bool) -> None:
    from privguard.oversight.rows import row_of, unmasked
    from privguard.oversight.wording import Words

    for entry in entries:
        if as_json:
            _json(_lossless(entry))
            continue
        row = row_of(entry)
        said = [
            str(row.index),
            row.time,
            row.actor or "-",
            row.action,
            row.outcome,
            row.problem or row.purpose,
        ]
        named = (
            ("clear", row.clear),
            ("masked", row.masked),
            ("clients", str(len(row.clients.split()) or "")),
            ("risk", "" if row.risk == "low" else f"{row.risk} ({row.why})" if row.why else row.risk),
        )
        said += [f"{name}: {value}" for name, value in named if value]
        said += [Words("en")("observed")] * unmasked(entry.leaf)
        click.echo("  ".join(part for part in said if part))


def _lossless(entry: Entry) -> dict[str, object]:
    """The leaf's own bytes, so that they can be hashed again."""
    return {"index": entry.index, "leaf": msgspec.Raw(entry.data)}


def _json(value: object) -> None:
    click.echo(msgspec.json.encode(value))
