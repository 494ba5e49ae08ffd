from __future__ import annotations

import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privguard.stepup.one_time import code_fingerprint, one_time_code
from privguard.stepup.recovery import fingerprint, recovery_codes

PEPPER = bytes(range(32))
CHANCE = bytes(range(100))
CODES = recovery_codes(CHANCE)
FIRST = "000G-40R4-0M30-E209"


def test_ten_codes_of_eighty_bits_grouped_for_reading() -> None:
    assert len(set(CODES)) == 10
    assert CODES[0] == FIRST
    for code in recovery_codes(os.urandom(100)):
        assert re.fullmatch(r"[0-9A-HJKMNP-TV-Z]{4}(-[0-9A-HJKMNP-TV-Z]{4}){3}", code)


@given(st.binary(min_size=100, max_size=100), st.integers(0, 99), st.integers(0, 7))
def test_every_bit_of_chance_is_in_a_code(random: bytes, place: int, bit: int) -> None:
    other = bytearray(random)
    other[place] ^= 1 << bit
    changed = recovery_codes(bytes(other))
    assert [at for at in range(10) if changed[at] != recovery_codes(random)[at]] == [place // 10]


@pytest.mark.parametrize("size", [0, 99, 101])
def test_too_little_chance_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="100 random bytes"):
        recovery_codes(bytes(size))


@pytest.mark.parametrize(
    "typed",
    [
        FIRST.lower(),
        FIRST.replace("-", ""),
        FIRST.replace("-", " "),
        f" {FIRST} ",
        FIRST.replace("0", "O"),
        FIRST.replace("0", "o"),
    ],
)
def test_s02_however_it_is_typed_it_is_one_code(typed: str) -> None:
    assert fingerprint(PEPPER, typed) == fingerprint(PEPPER, FIRST)


def test_what_is_easily_misread_is_read_alike() -> None:
    assert {fingerprint(PEPPER, f"{one}BCD-EFGH-JKMN-PQRS") for one in "1Iil L".replace(" ", "")} == {
        fingerprint(PEPPER, "1BCD-EFGH-JKMN-PQRS")
    }


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "-" * 16,
        FIRST[:-1],
        FIRST + "0",
        FIRST + "\n",
        FIRST.replace("-", "_"),
        FIRST.replace("-", "\u2010"),
        "U" + FIRST[1:],
        "０" + FIRST[1:],
        "ı" + FIRST[1:],
        FIRST + " " * 32,
    ],
)
def test_s02_what_is_not_of_the_form_is_none(typed: str) -> None:
    assert fingerprint(PEPPER, typed) is None


def test_another_code_or_pepper_has_another_fingerprint() -> None:
    marks = {fingerprint(PEPPER, code) for code in CODES} | {fingerprint(bytes(32), code) for code in CODES}
    assert len(marks) == 20
    assert all(mark is not None and len(mark) == 32 for mark in marks)


@given(st.binary(min_size=16, max_size=16))
def test_a_code_that_is_sent_is_eight_digits(random: bytes) -> None:
    code = one_time_code(random)
    assert re.fullmatch(r"[0-9]{8}", code, re.ASCII)
    assert code_fingerprint(PEPPER, "c1", code) is not None


def test_codes_begin_with_noughts_too() -> None:
    assert one_time_code(bytes(16)) == "00000000"
    assert one_time_code((10**8 + 7).to_bytes(16, "big")) == "00000007"
    with pytest.raises(ValueError, match="16 random bytes"):
        one_time_code(bytes(4))


def test_s09_a_code_is_good_for_its_challenge_alone() -> None:
    marks = {
        code_fingerprint(PEPPER, "c1", "12345678"),
        code_fingerprint(PEPPER, "c2", "12345678"),
        code_fingerprint(PEPPER, "c1", "12345679"),
        code_fingerprint(PEPPER, "c11", "23456780"),
        code_fingerprint(bytes(32), "c1", "12345678"),
    }
    assert len(marks) == 5


@pytest.mark.parametrize(
    "typed",
    ["", "1234567", "123456789", "1234 5678", "12345678\n", "+1234567", "１２３４５６７８", "1234567٨"],
)
def test_s02_a_code_that_is_sent_has_one_spelling(typed: str) -> None:
    assert code_fingerprint(PEPPER, "c1", typed) is None
