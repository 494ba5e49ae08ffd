"""What an upstream's Content-Encoding may and may not do (M09)."""

from __future__ import annotations

import gzip
import sys
import tracemalloc
import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from privguard.asgi.coding import PIECE, Decoder
from privguard.errors import ConfigError, UnreadableResponseError

CODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "identity": bytes,
}
CODED = [name for name in CODERS if name != "identity"]


def decoded(encodings: str, body: bytes, size: int = 1 << 20, limit: int | None = None) -> bytes:
    decoder = Decoder(encodings, limit=limit)
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    out = [piece for chunk in chunks for piece in decoder.feed(chunk)]
    return b"".join([*out, *decoder.feed(b"", last=True)])


@pytest.mark.parametrize("name", CODERS)
@settings(deadline=None)
@given(body=st.binary(max_size=300), size=st.integers(1, 40))
def test_every_coding_gives_back_the_body_however_it_is_cut(name: str, body: bytes, size: int) -> None:
    assert decoded(name, CODERS[name](body), size) == body


@pytest.mark.parametrize("outer", CODED)
@pytest.mark.parametrize("inner", CODED)
def test_two_codings_are_undone_last_first(inner: str, outer: str) -> None:
    body = b"13800138000," * 9000
    coded = CODERS[outer](CODERS[inner](body))
    assert decoded(f"{inner}, {outer.upper()}", coded, 37) == body


@pytest.mark.parametrize("encodings", ["compress", "gzip, gzip, gzip", "gzip;q=1", "*", "br gzip"])
def test_what_is_unknown_or_too_deep_is_unreadable(encodings: str) -> None:
    with pytest.raises(UnreadableResponseError):
        Decoder(encodings)


@pytest.mark.parametrize("name", CODED)
def test_a_bomb_is_stopped_in_flat_memory(name: str) -> None:
    bomb = CODERS[name](bytes(40_000_000))
    decoder = Decoder(name)
    given = 0
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableResponseError, match="expands"):
            for piece in decoder.feed(bomb):
                given += len(piece)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert given <= max(1 << 20, 100 * len(bomb))
    assert peak < 10 << 20


def test_a_bomb_within_a_bomb_is_stopped() -> None:
    bomb = gzip.compress(gzip.compress(bytes(40_000_000)))
    with pytest.raises(UnreadableResponseError, match="expands"):
        decoded("gzip, gzip", bomb)


@pytest.mark.parametrize("name", ["gzip", "deflate", "br"])
def test_pieces_are_bounded(name: str) -> None:
    body = bytes(range(256)) * 4000
    decoder = Decoder(name)
    pieces = list(decoder.feed(CODERS[name](body)))
    assert max(map(len, pieces)) <= 2 * PIECE
    assert b"".join(pieces) == body


@pytest.mark.parametrize("name", CODED)
@settings(deadline=None)
@given(data=st.data())
def test_a_body_cut_short_is_unreadable(name: str, data: st.DataObject) -> None:
    coded = CODERS[name](b"client " * 50)
    end = data.draw(st.integers(1, len(coded) - 1))
    with pytest.raises(UnreadableResponseError):
        decoded(name, coded[:end], data.draw(st.integers(1, 40)))


@pytest.mark.parametrize("name", CODED)
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_what_follows_the_end_is_unreadable(name: str, size: int) -> None:
    coded = CODERS[name](b"client " * 30_000)
    for tail in (b"x", b"\0", coded):
        with pytest.raises(UnreadableResponseError):
            decoded(name, coded + tail, size)


@pytest.mark.parametrize("name", CODED)
def test_a_body_that_is_not_so_coded_is_unreadable(name: str) -> None:
    with pytest.raises(UnreadableResponseError):
        decoded(name, b'{"id": 1, "mobile": "13800138000"}')


def test_raw_deflate_is_unreadable() -> None:
    raw = zlib.compressobj(wbits=-15)
    with pytest.raises(UnreadableResponseError):
        decoded("deflate", raw.compress(b"client") + raw.flush())


@pytest.mark.parametrize("name", CODERS)
def test_the_limit_holds(name: str) -> None:
    coded = CODERS[name](b"0123456789" * 100)
    assert len(decoded(name, coded, limit=1000)) == 1000
    with pytest.raises(UnreadableResponseError):
        decoded(name, coded, limit=999)


@pytest.mark.parametrize("name", CODED)
def test_an_empty_body_needs_no_coding(name: str) -> None:
    assert decoded(name, b"") == b""


def test_a_zstd_window_beyond_8_mb_is_unreadable() -> None:
    params = zstandard.ZstdCompressionParameters(window_log=24)
    coder = zstandard.ZstdCompressor(compression_params=params).compressobj()
    coded = coder.compress(b"client" * 4_000_000) + coder.flush()
    with pytest.raises(UnreadableResponseError):
        decoded("zstd", coded)


@pytest.mark.parametrize(("name", "package"), [("br", "brotli"), ("zstd", "zstandard")])
def test_a_missing_library_is_named(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=package):
        Decoder(name)
