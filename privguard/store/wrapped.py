"""What is wrapped under which version of the wrapping key, and wrapping it anew.

Only ``subject`` holds keys wrapped by a version; everything else that is sealed hangs on these, or on the
root, which does not rotate.
"""

from __future__ import annotations

import base64
from typing import Final

from sqlalchemy import bindparam, delete, func, select, update

from privguard.crypto.envelope import NONCE_BYTES
from privguard.crypto.keyring import Keyring
from privguard.errors import ConfigError
from privguard.ports import Entropy
from privguard.store.engine import Store
from privguard.store.subjects import place_of
from privguard.store.tables import keyset_seen, subject, tree_state

BATCH: Final = 1_000
"""Rows in a transaction: on SQLite writers of the log wait for it, some 30 ms."""

LIVE_US: Final = 60_000_000
"""A process that said nothing for so long has ended."""


def count_by_version(store: Store) -> dict[int, int]:
    """How many clients' keys each version wraps."""
    query = select(subject.c.kek_version, func.count()).group_by(subject.c.kek_version)
    with store.read() as connection:
        return {row[0]: row[1] for row in connection.execute(query)}


class WrappedKeys:
    """Clients' keys as they are wrapped; blocks as the store does.

    On PostgreSQL ``rewrap`` and ``retire`` need the role ``privguard_keeper``, ``saw`` the service's.
    """

    def __init__(self, store: Store, keyring: Keyring, entropy: Entropy) -> None:
        self._store = store
        self._keyring = keyring
        self._entropy = entropy

    def left(self) -> int:
        """How many keys another version than the primary wraps."""
        counts = count_by_version(self._store)
        return sum(count for version, count in counts.items() if version != self._keyring.primary)

    def rewrap(self) -> int:
        """Wraps under the primary version what another wraps; may be interrupted and begun again.

        Each row goes by compare-and-swap: one that was erased meanwhile stays erased. Whoever reads it finds
        it under the one version or the other, and both can be opened.

        Raises:
            EnvelopeError: a row was changed or moved (S16); what went before it is done.
        """
        done, after = 0, ""
        while rows := self._page(after):
            anew = [self._anew(*row) for row in rows]
            with self._store.write() as connection:
                done += connection.execute(_SWAP, anew).rowcount
            after = rows[-1][0]
        return done

    def retire(self, version: int) -> None:
        """Bars the versions up to this one for good: nobody wraps by them from here on.

        Raises:
            ConfigError: keys are wrapped by one of them still; nothing was done.
        """
        held = select(func.count()).select_from(subject).where(subject.c.kek_version <= version)
        with self._store.write() as connection:
            # First, for on PostgreSQL it takes the lock under which clients are added.
            connection.execute(update(tree_state).values(kek_floor=version + 1))
            if count := connection.execute(held).scalar_one():
                raise ConfigError(f"{count} keys need this version still: run `privguard keys rewrap` first.")

    def saw(self, process: str, newest: int, now_us: int) -> None:
        """Keeps what a running process knows, and forgets those that ended."""
        with self._store.write() as connection:
            ended = (keyset_seen.c.process == process) | (keyset_seen.c.at_us < now_us - LIVE_US)
            connection.execute(delete(keyset_seen).where(ended))
            connection.execute(keyset_seen.insert().values(process=process, newest=newest, at_us=now_us))

    def behind(self, version: int, now_us: int) -> list[str]:
        """Running processes that do not know a version yet."""
        query = select(keyset_seen.c.process).where(
            keyset_seen.c.newest < version, keyset_seen.c.at_us >= now_us - LIVE_US
        )
        with self._store.read() as connection:
            return list(connection.execute(query.order_by(keyset_seen.c.process)).scalars())

    def _page(self, after: str) -> list[tuple[str, str, str]]:
        query = (
            select(subject.c.ref_hmac, subject.c.tenant, subject.c.wrapped_dek)
            .where(subject.c.ref_hmac > after, subject.c.kek_version != self._keyring.primary)
            .order_by(subject.c.ref_hmac)
            .limit(BATCH)
        )
        with self._store.read() as connection:
            return [(name, tenant, wrapped) for name, tenant, wrapped in connection.execute(query)]

    def _anew(self, name: str, tenant: str, wrapped: str) -> dict[str, object]:
        where = place_of(tenant, name)
        key = self._keyring.unwrap(base64.urlsafe_b64decode(wrapped), where)
        fresh = self._keyring.wrap(key, self._entropy.token(NONCE_BYTES), where)
        return {
            "name": name,
            "was": wrapped,
            "wrapped_dek": base64.urlsafe_b64encode(fresh).decode(),
            "kek_version": self._keyring.primary,
        }


_SWAP: Final = update(subject).where(
    subject.c.ref_hmac == bindparam("name"), subject.c.wrapped_dek == bindparam("was")
)
