"""The rules that can apply to one resource for one role set, verb and purpose, laid out over its fields."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from msgspec import Struct
from msgspec.structs import replace

from privguard.model import PUBLIC, FieldView, Mask, ResourceShape, Verb, View
from privguard.policy.requirements import Requirement
from privguard.policy.rules import Rule

Views = tuple[View, ...]
"""A view for every field of a shape, in its order."""
CLEAR = Mask("clear")
TOKEN = Mask("hash_token")
WITHHOLD = Mask("withhold")


class Candidate(Struct, frozen=True, eq=False):
    """A rule with what it does to each field, and what of its requirements is unmet.

    Attributes:
        gives: the view it gives each field.
        hides: positions of the fields a forbid withholds.
        conditional: it holds for some records only.
    """

    rule: Rule
    gives: Views
    hides: frozenset[int]
    unmet: tuple[Requirement, ...]
    conditional: bool

    @property
    def whole(self) -> bool:
        """It refuses the record as a whole."""
        return self.rule.effect == "forbid" and self.rule.withholds is None


class Candidates:
    """Rules by effect.

    Args:
        rules: that can apply, in the policy's order.
        met: numbers of the requirements that are met.
        asked: positions of the fields asked for in clear; None: nothing was asked for.
    """

    def __init__(
        self,
        rules: Iterable[Rule],
        shape: ResourceShape,
        verb: Verb,
        met: Collection[int],
        asked: frozenset[int] | None,
    ) -> None:
        self.shape = shape
        self.verb = verb
        self.asked = asked
        self._met = met
        everything = [self._candidate(rule) for rule in rules if self._reaches(rule)]
        self.forbids = [c for c in everything if c.rule.effect == "forbid"]
        self.gates = [c for c in everything if c.rule.effect == "gate" and c.unmet]
        self.shows = [c for c in everything if c.rule.effect == "show" and any(c.gives)]
        reveals = [c for c in everything if c.rule.effect == "reveal" and self._wanted(c)]
        self.reveals = [c for c in reveals if c.unmet]
        if asked is not None:  # under a grant they show what was asked for, and no more
            self.shows += [self._narrowed(c, asked) for c in reveals if not c.unmet]
        self.exports = [c for c in everything if c.rule.effect == "export"]
        if verb is not Verb.EXPORT:
            # An answer of a read may come in a bulk format too; only what holds for every record counts then.
            self.exports = [c for c in self.exports if not c.conditional]
        self.unchanged = tuple(
            View.CLEAR if spec.nested or spec.cls.name == PUBLIC.name else View.WITHHELD
            for spec in shape.fields
        )

    def __iter__(self) -> Iterator[Candidate]:
        yield from self.forbids
        yield from self.gates
        yield from self.shows
        yield from self.reveals
        yield from self.exports

    def combine(self, givers: Iterable[Candidate], hidden: Collection[int]) -> Views | None:
        """The strongest view any of the givers gives each field, None when they show nothing."""
        shown = list(map(max, zip(*(c.gives for c in givers), strict=True)))
        for position in hidden:
            if shown:
                shown[position] = View.WITHHELD
        if not any(shown):
            return None
        # Public fields and nested records are there as soon as the record is.
        return tuple(map(max, shown, self.unchanged))

    def nothing(self) -> Views:
        """Every field withheld."""
        return (View.WITHHELD,) * len(self.shape.fields)

    def views(self, views: Views) -> tuple[FieldView, ...]:
        """As the model has it, with the mask each view is made by."""
        masks = {View.CLEAR: CLEAR, View.TOKEN: TOKEN, View.WITHHELD: WITHHOLD}
        return tuple(
            FieldView(spec, view, masks.get(view, spec.mask))
            for spec, view in zip(self.shape.fields, views, strict=True)
        )

    def _reaches(self, rule: Rule) -> bool:
        """A permit for tiers cannot apply where no tier is known; a forbid or gate then always does."""
        return rule.tiers is None or self.shape.tier is not None or rule.effect in ("forbid", "gate")

    def _wanted(self, candidate: Candidate) -> bool:
        if self.asked is None:
            return any(candidate.gives)
        return any(candidate.gives[position] for position in self.asked)

    def _narrowed(self, candidate: Candidate, asked: frozenset[int]) -> Candidate:
        gives = tuple(view if n in asked else View.WITHHELD for n, view in enumerate(candidate.gives))
        return replace(candidate, gives=gives)

    def _candidate(self, rule: Rule) -> Candidate:
        names = rule.withholds or frozenset()
        return Candidate(
            rule=rule,
            gives=tuple(self._gives(rule, position) for position in range(len(self.shape.fields))),
            hides=frozenset(n for n, spec in enumerate(self.shape.fields) if spec.cls.name in names),
            unmet=tuple(requirement for requirement in rule.requires if requirement.number not in self._met),
            conditional=rule.relation is not None or (rule.tiers is not None and self.shape.tier is not None),
        )

    def _gives(self, rule: Rule, position: int) -> View:
        spec = self.shape.fields[position]
        view = View.WITHHELD if spec.nested else rule.views.get(spec.cls.name, View.WITHHELD)
        return View.WITHHELD if view is View.MASKED and spec.mask.operator == "withhold" else view
