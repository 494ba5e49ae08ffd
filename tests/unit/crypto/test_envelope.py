from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privguard.crypto.envelope import (
    EnvelopeError,
    joined,
    key_version,
    place,
    seal,
    shared_key,
    subkey,
    unseal,
)

KEY = bytes(range(32))
NONCE = bytes(12)
HERE = ("bank", "client-7", "subject", "wrapped_dek", "keys/1")


def test_a_sealed_value_opens_in_its_place() -> None:
    envelope = seal(KEY, NONCE, b"text", place(*HERE), version=3)
    assert unseal(KEY, envelope, place(*HERE)) == b"text"
    assert key_version(envelope) == 3
    assert b"text" not in envelope


@pytest.mark.parametrize("part", range(5), ids=["tenant", "client", "table", "field", "key"])
def test_s16_a_value_moved_to_another_place_does_not_open(part: int) -> None:
    envelope = seal(KEY, NONCE, b"text", place(*HERE))
    moved = list(HERE)
    moved[part] += "x"
    with pytest.raises(EnvelopeError):
        unseal(KEY, envelope, place(*moved))


@given(st.integers(0, 36), st.integers(0, 7))
def test_s16_any_changed_bit_is_noticed(byte: int, bit: int) -> None:
    envelope = bytearray(seal(KEY, NONCE, b"text", b"aad"))
    envelope[byte] ^= 1 << bit
    with pytest.raises(EnvelopeError):
        unseal(KEY, bytes(envelope), b"aad")


@given(st.binary(max_size=40))
def test_bytes_that_are_no_envelope_are_refused(data: bytes) -> None:
    with pytest.raises(EnvelopeError):
        unseal(KEY, data, b"aad")


def test_another_key_does_not_open() -> None:
    with pytest.raises(EnvelopeError) as caught:
        unseal(bytes(32), seal(KEY, NONCE, b"canary", b""), b"")
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None


@given(st.lists(st.text(), max_size=4), st.lists(st.text(), max_size=4))
def test_two_lists_never_join_to_the_same_bytes(one: list[str], other: list[str]) -> None:
    assert (joined(*one) == joined(*other)) == (one == other)


def test_a_shared_key_takes_all_keys_in_any_order() -> None:
    one, two, three = (bytes([n]) * 32 for n in range(3))
    key = shared_key([one, two, three, two], "detail")
    assert key == shared_key([three, two, one], "detail")
    assert len({key, shared_key([one, two], "detail"), shared_key([one, two, three], "other")}) == 3


def test_subkeys_of_two_uses_differ() -> None:
    assert subkey(KEY, "idx") != subkey(KEY, "ref")
