"""The values that pass between the stages: frozen, parsed once at the edge, never changed afterwards.

The stages (identity, policy, masking, audit) do not import each other; what one makes and another reads is
defined here. Reads from top to bottom in the order of an access: who asks, what for, what the policy says,
what left, what is on record.

``gc=False`` stands at those of which each access makes several: they are in no cycle, and to find that out
took the garbage collector a twentieth of the time of an entry.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from msgspec import Struct, field

MISSING: Final = type("Missing", (), {"__repr__": lambda self: "MISSING", "__bool__": lambda self: False})()
"""Stands for a record path that is not there (an explicit JSON null is ``None``)."""


# -- who asks -----------------------------------------------------------------------------------------------


class Assurance(Struct, frozen=True):
    """How the actor authenticated, as the identity provider says (OIDC ``acr``, ``amr``, ``auth_time``).

    Attributes:
        acr: authentication context class, in the issuer's words.
        factors: ``amr`` values (RFC 8176), e.g. ``{"pwd", "otp"}``.
        auth_time: seconds since the epoch of the last active authentication; None when unknown.
        multi_factor: the issuer's values are mapped to more than one factor.
        phishing_resistant: idem, to a phishing-resistant factor.
    """

    acr: str | None = None
    factors: frozenset[str] = frozenset()
    auth_time: int | None = None
    multi_factor: bool = False
    phishing_resistant: bool = False


class Once(Struct, frozen=True):
    """A name that may be used once, and until when (microseconds) it has to be remembered that it was."""

    name: str
    until_us: int


class Principal(Struct, frozen=True):
    """The actor: a member of staff or a service, as the identity provider vouches for it.

    Attributes:
        client_id: the actor's own client id where staff are clients themselves.
        attributes: further claims that conditions and obligations may read (``subject.NAME``).
        session: names the primary session (a hash, never the credential).
        granted: clients (kind, id) whose records a grant covers in this access; never from a credential.
        once: what proves the actor holds for one access: it is taken with that one's entry.
        private: whether a record's value, of a kind of ``identity.private``, is the actor's own, too; from
            the staff directory, never from a credential; None: nobody knows. Of the kind ``SENSITIVE``,
            whether a tier is of public interest.
    """

    id: str
    roles: frozenset[str] = frozenset()
    tenant: str = "default"
    branch: str | None = None
    client_id: str | int | None = None
    attributes: Mapping[str, object] = field(default_factory=dict)
    session: str | None = None
    assurance: Assurance = Assurance()
    granted: frozenset[tuple[str, str]] = frozenset()
    once: Once | None = None
    private: Callable[[str, object], bool] | None = None


# -- what for -----------------------------------------------------------------------------------------------


class Verb(enum.StrEnum):
    """What is done to a client's record."""

    READ = "read"
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    EXPORT = "export"

    @property
    def writes(self) -> bool:
        return self in (Verb.CREATE, Verb.UPDATE, Verb.DELETE)


class AccessRequest(Struct, frozen=True):
    """What is asked, and what the caller says about it.

    Attributes:
        method, path: as on the request line, the path without its query, percent-decoded once; empty for a
            library call, which names ``resource`` and ``verb`` instead.
        query: decoded parameters in their order.
        reveal: field paths or class names asked for in clear.
        zone: network zone of the caller as the configuration maps it.
    """

    method: str = ""
    path: str = ""
    query: tuple[tuple[str, str], ...] = ()
    resource: str | None = None
    verb: Verb = Verb.READ
    purpose: str | None = None
    reason: str | None = None
    ticket: str | None = None
    reveal: tuple[str, ...] = ()
    grant: str | None = None
    break_glass: bool = False
    zone: str | None = None


class Route(Struct, frozen=True):
    """The resource a request is for, as the policy matched it."""

    resource: str
    verb: Verb
    template: str
    """Method and path template, e.g. ``GET /clients/{id}``: what the log holds instead of the path."""
    params: Mapping[str, str] = field(default_factory=dict)
    many: bool = False
    """No ``{id}`` in the route: the answer may hold several clients."""


# -- what the policy says -----------------------------------------------------------------------------------


class View(enum.IntEnum):
    """How a field leaves, weakest first so that the strongest is the ``max``."""

    WITHHELD = 0
    TOKEN = 1
    MASKED = 2
    CLEAR = 3

    @property
    def label(self) -> str:
        return self.name.lower()


class Outcome(enum.StrEnum):
    """How an access ended; ``INTENT`` marks a write that the upstream has not yet seen."""

    PERMITTED = "permitted"
    CHALLENGED = "challenged"
    DENIED = "denied"
    ABORTED = "aborted"
    INTENT = "intent"


class Mask(Struct, frozen=True):
    """A masking operator with its arguments, e.g. ``Mask("partial", (("first", 1),))``."""

    operator: str
    args: tuple[tuple[str, str | int | tuple[str | int, ...]], ...] = ()


