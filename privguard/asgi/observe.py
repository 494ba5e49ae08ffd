"""Observe mode: the answer is masked and recorded as it would have been, and passed on unchanged."""

from __future__ import annotations

from privguard.asgi.answer import GovernedAnswer, StoppedError
from privguard.asgi.messages import Message, Send


class ObservedAnswer:
    """Holds each message of the app behind until what it discloses is on record, then passes it on as it was.

    Args:
        shadow: the governed answer, whose own output goes nowhere.
    """

    def __init__(self, shadow: GovernedAnswer, send: Send) -> None:
        self._shadow = shadow
        self._send = send
        self._held: list[Message] = []
        self.silent = True
        """Nothing has come from the app behind."""

    async def take(self, message: Message) -> None:
        """The ``send`` that the app behind gets."""
        self.silent = False
        self._held.append(message)
        try:
            await self._shadow.take(dict(message))
        except StoppedError:
            return  # what would have been refused is recorded when the app has returned
        if self._shadow.begun:
            await self.flush()

    async def flush(self) -> None:
        """Passes on what is held; its record is durable."""
        held, self._held = self._held, []
        for message in held:
            await self._send(message)
