"""Paths of tiles (C2SP tlog-tiles): ``tile/L/N`` and ``tile/L/N.p/W``, N in groups of three digits."""

from __future__ import annotations

import re
from typing import Final

from privguard.audit.merkle import TILE_HEIGHT, TILE_WIDTH, Span

_PATH: Final = re.compile(
    r"tile/(?P<level>0|[1-9][0-9]?)/(?P<high>(?:x[0-9]{3}/)*)(?P<low>[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)
MAX_LEVEL: Final = 64 // TILE_HEIGHT - 1


class TileError(ValueError):
    """A path that names no tile."""


def span_of(path: str) -> Span:
    """The entries of a tile.

    Raises:
        TileError: the path names none.
    """
    match = _PATH.fullmatch(path)
    if match is None or int(match["level"]) > MAX_LEVEL:
        raise TileError("not a tile")
    groups = match["high"].replace("x", "").split("/")[:-1]
    if (groups and groups[0] == "000") or len(groups) > 6:
        raise TileError("not a tile")
    start = int("".join([*groups, match["low"]])) * TILE_WIDTH
    width = int(match["width"] or TILE_WIDTH)
    if match["width"] and width >= TILE_WIDTH:
        raise TileError("not a tile")
    return Span(int(match["level"]), start, start + width)


def path_of(span: Span) -> str:
    """The path of a tile."""
    number, width = span.start // TILE_WIDTH, span.stop - span.start
    groups = [number % 1000]
    while number := number // 1000:
        groups.insert(0, number % 1000)
    names = [f"x{group:03}" for group in groups[:-1]] + [f"{groups[-1]:03}"]
    partial = f".p/{width}" if width < TILE_WIDTH else ""
    return f"tile/{span.level}/{'/'.join(names)}{partial}"


def within(span: Span, size: int) -> bool:
    """Whether a tree of a size has all entries of a tile."""
    return span.stop <= size >> span.level * TILE_HEIGHT
