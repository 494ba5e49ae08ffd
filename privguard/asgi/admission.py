"""Who is proven to ask must also be on the staff: identity behind the directory."""

from __future__ import annotations

import asyncio

from privguard.asgi.messages import RawHeaders
from privguard.errors import StoreUnavailableError
from privguard.model import Principal
from privguard.ports import Clock, Directory, IdentityProvider, RequestTarget


class StaffIdentity:
    """``ports.IdentityProvider``: another provider's actors, as the directory has them; no others."""

    def __init__(
        self, inner: IdentityProvider, directory: Directory, clock: Clock, *, deadline_s: float
    ) -> None:
        self.inner = inner
        self._directory = directory
        self._clock = clock
        self._deadline_s = deadline_s

    async def identify(self, target: RequestTarget, headers: RawHeaders, body: bytes = b"") -> Principal:
        """See ``ports.IdentityProvider.identify`` and ``ports.Directory.admit``."""
        actor = await self.inner.identify(target, headers, body)
        asking = asyncio.to_thread(self._directory.admit, actor, self._clock.now_us())
        try:
            return await asyncio.wait_for(asking, self._deadline_s)
        except TimeoutError:
            raise StoreUnavailableError("The staff directory could not be asked in time.") from None
