from __future__ import annotations

import base64
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privguard.crypto.keyring import new_keyring, parse
from privguard.errors import ConfigError


def key_file(**changes: object) -> bytes:
    return json.dumps({**json.loads(new_keyring(lambda size: b"k" * size)), **changes}).encode()


def test_a_new_keyset_is_read_again() -> None:
    keyring = parse(new_keyring(os.urandom))
    assert keyring.primary in keyring.keks
    assert len(keyring.keks[keyring.primary]) == len(keyring.root) == 32
    assert keyring.root != keyring.keks[keyring.primary]
    assert keyring.key_id(1) == f"{keyring.id}/1"


def test_two_new_keysets_share_nothing() -> None:
    one, two = parse(new_keyring(os.urandom)), parse(new_keyring(os.urandom))
    assert one.id != two.id
    assert one.root != two.root
    assert one.keks[1] != two.keks[1]


def test_keys_are_not_shown() -> None:
    keyring = parse(new_keyring(os.urandom))
    shown = repr(keyring) + str(keyring)
    for secret in (keyring.root, keyring.keks[1]):
        assert repr(secret) not in shown
        assert base64.b64encode(secret).decode() not in shown


def test_derived_keys_differ_by_use_and_by_where_the_words_end() -> None:
    keyring = parse(new_keyring(os.urandom))
    uses = [("token", "a", "b"), ("token", "ab"), ("token", "a"), ("token", "ab", ""), ("detail", "a", "b")]
    keys = {keyring.derive(*use) for use in uses}
    assert len(keys) == len(uses)
    assert {len(key) for key in keys} == {32}
    assert keyring.derive("token", "a") == keyring.derive("token", "a")


SHORT = base64.b64encode(b"s" * 16).decode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        key_file(root=SHORT),
        key_file(keks={"1": SHORT}),
        key_file(keks={"1": "!" * 44}),
        key_file(keks={"one": base64.b64encode(b"k" * 32).decode()}),
        key_file(primary=2),
        key_file(keks={}),
        key_file(keks={"0": base64.b64encode(b"k" * 32).decode()}, primary=0),
        key_file(suite="rot13"),
        key_file(surplus=1),
    ],
    ids=lambda _: "file",  # the same on every worker: what is drawn at import is not
)
def test_a_file_that_is_no_keyset_is_refused(data: bytes) -> None:
    with pytest.raises(ConfigError, match="key file"):
        parse(data)


@given(st.binary(max_size=60))
def test_a_refusal_holds_nothing_of_the_file(data: bytes) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(b'{"root": "' + data + b'"}')
    assert caught.value.__cause__ is None
    assert len(data) < 12 or data.decode("latin-1") not in str(caught.value)
