"""What a standard asks of a second factor: how often one may be wrong, how long a session lasts, what counts.

The numbers are the standard's own where it has one; where it has none, PCI DSS's lock and idle time, and
twelve hours a session, as AAL3. A profile is what privguard holds to, never a certificate.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

DISABLED_AFTER: Final = 100
"""Wrong tries in a row, over all locks, after which a factor is disabled (NIST SP 800-63B-4 §3.2.2; S04)."""

_HOUR: Final = 3_600
_MINUTE: Final = 60


class Profile(Struct, frozen=True, kw_only=True):
    """A standard's bounds; what it says nothing of has the usual one.

    Attributes:
        tries: wrong tries in a row before a factor is locked.
        lock_s: seconds that it is locked.
        session_s: seconds after which one has to prove oneself again, whatever one does.
        idle_s: seconds without any request after which one has to. No grant lasts longer, in use or not:
            stricter than a clock that each use sets back, and nothing to write with each use.
        phishing_resistant: only a factor bound to the origin counts, with a key that cannot be copied.
        kinds: of factors that count, of ``totp webauthn code recovery``.
    """

    name: str
    tries: int
    lock_s: int = 30 * _MINUTE
    session_s: int = 12 * _HOUR
    idle_s: int = 15 * _MINUTE
    phishing_resistant: bool = False
    kinds: frozenset[str]


# NIST SP 800-63B-4. Tries: §3.2.2 asks for a hundred at most and for growing delays, so the lock is PCI's.
# Sessions: §2.2.3 and §2.3.3. A sent code: §3.1.3.1 bars e-mail and §3.1.3.3 restricts telephone, and what
# channel a sender takes is not known here, so none counts. AAL3: §2.3.1 and §2.3.2, a phishing-resistant
# authenticator whose key cannot be exported.
_AAL2 = Profile(
    name="nist-aal2",
    tries=10,
    session_s=24 * _HOUR,
    idle_s=_HOUR,
    kinds=frozenset({"totp", "webauthn", "recovery"}),
)
_AAL3 = Profile(
    name="nist-aal3",
    tries=10,
    session_s=12 * _HOUR,
    idle_s=15 * _MINUTE,
    phishing_resistant=True,
    kinds=frozenset({"webauthn"}),
)

# PCI DSS 4.0.1. Tries and lock: 8.3.4. Idle: 8.2.8. Any two kinds of factor: 8.5.1. It bounds no session.
_PCI = Profile(
    name="pci",
    tries=10,
    lock_s=30 * _MINUTE,
    idle_s=15 * _MINUTE,
    kinds=frozenset({"totp", "webauthn", "code", "recovery"}),
)

# Regulation (EU) 2018/389. Tries: Art. 4(3)(b). Idle: Art. 4(3)(d). Not telling which factor was wrong
# (Art. 4(3)(a)): nobody is told under any profile. The lock is left to the bank by Art. 4(4). It bounds no
# session.
_PSD2 = Profile(
    name="psd2",
    tries=5,
    idle_s=5 * _MINUTE,
    kinds=frozenset({"totp", "webauthn", "code", "recovery"}),
)

# GB/T 22239-2019, level 3, 8.1.4.1: b) asks for a bound on tries and on idle sessions and gives no number; d)
# asks for two factors, one of them cryptographic. The first is commonly a password, so the second is that
# one: neither a code that was sent nor one that was written down.
_MLPS3 = Profile(
    name="cn-mlps3",
    tries=5,
    kinds=frozenset({"totp", "webauthn"}),
)

PROFILES: Final[Mapping[str, Profile]] = {
    profile.name: profile for profile in (_AAL2, _AAL3, _PCI, _PSD2, _MLPS3)
}
