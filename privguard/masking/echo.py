"""What comes back from a create: what was sent, and what is public.

An upstream may find where it was asked to create (by an identity number, say). Whoever may open files would
be shown somebody's record then, so a value leaves only if it is the one that was sent (M07).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec

from privguard.errors import UnreadableResponseError
from privguard.masking.paths import Each, Key, Path, parse_place, parse_value
from privguard.masking.tree import Items, Leaf, Members, Node, Text, grow
from privguard.masking.walk import ENCODE
from privguard.masking.write_body import Change
from privguard.model import MISSING, PUBLIC, ResourceShape

_DECODE: Final = msgspec.json.Decoder(float_hook=Decimal).decode


def echoed(body: bytes, sent: Sequence[Change], shape: ResourceShape, reads: Sequence[str] = ()) -> bytes:
    """A JSON answer with nothing in its records but what was sent, public fields, and what judges them.

    Args:
        sent: the request's body as ``read_write`` gives it.
        reads: record paths that conditions read: without these no record could be judged.

    Raises:
        UnreadableResponseError: the answer is not JSON.
    """
    whole = next((change for change in sent if not change.steps), None)
    echo = _Echo(shape, [parse_value(path) for path in reads], texts=whole is not None and whole.texts)
    wanted = whole.value if whole is not None else MISSING
    try:
        answer = _DECODE(body)
        for place in shape.records:
            answer = echo.at(answer, parse_place(place), wanted)
        return ENCODE({} if answer is MISSING else answer)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        pass  # not raised from here: those exceptions hold the input (L12)
    raise UnreadableResponseError("The upstream's answer to a create is not JSON.")


class _Echo:
    def __init__(self, shape: ResourceShape, reads: Sequence[Sequence[str]], *, texts: bool) -> None:
        self._fields = shape.fields
        self._reads = reads
        self._tree = grow(shape)
        self._texts = texts

    def at(self, value: Any, steps: Path, sent: Any) -> Any:
        """The answer with the records at a place cut down; what has another form there is taken out."""
        if not steps:
            left = self.of(self._tree, value, sent)
            for path in self._reads:
                _copy(value, left, path)
            return left
        if isinstance(steps[0], Key) and isinstance(value, dict):
            name = steps[0].name
            cut = {name: self.at(value[name], steps[1:], sent)} if name in value else {}
            return {key: left for key, left in {**value, **cut}.items() if left is not MISSING}
        if isinstance(steps[0], Each) and isinstance(value, list):
            return self._elements(value, sent, lambda each, its: self.at(each, steps[1:], its))
        return value if isinstance(value, dict) and isinstance(steps[0], Each) else MISSING

    def of(self, node: Node, value: Any, sent: Any) -> Any:
        """A part of a record; MISSING if nothing of it was sent."""
        match node:
            case Leaf(index):
                known = self._fields[index].cls is PUBLIC or self._same(value, sent)
                return value if known else MISSING
            case Text():
                return value if self._same(value, sent) else MISSING
            case Items(each) if isinstance(value, list):
                return self._elements(value, sent, lambda one, its: self.of(each, one, its))
            case Members(named, other) if isinstance(value, dict):
                given = sent if isinstance(sent, Mapping) else {}
                kept = {
                    key: self.of(child, member, given.get(key, MISSING))
                    for key, member in value.items()
                    if (child := named.get(key, other)) is not None
                }
                return {key: left for key, left in kept.items() if left is not MISSING}
        return MISSING

    def _elements(self, values: list[Any], sent: Any, each: Any) -> list[Any]:
        """Element by element where as many were sent; else none of them was."""
        given = sent if isinstance(sent, list) and len(sent) == len(values) else [sent] * len(values)
        lefts = [each(value, its) for value, its in zip(values, given, strict=True)]
        return [left for left in lefts if left is not MISSING]

    def _same(self, value: Any, sent: Any) -> bool:
        if self._texts and isinstance(sent, str):
            return str(value) == sent
        return isinstance(value, bool) == isinstance(sent, bool) and bool(value == sent)


def _copy(source: Any, target: Any, path: Sequence[str]) -> None:
    """Puts what stands at a path of the one record into the other, too."""
    *above, last = path
    for name in above:
        source = source.get(name) if isinstance(source, dict) else None
    if not isinstance(source, dict) or last not in source or not isinstance(target, dict):
        return
    for name in above:
        target = target.setdefault(name, {})
    target[last] = source[last]
