"""A risk in sentences: what was seen, what was to be expected, what would clear it; no client data.

In English or Chinese (``en``, ``zh``).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from privguard.anomaly.evidence import Cause, Evidence

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
        Cause.VIEWS: "{observed:.0f} views without a task in the last {window}; {expected:.1f} are usual,"
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
        Cause.AGAIN: "Looked at on {observed:.0f} days of late, without work of anybody in the team.",
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
        Cause.AGAIN: "a task, a call or an assignment for this client",
        Cause.HOUR: "a shift on record",
        Cause.PLACE: "a second factor on this device",
    }
)


_WINDOWS_ZH: Final[Mapping[int, str]] = MappingProxyType(
    {60: "一分钟", 600: "十分钟", 3600: "一小时", 86_400: "一天"}
)
_USUAL_ZH: Final = "通常为 {expected:.1f}，同岗人员为 {peers:.1f}。"
_CLOSE_ZH: Final = "该角色的此类查看占 {share}。"
_WHY_ZH: Final[Mapping[Cause, str]] = MappingProxyType(
    {
        Cause.HONEY: "该客户是预设的诱饵，任何人都没有与其相关的业务。",
        Cause.LEAVER: "该账号属于已离职人员。",
        Cause.CAP: "今日已查看 {observed:.0f} 位不同客户，该角色上限为 {expected:.0f} 位。",
        Cause.DORMANT: "该账号已有 {days:.0f} 天未使用。",
        Cause.CONCURRENT: "{observed:.0f} 秒前，该账号在另一地点的另一设备上使用。",
        Cause.VIEWS: f"近{{window}}内无任务查看 {{observed:.0f}} 次，{_USUAL_ZH}",
        Cause.NEW: f"近{{window}}内查看 {{observed:.0f}} 位从未查看过的客户，{_USUAL_ZH}",
        Cause.CLEAR: f"近{{window}}内查看 {{observed:.0f}} 次明文，{_USUAL_ZH}",
        Cause.UNRELATED: f"近{{window}}内查看 {{observed:.0f}} 位无业务往来的客户，{_USUAL_ZH}",
        Cause.ODD_HOURS: "近{window}内在该角色很少工作的时段查看 {observed:.0f} 次，通常为 {expected:.1f}。",
        Cause.REFUSED: f"近{{window}}内被拒绝 {{observed:.0f}} 次，{_USUAL_ZH}",
        Cause.DISTANCE: "近期团队中无人与该客户有业务往来，同样疏远的查看占 {share}。",
        Cause.SURNAME: f"该客户与查看人同姓，{_CLOSE_ZH}",
        Cause.EMPLOYER: f"该客户与查看人任职于同一单位，{_CLOSE_ZH}",
        Cause.ADDRESS: f"该客户与查看人住址相同，{_CLOSE_ZH}",
        Cause.KIN: f"该客户是查看人的亲属，{_CLOSE_ZH}",
        Cause.AGAIN: "近期在 {observed:.0f} 个不同日子查看该客户，而团队中无人与其有业务往来。",
        Cause.HOUR: "该角色很少在每周的这一时段工作，同样少见时段的查看占 {share}。",
        Cause.PLACE: "该账号此前未在此设备或地点使用过。",
    }
)
_CLEARS_ZH: Final[Mapping[Cause, str]] = MappingProxyType(
    {
        Cause.HONEY: "无法排除",
        Cause.LEAVER: "更正员工名录",
        Cause.CAP: "提高该角色的限额，或登记营销活动、代班",
        Cause.DORMANT: "登记已结束的休假",
        Cause.CONCURRENT: "两台设备均通过二次验证",
        Cause.VIEWS: "登记营销活动、代班或系统故障",
        Cause.NEW: "登记新接手的客户、营销活动或代班",
        Cause.CLEAR: "随后办理的业务，或逐笔说明理由",
        Cause.UNRELATED: "登记与这些客户有关的任务、来电或分管关系",
        Cause.ODD_HOURS: "登记排班",
        Cause.REFUSED: "为所请求的内容设定规则，或前端不再请求",
        Cause.DISTANCE: "登记与该客户有关的任务、来电或分管关系",
        Cause.SURNAME: "登记与该客户有关的任务或来电",
        Cause.EMPLOYER: "登记与该客户有关的任务或来电",
        Cause.ADDRESS: "登记与该客户有关的任务或来电",
        Cause.KIN: "登记与该客户有关的任务或来电",
        Cause.AGAIN: "登记与该客户有关的任务、来电或分管关系",
        Cause.HOUR: "登记排班",
        Cause.PLACE: "在此设备上通过二次验证",
    }
)


def sentence(evidence: Evidence, lang: str = "en") -> str:
    """One piece of evidence, with its figures, and what on record would have made it ordinary."""
    why, clears, windows = (_WHY_ZH, _CLEARS_ZH, _WINDOWS_ZH) if lang == "zh" else (_WHY, _CLEARS, _WINDOWS)
    said = why[evidence.cause].format(
        observed=evidence.observed,
        expected=evidence.expected,
        peers=evidence.peers,
        days=evidence.observed / 86_400,
        window=windows.get(evidence.window_s, windows[86_400]),
        share=f"{evidence.p:.2%}",
    )
    if lang == "zh":
        return f"{said}排除方式：{clears[evidence.cause]}。"
    return f"{said} Cleared by {clears[evidence.cause]}."
