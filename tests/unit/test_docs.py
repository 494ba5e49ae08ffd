"""The documentation says what there is: settings, problems, commands, policy keys, links, examples."""

from __future__ import annotations

import ast
import importlib
import json
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import click
import msgspec
import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from privguard import errors
from privguard.asgi.headers import _SAID
from privguard.asgi.problem import problem_response
from privguard.cli import cli
from privguard.cli.policy import _masker
from privguard.cli.tour import steps
from privguard.config import Settings, json_schema
from privguard.gateway.own import own_routes
from privguard.guard import Guard
from privguard.policy import compile_policy, document, lint, load, suite
from privguard.stepup.assurance import PROFILES
from privguard.testing import guard_core

REPO = Path(__file__).parent.parent.parent
REFERENCE = REPO / "docs" / "reference"
PAGES = sorted(
    {
        *REPO.glob("*.md"),
        *REPO.glob("docs/**/*.md"),
        *REPO.glob("examples/**/*.md"),
        *REPO.glob("tests/parity/*.md"),
    }
)
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def text(page: Path) -> str:
    return page.read_text("utf-8")


def blocks(page: Path, *languages: str) -> list[str]:
    """The fenced blocks of a page that are marked so."""
    return [body for language, body in FENCE.findall(text(page)) if language in languages]


def sections(page: Path) -> dict[str, str]:
    """What stands under each heading, up to the next one of any depth; headings without backticks."""
    parts = re.split(r"^#+ +(.+)$", FENCE.sub("", text(page)), flags=re.MULTILINE)
    return {heading.replace("`", ""): body for heading, body in zip(parts[1::2], parts[2::2], strict=True)}


def rows(section: str) -> Iterator[list[str]]:
    """The cells of each table row, less heads and rules."""
    lines = section.splitlines()
    for above, line in zip(["", *lines], lines, strict=False):
        if line.startswith("| ") and not line.startswith("| ---") and above != "":
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def named(section: str) -> dict[str, list[str]]:
    """Rows by every name in backticks in their first cell, less the head."""
    return {name: cells for cells in rows(section) for name in re.findall(r"`([^`]+)`", cells[0])}


# -- settings -----------------------------------------------------------------------------------------------


