"""``privguard policy``: check, test and explain policies."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from privguard.cli.options import FILE, config_option, json_option, settings_of
from privguard.errors import ConfigError, PolicyError
from privguard.model import AccessRequest, Principal, Verb

if TYPE_CHECKING:
    from privguard.model import FieldView
    from privguard.policy import Document, Finding, Policy
    from privguard.policy.explain import Explanation
    from privguard.policy.suite import Report, Suite

_TESTS = "_test.yaml"
_files = click.argument("files", metavar="[FILE]...", nargs=-1, type=FILE)


@click.group()
def policy() -> None:
    """Check, test and explain policies.

    Without a file, the commands take the policy that the configuration names.
    """


@policy.command()
@_files
@config_option
@json_option
def lint(files: tuple[Path, ...], config: Path, as_json: bool) -> None:
    """Find what is wrong with policies: errors, which do not compile, and warnings. Exit 1 on an error."""
    wrong = [file for file in _chosen(files, config) if not _linted(file, as_json)]
    sys.exit(1 if wrong else 0)


@policy.command()
@_files
@config_option
@json_option
def test(files: tuple[Path, ...], config: Path, as_json: bool) -> None:
    """Run the tests beside policies: NAME_test.yaml beside NAME.yaml; either may be named.

    Prints what differed. Exit 1 when anything did, or when a policy has no tests.
    """
    failed = False
    for file in _chosen(files, config):
        try:
            report = _tested(file)
        except PolicyError as error:
            failed = True
            _complain(file, error, as_json)
            continue
        failed = failed or not report.passed
        _tell(file, report, as_json)
    sys.exit(1 if failed else 0)


@policy.command()
@click.argument("file", required=False, type=FILE)
@click.option("--as", "actor", metavar="NAME", help="An actor of the tests beside the policy.")
@click.option("--role", "roles", multiple=True, help="Or a role, which may be repeated.")
@click.option("--branch", help="With --role: the actor's branch.")
@click.option("--id", "actor_id", default="someone", show_default=True, help="With --role: the actor's id.")
@click.option("--resource", help="A resource of the policy; the first one by default.")
@click.option("--purpose", help="What for; the policy's default by default.")
@click.option(
    "--action",
    default="read",
    show_default=True,
    type=click.Choice(["read", "create", "update", "delete", "export"]),
    help="What is done to the record.",
)
@click.option(
    "--record", metavar="NAME|FILE", help="A record of the tests beside the policy, or a JSON file."
)
@click.option("--reveal", "reveal", multiple=True, help="A field or class asked for in clear.")
@click.option("--reason", help="The caller's reason.")
@click.option("--ticket", help="The caller's ticket.")
@config_option
@json_option
def explain(file: Path | None, config: Path, as_json: bool, **said: Any) -> None:
    """Say what an actor gets of a record and why: every rule, in order, and the views that follow."""
    from privguard.policy.explain import explain as explained

    file = _policy_file(_chosen((file,) if file else (), config)[0])
    compiled = _compiled(file)
    suite = _suite(file)
    request = AccessRequest(reason=said["reason"], ticket=said["ticket"], reveal=said["reveal"])
    explanation = explained(
        compiled,
        _actor(suite, said),
        said["resource"] or next(iter(compiled.shapes)),
        said["purpose"],
        _record(suite, said["record"]),
        request=request,
        action=Verb(said["action"]),
        now_us=suite.now_us if suite is not None else 0,
    )
    if as_json:
        click.echo(_json(explanation))
    else:
        for line in _lines(explanation):
            click.echo(line)


def _chosen(files: tuple[Path, ...], config: Path) -> tuple[Path, ...]:
    """The files named, or the policy of the configuration."""
    if files:
        return files
    if not config.exists():
        raise click.UsageError(f"Name a policy file, or a configuration with --config: there is no {config}.")

    return (Path(settings_of(config).system.policy),)


def _policy_file(file: Path) -> Path:
    return file.with_name(file.name.removesuffix(_TESTS) + ".yaml") if file.name.endswith(_TESTS) else file


def _document(file: Path) -> Document:
    from privguard.policy import load

    return load(_text(file), str(file))


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode()
    except OSError as error:
        raise PolicyError(error.strerror or "cannot be read", str(file)) from None
    except UnicodeDecodeError:
        raise PolicyError("not UTF-8", f"{file}:1:1", "save it as UTF-8") from None


def _compiled(file: Path) -> Policy:
    from privguard.policy import compile_policy

    return compile_policy(_document(file))


def _findings(file: Path) -> Iterator[Finding]:
    from privguard.policy import Finding, InvalidPolicyError
    from privguard.policy import lint as linted

    try:
        document = _document(file)
    except PolicyError as error:
        for each in error.errors if isinstance(error, InvalidPolicyError) else (error,):
            yield Finding("error", each.where, each.message, each.mend)
        return
    yield from linted(document)


def _linted(file: Path, as_json: bool) -> bool:
    """Prints the findings; whether none is an error."""
    findings = list(_findings(file))
    fine = all(finding.severity != "error" for finding in findings)
    for finding in findings:
        mend = f" ({finding.mend})" if finding.mend else ""
        text = f"{finding.where}: {finding.severity}: {finding.message}{mend}"
        click.echo(_json(finding) if as_json else text)
    if not as_json:
        click.echo(f"{file}: {'fine' if fine else 'errors'}")
    return fine


def _suite(file: Path) -> Suite | None:
    from privguard.policy.suite import load_suite

    beside = file.with_name(file.stem + _TESTS)
    return load_suite(_text(beside), str(beside)) if beside.exists() else None


def _tested(file: Path) -> Report:
    from privguard.policy.suite import run

    file = _policy_file(file)
    compiled = _compiled(file)
    suite = _suite(file)
    if suite is None:
        raise PolicyError(
            "the policy has no tests",
            f"{file}:1:1",
            f"write {file.stem}{_TESTS} beside it, as policies/ has it",
        )
    return run(compiled, suite, _masker(suite))


def _masker(suite: Suite) -> Any:
    """Masks a value as the gateway does, with tokens that are the same in every run."""
    from datetime import UTC, datetime

    from privguard.masking.operators import MaskTools, Use, make_operator

    today = datetime.fromtimestamp(suite.now_us / 1e6, UTC).date()
    tools = MaskTools(today=lambda: today, token=lambda tenant, cls, value: f"{cls}-of-a-test")

    def masked(view: FieldView, value: object) -> object:
        return make_operator(view.mask, Use("default", view.spec.cls.name, tools)).of(value)

    return masked


def _tell(file: Path, report: Report, as_json: bool) -> None:
    if as_json:
        for row in report.rows:
            click.echo(_json(row))
        return
    for row in report.rows:
        for difference in row.differs:
            click.echo(f"{row.where}: {row.title}: {difference}")
    wrong = sum(bool(row.differs) for row in report.rows)
    click.echo(f"{file}: {len(report.rows)} rows, {wrong or 'none'} of them wrong")
    if report.untried:
        click.echo(f"{file}: no row sees these rules at work: {', '.join(report.untried)}")


def _complain(file: Path, error: PolicyError, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"where": error.where or str(file), "title": "", "differs": [str(error)]}))
    else:
        click.echo(str(error), err=True)


def _actor(suite: Suite | None, said: dict[str, Any]) -> Principal:

    if said["actor"]:
        if suite is None or said["actor"] not in suite.content.actors:
            raise click.BadParameter(f"the tests beside the policy name {_actors(suite)}", param_hint="--as")
        return suite.actor(said["actor"])
    if not said["roles"]:
        raise click.UsageError(
            f"Say who asks: --role ROLE, or --as NAME (the tests beside the policy name {_actors(suite)})."
        )
    return Principal(id=said["actor_id"], roles=frozenset(said["roles"]), branch=said["branch"])


def _actors(suite: Suite | None) -> str:
    return ", ".join(suite.content.actors) if suite is not None else "nobody"


def _record(suite: Suite | None, name: str | None) -> dict[str, Any] | None:
    if name is None:
        return None
    if suite is not None and name in suite.content.records:
        return suite.content.records[name]
    try:
        record = json.loads(Path(name).read_bytes())
    except (OSError, ValueError):
        known = f" The tests name {', '.join(suite.content.records)}." if suite is not None else ""
        raise ConfigError(f"--record names neither a record of the tests nor a JSON file.{known}") from None
    if not isinstance(record, dict):
        raise ConfigError("The record is not a JSON object.")
    return record


def _lines(explanation: Explanation) -> Iterator[str]:
    yield f"{explanation.action} {explanation.resource} for {explanation.purpose}: {explanation.answer}"
    if explanation.detail:
        yield f"  {explanation.detail}"
    yield "rules"
    for rule in explanation.rules:
        yield f"  {'+' if rule.applied else ' '} {rule.id:20} {rule.effect:7} {rule.why}"
    if explanation.fields:
        yield "fields"
        for path, view, mask in explanation.fields:
            yield f"  {path:24} {view}{f' by {mask}' if view == 'masked' else ''}"
    if explanation.missing:
        words = "; ".join(f"{o.kind}: {o.detail}" if o.detail else o.kind for o in explanation.missing)
        yield f"missing  {words}"
    if explanation.offered:
        yield f"offered  {', '.join(explanation.offered)}"
    if explanation.failed:
        yield f"failed   {explanation.failed}"


def _json(value: object) -> str:
    import msgspec

    return msgspec.json.encode(value).decode()
