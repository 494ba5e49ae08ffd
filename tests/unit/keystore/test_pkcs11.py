"""Wrapping keys in SoftHSM (``.ci/servers.sh softhsm`` installs it)."""

from __future__ import annotations

import os
from pathlib import Path

import pkcs11
import pytest

from privguard.crypto.envelope import EnvelopeError
from privguard.crypto.keyring import Keyring, added, new_key_file, open_keyring, promoted, retired, write_file
from privguard.errors import ConfigError, StoreUnavailableError
from privguard.keystore.pkcs11 import Pkcs11Provider

LIBRARY = "/usr/lib/softhsm/libsofthsm2.so"
WHERE = ("t", "client", "subject", "wrapped_dek")
KEY, NONCE = b"k" * 32, b"n" * 12


@pytest.fixture
def tokens(softhsm: Path) -> Path:
    """Where the module keeps them."""
    return Path(os.environ["SOFTHSM2_CONF"]).with_name("tokens")


@pytest.fixture
def provider(softhsm: Path) -> Pkcs11Provider:
    return Pkcs11Provider(LIBRARY, "bank", "1234")


def test_a_module_keeps_what_wraps_and_the_file_holds_no_secret(provider: Pkcs11Provider) -> None:
    file = new_key_file(provider, os.urandom)
    keyring = open_keyring(file, provider)
    assert len(keyring.root) == 32
    assert keyring.root not in write_file(file)
    wrapped = keyring.wrap(KEY, NONCE, WHERE)
    assert open_keyring(file, provider).unwrap(wrapped, WHERE) == KEY
    assert keyring.root == open_keyring(file, provider).root


def test_s16_what_was_changed_or_moved_does_not_open(provider: Pkcs11Provider) -> None:
    keyring = open_keyring(new_key_file(provider, os.urandom), provider)
    wrapped = keyring.wrap(KEY, NONCE, WHERE)
    for envelope, where in (
        (wrapped[:-1] + bytes([wrapped[-1] ^ 1]), WHERE),
        (wrapped, ("t", "other", "subject", "wrapped_dek")),
    ):
        with pytest.raises(EnvelopeError):
            keyring.unwrap(envelope, where)
    assert keyring.unwrap(wrapped, WHERE) == KEY


def test_l11_rotation_seals_the_root_anew_and_a_destroyed_key_is_gone(provider: Pkcs11Provider) -> None:
    first = new_key_file(provider, os.urandom)
    root, wrapped = open_keyring(first, provider).root, open_keyring(first, provider).wrap(KEY, NONCE, WHERE)
    second = promoted(added(first, provider, os.urandom), provider, os.urandom)
    assert open_keyring(second, provider).unwrap(wrapped, WHERE) == KEY
    third = retired(second, 1)
    provider.destroy(first.keks[1])
    keyring: Keyring = open_keyring(third, provider)
    assert keyring.root == root
    with pytest.raises(StoreUnavailableError, match="Version 1"):
        keyring.unwrap(wrapped, WHERE)
    with pytest.raises(ConfigError, match="holds 0 keys"):
        open_keyring(first, provider)


def test_an_interrupted_add_leaves_no_second_key_of_the_name(provider: Pkcs11Provider) -> None:
    file = new_key_file(provider, os.urandom)
    added(file, provider, os.urandom)  # made, but never written
    again = added(file, provider, os.urandom)
    assert open_keyring(again, provider).keks.keys() == {1, 2}


def test_s16_a_module_that_is_down_fails_closed_and_recovers(provider: Pkcs11Provider, tokens: Path) -> None:
    file = new_key_file(provider, os.urandom)
    keyring = open_keyring(file, provider)
    wrapped = keyring.wrap(KEY, NONCE, WHERE)
    away = tokens.rename(tokens.with_name("away"))
    tokens.mkdir()
    try:
        for asked in (provider, Pkcs11Provider(LIBRARY, "bank", "1234")):
            with pytest.raises(StoreUnavailableError, match="security module"):
                open_keyring(file, asked)
    finally:
        tokens.rmdir()
        away.rename(tokens)
    assert keyring.unwrap(wrapped, WHERE) == KEY


def test_a_wrong_pin_is_tried_once(tokens: Path) -> None:
    pkcs11.lib(LIBRARY).reinitialize()  # a process that is logged in is not asked for the PIN
    tried = Pkcs11Provider(LIBRARY, "bank", "4321")
    for _ in range(20):
        with pytest.raises(StoreUnavailableError, match="PinIncorrect"):
            tried.create("x", os.urandom)
    assert Pkcs11Provider(LIBRARY, "bank", "1234").create("x", os.urandom) == "x"


@pytest.mark.parametrize("wrong", ["module", "token", "pin"])
def test_what_is_wrong_in_the_settings_is_said_without_the_pin(tokens: Path, wrong: str) -> None:
    pkcs11.lib(LIBRARY).reinitialize()  # a process that is logged in is not asked for the PIN
    given = {"module": LIBRARY, "token": "bank", "pin": "1234"} | {wrong: "97531"}
    with pytest.raises(StoreUnavailableError, match=r"\[keys\.pkcs11\]") as caught:
        Pkcs11Provider(**given).create("x", os.urandom)
    assert "97531" not in str(caught.value)


def test_a_forked_process_opens_a_session_of_its_own(provider: Pkcs11Provider) -> None:
    keyring = open_keyring(new_key_file(provider, os.urandom), provider)
    wrapped = keyring.wrap(KEY, NONCE, WHERE)
    child = os.fork()
    if child == 0:
        os._exit(0 if keyring.unwrap(wrapped, WHERE) == KEY else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert keyring.unwrap(wrapped, WHERE) == KEY
