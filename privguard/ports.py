"""What the shell must provide: each port's docstring says what holds when it returns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from datetime import date
from typing import Any, Protocol

from privguard.model import AccessEvent, AuditReceipt, Once, Principal, SubjectRef
from privguard.stepup.grant import Grant, Scope

Claim = Callable[[Any], None]
"""Takes something that there is only so much of, in the transaction of the entry that says so.

Given the store's connection, it changes rows under a condition, and raises a PrivguardError where that does
not hold (any more); its changes are undone then, and the entry is not made.
"""


class Clock(Protocol):
    """The time of day."""

    def now_us(self) -> int:
        """Microseconds since the epoch, UTC; may go backwards (L07), users must bear it."""
        ...

    def today(self) -> date:
        """The calendar date in UTC."""
        ...


class Entropy(Protocol):
    """Unpredictable bytes."""

    def token(self, size: int) -> bytes:
        """``size`` bytes from the operating system's generator."""
        ...


class AuditLog(Protocol):
    """The append-only log."""

    def submit(self, event: AccessEvent, claim: Claim | None = None) -> Future[AuditReceipt]:
        """Queues an entry, and with it what it takes; never blocks.

        The future's result exists only once the entry is durable: it survives a power cut. It fails with
        AuditUnavailableError when the entry could not be made durable; the entry may still be in the log
        then (a lost answer), never twice; what it claims is taken with it, and once. It fails with the
        claim's own error where that does not hold: then there is no entry.
        """
        ...

    async def append(self, event: AccessEvent, claim: Claim | None = None) -> AuditReceipt:
        """The same for event loops: returns once the entry is durable, or raises AuditUnavailableError."""
        ...


class Lookups(Protocol):
    """How often an actor looked records up by a value of a field they see masked."""

    def take(self, tenant: str, actor: str, limit: int, now_us: int) -> int:
        """Takes one of ``limit`` an hour; may block on the store.

        Returns:
            0, and the look-up is counted durably; or the seconds until there is another one.

        Raises:
            StoreUnavailableError: it could not be counted.
        """
        ...


class Budgets(Protocol):
    """How many distinct clients an actor was shown in an hour and in a day."""

    def new(
        self,
        tenant: str,
        actor: str,
        clients: Iterable[SubjectRef],
        limits: Sequence[tuple[str, int]],
        now_us: int,
    ) -> frozenset[Any]:
        """Whom of these the process does not know to be counted; never blocks.

        Args:
            limits: ``hour`` or ``day``, and how many.
        """
        ...

    def take(self, seen: frozenset[Any], limits: Sequence[tuple[str, int]], now_us: int) -> Claim:
        """Counts them; the claim raises TooManyDisclosuresError where that is too many."""
        ...

    def taken(self, seen: frozenset[Any]) -> None:
        """They are counted durably."""
        ...


class Grants(Protocol):
    """Grants, as whoever guards an access needs them."""

    def known(self, secret: str) -> Grant | None:
        """What this process remembers of a grant; never blocks. That it holds still is not said."""
        ...

    def find(self, secret: str, now_us: int) -> Grant | None:
        """The grant whose secret this is, if it holds now; may block on the store.

        Raises:
            StoreUnavailableError: it cannot be asked.
        """
        ...

    def spend(self, grant: Grant, now_us: int) -> Claim:
        """One of its reads; the claim raises GrantSpentError where it holds no longer."""
        ...

    def take_once(self, once: Once, now_us: int) -> Claim:
        """A name that may be used once; the claim raises UnauthenticatedError where it was."""
        ...


class Challenges(Protocol):
    """Asks for what a grant is issued for."""

    def seal(self, scope: Scope, reason: str, now_us: int) -> str:
        """A challenge to carry about; never blocks."""
        ...

    async def describe(self, scope: Scope, reason: str, now_us: int) -> Mapping[str, object]:
        """The same, with the methods that would meet it, as members of a problem."""
        ...


class Directory(Protocol):
    """Who works here, and as what."""

    def admit(self, actor: Principal, now_us: int) -> Principal:
        """The actor with the roles, branch, training and clients that the directory gives them now.

        May block on the store.

        Raises:
            NotAdmittedError: it does not know them, or not as somebody who works here now.
            StoreUnavailableError: it cannot be asked.
        """
        ...


class CodeSender(Protocol):
    """Brings one-time codes to people."""

    def send(self, address: str, text: str, code: str) -> None:
        """Hands a code to what delivers it; may block for seconds.

        Once it returns, the deliverer has taken the code; whether it arrives is not known here.

        Args:
            address: as its owner enrolled it: a telephone number, an e-mail address, a name in a chat.
            text: for the owner to read, with the code in it, and nothing about any client.
            code: the same code, for a deliverer that has a text of its own, as SMS templates are.

        Raises:
            CodeNotSentError: it was not taken, or nobody can tell; it may arrive all the same.
        """
        ...


class AlertSink(Protocol):
    """Tells people what they have to know or do."""

    def say(self, roles: Iterable[str], text: str) -> None:
        """Takes a message for each role, with nothing about any client; never blocks, never raises."""
        ...

    def tell(self, event: AccessEvent, index: int, roles: Sequence[str]) -> None:
        """Takes note of an access that is on record at ``index``; never blocks, never raises."""
        ...


class RequestTarget(Protocol):
    """What an assertion about a request covers of its request line."""

    @property
    def method(self) -> str: ...

    @property
    def raw(self) -> bytes: ...


class IdentityProvider(Protocol):
    """Tells who asks."""

    async def identify(
        self, target: RequestTarget, headers: list[tuple[bytes, bytes]], body: bytes
    ) -> Principal:
        """The actor whom a request proves.

        Args:
            headers: names in lower case.
            body: whole, as it came; a proxy's assertion covers it.

        Raises:
            UnauthenticatedError: nothing, or nothing that holds.
            UpstreamUnavailableError: whoever vouches for actors does not answer.
        """
        ...
