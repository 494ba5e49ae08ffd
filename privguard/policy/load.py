"""Text to ``Document``: shape first, then the notations inside; every error found, each with its place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from msgspec import UNSET

from privguard.errors import PolicyError
from privguard.policy import notation
from privguard.policy.conditions import parse as condition
from privguard.policy.document import (
    Document,
    EffectDef,
    FieldDef,
    PolicyFile,
    Require,
    ResourceDef,
    RouteDef,
    RuleDef,
)
from privguard.policy.effects import LEVELS
from privguard.policy.notation import NotationError
from privguard.policy.shape import build
from privguard.policy.source import InvalidPolicyError, Path, read

EFFECTS: Final = ("forbid", "gate", "show", "reveal", "export")
_MEDIA: Final = re.compile(r"[a-z]+/[a-z0-9][a-z0-9.+-]*")
Wrong = tuple[Path, str, str]
"""Where in the file, what is wrong, the mend."""


def load(text: str, name: str = "policy.yaml") -> Document:
    """Reads a policy file.

    Args:
        text: the file's text.
        name: what errors call it.

    Raises:
        InvalidPolicyError: everything that is wrong with its shape, else with the notations in it.
        PolicyError: it is not YAML.
    """
    source = read(text, name)
    content = build(PolicyFile, source)
    found = sorted(_wrong(content), key=lambda wrong: source.places.get(wrong[0], (0, 0)))
    if found:
        raise InvalidPolicyError(
            PolicyError(detail, source.where(path), mend) for path, detail, mend in found
        )
    return Document(content, source)


def _wrong(content: PolicyFile) -> Iterator[Wrong]:
    for name, cls in content.classes.items():
        yield from _try(notation.mask, cls.mask, "classes", name, "mask")
        if name == "public":
            yield ("classes", name), "`public` is built in", "use it without defining it"
    for name, resource in content.resources.items():
        yield from _resource(resource, ("resources", name))
    for name, text in content.relations.items():
        yield from _try(condition, text, "relations", name)
    for number, rule in enumerate(content.rules):
        yield from _rule(rule, ("rules", number))
    yield from _twice(content)
    for number, text in enumerate(content.passthrough):
        yield from _try(notation.template, text, "passthrough", number)
    if content.break_glass is not UNSET:
        yield from _require(content.break_glass.require, ("break_glass", "require"))
    for name, private in content.anomaly.private.items():
        for kind in private.__struct_fields__:
            paths = getattr(private, kind)
            for path in (paths,) if isinstance(paths, str) else paths:
                yield from _try(notation.record_value, path, "anomaly", "private", name, kind)
    for level in LEVELS:
        yield from _effect(getattr(content.anomaly.effects, level), ("anomaly", "effects", level))


def _try(reader: Callable[..., object], value: object, *path: str | int) -> Iterator[Wrong]:
    """What ``reader`` says against a value."""
    try:
        reader(value)
    except NotationError as error:
        yield path, error.detail, error.mend


def _resource(resource: ResourceDef, path: Path) -> Iterator[Wrong]:
    for number, route in enumerate(resource.match):
        text = route.route if isinstance(route, RouteDef) else route
        yield from _try(notation.template, text, *path, "match", number)
        if text.endswith("/*"):
            yield (*path, "match", number), "`*` is for passthrough only", "name each route of the resource"
    for number, place in enumerate(resource.records):
        yield from _try(notation.record_place, place, *path, "records", number)
    for key in resource.envelope:
        yield from _try(notation.field_path, key, *path, "envelope", key)
    if resource.id is not UNSET:
        yield from _try(notation.id_path, resource.id, *path, "id")
    if resource.tier is not UNSET:
        yield from _try(notation.record_value, resource.tier, *path, "tier")
    for key in resource.params:
        yield from _try(notation.parameter, key, *path, "params", key)
    for key in resource.columns:
        yield from _try(notation.record_value, key, *path, "columns", key)
    for key in resource.media:
        if not _MEDIA.fullmatch(key):
            yield (*path, "media", key), "this is not a media type", "such as image/png, in small letters"
    for key, field in resource.fields.items():
        yield from _try(notation.field_path, key, *path, "fields", key)
        if isinstance(field, FieldDef):
            yield from _field(field, (*path, "fields", key))


def _field(field: FieldDef, path: Path) -> Iterator[Wrong]:
    if (field.cls is UNSET) is (field.resource is UNSET):
        yield path, "a field has a class, or a resource that is nested there", "{class: name}"
    if field.mask is not UNSET:
        yield from _try(notation.mask, field.mask, *path, "mask")
        if field.resource is not UNSET:
            yield (*path, "mask"), "a nested record has no mask of its own", "its resource says how it leaves"


def _rule(rule: RuleDef, path: Path) -> Iterator[Wrong]:
    effects = [name for name in EFFECTS if getattr(rule, name) is not UNSET]
    if len(effects) != 1:
        detail = "does nothing" if not effects else f"does {' and '.join(effects)} at once"
        yield path, f"rule `{rule.id}` {detail}", f"give it one of {', '.join(EFFECTS)}"
    for key, effect in (("grant", "reveal"), ("quota", "reveal")):
        if getattr(rule, key) is not UNSET and effect not in effects:
            yield (
                (*path, key),
                f"only a `{effect}` rule has a {key}",
                f"remove it, or make this a {effect} rule",
            )
    if rule.require is UNSET:
        if "gate" in effects:
            yield path, f"gate `{rule.id}` asks for nothing", "require: {mfa: {max_age: 30m}}"
    elif "forbid" in effects:
        yield (*path, "require"), "a forbid has no way out", "make it a gate, or remove `require`"
    else:
        yield from _require(rule.require, (*path, "require"))
    if rule.show is not UNSET:
        yield from _show(rule, (*path, "show"))


def _effect(effect: EffectDef, path: Path) -> Iterator[Wrong]:
    if effect.require is not UNSET:
        yield from _require(effect.require, (*path, "require"))
    if effect.deny and path[-1] != "rule":
        yield (*path, "deny"), "statistics refuse nobody: only `rule` denies", "require: {mfa: {max_age: 5m}}"


def _show(rule: RuleDef, path: Path) -> Iterator[Wrong]:
    seen: set[str] = set()
    for view in ("clear", "masked", "token"):
        names = getattr(rule.show, view)
        for number, name in enumerate(names or ()):
            if name in seen:
                yield (*path, view, number), f"`{name}` stands twice in this rule", "name the view you mean"
            seen.add(name)
    if not seen:
        yield path, f"rule `{rule.id}` shows nothing", "show: {masked: [contact]}"


def _require(require: Require, path: Path) -> Iterator[Wrong]:
    if not any(getattr(require, name) is not UNSET for name in require.__struct_fields__):
        yield path, "nothing is required here", "such as mfa: {max_age: 15m}"
    if require.ticket is not UNSET:
        try:
            re.compile(require.ticket)
        except (re.error, OverflowError, RecursionError):
            yield (*path, "ticket"), "this is not a regular expression", 'such as "AML-\\\\d+"'


def _twice(content: PolicyFile) -> Iterator[Wrong]:
    seen: set[str] = set()
    for number, rule in enumerate(content.rules):
        if rule.id in seen:
            yield ("rules", number, "id"), f"there are two rules `{rule.id}`", "each needs an id of its own"
        seen.add(rule.id)
