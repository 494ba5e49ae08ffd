"""The policy file as values: what may stand in it, one Struct per mapping, and its JSON Schema.

The Structs are the one definition of version 1: ``load`` builds them, ``policies/schema.json`` is generated
from them. Everything here is as written; ``compile`` turns it into what decides.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from privguard.model import Verb
from privguard.policy.source import Source

Name = Annotated[
    str,
    Meta(
        pattern="^[A-Za-z_][A-Za-z0-9_-]{0,63}$",
        description="A name: a letter, then letters, digits, _ or -.",
    ),
]
Label = Annotated[str, Meta(min_length=1, max_length=200, description="A name as another system uses it.")]
CLOCK: Final = "^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$"
OFFSET: Final = "^[+-](0[0-9]|1[0-4]):[0-5][0-9]$"
Duration = Annotated[
    str, Meta(pattern="^[1-9][0-9]{0,5}[smhd]$", description="A duration such as 90s, 30m, 12h or 365d.")
]
Quota = Annotated[
    str, Meta(pattern="^[1-9][0-9]{0,5}/(hour|day)$", description="A number per hour or day: 30/day.")
]
Expression = Annotated[
    str,
    Meta(
        max_length=500,
        description="A condition on subject.… and record.…: == != < <= > >= in, not in, and, or, not, has().",
    ),
]
FieldPaths = Annotated[
    str | tuple[str, ...], Meta(description="A path below the record, or several whose texts are one.")
]
RelationKind = Literal[
    "portfolio", "branch", "task", "call", "cover", "campaign", "kin", "address", "employer", "surname"
]
Names = Annotated[tuple[Name, ...], Meta(min_length=1)]
Labels = Annotated[tuple[Label, ...], Meta(min_length=1)]
Argument = str | int | tuple[str | int, ...]
MaskDef = Annotated[
    str | dict[str, Argument | dict[str, Argument]],
    Meta(description="A masking operator: its name, or {name: {argument: value}}, or {name: value}."),
]


T = TypeVar("T")


def given(value: T | UnsetType) -> T | None:
    """What a key says; None where it is left out."""
    return None if isinstance(value, UnsetType) else value


class Part(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A mapping of the policy file; unknown keys are errors."""


class Defaults(Part, frozen=True, kw_only=True):
    """What holds where nothing else is said."""

    unclassified: Annotated[
        Literal["withhold"], Meta(description="A field that no resource names: always withheld.")
    ] = "withhold"
    withheld_as: Annotated[
        Literal["absent", "null", None],
        Meta(description="Whether a withheld field is left out or null, for front ends that need the key."),
    ] = "absent"
    unknown_params: Annotated[
        Literal["deny", "drop"], Meta(description="A query parameter that no resource names.")
    ] = "deny"
    ungoverned_route: Annotated[
        Literal["deny"], Meta(description="A route that neither a resource nor a passthrough names.")
    ] = "deny"
    on_error: Annotated[Literal["deny"], Meta(description="A condition that cannot be evaluated.")] = "deny"
    purpose: Annotated[
        Name | UnsetType,
        Meta(description="The purpose of requests that name none; else they are refused."),
    ] = UNSET


class ClassDef(Part, frozen=True, kw_only=True):
    """A kind of field."""

    level: Annotated[Label | UnsetType, Meta(description="One of `levels`.")] = UNSET
    mask: MaskDef = "withhold"
    search: Annotated[
        Literal["none", "exact", "any"],
        Meta(description="How those may filter by it who do not see it in clear."),
    ] = "none"
    sort: Annotated[
        Literal["allow", "deny"], Meta(description="Whether those may sort by it who do not see it in clear.")
    ] = "deny"
    write: Annotated[
        Literal["any", "clear_only", "never"],
        Meta(description="Who may write it: whoever sees it, who sees it in clear, nobody."),
    ] = "clear_only"
    reveal: Annotated[
        Literal["allowed", "never"], Meta(description="Whether it may ever leave in clear.")
    ] = "allowed"
    links: Annotated[
        tuple[Name, ...],
        Meta(description="Classes whose masks, beside this one's, would reveal each other."),
    ] = ()
    description: str = ""


class RouteDef(Part, frozen=True, kw_only=True):
    """A route whose action its method does not tell."""

    route: Annotated[str, Meta(description="Method and path template: POST /clients/{id}.")]
    action: Annotated[Verb, Meta(description="What the route does to a record.")]


class FieldDef(Part, frozen=True, kw_only=True):
    """A field: its class, a mask of its own, or the resource that is nested there."""

    cls: Annotated[Name | UnsetType, Meta(description="The field's class.")] = msgspec.field(
        name="class", default=UNSET
    )
    mask: MaskDef | UnsetType = UNSET
    resource: Annotated[Name | UnsetType, Meta(description="The resource whose records stand here.")] = UNSET


