"""Has the log's checkpoints stamped by an authority once an interval, and gives the stamps to be checked.

Nothing waits for it: a checkpoint without a stamp is as good as it was; where none comes, it is asked for
again a minute later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from privguard.audit.proof import consistency
from privguard.audit.report_proof import texts
from privguard.audit.timestamp import StampAuthority, Stamped, StampError, request_of
from privguard.errors import AuditUnavailableError
from privguard.ports import Clock
from privguard.store.tree_reader import TreeReader

RETRY_S: Final = 60


class Timestamping:
    """Asks for time stamps.

    Args:
        ask: gives an authority's answer to a request; raises PrivguardError where it gives none.
        interval_s: seconds from one stamp to the next.
    """

    def __init__(
        self,
        tree: TreeReader,
        ask: Callable[[bytes], bytes],
        authority: StampAuthority,
        clock: Clock,
        interval_s: int,
    ) -> None:
        self._tree = tree
        self._ask = ask
        self._authority = authority
        self._clock = clock
        self._interval_s = interval_s
        self._next_s = 0

    def refresh(self) -> None:
        """Has the last checkpoint stamped, if it is time; called once a second, may block.

        Raises:
            PrivguardError: there is no stamp; it is asked for again in a minute.
        """
        now_s = self._clock.now_us() // 1_000_000
        if now_s < self._next_s:
            return
        self._next_s = now_s + min(RETRY_S, self._interval_s)
        due_s = self._last_s() + self._interval_s  # another process may have asked meanwhile
        if now_s < due_s:
            self._next_s = due_s
            return
        found = self._tree.to_stamp()
        if found is None:
            return
        size, note = found
        answer = self._ask(request_of(note.encode()))
        try:
            self._authority.check(answer, note.encode())
        except StampError as error:
            raise AuditUnavailableError(
                f"The authority's time stamp does not hold: {error}. Look at [audit.timestamps] roots."
            ) from None
        self._tree.stamp(size, answer)
        self._next_s = now_s + self._interval_s

    def _last_s(self) -> int:
        """The time of the last stamp, by the authority's clock; 0 if there is none that holds."""
        found = self._tree.last_stamped()
        try:
            return 0 if found is None else int(self._authority.check(found[2], found[1].encode()).timestamp())
        except StampError:  # of an authority that is not trusted any more
            return 0


def stamped_of(tree: TreeReader, size: int) -> Iterator[Stamped]:
    """The stamped checkpoints of a log up to a size, each with the proof that the tree goes on from it."""
    for at, note, answer in tree.stamped(size):
        yield Stamped(note, answer, texts(consistency(at, size, tree.entries)))
