"""Document to ``Policy``: what ``lint`` calls an error does not compile."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import UNSET

from privguard.errors import PolicyError
from privguard.model import PUBLIC, SENSITIVE, ClassSpec, FieldSpec, ResourceShape
from privguard.policy import notation
from privguard.policy.conditions import parse
from privguard.policy.decide import Policy
from privguard.policy.document import ClassDef, Document, FieldDef, PolicyFile, PrivateDef, ResourceDef, given
from privguard.policy.effects import compile_effects
from privguard.policy.lint import lint
from privguard.policy.references import known_purposes
from privguard.policy.requirements import Requirements
from privguard.policy.routes import Router, governed
from privguard.policy.rules import compile_break_glass, compile_rule
from privguard.policy.source import InvalidPolicyError


def compile_policy(document: Document) -> Policy:
    """Compiles a policy.

    Raises:
        InvalidPolicyError: the linter finds errors: names that nothing defines, or combinations that leak.
    """
    errors = [finding for finding in lint(document) if finding.severity == "error"]
    if errors:
        raise InvalidPolicyError(PolicyError(f.message, f.where, f.mend) for f in errors)
    content = document.content
    classes = {name: _class(name, spec) for name, spec in content.classes.items()} | {PUBLIC.name: PUBLIC}
    requirements = Requirements()
    glass = given(content.break_glass)
    return Policy(
        document,
        shapes={name: _shape(name, spec, content, classes) for name, spec in content.resources.items()},
        rules=[compile_rule(rule, requirements) for rule in content.rules],
        emergency=compile_break_glass(glass, requirements) if glass else None,
        effects=compile_effects(content.anomaly, requirements),
        relations={name: parse(text) for name, text in content.relations.items()},
        router=Router(governed(content), [notation.template(text) for text in content.passthrough]),
        purposes=known_purposes(content),
    )


def _class(name: str, spec: ClassDef) -> ClassSpec:
    return ClassSpec(
        name=name,
        level=given(spec.level) or "",
        mask=notation.mask(spec.mask),
        search=spec.search,
        sort=spec.sort,
        write=spec.write,
        reveal=spec.reveal,
    )


def _shape(
    name: str, spec: ResourceDef, content: PolicyFile, classes: Mapping[str, ClassSpec]
) -> ResourceShape:
    defaults = content.defaults
    return ResourceShape(
        name=name,
        kind=given(spec.subject) or name,
        records=spec.records,
        # A body that is one field as a whole has its media type as its path, so that rulings have its view.
        fields=tuple(
            _field(path, field, classes) for path, field in (*spec.fields.items(), *spec.media.items())
        ),
        id=given(spec.id) or "id",
        tier=given(spec.tier),
        envelope=tuple(spec.envelope.items()),
        params=tuple((key, (m,) if isinstance(m, str) else m) for key, m in spec.params.items()),
        media=tuple((media, classes[cls]) for media, cls in spec.media.items()),
        withheld_as=defaults.withheld_as or "null",
        unknown_params=given(spec.unknown_params) or defaults.unknown_params,
        columns=tuple(spec.columns.items()),
        below=len(notation.template(spec.below).parts) if spec.below else 0,
        private=(
            *_private(content.anomaly.private.get(name, PrivateDef())),
            *([(SENSITIVE, (str(spec.tier),))] if spec.tier and content.anomaly.sensitive else []),
        ),
    )


def _private(spec: PrivateDef) -> tuple[tuple[str, tuple[str, ...]], ...]:
    paths = {kind: getattr(spec, kind) for kind in PrivateDef.__struct_fields__}
    return tuple((kind, (each,) if isinstance(each, str) else each) for kind, each in paths.items() if each)


def _field(path: str, field: str | FieldDef, classes: Mapping[str, ClassSpec]) -> FieldSpec:
    if isinstance(field, str):
        return FieldSpec(path, classes[field], classes[field].mask)
    if field.resource is not UNSET:
        return FieldSpec(path, nested=field.resource)
    cls = classes[str(field.cls)]
    return FieldSpec(path, cls, cls.mask if field.mask is UNSET else notation.mask(field.mask))
