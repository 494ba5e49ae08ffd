"""How improbable a count is: the upper tail of a Gamma–Poisson, and the combination of several."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

_ROOT2: Final = math.sqrt(2.0)
_ROOT2PI: Final = math.sqrt(2.0 * math.pi)
FLOOR: Final = 1e-15
"""No model is trusted further than that."""


def upper_tail(count: float, mean: float, shape: float) -> float:
    """P(X ≥ count) of a Gamma–Poisson (negative binomial) with this mean, variance ``mean + mean²/shape``.

    Lugannani and Rice's saddlepoint formula, with half a step of continuity; three logarithms instead of
    an incomplete beta, and within a tenth of the true tail from 0.3 to 1e-9 (a test compares the sums).
    Not above the mean it is 1: a count that is not high says nothing.
    """
    x = count - 0.5
    if x <= mean or mean <= 0.0:
        return 1.0
    ratio = (x + shape) / (mean + shape)
    half_square = x * math.log(x / mean) - (x + shape) * math.log(ratio)
    w = math.sqrt(2.0 * half_square) if half_square > 1e-12 else 1e-6
    s = math.log(x / mean / ratio)
    u = 2.0 * math.sinh(0.5 * s) * math.sqrt(x + x * x / shape)
    p = 0.5 * math.erfc(w / _ROOT2) + math.exp(-half_square) / _ROOT2PI * (1.0 / u - 1.0 / w)
    return min(1.0, max(p, FLOOR))


def at_least_one(tails: Iterable[float], tried: int) -> float:
    """The combined p of ``tried`` tails, however they depend on each other: Bonferroni's bound."""
    return min(1.0, min(tails, default=1.0) * tried)
