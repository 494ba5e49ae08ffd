"""What stands around the records of an answer: the places where records are, and what is beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

from msgspec import UNSET, Raw, Struct

from privguard.errors import PolicyError
from privguard.masking.ledger import Call, Refusal
from privguard.masking.paging import PagingRewrite, rewrite
from privguard.masking.paths import Each, Key, parse_place
from privguard.masking.tree import Aside, Items, Members, Node, Place, Text, graft
from privguard.masking.walk import ENCODE, JSON, Reader, parse_text
from privguard.model import AccessPlan, Outcome, ResourceShape

_KINDS: Final = ("public", "count", "paging_url", "withhold")


class Envelope(Struct, frozen=True):
    """The forms an answer of a resource can have.

    Attributes:
        alone: the answer may be a record itself (``$``).
        around: an object with records and other things in it.
        rows: an array of records.
    """

    alone: bool
    around: Members | None
    rows: Items | None

    @property
    def leads(self) -> frozenset[str]:
        """Top-level members that hold records: what tells an object around records from a record alone."""
        members = self.around.named.items() if self.around is not None else ()
        return frozenset(name for name, node in members if _holds_records(node))


def read_envelope(shape: ResourceShape) -> Envelope:
    """The envelope a policy describes: record places first, then what is beside them, in its order.

    Raises:
        PolicyError: two paths contradict each other, or a kind is not known.
    """
    ends = [(place, Place()) for place in shape.records]
    ends += [(path, _aside(path, kind)) for path, kind in shape.envelope]
    around: Node | None = None
    rows: Node | None = None
    for path, end in ends:
        where = f"{shape.name}: {path}"
        steps = parse_place(path)
        if steps and isinstance(steps[0], Each):
            rows = graft(rows, steps, end, where)
        elif steps and not isinstance(steps[0], Key):
            raise PolicyError("an answer is an object or an array", where)
        elif steps:
            around = graft(around, steps, end, where)
    return Envelope(
        alone=any(not parse_place(path) for path in shape.records),
        around=around if isinstance(around, Members) else None,
        rows=rows if isinstance(rows, Items) else None,
    )


def _aside(path: str, kind: str) -> Any:
    if kind not in _KINDS:
        raise PolicyError(f"`{kind}` is no kind of envelope", path, f"known: {', '.join(_KINDS)}")
    return Aside(kind)


def _holds_records(node: Node) -> bool:
    match node:
        case Place():
            return True
        case Items(inside) | Text(inside):
            return _holds_records(inside)
        case Members(named, other):
            return any(map(_holds_records, named.values())) or (other is not None and _holds_records(other))
    return False


class RefusedError(Exception):
    """A record that stands alone is not permitted: nothing of the answer leaves."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__()
        self.refusal = refusal


class Masker(Protocol):
    """Masks records of the answer's resource."""

    def records(self, values: Sequence[Any], reader: Reader, call: Call) -> list[Any]:
        """The records as they leave, or a ``Refusal`` in place of one."""
        ...


class AnswerWalk:
    """Masks one answer and counts its records.

    Attributes:
        records: how many left.
        left_out: how many were left out of lists.
    """

    def __init__(self, plan: AccessPlan, masker: Masker, call: Call, paging: PagingRewrite | None) -> None:
        self._plan = plan
        self._masker = masker
        self._call = call
        self._paging = paging
        self._hid = False  # a record whose existence is withheld was among those of a list
        self.records = 0
        self.left_out = 0

    def of(self, node: Node, value: Any, *, many: bool = False) -> Any:
        """What leaves of a value at this node, or UNSET.

        Args:
            many: it stands within an array or map, so that a refused record is left out of it.
        """
        match node:
            case Place():
                return self._one(value, many=many)
            case Aside(kind):
                return self.aside(kind, value)
            case Members():
                return self._members(node, value, many=many)
            case Items(each):
                elements = JSON.elements(value)
                return UNSET if elements is None else self._several(each, elements)
        return self._text(node.inner, value, many=many) if isinstance(node, Text) else UNSET

    def several(self, lefts: Sequence[Any]) -> list[Any]:
        """The records of a list that were not refused."""
        kept = [left for left in lefts if not isinstance(left, Refusal)]
        if len(kept) < len(lefts):
            self._hid = self._hid or any(
                left.ruling.outcome is Outcome.DENIED for left in lefts if isinstance(left, Refusal)
            )
        self.records += len(kept)
        self.left_out += len(lefts) - len(kept)
        return kept

    def single(self, left: Any) -> Any:
        """A record that stands alone.

        Raises:
            RefusedError: it was refused.
        """
        if isinstance(left, Refusal):
            raise RefusedError(left)
        self.records += 1
        return left

    def aside(self, kind: str, value: Raw) -> Any:
        """What leaves of something beside the records; only scalars do."""
        if kind == "public":
            return JSON.clear(value, recode=False)
        scalar = JSON.scalar(value)
        if kind == "count":
            counts = type(scalar) is int and scalar >= 0
            return (
                value if counts and self._plan.sees_all else UNSET
            )  # M12: a total counts refused records too
        if kind == "paging_url":
            return self._link(scalar)
        return UNSET

    def _link(self, scalar: Any) -> Any:
        narrowed = self._paging is not None and self._paging.narrowed
        if self._hid or not (self._plan.sees_all or narrowed):
            return UNSET  # M12: whether there is a further page would count hidden rows; null tells it too
        if scalar is None:
            return None
        if not isinstance(scalar, str) or self._paging is None:
            return UNSET
        link = rewrite(scalar, self._paging, self._plan.shape)
        return UNSET if link is None else link

    def _one(self, value: Raw, *, many: bool) -> Any:
        if JSON.members(value) is None:
            return UNSET
        [left] = self._masker.records([value], JSON, self._call)
        if not many:
            return self.single(left)
        kept = self.several([left])
        return kept[0] if kept else UNSET

    def _text(self, inner: Node, value: Raw, *, many: bool) -> Any:
        text = JSON.scalar(value)
        raw = parse_text(text) if isinstance(text, str) else None
        left = UNSET if raw is None else self.of(inner, raw, many=many)
        return left if left is UNSET else ENCODE(left).decode()

    def _several(self, each: Node, values: Sequence[Raw]) -> list[Any]:
        if isinstance(each, Place):
            return self.several(self._masker.records(values, JSON, self._call))
        return [left for left in (self._element(each, value) for value in values) if left is not UNSET]

    def _element(self, each: Node, value: Raw) -> Any:
        """An element around records stands only if one of them left: their number tells as much (M12)."""
        before = self.records
        left = self.of(each, value, many=True)
        return UNSET if _holds_records(each) and self.records == before else left

    def _members(self, node: Members, value: Raw, *, many: bool) -> Any:
        members = JSON.members(value)
        if members is None:
            return UNSET
        out = {
            name: left
            for name, child in node.named.items()
            if name in members and (left := self.of(child, members[name], many=many)) is not UNSET
        }
        if node.other is not None:
            others = [(key, members[key]) for key in members if key not in node.named]
            lefts = [(key, self._element(node.other, member)) for key, member in others]
            kept = [(key, left) for key, left in lefts if left is not UNSET]
            for number, (key, left) in enumerate(kept, 1):
                out[key if node.key_class is None else str(number)] = left
        return out or UNSET
