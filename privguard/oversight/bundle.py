"""A log in a folder, for strangers: signed checkpoint, tiles and entries (C2SP tlog-tiles), and keys.

    checkpoint              the signed note
    trust                   the log's keys and witnesses (C2SP tlog-policy), to compare with what you trust
    tile/L/N                hashes
    tile/entries/N          entries: each its length in two bytes, then its bytes
    rotations               only if the log's keys rotated: the leaves that say so (``audit.rotation``)
    timestamps              only if some are stamped: checkpoints with time stamps (``audit.timestamp``)
    begin                   only if the log has a prune floor: where the entries begin (``audit.archive``)

An archive of pruned entries is the same without tiles of hashes, and with the file ``sealed``.

Reading imports no store: who checks a bundle needs this folder and keys, and nothing of ours that wrote it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from privguard.audit.archive import Seal, read_begin, read_seal
from privguard.audit.merkle import TILE_HEIGHT, TILE_WIDTH, Span
from privguard.audit.proof import ProofError
from privguard.audit.tiles import MAX_LEVEL, path_of
from privguard.audit.trust import Accepted, Trust
from privguard.audit.verify import Verification, verify_log
from privguard.errors import ConfigError
from privguard.files import read_handed

CHECKPOINT: Final = "checkpoint"
TRUST: Final = "trust"
BEGIN: Final = "begin"
SEALED: Final = "sealed"
ROTATIONS: Final = "rotations"
TIMESTAMPS: Final = "timestamps"
_LENGTH: Final = 2
_TILE: Final = TILE_WIDTH * (_LENGTH + (1 << 8 * _LENGTH))
"""Bytes of the largest tile of entries."""


class Line(Struct, frozen=True):
    """A leaf with its index, as a line of JSON holds it; the leaf's bytes are as they are."""

    index: int
    leaf: msgspec.Raw


def write_bundle(
    folder: Path,
    checkpoint: bytes,
    trust: str,
    size: int,
    leaves: Iterable[bytes],
    hashes: Callable[[int, int, int], Sequence[bytes]],
    floor: int = 0,
    begin: bytes | None = None,
    rotations: Iterable[tuple[int, bytes]] = (),
) -> None:
    """Writes a log of a size into a folder.

    Args:
        leaves: the log's, from the floor on.
        hashes: of entries of a tile level (``proof.Entries``).
        begin: what stands for the entries below the floor, if there is one.
        rotations: indexed leaves that say that the log's keys rotated.
    """
    write_entries(folder, checkpoint, trust, Span(0, floor, size), leaves, begin)
    write_lines(folder / ROTATIONS, (Line(index, msgspec.Raw(leaf)) for index, leaf in rotations))
    for level in range(MAX_LEVEL + 1):
        for span in _tiles(level, 0, size >> level * TILE_HEIGHT):
            _put(folder / path_of(span), b"".join(hashes(level, span.start, span.stop)))


def write_entries(
    folder: Path, checkpoint: bytes, trust: str, held: Span, leaves: Iterable[bytes], begin: bytes | None
) -> None:
    """The same without tiles of hashes, of the entries of a span."""
    _put(folder / CHECKPOINT, checkpoint)
    _put(folder / TRUST, trust.encode())
    if begin is not None:
        _put(folder / BEGIN, begin)
    leaves = iter(leaves)
    for span in _tiles(0, held.start, held.stop):
        bundle = [
            len(leaf).to_bytes(_LENGTH, "big") + leaf for leaf in islice(leaves, span.stop - span.start)
        ]
        _put(folder / _entries_path(span), b"".join(bundle))


def write_lines(file: Path, lines: Iterable[Struct]) -> None:
    """Writes a file of JSON, one object a line; none, if there are no lines."""
    text = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
    if text:
        _put(file, text)


def read_file(folder: Path, name: str) -> bytes | None:
    """A file of a bundle that need not be there. Raises ConfigError: it cannot be read."""
    try:
        return read_handed(folder / name)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{folder / name}: {error.strerror}") from None


def read_bundle(folder: Path, size: int, floor: int = 0) -> Iterator[bytes]:
    """The entries of a bundle, from its floor on in order, as far as they are there.

    Raises:
        ConfigError: a file cannot be read.
    """
    for span in _tiles(0, floor, size):
        try:
            data = read_handed(folder / _entries_path(span), _TILE)
        except FileNotFoundError:
            return
        except OSError as error:
            raise ConfigError(f"{folder / _entries_path(span)}: {error.strerror}") from None
        at = 0
        while at < len(data):
            length = int.from_bytes(data[at : at + _LENGTH], "big")
            at += _LENGTH + length
            yield data[at - length : at]


def check_folder(folder: Path, trust: Trust) -> tuple[Accepted, Verification, Seal | None]:
    """Checks a bundle, or an archive; an archive's seal says which entries it holds.

    Raises:
        ProofError: what stands beside the entries does not hold.
        TrustError: the checkpoint is not trusted.
        ConfigError: a file cannot be read.
    """
    note, data = read_file(folder, CHECKPOINT), read_file(folder, SEALED)
    if note is None:
        raise ConfigError(f"{folder / CHECKPOINT}: there is no such file")
    accepted = trust.accept(note)
    begin = read_begin(read_file(folder, BEGIN), accepted)
    seal, size, root = None, accepted.checkpoint.size, accepted.checkpoint.root
    if data is not None:
        seal, root = read_seal(data, accepted)
        size = seal.stop
        if seal.start != begin.floor:
            raise ProofError("the archive begins elsewhere than it says")
    found = verify_log(lambda: read_bundle(folder, size, begin.floor), size, root, begin)
    return accepted, found, seal


def _tiles(level: int, first: int, stop: int) -> Iterator[Span]:
    for start in range(first, stop, TILE_WIDTH):
        yield Span(level, start, min(start + TILE_WIDTH, stop))


def _entries_path(span: Span) -> str:
    return path_of(span).replace("tile/0/", "tile/entries/", 1)


def _put(file: Path, data: bytes) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file.write_bytes(data)
