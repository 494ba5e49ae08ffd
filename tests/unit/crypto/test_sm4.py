from __future__ import annotations

import os

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.hashes import SM3, Hash

from privguard.crypto.envelope import SUITES, EnvelopeError, seal, unseal
from privguard.crypto.keyring import new_keyring, parse
from privguard.crypto.sm4 import SM4GCM

SM = "sm4gcm-sm3"

# RFC 8998, appendix A.1 (SM4-GCM).
KEY = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
NONCE = bytes.fromhex("00001234567800000000ABCD")
AAD = bytes.fromhex("FEEDFACEDEADBEEFFEEDFACEDEADBEEFABADDAD2")
TEXT = b"".join(bytes([byte]) * 8 for byte in (0xAA, 0xBB, 0xCC, 0xDD, 0xEE, 0xFF, 0xEE, 0xAA))
SEALED = bytes.fromhex(
    "17F399F08C67D5EE19D0DC9969C4BB7D5FD46FD3756489069157B282BB200735"
    "D82710CA5C22F0CCFA7CBF93D496AC15A56834CBCF98C397B4024A2691233B8D"
    "83DE3541E4C2B58177E065A9BF7B62EC"
)


def test_the_vector_of_rfc_8998() -> None:
    assert SM4GCM(KEY).encrypt(NONCE, TEXT, AAD) == SEALED
    assert SM4GCM(KEY).decrypt(NONCE, SEALED, AAD) == TEXT


@pytest.mark.parametrize("data", [b"", SEALED[:15], SEALED[:-1] + b"\0", b"\0" + SEALED[1:]])
def test_what_was_changed_does_not_open(data: bytes) -> None:
    with pytest.raises(InvalidTag):
        SM4GCM(KEY).decrypt(NONCE, data, AAD)


def test_the_vector_of_gb_t_32905_for_the_hash_of_the_suite() -> None:
    digest = Hash(SUITES[SM].hash())
    assert isinstance(digest.algorithm, SM3)
    digest.update(b"abc")
    assert digest.finalize().hex() == "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"


def test_an_envelope_says_its_suite_and_both_open() -> None:
    key, nonce = os.urandom(32), os.urandom(12)
    both = [seal(key, nonce, b"text", b"aad", suite=suite) for suite in SUITES]
    assert [envelope[0] for envelope in both] == [1, 2]
    assert [unseal(key, envelope, b"aad") for envelope in both] == [b"text", b"text"]
    for envelope in both:
        changed = bytes([3 - envelope[0]]) + envelope[1:]
        with pytest.raises(EnvelopeError):
            unseal(key, changed, b"aad")


def test_a_keyset_of_the_suite_wraps_and_derives_by_it() -> None:
    keyring = parse(new_keyring(os.urandom, SM))
    where = ("t", "client", "subject", "wrapped_dek")
    wrapped = keyring.wrap(b"k" * 32, b"n" * 12, where)
    assert wrapped[0] == SUITES[SM].number
    assert keyring.unwrap(wrapped, where) == b"k" * 32
    other = parse(new_keyring(os.urandom))
    other.root = keyring.root
    assert other.derive("use") != keyring.derive("use")
