"""Asks for what takes two people: a reset of factors, an excuse. The second decides (``Granting.decide``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from privguard.authority.journal import Journal
from privguard.authority.proving import Proven, Prover
from privguard.errors import AccessDeniedError
from privguard.model import Outcome, Principal
from privguard.ports import Claim
from privguard.stepup.factor import Proof
from privguard.stepup.grant import GRANT_BYTES, Grant, Scope, mark_of
from privguard.store.claims import together
from privguard.store.factors import ReplayedError
from privguard.store.grants import Grants

APPROVE_S: Final = 3_600
"""How long somebody may take to approve."""
RESET: Final = "reset"
"""Action of a scope by which all factors of whom its purpose names are removed."""
EXCUSE: Final = "excuse"
"""Action of a scope by which what its field names is expected of whom its purpose names."""
KINDS: Final = {RESET: "factor_reset", EXCUSE: "excuse"}
"""What the log calls them."""
WAITS: Final = "waits an hour on the page of approvals."
_NOBODY: Final = {
    RESET: "Nobody may approve a reset: name the role in [stepup] reset_role.",
    EXCUSE: "Nobody may approve it: name the role in [anomaly] excuse_role.",
}
_S: Final = 1_000_000


def expected(scope: Scope, now_us: int) -> dict[str, str]:
    """What an excuse says, from now on."""
    until = now_us // _S + int(scope.ticket) * 86_400
    return {"actor": scope.purpose, "cause": scope.fields[0], "until": str(until)}


class Requesting:
    """Requests that wait for a second person.

    Args:
        approvers: by ``RESET`` and ``EXCUSE`` the role of who approves; empty: nobody can.
    """

    def __init__(
        self, journal: Journal, prover: Prover, grants: Grants, approvers: Mapping[str, str]
    ) -> None:
        self._journal = journal
        self._core = journal.core
        self._prover = prover
        self._grants = grants
        self._approvers = approvers

    async def ask(self, by: Principal, scope: Scope) -> str:
        """Asks for what a second person has to approve of ``scope.purpose``; the request's name.

        Who asked for it already has the same request.

        Args:
            by: known by a session.
            scope: with ``action`` RESET, that the factors ``fields`` be removed, all of them where it names
                none; with EXCUSE, that the cause ``fields`` count as expected for ``ticket`` days.

        Raises:
            AccessDeniedError: there is nobody who could approve it.
        """
        self._approver(scope)
        waits = await self._waiting(scope)
        return waits or await self._new(by, scope, None, {})

    async def ask_by_code(self, by: Principal, scope: Scope, code: str, account: str) -> str:
        """The same where no session says who asks: at the command line, by a code of their own.

        The code is used whatever comes of it.

        Args:
            account: of the machine, by which the command runs.

        Raises:
            AccessDeniedError: see ``ask``; or the directory does not know them as staff who work here now.
            FactorRefusedError: the code does not hold.
        """
        self._approver(scope)
        action, at = _action(scope), {"account": account}
        if self._core.directory is not None:
            try:
                by = await self._core.within(self._core.directory.admit, by, self._core.clock.now_us())
            except AccessDeniedError as error:
                await self._journal.write(by, action, Outcome.DENIED, problem=error.problem, about=at)
                raise
        proof = Proof("totp", code=code)
        proven = await self._prover.prove(by, proof, bytes(32), None)
        waits = await self._waiting(scope)
        try:
            if not waits:
                return await self._new(by, scope, proven, at)
            about = {"grant": waits, **self._about(scope), **proven.evidence, **at}
            await self._journal.write(by, action, Outcome.PERMITTED, claim=proven.take, about=about)
        except ReplayedError:
            await self._prover.refused(by, proof, "replayed")
        return waits

    def _approver(self, scope: Scope) -> str:
        role = self._approvers[scope.action]
        if not role:
            raise AccessDeniedError(_NOBODY[scope.action])
        return role

    async def _waiting(self, scope: Scope) -> str:
        """The name of the same request; empty: none waits."""
        waiting = await self._core.within(self._grants.waiting, scope.tenant, self._core.clock.now_us())
        return next((each.name for each in waiting if each.scope == scope), "")

    async def _new(self, by: Principal, scope: Scope, proven: Proven | None, at: Mapping[str, str]) -> str:
        now, secret = self._core.clock.now_us(), self._core.entropy.token(GRANT_BYTES).hex()
        role = self._approver(scope)
        grant = Grant(mark_of(secret), self._core.entropy.token(8).hex(), scope)
        claim: Claim = self._grants.issue(
            grant,
            nonce=grant.name,
            nonce_until_us=now,
            reads=0,
            ttl=0,
            until_us=now + APPROVE_S * _S,
            approvers={role},
            now_us=now,
        )
        about = {"grant": grant.name, **self._about(scope), **at}
        if proven is not None:
            claim, about = together(proven.take, claim), {**about, **proven.evidence}
        await self._journal.write(by, _action(scope), Outcome.PERMITTED, claim=claim, about=about)
        what = f"a reset of the factors of {scope.purpose}" if scope.action == RESET else "an excuse"
        self._journal.tell({role}, f"{by.id} asks for {what}: request {grant.name} {WAITS}")
        return grant.name

    def _about(self, scope: Scope) -> dict[str, str]:
        if scope.action == EXCUSE:
            return expected(scope, self._core.clock.now_us())
        return {"for": scope.purpose}


def _action(scope: Scope) -> str:
    return f"stepup:{KINDS[scope.action]}:request"
