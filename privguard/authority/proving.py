"""Proves a second factor. The steps, whose numbers stand at the code:

1. the factor is the actor's own and active;
2. the try is counted and on record, in a transaction of its own, before anything is judged (S03);
3. what was presented is judged;
4. what may be used once is taken in the transaction of the act it is for (S01).

Whoever is wrong, repeats an accepted code or tries too often hears the same; the log tells them apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NoReturn

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from privguard.authority.journal import Journal
from privguard.errors import CounterRegressionError, FactorRefusedError
from privguard.model import Obligation, Outcome, Principal
from privguard.ports import Claim
from privguard.stepup import one_time, recovery, totp
from privguard.stepup.assurance import Profile
from privguard.stepup.factor import KINDS, Factor, Makers, Proof
from privguard.store.factors import Factors, ThrottledError

if TYPE_CHECKING:
    from privguard.stepup.webauthn import Credential

INVITE_S: Final = 7 * 86_400
"""How long an invitation to enrol holds."""
_S: Final = 1_000_000


class Site(Struct, frozen=True):
    """Where browsers reach the pages: what WebAuthn keys are bound to; empty: there are none.

    Attributes:
        makers: whose keys count; None: anybody's.
    """

    rp_id: str = ""
    origins: tuple[str, ...] = ()
    makers: Makers | None = None

    def counts(self, one: Factor) -> bool:
        """Whether a factor is active and, if it is a key, of a make that counts today."""
        if one.state != "active" or one.kind != "webauthn" or self.makers is None:
            return one.state == "active"
        key = credential(one)
        return key.attested and key.aaguid in self.makers.aaguids


class Proven(Struct, frozen=True):
    """A factor that was proved.

    Attributes:
        take: what it takes; to be claimed with the entry of what it is for.
        evidence: what the log keeps of it.
    """

    kind: str
    take: Claim
    evidence: Mapping[str, str]


class Prover:
    """Judges proofs.

    Args:
        pepper: keys the marks of codes (32 bytes).
    """

    def __init__(
        self, journal: Journal, factors: Factors, profile: Profile, site: Site, pepper: bytes
    ) -> None:
        self._journal = journal
        self._factors = factors
        self._profile = profile
        self._site = site
        self._pepper = pepper
        self._within = journal.core.within

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of factors in use."""
        return self._profile.kinds

    async def methods(self, actor: Principal, need: Obligation | None) -> list[str]:
        """The kinds of factors by which this actor could meet an obligation now."""
        mine = await self._within(self._factors.of, actor.tenant, actor.id)
        found = {one.kind for one in mine if self._site.counts(one)}
        return sorted(kind for kind in found if self._suits(kind, need, self.kinds - {"recovery"}))

    async def prove(
        self,
        actor: Principal,
        proof: Proof,
        challenge: bytes,
        need: Obligation | None,
        kinds: frozenset[str] | None = None,
    ) -> Proven:
        """Judges a proof.

        Args:
            challenge: what a WebAuthn key has signed, and a one-time code was sent for.
            need: what is asked of the factor.
            kinds: of factors that count; None: those that clear values may be had by.

        Raises:
            FactorRefusedError: it does not hold; the same whatever is wrong.
        """
        factor = await self._factor(actor, proof)
        usual = self.kinds - {"recovery"}
        if factor is None or not self._suits(factor.kind, need, usual if kinds is None else kinds):  # 1
            await self.refused(actor, proof, "no-such-factor")
        await self.reserve(actor, factor)  # 2
        proven = await self._judge(actor, factor, proof, challenge, need)  # 3
        if proven is None:
            await self.refused(actor, proof, "wrong", factor)
        return proven

    async def _factor(self, actor: Principal, proof: Proof) -> Factor | None:
        # A security key's counter tells a copied one, so it is read as it stands.
        mine = [] if proof.method == "webauthn" else self._factors.remembered(actor.tenant, actor.id)
        found = next((one for one in mine if self._fits(one, proof)), None)
        if found is None:  # not seen before, or enrolled meanwhile on another worker
            mine = await self._within(self._factors.of, actor.tenant, actor.id)
            found = next((one for one in mine if self._fits(one, proof)), None)
        return found

    def _fits(self, one: Factor, proof: Proof) -> bool:
        if one.kind != proof.method or proof.factor not in ("", one.id) or not self._site.counts(one):
            return False
        if one.kind == "invite":
            return one.created_us > self._journal.core.clock.now_us() - INVITE_S * _S
        return one.kind != "webauthn" or credential(one).id == str(proof.assertion.get("id", ""))

    def _suits(self, kind: str, need: Obligation | None, kinds: frozenset[str]) -> bool:
        resistant = self._profile.phishing_resistant or (need is not None and need.phishing_resistant)
        return kind in kinds and (kind in ("webauthn", "recovery", "invite") or not resistant)

    async def reserve(self, actor: Principal, factor: Factor) -> None:
        """Counts a try, on record. Raises FactorRefusedError where there may be none."""
        attempt = self._factors.attempt(
            factor.id,
            tries=self._profile.tries,
            lock_us=self._profile.lock_s * _S,
            now_us=self._journal.core.clock.now_us(),
        )
        try:
            await self._journal.write(
                actor, "stepup:factor:try", Outcome.INTENT, claim=attempt, about=_about(factor)
            )
        except ThrottledError:
            await self.refused(actor, Proof(factor.kind), "throttled", factor)

    async def _judge(
        self, actor: Principal, factor: Factor, proof: Proof, challenge: bytes, need: Obligation | None
    ) -> Proven | None:
        now_us = self._journal.core.clock.now_us()
        about = _about(factor)
        match factor.kind:
            case "totp":
                step = totp.matching_step(factor.data.secret, proof.code, now_us // _S)
                return None if step is None else Proven("totp", self._factors.proved(factor.id, step), about)
            case "recovery" | "invite":
                mark = recovery.fingerprint(self._pepper, proof.code)
                if mark is None or not await self._within(self._factors.has_code, factor.id, mark.hex()):
                    return None
                return Proven(factor.kind, self._factors.use_code(factor.id, mark.hex()), about)
            case "code":
                mark = one_time.code_fingerprint(self._pepper, challenge.hex(), proof.code)
                if mark is None or await self._within(self._factors.sent, factor.id, now_us) != mark.hex():
                    return None
                return Proven("code", self._factors.use_sent(factor.id, mark.hex(), now_us), about)
        return await self._judge_key(actor, factor, proof, challenge)

    async def _judge_key(
        self, actor: Principal, factor: Factor, proof: Proof, challenge: bytes
    ) -> Proven | None:
        from privguard.stepup import webauthn  # loading it takes 0.2 s

        try:
            assertion, count = webauthn.verify_assertion(
                msgspec.json.encode(proof.assertion),
                challenge,
                credential(factor, factor.last_step),
                rp_id=self._site.rp_id,
                origins=self._site.origins,
                hardware=self._profile.phishing_resistant,
            )
        except CounterRegressionError:
            await self.refused(actor, proof, "regressed", factor)
        except FactorRefusedError:
            return None
        evidence = {"assertion": msgspec.json.encode(assertion).decode(), "challenge": challenge.hex()}
        return Proven("webauthn", self._factors.counted(factor.id, count), {**_about(factor), **evidence})

    async def refused(
        self, actor: Principal, proof: Proof, why: str, factor: Factor | None = None
    ) -> NoReturn:
        """Says why in the log, and to the caller what all hear. Raises FactorRefusedError."""
        self._factors.forget(actor.tenant, actor.id)
        about = _about(factor) if factor is not None else {"kind": _known(proof.method)}
        await self._journal.write(actor, "stepup:factor:prove", Outcome.DENIED, problem=why, about=about)
        raise FactorRefusedError


def credential(factor: Factor, count: int | None = None) -> Credential:
    """The key of a WebAuthn factor, with the count that was seen last."""
    from privguard.stepup import webauthn

    found = msgspec.json.decode(factor.data.credential, type=webauthn.Credential)
    return found if count is None else replace(found, sign_count=max(count, 0))


def _about(factor: Factor) -> dict[str, str]:
    return {"factor": factor.id, "kind": factor.kind}


def _known(method: str) -> str:
    """L12: any other is the caller's words."""
    return method if method in KINDS else "unknown"
