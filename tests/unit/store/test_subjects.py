from __future__ import annotations

import pytest

from privguard.store import subjects
from privguard.store.subjects import Client, SubjectKeys
from tests.unit.store.logs import KEYRING, SystemEntropy


def client(name: object) -> Client:
    return "t", "client", str(name)


def strangers_among(keys: SubjectKeys, *clients: Client) -> subjects.Strangers:
    found = keys.recall(clients)
    return keys.strangers(one for one, key in zip(clients, found, strict=True) if key is None)


def meet(keys: SubjectKeys, *clients: Client) -> subjects.Strangers:
    """As a batch does; what comes back are those that had to be looked up or made."""
    strangers = strangers_among(keys, *clients)
    keys.meet(strangers, {})
    keys.remember(strangers.met)
    return strangers


def test_memory_is_bounded_and_what_is_used_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subjects, "REMEMBERED", 20)
    keys = SubjectKeys(KEYRING, SystemEntropy())
    for number in range(100):
        made = meet(keys, client(number), client("used")).names
        assert client(number) in made
        assert (client("used") in made) == (number == 0)
    remembered = [number for number in range(100) if not strangers_among(keys, client(number)).names]
    assert 5 <= len(remembered) <= 20
    assert remembered[-1] == 99
    keys.forget()
    assert client("used") in meet(keys, client("used")).names


def test_keys_are_not_shown() -> None:
    keys = SubjectKeys(KEYRING, SystemEntropy())
    made = meet(keys, client("a"))
    key = made.met[client("a")]
    assert repr(key.key) not in repr(made)
    assert key.token in repr(key)
