"""What a rule requires first, and whether it is met by what the actor has and the request says.

An approval is met by a grant alone, and so is the second factor of a reveal. Gates and shown classes take a
fresh authentication as the issuer vouches for it, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Final

from msgspec import UNSET, Struct

from privguard.model import AccessRequest, Obligation, Principal
from privguard.policy.document import Hours, Mfa, Require
from privguard.policy.notation import minutes, seconds

Test = Callable[[Principal, AccessRequest, int], bool]
"""Whether the obligation is met at this time (microseconds since the epoch)."""

SKEW: Final = 60
"""Seconds an issuer's clock may be ahead; beyond it (or in milliseconds, S10) a time does not count."""
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_LONGEST_TICKET: Final = 64
BY_GRANT: Final = frozenset({"mfa", "approval", "reason", "ticket"})
"""Kinds of obligations that were met once when a grant was issued, and are met by it."""


class Requirement(Struct, frozen=True, eq=False):
    """One obligation of a policy; ``number`` names it in the keys of plans."""

    number: int
    obligation: Obligation
    met: Test


class Requirements:
    """The distinct obligations of a policy, numbered."""

    def __init__(self) -> None:
        self._known: dict[tuple[Obligation, bool], Requirement] = {}

    def of(self, require: Require | None, *, reveal: bool) -> tuple[Requirement, ...]:
        """The obligations of a rule; a reveal's second factor needs a grant.

        Args:
            require: as the rule says it.
            reveal: it is a reveal rule's.
        """
        tests = dict(_tests(require)) if require is not None else {}
        if reveal:
            found = [obligation for obligation in tests if obligation.kind == "mfa"]
            tests[found[0] if found else Obligation("mfa")] = _never
        return tuple(self._numbered(obligation, test, reveal) for obligation, test in tests.items())

    def _numbered(self, obligation: Obligation, test: Test, reveal: bool) -> Requirement:
        key = (obligation, reveal and obligation.kind == "mfa")
        if key not in self._known:
            self._known[key] = Requirement(len(self._known), obligation, test)
        return self._known[key]


def merge(requirements: Iterable[Requirement]) -> tuple[Obligation, ...]:
    """Obligations to meet all of these; second factors become the strictest one."""
    merged: dict[str | Obligation, Obligation] = {}
    for requirement in requirements:
        new = requirement.obligation
        key = "mfa" if new.kind == "mfa" else new
        merged[key] = _stricter(merged[key], new) if key in merged else new
    return tuple(merged.values())


def _stricter(one: Obligation, other: Obligation) -> Obligation:
    ages = [age for age in (one.max_age, other.max_age) if age is not None]
    resistant = one.phishing_resistant or other.phishing_resistant
    return _second_factor(min(ages) if ages else None, resistant)


def _second_factor(max_age: int | None, resistant: bool) -> Obligation:
    kind = "a phishing-resistant factor" if resistant else "a second factor"
    detail = f"{kind} within {max_age} s" if max_age is not None else kind
    return Obligation("mfa", max_age, resistant, detail=detail)


def _tests(require: Require) -> Iterator[tuple[Obligation, Test]]:
    if require.mfa is not UNSET:
        obligation = _second_factor(seconds(require.mfa.max_age), require.mfa.phishing_resistant)
        yield obligation, _fresh(require.mfa)
    if require.reason is not UNSET:
        least = require.reason.min
        yield Obligation("reason", detail=f"at least {least} characters"), _reasoned(least)
    if require.ticket is not UNSET:
        yield Obligation("ticket", detail=f"of the form {require.ticket}"), _ticketed(require.ticket)
    if require.training is not UNSET:
        for course, age in require.training.items():
            yield (
                Obligation("training", detail=f"{course}, passed within {age}"),
                _trained(course, seconds(age)),
            )
    if require.zone is not UNSET:
        yield Obligation("zone", detail=f"one of {', '.join(require.zone)}"), _within(frozenset(require.zone))
    if require.device is not UNSET:
        yield Obligation("device", detail="a managed one"), _managed
    if require.hours is not UNSET:
        span = f"{require.hours.since} to {require.hours.to} ({require.hours.offset})"
        yield Obligation("hours", detail=f"{', '.join(require.hours.days)}, {span}"), _at_work(require.hours)
    if require.approval is not UNSET:
        yield (
            Obligation("approval", role=require.approval.role, detail=f"role {require.approval.role}"),
            _never,
        )


def _never(actor: Principal, request: AccessRequest, now_us: int) -> bool:
    return False


def _fresh(mfa: Mfa) -> Test:
    max_age = seconds(mfa.max_age)

    def met(actor: Principal, request: AccessRequest, now_us: int) -> bool:
        proof = actor.assurance
        if not proof.multi_factor or (mfa.phishing_resistant and not proof.phishing_resistant):
            return False
        return proof.auth_time is not None and -SKEW <= now_us // 1_000_000 - proof.auth_time <= max_age

    return met


def _reasoned(least: int) -> Test:
    def met(actor: Principal, request: AccessRequest, now_us: int) -> bool:
        # Runs of blanks count once and invisible characters not at all: a reason is there to be read.
        words = " ".join((request.reason or "").split())
        return sum(letter.isprintable() for letter in words) >= least and any(map(str.isalnum, words))

    return met


def _ticketed(form: str) -> Test:
    pattern = re.compile(form)

    def met(actor: Principal, request: AccessRequest, now_us: int) -> bool:
        ticket = request.ticket or ""
        return 0 < len(ticket) <= _LONGEST_TICKET and pattern.fullmatch(ticket) is not None

    return met


def _within(zones: frozenset[str]) -> Test:
    def met(actor: Principal, request: AccessRequest, now_us: int) -> bool:
        return request.zone in zones

    return met


def _managed(actor: Principal, request: AccessRequest, now_us: int) -> bool:
    return actor.attributes.get("managed_device") is True


_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _at_work(hours: Hours) -> Test:
    since, to = minutes(hours.since), minutes(hours.to)
    days = frozenset(map(_DAYS.index, hours.days))
    ahead = minutes(hours.offset[1:]) * (-1 if hours.offset[0] == "-" else 1)

    def met(actor: Principal, request: AccessRequest, now_us: int) -> bool:
        local = now_us // 60_000_000 + ahead
        day, minute = divmod(local, 1440)
        return (day + 3) % 7 in days and since <= minute < to  # the epoch began on a Thursday

    return met


def _trained(course: str, max_age: int) -> Test:
    days = max_age // 86_400

    def met(actor: Principal, request: AccessRequest, now_us: int) -> bool:
        courses = actor.attributes.get("training")
        passed = courses.get(course) if isinstance(courses, Mapping) else None
        if not isinstance(passed, str) or not _DATE.fullmatch(passed):
            return False
        try:
            age = (datetime.fromtimestamp(now_us // 1_000_000, UTC).date() - date.fromisoformat(passed)).days
        except (ValueError, OverflowError, OSError):
            return False
        # A day's grace: where the course was passed it may be tomorrow already.
        return -1 <= age <= days

    return met
