"""A risk in sentences: what was seen, what was to be expected, what would clear it; no client data."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from privguard.anomaly.evidence import Cause, Evidence, Risk

_WINDOWS: Final[Mapping[int, str]] = MappingProxyType(
    {60: "minute", 600: "ten minutes", 3600: "hour", 86_400: "day"}
)
_WHY: Final[Mapping[Cause, str]] = MappingProxyType(
    {
        Cause.HONEY: "This client was planted: nobody has work with them.",
        Cause.LEAVER: "The account is of somebody who has left.",
        Cause.CAP: "{observed:.0f} different clients today; the role may look at {expected:.0f}.",
        Cause.DORMANT: "The account was not used for {days:.0f} days.",
        Cause.CONCURRENT: "{observed:.0f} seconds before, the account was used on another device, elsewhere.",
        Cause.VIEWS: "{observed:.0f} views in the last {window}; {expected:.1f} are usual,"
        " {peers:.1f} of peers.",
        Cause.NEW: "{observed:.0f} clients never seen before in the last {window}; {expected:.1f} are usual,"
        " {peers:.1f} of peers.",
        Cause.CLEAR: "{observed:.0f} clear values in the last {window}; {expected:.1f} are usual,"
        " {peers:.1f} of peers.",
        Cause.UNRELATED: "{observed:.0f} clients without work in the last {window}; {expected:.1f} are usual,"
        " {peers:.1f} of peers.",
        Cause.ODD_HOURS: "{observed:.0f} views at hours when the role hardly works, in the last {window};"
        " {expected:.1f} are usual.",
        Cause.REFUSED: "{observed:.0f} refusals in the last {window}; {expected:.1f} are usual,"
        " {peers:.1f} of peers.",
        Cause.DISTANCE: "Nobody of the team has had work with this client lately;"
        " {share} of looks are so far off.",
        Cause.SURNAME: "The client has the actor's surname; {share} of the role's looks are as close.",
        Cause.EMPLOYER: "The client has the actor's employer; {share} of the role's looks are as close.",
        Cause.ADDRESS: "The client lives where the actor lives; {share} of the role's looks are as close.",
        Cause.KIN: "The client is kin of the actor's; {share} of the role's looks are as close.",
        Cause.HOUR: "The role hardly works at this hour of the week;"
        " {share} of its looks are at hours as rare.",
        Cause.PLACE: "A device or place that this account has not been used from.",
    }
)
_CLEARS: Final[Mapping[Cause, str]] = MappingProxyType(
    {
        Cause.HONEY: "nothing",
        Cause.LEAVER: "a corrected staff directory",
        Cause.CAP: "a larger budget of the role, or a campaign or cover on record",
        Cause.DORMANT: "an absence on record that has ended",
        Cause.CONCURRENT: "a second factor on both devices",
        Cause.VIEWS: "a campaign, a cover or an outage on record",
        Cause.NEW: "a new portfolio, a campaign or a cover on record",
        Cause.CLEAR: "transactions that follow, or a reason for each",
        Cause.UNRELATED: "a task, a call or an assignment for these clients",
        Cause.ODD_HOURS: "a shift on record",
        Cause.REFUSED: "a rule for what was asked, or a front end that does not ask for it",
        Cause.DISTANCE: "a task, a call or an assignment for this client",
        Cause.SURNAME: "a task or a call for this client",
        Cause.EMPLOYER: "a task or a call for this client",
        Cause.ADDRESS: "a task or a call for this client",
        Cause.KIN: "a task or a call for this client",
        Cause.HOUR: "a shift on record",
        Cause.PLACE: "a second factor on this device",
    }
)


def sentence(evidence: Evidence) -> str:
    """One piece of evidence, with its figures."""
    return _WHY[evidence.cause].format(
        observed=evidence.observed,
        expected=evidence.expected,
        peers=evidence.peers,
        days=evidence.observed / 86_400,
        window=_WINDOWS.get(evidence.window_s, "day"),
        share=f"{evidence.p:.2%}",
    )


def clears(evidence: Evidence) -> str:
    """What on record would have made it ordinary."""
    return _CLEARS[evidence.cause]


def explain(risk: Risk) -> list[str]:
    """Everything that speaks against an access, strongest first."""
    return [f"{sentence(each)} Cleared by {clears(each)}." for each in risk.evidence]
