"""Adds, promotes and retires wrapping keys, and wraps anew, for somebody who is on record with it (L11)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from msgspec.structs import replace

from privguard.crypto.keyring import added, promoted, retired
from privguard.errors import ConfigError, PrivguardError
from privguard.keystore.keyset_file import KeysetFile
from privguard.model import AccessEvent, Outcome
from privguard.ports import Clock, Entropy
from privguard.store.custody import Custody
from privguard.store.wrapped import WrappedKeys


class KeyCustodian:
    """The wrapping keys, as one person keeps them: add, promote, rewrap, retire, in this order.

    Every act is two entries: the intent before, and what came of it.

    Args:
        who: the person, as the log will name them.
    """

    def __init__(
        self,
        custody: Custody,
        keyset: KeysetFile,
        wrapped: WrappedKeys,
        clock: Clock,
        entropy: Entropy,
        *,
        who: str,
    ) -> None:
        self._custody = custody
        self._keyset = keyset
        self._wrapped = wrapped
        self._clock = clock
        self._entropy = entropy
        self._who = who

    def made(self) -> None:
        """Puts on record that this keyset was made."""
        self._custody.record(self._event("init", 1))

    def add(self) -> int:
        """Adds a version: from now on what it wraps can be opened. Nobody wraps by it yet."""
        provider, draw = self._keyset.provider, self._entropy.token
        with self._acting(self._event("add", self._keyset.read().newest + 1)):
            return self._keyset.change(lambda file: added(file, provider, draw)).newest

    def behind(self) -> list[str]:
        """Running gateway processes that do not know the newest version yet."""
        return self._wrapped.behind(self._keyset.read().newest, self._clock.now_us())

    def promote(self) -> int:
        """Wraps by the newest version from now on; to be called once nobody is ``behind``.

        Raises:
            ConfigError: some process does not know it, and could not open what it wraps.
        """
        if behind := self.behind():
            raise ConfigError(
                f"The newest version is not known yet to {', '.join(behind)}: bring the key file there, "
                "then run this again."
            )
        provider, draw = self._keyset.provider, self._entropy.token
        with self._acting(self._event("promote", self._keyset.read().newest)):
            return self._keyset.change(lambda file: promoted(file, provider, draw)).primary

    def rewrap(self) -> int:
        """Wraps by the primary version what another still wraps; how many keys that were."""
        event = self._event("rewrap", self._keyset.open().primary)
        with self._acting(event) as about:
            done = self._wrapped.rewrap()
            about["rows"] = str(done)
        return done

    def retire(self, version: int) -> None:
        """Makes an end of a version, and of those before it, for good.

        Raises:
            ConfigError: it wraps, or keys need it still.
        """
        file = self._keyset.read()
        if version not in file.keks or version >= file.primary:
            old = ", ".join(str(each) for each in sorted(file.keks) if each < file.primary) or "none"
            raise ConfigError(f"Only a version that does not wrap any more can be retired; there are: {old}.")
        with self._acting(self._event("retire", version)):
            self._wrapped.retire(version)
            # What is interrupted from here on can be done again.
            self._keyset.change(lambda file: retired(file, version))
            for each, held in file.keks.items():
                if each <= version:
                    self._keyset.provider.destroy(held)

    @contextlib.contextmanager
    def _acting(self, event: AccessEvent) -> Iterator[dict[str, str]]:
        intent = self._custody.record(replace(event, outcome=Outcome.INTENT))
        about = dict(event.about)
        event = replace(event, event_id=self._entropy.token(16).hex(), about=about, intent=intent.index)
        try:
            yield about
        except PrivguardError as error:
            self._custody.record(replace(event, outcome=Outcome.ABORTED, problem=error.problem))
            raise
        self._custody.record(event)

    def _event(self, verb: str, version: int) -> AccessEvent:
        return AccessEvent(
            event_id=self._entropy.token(16).hex(),
            at_us=self._clock.now_us(),
            action=f"oversight:keys:{verb}",
            outcome=Outcome.PERMITTED,
            actor=self._who,
            about={"key": self._keyset.open().key_id(version)},
        )
