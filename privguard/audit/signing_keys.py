"""Keys that sign checkpoints: Ed25519 and ML-DSA-44, for a checkpoint bears both signatures."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Struct

from privguard.audit.epoch import origin_of, seed_of
from privguard.audit.note import COSIGNED_ML_DSA_44, ED25519, LocalSigner, NoteError, Signer
from privguard.errors import ConfigError

SEED_BYTES: Final = 32


class _File(Struct, rename="kebab", forbid_unknown_fields=True):
    ed25519: str
    ml_dsa_44: str


def new_signing_keys(draw: Callable[[int], bytes]) -> bytes:
    """A file with fresh keys; ``draw(n)`` gives n unpredictable bytes."""
    seeds = (base64.b64encode(draw(SEED_BYTES)).decode() for _ in range(2))
    return msgspec.json.format(msgspec.json.encode(_File(*seeds)), indent=2)


def signers_of(data: bytes, name: str, *kinds: int, epoch: int = 0) -> tuple[Signer, ...]:
    """What signs checkpoints, from the file: a log's two keys, or a witness's.

    Args:
        name: of the signer; a log's origin.
        kinds: of the two signatures; those of a log where none are named.

    Raises:
        ConfigError: it holds no signing keys, or the name cannot be a key's; the message holds none of it.
    """
    try:
        file = msgspec.json.decode(data, type=_File)
        seeds = [base64.b64decode(text, validate=True) for text in (file.ed25519, file.ml_dsa_44)]
    except (msgspec.DecodeError, UnicodeDecodeError, binascii.Error, ValueError):
        raise ConfigError("The file of signing keys is not one: restore it from its backup.") from None
    if any(len(seed) != SEED_BYTES for seed in seeds):
        raise ConfigError(f"A signing key is not {SEED_BYTES} bytes: restore the file from its backup.")
    try:
        pairs = zip(kinds or (ED25519, COSIGNED_ML_DSA_44), seeds, strict=True)
        return tuple(LocalSigner(origin_of(name, epoch), kind, seed_of(seed, epoch)) for kind, seed in pairs)
    except NoteError:
        raise ConfigError("The signer's name has a space or a plus, or more than 255 characters.") from None
