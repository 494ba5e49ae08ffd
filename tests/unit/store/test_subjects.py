from __future__ import annotations

import pytest

from privguard.store import subjects
from privguard.store.subjects import SubjectKeys
from tests.unit.store.logs import KEYRING, SystemEntropy


def test_memory_is_bounded_and_what_is_used_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subjects, "REMEMBERED", 20)
    keys = SubjectKeys(KEYRING, SystemEntropy())
    used = ("t", "client", "used")
    for number in range(100):
        recall = keys.recall([("t", "client", str(number)), used])
        keys.complete(recall, {})
        keys.remember(recall.met)
        assert (used in recall.names) == (number == 0)
    assert ("t", "client", "3") in keys.recall([("t", "client", "3")]).names
    remembered = [n for n in range(100) if not keys.recall([("t", "client", str(n))]).names]
    assert 5 <= len(remembered) <= 20
    keys.forget()
    assert used in keys.recall([used]).names


def test_keys_are_not_shown() -> None:
    keys = SubjectKeys(KEYRING, SystemEntropy())
    recall = keys.recall([("t", "client", "a")])
    keys.complete(recall, {})
    (key,) = recall.held.values()
    assert repr(key.key) not in repr(recall)
    assert key.token in repr(key)
