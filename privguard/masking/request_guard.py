"""Judges a request's parameters before the upstream sees them: a filter is a question about a value.

Whoever may ask `balance >= x` as often as they like knows the balance (M01: 37 questions), masked or not.
So a parameter passes only if the policy names it, says what it means, and the actor's views allow that:

    fields or classes   filters by them: the class's `search` against the actor's view of every such field
    sort-keys           each key a field with `sort: allow`, or seen in clear on every record (M02)
    paging              digits; a cursor may hold the raw sort key of a hidden field (M02), see ``is_page``
    fields              a projection: plain names; the answer is governed by what it contains (M04)
    format              an export format that the plan permits
    public              any value: it filters by nothing that is guarded

With a write only `fields` and `public` go on: Rails, PHP and servlets merge query and body, so that
`?tier=private` would write a tier and `?id=2` another record (M07).

Every name is taken literally, save for a `*` in the policy, which is one word: `id_no[gte]`, `id_no__like`,
`ID_NO` and `id_no.eq` are names that the policy does not know. Values never appear in an error.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from privguard.errors import AccessDeniedError, FilterNotPermittedError
from privguard.model import AccessPlan, AccessRequest, FieldSpec, ResourceShape, View

MAX_VALUE: Final = 1024
"""Characters of a parameter's value."""
MAX_PLAIN: Final = 128
"""Characters of the value of an exact look-up."""

_NAMEABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_PROJECTED: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_-]*)*")
_PAGE: Final = re.compile(r"[0-9]{1,9}")
_SORT_KEY: Final = re.compile(r"[+-]?(?P<key>.+?)(?:[:. ](?:asc|desc))?", re.IGNORECASE)
_NO_FILTERS: Final = frozenset({("sort-keys",), ("paging",), ("fields",), ("format",), ("public",)})
_WITH_A_WRITE: Final = frozenset({(), ("fields",), ("public",)})
_DIRECTIONS: Final = frozenset({"asc", "desc"})
_PUNCTUATION: Final = frozenset(" @.+-·'")
_OPERATOR: Final = re.compile(
    r"eq|neq?|[gl]t|[gl]te|[gl]e|[ir]?like|n?in|not|and|x?or|to|is|null|between|i?match|i?regex|i?contains"
    r"|i?(starts|ends)(with)?|i?exact|any|all|(pl|ph|w)?fts|c[sd]|ov|s[lr]|nx[lr]|adj|isdistinct"
)


class _Reach(Struct, frozen=True):
    """What the actor may at most, and at least always, see of a field."""

    spec: FieldSpec
    strongest: View
    weakest: View


def check_query(
    plan: AccessPlan, request: AccessRequest, *, writes: bool = False
) -> tuple[tuple[str, str], ...]:
    """The parameters that may go upstream, unchanged and in their order.

    Args:
        writes: the request changes records.

    Returns:
        With ``unknown_params: drop`` less those that the policy does not know, which must not be sent.

    Raises:
        FilterNotPermittedError: names the parameters; a name that the policy does not know only if it is a
            plain identifier, for it came with the request.
    """
    reaches = _reaches(plan)
    times = Counter(name for name, _ in request.query)
    passed: list[tuple[str, str]] = []
    refused: dict[str, str] = {}
    nameable: set[str] = set()
    for name, value in request.query:
        meaning, word = meaning_of(name, plan.shape)
        if not meaning and plan.shape.unknown_params == "drop":
            continue
        meant = _meant(meaning, word, reaches)
        if writes and meant not in _WITH_A_WRITE:
            refused.setdefault(name, "does not belong to a write: what is written stands in its body")
        elif objection := _objection(meant, value, plan, reaches, repeated=times[name] > 1):
            refused.setdefault(name, objection)
        if meaning or _NAMEABLE.fullmatch(name):
            nameable.add(name)
        passed.append((name, value))
    if refused:
        _refuse({name: why for name, why in refused.items() if name in nameable})
    return tuple(passed)


def looks_up(plan: AccessPlan, request: AccessRequest) -> bool:
    """Whether a parameter filters by a field that this actor may see less than clear: it is a guess."""
    reaches = _reaches(plan)
    for name, _ in request.query:
        meaning = _meant(*meaning_of(name, plan.shape), reaches)
        if meaning in _NO_FILTERS:
            continue
        named = [reach for reach in reaches.values() if {reach.spec.path, reach.spec.cls.name} & set(meaning)]
        if any(reach.weakest is not View.CLEAR for reach in named):
            return True
    return False


def check_reveal(plan: AccessPlan, request: AccessRequest) -> None:
    """Clear values are asked for by names of the resource's fields or classes.

    Raises:
        AccessDeniedError: another name; it is not repeated.
    """
    fields = [spec for spec in plan.shape.fields if spec.nested is None]
    known = {spec.path for spec in fields} | {spec.cls.name for spec in fields}
    if not known.issuperset(request.reveal):
        raise AccessDeniedError("What is to be revealed is no field or class of this resource.")


def meaning_of(name: str, shape: ResourceShape) -> tuple[tuple[str, ...], str]:
    """What the policy says a parameter means (nothing if it does not know it), and what its ``*`` stands for.

    A ``*`` stands for one plain word.
    """
    params = dict(shape.params)
    if name in params and "*" not in name:
        return params[name], ""
    for pattern, meaning in shape.params:
        head, star, tail = pattern.partition("*")
        word = name[len(head) : len(name) - len(tail)]
        if star and name == f"{head}{word}{tail}" and _NAMEABLE.fullmatch(word):
            return meaning, word
    return (), ""


