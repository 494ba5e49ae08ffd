"""THE FLOW: the state machine of one guarded access, without any I/O.

    RECEIVED -> IDENTIFIED -> DECIDED -> PERMITTED -> [INTENT_RECORDED] -> ANSWERED -> MASKED
                                     `-> DENIED | CHALLENGED -> RECORDED -> RELEASED  <-----'
    and from anywhere -> ABORTED -> RECORDED

The rules of this file:

1. ``TRANSITIONS`` below is the whole truth about the order; a step out of order raises.
2. ``release`` takes an ``AuditReceipt``, and only a durable append makes one: nothing leaves unrecorded.
   Refusals and aborts are recorded too.
3. A write is on record as intent before the upstream sees it, and as outcome after.
4. A record may be refused after the upstream answered (its relation is only then known), so ANSWERED leads to
   DENIED and CHALLENGED as well; and an answer that leaves in parts goes RELEASED -> MASKED for each part.
   A grant and a budget are spent with the record, so MASKED leads to CHALLENGED and DENIED where they are
   spent by then.
5. One policy version serves the whole exchange (M13), whatever is loaded meanwhile.
6. Time and randomness are arguments.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from msgspec.structs import replace

from privguard.anomaly import TOUCHED, Sight, Watch, assessment
from privguard.errors import (
    AccessDeniedError,
    IllegalTransitionError,
    PrivguardError,
    StepUpRequiredError,
    UngovernedRouteError,
    UnreadableResponseError,
)
from privguard.masking import Masked, PagingRewrite
from privguard.masking.current import current_record
from privguard.masking.echo import echoed
from privguard.masking.parts import Part
from privguard.masking.paths import route_parameter
from privguard.masking.request_guard import check_query, check_reveal, looks_up
from privguard.masking.stream import StreamMasker, open_stream
from privguard.masking.write_back import check_replacement, check_write
from privguard.masking.write_body import Change, read_write
from privguard.model import (
    SENSITIVE,
    AccessEvent,
    AccessPlan,
    AccessRequest,
    Assessment,
    AuditReceipt,
    Decision,
    Disclosure,
    FieldShown,
    Obligation,
    Outcome,
    Principal,
    Route,
    SubjectRef,
    Verb,
    View,
)
from privguard.policy import Effect, demanded
from privguard.rulebook import Rulebook
from privguard.stepup.grant import Grant, Scope, covers


class State(enum.IntEnum):
    """Where an access stands; an IntEnum, whose hash is C's: the table is looked up seven times an access."""

    RECEIVED = enum.auto()
    IDENTIFIED = enum.auto()
    DECIDED = enum.auto()
    DENIED = enum.auto()
    CHALLENGED = enum.auto()
    PERMITTED = enum.auto()
    INTENT_RECORDED = enum.auto()
    ANSWERED = enum.auto()
    MASKED = enum.auto()
    RECORDED = enum.auto()
    RELEASED = enum.auto()
    ABORTED = enum.auto()


S = State
TRANSITIONS: Final[Mapping[State, frozenset[State]]] = MappingProxyType(
    {
        S.RECEIVED: frozenset({S.IDENTIFIED, S.DENIED, S.ABORTED}),
        S.IDENTIFIED: frozenset({S.DECIDED, S.DENIED, S.CHALLENGED, S.ABORTED}),
        S.DECIDED: frozenset({S.PERMITTED, S.DENIED, S.CHALLENGED, S.ABORTED}),
        S.PERMITTED: frozenset({S.INTENT_RECORDED, S.ANSWERED, S.ABORTED}),
        S.INTENT_RECORDED: frozenset({S.ANSWERED, S.ABORTED}),
        S.ANSWERED: frozenset({S.MASKED, S.DENIED, S.CHALLENGED, S.ABORTED}),
        S.MASKED: frozenset({S.RECORDED, S.DENIED, S.CHALLENGED, S.ABORTED}),
        S.DENIED: frozenset({S.RECORDED, S.ABORTED}),
        S.CHALLENGED: frozenset({S.RECORDED, S.ABORTED}),
        S.ABORTED: frozenset({S.RECORDED}),
        S.RECORDED: frozenset({S.RELEASED, S.ABORTED}),
        S.RELEASED: frozenset({S.MASKED, S.ABORTED}),
    }
)
_OUTCOMES: Final = MappingProxyType(
    {
        S.DENIED: Outcome.DENIED,
        S.CHALLENGED: Outcome.CHALLENGED,
        S.ABORTED: Outcome.ABORTED,
        S.MASKED: Outcome.PERMITTED,
    }
)
NOBODY: Final = Principal(id="")
"""Stands in the log where nobody could be identified."""


