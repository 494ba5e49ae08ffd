"""The offline auditor: checks a log against a size and root that it got elsewhere. Imports no store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from msgspec import Struct

from privguard.audit.merkle import root_of
from privguard.audit.record import UNSEEN, Head, Leaf, LeafError, parse, subject_columns


class Verification(Struct, frozen=True):
    """What the check found.

    Attributes:
        size, root: of the entries as they were read; up to the first bad one, if there is one.
        first_bad: index of the first entry that is wrong, and ``kind`` says how:
            ``form`` it is no leaf; ``time`` its log time is less than the one before; ``chain`` a client's
            number or previous entry does not follow; ``missing`` the log ends before the size that was
            asked for; ``extra`` it goes on after; ``root`` every entry is well formed, yet the root differs
            (first_bad is None: some entry was changed).
    """

    size: int
    root: bytes
    ok: bool
    first_bad: int | None = None
    kind: str = ""


def verify_log(entries: Iterable[bytes], size: int, root: bytes) -> Verification:
    """Checks the exact bytes of all leaves, in order, against a root (RFC 6962, 32 bytes).

    Memory grows with the number of clients, not of entries.
    """
    checked = _Checked()
    source = iter(entries)
    seen, computed = root_of(checked.pass_on(islice(source, size)))
    if checked.kind:
        return Verification(seen, computed, False, seen, checked.kind)
    if seen < size:
        return Verification(seen, computed, False, seen, "missing")
    if next(source, None) is not None:
        return Verification(seen, computed, False, seen, "extra")
    if computed != root:
        return Verification(seen, computed, False, None, "root")
    return Verification(seen, computed, True)


class _Checked:
    """Passes leaves on as long as each follows from those before it."""

    def __init__(self) -> None:
        self.kind = ""
        self._ts = 0
        self._heads: dict[str, Head] = {}

    def pass_on(self, entries: Iterable[bytes]) -> Iterator[bytes]:
        for index, data in enumerate(entries):
            try:
                leaf = parse(data)
                subject_columns(leaf, index)
            except LeafError:
                self.kind = "form"
                return
            if leaf.ts < self._ts:
                self.kind = "time"
                return
            self._ts = leaf.ts
            if not self._follows(leaf, index):
                self.kind = "chain"
                return
            yield data

    def _follows(self, leaf: Leaf, index: int) -> bool:
        entries: dict[str, tuple[int, int]] = {}
        for group in leaf.groups:
            for token, k, prev in group.subjects:
                if entries.setdefault(token, (k, prev)) != (k, prev):
                    return False
        for token, (k, prev) in entries.items():
            count, last = self._heads.get(token, UNSEEN)
            if (k, prev) != (count + 1, last):
                return False
            self._heads[token] = (k, index)
        return True