class NarrowDef(Part, frozen=True, kw_only=True):
    """A query parameter that the upstream narrows its lists by, set to what the actor is."""

    roles: Annotated[Labels, Meta(description="Whose lists: actors with any of these roles.")]
    param: Annotated[Label, Meta(description="The upstream's query parameter.")]
    by: Annotated[
        str,
        Meta(
            pattern=r"^subject(\.[A-Za-z_][A-Za-z0-9_]*)+$",
            description="What it is set to: subject.id, subject.branch.",
        ),
    ]


class ResourceDef(Part, frozen=True, kw_only=True):
    """Where in an answer records stand, and what they are made of."""

    match: Annotated[
        tuple[str | RouteDef, ...],
        Meta(
            description="Routes of this resource: GET /clients/{id}. Without, it exists only inside others."
        ),
    ] = ()
    records: Annotated[
        tuple[str, ...],
        Meta(min_length=1, description="Every place of a record: $.items[*], $.client."),
    ] = ("$",)
    envelope: Annotated[
        dict[str, Literal["public", "count", "paging_url", "withhold"]],
        Meta(description="What stands outside the records; unnamed is withheld."),
    ] = {}
    id: Annotated[
        str | UnsetType, Meta(description="Whose record it is: a record path, or a route parameter as {id}.")
    ] = UNSET
    subject: Annotated[
        Name | UnsetType, Meta(description="Kind of client; resources of one kind count as one client.")
    ] = UNSET
    below: Annotated[
        str | UnsetType,
        Meta(
            description="Route of the client's record that this resource hangs on: GET /clients/{id}. The "
            "record is asked for and judged first; where it may not be seen, nothing below it may."
        ),
    ] = UNSET
    tier: Annotated[str | UnsetType, Meta(description="Record path of the client's tier.")] = UNSET
    params: Annotated[
        dict[str, str | Annotated[tuple[str, ...], Meta(min_length=1)]],
        Meta(
            description="Query parameters (one * allowed): fields or classes they filter by, or sort-keys, "
            "paging, fields, format, public."
        ),
    ] = {}
    narrow: Annotated[
        tuple[NarrowDef, ...],
        Meta(
            description="What the upstream is made to narrow lists by, so that links to further pages leave."
        ),
    ] = ()
    unknown_params: Literal["deny", "drop"] | UnsetType = UNSET
    media: Annotated[
        dict[str, Name], Meta(description="Bodies that are one field as a whole: media type and class.")
    ] = {}
    columns: Annotated[
        dict[str, Annotated[str, Meta(min_length=1, max_length=4)]],
        Meta(description="Fields that a CSV holds as a list within one column, with the separator."),
    ] = {}
    fields: Annotated[
        dict[str, Name | FieldDef],
        Meta(description="Field path and class; a field not named here is withheld."),
    ]
    description: str = ""

    @property
    def classes(self) -> list[str]:
        """The classes of its fields, and of its bodies that are one field."""
        return [*filter(None, map(class_of, self.fields.values())), *self.media.values()]


def class_of(field: str | FieldDef) -> str | None:
    """The class of a field; None for a nested record."""
    return field if isinstance(field, str) else field.cls or None


class Show(Part, frozen=True, kw_only=True):
    """Classes by the view they are shown in."""

    clear: Names | UnsetType = UNSET
    masked: Names | UnsetType = UNSET
    token: Names | UnsetType = UNSET


class Export(Part, frozen=True, kw_only=True):
    """Bulk answers."""

    formats: Annotated[
        tuple[Literal["csv", "xlsx", "ndjson", "xml"], ...],
        Meta(min_length=1, description="Formats that may leave."),
    ]
    max_clients: Annotated[
        Annotated[int, Meta(ge=1)] | UnsetType, Meta(description="Most clients one export may hold.")
    ] = UNSET


class Mfa(Part, frozen=True, kw_only=True):
    """A second factor, no longer ago than this."""

    max_age: Duration
    phishing_resistant: bool = False


class Reason(Part, frozen=True, kw_only=True):
    """A reason in words."""

    min: Annotated[int, Meta(ge=1, le=500, description="Fewest characters.")] = 1


class Approval(Part, frozen=True, kw_only=True):
    """A second person."""

    role: Label


