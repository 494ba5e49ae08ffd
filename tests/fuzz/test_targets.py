"""The targets of the fuzzer on mutations of what they accept: the short form of ``make fuzz`` (L14)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import (
    ACCEPTED,
    LEAVES,
    ROOT,
    SIZE,
    TARGETS,
    TRUST,
    check_report,
    read_seal,
    verify_log,
)


@st.composite
def mutations(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """A seed with some of its bytes changed, left out, repeated, or replaced by what means something."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        stop = draw(st.integers(start, min(len(data), start + 40)))
        piece = draw(
            st.one_of(
                st.binary(max_size=8),
                st.sampled_from(
                    [b"", b"0", b"-1", b"9" * 25, b"\n", b"\n\n", b"\0", b'"', b"[" * 2000, b"\xff\xff"]
                ),
                st.just(data[start:stop] * 2),
            )
        )
        data = data[:start] + piece + data[stop:]
    return data


@pytest.mark.parametrize("name", TARGETS)
def test_l14_whatever_is_handed_in_is_taken_or_refused(name: str) -> None:
    read, seeds = TARGETS[name]
    for seed in seeds:
        read(seed)

    @settings(max_examples=200)
    @given(st.one_of(mutations(seeds), st.binary(max_size=200)))
    def tried(data: bytes) -> None:
        read(data)

    tried()


def test_the_seeds_are_accepted() -> None:
    """Otherwise nothing beyond the first check would be tried."""
    assert check_report(TARGETS["report"].seeds[0], TRUST).count == 3
    assert read_seal(TARGETS["archive"].seeds[1], ACCEPTED)[0].stop == 3
    assert verify_log(lambda: LEAVES, SIZE, ROOT).ok
