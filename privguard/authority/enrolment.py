"""Enrols, lists, removes and resets second factors.

The first factor takes an invitation, or an issuer that vouches for a fresh and strong sign-in; every later
change takes a factor that is there (S15). A reset takes two people. Adding one by a recovery code works, too;
clear values are never had by one.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from privguard.authority.granting import Granting
from privguard.authority.journal import Journal
from privguard.authority.proving import Proven, Prover, Site, credential
from privguard.authority.requesting import RESET, Requesting
from privguard.authority.words import in_words
from privguard.crypto.envelope import joined
from privguard.errors import (
    AccessDeniedError,
    ConfigError,
    FactorRefusedError,
    NotOnRecordError,
    UnvouchedKeyError,
)
from privguard.model import Outcome, Principal
from privguard.ports import Claim, CodeSender
from privguard.stepup import one_time, recovery, totp
from privguard.stepup.factor import KINDS, Factor, FactorData, Proof
from privguard.stepup.grant import Scope
from privguard.store.claims import together
from privguard.store.factors import Factors, ReplayedError

PENDING_S: Final = 600
"""How long somebody may take to confirm a new factor."""
FRESH_S: Final = 900
"""How old a sign-in may be that vouches for a first factor."""
CODE_S: Final = 300
_S: Final = 1_000_000


class Begun(Struct, frozen=True, omit_defaults=True):
    """A factor that waits to be confirmed; what is shown of it is shown once.

    Attributes:
        uri: of a TOTP, for a QR code; ``secret`` the same to type in.
        options: of a WebAuthn key, for ``navigator.credentials.create``, as JSON.
        codes: of recovery codes, which need not be confirmed.
    """

    id: str
    kind: str
    uri: str = ""
    secret: str = ""
    options: str = ""
    codes: tuple[str, ...] = ()


class Enrolment:
    """Factors of the actors.

    Args:
        issuer: what an authenticator app shows beside the account.
    """

    def __init__(
        self,
        journal: Journal,
        prover: Prover,
        factors: Factors,
        granting: Granting,
        requesting: Requesting,
        *,
        site: Site,
        issuer: str,
        pepper: bytes,
        sender: CodeSender | None,
    ) -> None:
        self._journal = journal
        self._prover = prover
        self._factors = factors
        self._granting = granting
        self._requesting = requesting
        self._site = site
        self._issuer = issuer
        self._pepper = pepper
        self._sender = sender
        self._draw: Callable[[int], bytes] = journal.core.entropy.token

    async def mine(self, actor: Principal) -> list[Factor]:
        """The actor's factors, active or disabled; a key of a make that does not count is disabled."""
        return [
            one if self._site.counts(one) else replace(one, state="disabled")
            for one in await self._of(actor)
            if one.state != "pending" and one.kind != "invite"
        ]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of factors that can be added here."""
        absent = {"webauthn": not self._site.rp_id, "code": self._sender is None}
        return tuple(kind for kind in KINDS if kind in self._prover.kinds and not absent.get(kind))

    async def proofs(self, actor: Principal, action: str) -> frozenset[str]:
        """The kinds of proof that adding or removing (``action``) a factor takes now (S15)."""
        active = any(one.state == "active" for one in await self.mine(actor))
        if action == "add":
            return self._prover.kinds | {"recovery"} if active else frozenset({"invite"})
        return self._prover.kinds

    async def vouched(self, actor: Principal) -> bool:
        """Whether the issuer's word does for the first factor: a strong sign-in, just now."""
        if any(one.state == "active" for one in await self.mine(actor)):
            return False
        fresh = actor.assurance.auth_time or 0
        return actor.assurance.multi_factor and -60 <= self._now_us() // _S - fresh <= FRESH_S

    def scope(self, actor: Principal, action: str) -> Scope:
        """What a challenge is for that asks to change the actor's own factors."""
        core = self._journal.core
        return Scope(
            tenant=actor.tenant,
            actor=actor.id,
            session=actor.session or "",
            system=core.system,
            resource="factor",
            action=action,
            purpose="",
            policy="",
            rules=(),
            fields=(),
            clients=(),
        )

    def challenge(self, actor: Principal, action: str) -> str:
        """Such a challenge; ``action`` is ``add`` or ``remove``."""
        return self._granting.seal(self.scope(actor, action), "", self._now_us())

    async def begin(
        self, actor: Principal, kind: str, *, label: str, address: str, text: str, proof: Proof | None
    ) -> Begun:
        """Begins to add a factor.

        Args:
            address: where codes are to be sent, for ``kind`` code.
            text: a challenge for ``add``.
            proof: see the module's docstring; None where the issuer vouches.

        Raises:
            AccessDeniedError: or one of its kinds: who asks may not add a factor so.
        """
        if kind not in self._prover.kinds:
            raise AccessDeniedError("Factors of this kind are not in use here ([stepup] profile).")
        data = FactorData(label=in_words(label, 100, "label"), address=in_words(address, 200, "address"))
        take = await self._permitted(actor, text, proof)
        new, begun, codes = await self._new(actor, kind, data)
        old = [one.id for one in await self._of(actor) if one.kind == kind == "recovery"]
        claims = [take, self._factors.remove(old), self._factors.add(new, codes)]
        code, counts = self._one_time(new, new.data.secret.encode()) if kind == "code" else ("", together())
        claims.append(counts)
        action = "stepup:factor:enrol" if new.state == "active" else "stepup:factor:begin"
        await self._write(actor, action, new, together(*claims), proof)
        if code:
            await self._send(new, code)
        return begun

    async def confirm(self, actor: Principal, one: str, *, code: str, answer: str) -> None:
        """Confirms a factor by its first use, which does not count again (S06).

        Args:
            answer: what the browser gave for a WebAuthn key, as JSON.

        Raises:
            FactorRefusedError: it is not what was begun.
            UnvouchedKeyError: it is a key of a make that does not count here.
        """
        now = self._now_us()
        waiting = [f for f in await self._of(actor) if f.id == one and f.state == "pending"]
        if not waiting or waiting[0].created_us < now - PENDING_S * _S:
            raise NotOnRecordError("No factor of yours waits to be confirmed: begin again.")
        pending = waiting[0]
        await self._prover.reserve(actor, pending)
        try:
            known = await self._learnt(pending, code, answer, now)
        except UnvouchedKeyError as error:
            await self._journal.write(
                actor, "stepup:factor:enrol", Outcome.DENIED, problem=error.problem, about=_about(pending)
            )
            raise
        if known is None:
            await self._prover.refused(actor, Proof(pending.kind), "wrong", pending)
        await self._write(actor, "stepup:factor:enrol", known, self._factors.confirm(known), None)

    async def remove(self, actor: Principal, one: str, *, text: str, proof: Proof) -> None:
        """Removes one of the actor's factors, proved by a factor that is there."""
        found = next((factor for factor in await self.mine(actor) if factor.id == one), None)
        if found is None:
            raise NotOnRecordError("You have no factor of this name.")
        proven = await self._prove(actor, "remove", text, proof, await self.proofs(actor, "remove"))
        await self._write(
            actor, "stepup:factor:remove", found, together(proven.take, self._factors.remove([one])), proof
        )

    async def ask_reset(self, actor: Principal) -> str:
        """Asks, for who lost their factors, that all be removed; the request's name, for who may approve it.

        Raises:
            AccessDeniedError: there is nobody who could approve it.
        """
        return await self._requesting.ask(actor, replace(self.scope(actor, RESET), purpose=actor.id))

    async def invite(self, by: Principal, actor: str, tenant: str) -> str:
        """A code by which somebody without any factor enrols the first one; told once.

        Raises:
            AccessDeniedError: they have one: reset it, which takes two people.
        """
        theirs = await self._journal.core.within(self._factors.of, tenant, actor)
        if any(one.kind != "invite" and one.state != "pending" for one in theirs):
            raise AccessDeniedError("They have a factor: `privguard factor reset`, which takes two people.")
        code = recovery.recovery_codes(self._draw(recovery.RANDOM_BYTES))[0]
        new = self._made(tenant, actor, "invite", FactorData(), "active")
        claims = together(
            self._factors.remove([one.id for one in theirs]), self._factors.add(new, [self._mark(code)])
        )
        await self._write(by, "stepup:factor:invite", new, claims, None)
        return code

    async def send_code(self, actor: Principal, text: str, one: str = "") -> None:
        """Sends a code for a challenge to an address of the actor's."""
        mine = [
            f for f in await self.mine(actor) if (f.kind, f.state) == ("code", "active") and one in ("", f.id)
        ]
        if not mine:
            raise NotOnRecordError("You have no address that codes are sent to.")
        challenge = self._granting.opened(text, actor)
        code, counts = self._one_time(mine[0], challenge.proved_by("code"))
        await self._write(actor, "stepup:code:send", mine[0], counts, None)
        await self._send(mine[0], code)

    async def assertion_options(
        self, actor: Principal, text: str, *, reason: str = "", ticket: str = "", approve: bool = True
    ) -> str:
        """For ``navigator.credentials.get``: a challenge, and the actor's keys; JSON.

        Args:
            reason, ticket, approve: as they will be said with the proof: the key signs them.
        """
        from privguard.stepup import webauthn

        challenge = self._granting.said(self._granting.opened(text, actor), reason, ticket, approve=approve)
        keys = [one for one in await self.mine(actor) if one.kind == "webauthn" and one.state == "active"]
        if not keys:
            raise NotOnRecordError("You have no security key.")
        return webauthn.assertion_options(
            challenge.proved_by("webauthn"),
            rp_id=self._site.rp_id,
            credentials=[credential(one).id for one in keys],
        )

    # inside

    async def _permitted(self, actor: Principal, text: str, proof: Proof | None) -> Claim:
        """What adding a factor takes (S15)."""
        if proof is not None:
            return (await self._prove(actor, "add", text, proof, await self.proofs(actor, "add"))).take
        if not await self.vouched(actor):
            raise AccessDeniedError(
                "Prove a factor that you have first; a first one takes an invitation "
                "(`privguard factor invite`), or a strong sign-in."
            )
        return together()

    async def _prove(
        self, actor: Principal, action: str, text: str, proof: Proof, kinds: frozenset[str]
    ) -> Proven:
        challenge = self._granting.opened(text, actor)
        if challenge.scope != self.scope(actor, action):
            raise AccessDeniedError("The challenge is for something else: open the page again.")  # S09
        return await self._prover.prove(actor, proof, challenge.proved_by(proof.method), None, kinds)

    async def _new(self, actor: Principal, kind: str, data: FactorData) -> tuple[Factor, Begun, list[str]]:
        match kind:
            case "totp":
                data = replace(data, secret=totp.new_secret(self._draw(totp.SECRET_BYTES)))
            case "webauthn":
                if not self._site.rp_id:
                    raise ConfigError("Security keys need [stepup] public_url: where browsers reach this.")
                data = replace(data, secret=base64.urlsafe_b64encode(self._draw(32)).decode())
            case "code":
                if self._sender is None or not data.address:
                    raise AccessDeniedError("Codes need an address, and [stepup.sender] to send them by.")
                data = replace(data, secret=self._draw(16).hex())
        new = self._made(actor.tenant, actor.id, kind, data, "active" if kind == "recovery" else "pending")
        begun, marks = Begun(new.id, kind), list[str]()
        if kind == "totp":
            uri = totp.provisioning_uri(data.secret, actor.id, self._issuer)
            begun = replace(begun, uri=uri, secret=data.secret)
        elif kind == "webauthn":
            begun = replace(begun, options=await self._registration(actor, data))
        elif kind == "recovery":
            codes = recovery.recovery_codes(self._draw(recovery.RANDOM_BYTES))
            begun, marks = replace(begun, codes=codes), [self._mark(code) for code in codes]
        return new, begun, marks

    async def _registration(self, actor: Principal, data: FactorData) -> str:
        from privguard.stepup import webauthn  # loading it takes 0.2 s

        return webauthn.registration_options(
            base64.urlsafe_b64decode(data.secret),
            rp_id=self._site.rp_id,
            rp_name=self._issuer,
            # WebAuthn §14.6.1: it names nobody to whoever finds the key.
            user_id=hmac.digest(self._pepper, joined(actor.tenant, actor.id), "sha256"),
            user_name=actor.id,
            known=[credential(one).id for one in await self.mine(actor) if one.kind == "webauthn"],
            attested=self._site.makers is not None,
        )

    async def _learnt(self, pending: Factor, code: str, answer: str, now: int) -> Factor | None:
        """The factor as it is known once it was used; None if it was not."""
        data = pending.data
        match pending.kind:
            case "totp":
                step = totp.matching_step(data.secret, code, now // _S)
                return None if step is None else replace(pending, last_step=step)
            case "code":
                mark = one_time.code_fingerprint(self._pepper, data.secret.encode().hex(), code)
                right = (
                    mark is not None
                    and await self._journal.core.within(self._factors.sent, pending.id, now) == mark.hex()
                )
                return replace(pending, data=replace(data, secret="")) if right else None
        from privguard.stepup import webauthn

        try:
            key = webauthn.verify_registration(
                answer,
                base64.urlsafe_b64decode(data.secret),
                rp_id=self._site.rp_id,
                origins=self._site.origins,
                makers=self._site.makers,
            )
        except FactorRefusedError:
            return None
        kept = replace(data, secret="", credential=msgspec.json.encode(key).decode())
        return replace(pending, data=kept, last_step=key.sign_count)

    def _one_time(self, factor: Factor, signed: bytes) -> tuple[str, Claim]:
        """A code, and the claim that makes it the one that counts: of many at once, one is sent."""
        code = one_time.one_time_code(self._draw(one_time.RANDOM_BYTES))
        mark = one_time.code_fingerprint(self._pepper, signed.hex(), code)
        return code, self._factors.send(factor.id, mark.hex() if mark else "", self._now_us() + CODE_S * _S)

    async def _send(self, factor: Factor, code: str) -> None:
        if self._sender is None:
            raise ConfigError("Nothing sends codes: set [stepup.sender].")
        text = one_time.code_text(code, CODE_S)
        await asyncio.to_thread(self._sender.send, factor.data.address, text, code)

    def _made(self, tenant: str, actor: str, kind: str, data: FactorData, state: str) -> Factor:
        return Factor(self._draw(8).hex(), tenant, actor, kind, state, data, self._now_us())

    def _mark(self, code: str) -> str:
        mark = recovery.fingerprint(self._pepper, code)
        if mark is None:
            raise FactorRefusedError
        return mark.hex()

    async def _write(
        self, by: Principal, action: str, factor: Factor, claim: Claim, proof: Proof | None
    ) -> None:
        try:
            await self._journal.write(by, action, Outcome.PERMITTED, claim=claim, about=_about(factor))
        except ReplayedError:
            await self._prover.refused(by, proof or Proof(factor.kind), "replayed", factor)

    async def _of(self, actor: Principal) -> list[Factor]:
        return await self._journal.core.within(self._factors.of, actor.tenant, actor.id)

    def _now_us(self) -> int:
        return self._journal.core.clock.now_us()


def _about(factor: Factor) -> dict[str, str]:
    return {"factor": factor.id, "kind": factor.kind, "for": factor.actor}
