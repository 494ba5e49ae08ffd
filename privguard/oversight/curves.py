"""Precision over recall as SVG, one picture a scenario, without a library."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Final

Ranked = Iterable[tuple[float, bool]]
_SIDE: Final = 320
_EDGE: Final = 40
_COLOURS: Final = ("#1b6ca8", "#c2410c", "#4d7c0f", "#7e22ce", "#525252")
_TEXT: Final = 'font-family="sans-serif" font-size="11"'


def points(ranked: Ranked) -> list[tuple[float, float]]:
    """(recall, precision) from the highest score down; those of equal score are one step."""
    ordered = sorted(ranked, key=lambda each: -each[0])
    positives = sum(positive for _, positive in ordered)
    found = seen = 0
    steps: list[tuple[float, float]] = []
    for _, tied in groupby(ordered, key=lambda each: each[0]):
        group = [positive for _, positive in tied]
        found, seen = found + sum(group), seen + len(group)
        if positives and any(group):
            steps.append((found / positives, found / seen))
    return steps


def picture(title: str, curves: Mapping[str, Ranked]) -> str:
    """All detectors' curves of one scenario."""
    width, height = _SIDE + 2 * _EDGE + 130, _SIDE + 2 * _EDGE
    drawn = [_line(at, name, points(ranked)) for at, (name, ranked) in enumerate(sorted(curves.items()))]
    return "\n".join((
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
        f"<title>{escape(title)}: precision over recall of user-days</title>",
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<rect x="{_EDGE}" y="{_EDGE}" width="{_SIDE}" height="{_SIDE}" fill="none" stroke="#999"/>',
        f'<text x="{_EDGE}" y="{_EDGE - 14}" {_TEXT} font-weight="bold">{escape(title)}</text>',
        f'<text x="{_EDGE + _SIDE / 2}" y="{height - 10}" {_TEXT} text-anchor="middle">recall, 0 to 1</text>',
        f'<text x="{_EDGE - 8}" y="{_EDGE + 10}" {_TEXT} text-anchor="end">1</text>',
        f'<text x="{_EDGE - 8}" y="{_EDGE + _SIDE / 2}" {_TEXT} text-anchor="end">prec.</text>',
        *drawn,
        "</svg>\n",
    ))  # fmt: skip


def _line(at: int, name: str, steps: Sequence[tuple[float, float]]) -> str:
    colour = _COLOURS[at % len(_COLOURS)]
    where = " ".join(f"{_EDGE + x * _SIDE:.1f},{_EDGE + (1 - y) * _SIDE:.1f}" for x, y in steps)
    x, y = _EDGE + _SIDE + 12, _EDGE + 16 * (at + 1)
    return (
        f'<polyline points="{where}" fill="none" stroke="{colour}" stroke-width="2"/>'
        f'<text x="{x}" y="{y}" {_TEXT} fill="{colour}">{escape(name)}</text>'
    )
