"""Finds what is wrong with a policy that can be read: errors, which do not compile, and warnings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from privguard.policy import notation
from privguard.policy.conditions import OWN, parse
from privguard.policy.document import Document, FieldDef, PolicyFile, ResourceDef, RuleDef, class_of
from privguard.policy.links import left_by, revealing_links
from privguard.policy.notation import Template
from privguard.policy.references import Finding, Wrong, undefined
from privguard.policy.routes import governed, overlap, precedence
from privguard.policy.rules import SHOWN
from privguard.policy.source import Path


def lint(document: Document) -> list[Finding]:
    """Everything the linter has to say, in the order of the text.

    Names that nothing defines come alone: what follows from them is not worth reading before they are mended.
    """
    found = list(undefined(document.content))
    if not any(wrong.severity == "error" for wrong in found):
        found += [wrong for check in _CHECKS for wrong in check(document.content)]
    told = [
        Finding(
            wrong.severity, document.source.where(wrong.path, key=wrong.of_key), wrong.message, wrong.mend
        )
        for wrong in found
    ]
    return sorted(told, key=lambda finding: _line(finding.where))


def _line(where: str) -> tuple[int, int]:
    _, line, column = where.rsplit(":", 2)
    return int(line), int(column)


def _routes(content: PolicyFile) -> Iterator[Wrong]:
    """Two routes for one request, and passthrough of what a resource governs."""
    known = governed(content)
    places = [
        ("resources", name, "match", number)
        for name, resource in content.resources.items()
        for number in range(len(resource.match))
    ]
    for position, ((one, _), place) in enumerate(zip(known, places, strict=True)):
        for other, resource in known[:position]:
            if overlap(one, other) and precedence(one) == precedence(other):
                mend = f"`{other.text}` of `{resource}` takes the same requests: remove one"
                yield Wrong("error", place, f"`{one.text}` is there already", mend)
            elif overlap(one, other) and not _ordered(precedence(one), precedence(other)):
                message = f"`{one.text}` and `{other.text}` take the same requests"
                mend = "what is exact further to the left wins: see that the upstream does the same"
                yield Wrong("warning", place, message, mend)
    for number, text in enumerate(content.passthrough):
        for other, resource in known:
            if overlap(notation.template(text), other):
                message = f"passthrough `{text}` overlaps `{other.text}` of `{resource}`"
                yield Wrong("error", ("passthrough", number), message, "name the routes that pass one by one")


def _ordered(one: tuple[bool, ...], other: tuple[bool, ...]) -> bool:
    """Whether one template is exact wherever the other is."""
    pairs = list(zip(one, other, strict=True))
    return all(a <= b for a, b in pairs) or all(a >= b for a, b in pairs)


def _identities(content: PolicyFile) -> Iterator[Wrong]:
    """Resources of which nobody can tell whose record it is."""
    for name, resource in content.resources.items():
        place = ("resources", name)
        if not resource.id and "id" not in resource.fields:
            message = f"nothing says whose record a `{name}` is"
            yield Wrong("error", place, message, 'id: id, or a route parameter: id: "{id}"')
        if resource.id and resource.id.startswith("{"):
            for number, (route, _) in enumerate(r for r in governed(content) if r[1] == name):
                if resource.id not in route.parts:
                    message = f"`{route.text}` has no parameter {resource.id}"
                    yield Wrong(
                        "error", (*place, "match", number), message, "the resource's id is this parameter"
                    )


def _writes(content: PolicyFile) -> Iterator[Wrong]:
    """Routes that change a record which the gateway cannot read first, so that nobody's relation holds."""
    known = governed(content)
    read = {(route.text, name) for route, name in known if "{id}" in route.parts}
    for name in content.resources:
        for number, (route, _) in enumerate(r for r in known if r[1] == name):
            before = f"GET {route.text.partition(' ')[2]}"
            if route.verb.value in ("update", "delete") and (before, name) not in read:
                message = (
                    f"`{route.text}` changes a record that cannot be read first: no relation holds for it"
                )
                mend = f"match `{before}` too, and call the record's parameter {{id}}"
                yield Wrong("warning", ("resources", name, "match", number), message, mend)


