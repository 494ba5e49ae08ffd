"""Issues grants: a challenge that was met becomes one, or waits for a second person."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from privguard.authority.journal import Journal
from privguard.authority.proving import Proven, Prover
from privguard.authority.requesting import APPROVE_S, EXCUSE, KINDS, RESET, WAITS, expected
from privguard.authority.words import in_words
from privguard.crypto.envelope import NONCE_BYTES
from privguard.errors import (
    AccessDeniedError,
    NotOnRecordError,
    PolicyUnavailableError,
    PrivguardError,
    ReasonRequiredError,
)
from privguard.model import AccessRequest, Outcome, Principal
from privguard.policy import Policy
from privguard.policy.document import NameDef
from privguard.policy.notation import seconds
from privguard.policy.terms import Terms, terms
from privguard.ports import Claim
from privguard.stepup.assurance import Profile
from privguard.stepup.challenge import (
    CHALLENGE_S,
    DECIDE,
    Challenge,
    described,
    open_challenge,
    seal_challenge,
)
from privguard.stepup.factor import Proof
from privguard.stepup.grant import GRANT_BYTES, Grant, Scope, mark_of
from privguard.store.claims import together
from privguard.store.factors import Factors, ReplayedError
from privguard.store.grants import Grants, Standing
from privguard.telemetry import logger

MAX_REASON: Final = 1_000
MAX_TICKET: Final = 200
PAGE: Final = "/_privguard/stepup/"
_S: Final = 1_000_000
_CHANGED: Final = "The policy changed since: ask for the record again."


class Issued(Struct, frozen=True):
    """A grant for its holder.

    Attributes:
        secret: what opens it; stored nowhere.
        waits: somebody has to approve it first.
        seconds: it holds for, or somebody may take to approve.
    """

    secret: str
    name: str
    waits: bool
    seconds: int
    reads: int
    fields: tuple[str, ...]


class Asked(Struct, frozen=True):
    """What meeting a challenge takes, and how long and how often its grant will hold.

    Attributes:
        methods: kinds of the actor's factors that would do; empty where none would, or none is asked for.
    """

    challenge: Challenge
    terms: Terms
    methods: tuple[str, ...]


class Granting:
    """``ports.Challenges``, and what follows them.

    Args:
        key: seals challenges (32 bytes), the same in every worker.
        usual: seconds and reads of a grant whose rule sets none.
    """

    def __init__(
        self,
        journal: Journal,
        prover: Prover,
        grants: Grants,
        factors: Factors,
        key: bytes,
        *,
        profile: Profile,
        usual: tuple[int, int],
    ) -> None:
        self._profile = profile
        self._factors = factors
        self._usual = usual
        self._journal = journal
        self._core = journal.core
        self._prover = prover
        self._grants = grants
        self._key = key

    # challenges

    def seal(self, scope: Scope, reason: str, now_us: int) -> str:
        """See ``ports.Challenges.seal``."""
        nonce = base64.urlsafe_b64encode(self._core.entropy.token(16)).decode()
        challenge = Challenge(scope, nonce, now_us // _S + CHALLENGE_S, reason)
        return seal_challenge(challenge, self._key, self._core.entropy.token(NONCE_BYTES))

    def names(self) -> Mapping[str, NameDef]:
        """What the policy calls its fields; nothing while there is none, or where it says nothing."""
        policy = self._core.policy
        return policy.statement.names if policy is not None and policy.statement is not None else {}

    async def describe(self, scope: Scope, reason: str, now_us: int) -> Mapping[str, object]:
        """See ``ports.Challenges.describe``."""
        actor = Principal(scope.actor, tenant=scope.tenant, session=scope.session)
        factor = self._terms(scope, actor, reason).factor
        text = self.seal(scope, reason, now_us)
        methods = await self._prover.methods(actor, factor)
        return described(text, scope, methods, f"{PAGE}?challenge={text}")

    async def describe_own(self, scope: Scope, actor: Principal) -> Mapping[str, object]:
        """A challenge for an act of the actor's own, with the methods that would meet it."""
        text = self.seal(scope, "", self._now_us())
        methods = await self._prover.methods(actor, None)
        return {"challenge_id": text, "methods": methods, "expires_in": CHALLENGE_S}

    def opened(self, text: str, actor: Principal) -> Challenge:
        """The challenge, for its own holder. Raises AccessDeniedError."""
        return open_challenge(text, self._key, actor, self._now_us() // _S)

    def said(self, challenge: Challenge, reason: str, ticket: str, *, approve: bool = True) -> Challenge:
        """With what is said now. Raises MalformedRequestError: it is too long, or not printable."""
        words = in_words(reason, MAX_REASON, "reason"), in_words(ticket, MAX_TICKET, "ticket")
        return challenge.said(*words, approve=approve)

    def terms_of(self, challenge: Challenge, actor: Principal) -> Terms:
        """What meeting it takes. Raises AccessDeniedError: the policy changed since (M13)."""
        if self._policy().digest != challenge.scope.policy:
            raise AccessDeniedError(_CHANGED)
        return self._terms(challenge.scope, actor, challenge.reason)

    async def asked(self, actor: Principal, text: str) -> Asked:
        """What a challenge for clear values asks of its holder. Raises AccessDeniedError."""
        challenge = self.opened(text, actor)
        found = self.terms_of(challenge, actor)
        factor = found.factor
        methods = tuple(await self._prover.methods(actor, factor)) if factor is not None else ()
        return Asked(challenge, replace(found, ttl=self._holds(found)), methods)

    # issuing

    async def issue(
        self, actor: Principal, text: str, proof: Proof | None, *, reason: str = "", ticket: str = ""
    ) -> Issued:
        """Issues the grant that a challenge is for.

        Args:
            proof: may be None where no factor is asked for.
            reason, ticket: said now, where they were not before.

        Raises:
            AccessDeniedError: or one of its kinds: the challenge is over or somebody else's, a factor does
                not hold, a word is missing.
            TooManyDisclosuresError: the quota of grants is spent.
            AuditUnavailableError: it could not be put on record; nothing was taken.
        """
        challenge = self.opened(text, actor)
        said = self.said(challenge, reason, ticket)
        asked = self.terms_of(said, actor)
        if asked.missing:
            words = "; ".join(f"{o.kind}: {o.detail}" for o in asked.missing)
            kinds = {obligation.kind for obligation in asked.missing}
            raise (ReasonRequiredError if kinds <= {"reason", "ticket"} else AccessDeniedError)(
                f"Missing: {words}."
            )
        self._session_lasts(actor)
        proven = None
        if asked.factor is not None:
            if proof is None:
                raise AccessDeniedError(f"Missing: {asked.factor.detail}.")
            proven = await self._prover.prove(actor, proof, said.proved_by(proof.method), asked.factor)
        return await self._issue(actor, said, asked, proof, proven)

    def _session_lasts(self, actor: Principal) -> None:
        """Refuses a session that began longer ago than the profile lets one last, as far as that is known."""
        began = actor.assurance.auth_time
        if began is not None and self._now_us() // _S - began > self._profile.session_s:
            raise AccessDeniedError("The session lasts too long already ([stepup] profile): sign in again.")

    async def _issue(
        self, actor: Principal, challenge: Challenge, asked: Terms, proof: Proof | None, proven: Proven | None
    ) -> Issued:
        now, waits = self._now_us(), bool(asked.approvers)
        scope = challenge.scope if waits else replace(challenge.scope, reason="")
        secret = base64.urlsafe_b64encode(self._core.entropy.token(GRANT_BYTES)).rstrip(b"=").decode()
        grant = Grant(mark_of(secret), self._core.entropy.token(8).hex(), scope)
        ttl = self._holds(asked)
        seconds = APPROVE_S if waits else ttl
        claims: list[Claim] = [proven.take] if proven is not None else []
        claims += [self._grants.take_quota(scope, *quota, now) for quota in asked.quotas]
        claims.append(
            self._grants.issue(
                grant,
                nonce=challenge.nonce,
                nonce_until_us=challenge.until * _S,
                reads=asked.reads,
                ttl=ttl,
                until_us=now + seconds * _S,
                approvers=asked.approvers,
                now_us=now,
            )
        )
        if asked.emergency:
            claims.append(self._grants.review_due(grant, now + self._review_within() * _S))
        try:
            await self._write(
                actor,
                f"stepup:{'break_glass' if asked.emergency else 'grant'}:{'request' if waits else 'issue'}",
                scope,
                together(*claims),
                {"grant": grant.name},
                challenge,
                proven,
            )
        except ReplayedError:
            await self._prover.refused(actor, proof or Proof(""), "replayed")
        if asked.emergency:
            glass = self._policy().break_glass
            roles = glass.alert if glass is not None else ()
            logger().warning("BREAK-GLASS", actor=actor.id, grant=grant.name, tell=", ".join(roles))
            self._journal.tell(roles, f"{actor.id} broke the glass (grant {grant.name}): look into it.")
        if waits:
            self._journal.tell(asked.approvers, f"{actor.id} asks for a grant: request {grant.name} {WAITS}")
        return Issued(secret, grant.name, waits, seconds, asked.reads, scope.fields)

    # a second person

    async def waiting(self, approver: Principal) -> list[Standing]:
        """What waits for this approver: others' requests that ask for roles they have."""
        return [
            each
            for each in await self._core.within(self._grants.waiting, approver.tenant, self._now_us())
            if each.approvers <= approver.roles
            and approver.id != each.scope.actor
            and not (each.scope.action in KINDS and approver.id == each.scope.purpose)
            and each.scope.session != approver.session
        ]

    def decision_scope(self, approver: Principal, standing: Standing) -> Scope:
        """What an approver's own factor is asked for: this request, by this approver, in this session."""
        return replace(
            standing.scope, actor=approver.id, session=approver.session or "", action=DECIDE, rules=()
        )

    async def decide(self, approver: Principal, name: str, *, approve: bool, text: str, proof: Proof) -> None:
        """Approves or refuses, with the approver's own factor.

        Args:
            text: a challenge for ``decision_scope``.

        Raises:
            AccessDeniedError: it is not theirs to decide, or decided, or their factor does not hold.
        """
        standing = next((one for one in await self.waiting(approver) if one.name == name), None)
        if standing is None:
            raise AccessDeniedError("Nothing of this name waits for you: it is decided, over, or your own.")
        challenge = self.opened(text, approver)
        if challenge.scope != self.decision_scope(approver, standing):  # S09: a challenge for something else
            raise AccessDeniedError("The challenge is for another request: open this one again.")
        said = challenge.said(approve=approve)
        proven = await self._prover.prove(approver, proof, said.proved_by(proof.method), None)
        now, scope = self._now_us(), standing.scope
        decided = (
            self._grants.approve(name, scope.tenant, approver.id, approver.session or "", now)
            if approve
            else self._grants.refuse(name, scope.tenant, now)
        )
        claims = [proven.take, decided]
        if approve and scope.action == RESET:
            found = await self._core.within(self._factors.of, scope.tenant, scope.purpose)
            theirs = [one.id for one in found]
            claims.append(self._factors.remove([one for one in theirs if one in (scope.fields or theirs)]))
            claims.append(self._grants.revoke(scope.tenant, scope.purpose, now))
        kind = KINDS.get(scope.action, "grant")
        about = expected(scope, now) if scope.action == EXCUSE else {}
        try:
            await self._write(
                approver,
                f"stepup:{kind}:{'approve' if approve else 'refuse'}",
                scope,
                together(*claims),
                {"grant": name, "for": scope.actor, **about},
                said,
                proven,
            )
        except ReplayedError:
            await self._prover.refused(approver, proof, "replayed")

    # afterwards

    async def standing(self, actor: Principal, name: str) -> Standing:
        """One of the actor's own grants. Raises NotOnRecordError."""
        found = await self._core.within(self._grants.standing, name, actor.tenant)
        if found is None or found.scope.actor != actor.id:
            raise NotOnRecordError("You have no grant of this name.")
        return found

    async def revoke(self, by: Principal, actor: str, name: str | None = None) -> None:
        """Revokes one grant of an actor, or all of them, on every worker at once."""
        claim = self._grants.revoke(by.tenant, actor, self._now_us(), name)
        about = {"for": actor, **({"grant": name} if name else {})}
        await self._journal.write(by, "stepup:grant:revoke", Outcome.PERMITTED, claim=claim, about=about)

    async def reviewed(self, by: Principal, name: str, finding: str) -> None:
        """Notes that somebody looked at a grant of a broken glass."""
        await self._journal.write(
            by,
            "stepup:break_glass:review",
            Outcome.PERMITTED,
            claim=self._grants.reviewed(name, self._now_us()),
            detail={"finding": finding},
            about={"grant": name},
        )

    # inside

    async def _write(
        self,
        actor: Principal,
        action: str,
        scope: Scope,
        claim: Claim,
        about: Mapping[str, str],
        met: Challenge,
        proven: Proven | None,
    ) -> None:
        said = {"reason": met.reason, "ticket": scope.ticket, "fields": ", ".join(scope.fields)}
        if proven is not None:
            about = {**about, **proven.evidence}
            said |= met.approved if proven.kind == "webauthn" else {}
        try:
            await self._journal.write(
                actor,
                action,
                Outcome.PERMITTED,
                claim=claim,
                purpose=scope.purpose,
                rules=scope.rules,
                clients=scope.clients,
                resource=scope.resource,
                detail=said,
                about=about,
            )
        except ReplayedError:
            raise
        except PrivguardError as error:
            if error.status < 500:  # it did not hold: that is on record too
                await self._journal.write(
                    actor, action, Outcome.DENIED, problem=error.problem, clients=scope.clients,
                    resource=scope.resource, purpose=scope.purpose, about=about,
                )  # fmt: skip
            raise

    def _holds(self, asked: Terms) -> int:
        """Seconds that a grant holds once it is issued."""
        return min(asked.ttl, self._profile.idle_s)

    def _terms(self, scope: Scope, actor: Principal, reason: str) -> Terms:
        request = AccessRequest(purpose=scope.purpose, reason=reason, ticket=scope.ticket)
        return terms(self._policy(), scope.rules, actor, request, self._now_us(), self._usual)

    def _policy(self) -> Policy:
        policy = self._core.policy
        if policy is None:
            raise PolicyUnavailableError("The policy file is missing or was never valid: put it back.")
        return policy

    def _review_within(self) -> int:
        written = self._policy().break_glass
        return seconds(written.review_within) if written is not None else 86_400

    def _now_us(self) -> int:
        return self._core.clock.now_us()
