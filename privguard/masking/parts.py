"""What the stream formats share: the limits, and the desk where raw records are masked and noted down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Generic, Protocol, TypeVar

from msgspec import Struct

from privguard.errors import AccessDeniedError
from privguard.masking.paging import PagingRewrite
from privguard.model import Decision, Disclosure, Outcome, Principal, SubjectRef

T = TypeVar("T")
BLOCK: Final = 1 << 18
"""Bytes of a body that are looked at together, and bytes of records of a part, about."""
BATCH: Final = 256
"""Records of a part at most."""
MAX_RECORD: Final = 1 << 20
"""Bytes of one record, or of what stands around the records, at most."""


class Part(Struct, frozen=True):
    """Bytes that may leave once ``disclosures`` are on record, and how many clients they are about."""

    body: bytes
    disclosures: tuple[Disclosure, ...]
    clients: int


class Batch(Generic[T]):
    """Collects records until there are enough of them for a part."""

    def __init__(self) -> None:
        self._records: list[T] = []
        self._size = 0

    def add(self, record: T, size: int) -> bool:
        """Takes one record of so many bytes; says whether there are enough."""
        self._records.append(record)
        self._size += size
        return len(self._records) >= BATCH or self._size >= BLOCK

    def take(self) -> list[T]:
        """What there is, of which nothing is kept."""
        records, self._records, self._size = self._records, [], 0
        return records


class _Masked(Protocol):
    @property
    def body(self) -> bytes: ...
    @property
    def disclosures(self) -> tuple[Disclosure, ...]: ...
    @property
    def refused(self) -> Decision | None: ...


class StreamableMasker(Protocol):
    """What a stream needs of a ``BodyMasker``."""

    def json(
        self, body: bytes, actor: Principal, params: Mapping[str, str], paging: PagingRewrite | None
    ) -> _Masked:
        """Masks a JSON body."""
        ...

    def records(
        self, raws: Sequence[bytes], actor: Principal, params: Mapping[str, str]
    ) -> tuple[list[bytes | None], tuple[Disclosure, ...]]:
        """Masks JSON records one by one; None for one that is left out."""
        ...


class Desk:
    """Masks for one actor, notes what was disclosed, and stops at the number of clients that may be exported.

    Args:
        paging: how ``next`` links are rewritten; None withholds them.
        limit: different clients that the whole stream may be about; None: no limit.
    """

    def __init__(
        self,
        masker: StreamableMasker,
        actor: Principal,
        params: Mapping[str, str],
        paging: PagingRewrite | None,
        limit: int | None,
    ) -> None:
        self._masker = masker
        self._actor = actor
        self._params = params
        self._paging = paging
        self._limit = limit
        self._noted: list[Disclosure] = []
        self._exported: set[SubjectRef] = set()

    def records(self, raws: Sequence[bytes]) -> list[bytes | None]:
        """Masks raw JSON records one by one; None for one that is left out.

        Raises:
            AccessDeniedError: with these the stream is about more clients than may be exported.
        """
        masked, disclosures = self._masker.records(raws, self._actor, self._params)
        self._note(disclosures)
        return masked

    def json(self, body: bytes) -> bytes:
        """Masks a JSON body. Raises as ``records``, and where a record that stands alone is refused."""
        masked = self._masker.json(body, self._actor, self._params, self._paging)
        if masked.refused is not None:
            raise AccessDeniedError(hidden=True)
        self._note(masked.disclosures)
        return masked.body

    def part(self, body: bytes) -> Part:
        """These bytes with all that was disclosed since the part before."""
        noted, self._noted = tuple(self._noted), []
        return Part(body, noted, len({subject for each in noted for subject in _shown(each)}))

    def _note(self, disclosures: Sequence[Disclosure]) -> None:
        self._noted.extend(disclosures)
        if self._limit is None:
            return
        self._exported.update(subject for each in disclosures for subject in _shown(each))
        if len(self._exported) > self._limit:
            raise AccessDeniedError(f"An export may be about {self._limit} clients at most: narrow it down.")


def _shown(disclosure: Disclosure) -> tuple[SubjectRef, ...]:
    return disclosure.subjects if disclosure.outcome is Outcome.PERMITTED else ()
