from __future__ import annotations

import pytest

from privguard.stepup.assurance import DISABLED_AFTER, PROFILES

# As the standards have it: tries at most, lock at least, session and idle seconds at most; None where they
# give no number.
BOUNDS = {
    "nist-aal2": (100, None, 24 * 3600, 3600),
    "nist-aal3": (100, None, 12 * 3600, 15 * 60),
    "pci": (10, 30 * 60, None, 15 * 60),
    "psd2": (5, None, None, 5 * 60),
    "cn-mlps3": (None, None, None, None),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_a_profile_is_within_its_standard(name: str) -> None:
    profile = PROFILES[name]
    tries, lock, session, idle = BOUNDS[name]
    assert profile.name == name
    assert 0 < profile.tries <= (tries or 100)
    assert profile.lock_s >= (lock or 1)
    assert 0 < profile.idle_s <= (idle or profile.session_s)
    assert profile.idle_s < profile.session_s <= (session or 24 * 3600)


def test_there_is_no_profile_without_bounds() -> None:
    assert PROFILES.keys() == BOUNDS.keys()
    assert all(profile.kinds <= {"totp", "webauthn", "code", "recovery"} for profile in PROFILES.values())


def test_only_what_cannot_be_phished_counts_where_that_is_asked() -> None:
    for profile in PROFILES.values():
        assert profile.kinds
        assert profile.kinds == {"webauthn"} or not profile.phishing_resistant
    assert PROFILES["nist-aal3"].phishing_resistant


def test_a_code_that_is_sent_does_not_count_where_its_channel_matters() -> None:
    assert {name for name, profile in PROFILES.items() if "code" in profile.kinds} == {"pci", "psd2"}


def test_s04_slow_guessing_comes_to_an_end() -> None:
    assert DISABLED_AFTER == 100
    assert all(profile.tries < DISABLED_AFTER for profile in PROFILES.values())