class Exchange:
    """One guarded access; the drivers in ``guard`` and ``asgi`` call its steps in order.

    Args:
        rulebook: the policy version this access is judged by, to its end.
        source: first part of the action in the log: ``gateway``, ``middleware`` or ``library``.
        event_id: 32 hex digits from the Entropy port.
        watch: judges how unusual it is; None: nobody does.

    Attributes:
        passing: names of the query parameters that go on to the upstream, once decided.
        lookups: how many look-ups an hour the actor has, where this is one; 0 where it is none (M01).
        narrowed: the parameter, and its value, that the upstream must narrow its list by.
        grant: what the caller presented, if it holds for this access: to be spent with its record.
        offer: what a grant could open of what was withheld or refused, if it can be said.
        risk: how unusual what leaves is, once it is known.
    """

    __slots__ = (
        "_disclosures", "_event_id", "_intent", "_now_us", "_parent", "_part", "_ruling", "_sent", "_watch",
        "actor", "error", "grant", "lookups", "mode", "narrowed", "offer", "passing", "plan", "request",
        "risk", "route", "rulebook", "source", "state", "status", "system",
    )  # fmt: skip

    def __init__(
        self,
        rulebook: Rulebook,
        *,
        source: str,
        system: str,
        mode: str,
        event_id: str,
        watch: Watch | None = None,
    ) -> None:
        self.rulebook = rulebook
        self.source = source
        self.system = system
        self.mode = mode
        self.state = State.RECEIVED
        self.actor = NOBODY
        self.request = AccessRequest()
        self.route: Route | None = None
        self.plan: AccessPlan | None = None
        self.error: PrivguardError | None = None
        self.passing: frozenset[str] = frozenset()
        self.lookups = 0
        self.narrowed: tuple[str, str] | None = None
        self.grant: Grant | None = None
        self.offer: Scope | None = None
        self.risk: Assessment | None = None
        self.status = 0
        self._watch = watch
        self._now_us = 0
        self._event_id = event_id
        self._ruling: Decision | None = None
        self._disclosures: tuple[Disclosure, ...] = ()
        self._intent: int | None = None
        self._parent: tuple[AccessPlan, Route] | None = None
        self._part = 0
        self._sent: tuple[Change, ...] = ()

    @property
    def verb(self) -> Verb:
        """What is done; known once decided."""
        return self._planned()[1].verb

    @property
    def spends(self) -> bool:
        """Whether the entry for the state reached takes a read of the grant: the first that lets go."""
        if self.state is State.PERMITTED:
            return self.verb.writes
        return self.state is State.MASKED and self._part <= 1 and not self.verb.writes

    @property
    def clients(self) -> list[SubjectRef]:
        """Of whom something leaves."""
        return [subject for d in self._disclosures if d.fields for subject in d.subjects]

    @property
    def shown(self) -> tuple[FieldShown, ...]:
        """The fields that leave, each in the strongest view it leaves in."""
        if len(self._disclosures) == 1:
            return self._disclosures[0].fields
        strongest: dict[str, FieldShown] = {}
        for disclosure in self._disclosures:
            for field in disclosure.fields:
                known = strongest.get(field.path)
                if known is None or known.view < field.view:
                    strongest[field.path] = field
        return tuple(strongest.values())

    def _go(self, to: State) -> None:
        if to not in TRANSITIONS[self.state]:
            raise IllegalTransitionError(f"{self.state.name} does not lead to {to.name}")
        self.state = to

    # 1 who asks

    def identified(self, actor: Principal) -> None:
        """Says who asks."""
        self._go(State.IDENTIFIED)
        self.actor = actor

    def admitted(self, actor: Principal) -> None:
        """Says what the staff directory gives who asks; nobody else may come of it."""
        if self.state is not State.IDENTIFIED or (actor.tenant, actor.id) != (
            self.actor.tenant,
            self.actor.id,
        ):
            raise IllegalTransitionError("admitted() is for the actor who was just identified")
        self.actor = actor

    # 2-3 what it is; may they, how much

    def decide(self, request: AccessRequest, now_us: int, grant: Grant | None = None) -> AccessPlan:
        """Matches the resource, finds the plan and judges the parameters.

        Args:
            grant: as the store found it; one that does not hold for this access is as none.

        Raises:
            AccessDeniedError: or one of its kinds; what is decidable without the record is refused here.
        """
        self.request, self._now_us = request, now_us
        policy = self.rulebook.policy
        route = policy.match(request.method, request.path) if request.path else _library_route(request)
        if route is None:
            raise UngovernedRouteError(
                "No resource of the policy matches this route, and no passthrough names it."
            )
        self.route = route
        plan, unrevealed = self._plan_for(route, request, now_us, grant)
        if route.many:
            plan = self.rulebook.list_plan(plan)
            self.actor = replace(self.actor, private=None)  # nobody was looked for: docs/adr/0018
        elif policy.sensitive:
            self.actor = replace(self.actor, private=_or_sensitive(self.actor.private, policy.sensitive))
        if request.query:
            allowed = check_query(unrevealed, request, writes=route.verb.writes)
            self.passing = frozenset(name for name, _ in allowed)
            if looks_up(unrevealed, request):
                self.lookups = policy.lookups(self.actor)
        if request.reveal:
            check_reveal(plan, request)
        if route.many and not route.verb.writes and not plan.sees_all:
            self.narrowed = policy.narrowing(self.actor, route.resource)
        self.plan = plan
        self._go(State.DECIDED)
        if not route.verb.writes and not plan.shape.below:
            self._go(State.PERMITTED)
        return plan

    def _plan_for(
        self, route: Route, request: AccessRequest, now_us: int, grant: Grant | None
    ) -> tuple[AccessPlan, AccessPlan]:
        """The plan, and the one that parameters are judged by: no grant lets anybody filter by what it opens.

        Raises:
            AccessDeniedError: as ``Policy.plan``.
        """
        policy = self.rulebook.policy
        if grant is None or route.resource not in policy.shapes or not self._covered(grant, route, request):
            plan = self._plain_plan(route, request, now_us)
            return plan, plan
        plain: AccessPlan | None = None
        with contextlib.suppress(AccessDeniedError):  # what others' records are shown by: nothing is revealed
            plain = policy.plan(self.actor, route, replace(request, reveal=()), now_us)
        rules = grant.scope.rules
        granted = policy.plan(self.actor, route, request, now_us, rules)
        unrevealed = plain or policy.plan(self.actor, route, replace(request, reveal=()), now_us, rules)
        self.grant = grant
        clients = frozenset((client.kind, client.id) for client in grant.scope.clients)
        self.actor = replace(self.actor, granted=clients)
        here: bool | None = None
        if route.verb is Verb.EXPORT and not clients:
            here = True
        elif name := route_parameter(granted.shape.id):
            here = (granted.shape.kind, route.params.get(name, "")) in clients
        return self.rulebook.granted(plain, granted, here), unrevealed

    def _plain_plan(self, route: Route, request: AccessRequest, now_us: int) -> AccessPlan:
        policy = self.rulebook.policy
        try:
            return policy.plan(self.actor, route, request, now_us)
        except StepUpRequiredError as error:
            self._offer(error.rules, error.fields, _named(route, policy.shapes[route.resource].kind))
            raise

    def _covered(self, grant: Grant, route: Route, request: AccessRequest) -> bool:
        policy = self.rulebook.policy
        fields = policy.shapes[route.resource].fields
        wanted = [s.path for s in fields if s.path in request.reveal or s.cls.name in request.reveal]
        return covers(
            grant.scope,
            self.actor,
            system=self.system,
            resource=route.resource,
            action=route.verb,
            purpose=request.purpose or policy.default_purpose or "",
            policy=policy.digest,
            fields=wanted,
            ticket=request.ticket,
            break_glass=request.break_glass,
        )

    def _offer(
        self,
        rules: Sequence[str],
        fields: Sequence[str],
        clients: Sequence[SubjectRef],
        *,
        many: bool = False,
    ) -> None:
        """Says what a grant could open; nothing where it would be for several clients at once.

        Args:
            many: it opens no client's record, so whose they are does not matter.
        """
        route, request, policy = self.route, self.request, self.rulebook.policy
        bulk = many or (route is not None and route.verb is Verb.EXPORT)
        if route is None or not rules or not (bulk or len(clients) == 1):
            return
        self.offer = Scope(
            tenant=self.actor.tenant,
            actor=self.actor.id,
            session=self.actor.session or "",
            system=self.system,
            resource=route.resource,
            action=route.verb.value,
            purpose=request.purpose or policy.default_purpose or "",
            policy=policy.digest,
            rules=tuple(rules),
            fields=tuple(fields),
            clients=() if bulk else tuple(clients),
            ticket=request.ticket or "",
            break_glass=request.break_glass,
        )

    @property
    def hangs_on(self) -> int:
        """How many segments of the path name the record that must be judged before; 0: there is none."""
        plan, route = self._planned()
        return 0 if route.verb.writes else plan.shape.below

    def seek_parent(self, path: str, now_us: int) -> None:
        """Finds the plan for the record at ``path``, which this hangs on.

        Raises:
            AccessDeniedError: or one of its kinds; what is decidable without the record is refused here.
        """
        policy, request = self.rulebook.policy, self.request
        route = policy.match("GET", path)
        if route is None:
            raise UngovernedRouteError("No resource of the policy matches the record this hangs on.")
        plan = policy.plan(self.actor, route, replace(request, path=path, query=(), reveal=()), now_us)
        self._parent = plan, route

    def judge_parent(self, body: bytes) -> None:
        """Judges the record this hangs on, as the upstream shows it: below what may not be seen nothing is.

        Where the route says whose data it is, the record says it from here on: a path may spell an id in
        several ways (M11).

        Raises:
            AccessDeniedError: the record may not be seen; looks like one that is not there (M12).
            UnreadableResponseError: the upstream did not show one record.
        """
        if self._parent is None:
            raise IllegalTransitionError("judge_parent() before seek_parent()")
        plan, route = self._parent
        ruling, disclosures = self.rulebook.masker(plan).ruling(
            current_record(body, plan.shape), self.actor, route.params
        )
        self._disclosures = tuple(_without_fields(disclosures))
        self._refuse_unless_permitted(ruling)
        risk = self._assess_decoy()
        effect = self.rulebook.policy.effects.get(risk.level) if risk is not None else None
        if effect is not None:
            self._follow(effect, disclosures[0].subjects)
        [subject] = disclosures[0].subjects
        self._call_by(subject.id)
        self._ruling, self._disclosures = None, ()
        self._go(State.PERMITTED)

    def judge_write(self, media: str, body: bytes, current: bytes | None) -> None:
        """Judges a write against the record as it stands.

        Args:
            current: the record in the upstream as raw JSON; None when there is none to read (create).

        Raises:
            AccessDeniedError: the record may not be written by this actor.
            MaskedValueInWriteError: the body carries a masked value, or a field the actor may not write.
        """
        plan, route = self._planned()
        if current is None:
            ruling = plan.unread()
        else:
            ruling, disclosures = self.rulebook.masker(plan).ruling(current, self.actor, route.params)
            self._disclosures = tuple(_without_fields(disclosures))
        self._ruling = ruling
        self._refuse_unless_permitted(ruling)
        if route.verb.value != "delete" or body:
            check_write(plan, ruling, media, body, current, route.params.get("id"))
        if route.verb is Verb.CREATE:
            self._sent = read_write(media, body)
        if self.request.method == "PUT" and current is not None:
            check_replacement(plan.shape, ruling, current)
        self._assess()
        self._go(State.PERMITTED)

    def readable(self, path: str) -> bool:
        """Whether the record that a write is for can be read by GET on the same path."""
        route = self.rulebook.policy.match("GET", path)
        return route is not None and not route.many and route.resource == self._planned()[1].resource

    def single_record(self, body: bytes) -> bytes:
        """The record in the answer of such a read, as raw JSON. Raises UnreadableResponseError."""
        return current_record(body, self._planned()[0].shape)

    def intent(self, now_us: int) -> AccessEvent:
        """The entry that announces a write; to be durable before the upstream sees the write."""
        return self._event(Outcome.INTENT, now_us, self._event_id)

    def intent_recorded(self, receipt: AuditReceipt, event_id: str) -> None:
        """The intent is durable; the outcome gets an id of its own."""
        self._go(State.INTENT_RECORDED)
        self._intent = receipt.index
        self._event_id = event_id

    # 5 the upstream answered; 6 what leaves

    def answered(self, status: int) -> None:
        """The upstream has answered with this status."""
        self._go(State.ANSWERED)
        self.status = status

    def mask_json(self, body: bytes, paging: PagingRewrite | None) -> Masked:
        """Masks a whole JSON body.

        Raises:
            AccessDeniedError: a record that stands alone may not be seen; looks like one that is not there.
            UnreadableResponseError: the body cannot be parsed or masked.
        """
        plan, route = self._planned()
        if route.verb is Verb.CREATE:
            body = echoed(body, self._sent, plan.shape, plan.reads)
        masked = self.rulebook.masker(plan).json(body, self.actor, route.params, paging)
        self._disclosures = masked.disclosures
        if masked.refused is not None:
            self._refuse_unless_permitted(masked.refused)
        offers = masked.offers
        if offers.fields:
            self._offer(offers.rules, offers.fields, offers.clients)
        self._refuse_unless_revealed(masked.disclosures, offers.fields, offers.missing)
        self._assess()
        self._go(State.MASKED)
        return masked

    def mask_record(self, record: Mapping[str, object]) -> Mapping[str, object]:
        """Masks one record given as a mapping (the library door). Raises as ``mask_json``."""
        plan, route = self._planned()
        view, disclosures, ruling = self.rulebook.masker(plan).record(record, self.actor, route.params)
        self._disclosures = disclosures
        self._refuse_unless_permitted(ruling)
        self._refuse_unless_revealed(disclosures, ruling.offered, ruling.missing)
        self._assess()
        self._go(State.MASKED)
        return view

    def mask_opaque(self, media: str) -> None:
        """Lets a body pass that is one field as a whole (an image, a letter), if its class may be seen clear.

        Raises:
            UnreadableResponseError: the policy names no class for this media type (M14).
            AccessDeniedError: it does, and this actor may not see it.
        """
        plan, route = self._planned()
        cls = dict(plan.shape.media).get(media)
        if cls is None:
            raise UnreadableResponseError(
                f"The policy has no class for {_known_media(media)} bodies of this resource."
            )
        disclosures = self.rulebook.masker(plan).opaque(media, cls, self.actor, route.params)
        self._disclosures = disclosures
        self._assess()
        self._go(State.MASKED)

    def mask_empty(self) -> None:
        """An answer without a body; what a write touched stays on record."""
        self._go(State.MASKED)

    def open_stream(self, media: str, paging: PagingRewrite | None) -> StreamMasker:
        """Opens the masker of an answer that leaves in parts; each goes through ``mask_part``."""
        plan, route = self._planned()
        if route.verb is Verb.CREATE:
            raise UnreadableResponseError(
                "The answer to a create is too large to be held against what was sent."
            )
        if self.request.reveal:
            raise AccessDeniedError("Clear values do not leave in answers so large that they leave in parts.")
        return open_stream(media, self.rulebook.masker(plan), plan, self.actor, route.params, paging)

    def mask_part(self, part: Part, event_id: str) -> None:
        """One part of a stream is masked and wants to be recorded."""
        self._go(State.MASKED)
        self._disclosures = part.disclosures
        if self._part:
            self._event_id = event_id
        self._part += 1
        self._assess()

    # refusals

    def refused(self, error: PrivguardError, event_id: str) -> None:
        """The access ends: denied, challenged, or (the fault being ours or the upstream's) aborted.

        Args:
            event_id: for the entry, where the one before is on record already.
        """
        self.error = error
        self.status = error.status
        if self.state in (State.RECORDED, State.RELEASED):  # that part is on record as it was
            self._disclosures, self._event_id, self.risk = (), event_id, None
        else:
            self._disclosures = tuple(_without_fields(self._disclosures))
        if error.problem == AccessDeniedError.problem:
            self._assess_refusal()
        if isinstance(error, StepUpRequiredError):
            self._go(State.CHALLENGED)
        elif error.status < 500 and State.DENIED in TRANSITIONS[self.state]:
            self._go(State.DENIED)
        else:
            self._go(State.ABORTED)

    # 7 what is on record; 8 release

    def event(self, now_us: int) -> AccessEvent:
        """The entry for the state reached (MASKED, DENIED, CHALLENGED or ABORTED)."""
        outcome = _OUTCOMES.get(self.state)
        if outcome is None:
            raise IllegalTransitionError(f"{self.state.name} is not a state to record")
        return self._event(outcome, now_us, self._event_id)

    def recorded(self, receipt: AuditReceipt) -> AuditReceipt:
        """The entry is durable."""
        self._go(State.RECORDED)
        return receipt

    def release(self, receipt: AuditReceipt) -> None:
        """The bytes may leave: their record is durable, as ``receipt`` proves."""
        if not isinstance(receipt, AuditReceipt):
            raise IllegalTransitionError("release() needs the receipt of a durable record")
        self._go(State.RELEASED)

    # inside

    def _assess(self) -> None:
        """Asks how unusual it is that this actor is shown these clients, and does what the policy says of it.

        A write is asked about once, before the upstream sees it.

        Raises:
            AccessDeniedError: or one of its kinds.
        """
        if self._watch is None or self._intent is not None:
            return
        clients = self._looked_at()
        if not clients:
            return
        sight = self._sight(clients)
        risk = self._watch.look(self._event_id, sight, clients.items(), self.rulebook.honey)
        self.risk = assessment(sight, risk)
        effect = self.rulebook.policy.effects.get(self.risk.level)
        if effect is not None:
            self._follow(effect, self._own())

    def _assess_decoy(self) -> Assessment | None:
        """A decoy is on record as one where it is refused, too, or only what hangs on it is asked for."""
        if self._watch is None or not self.rulebook.honey:
            return None
        clients = self._looked_at()
        if not self.rulebook.honey.isdisjoint(clients):
            self.risk = assessment(self._sight(clients), TOUCHED)  # counted when the log is read
        return self.risk

    def _assess_refusal(self) -> None:
        """A look that is refused, at whomever, counts as a refusal: how unusual that is stands on record."""
        if self._watch is None or self.risk is not None or not self._now_us:
            return
        sight = replace(self._sight({}), refused=True)
        self.risk = assessment(sight, self._watch.look(self._event_id, sight, (), ()))

    def _looked_at(self) -> dict[str, Sequence[str]]:
        """Names of the clients that the answer is about, with the relations that join the actor to each."""
        return {
            f"{subject.kind}:{subject.id}": disclosure.relations
            for disclosure in self._disclosures
            for subject in disclosure.subjects
        }

    def _sight(self, clients: Mapping[str, Sequence[str]]) -> Sight:
        actor, related, route = self.actor, self.rulebook.related, self.route
        joined = {name for relations in clients.values() for name in relations}
        device = actor.attributes.get("device")
        shown = self._shown()
        first = next(shown, None)
        many = route is not None and (
            route.verb is Verb.EXPORT or (route.many and any(each != first for each in shown))
        )
        return Sight(
            self._now_us // 1_000_000,
            f"{actor.tenant}:{actor.id}",
            "+".join(sorted(actor.roles)),
            actor.branch or "",
            bool(self.request.reveal),
            many,
            (self.request.zone or "", device if isinstance(device, str) else ""),
            {name: related[name] for name in sorted(joined & related.keys())},
        )

    def _own(self) -> list[SubjectRef]:
        return list(dict.fromkeys(self._shown()))

    def _shown(self) -> Iterator[SubjectRef]:
        """Whose records are shown, those of records inside (a client's relatives) left aside."""
        name = self.plan.shape.name if self.plan is not None else ""
        return (s for d in self._disclosures if d.resource == name for s in d.subjects)

    def _follow(self, effect: Effect, own: Sequence[SubjectRef]) -> None:
        """One client's record takes a grant that names the client; an answer with several, one for such.

        Args:
            own: whose records are shown.
        """
        rule, held = effect.rule.id, self.grant.scope if self.grant is not None else None
        one = len(own) == 1 and self.verb is not Verb.EXPORT
        named = held is not None and {*own} <= {*held.clients}
        granted = held is not None and rule in held.rules and (named if held.clients or one else True)
        try:
            effect.judge(self.actor, self.request, self._now_us, granted=granted)
        except StepUpRequiredError:
            if not one:
                self._offer((rule,), (), (), many=True)
            elif held is not None and named:  # one grant for both
                self._offer((*held.rules, rule), held.fields, own)
            else:
                self._offer((rule,), (), own)
            raise

    def _planned(self) -> tuple[AccessPlan, Route]:
        if self.plan is None or self.route is None:
            raise IllegalTransitionError(f"{self.state.name}: decide() comes first")
        return self.plan, self.route

    def _call_by(self, owner: str) -> None:
        plan, route = self._planned()
        if name := route_parameter(plan.shape.id):
            self.route = replace(route, params={**route.params, name: owner})

    def _refuse_unless_permitted(self, ruling: Decision) -> None:
        self._ruling = ruling
        if ruling.outcome is Outcome.PERMITTED:
            return
        self._assess_decoy()
        if ruling.outcome is Outcome.CHALLENGED:
            self._offer(ruling.offerers, ruling.offered, [s for d in self._disclosures for s in d.subjects])
            raise demanded(ruling.missing, ruling.offered, ruling.offerers)()
        raise AccessDeniedError(hidden=True)

    def _refuse_unless_revealed(
        self, disclosures: Sequence[Disclosure], offered: Sequence[str], missing: Sequence[Obligation]
    ) -> None:
        """Clear values were asked for by name: all of them leave clear, or a refusal says what is missing."""
        if not self.request.reveal or self.plan is None:
            return
        wanted = [
            spec.path
            for spec in self.plan.shape.fields
            if spec.path in self.request.reveal or spec.cls.name in self.request.reveal
        ]
        own = [d for d in disclosures if d.resource == self.plan.shape.name]  # not of records inside
        clouded = {f.path for d in own for f in d.fields if f.view is not View.CLEAR}
        if could := tuple(path for path in wanted if path in offered):
            raise demanded(missing, could)()
        if unmet := [path for path in wanted if path in clouded]:
            raise AccessDeniedError(f"No rule lets this actor see {', '.join(unmet)} in clear here.")

    def _event(self, outcome: Outcome, now_us: int, event_id: str) -> AccessEvent:
        request, route, plan, ruling = self.request, self.route, self.plan, self._ruling
        kind = plan.shape.kind if plan is not None else (route.resource if route is not None else "-")
        verb = route.verb.value if route is not None else "read"
        purpose = (plan.purpose if plan is not None else request.purpose) or ""
        known = purpose in self.rulebook.policy.purposes  # L12: others are the caller's words
        return AccessEvent(
            event_id=event_id,
            at_us=now_us,
            action=f"{self.source}:{kind}:{verb}",
            outcome=outcome,
            actor=self.actor.id,
            roles=tuple(sorted(self.actor.roles)),
            tenant=self.actor.tenant,
            system=self.system,
            route=route.template if route is not None else "",
            purpose=purpose if known else "",
            policy=self.rulebook.policy.digest,
            mode=self.mode,
            status=self.status,
            problem=self.error.problem if self.error is not None else "",
            rules=ruling.rules if ruling is not None else (),
            missing=tuple(o.kind for o in ruling.missing)
            if ruling is not None and outcome is Outcome.CHALLENGED
            else (),
            disclosures=self._disclosures,
            detail=_detail(request, "" if known else purpose),
            about={"grant": self.grant.name} if self.grant is not None else {},
            intent=self._intent,
            part=self._part,
            risk=self.risk if self._intent is None else None,  # it stands with what announced the write
        )


