"""What is counted of an actor: decayed counts, distinct clients, clients seen before.

Each merges: two workers' counts, put together in any order and grouping, are what one worker would have
counted, to the bit. So a decayed count is a whole number of units that grow with time (forward decay,
Cormode et al. 2009): by two a half-life, linearly in between, 6 % off at most. It is kept for two spans of
16 half-lives; what is older weighs less than 2^-16 of what is new, and is dropped by everybody alike.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, insort
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Final

HALF_LIVES: Final = (60, 600, 3600, 86_400)
KINDS: Final = ("views", "new clients", "clear values", "unrelated clients", "odd hours", "refusals")
CELLS: Final = len(HALF_LIVES) * len(KINDS)
"""A cell is ``horizon * len(KINDS) + kind``."""
_KINDS: Final = len(KINDS)
_HORIZONS: Final = tuple((n, n * len(KINDS), half_life) for n, half_life in enumerate(HALF_LIVES))
_LONGEST: Final = len(HALF_LIVES) - 1
_OLD: Final = 2.0**-16


def client_key(client: str) -> int:
    """64 bits of a client's name, the same in every process."""
    return int.from_bytes(blake2b(client.encode(), digest_size=8).digest(), "little")


@lru_cache(maxsize=4)
def _units(at_s: int) -> tuple[tuple[int, int, int, int], ...]:
    """For each half-life its number, its first cell, and the span and weight of an event at this second.

    Remembered, for the clients of a list are looked at in one.
    """
    found = []
    for horizon, first, half_life in _HORIZONS:
        tick = at_s // half_life
        unit = (256 + ((at_s - tick * half_life) << 8) // half_life) << (tick & 15)
        found.append((horizon, first, tick >> 4, unit))
    return tuple(found)


class Decayed:
    """How often each kind of event was seen lately, for each half-life.

    Attributes:
        spans: for each half-life the number of its newest span.
        now, before: for each cell the weighted count of that span, and of the one before; whole numbers
            below 2^53, so that floats, which are faster than integers, add them exactly.
    """

    __slots__ = ("before", "now", "spans")

    def __init__(self) -> None:
        self.spans = [0] * len(HALF_LIVES)
        self.now = [0.0] * CELLS
        self.before = [0.0] * CELLS

    def add(
        self,
        at_s: int,
        kinds: Sequence[int],
        highest: list[float],
        high: Sequence[float],
        of_day: Sequence[int] | None = None,
    ) -> list[int]:
        """Counts an event of these kinds, and keeps what is a new ``highest``.

        Args:
            of_day: its kinds for the longest half-life, where they are others.

        Returns:
            The cells where it is that, and more than is ``high`` for the cell.
        """
        raised: list[int] = []
        now, before, spans = self.now, self.before, self.spans
        for horizon, first, span, unit in _units(at_s):
            if horizon == _LONGEST and of_day is not None:
                kinds = of_day
            if span != spans[horizon] and self._turn(horizon, span):
                self._late(first, kinds, span, unit)
            else:
                for kind in kinds:
                    cell = first + kind
                    now[cell] = total = now[cell] + unit
                    count = (total + before[cell] * _OLD) / unit
                    if count > highest[cell]:
                        highest[cell] = count
                        if count > high[cell]:
                            raised.append(cell)
        return raised

    def carried(self, at_s: int) -> list[float]:
        """What is left at a time, of the longest half-life; nothing of all others."""
        first, half_life = CELLS - _KINDS, HALF_LIVES[-1]
        behind = (at_s // half_life >> 4) - self.spans[-1]
        unit = (256 + (at_s % half_life << 8) // half_life) << (at_s // half_life & 15)
        left = [0.0] * CELLS
        if behind in (0, 1):
            for cell in range(first, CELLS):
                old = self.now[cell] * _OLD if behind else self.now[cell] + self.before[cell] * _OLD
                left[cell] = old / unit
        return left

    def _late(self, first: int, kinds: Sequence[int], span: int, unit: int) -> None:
        """An event that is older than the newest span is counted, and raises no count that is read now."""
        if span == self.spans[first // _KINDS] - 1:
            for kind in kinds:
                self.before[first + kind] += unit

    def _turn(self, horizon: int, span: int) -> bool:
        """Begins a span, if it is newer; whether it is older."""
        ahead = span - self.spans[horizon]
        if ahead > 0:
            first, end = horizon * _KINDS, (horizon + 1) * _KINDS
            self.before[first:end] = self.now[first:end] if ahead == 1 else [0.0] * _KINDS
            self.now[first:end] = [0.0] * _KINDS
            self.spans[horizon] = span
        return ahead < 0

    def merge(self, other: Decayed) -> None:
        """Adds what another counted."""
        for horizon, theirs in enumerate(other.spans):
            self._turn(horizon, theirs)
            behind = self.spans[horizon] - theirs
            for cell in range(horizon * _KINDS, (horizon + 1) * _KINDS):
                if behind == 0:
                    self.now[cell] += other.now[cell]
                    self.before[cell] += other.before[cell]
                elif behind == 1:
                    self.before[cell] += other.now[cell]


class Distinct:
    """How many different clients: exactly up to 128, then by HyperLogLog (Flajolet et al. 2007), 3 % off.

    Attributes:
        keys: in order, until there are too many.
        registers: 1,024 of them, once there are.
    """

    __slots__ = ("keys", "registers")
    EXACT: Final = 128
    REGISTERS: Final = 1024

    def __init__(self) -> None:
        self.keys = array("Q")
        self.registers: bytearray | None = None

    def add(self, key: int) -> None:
        """Counts a client, by ``client_key``."""
        if self.registers is not None:
            self._register(self.registers, key)
            return
        at = bisect_left(self.keys, key)
        if at < len(self.keys) and self.keys[at] == key:
            return
        self.keys.insert(at, key)
        if len(self.keys) > self.EXACT:
            self._estimate()

    @staticmethod
    def _register(registers: bytearray, key: int) -> None:
        place, rest = key & 1023, key >> 10
        rank = 55 - rest.bit_length()
        if rank > registers[place]:
            registers[place] = rank

    def _estimate(self) -> bytearray:
        if self.registers is None:
            self.registers = bytearray(self.REGISTERS)
            for key in self.keys:
                self._register(self.registers, key)
            self.keys = array("Q")
        return self.registers

    def count(self) -> int:
        """The number, or its estimate."""
        if self.registers is None:
            return len(self.keys)
        m = self.REGISTERS
        raw = 0.7213 / (1 + 1.079 / m) * m * m / sum(2.0**-rank for rank in self.registers)
        empty = self.registers.count(0)
        return round(m * math.log(m / empty) if raw <= 2.5 * m and empty else raw)

    def merge(self, other: Distinct) -> None:
        """Adds whom another counted."""
        for key in other.keys:
            self.add(key)
        if other.registers is not None:
            mine = self._estimate()
            for place, rank in enumerate(other.registers):
                mine[place] = max(mine[place], rank)


class Seen:
    """Which clients an actor has seen this quarter or the last: two Bloom filters of 2 kB.

    With 2,000 clients a quarter one new client in twenty is taken for a known one.
    """

    __slots__ = ("before", "now", "quarter")
    SECONDS: Final = 90 * 86_400
    _BITS: Final = 1 << 14

    def __init__(self) -> None:
        self.quarter = 0
        self.now = bytearray(self._BITS // 8)
        self.before = bytearray(self._BITS // 8)

    def add(self, at_s: int, key: int) -> bool:
        """Whether the client is new; it is known from now on."""
        quarter = at_s // self.SECONDS
        if quarter > self.quarter:
            self._turn(quarter)
        one, two = key >> 50, key >> 36 & 0x3FFF
        a, b, bit_a, bit_b = one >> 3, two >> 3, 1 << (one & 7), 1 << (two & 7)
        now, before = self.now, self.before
        known = (now[a] & bit_a and now[b] & bit_b) or (before[a] & bit_a and before[b] & bit_b)
        if quarter == self.quarter:
            now[a] |= bit_a
            now[b] |= bit_b
        elif quarter == self.quarter - 1:
            before[a] |= bit_a
            before[b] |= bit_b
        return not known

    def _turn(self, quarter: int) -> None:
        empty = bytearray(self._BITS // 8)
        self.before = self.now if quarter == self.quarter + 1 else empty
        self.now, self.quarter = bytearray(self._BITS // 8), quarter

    def merge(self, other: Seen) -> None:
        """Adds whom another has seen."""
        if other.quarter > self.quarter:
            self._turn(other.quarter)
        if other.quarter == self.quarter:
            self.now = _either(self.now, other.now)
            self.before = _either(self.before, other.before)
        elif other.quarter == self.quarter - 1:
            self.before = _either(self.before, other.now)


def _either(mine: bytearray, theirs: bytearray) -> bytearray:
    both = int.from_bytes(mine, "little") | int.from_bytes(theirs, "little")
    return bytearray(both.to_bytes(len(mine), "little"))


class Strangers:
    """The last clients whom nobody of the team had work with, and the days on which they were looked at."""

    __slots__ = ("looks",)
    MOST: Final = 128

    def __init__(self) -> None:
        self.looks = array("Q")

    def add(self, at_s: int, key: int) -> int:
        """On how many days before this one the client was looked at."""
        day, short = at_s // 86_400, key >> 16
        days = {look >> 48 for look in self.looks if look & 0xFFFFFFFFFFFF == short}
        if day not in days:
            insort(self.looks, day << 48 | short)
            del self.looks[: -self.MOST]
        return sum(each < day for each in days)

    def merge(self, other: Strangers) -> None:
        """Adds whom another has seen."""
        self.looks = array("Q", sorted({*self.looks, *other.looks})[-self.MOST :])


class Counted:
    """All that is counted of one actor; ``day`` (since the epoch) is the one that ``today`` counts.

    Attributes:
        last_s: when they were last seen; -1: never.
    """

    __slots__ = ("day", "decayed", "last_s", "seen", "strangers", "today")

    def __init__(self) -> None:
        self.decayed, self.seen, self.today = Decayed(), Seen(), Distinct()
        self.strangers = Strangers()
        self.day, self.last_s = 0, -1

    def turn(self, day: int) -> None:
        """Begins a day, if it is a later one."""
        if day > self.day:
            self.day, self.today = day, Distinct()

    def merge(self, other: Counted) -> None:
        """Adds what another worker counted of the same actor."""
        self.decayed.merge(other.decayed)
        self.seen.merge(other.seen)
        self.strangers.merge(other.strangers)
        self.turn(other.day)
        if other.day == self.day:
            self.today.merge(other.today)
        self.last_s = max(self.last_s, other.last_s)