OPERATORS: Final[Mapping[str, tuple[str, ...]]] = {
    "withhold": (),
    "constant": ("text",),
    "partial": ("first", "last", "fill"),
    "pan_last4": (),
    "pan_bin_last4": (),
    "cn_mobile_3_4": (),
    "cn_id_1_1": (),
    "email": (),
    "cjk_name": (),
    "iban": (),
    "year": (),
    "age_band": ("width",),
    "band": ("steps",),
    "hash_token": (),
    "scan": (),
    "clear": (),
}
"""The masking operators a policy may name, with the arguments each takes."""


class ClassSpec(Struct, frozen=True):
    """A kind of field, as the policy's ``classes`` define it."""

    name: str
    level: str = ""
    mask: Mask = Mask("withhold")
    search: str = "none"
    """``none | exact | any``"""
    sort: str = "deny"
    """``allow | deny``: whether an actor who may not see the field in clear may sort by it."""
    write: str = "clear_only"
    """``any | clear_only | never``"""
    reveal: str = "allowed"
    """``allowed | never``"""


PUBLIC: Final = ClassSpec(name="public", mask=Mask("clear"), search="any", sort="allow", write="never")
"""The built-in class of fields that everybody who may see the record sees in clear, and nobody writes: ids,
dates, what the upstream itself sets (M07). What staff may change has a class of its own."""


class FieldSpec(Struct, frozen=True):
    """A field of a resource: its path below the record and its class, or the resource nested there."""

    path: str
    cls: ClassSpec = PUBLIC
    mask: Mask = Mask("withhold")
    """The field's own mask, or its class's."""
    nested: str | None = None


class ResourceShape(Struct, frozen=True):
    """Where in an answer records stand and what they are made of.

    Attributes:
        kind: kind of client; the subject in the log is (tenant, kind, id).
        records: JSON paths of every place where a record stands (``$.items[*]``, ``$.client``, ``$``).
        envelope: (path, kind) of what stands outside the records; kind is
            ``public | count | paging_url | withhold``; unnamed is withheld.
        id: record path of the client's id; or ``{name}`` for a route parameter.
        media: (media type, class) of bodies that are one field as a whole.
        below: how many segments of a route's path name the record that it hangs on; 0 if it hangs on none.
        private: by kind, the record paths that are held against what an actor is in private; and, of the kind
            ``SENSITIVE``, that of the tier, by which a client is of public interest.
        columns: (record path, separator) of fields that a CSV holds as a list within one column.
        params: (parameter, meaning); meaning is a tuple of field paths or class names that the parameter
            filters by, or one of ``("sort-keys",) ("paging",) ("fields",) ("format",) ("public",)``.
        withheld_as: ``absent | null``.
        unknown_params: ``deny | drop``.
    """

    name: str
    kind: str
    records: tuple[str, ...]
    fields: tuple[FieldSpec, ...]
    id: str = "id"
    tier: str | None = None
    envelope: tuple[tuple[str, str], ...] = ()
    params: tuple[tuple[str, tuple[str, ...]], ...] = ()
    media: tuple[tuple[str, ClassSpec], ...] = ()
    withheld_as: str = "absent"
    unknown_params: str = "deny"
    columns: tuple[tuple[str, str], ...] = ()
    below: int = 0
    private: tuple[tuple[str, tuple[str, ...]], ...] = ()


class FieldView(Struct, frozen=True):
    """What one ruling does to one field; ``mask`` is what is applied for MASKED and TOKEN."""

    spec: FieldSpec
    view: View
    mask: Mask


class Obligation(Struct, frozen=True):
    """Something that must be met first: ``kind`` is ``mfa | reason | ticket | approval | training | ...``.

    Attributes:
        role: who may approve.
        detail: in words, without any value of the request: ``"at least 10 characters"``.
    """

    kind: str
    max_age: int | None = None
    phishing_resistant: bool = False
    role: str = ""
    detail: str = ""


PRIVATE: Final = "private."
"""Begins the names of what an actor shares with a client in private; no relation of a policy has a dot."""
SENSITIVE: Final = "sensitive"
"""Stands with those, though it is the client's alone: their tier is of public interest."""


class Decision(Struct, frozen=True, eq=False):
    """What the policy says of one record: one object per distinct answer of a plan, compared by identity.

    Attributes:
        fields: a view for every field of the shape, in the shape's order; empty unless PERMITTED.
        missing: obligations that would have to be met for what is offered (or for the gate).
        offered: paths of fields whose clear value could be had by meeting ``missing``.
        offerers: ids of the rules that ask for what is missing.
        relations: of the rules that decided; and, decided by none, what actor and client share in private.
        failed: the condition or relation that could not be evaluated (M16).
    """

    outcome: Outcome
    fields: tuple[FieldView, ...] = ()
    rules: tuple[str, ...] = ()
    relations: tuple[str, ...] = ()
    missing: tuple[Obligation, ...] = ()
    offered: tuple[str, ...] = ()
    offerers: tuple[str, ...] = ()
    failed: str | None = None