def _named(route: Route, kind: str) -> tuple[SubjectRef, ...]:
    """The client whom a route names: a grant for another spelling of the id opens nothing (M11)."""
    return (SubjectRef(kind, route.params["id"]),) if route.params.get("id") else ()


def _or_sensitive(
    own: Callable[[str, object], bool] | None, tiers: Collection[str]
) -> Callable[[str, object], bool]:
    """What an actor is known by in private, and whether a tier is of public interest."""

    def private(kind: str, value: object) -> bool:
        if kind == SENSITIVE:
            return isinstance(value, str | int) and str(value) in tiers
        return own is not None and own(kind, value)

    return private


def _library_route(request: AccessRequest) -> Route | None:
    if request.resource is None:
        return None
    return Route(resource=request.resource, verb=request.verb, template=f"{request.verb} {request.resource}")


def _without_fields(disclosures: Sequence[Disclosure]) -> Iterator[Disclosure]:
    """The clients an access is about, of whom nothing leaves: a refusal, or a write's look at the record."""
    for d in disclosures:
        yield Disclosure(d.resource, (), d.subjects, d.rules, d.relations, d.outcome)


def _detail(request: AccessRequest, purpose: str) -> tuple[tuple[str, str], ...]:
    """What goes into the log encrypted: the caller's own words, and what was searched for."""
    pairs = (("reason", request.reason), ("ticket", request.ticket), ("purpose", purpose))
    query = "&".join(f"{name}={value}" for name, value in request.query)
    return tuple((name, text) for name, text in (*pairs, ("query", query)) if text)


def _known_media(media: str) -> str:
    return media if media in _COMMON_MEDIA else "such"


_COMMON_MEDIA: Final = frozenset(
    {"text/html", "text/plain", "application/xml", "text/xml", "application/pdf", "image/png", "image/jpeg"}
)