class Hours(Part, frozen=True, kw_only=True):
    """Times of the week; ``to`` itself is outside."""

    since: Annotated[str, Meta(pattern=CLOCK, description="08:00")] = msgspec.field(name="from")
    to: Annotated[str, Meta(pattern=CLOCK, description="18:30; 24:00 for the day's end")]
    days: Annotated[
        tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...], Meta(min_length=1)
    ] = ("mon", "tue", "wed", "thu", "fri")
    offset: Annotated[str, Meta(pattern=OFFSET, description="Times are meant at this offset.")] = "+00:00"


class Require(Part, frozen=True, kw_only=True):
    """What must be met first; all of it."""

    mfa: Mfa | UnsetType = UNSET
    reason: Reason | UnsetType = UNSET
    ticket: Annotated[str | UnsetType, Meta(description="Expression the whole ticket matches.")] = UNSET
    training: Annotated[
        Annotated[dict[Label, Duration], Meta(min_length=1)] | UnsetType,
        Meta(description="Courses passed no longer ago than this."),
    ] = UNSET
    approval: Approval | UnsetType = UNSET
    zone: Annotated[Labels | UnsetType, Meta(description="Network zones to be in, one of them.")] = UNSET
    device: Annotated[
        Literal["managed"] | UnsetType, Meta(description="The actor's attribute managed_device is true.")
    ] = UNSET
    hours: Annotated[Hours | UnsetType, Meta(description="Times to be in.")] = UNSET


class GrantDef(Part, frozen=True, kw_only=True):
    """How long and how often a grant holds."""

    ttl: Duration
    reads: Annotated[int, Meta(ge=1, le=10_000)] = 1


class RuleDef(Part, frozen=True, kw_only=True):
    """A rule; exactly one of forbid, gate, show, reveal, export says what it does."""

    id: Name
    forbid: Annotated[
        Literal["all"] | Names | UnsetType, Meta(description="Refuses the record, or withholds classes.")
    ] = UNSET
    gate: Annotated[
        Literal["all"] | UnsetType, Meta(description="Nothing of the record before `require` is met.")
    ] = UNSET
    show: Annotated[Show | UnsetType, Meta(description="Shows classes.")] = UNSET
    reveal: Annotated[
        Names | UnsetType, Meta(description="Classes that leave in clear when asked for, under a grant.")
    ] = UNSET
    export: Annotated[Export | UnsetType, Meta(description="Permits bulk answers.")] = UNSET
    roles: Annotated[Labels | UnsetType, Meta(description="Any of these; without it everybody.")] = UNSET
    resource: Annotated[Names | UnsetType, Meta(description="Only these resources; without it all.")] = UNSET
    action: Annotated[
        Annotated[tuple[Verb, ...], Meta(min_length=1)] | UnsetType,
        Meta(
            description="Only these actions. Without it: read, update and export for show and reveal, "
            "export for export, all for forbid and gate."
        ),
    ] = UNSET
    purpose: Annotated[Names | UnsetType, Meta(description="Only these purposes; without it all.")] = UNSET
    relation: Annotated[Name | UnsetType, Meta(description="Only records this relation holds for.")] = UNSET
    tier: Annotated[Labels | UnsetType, Meta(description="Only clients of these tiers.")] = UNSET
    require: Annotated[Require | UnsetType, Meta(description="What must be met first.")] = UNSET
    grant: GrantDef | UnsetType = UNSET
    quota: Quota | UnsetType = UNSET
    description: str = ""


class BreakGlassDef(Part, frozen=True, kw_only=True):
    """Clear values at once in an emergency, loudly."""

    roles: Labels
    reveal: Names
    require: Require
    ttl: Duration
    alert: Annotated[Labels, Meta(description="Roles that are told.")]
    review_within: Duration


class BudgetDef(Part, frozen=True, kw_only=True):
    """How much one actor of the role may see; of several roles' budgets the largest counts."""

    clients_per_hour: Annotated[int, Meta(ge=1)] | UnsetType = UNSET
    clients_per_day: Annotated[int, Meta(ge=1)] | UnsetType = UNSET
    lookups_per_hour: Annotated[
        Annotated[int, Meta(ge=1)] | UnsetType,
        Meta(description="Exact look-ups by a field that the actor sees masked; 60 where nothing is said."),
    ] = UNSET


class EffectDef(Part, frozen=True, kw_only=True):
    """What an unusual access leads to."""

    purpose: Annotated[bool, Meta(description="The caller must have named the purpose.")] = False
    require: Annotated[Require | UnsetType, Meta(description="What must be met first.")] = UNSET
    deny: Annotated[bool, Meta(description="Refuses it; under `rule` alone.")] = False
    alert: Annotated[Labels | UnsetType, Meta(description="Who is told, at once.")] = UNSET


