"""The masking stage: a plan compiled once, then applied to every answer under it.

1. The body is read once, strictly, and encoded anew: what is not one JSON document is unreadable, and so is
   text that leaves or is read and is not UTF-8 (M09).
2. Records are found where the policy says they stand; whatever else is there is withheld (M04, M05).
3. Each record is judged by its own values; what its ruling does not show is not in what is encoded.
4. Everything that left is noted: whose record, which fields, in which views.
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct

from privguard.errors import AccessDeniedError, UnreadableResponseError
from privguard.masking.envelope import AnswerWalk, Envelope, RefusedError, read_envelope
from privguard.masking.ledger import Call, Ledger, Offers, Refusal, refused
from privguard.masking.operators import MaskTools
from privguard.masking.paging import PagingRewrite
from privguard.masking.paths import route_parameter
from privguard.masking.plan import class_is_clear
from privguard.masking.records import RecordMasker
from privguard.masking.structs import EMPTY, OddError, decoder
from privguard.masking.tree import Items, Node, Place
from privguard.masking.walk import ENCODE, JSON, VALUES
from privguard.model import (
    AccessPlan,
    ClassSpec,
    Decision,
    Disclosure,
    FieldShown,
    Outcome,
    Principal,
    SubjectRef,
    View,
)

_WHOLE: Final = msgspec.json.Decoder(Raw)
_SPACE: Final = b" \t\r\n"
_CHUNK: Final = 1 << 15
_MALFORMED: Final = "The upstream's answer is not one JSON document in UTF-8, or is nested too deeply."
_UNKNOWN_FORM: Final = (
    "The upstream's answer has no form that the policy knows; name its place under `records`."
)
T = TypeVar("T")


class Masked(Struct, frozen=True):
    """A masked answer.

    Attributes:
        body: what may leave once the disclosures are on record; empty if ``refused``.
        refused: the ruling on a record that stands alone and was not permitted.
        records: how many records left.
        left_out: how many were left out of lists.
        offers: clear values that could be had.
    """

    body: bytes
    disclosures: tuple[Disclosure, ...] = ()
    refused: Decision | None = None
    records: int = 0
    left_out: int = 0
    offers: Offers = Offers()


def compile_masker(plan: AccessPlan, tools: MaskTools) -> BodyMasker:
    """The masker of a plan; to be kept and used for every answer under it, by any number of threads.

    Raises:
        PolicyError: the resource's paths or masks contradict each other.
    """
    return BodyMasker(plan, tools)


class BodyMasker:
    """Masks answers under one plan. Made by ``compile_masker``."""

    def __init__(self, plan: AccessPlan, tools: MaskTools) -> None:
        self._plan = plan
        self._masker = RecordMasker(plan, tools)
        self._envelope = read_envelope(plan.shape)
        record: Any = self._masker.layout.type
        self._record = decoder(record)
        self._rows = decoder(list[record])
        self._slots, self._around = _around(self._envelope, record)

    # whole bodies

    def json(
        self, body: bytes, actor: Principal, route: Mapping[str, str], paging: PagingRewrite | None = None
    ) -> Masked:
        """Masks a JSON body.

        Raises:
            UnreadableResponseError: it is not one strict JSON document of a form that the policy knows.
        """
        return _readable(lambda: self._json(_strict(body), Call(actor, route, Ledger()), paging))

    def _json(self, body: bytes, call: Call, paging: PagingRewrite | None) -> Masked:
        try:
            return self._masked(self._fast, body, call, paging)
        except (msgspec.ValidationError, OddError):
            pass  # not of the usual form: nothing of it has been kept
        return self._masked(self._slow, body, Call(call.actor, call.route, Ledger()), paging)

    def _masked(
        self,
        way: Callable[[bytes, AnswerWalk, Call], Any],
        body: bytes,
        call: Call,
        paging: PagingRewrite | None,
    ) -> Masked:
        walk = AnswerWalk(self._plan, self._masker, call, paging)
        try:
            left = way(body, walk, call)
        except RefusedError as error:
            refusal = error.refusal
            return Masked(b"", refused(self._plan.shape, refusal), refusal.ruling)
        return Masked(
            body=ENCODE({} if left is UNSET else left),
            disclosures=call.ledger.disclosures(),
            records=walk.records,
            left_out=walk.left_out,
            offers=call.ledger.offers(self._plan.shape),
        )

    def _fast(self, body: bytes, walk: AnswerWalk, call: Call) -> Any:
        """Through the generated structs.

        Raises:
            msgspec.ValidationError, OddError: the body needs the walk.
        """
        envelope = self._envelope
        if body[:1] == b"[":
            if envelope.rows is None or not isinstance(envelope.rows.each, Place):
                raise OddError
            return walk.several(self._masker.structs(self._rows.decode(body), call))
        if self._around is not None:
            answer = self._around.decode(body)
            if not envelope.alone or self._leads(answer):
                return self._fill(answer, walk, call)
        if not envelope.alone:
            raise OddError
        [left] = self._masker.structs([self._record.decode(body)], call)
        return walk.single(left)

    def _leads(self, answer: Any) -> bool:
        """Whether it holds records; if not, the answer may be one itself."""
        held = [getattr(answer, slot.attr) for slot in self._slots if slot.leads]
        return any(value is not UNSET and value is not EMPTY for value in held)

    def _fill(self, answer: Any, walk: AnswerWalk, call: Call) -> Any:
        """Masks what the struct around the records holds, in place."""
        for slot in self._slots:
            value = getattr(answer, slot.attr)
            if value is UNSET or value is EMPTY:
                continue
            if isinstance(slot.node, Place):
                left: Any = walk.single(self._masker.structs([value], call)[0])
            elif slot.lists:
                left = walk.several(self._masker.structs(value, call))
            else:
                left = walk.of(slot.node, value)
            setattr(answer, slot.attr, left)
        return answer

    def _slow(self, body: bytes, walk: AnswerWalk, _call: Call) -> Any:
        """Level by level, whatever form the body has."""
        envelope = self._envelope
        value = _WHOLE.decode(body)
        members = JSON.members(value)
        if members is None:
            if envelope.rows is None or JSON.elements(value) is None:
                raise UnreadableResponseError(_UNKNOWN_FORM)
            return walk.of(envelope.rows, value)
        if envelope.around is not None and not (envelope.alone and envelope.leads.isdisjoint(members)):
            return walk.of(envelope.around, value)
        if not envelope.alone:
            raise UnreadableResponseError(_UNKNOWN_FORM)
        return walk.of(Place(), value)

    # records one by one

    def records(
        self, raws: Sequence[bytes], actor: Principal, route: Mapping[str, str]
    ) -> tuple[list[bytes | None], tuple[Disclosure, ...]]:
        """Masks raw JSON records: None for one that is left out, and what the others disclose.

        Raises:
            UnreadableResponseError: one of them is not strict JSON.
        """
        call = Call(actor, route, Ledger())
        values = _readable(lambda: [Raw(_strict(raw)) for raw in raws])
        lefts = _readable(lambda: self._masker.records(values, JSON, call))
        bodies = [None if isinstance(left, Refusal) else ENCODE(left) for left in lefts]
        return bodies, call.ledger.disclosures()

    def record(
        self, value: Mapping[str, object], actor: Principal, route: Mapping[str, str]
    ) -> tuple[dict[str, object], tuple[Disclosure, ...], Decision]:
        """Masks a record held as Python values; clear values stay the objects they are.

        Returns:
            The masked record (empty if it was refused), what it discloses, and the ruling on it.
        """
        call = Call(actor, route, Ledger())
        ruling, owner = self._masker.look(value, VALUES, call)
        if ruling.outcome is not Outcome.PERMITTED:
            return {}, refused(self._plan.shape, Refusal(ruling, owner)), ruling
        [left] = self._masker.walked([value], [ruling], [owner], VALUES, call)
        return left, call.ledger.disclosures(), ruling

    def ruling(
        self, current: bytes, actor: Principal, route: Mapping[str, str]
    ) -> tuple[Decision, tuple[Disclosure, ...]]:
        """The ruling on a raw JSON record of which nothing leaves, and whose record it is.

        Raises:
            UnreadableResponseError: it is not strict JSON.
        """
        call = Call(actor, route, Ledger())
        value = _readable(lambda: _WHOLE.decode(_strict(current)))
        ruling, owner = _readable(lambda: self._masker.look(value, JSON, call))
        return ruling, refused(self._plan.shape, Refusal(ruling, owner))

    # bodies that are one field as a whole

    def opaque(
        self, media: str, cls: ClassSpec, actor: Principal, route: Mapping[str, str]
    ) -> tuple[Disclosure, ...]:
        """What a body discloses that is one field of a class as a whole, such as an image.

        Whose it is, is said by the route: its parameter named by the shape's ``id``.

        Raises:
            AccessDeniedError: this actor may not see the class in clear where no record can be read.
            UnreadableResponseError: the route does not say whose body it is, so it could not be recorded.
        """
        ruling = self._plan.unread()
        if ruling.outcome is not Outcome.PERMITTED or not class_is_clear(ruling.fields, cls.name):
            raise AccessDeniedError(hidden=True)
        owner = route.get(route_parameter(self._plan.shape.id) or self._plan.shape.id)
        if not owner:
            raise UnreadableResponseError(
                f"The route does not say whose {media} body it is.",
            )
        shape = self._plan.shape
        return (
            Disclosure(
                resource=shape.name,
                fields=(FieldShown(media, View.CLEAR),),
                subjects=(SubjectRef(shape.kind, owner),),
                rules=ruling.rules,
                relations=ruling.relations,
            ),
        )


class _Around(Struct, frozen=True):
    """A field of the struct around the records."""

    attr: str
    node: Node
    lists: bool
    leads: bool


def _around(envelope: Envelope, record: Any) -> tuple[tuple[_Around, ...], msgspec.json.Decoder[Any] | None]:
    """The struct of an object around records; None if it is a map, which only the walk can take."""
    if envelope.around is None or envelope.around.other is not None:
        return (), None
    slots, fields = list[_Around](), list[tuple[str, Any, Any]]()
    for number, (name, node) in enumerate(envelope.around.named.items()):
        lists = isinstance(node, Items) and isinstance(node.each, Place)
        slots.append(_Around(f"f{number}", node, lists, name in envelope.leads))
        kind = list[record] if lists else record if isinstance(node, Place) else Raw
        default = EMPTY if kind is Raw else UNSET
        fields.append((f"f{number}", kind, msgspec.field(name=name, default=default)))
    return tuple(slots), decoder(msgspec.defstruct("Answer", fields, gc=False, omit_defaults=True))


def _strict(body: bytes) -> bytes:
    """The body without space around it, if it is UTF-8: the parser does not look into what it drops (M09)."""
    if len(body) <= _CHUNK:
        body.decode()
    elif not body.isascii():  # chunk by chunk: the text of a large body is slow to allocate
        decode = getincrementaldecoder("utf-8")().decode
        for at in range(0, len(body), _CHUNK):
            decode(body[at : at + _CHUNK])
        decode(b"", final=True)
    return body.strip(_SPACE)


def _readable(work: Callable[[], T]) -> T:
    try:
        return work()
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        pass  # not raised from here: those exceptions hold the input (L12)
    raise UnreadableResponseError(_MALFORMED)
