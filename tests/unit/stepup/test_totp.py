from __future__ import annotations

import base64
from urllib.parse import parse_qs, urlsplit

import pyotp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privguard.stepup.totp import _code, matching_step, new_secret, provisioning_uri

SEED = b"12345678901234567890"
SECRET = new_secret(SEED)
NOW = 1_234_567_890

# RFC 4226, appendix D: the truncated number of each count, in full; its last six digits are the code.
HOTP = [
    1284755224,
    1094287082,
    137359152,
    1726969429,
    1640338314,
    868254676,
    1918287922,
    82162583,
    673399871,
    645520489,
]

# RFC 6238, appendix B: seconds, then the code by SHA-1, SHA-256, SHA-512; seeds as long as the digests
# (erratum 2866).
TOTP = [
    (59, "94287082", "46119246", "90693936"),
    (1111111109, "07081804", "68084774", "25091201"),
    (1111111111, "14050471", "67062674", "99943326"),
    (1234567890, "89005924", "91819424", "93441116"),
    (2000000000, "69279037", "90698825", "38618901"),
    (20000000000, "65353130", "77737706", "47863826"),
]
DIGESTS = [("sha1", 20), ("sha256", 32), ("sha512", 64)]


def six(step: int) -> str:
    return _code(SEED, step, 6, "sha1")


@pytest.mark.parametrize(("count", "truncated"), list(enumerate(HOTP)))
def test_the_vectors_of_rfc_4226(count: int, truncated: int) -> None:
    assert _code(SEED, count, 10, "sha1") == f"{truncated:010d}"
    assert matching_step(SECRET, f"{truncated:010d}"[-6:], count * 30) == count


@pytest.mark.parametrize("vector", TOTP, ids=lambda vector: str(vector[0]))
def test_the_vectors_of_rfc_6238(vector: tuple[int, str, str, str]) -> None:
    seconds, *codes = vector
    for code, (digest, size) in zip(codes, DIGESTS, strict=True):
        assert _code((SEED * 4)[:size], seconds // 30, 8, digest) == code
    assert matching_step(SECRET, codes[0][-6:], seconds) == seconds // 30


@given(st.binary(min_size=20, max_size=20), st.integers(0, 1 << 40))
def test_an_app_shows_the_same_code(random: bytes, step: int) -> None:
    assert _code(random, step, 6, "sha1") == pyotp.HOTP(new_secret(random)).at(step)


@given(st.integers(0, 1 << 40), st.integers(-100, 100))
def test_s06_a_clock_may_be_a_step_off_and_no_more(now: int, late: int) -> None:
    step = (now + late * 30) // 30
    if step >= 0:
        found = matching_step(SECRET, six(step), now)
        assert found == step if abs(late) <= 1 else found is None or six(found) == six(step)


# Found by trying every step of this seed: neighbours with one code, and steps two apart.
@pytest.mark.parametrize(("earlier", "later"), [(910_737, 910_738), (153_567, 153_569)])
def test_s01_a_code_of_two_steps_is_the_later_so_that_it_is_good_once(earlier: int, later: int) -> None:
    code = six(earlier)
    assert code == six(later)
    taken = matching_step(SECRET, code, (earlier + 1) * 30)
    assert taken == later
    for now in range(earlier * 30, (later + 2) * 30, 10):
        again = matching_step(SECRET, code, now)
        assert again is None or again <= later


ALIASES = [
    "{0} ",
    " {0}",
    "{0}\n",
    "{0}é",
    "{0}\0",
    "+{0}",
    "-{0}",
    "0{0}",
    "00{0}",
    "{0}.0",
    "{0}e0",
    "0x{0}",
    "{1} {2}",
    "{1}-{2}",
    "{1}_{2}",
    "",
]


@pytest.mark.parametrize("alias", ALIASES)
def test_s02_a_code_has_one_spelling(alias: str) -> None:
    code = six(NOW // 30)
    assert matching_step(SECRET, code, NOW) == NOW // 30
    assert matching_step(SECRET, alias.format(code, code[:3], code[3:]), NOW) is None


@pytest.mark.parametrize("zero", "０٠۰०０𝟎𝟘")
def test_s02_digits_of_other_scripts_are_none(zero: str) -> None:
    code = "".join(chr(ord(zero) + int(digit)) for digit in six(NOW // 30))
    assert matching_step(SECRET, code, NOW) is None
    assert matching_step(SECRET, six(NOW // 30)[:5] + code[5:], NOW) is None


@given(st.text("0123456789０٠ +-\n", max_size=8) | st.integers(0, 999_999).map("{:06}".format))
def test_s02_nothing_else_is_taken(code: str) -> None:
    candidates = {six(NOW // 30 + drift) for drift in (-1, 0, 1)}
    assert (matching_step(SECRET, code, NOW) is not None) == (code in candidates)


def test_steps_begin_with_the_epoch() -> None:
    assert matching_step(SECRET, six(0), 0) == 0
    assert matching_step(SECRET, six(0), -60) is None


def test_a_seed_is_all_of_its_chance() -> None:
    assert base64.b32decode(new_secret(bytes(range(20)))) == bytes(range(20))
    with pytest.raises(ValueError, match="20 random bytes"):
        new_secret(bytes(19))


def test_an_app_is_told_all_it_needs() -> None:
    uri = urlsplit(provisioning_uri(SECRET, "li.na@bank", "First Bank"))
    assert (uri.scheme, uri.netloc, uri.path) == ("otpauth", "totp", "/First%20Bank:li.na%40bank")
    assert parse_qs(uri.query) == {"secret": [SECRET], "issuer": ["First Bank"]}