def is_page(value: str) -> bool:
    """Whether a paging value tells nothing: a number of at most nine digits.

    A cursor is not taken on trust: many hold the raw sort key, readable (base64 of JSON) and writable, so
    that a made-up one asks for a range (M02); and eleven digits are a mobile number. A policy whose upstream
    seals its cursors names the parameter `public`.
    """
    return _PAGE.fullmatch(value) is not None


def is_plain(value: str) -> bool:
    """Whether a value can only be meant as itself: no wildcard, operator, list or range in any known dialect.

    Letters, digits and ``space @ . + - · '``, as NFKC has them (no full-width twins), at most 128 characters;
    no word of a query language among several words, so that ``gte.1101`` (PostgREST), ``a OR b`` (Lucene)
    and ``between 1 and 5`` are refused, and with them the odd name (``Le Wei``).
    """
    words = re.split(r"[ .]", value.lower())
    return (
        0 < len(value) <= MAX_PLAIN
        and value == value.strip()
        and unicodedata.is_normalized("NFKC", value)
        and all(_is_plain_character(character) for character in value)
        and ".." not in value
        and (len(words) == 1 or not any(map(_OPERATOR.fullmatch, words)))
    )


def _is_plain_character(character: str) -> bool:
    return character.isalnum() or character in _PUNCTUATION or unicodedata.category(character) in ("Mn", "Mc")


def _reaches(plan: AccessPlan) -> dict[str, _Reach]:
    weakest = {field.spec.path: field.view for field in plan.weakest()}
    return {
        field.spec.path: _Reach(field.spec, field.view, weakest.get(field.spec.path, View.WITHHELD))
        for field in plan.strongest()
        if field.spec.nested is None
    }


def _meant(meaning: tuple[str, ...], word: str, reaches: Mapping[str, _Reach]) -> tuple[str, ...]:
    """The meaning of a parameter whose ``*`` stands for this word: one that names a field filters by it, too.

    Another word may hold an operator (``filter[id_no__startswith]``), so it cannot name a filter.
    """
    if word in reaches:
        return (word, *meaning) if meaning not in _NO_FILTERS else (word,)
    return () if word and meaning not in _NO_FILTERS else meaning


def _refuse(reasons: Mapping[str, str]) -> None:
    """Raises for at least one refused parameter, of which those in ``reasons`` may be named."""
    named = "; ".join(f"{name} {why}" for name, why in reasons.items())
    raise FilterNotPermittedError(
        f"{named or 'A parameter is not named by the policy'}.", parameters=tuple(reasons)
    )


def _objection(
    meaning: tuple[str, ...], value: str, plan: AccessPlan, reaches: Mapping[str, _Reach], *, repeated: bool
) -> str:
    """Why a parameter may not go upstream; empty if it may."""
    if not meaning:
        return "is not named by the policy"
    if len(value) > MAX_VALUE or any(unicodedata.category(character)[0] == "C" for character in value):
        return "is too long or holds control characters"
    if meaning == ("public",):
        return ""
    if repeated:  # a list in some dialects, the first or the last in others (M01)
        return "is repeated"
    match meaning:
        case ("sort-keys",):
            return "" if _may_sort(value, reaches) else "sorts by something this actor may not sort by"
        case ("paging",):
            return "" if is_page(value) else "is not a page number"
        case ("fields",):
            return "" if _is_projection(value, reaches) else "is not a list of plain field names"
        case ("format",):
            allowed = {"json", *(name for name, _ in plan.export)}
            return "" if value in allowed else "is not a format this actor may export"
    return _filter_objection(meaning, value, reaches)


def _filter_objection(names: tuple[str, ...], value: str, reaches: Mapping[str, _Reach]) -> str:
    filtered = [
        [reach for reach in reaches.values() if name in (reach.spec.path, reach.spec.cls.name)]
        for name in names
    ]
    if not all(
        filtered
    ):  # a name that stands for no field: the policy is wrong, or its last field was nested
        return "filters by something that is not a field of this resource"
    for reach in (reach for group in filtered for reach in group):
        if reach.weakest is View.CLEAR:
            continue
        if reach.spec.cls.search == "none" or reach.strongest < View.MASKED:
            return "filters by a field this actor may not search"
        if reach.spec.cls.search == "exact" and not is_plain(value):
            return "takes one whole plain value: no wildcard, operator, list or range"
    return ""


def _may_sort(value: str, reaches: Mapping[str, _Reach]) -> bool:
    return all(_may_sort_by(key.strip(), reaches) for key in value.split(","))


def _may_sort_by(key: str, reaches: Mapping[str, _Reach]) -> bool:
    """A key as ``-k``, ``+k``, ``k:desc``, ``k desc``, ``k.desc``; a bare direction goes with the last."""
    if key in reaches:
        return _sortable(reaches[key])
    if key.lower() in _DIRECTIONS:
        return True
    found = _SORT_KEY.fullmatch(key)
    return found is not None and found["key"] in reaches and _sortable(reaches[found["key"]])


def _sortable(reach: _Reach) -> bool:
    return reach.spec.cls.sort == "allow" or reach.weakest is View.CLEAR


def _is_projection(value: str, reaches: Mapping[str, _Reach]) -> bool:
    """Names only: a renaming (`a:b`, `a as b`), a function or a wildcard has no plain name (M04)."""
    return all(name in reaches or _PROJECTED.fullmatch(name) for name in value.split(","))
