"""The names of a policy and whether each is defined somewhere; what is not is an error."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from difflib import SequenceMatcher
from typing import Final, NamedTuple

from msgspec import UNSET, Struct

from privguard.model import PUBLIC
from privguard.policy import notation
from privguard.policy.document import PolicyFile, Require, ResourceDef, RuleDef
from privguard.policy.effects import LEVELS
from privguard.policy.source import Path

MEANINGS: Final = ("sort-keys", "paging", "fields", "format", "public")
"""What a parameter may be for besides filtering by fields."""
_ALIKE: Final = 0.9


class Finding(Struct, frozen=True):
    """Something the linter has to say.

    Attributes:
        severity: ``error`` (does not compile) or ``warning``.
        where: ``file:line:column``.
    """

    severity: str
    where: str
    message: str
    mend: str = ""


class Wrong(NamedTuple):
    """A finding, by its path in the file; ``of_key``: of the key there, not of its value."""

    severity: str
    path: Path
    message: str
    mend: str = ""
    of_key: bool = False


def known_purposes(content: PolicyFile) -> list[str]:
    """Every purpose the policy declares, or names in a rule or as its default."""
    named = content.purposes or [name for rule in content.rules for name in rule.purpose or ()]
    return list(dict.fromkeys((*named, *([content.defaults.purpose] if content.defaults.purpose else []))))


def known_roles(content: PolicyFile) -> list[str]:
    """Every role the policy declares, or names in a rule."""
    return list(dict.fromkeys(content.roles or (role for rule in content.rules for role in rule.roles or ())))


def undefined(content: PolicyFile) -> Iterator[Wrong]:
    """Names that nothing defines."""
    yield from _classes(content)
    for name, resource in content.resources.items():
        yield from _resource(content, resource, ("resources", name))
    for number, rule in enumerate(content.rules):
        yield from _rule(content, rule, ("rules", number))
    yield from _elsewhere(content)
    yield from _anomaly(content)
    yield from _statement(content)
    yield from _alike(content)


def _classes(content: PolicyFile) -> Iterator[Wrong]:
    for name, cls in content.classes.items():
        if cls.level is not UNSET:
            yield from _unknown("level", cls.level, content.levels, ("classes", name, "level"))
        others = [other for other in content.classes if other != name]
        yield from _each("class to link", cls.links, others, ("classes", name, "links"))


def _resource(content: PolicyFile, resource: ResourceDef, path: Path) -> Iterator[Wrong]:
    classes = [*content.classes, PUBLIC.name]
    for key, field in resource.fields.items():
        place = (*path, "fields", key)
        for name in notation.key_classes(key):
            yield from _unknown("class", name, classes, place, of_key=True)
        if isinstance(field, str):
            yield from _unknown("class", field, classes, place)
        elif field.resource is not UNSET:
            yield from _unknown("resource", field.resource, content.resources, (*place, "resource"))
        else:
            yield from _unknown("class", str(field.cls), classes, (*place, "class"))
    for key, name in resource.media.items():
        yield from _unknown("class", name, classes, (*path, "media", key))
    filters = (*resource.fields, *classes)
    for key, meaning in resource.params.items():
        place = (*path, "params", key)
        if isinstance(meaning, str):
            yield from _unknown("meaning, field or class", meaning, (*MEANINGS, *filters), place)
        else:
            yield from _each("field or class", meaning, filters, place)


def _rule(content: PolicyFile, rule: RuleDef, path: Path) -> Iterator[Wrong]:
    yield from _each("resource", rule.resource, content.resources, (*path, "resource"))
    if rule.relation is not UNSET:
        yield from _unknown("relation", rule.relation, content.relations, (*path, "relation"))
    yield from _roles(content, rule.roles, (*path, "roles"))
    if content.purposes:
        yield from _each("purpose", rule.purpose, content.purposes, (*path, "purpose"))
    classes = list(content.classes)
    yield from _each("class to forbid", rule.forbid, classes, (*path, "forbid"))
    yield from _each("class to reveal", rule.reveal, classes, (*path, "reveal"))
    if rule.show is not UNSET:
        yield from _each("class", rule.show.clear, [*classes, PUBLIC.name], (*path, "show", "clear"))
        yield from _each("class to mask", rule.show.masked, classes, (*path, "show", "masked"))
        yield from _each("class to tokenise", rule.show.token, classes, (*path, "show", "token"))
    yield from _approver(content, rule.require, path)


def _elsewhere(content: PolicyFile) -> Iterator[Wrong]:
    if content.break_glass:
        glass = content.break_glass
        yield from _each("class to reveal", glass.reveal, list(content.classes), ("break_glass", "reveal"))
        yield from _roles(content, glass.roles, ("break_glass", "roles"))
        yield from _roles(content, glass.alert, ("break_glass", "alert"))
    for role in content.budgets if content.roles else ():
        yield from _unknown("role", role, content.roles or (), ("budgets", role), of_key=True)
    if content.purposes and content.defaults.purpose:
        yield from _unknown("purpose", content.defaults.purpose, content.purposes, ("defaults", "purpose"))
    if not known_purposes(content):
        yield Wrong("error", ("defaults",), "no purpose is known", "defaults: {purpose: service}")


def _anomaly(content: PolicyFile) -> Iterator[Wrong]:
    for name in content.anomaly.relations:
        place = ("anomaly", "relations", name)
        yield from _unknown("relation", name, content.relations, place, of_key=True)
    for name in content.anomaly.private:
        place = ("anomaly", "private", name)
        yield from _unknown("resource", name, content.resources, place, of_key=True)
    if content.anomaly.sensitive and not any(resource.tier for resource in content.resources.values()):
        yield Wrong(
            "error", ("anomaly", "sensitive"), "no resource has a tier", "say where it is: `tier: PATH`"
        )
    kinds = {resource.subject or name for name, resource in content.resources.items()}
    for kind in content.anomaly.honey:
        yield from _unknown("kind of client", kind, kinds, ("anomaly", "honey", kind), of_key=True)
    for level in LEVELS:
        effect = getattr(content.anomaly.effects, level)
        yield from _roles(content, effect.alert, ("anomaly", "effects", level, "alert"))
        yield from _approver(content, effect.require, ("anomaly", "effects", level))


def _statement(content: PolicyFile) -> Iterator[Wrong]:
    if content.statement is UNSET:
        return
    named = (*known_purposes(content), *known_roles(content))
    for name in content.statement.embargo:
        yield from _unknown("purpose or role", name, named, ("statement", "embargo", name), of_key=True)
    fields = [path for resource in content.resources.values() for path in resource.fields]
    media = [media for resource in content.resources.values() for media in resource.media]
    known = (*named, *content.relations, *fields, *media)
    for name in content.statement.names:
        if name not in known:  # entries of older policies may still hold it
            message, mend = f"no role, purpose, relation or field is `{name}`", notation.nearest(name, known)
            yield Wrong("warning", ("statement", "names", name), message, mend, of_key=True)


def _roles(content: PolicyFile, names: object, path: Path) -> Iterator[Wrong]:
    """Roles that are not among those the policy declares, if it declares any."""
    if content.roles:
        yield from _each("role", names, content.roles, path)


def _approver(content: PolicyFile, require: Require | object, path: Path) -> Iterator[Wrong]:
    if isinstance(require, Require) and require.approval and content.roles:
        place = (*path, "require", "approval", "role")
        yield from _unknown("role", require.approval.role, content.roles, place)


def _each(what: str, names: object, known: Collection[str], path: Path) -> Iterator[Wrong]:
    for number, name in enumerate(names if isinstance(names, tuple) else ()):
        yield from _unknown(what, name, known, (*path, number))


def _unknown(
    what: str, name: str, known: Collection[str], path: Path, *, of_key: bool = False
) -> Iterator[Wrong]:
    if name not in known:
        mend = notation.nearest(name, known)
        if name == PUBLIC.name:
            mend = "public fields are in clear for whoever may see the record"
        yield Wrong("error", path, f"there is no {what} `{name}`", mend, of_key)


def _alike(content: PolicyFile) -> Iterator[Wrong]:
    """Names that differ by so little that one of them is probably a slip, where none are declared."""
    uses: list[tuple[str, str, Path]] = []
    for number, rule in enumerate(content.rules):
        if not content.roles:
            uses += [("role", name, ("rules", number, "roles", n)) for n, name in enumerate(rule.roles or ())]
        if not content.purposes:
            named = enumerate(rule.purpose or ())
            uses += [("purpose", name, ("rules", number, "purpose", n)) for n, name in named]
    seen: dict[tuple[str, str], None] = {}
    for what, name, path in uses:
        for other_what, other in seen:
            if what == other_what and name != other and SequenceMatcher(None, name, other).ratio() >= _ALIKE:
                message = f"{what} `{name}` is almost `{other}`"
                yield Wrong("warning", path, message, f"one name, or declare `{what}s`")
        seen[what, name] = None