def tables(model: type[BaseModel], name: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Every table of the configuration file with its heading."""
    for key, field in model.model_fields.items():
        inner = next(models(field.annotation), None)
        if inner is not None:
            path = f"{name}.{key}" if name else key
            array = isinstance(field.annotation, object) and str(field.annotation).startswith("tuple[")
            yield (f"[[{path}]]" if array else f"[{path}]"), inner
            yield from tables(inner, path)


def models(kind: object) -> Iterator[type[BaseModel]]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    for part in get_args(kind):
        yield from models(part)


def default_of(field: Any) -> str:
    """A default as TOML writes it."""
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, dict):
        inner = ", ".join(f"{key} = {json.dumps(each)}" for key, each in value.items())
        return f"`{{{inner}}}`"
    if isinstance(value, Path):
        value = str(value)
    return "none" if value is None else f"`{json.dumps(value)}`"


def test_every_setting_has_its_row_with_its_default() -> None:
    found = sections(REFERENCE / "configuration.md")
    headings = dict(tables(Settings))
    assert {heading for heading in found if heading.startswith("[")} == set(headings)
    for heading, model in headings.items():
        written = {key: cells[2] for key, cells in named(found[heading]).items()}
        plain = {
            key: default_of(field)
            for key, field in model.model_fields.items()
            if key in written or not any(models(field.annotation))
        }
        assert written == plain, heading


def test_every_setting_says_what_it_means() -> None:
    for heading, model in tables(Settings):
        for key, field in model.model_fields.items():
            assert field.description or any(models(field.annotation)), f"{heading} {key}"


def test_the_schema_of_the_configuration_is_generated() -> None:
    assert json.loads(text(REFERENCE / "privguard.schema.json")) == json_schema(), (
        "write config.json_schema() to docs/reference/privguard.schema.json"
    )


# -- problems, headers, routes ----------------------------------------------------------------------------


def kinds(of: type[errors.PrivguardError] = errors.PrivguardError) -> Iterator[type[errors.PrivguardError]]:
    yield of
    for kind in of.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield from kinds(kind)


def one(kind: type[errors.PrivguardError]) -> errors.PrivguardError:
    if issubclass(kind, errors.FactorRefusedError):
        return kind()
    return errors.UpstreamRefusedError(302) if kind is errors.UpstreamRefusedError else kind("")


def test_every_problem_has_its_row_with_its_status() -> None:
    written = named(sections(REFERENCE / "http.md")["Problems"])
    statuses: dict[str, set[str]] = {}
    for kind in kinds():
        error = one(kind)
        statuses.setdefault(kind.problem, set()).add(str(problem_response(error)[0]))
    statuses["not-permitted"].add(str(problem_response(errors.AccessDeniedError(hidden=True))[0]))
    assert {name for name in written if not name.startswith("urn:")} == set(statuses)
    for name, expected in statuses.items():
        assert set(re.findall(r"\d{3}", written[name][1])) == expected, name


def test_members_of_problems_stand_in_their_row() -> None:
    written = named(sections(REFERENCE / "http.md")["Problems"])
    for kind in kinds():
        error = one(kind)
        for member in error.members():
            assert f"`{member}`" in written[kind.problem][3], kind.problem


def test_every_request_header_has_its_row() -> None:
    written = named(sections(REFERENCE / "http.md")["Request headers"])
    assert {name.lower().encode() for name in written if name.startswith("Privguard-")} == set(_SAID)


class NoTree:
    """A log of which nothing was published."""

    def published(self) -> None:
        return None

    def entries(self, level: int, start: int, stop: int) -> tuple[bytes, ...]:
        return ()


def test_every_route_of_the_gateway_has_its_row() -> None:
    core, _ = guard_core(text(REPO / "policies" / "minimal.yaml"))
    app = own_routes(Guard(core), lambda: None, NoTree(), None, {})
    paths = {path for route in app.routes if isinstance(path := getattr(route, "path", None), str)}
    assert set(named(sections(REFERENCE / "http.md")["The gateway's own routes"])) >= paths


# -- commands -----------------------------------------------------------------------------------------------


def commands(group: click.Group, name: str = "privguard") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for key in group.list_commands(context):
        command = group.get_command(context, key)
        if isinstance(command, click.Group):
            yield from commands(command, f"{name} {key}")
        elif command is not None:
            yield f"{name} {key}", command


COMMANDS = dict(commands(cli))


def test_every_command_and_option_has_its_row() -> None:
    found = sections(REFERENCE / "cli.md")
    assert {heading for heading in found if heading.startswith("privguard")} == set(COMMANDS)
    for name, command in COMMANDS.items():
        written = {word for word in named(found[name]) if word.startswith("-") or word.isupper()}
        options = {p.opts[-1] for p in command.params if isinstance(p, click.Option)}
        arguments = {
            p.human_readable_name.strip("[].") for p in command.params if isinstance(p, click.Argument)
        }
        assert written == options | {re.sub(r"S?\W*$", "", each) for each in arguments}, name
    shared = {p.opts[0] for p in cli.params} | {"--help"}
    assert shared <= set(named(found["Commands"]))


def spoken() -> Iterator[tuple[str, str]]:
    """Every command line of privguard in a block of the documentation."""
    for page in PAGES:
        for block in blocks(page, "", "sh", "console"):
            for line in block.splitlines():
                if found := re.match(r"(?:\$ )?(privguard .*)", line):
                    yield page.name, found[1]


@pytest.mark.parametrize(("page", "line"), list(spoken()))
def test_command_lines_in_the_documentation_can_be_called(page: str, line: str) -> None:
    words = [word for word in shlex.split(line, comments=True) if word != "&"]
    name = next((n for n in (" ".join(words[:3]), " ".join(words[:2])) if n in COMMANDS), None)
    assert name is not None, line
    known = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


# -- policy -------------------------------------------------------------------------------------------------

HEADINGS: Mapping[type[document.Part], str] = {
    document.PolicyFile: "The file",
    document.Defaults: "defaults",
    document.ClassDef: "classes",
    document.ResourceDef: "resources",
    document.NarrowDef: "Narrow",
    document.RouteDef: "Routes",
    document.FieldDef: "Fields",
    document.RuleDef: "rules",
    document.Show: "show",
    document.Export: "export",
    document.Require: "require",
    document.Mfa: "mfa",
    document.Reason: "reason",
    document.Approval: "approval",
    document.Hours: "hours",
    document.GrantDef: "grant",
    document.BreakGlassDef: "break_glass",
    document.BudgetDef: "budgets",
    document.AnomalyDef: "anomaly",
    document.PrivateDef: "private",
    document.EffectsDef: "effects",
    document.EffectDef: "effect",
    document.StatementDef: "statement",
    document.NameDef: "names",
    suite.SuiteFile: "Tests",
    suite.ActorDef: "actors",
    suite.Case: "rows",
    suite.Context: "context",
}


def test_every_key_of_a_policy_has_its_row() -> None:
    found = sections(REFERENCE / "policy.md")
    assert set(HEADINGS) == set(document.Part.__subclasses__())
    for part, heading in HEADINGS.items():
        written = {name: cells for name, cells in named(found[heading]).items() if cells[0] == f"`{name}`"}
        fields = {field.encode_name: field for field in msgspec.structs.fields(part)}
        assert set(written) == set(fields), heading
        for name, field in fields.items():
            assert (written[name][2] == "required") is field.required, f"{heading} {name}"
            if isinstance(field.default, str | int) and field.default != "":
                assert (
                    field.default == written[name][2].strip("`")
                    or str(field.default).lower() in written[name][2]
                ), f"{heading} {name}"


def test_the_examples_of_the_policy_reference_are_one_policy_whose_tests_pass() -> None:
    page = REFERENCE / "policy.md"
    made = load("\n".join(blocks(page, "yaml")), "policy.md")
    assert lint(made) == []
    tests = suite.load_suite("\n".join(blocks(page, "yaml tests")), "policy.md")
    report = suite.run(compile_policy(made), tests, _masker(tests))
    assert [row for row in report.rows if row.differs] == []


def test_the_rule_of_the_tutorial_makes_its_tests_pass() -> None:
    [more], [rule] = (
        blocks(REPO / "docs/tutorial.md", "yaml rows"),
        blocks(REPO / "docs/tutorial.md", "yaml rule"),
    )
    tests = suite.load_suite(text(REPO / "policies/bank_test.yaml") + more, "tests")
    policy = text(REPO / "policies/bank.yaml")
    before, after = policy, policy.replace("\nbreak_glass:", f"{rule}\nbreak_glass:")
    wrong = [
        sum(bool(row.differs) for row in suite.run(compile_policy(load(each)), tests, _masker(tests)).rows)
        for each in (before, after)
    ]
    assert wrong == [1, 0]


# -- links and examples -------------------------------------------------------------------------------------


def slugs(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ +(.+)$", FENCE.sub("", text(page)), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def links() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", text(page))):
            if "://" not in target and not target.startswith("mailto:"):
                yield str(page.relative_to(REPO)), target


@pytest.mark.parametrize(("page", "target"), list(links()))
def test_links_lead_somewhere(page: str, target: str) -> None:
    path, _, anchor = target.partition("#")
    file = (REPO / page).parent / path if path else REPO / page
    assert file.exists(), f"{page}: {target}"
    assert not anchor or anchor in slugs(file), f"{page}: {target}"


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name
)
def test_python_examples_name_what_there_is(page: Path) -> None:
    for block in blocks(page, "python"):
        tree = ast.parse(block)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module or "")
                assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    importlib.import_module(alias.name)
            elif isinstance(node, ast.Attribute) and ast.unparse(node).startswith("privguard."):
                resolve(ast.unparse(node))


def resolve(name: str) -> object:
    """A dotted name of privguard, imported as far as it is modules."""
    found: Any = importlib.import_module("privguard")
    for at, part in enumerate(name.split(".")[1:], start=2):
        if not hasattr(found, part):
            importlib.import_module(".".join(name.split(".")[:at]))
        found = getattr(found, part)
    return found


def test_the_numbers_of_the_profiles_are_those_that_hold() -> None:
    page = sections(REPO / "docs" / "how-to" / "step-up.md")["What the profiles hold to"]
    said = {name: cells[2:] for cells in rows(page) for name in re.findall(r"^`(\S+)` \(", cells[0])}
    spans = {60: "min", 3600: "h"}

    def span(seconds: int) -> str:
        unit = max(each for each in spans if seconds >= each)
        return f"{seconds // unit} {spans[unit]}"

    assert said == {
        name: [f"{one.tries}, {span(one.lock_s)}", span(one.session_s), span(one.idle_s)]
        for name, one in PROFILES.items()
    }


def test_readme_shows_the_tour_as_it_is() -> None:
    sys.path.insert(0, str(REPO / "examples"))
    samples = importlib.import_module("bank_crm").SAMPLES
    stories = {f"{number}. {step.story}" for number, step in enumerate(steps(samples, 19, (20,)), start=1)}
    shown = text(REPO / "README.md").split("<!-- tour:start -->")[1].split("<!-- tour:end -->")[0]
    numbered = {line.strip() for line in shown.splitlines() if re.match(r" ?\d+\. ", line)}
    assert len(numbered) >= 4
    assert numbered <= stories
    assert "shortened" in shown
