"""The one tree of errors: each class has an HTTP status and a problem type.

A message names the cause and the mend, and is written by us: it never carries a value that came with a
request, a record, a credential or an upstream's answer (L12). Names of fields, classes, rules, routes and
settings come from the policy or the configuration and may be named.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final


class PrivguardError(Exception):
    """Anything privguard refuses or fails at.

    Attributes:
        status: the HTTP status a door answers with.
        problem: last part of ``urn:privguard:problem:NAME`` (RFC 9457).
        title: what happened, the same for every occurrence.
    """

    status: int = 500
    problem: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "privguard failed"

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title

    def members(self) -> Mapping[str, object]:
        """Extension members of the problem document; JSON values only."""
        return {}

    def headers(self) -> tuple[tuple[str, str], ...]:
        """Response headers this refusal carries."""
        return ()


class PolicyError(PrivguardError):
    """A policy, or a test beside it, is wrong; ``where`` is ``file:line:column``, ``message`` without it."""

    title = "The policy is not valid"

    def __init__(self, detail: str, where: str = "", mend: str = "") -> None:
        super().__init__(": ".join(part for part in (where, detail) if part) + (f" ({mend})" if mend else ""))
        self.message = detail
        self.where = where
        self.mend = mend


class ConfigError(PrivguardError):
    """The configuration, a key file or the command's surroundings are wrong."""

    title = "The configuration is not valid"


class IllegalTransitionError(PrivguardError):
    """A step of the exchange was taken out of order: a defect, never a refusal."""

    title = "An exchange step was taken out of order"


class MalformedRequestError(PrivguardError):
    """The request can be read in more than one way (S12, S13, M09)."""

    status = 400
    problem = "malformed-request"
    title = "The request is ambiguous"


class UnauthenticatedError(PrivguardError):
    """No credentials, or credentials that do not hold."""

    status = 401
    problem = "unauthenticated"
    title = "Who asks is not known"

    def headers(self) -> tuple[tuple[str, str], ...]:
        return (("www-authenticate", "Bearer"),)


class AccessDeniedError(PrivguardError):
    """The policy gives this actor nothing here.

    Args:
        hidden: the refusal depends on the record, so it must look like a record that is not there (M12).
    """

    status = 403
    problem = "not-permitted"
    title = "The policy does not permit this"

    def __init__(self, detail: str = "", *, hidden: bool = False) -> None:
        super().__init__("No such record, or the policy does not permit it." if hidden else detail)
        if hidden:
            self.status = 404


class StepUpRequiredError(AccessDeniedError):
    """Clear values or the record itself need a stronger or fresher authentication (RFC 9470).

    Args:
        fields: paths or classes that were asked for and withheld.
        rules: ids of the rules that ask for it.
        max_age: seconds since authentication that would be accepted.
        acr_values: authentication context that is asked for.
    """

    status = 401
    problem = "step-up-required"
    title = "A fresh second factor is needed"

    def __init__(
        self,
        detail: str = "",
        *,
        fields: tuple[str, ...] = (),
        rules: tuple[str, ...] = (),
        max_age: int = 0,
        acr_values: str = "mfa",
    ) -> None:
        super().__init__(detail)
        self.fields = fields
        self.rules = rules
        self.challenge: Mapping[str, object] = {}
        self.max_age = max_age
        self.acr_values = acr_values

    def members(self) -> Mapping[str, object]:
        return {"fields": list(self.fields), "methods": [], **self.challenge}

    def headers(self) -> tuple[tuple[str, str], ...]:
        challenge = (
            'Bearer error="insufficient_user_authentication", '
            f'error_description="A fresh second factor is needed", '
            f'acr_values="{self.acr_values}", max_age="{self.max_age}"'
        )
        return (("www-authenticate", challenge),)


class NotOnRecordError(PrivguardError):
    """What is looked for is not in the log, or nobody can tell any more (it was erased)."""

    status = 404
    problem = "not-permitted"
    title = "Not on record"


class OnHoldError(PrivguardError):
    """A client whose data must be kept is to be erased."""

    status = 409
    problem = "on-hold"
    title = "The client is on hold"


class FactorRefusedError(AccessDeniedError):
    """A second factor was not accepted; the same whether it was wrong, used before or tried too often."""

    problem = "factor-refused"
    title = "The second factor was not accepted"

    def __init__(self) -> None:
        super().__init__("Try again with a fresh code, or in a while; the log tells why.")


