"""The names of a policy and whether each is defined somewhere; what is not is an error."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from difflib import SequenceMatcher
from typing import Final

from msgspec import UNSET, Struct

from privguard.model import PUBLIC
from privguard.policy import notation
from privguard.policy.document import Document, FieldDef, PolicyFile, ResourceDef, RuleDef
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


def known_purposes(content: PolicyFile) -> list[str]:
    """Every purpose the policy declares, or names in a rule or as its default."""
    named = content.purposes or [name for rule in content.rules for name in rule.purpose or ()]
    return list(dict.fromkeys((*named, *([content.defaults.purpose] if content.defaults.purpose else []))))


def known_roles(content: PolicyFile) -> list[str]:
    """Every role the policy declares, or names in a rule."""
    return list(dict.fromkeys(content.roles or (role for rule in content.rules for role in rule.roles or ())))


def undefined(document: Document) -> Iterator[Finding]:
    """Names that nothing defines."""
    found = _References(document)
    yield from found.classes()
    for name, resource in document.content.resources.items():
        yield from found.resource(resource, ("resources", name))
    for number, rule in enumerate(document.content.rules):
        yield from found.rule(rule, ("rules", number))
    yield from found.elsewhere()
    yield from found.anomaly()
    yield from found.statement()
    yield from _alike(document)


class _References:
    def __init__(self, document: Document) -> None:
        self.document = document
        self.content = document.content
        self.class_names = [*self.content.classes, PUBLIC.name]

    def classes(self) -> Iterator[Finding]:
        for name, cls in self.content.classes.items():
            if cls.level is not UNSET:
                yield from self._known("level", cls.level, self.content.levels, ("classes", name, "level"))
            others = [other for other in self.content.classes if other != name]
            for number, link in enumerate(cls.links):
                yield from self._known("class to link", link, others, ("classes", name, "links", number))

    def resource(self, resource: ResourceDef, path: Path) -> Iterator[Finding]:
        for key, field in resource.fields.items():
            place = (*path, "fields", key)
            for name in notation.key_classes(key):
                yield from self._known("class", name, self.class_names, place, of_key=True)
            if isinstance(field, FieldDef) and field.resource is not UNSET:
                yield from self._known(
                    "resource", field.resource, self.content.resources, (*place, "resource")
                )
            else:
                name = str(field.cls) if isinstance(field, FieldDef) else field
                place = (*place, "class") if isinstance(field, FieldDef) else place
                yield from self._known("class", name, self.class_names, place)
        for key, name in resource.media.items():
            yield from self._known("class", name, self.class_names, (*path, "media", key))
        yield from self._params(resource, path)

    def _params(self, resource: ResourceDef, path: Path) -> Iterator[Finding]:
        filters = (*resource.fields, *self.class_names)
        for key, meaning in resource.params.items():
            if isinstance(meaning, str):
                known = (*MEANINGS, *filters)
                yield from self._known("meaning, field or class", meaning, known, (*path, "params", key))
            else:
                for number, name in enumerate(meaning):
                    place = (*path, "params", key, number)
                    yield from self._known("field or class", name, filters, place)

    def rule(self, rule: RuleDef, path: Path) -> Iterator[Finding]:
        yield from self._all("resource", rule.resource, self.content.resources, (*path, "resource"))
        if rule.relation is not UNSET:
            yield from self._known("relation", rule.relation, self.content.relations, (*path, "relation"))
        if self.content.roles:
            yield from self._all("role", rule.roles, self.content.roles, (*path, "roles"))
        if self.content.purposes:
            yield from self._all("purpose", rule.purpose, self.content.purposes, (*path, "purpose"))
        classes = list(self.content.classes)
        if isinstance(rule.forbid, tuple):
            yield from self._all("class to forbid", rule.forbid, classes, (*path, "forbid"))
        yield from self._all("class to reveal", rule.reveal, classes, (*path, "reveal"))
        if rule.show is not UNSET:
            yield from self._all("class", rule.show.clear, self.class_names, (*path, "show", "clear"))
            yield from self._all("class to mask", rule.show.masked, classes, (*path, "show", "masked"))
            yield from self._all("class to tokenise", rule.show.token, classes, (*path, "show", "token"))
        if rule.require and rule.require.approval and self.content.roles:
            role = rule.require.approval.role
            yield from self._known("role", role, self.content.roles, (*path, "require", "approval", "role"))

    def elsewhere(self) -> Iterator[Finding]:
        content = self.content
        if content.break_glass:
            place = ("break_glass", "reveal")
            yield from self._all("class to reveal", content.break_glass.reveal, list(content.classes), place)
        if content.roles:
            if content.break_glass:
                yield from self._all(
                    "role", content.break_glass.roles, content.roles, ("break_glass", "roles")
                )
                yield from self._all(
                    "role", content.break_glass.alert, content.roles, ("break_glass", "alert")
                )
            for role in content.budgets:
                yield from self._known("role", role, content.roles, ("budgets", role), of_key=True)
        if content.purposes and content.defaults.purpose:
            default = content.defaults.purpose
            yield from self._known("purpose", default, content.purposes, ("defaults", "purpose"))
        if not known_purposes(content):
            where = self.document.where("defaults")
            yield Finding("error", where, "no purpose is known", "defaults: {purpose: service}")

    def anomaly(self) -> Iterator[Finding]:
        content = self.content
        for name in content.anomaly.relations:
            place = ("anomaly", "relations", name)
            yield from self._known("relation", name, content.relations, place, of_key=True)
        kinds = {n if r.subject is UNSET else r.subject for n, r in content.resources.items()}
        for kind in content.anomaly.honey:
            yield from self._known("kind of client", kind, kinds, ("anomaly", "honey", kind), of_key=True)
        roles = content.roles or ()
        for level in LEVELS if roles else ():
            effect = getattr(content.anomaly.effects, level)
            place = ("anomaly", "effects", level)
            yield from self._all("role", effect.alert, roles, (*place, "alert"))
            if effect.require and effect.require.approval:
                role = effect.require.approval.role
                yield from self._known("role", role, roles, (*place, "require", "approval", "role"))

    def statement(self) -> Iterator[Finding]:
        content = self.content
        if content.statement is UNSET:
            return
        named = (*known_purposes(content), *known_roles(content))
        for name in content.statement.embargo:
            yield from self._known(
                "purpose or role", name, named, ("statement", "embargo", name), of_key=True
            )
        fields = [path for resource in content.resources.values() for path in resource.fields]
        media = [media for resource in content.resources.values() for media in resource.media]
        known = (*named, *content.relations, *fields, *media)
        for name in content.statement.names:
            if name not in known:  # entries of older policies may still hold it
                where = self.document.source.where(("statement", "names", name), key=True)
                mend = notation.nearest(name, known)
                yield Finding("warning", where, f"no role, purpose, relation or field is `{name}`", mend)

    def _all(
        self, what: str, names: Iterable[str] | object, known: Collection[str], path: Path
    ) -> Iterator[Finding]:
        for number, name in enumerate(names if isinstance(names, tuple) else ()):
            yield from self._known(what, name, known, (*path, number))

    def _known(
        self, what: str, name: str, known: Collection[str], path: Path, *, of_key: bool = False
    ) -> Iterator[Finding]:
        if name not in known:
            where = self.document.source.where(path, key=of_key)
            mend = notation.nearest(name, known)
            if name == PUBLIC.name:
                mend = "public fields are in clear for whoever may see the record"
            yield Finding("error", where, f"there is no {what} `{name}`", mend)


def _alike(document: Document) -> Iterator[Finding]:
    """Names that differ by so little that one of them is probably a slip, where none are declared."""
    content = document.content
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
                yield Finding("warning", document.where(*path), message, f"one name, or declare `{what}s`")
        seen[what, name] = None
