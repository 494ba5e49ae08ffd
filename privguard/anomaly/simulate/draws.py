"""Random numbers as an argument, and the few distributions that are made of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")


class Draws(Protocol):
    """What is taken of a generator; ``random.Random`` has it."""

    def random(self) -> float:
        """In [0, 1)."""
        ...

    def randrange(self, start: int, stop: int, /) -> int:
        """In [start, stop)."""
        ...

    def gammavariate(self, alpha: float, beta: float) -> float:
        """Shape, scale."""
        ...


Streams = Callable[[str], Draws]
"""The generator of a name; the same name begins the same sequence."""


def chosen(draws: Draws, among: Sequence[T]) -> T:
    """One of them, each as likely."""
    return among[draws.randrange(0, len(among))]


def sample(draws: Draws, among: Sequence[T], count: int) -> list[T]:
    """Different ones, at most as many as there are."""
    picked: dict[int, T] = {}
    while len(picked) < min(count, len(among)):
        at = draws.randrange(0, len(among))
        picked.setdefault(at, among[at])
    return list(picked.values())


def poisson(draws: Draws, mean: float) -> int:
    """Knuth's product; in parts of 30, for which its product does not underflow."""
    count = 0
    while mean > 0:
        part, product = min(mean, 30.0), draws.random()
        bound = math.exp(-part)
        while product > bound:
            count += 1
            product *= draws.random()
        mean -= part
    return count


def negative_binomial(draws: Draws, mean: float, shape: float) -> int:
    """A Poisson whose rate is gamma: days differ more than chance alone makes them."""
    return poisson(draws, draws.gammavariate(shape, mean / shape)) if mean > 0 else 0


def zipf(draws: Draws, count: int, exponent: float) -> int:
    """A rank in [0, count), by the inverse of the continuous law; ``exponent`` below 1."""
    return min(count - 1, int(count * draws.random() ** (1 / (1 - exponent))))


def weighted(draws: Draws, weights: Sequence[float]) -> int:
    """The place of one of the weights, which sum to 1."""
    left = draws.random()
    for at, weight in enumerate(weights):
        left -= weight
        if left < 0:
            return at
    return len(weights) - 1