def _below(content: PolicyFile) -> Iterator[Wrong]:
    """Routes below a client's record: whether there is a client must not be told by them (M12)."""
    reading = [(route, name) for route, name in governed(content) if not route.verb.writes]
    records = {route.text: route for route, _ in reading if route.parts[-1].startswith("{")}
    for name, resource in content.resources.items():
        place = ("resources", name)
        parent = records.get(resource.below or "")
        if resource.below and parent is None:
            mend = "name a route of a resource that ends with a parameter: GET /clients/{id}"
            yield Wrong("error", (*place, "below"), f"`{resource.below}` shows no record", mend)
        for number, (route, _) in enumerate(r for r in reading if r[1] == name):
            above = [text for text, other in records.items() if _hangs(route, other)]
            if parent is not None and not _hangs(route, parent):
                message = f"`{route.text}` does not go on from `{resource.below}`"
                yield Wrong("error", (*place, "match", number), message, "begin it with the record's path")
            elif above and not resource.below:
                message = f"`{route.text}` tells whether there is a client, to whoever may call it"
                yield Wrong("warning", (*place, "match", number), message, f"below: {above[0]}")


def _hangs(route: Template, record: Template) -> bool:
    count = len(record.parts)
    return len(route.parts) > count and route.parts[:count] == record.parts


def _paths(content: PolicyFile) -> Iterator[Wrong]:
    """Paths that cannot stand in one record, or one answer."""
    for name, resource in content.resources.items():
        yield from _clashes(
            (notation.steps(key), ("resources", name, "fields", key)) for key in resource.fields
        )
        places: list[tuple[tuple[str, ...], Path]] = [
            (notation.steps(place), ("resources", name, "records", number))
            for number, place in enumerate(resource.records)
        ]
        places += [(notation.steps(key), ("resources", name, "envelope", key)) for key in resource.envelope]
        for form in ("alone", "rows", "around"):
            for wrong in _clashes(path for path in places if _form(path[0]) == form):
                lists = wrong.path[2] == "records"
                mend = "a list and one record at the same place are two resources, each with its routes"
                yield wrong._replace(mend=mend) if lists else wrong


def _form(steps: tuple[str, ...]) -> str:
    """Which form of an answer a place is of: a record alone, a list of them, or an object around them."""
    if not steps:
        return "alone"
    return "rows" if steps[0] == "[*]" else "around"


def _clashes(paths: Iterable[tuple[tuple[str, ...], Path]]) -> Iterator[Wrong]:
    tree = _Tree()
    for steps, place in paths:
        if (detail := _grow(tree, steps)) is not None:
            yield Wrong("error", place, detail, "one place, one meaning: see the paths above it")


class _Tree(dict[str, "_Tree"]):
    """What stands where: steps below steps; the empty step marks a value."""


def _grow(tree: _Tree, steps: tuple[str, ...]) -> str | None:
    """Puts a path into the tree; says why it cannot."""
    for step in steps:
        if "" in tree:
            return "another path says that this is one value"
        if any(not _beside(step, other) for other in tree):
            return "another path says that something else stands here"
        tree = tree.setdefault(step, _Tree())
    if tree:
        return "this stands here twice" if "" in tree else "other paths say that this has parts"
    tree[""] = _Tree()
    return None


def _beside(one: str, other: str) -> bool:
    """Whether two steps can lead on from one place: names can, and any key beside names."""
    apart = [step for step in (one, other) if step in ("[*]", "{json}") or step.startswith("<")]
    return one == other or not apart