class AccessPlan(Protocol):
    """Compiled once per (role set, resource, verb, purpose, obligations met, reveal); judges records.

    Attributes:
        reads: record paths whose values ``judge`` needs, in its order (conditions, tier; MISSING if absent).
        sees_all: no record of the upstream is ever refused, so counts tell nothing new (M12).
        rules: ids of the rules that can apply.
        export: permitted export formats with the number of clients allowed; empty: none.
    """

    shape: ResourceShape
    reads: tuple[str, ...]
    sees_all: bool
    rules: tuple[str, ...]
    purpose: str | None
    export: tuple[tuple[str, int | None], ...]

    def judge(self, actor: Principal, values: Sequence[object]) -> Decision:
        """What the policy says of the record with these ``reads``; never raises: an error is a denial."""
        ...

    def unread(self) -> Decision:
        """The ruling where no record can be read (create, opaque bodies): record conditions do not hold."""
        ...

    def strongest(self) -> tuple[FieldView, ...]:
        """For each field the strongest view that any record could give this actor (what filters may use)."""
        ...

    def weakest(self) -> tuple[FieldView, ...]:
        """For each field the weakest view that any permitted record gives (what sorting may use)."""
        ...

    def nested(self, resource: str) -> AccessPlan:
        """The plan of a resource that stands inside this one, for the same actor and purpose."""
        ...


# -- what left, and what is on record -----------------------------------------------------------------------


class SubjectRef(Struct, gc=False, frozen=True):
    """A client as the CRM names it; never in a leaf, where its token stands instead."""

    kind: str
    id: str


class FieldShown(Struct, gc=False, frozen=True):
    """A field name with the view it left in; ``mask`` names the operator for MASKED and TOKEN."""

    path: str
    view: View
    mask: str = ""


class Disclosure(Struct, gc=False, frozen=True):
    """Clients of whom the same fields left in the same views under the same rules."""

    resource: str
    fields: tuple[FieldShown, ...]
    subjects: tuple[SubjectRef, ...]
    rules: tuple[str, ...] = ()
    relations: tuple[str, ...] = ()
    outcome: Outcome = Outcome.PERMITTED


class MapRoot(Struct, frozen=True):
    """The map from clients to their entries, as of the log's first ``size`` entries; ``root`` in hex."""

    root: str
    size: int


class Reason(Struct, frozen=True, array_like=True):
    """One thing that speaks against an access: see ``anomaly.evidence.Evidence``, whose figures these are."""

    cause: str
    p: float
    observed: float = 0.0
    expected: float = 0.0
    peers: float = 0.0
    window_s: int = 0


class Assessment(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How unusual an access was, with all that this was told by: a replay of the log gives the same again.

    Attributes:
        at: seconds since the epoch, UTC.
        clear: clear values were asked for.
        level: ``low | raised | high | severe | rule | unknown``.
        many: it was a list or an export, which is held against others of the kind.
        p: how improbable such an access is in ordinary work, at most.
        place: zone and device of the actor.
        refused: nothing was shown: it counts as a refusal alone.
        relations: by name in the policy, what the checker takes them for (bits of ``anomaly.Relation``).
        team: whose peers the actor is among.
        why: strongest first, at most three.
    """

    at: int
    clear: bool = False
    level: str = "low"
    many: bool = False
    p: float = 1.0
    place: tuple[str, str] = ("", "")
    refused: bool = False
    relations: Mapping[str, int] = {}
    team: str = ""
    why: tuple[Reason, ...] = ()


class EpochBegun(Struct, frozen=True):
    """A recovery: the epoch that begins, and what two operators signed for it (``audit.epoch``)."""

    number: int
    statement: str


class AccessEvent(Struct, gc=False, frozen=True):
    """One entry of the log before it is made pseudonymous.

    Attributes:
        event_id: 32 hex digits, unique; an append that is repeated with it is the same entry.
        at_us: microseconds since the epoch, UTC.
        action: ``source:subject:verb``, e.g. ``gateway:client:read``.
        route: template, never the path.
        detail: (name, text) that only the key holder may read again: reason, ticket, parameters.
        about: what an act of administration was about, by name: versions, counts, digests; no client data.
        epoch: what the log says of itself: a recovery.
        intent: index of the leaf that announced this write.
        map: what the log says of itself: who stands in it (``audit.verifiable_map``).
        part: number of this part of a disclosure that leaves in several.
        risk: how unusual it was; None where nobody looked.
    """

    event_id: str
    at_us: int
    action: str
    outcome: Outcome
    actor: str
    roles: tuple[str, ...] = ()
    tenant: str = "default"
    system: str = ""
    route: str = ""
    purpose: str = ""
    policy: str = ""
    mode: str = "enforce"
    status: int = 0
    problem: str = ""
    rules: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    disclosures: tuple[Disclosure, ...] = ()
    detail: tuple[tuple[str, str], ...] = ()
    about: Mapping[str, str] = field(default_factory=dict)
    epoch: EpochBegun | None = None
    intent: int | None = None
    map: MapRoot | None = None
    part: int = 0
    risk: Assessment | None = None


class AuditReceipt(Struct, gc=False, frozen=True):
    """Where an entry stands in the log; only a durable append makes one.

    Attributes:
        root: RFC 6962 root hash (32 bytes) of the tree of ``size`` leaves this entry was committed in.
        index: of the entry's (last) leaf.
    """

    origin: str
    index: int
    size: int
    root: bytes
