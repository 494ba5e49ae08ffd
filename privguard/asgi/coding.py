"""Undoes an upstream's Content-Encoding, within limits: what comes out is never much more than what came in.

A body that is cut short, goes on after its end, or expands like a bomb (M09) is unreadable, hence withheld.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final, Protocol

from privguard.errors import ConfigError, UnreadableResponseError

ENCODINGS: Final = ("gzip", "x-gzip", "deflate", "br", "zstd", "identity")
PIECE: Final = 1 << 16
"""Bytes of a decoded piece at most; brotli's limit is soft (google/brotli 1396): twice; zstd: see there."""
MAX_RATIO: Final = 100
FREE: Final = 1 << 20
"""Bytes of output below which the ratio is not looked at."""


class _Stage(Protocol):
    def feed(self, data: bytes) -> Iterator[bytes]: ...

    def whole(self) -> bool: ...


class Decoder:
    """Decodes one body, chunk by chunk.

    Args:
        encodings: the Content-Encoding header, e.g. ``gzip`` or ``gzip, br`` (applied in this order).
        limit: bytes of the decoded body at most; None: unlimited, the body is streamed on.

    Raises:
        UnreadableResponseError: unknown coding, more than two, or (from ``feed``) a body that is
            malformed, cut short, followed by something, longer than ``limit`` or expands more than
            100-fold beyond its first MB.
        ConfigError: the coding's library is not installed.
    """

    def __init__(self, encodings: str = "", *, limit: int | None = None) -> None:
        names = [name.strip().lower() for name in encodings.split(",") if name.strip()]
        if len(names) > 2 or any(name not in ENCODINGS for name in names):
            raise UnreadableResponseError(
                f"The upstream's answer is coded otherwise than by at most two of {', '.join(ENCODINGS)}."
            )
        self._stages = [_stage(name) for name in reversed(names) if name != "identity"]
        self._limit = limit
        self._taken = 0
        self._given = 0

    def feed(self, chunk: bytes, *, last: bool = False) -> Iterator[bytes]:
        """The decoded pieces of the next chunk; none is held back.

        Args:
            last: the body is over with this chunk: nothing may be missing. An empty body is whole (204).
        """
        self._taken += len(chunk)
        for piece in _through(self._stages, chunk):
            self._given += len(piece)
            if self._limit is not None and self._given > self._limit:
                raise UnreadableResponseError("The upstream's answer is longer than may be read at once.")
            if self._stages and self._given > max(FREE, self._taken * MAX_RATIO):
                raise UnreadableResponseError("The upstream's answer expands beyond 100 times its size.")
            yield piece
        if last and self._taken and not all(stage.whole() for stage in self._stages):
            raise UnreadableResponseError("The upstream's answer is cut short.")


def _through(stages: list[_Stage], data: bytes) -> Iterator[bytes]:
    if not stages:
        if data:
            yield data
        return
    for piece in stages[0].feed(data):
        yield from _through(stages[1:], piece)


def _stage(name: str) -> _Stage:
    if name == "br":
        return _Brotli()
    if name == "zstd":
        return _Zstandard()
    return _Zlib(zlib.MAX_WBITS if name == "deflate" else zlib.MAX_WBITS + 16)


class _Zlib:
    """RFC 1952 (gzip, one member) and RFC 1950 (deflate; not raw RFC 1951, see RFC 9110 §8.4.1.2)."""

    def __init__(self, wbits: int) -> None:
        self._inflate = zlib.decompressobj(wbits)

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._inflate.eof:
                raise _malformed()
            piece = self._decompress(data)
            data = self._inflate.unconsumed_tail or self._inflate.unused_data
            while piece:
                yield piece
                # A full piece may leave output inside zlib while no input is pending.
                piece = self._decompress(b"") if not data and len(piece) == PIECE else b""

    def _decompress(self, data: bytes) -> bytes:
        try:
            return self._inflate.decompress(data, PIECE)
        except zlib.error:
            raise _malformed() from None

    def whole(self) -> bool:
        return self._inflate.eof


class _Brotli:
    """RFC 7932."""

    def __init__(self) -> None:
        try:
            import brotli
        except ImportError:
            raise _missing("brotli") from None
        self._error = brotli.error
        self._inflate = brotli.Decompressor()

    def feed(self, data: bytes) -> Iterator[bytes]:
        if data and self._inflate.is_finished():
            raise _malformed()
        # The library does not say whether output is left: only an empty piece does (google/brotli 1234).
        while piece := self._process(data):
            data = b""
            yield piece

    def _process(self, data: bytes) -> bytes:
        try:
            piece: bytes = self._inflate.process(data, output_buffer_limit=PIECE)
        except self._error:
            raise _malformed() from None
        return piece

    def whole(self) -> bool:
        return bool(self._inflate.is_finished())


class _Zstandard:
    """RFC 8878, one frame, its window at most 8 MB (RFC 9659).

    The library gives all the output of an input at once. A block makes at most 128 KB out of 4 bytes, so 128
    bytes of input keep the output below 4 MB; measured 340 MB/s of output with 256 bytes.
    """

    _SLICE: Final = 128

    def __init__(self) -> None:
        try:
            import zstandard
        except ImportError:
            raise _missing("zstandard") from None
        self._error = zstandard.ZstdError
        self._inflate = zstandard.ZstdDecompressor(max_window_size=8 << 20).decompressobj()

    def feed(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), self._SLICE):
            if self._inflate.eof:
                raise _malformed()
            try:
                piece = self._inflate.decompress(data[start : start + self._SLICE])
            except self._error:
                raise _malformed() from None
            if self._inflate.unused_data:
                raise _malformed()
            if piece:
                yield piece

    def whole(self) -> bool:
        return self._inflate.eof


def _malformed() -> UnreadableResponseError:
    return UnreadableResponseError("The upstream's answer does not decode as its Content-Encoding says.")


def _missing(package: str) -> ConfigError:
    return ConfigError(f"The upstream's answer needs the package {package}: install privguard[gateway]")
