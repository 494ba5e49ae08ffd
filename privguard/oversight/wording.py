"""What compliance officers and clients read, in English and Chinese."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct

_NOTICE: Final = (
    "This statement shows accesses by which data about you left the client system, as they stand in a log "
    "that cannot be changed unnoticed. The law may forbid or put off telling of an access; whether there is "
    "such a one cannot be seen from this statement."
)
_NOTICE_ZH: Final = (
    "本说明列示日志中记载的、您的个人信息从客户系统中被取用的情况；该日志一经改动即可被发现。"
    "法律法规可能禁止或暂缓告知某些查阅；是否存在此种情形，无法从本说明中看出。"
)
_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "title": ("Who saw your data", "个人信息查阅情况说明"),
    "client": ("Client", "客户编号"),
    "made": ("Made", "出具时间"),
    "origin": ("Log", "日志名称"),
    "digest": ("Digest", "内容摘要"),
    "number": ("Accesses shown", "所列次数"),
    "none": ("No access is shown.", "没有可列示的查阅。"),
    "at": ("Time", "时间"),
    "who": ("Who", "查阅人"),
    "why": ("Why", "目的与依据"),
    "what": ("What was done", "操作"),
    "fields": ("Which data", "涉及的信息"),
    "clear": ("in full", "完整显示"),
    "masked": ("partly hidden", "部分遮盖"),
    "token": ("as a pseudonym", "以代号显示"),
    "unmasked": ("the whole record, in full", "整条记录，完整显示"),
    "observed": ("observe mode: passed on as it was", "观察模式：原样放行"),
    "page": ("Page", "页码"),
    "read": ("read", "查阅"),
    "create": ("created", "新建"),
    "update": ("changed", "修改"),
    "delete": ("deleted", "删除"),
    "export": ("exported", "导出"),
    "report": ("reported on", "出具报告"),
    "statement": ("made a statement", "出具说明"),
    "search": ("searched", "检索日志"),
    "show": ("shown", "查看日志"),
    "tail": ("shown", "查看日志"),
    "hold": ("put on hold", "保全"),
    "release": ("let go", "解除保全"),
    "lift": ("embargo lifted", "解除告知限制"),
    "permitted": ("permitted", "允许"),
    "denied": ("denied", "拒绝"),
    "challenged": ("challenged", "要求进一步验证"),
    "aborted": ("aborted", "中止"),
    "intent": ("intent", "写入前登记"),
    "clients": ("clients", "涉及客户数"),
    "complete": (
        "complete: {0} entries, numbered {0} to 1",
        "完整：共 {0} 条记录，编号由 {0} 至 1",
    ),
    "comma": (", ", "、"),
    "colon": (": ", "："),
    "notice": (_NOTICE, _NOTICE_ZH),
    "sealed": (
        "On {} accesses whose time of retention had passed went into a sealed archive; they are not here.",
        "{} 已将超过保存期限的访问记录移入封存档案，本文件不含这些记录。",
    ),
}
LANGUAGES: Final = ("en", "zh")


def both(key: str) -> dict[str, str]:
    """A word in every language."""
    return dict(zip(LANGUAGES, _WORDS[key], strict=True))


class Words(Struct, frozen=True):
    """A language; ``names`` is what the policy has people read instead of its names."""

    lang: str
    names: Mapping[str, Mapping[str, str]] = {}

    def __call__(self, key: str) -> str:
        """A word of ours; another stays as it is."""
        return both(key)[self.lang] if key in _WORDS else key

    def name(self, name: str) -> str:
        """A name of the policy."""
        return self.names[name][self.lang] if name in self.names else name

    def listed(self, names: Iterable[str]) -> str:
        """Names of the policy, one after the other."""
        return self("comma").join(map(self.name, names))