def _masks(content: PolicyFile) -> Iterator[Wrong]:
    """Masks that mask nothing, or tell too much."""
    specs: list[tuple[Path, object]] = [(("classes", n, "mask"), c.mask) for n, c in content.classes.items()]
    for name, resource in content.resources.items():
        for path, field in resource.fields.items():
            if isinstance(field, FieldDef) and field.mask:
                specs.append((("resources", name, "fields", path, "mask"), field.mask))
    for place, spec in specs:
        mask = notation.mask(spec)  # type: ignore[arg-type]  # of a document that loaded
        if mask.operator == "clear":
            mend = "show the class in clear to whom you trust with it"
            yield Wrong("error", place, "`clear` is no mask", mend)
        if mask.operator == "partial" and left_by(mask) > 8:
            message = f"this leaves {left_by(mask)} characters: all of a short value"
            yield Wrong("warning", place, message, "leave 8 at most")


def _classes(content: PolicyFile) -> Iterator[Wrong]:
    """Classes nobody uses, and filters that tell a masked value (M01, M02)."""
    resources = content.resources.values()
    used = {cls for resource in resources for cls in resource.classes}
    used |= {cls for resource in resources for path in resource.fields for cls in notation.key_classes(path)}
    shows = [rule.show for rule in content.rules if rule.show]
    masked = {cls for show in shows for cls in (show.masked or ()) + (show.token or ())}
    for name, cls in content.classes.items():
        place = ("classes", name)
        if name not in used:
            yield Wrong("warning", place, f"no field is of class `{name}`", "remove it, or use it")
        if cls.search == "any" and name in masked:
            message = f"`{name}` is masked for some, and anybody may search it by parts"
            mend = "search: exact, or none: prefixes tell it (M01)"
            yield Wrong("warning", (*place, "search"), message, mend)
        if cls.sort == "allow" and name in masked:
            message = f"`{name}` is masked for some, and anybody may sort by it"
            mend = "sort: deny: the order tells the value (M02)"
            yield Wrong("warning", (*place, "sort"), message, mend)


def _relations(content: PolicyFile) -> Iterator[Wrong]:
    """Relations nobody uses, and claims that look misspelt."""
    used = {rule.relation for rule in content.rules if rule.relation}
    for name, text in content.relations.items():
        place = ("relations", name)
        if name not in used:
            yield Wrong("warning", place, f"no rule uses relation `{name}`", "remove it, or use it")
        for claim in parse(text).claims:
            close = notation.nearest(claim, OWN)
            if claim not in OWN and close.startswith("did you mean"):
                yield Wrong("warning", place, f"`subject.{claim}` is read from the actor's claims", close)


def _steering(content: PolicyFile) -> Iterator[Wrong]:
    """Fields that rules decide by and that an actor may write: who writes them decides who sees (M07)."""
    paths = {path for text in content.relations.values() for path in parse(text).reads}
    updated = {
        cls for r in content.rules if r.show and "update" in (r.action or SHOWN) for cls in r.show.clear or ()
    }
    for name, resource in content.resources.items():
        steering = (paths | {resource.tier or ""}) - {resource.id or "id"}
        for path, field in resource.fields.items():
            if path.removesuffix("[*]") not in steering:
                continue
            cls = class_of(field)
            if cls and cls in updated and cls in content.classes and content.classes[cls].write != "never":
                message = f"rules decide by `{path}`, and whoever sees it in clear may write it"
                mend = "give it a class with `write: never`"
                yield Wrong("warning", ("resources", name, "fields", path), message, mend)


def _rules(content: PolicyFile) -> Iterator[Wrong]:
    for number, rule in enumerate(content.rules):
        place = ("rules", number)
        yield from _tiers(content, rule, (*place, "tier"))
        yield from _clear(content, rule, place)
        yield from _never(content, rule, place)
        if rule.show and not rule.roles and not rule.relation:
            message = f"rule `{rule.id}` shows every record to everybody"
            yield Wrong("warning", place, message, "name roles, or a relation")


