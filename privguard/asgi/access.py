"""Drives one exchange over HTTP: steps 1 to 8 of the package's docstring."""

from __future__ import annotations

from typing import AnyStr, Final

from privguard.asgi.answer import ABSENT, GovernedAnswer, StoppedError
from privguard.asgi.canonical import Target, read_target
from privguard.asgi.headers import (
    Said,
    asks_less,
    content_type_of,
    media_of,
    read_said,
    upstream_headers,
    without_vouching,
)
from privguard.asgi.messages import ASGIApp, Message, Receive, Scope, Send, ask
from privguard.asgi.observe import ObservedAnswer
from privguard.asgi.problem import problem_response
from privguard.errors import (
    AccessDeniedError,
    AuditUnavailableError,
    MalformedRequestError,
    PolicyUnavailableError,
    PrivguardError,
    StepUpRequiredError,
    UnauthenticatedError,
    UnreadableResponseError,
    contained,
)
from privguard.exchange import Exchange
from privguard.guard import AsyncGuard, Door
from privguard.identity.directory import NotAdmittedError
from privguard.masking import PagingRewrite
from privguard.model import AccessRequest, AuditReceipt, Verb

_BODILESS: Final = frozenset({"GET", "HEAD"})


class Access:
    """One HTTP request on its way through the guard."""

    def __init__(
        self,
        app: ASGIApp,
        guard: AsyncGuard,
        door: Door,
        source: str,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        self._app = app
        self._guard = guard
        self._core = guard.core
        self._door = door
        self._source = source
        self._scope = scope
        self._receive = receive
        self._caller = send
        self._begun = False
        self._read = bytearray()
        self._unread = True

    async def run(self) -> None:
        """Takes the request to its end; every refusal is a problem document with its receipt."""
        try:
            exchange = self._core.begin(self._source)
        except PolicyUnavailableError as error:
            await self._refuse_unruled(error)
            return
        observing = self._core.mode == "observe"
        try:
            await (self._observe(exchange) if observing else self._guarded(exchange))
        except Exception as error:  # noqa: BLE001  # bad input never gives a 500, and nothing passes
            await self._refuse(exchange, contained(error))

    async def _guarded(self, exchange: Exchange) -> None:
        target = read_target(self._scope)  # 1
        if exchange.rulebook.policy.is_passthrough(target.method, target.path):
            await self._pass(target)
            return
        target = await self._permit(exchange, target)  # 2-4
        answer = self._answer(exchange, target, self._send, head=target.method == "HEAD")
        await self._ask(answer.take, self._governed_scope(target), answer, self._replay)  # 5-8
        answer.finish()

    async def _observe(self, exchange: Exchange) -> None:
        """The same, but the caller gets what the app behind said once what would have been is on record."""
        came: Target | None = None
        try:
            came = read_target(self._scope)
            passing = exchange.rulebook.policy.is_passthrough(came.method, came.path)
            target = came if passing else await self._permit(exchange, came)
        except Exception as error:  # noqa: BLE001  # recorded as it would have been, then passed on
            await self._record_refusal(exchange, contained(error))
            passing = True
        if passing:
            await self._pass(came)
            return
        shadow = self._answer(exchange, target, _nowhere)
        less = exchange.narrowed is not None or asks_less(target.method, self._scope["headers"])
        if less and not exchange.verb.writes:
            await self._ask(shadow.take, self._governed_scope(target), shadow, _no_body)
            await self._shadowed(exchange, shadow)
            await self._pass(came)
            return
        observed = ObservedAnswer(shadow, self._send)
        await self._ask(observed.take, {**self._as_it_came(came), "extensions": {}}, shadow, self._replay)
        refusal = await self._shadowed(exchange, shadow)
        if refusal is not None and observed.silent:  # the app behind gave nothing that could be passed on
            await self._problem(*refusal)
        await observed.flush()

    async def _shadowed(
        self, exchange: Exchange, shadow: GovernedAnswer
    ) -> tuple[PrivguardError, AuditReceipt] | None:
        """Ends an answer that goes nowhere; what would have been refused is recorded, and given."""
        try:
            shadow.finish()
        except PrivguardError as error:
            return error, await self._record_refusal(exchange, error)
        return None

    async def _permit(self, exchange: Exchange, target: Target) -> Target:
        """Steps 2 to 4: who asks, may they, and what a write needs before the app behind sees it.

        Returns:
            The target less the parameters that do not go on.
        """
        said = read_said(self._scope["headers"], target.query if self._door.query_forms else ())
        body = await self._request_body(target.method)
        try:
            actor = await self._door.identity.identify(target, self._scope["headers"], body)
        except NotAdmittedError as error:  # it is known who it is, and to be on record
            exchange.identified(error.actor)
            raise
        exchange.identified(actor)
        if self._door.query_forms:
            target = target.without(_QUERY_FORMS)
        grant = await self._guard.grant(said.grant)
        exchange.decide(
            _request(target, said, self._door.zone(self._scope)), self._core.clock.now_us(), grant
        )
        if target.query:
            target = target.without(frozenset(name for name, _ in target.query) - exchange.passing)
        if exchange.lookups:
            await self._guard.take_lookup(exchange)
        if exchange.narrowed is not None:
            target = target.narrowed(*exchange.narrowed)
        if not exchange.verb.writes:
            if body:
                raise MalformedRequestError(
                    "A request that reads has no body here: its conditions would go unjudged."
                )
            if exchange.hangs_on:
                await self._judge_parent(exchange, target)
            return target
        current = await self._current(exchange, target)
        _, coding = media_of(self._scope["headers"])
        if coding:
            raise MalformedRequestError(
                "A coded request body cannot be judged: send it without Content-Encoding."
            )
        exchange.judge_write(content_type_of(self._scope["headers"]), body, current)
        claim, _ = self._core.spending(exchange)
        intent = await self._guard.record(exchange.intent(self._core.clock.now_us()), claim)
        exchange.intent_recorded(intent, self._core.new_id())
        return target

    async def _current(self, exchange: Exchange, target: Target) -> bytes | None:
        """The record that a write is about to change, as the upstream has it now."""
        if exchange.verb is Verb.CREATE or not exchange.readable(target.path):
            return None
        return exchange.single_record(await self._record_at(target, target.path, target.raw_path))

    async def _judge_parent(self, exchange: Exchange, target: Target) -> None:
        """Judges the record that the target hangs on before anything below it is asked for (M11, M12)."""
        segments = exchange.hangs_on
        path = _first(target.path, "/", segments)
        exchange.seek_parent(path, self._core.clock.now_us())
        raw_path = _first(target.raw_path, b"/", segments)
        exchange.judge_parent(await self._record_at(target, path, raw_path))

    async def _record_at(self, target: Target, path: str, raw_path: bytes) -> bytes:
        """The answer that shows one record, asked for with the caller's credentials.

        Raises:
            AccessDeniedError: there is none.
        """
        scope = self._governed_scope(target)
        scope["method"], scope["query_string"] = "GET", b""
        scope["path"], scope["raw_path"] = path, raw_path
        scope["headers"] = upstream_headers(
            self._scope["headers"], bodiless=True, identity=self._door.credentials
        )
        whole = await ask(self._app, scope, self._door.limits.answer)
        if whole.status in ABSENT:
            raise AccessDeniedError(hidden=True)
        if whole.status == 401:
            raise UnauthenticatedError("The CRM no longer knows these credentials: sign in again.")
        if whole.status != 200:
            raise UnreadableResponseError("The upstream did not show the record that this is about.")
        return whole.body

    # towards the app behind

    def _answer(
        self, exchange: Exchange, target: Target, send: Send, *, head: bool = False
    ) -> GovernedAnswer:
        path = target.raw_path.decode("ascii")
        paging = PagingRewrite(
            self._scope["scheme"], target.host, path, target.query, narrowed=exchange.narrowed is not None
        )
        return GovernedAnswer(exchange, self._guard, send, self._door.limits, head=head, paging=paging)

    async def _ask(self, take: Send, scope: Scope, answer: GovernedAnswer, receive: Receive) -> None:
        try:
            await self._app(scope, receive, take)
        except StoppedError:
            pass
        except Exception as error:  # noqa: BLE001  # the app's own failure: its text may hold client data
            answer.failure = answer.failure or contained(error)

    def _governed_scope(self, target: Target) -> Scope:
        scope = dict(self._scope)
        reading = target.method in _BODILESS
        scope["method"] = "GET" if reading else target.method
        scope["headers"] = upstream_headers(
            self._scope["headers"], bodiless=reading, identity=self._door.credentials
        )
        scope["extensions"] = {}  # no pathsend, no trailers: they would go past the mask
        scope["query_string"] = target.raw_query
        return scope

    async def _pass(self, came: Target | None) -> None:
        """Hands the request on; its answer goes to the caller."""
        await self._app(self._as_it_came(came), self._replay, self._send)

    def _as_it_came(self, came: Target | None) -> Scope:
        """The request less what would vouch for an actor (S11) and what is said to privguard alone."""
        scope = dict(self._scope)
        scope["headers"] = without_vouching(self._scope["headers"])
        if came is not None and self._door.query_forms:
            scope["query_string"] = came.without(_QUERY_FORMS).raw_query
        return scope

    # the request body

    async def _request_body(self, method: str) -> bytes:
        """The whole request body, bounded; a governed GET has none."""
        limit = 0 if method in _BODILESS else self._door.limits.request
        while self._unread:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise MalformedRequestError("The caller went away before the request was complete.")
            self._read += message.get("body", b"")
            self._unread = message.get("more_body", False)
            if len(self._read) > limit:
                raise MalformedRequestError(f"The request body may have {limit} bytes at most here.")
        return bytes(self._read)

    async def _replay(self) -> Message:
        """``receive`` for the app behind: first what was read already."""
        if self._read or not self._unread:
            body, self._read = bytes(self._read), bytearray()
            more, self._unread = self._unread, True
            return {"type": "http.request", "body": body, "more_body": more}
        return await self._receive()

    # towards the caller

    async def _send(self, message: Message) -> None:
        self._begun = True
        await self._caller(message)

    async def _refuse(self, exchange: Exchange, error: PrivguardError) -> None:
        """Records a refusal and answers with its problem; a stream that has begun is broken off instead."""
        receipt: AuditReceipt | None = None
        try:
            receipt = await self._record_refusal(exchange, error)
        except AuditUnavailableError as unavailable:
            error = unavailable
        if exchange.request.grant and exchange.grant is None and isinstance(error, AccessDeniedError):
            error.detail = f"The grant does not hold here: it is over, or for something else. {error.detail}"
        if isinstance(error, StepUpRequiredError):
            error.challenge = await self._guard.challenge(exchange)
        await self._problem(error, receipt)

    async def _record_refusal(self, exchange: Exchange, error: PrivguardError) -> AuditReceipt:
        if isinstance(error, AuditUnavailableError):
            raise error  # what could not be recorded in time is not tried twice
        exchange.refused(error, self._core.new_id())
        event = exchange.event(self._core.clock.now_us())
        receipt = exchange.recorded(await self._guard.record(event))
        exchange.release(receipt)
        return receipt

    async def _refuse_unruled(self, error: PrivguardError) -> None:
        try:
            receipt = await self._guard.record(self._core.unruled(error.status, self._source, error.problem))
        except AuditUnavailableError as unavailable:
            await self._problem(unavailable, None)
        else:
            await self._problem(error, receipt)

    async def _problem(self, error: PrivguardError, receipt: AuditReceipt | None) -> None:
        if self._begun:
            return  # the body ends without its end: the server closes the connection
        status, headers, body = problem_response(error, receipt)
        if isinstance(error, MalformedRequestError) and self._scope.get("http_version", "").startswith("1."):
            headers.append((b"connection", b"close"))  # S13: what follows could be part of what was refused
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})


_QUERY_FORMS: Final = frozenset({"_purpose", "_reveal"})


def _first(path: AnyStr, slash: AnyStr, segments: int) -> AnyStr:
    """The first segments of a path."""
    return slash.join(path.split(slash)[: segments + 1])


async def _no_body() -> Message:
    """``receive`` for a request that is asked beside the caller's own."""
    return {"type": "http.request", "body": b"", "more_body": False}


async def _nowhere(_message: Message) -> None:
    """Where the masked answer goes in observe mode."""


def _request(target: Target, said: Said, zone: str | None) -> AccessRequest:
    return AccessRequest(
        method=target.method,
        path=target.path,
        query=target.query,
        purpose=said.purpose,
        reason=said.reason,
        ticket=said.ticket,
        reveal=said.reveal,
        grant=said.grant,
        break_glass=said.break_glass,
        zone=zone,
    )
