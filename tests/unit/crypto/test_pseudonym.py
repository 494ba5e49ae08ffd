from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from privguard.crypto.keyring import new_keyring, parse
from privguard.crypto.pseudonym import FieldTokens, client_ref, subject_token

KEYRING = parse(new_keyring(os.urandom))
TOKENS = FieldTokens(KEYRING)
names = st.text(max_size=12)


@given(names, names, st.text())
def test_m10_a_field_token_has_one_length_whatever_the_value(tenant: str, cls: str, value: str) -> None:
    token = TOKENS.token(tenant, cls, value)
    assert len(token) == 22
    assert token == FieldTokens(KEYRING).token(tenant, cls, value)


@given(st.tuples(names, names, names), st.tuples(names, names, names))
def test_m10_field_tokens_are_equal_only_within_one_tenant_and_class(
    one: tuple[str, str, str], other: tuple[str, str, str]
) -> None:
    assert (TOKENS.token(*one) == TOKENS.token(*other)) == (one == other)


def test_m10_another_keyset_gives_other_tokens() -> None:
    other = FieldTokens(parse(new_keyring(os.urandom)))
    assert other.token("bank", "contact", "13800138000") != TOKENS.token("bank", "contact", "13800138000")


@given(st.tuples(names, names), st.tuples(names, names))
def test_clients_are_told_apart_by_kind_and_id(one: tuple[str, str], other: tuple[str, str]) -> None:
    key = KEYRING.derive("client-ref", "bank")
    assert (client_ref(key, *one) == client_ref(key, *other)) == (one == other)


def test_a_subject_token_hangs_on_the_data_key_alone() -> None:
    assert len(subject_token(bytes(32))) == 22
    assert subject_token(bytes(32)) == subject_token(bytes(32))
    assert subject_token(bytes(32)) != subject_token(bytes([1] * 32))
