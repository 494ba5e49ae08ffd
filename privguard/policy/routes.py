"""Which resource a request is for: method and canonical path against the policy's templates.

Paths come decoded once and canonical (no dot segments, no doubled slash: the door refuses those), and are
compared case by case. HEAD is matched as GET. Of several templates that match, the one that is exact further
to the left wins.
"""

from __future__ import annotations

from collections.abc import Iterable

from privguard.model import Route
from privguard.policy.document import PolicyFile, RouteDef
from privguard.policy.notation import Template, template


class Router:
    """The routes of a policy.

    Args:
        governed: templates with the resource each belongs to.
        passthrough: templates of routes without client data.
    """

    def __init__(self, governed: Iterable[tuple[Template, str]], passthrough: Iterable[Template]) -> None:
        self._exact: dict[tuple[str, str], Route] = {}
        self._patterns: dict[tuple[str, int], list[tuple[Template, str]]] = {}
        for route, resource in governed:
            if any(part.startswith("{") for part in route.parts):
                key = (route.method, len(route.parts))
                self._patterns.setdefault(key, []).append((route, resource))
            else:
                path = route.text.partition(" ")[2]
                self._exact[route.method, path] = _route(route, resource, {})
        for candidates in self._patterns.values():
            candidates.sort(key=lambda item: precedence(item[0]))
        self._passthrough = tuple(passthrough)

    def match(self, method: str, path: str) -> Route | None:
        """The governed route of a request, or None."""
        method = "GET" if method == "HEAD" else method
        exact = self._exact.get((method, path))
        if exact is not None or path[:1] != "/":
            return exact
        segments = path[1:].split("/")
        for route, resource in self._patterns.get((method, len(segments)), ()):
            params = _params(route.parts, segments)
            if params is not None:
                return _route(route, resource, params)
        return None

    def is_passthrough(self, method: str, path: str) -> bool:
        """Whether the policy says the route carries no client data."""
        method = "GET" if method == "HEAD" else method
        segments = path[1:].split("/") if path[:1] == "/" else []
        return any(
            template.method == method and _passes(template, segments) for template in self._passthrough
        )


def governed(content: PolicyFile) -> list[tuple[Template, str]]:
    """Every route that a resource matches, with the resource."""
    return [
        (template(route.route, route.action) if isinstance(route, RouteDef) else template(route), name)
        for name, resource in content.resources.items()
        for route in resource.match
    ]


def precedence(route: Template) -> tuple[bool, ...]:
    """Sorts exact segments before parameters, from the left."""
    return tuple(part.startswith("{") for part in route.parts)


def overlap(one: Template, other: Template) -> bool:
    """Whether some request matches both."""
    if one.method != other.method:
        return False
    if not (one.open_ended or other.open_ended) and len(one.parts) != len(other.parts):
        return False
    pairs = zip(_head(one), _head(other), strict=False)
    fits = all(a == b or a.startswith("{") or b.startswith("{") for a, b in pairs)
    return fits and _reaches(one, other) and _reaches(other, one)


def _reaches(one: Template, other: Template) -> bool:
    return not one.open_ended or other.open_ended or len(other.parts) >= len(one.parts)


def _head(route: Template) -> tuple[str, ...]:
    return route.parts[:-1] if route.open_ended else route.parts


def _passes(route: Template, segments: list[str]) -> bool:
    head = _head(route)
    if route.open_ended:
        rest = segments[len(head) :]
        return bool(rest) and rest[0] != "" and _params(head, segments[: len(head)]) is not None
    return len(segments) == len(head) and _params(head, segments) is not None


def _params(parts: tuple[str, ...], segments: list[str]) -> dict[str, str] | None:
    """The parameters, where the segments fit; a parameter is never empty."""
    params = {}
    for part, segment in zip(parts, segments, strict=True):
        if part[:1] == "{":
            if not segment:
                return None
            params[part[1:-1]] = segment
        elif part != segment:
            return None
    return params


def _route(route: Template, resource: str, params: dict[str, str]) -> Route:
    return Route(resource, route.verb, route.text, params, many="{id}" not in route.parts)
