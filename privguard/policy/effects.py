"""What an unusual access leads to: a purpose, what a gate could ask for, a refusal, an alert."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from privguard.errors import AccessDeniedError, PurposeRequiredError
from privguard.model import AccessRequest, Principal, Verb
from privguard.policy.document import AnomalyDef, EffectDef, given
from privguard.policy.refuse import demanded
from privguard.policy.requirements import Requirements, merge
from privguard.policy.rules import Rule

LEVELS: Final = ("raised", "high", "severe", "rule", "unknown")
PREFIX: Final = "anomaly-"
"""Ids of the rules that grants for unusual accesses are issued under begin so."""


class Effect(Struct, frozen=True, eq=False):
    """What one level of risk leads to.

    Attributes:
        rule: what is required, as a gate; a grant under its id meets it.
        alert: who is told.
    """

    rule: Rule
    purpose: bool = False
    deny: bool = False
    alert: tuple[str, ...] = ()

    def judge(self, actor: Principal, request: AccessRequest, now_us: int, *, granted: bool) -> None:
        """Lets an access go on, or says what is missing.

        Args:
            granted: a grant under this effect's rule covers the access.

        Raises:
            AccessDeniedError: or one of its kinds.
        """
        if self.deny:
            raise AccessDeniedError("This look-up is out of the ordinary, and refused.")
        if self.purpose and request.purpose is None:
            raise PurposeRequiredError("This look-up is out of the ordinary: say what for.")
        unmet = [each for each in self.rule.requires if not each.met(actor, request, now_us)]
        if unmet and not granted:
            raise demanded(merge(unmet), (), (self.rule.id,))()


def compile_effects(written: AnomalyDef, requirements: Requirements) -> Mapping[str, Effect]:
    """The effects of the levels that have one."""
    found = {level: getattr(written.effects, level) for level in LEVELS}
    return {level: _effect(level, one, requirements) for level, one in found.items() if one != EffectDef()}


def _effect(level: str, written: EffectDef, requirements: Requirements) -> Effect:
    rule = Rule(
        id=PREFIX + level,
        effect="gate",
        actions=frozenset(Verb),
        requires=requirements.of(given(written.require), reveal=False),
    )
    return Effect(rule, written.purpose, written.deny, given(written.alert) or ())