def _tiers(content: PolicyFile, rule: RuleDef, path: Path) -> Iterator[Wrong]:
    if not rule.tier:
        return
    resources = _resources(content, rule)
    without = [name for name, resource in resources if not resource.tier]
    if without and (rule.forbid or rule.gate):
        message = f"rule `{rule.id}` is for tiers, and {', '.join(without)} has none"
        yield Wrong("error", path, message, "say where the tier is, or name the rule's `resource`")
    elif len(without) == len(resources):
        message = f"rule `{rule.id}` can never match: none of its resources has a tier"
        yield Wrong("warning", path, message, "tier: PATH in the resource")


def _clear(content: PolicyFile, rule: RuleDef, path: Path) -> Iterator[Wrong]:
    """Classes that never leave in clear, revealed; and masks that leave nothing, shown."""
    for name in (rule.reveal or ()) + ((rule.show.clear or ()) if rule.show else ()):
        if name in content.classes and content.classes[name].reveal == "never":
            message = f"rule `{rule.id}` lets `{name}` leave in clear, which says `reveal: never`"
            yield Wrong("error", path, message, "remove it from the rule")
    for name in (rule.show.masked or ()) if rule.show else ():
        own = any(
            isinstance(field, FieldDef) and field.cls == name and field.mask
            for _, resource in _resources(content, rule)
            for field in resource.fields.values()
        )
        if not own and notation.mask(content.classes[name].mask).operator == "withhold":
            message = f"rule `{rule.id}` shows `{name}` masked, and its mask withholds it"
            yield Wrong("warning", path, message, "give the class a mask, or remove it from the rule")


def _never(content: PolicyFile, rule: RuleDef, path: Path) -> Iterator[Wrong]:
    """A rule that can never match."""
    named = set(rule.reveal or ()) | (set(rule.forbid) if isinstance(rule.forbid, tuple) else set())
    if rule.show:
        named |= {cls for view in (rule.show.clear, rule.show.masked, rule.show.token) for cls in view or ()}
    if named and named.isdisjoint(
        cls for _, resource in _resources(content, rule) for cls in resource.classes
    ):
        message = f"rule `{rule.id}` can never match: its resources have no field of its classes"
        yield Wrong("warning", path, message, "name other classes, or other resources")
    for other in content.rules:
        if other.forbid == "all" and rule is not other and not rule.forbid and _covers(other, rule):
            message = f"rule `{rule.id}` can never match: `{other.id}` forbids all of it"
            yield Wrong("warning", path, message, "remove one of the two")


def _covers(forbid: RuleDef, rule: RuleDef) -> bool:
    """Whether the forbid applies whenever the rule does."""
    if forbid.relation or forbid.tier:
        return False
    pairs = ((getattr(forbid, key), getattr(rule, key)) for key in ("roles", "resource", "purpose", "action"))
    return all(not wide or (narrow and set(narrow) <= set(wide)) for wide, narrow in pairs)


def _unshown(content: PolicyFile) -> Iterator[Wrong]:
    """Resources of which no rule shows anything."""
    showing = [rule for rule in content.rules if rule.show or rule.reveal]
    for name in content.resources:
        if not any(not rule.resource or name in rule.resource for rule in showing):
            yield Wrong("warning", ("resources", name), f"no rule shows anything of `{name}`", "show: …")


def _broken_glass(content: PolicyFile) -> Iterator[Wrong]:
    for number, name in enumerate(content.break_glass.reveal if content.break_glass else ()):
        if name in content.classes and content.classes[name].reveal == "never":
            place = ("break_glass", "reveal", number)
            yield Wrong("error", place, f"`{name}` says `reveal: never`", "remove it here")


def _resources(content: PolicyFile, rule: RuleDef) -> list[tuple[str, ResourceDef]]:
    return [(n, r) for n, r in content.resources.items() if not rule.resource or n in rule.resource]


_CHECKS = (
    _routes,
    _identities,
    _writes,
    _below,
    _paths,
    _masks,
    _classes,
    _relations,
    _steering,
    _rules,
    _unshown,
    _broken_glass,
    revealing_links,
)
