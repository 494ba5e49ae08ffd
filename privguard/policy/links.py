"""Linked classes: masks that would reveal each other when they stand side by side (M10).

A class names in ``links`` the classes whose values overlap its own: a Chinese resident number holds the date
of birth, an e-mail address the name. Each mask alone may leave little, and two together much. So the linter
counts, for every role, what the two views leave of the value in characters:

- a token, a constant or nothing leaves none, and then there is nothing to add up;
- a mask leaves what ``LEAVES`` says;
- clear leaves everything. Both in clear hide nothing from each other, so that is no finding; one in clear
  beside the other masked is: the mask would be for show.

More than ``MOST`` characters between the two is refused. Six is what ``cn_id_1_1`` (2) beside ``year`` (4)
leaves of the 18 characters of a resident number (GB 11643-1999: 6 area, 8 date of birth, 3 sequence, 1
check): about 500 areas for a known first digit, 365 days, 999 sequence numbers, one in eleven of which has
the check character: 16 million candidates. Each further character divides that by ten; the whole date of
birth leaves 45 thousand, and a known branch a few hundred.

Roles are taken one at a time, with the rules that name none; actions one at a time, because who creates a
record knows it anyhow; purposes together, because one person may use both; and all resources of one kind of
client together. What is revealed under a grant is not counted: that is a decision about one record, with a
reason.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Final

from privguard.model import Mask, Verb
from privguard.policy import notation
from privguard.policy.document import FieldDef, PolicyFile, Show, class_of
from privguard.policy.references import Wrong, known_roles
from privguard.policy.rules import SHOWN

ALL: Final = 99
MOST: Final = 6
LEAVES: Final = {
    "withhold": 0,
    "constant": 0,
    "hash_token": 0,
    "band": 1,
    "cjk_name": 1,
    "cn_id_1_1": 2,
    "age_band": 3,
    "email": 4,
    "pan_last4": 4,
    "year": 4,
    "iban": 6,
    "cn_mobile_3_4": 7,
    "pan_bin_last4": 10,
    "scan": ALL,
    "clear": ALL,
}
"""Characters of the value that a mask leaves; ``partial`` says so itself."""


def revealing_links(content: PolicyFile) -> Iterator[Wrong]:
    """Linked classes that some role sees in views that leave too much."""
    pairs = [
        (name, link, ("classes", name, "links", number))
        for name, cls in content.classes.items()
        for number, link in enumerate(cls.links)
        if link in content.classes
    ]
    if not pairs:
        return
    kinds = dict.fromkeys(resource.subject or name for name, resource in content.resources.items())
    for one, other, place in pairs:
        roles = [role for role in (*known_roles(content), "") if _too_much(content, one, other, role, kinds)]
        if roles:
            who = ", ".join(role or "everybody" for role in roles)
            message = f"`{one}` and `{other}` reveal each other for {who}"
            mend = f"withhold or tokenise one, or mask both so that at most {MOST} characters stay"
            yield Wrong("error", place, message, mend)


def _too_much(content: PolicyFile, one: str, other: str, role: str, kinds: Iterable[str]) -> bool:
    for kind, action in itertools.product(kinds, Verb):
        least, most = sorted(_left(content, cls, role, kind, action) for cls in (one, other))
        if 0 < least < ALL and least + most > MOST:
            return True
    return False


def _left(content: PolicyFile, cls: str, role: str, kind: str, action: Verb) -> int:
    """Most characters of a class's values that the role sees in resources of the kind."""
    most = 0
    for rule in content.rules:
        if not rule.show or (rule.roles and role not in rule.roles) or action not in (rule.action or SHOWN):
            continue
        for name, resource in content.resources.items():
            if (resource.subject or name) == kind and (not rule.resource or name in rule.resource):
                most = max(most, *(_shown(rule.show, mask, cls) for mask in _masks(content, name, cls)), 0)
    return most


def _masks(content: PolicyFile, resource: str, cls: str) -> Iterator[Mask]:
    """The masks of the resource's fields of the class."""
    for field in content.resources[resource].fields.values():
        if class_of(field) == cls:
            own = field.mask if isinstance(field, FieldDef) else None
            yield notation.mask(own or content.classes[cls].mask)


def _shown(show: Show, mask: Mask, cls: str) -> int:
    if cls in (show.clear or ()):
        return ALL
    return left_by(mask) if cls in (show.masked or ()) else 0


def left_by(mask: Mask) -> int:
    """Characters of the value that a mask leaves."""
    if mask.operator == "partial":
        arguments = dict(mask.args)
        return sum(n for key in ("first", "last") if isinstance(n := arguments.get(key, 0), int))
    return LEAVES.get(mask.operator, ALL)