class UnvouchedKeyError(AccessDeniedError):
    """A security key cannot be enrolled: no maker whom the settings name vouches for it, or for its make."""

    problem = "key-not-vouched"
    title = "The security key's make does not count here"


class CounterRegressionError(FactorRefusedError):
    """A key's signature holds, but its count did not grow: it may have been copied (S07)."""


class CodeNotSentError(PrivguardError):
    """A one-time code was not taken by what delivers it."""

    status = 503
    problem = "code-not-sent"
    title = "The code could not be sent"


SPENT: Final = "The grant is spent, over or revoked: ask without it."


class GrantSpentError(StepUpRequiredError):
    """A grant was spent, revoked or over by the time that what it opens was to leave (S08)."""

    def __init__(self, detail: str = SPENT) -> None:
        super().__init__(detail)


class ReasonRequiredError(AccessDeniedError):
    """The caller has to say why (or name a ticket)."""

    problem = "reason-required"
    title = "A reason is needed"


class PurposeRequiredError(AccessDeniedError):
    """The caller has to say what for."""

    problem = "purpose-required"
    title = "A purpose is needed"


class UngovernedRouteError(AccessDeniedError):
    """No resource of the policy matches and no passthrough names the route."""

    problem = "ungoverned-route"
    title = "The policy does not know this route"


class FilterNotPermittedError(AccessDeniedError):
    """A parameter filters, sorts, searches or exports by a field this actor may not see so (M01-M03)."""

    problem = "filter-not-permitted"
    title = "A parameter is not permitted"

    def __init__(self, detail: str = "", *, parameters: tuple[str, ...] = ()) -> None:
        super().__init__(detail)
        self.parameters = parameters

    def members(self) -> Mapping[str, object]:
        return {"parameters": list(self.parameters)}


class MaskedValueInWriteError(PrivguardError):
    """A write carries back a masked value, or a field the actor may not write (M07)."""

    status = 409
    problem = "masked-value-in-write"
    title = "The write carries what this actor may not write"

    def __init__(self, detail: str = "", *, paths: tuple[str, ...] = ()) -> None:
        super().__init__(detail)
        self.paths = paths

    def members(self) -> Mapping[str, object]:
        return {"paths": list(self.paths)}


class TooManyDisclosuresError(PrivguardError):
    """The volume budget is spent; ``retry_after`` in seconds."""

    status = 429
    problem = "too-many-disclosures"
    title = "The budget of disclosures is spent"

    def __init__(self, detail: str = "", *, retry_after: int = 60) -> None:
        super().__init__(detail)
        self.retry_after = retry_after

    def headers(self) -> tuple[tuple[str, str], ...]:
        return (("retry-after", str(self.retry_after)),)


class UnreadableResponseError(PrivguardError):
    """A governed answer that cannot be parsed or masked: withheld, never passed."""

    status = 502
    problem = "unreadable-response"
    title = "The upstream's answer cannot be read"


class UpstreamUnavailableError(PrivguardError):
    """The upstream did not answer, or not in time."""

    status = 502
    problem = "upstream-unavailable"
    title = "The upstream does not answer"


class UpstreamRefusedError(PrivguardError):
    """The upstream itself refused; its status goes on, its body does not: it may echo a value (M06).

    Args:
        upstream_status: what it answered. A redirect becomes 502, for where it leads may hold a value (S14);
            so do 500, which here would say that privguard failed, and what is no status (RFC 9110 §15).
    """

    problem = "upstream-refused"
    title = "The upstream refused the request"

    def __init__(self, upstream_status: int) -> None:
        super().__init__("The upstream's own explanation is withheld, for it may hold client data.")
        refused = 400 <= upstream_status < 600 and upstream_status != 500
        self.status = upstream_status if refused else 502


class PolicyUnavailableError(PrivguardError):
    """There is no policy to judge by: everything is refused (M16)."""

    status = 503
    problem = "policy-unavailable"
    title = "There is no policy to judge by"


class StoreUnavailableError(PrivguardError):
    """The store did not answer within the deadline."""

    status = 503
    problem = "store-unavailable"
    title = "The store is not available"


class AuditUnavailableError(PrivguardError):
    """The record could not be made durable within the deadline: the response is withheld."""

    status = 503
    problem = "audit-unavailable"
    title = "The access cannot be put on record"


def contained(error: Exception) -> PrivguardError:
    """Any failure as one of ours; a foreign one loses its message, which may quote data (L12)."""
    if isinstance(error, PrivguardError):
        return error
    return UnreadableResponseError(f"A step failed ({type(error).__name__}); the answer is withheld.")