class EffectsDef(Part, frozen=True, kw_only=True):
    """What each level of risk leads to; without one, it is on record and no more."""

    raised: EffectDef = EffectDef()
    high: EffectDef = EffectDef()
    severe: EffectDef = EffectDef()
    rule: EffectDef = EffectDef()
    unknown: EffectDef = EffectDef()


class PrivateDef(Part, frozen=True, kw_only=True):
    """Where a record holds what its client may share with a member of staff in private."""

    kin: FieldPaths = ()
    address: FieldPaths = ()
    employer: FieldPaths = ()
    surname: FieldPaths = ()


class AnomalyDef(Part, frozen=True, kw_only=True):
    """What unusual look-ups lead to, and what they are told by."""

    effects: EffectsDef = EffectsDef()
    relations: Annotated[
        dict[Name, RelationKind],
        Meta(description="What a relation of this policy is: a reason to look, or (kin, ...) one not to."),
    ] = {}
    private: Annotated[
        dict[Name, PrivateDef],
        Meta(description="By resource, the fields that are held against what the directory has of staff."),
    ] = {}
    sensitive: Annotated[
        tuple[Label, ...], Meta(description="Tiers of clients of public interest: a look weighs more.")
    ] = ()
    honey: Annotated[
        dict[Name, Labels],
        Meta(description="Clients, by kind, whom nobody has work with: no list shows them, a look alerts."),
    ] = {}


class NameDef(Part, frozen=True, kw_only=True):
    """What a client reads instead of a name."""

    en: Label
    zh: Label


class StatementDef(Part, frozen=True, kw_only=True):
    """What a client may be handed of who saw their data."""

    embargo: Annotated[
        dict[
            Label,
            Annotated[
                str,
                Meta(
                    pattern="^(until_released|[1-9][0-9]{0,5}[smhd])$",
                    description="until_released, or a duration after which it ends by itself.",
                ),
            ],
        ],
        Meta(description="Purposes and roles whose accesses a client does not learn of, and how long."),
    ]
    actors: Annotated[
        Literal["roles", "named"], Meta(description="Whether a client learns who it was, or in which role.")
    ] = "roles"
    offset: Annotated[str, Meta(pattern=OFFSET, description="Times are shown at this offset.")] = "+00:00"
    names: Annotated[
        dict[Label, NameDef],
        Meta(description="Roles, purposes, relations and fields, as a client reads them."),
    ] = {}


class PolicyFile(Part, frozen=True, kw_only=True):
    """A privguard policy, version 1."""

    privguard: Annotated[Literal[1], Meta(description="Version of this format.")]
    levels: Annotated[tuple[Label, ...], Meta(description="Levels of classes, lowest first.")] = ()
    roles: Annotated[
        Labels | UnsetType, Meta(description="All roles; when given, rules may name no other.")
    ] = UNSET
    purposes: Annotated[
        Names | UnsetType, Meta(description="All purposes; when given, rules may name no other.")
    ] = UNSET
    defaults: Defaults = Defaults()
    classes: Annotated[dict[Name, ClassDef], Meta(description="Kinds of fields; `public` is built in.")] = {}
    resources: Annotated[dict[Name, ResourceDef], Meta(min_length=1)]
    relations: Annotated[
        dict[Name, Expression], Meta(description="Why an actor has business with a client, as conditions.")
    ] = {}
    rules: Annotated[
        tuple[RuleDef, ...],
        Meta(description="forbid wins; then the strongest view any matching rule gives; else withheld."),
    ] = ()
    break_glass: BreakGlassDef | UnsetType = UNSET
    passthrough: Annotated[
        tuple[str, ...], Meta(description="Routes without client data: POST /login, GET /assets/*.")
    ] = ()
    budgets: Annotated[dict[Label, BudgetDef], Meta(description="Volume budgets by role.")] = {}
    anomaly: Annotated[AnomalyDef, Meta(description="What unusual look-ups lead to.")] = AnomalyDef()
    statement: Annotated[
        StatementDef | UnsetType,
        Meta(description="What a client may be handed; without it, no statement is made."),
    ] = UNSET


class Document(Struct, frozen=True, eq=False):
    """A policy file as loaded: its content, and where each part stands in its text."""

    content: PolicyFile
    source: Source

    @property
    def name(self) -> str:
        """The file's name, as given to ``load``."""
        return self.source.name

    def where(self, *path: str | int) -> str:
        """``file:line:column`` of the part at ``path``, or of the nearest part around it."""
        return self.source.where(path)


SCHEMA_ID: Final = "urn:privguard:policy:1"


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of policy files, as ``policies/schema.json`` holds it."""
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(msgspec.json.schema(PolicyFile)))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA_ID, **plain}
