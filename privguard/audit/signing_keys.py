"""Keys that sign checkpoints: Ed25519 and ML-DSA-44, for a checkpoint bears both signatures.

A log's keys rotate (``rotation``): the file holds the pair that was made last, those before it until they are
retired, and of a retired pair the public keys alone. Each pair signs the sizes from its ``first`` on, up to
the first of the next: what a key may sign is said by the size, so no process has to be told of a rotation.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from privguard.audit.checkpoint import MAX_SIZE
from privguard.audit.epoch import origin_of, seed_of
from privguard.audit.note import COSIGNED_ML_DSA_44, ED25519, LocalSigner, NoteError, Signer, parse_key
from privguard.audit.trust import NONE, LogKey, Trust
from privguard.errors import AuditUnavailableError, ConfigError

SEED_BYTES: Final = 32
INTERRUPTED: Final = (
    "A rotation of the log's keys was interrupted, and nothing is signed until it is done: "
    "run `privguard signing rotate` again."
)


class Announced(Struct, frozen=True, rename="kebab", forbid_unknown_fields=True):
    """A rotation that may not be on record yet: its note, when and by whom, so that it can be said again."""

    note: str
    at_us: int
    actor: str


class Pair(Struct, frozen=True, rename="kebab", forbid_unknown_fields=True, omit_defaults=True):
    """Two seeds (32 bytes, base64), and from which size on they sign, of the epoch in which they began."""

    ed25519: str
    ml_dsa_44: str
    first: int = 0
    epoch: int = 0


class Retired(Struct, frozen=True, rename="kebab", forbid_unknown_fields=True):
    """A key that is destroyed, and the sizes that it signed."""

    key: str
    first: int
    last: int


class KeyFile(Pair, frozen=True, rename="kebab", forbid_unknown_fields=True, omit_defaults=True):
    """The file: the newest pair, those before it (newest first), and what is left of older ones."""

    before: tuple[Pair, ...] = ()
    retired: tuple[Retired, ...] = ()
    announced: Announced | None = None


class Generation(Struct, frozen=True):
    """A pair as it signs for a log, and the sizes that it signs."""

    signers: tuple[Signer, ...]
    first: int
    last: int

    @property
    def terms(self) -> tuple[LogKey, ...]:
        return tuple(LogKey(signer.key, self.first, self.last) for signer in self.signers)


class LogKeys(Struct, frozen=True):
    """The keys of a log in one epoch.

    Attributes:
        generations: oldest first.
        retired: whose private keys are destroyed.
        announced: a rotation to the last generation that may not be on record yet.
    """

    generations: tuple[Generation, ...]
    retired: tuple[LogKey, ...] = ()
    announced: Announced | None = None

    @property
    def terms(self) -> tuple[LogKey, ...]:
        """What an auditor is to trust, oldest first."""
        return (*self.retired, *(term for each in self.generations for term in each.terms))

    @property
    def trust(self) -> Trust:
        """Trust in them alone."""
        return Trust(self.terms, {}, {}, NONE)

    @property
    def origin(self) -> str:
        return self.generations[-1].signers[0].key.name

    def at(self, size: int) -> tuple[Signer, ...]:
        """What signs a tree of a size.

        Raises:
            AuditUnavailableError: nothing may, or what did is destroyed.
        """
        if self.announced is not None:
            raise AuditUnavailableError(INTERRUPTED)
        for each in self.generations:
            if each.first <= size <= each.last:
                return each.signers
        raise AuditUnavailableError(
            f"The log's keys for a tree of {size} entries are retired: nothing signs it."
        )


def new_signing_keys(draw: Callable[[int], bytes]) -> bytes:
    """A file with fresh keys; ``draw(n)`` gives n unpredictable bytes."""
    return write_file(KeyFile(*_seeds(draw)))


def read_file(data: bytes) -> KeyFile:
    """Reads a file of signing keys. Raises ConfigError; the message holds none of it."""
    try:
        return msgspec.json.decode(data, type=KeyFile)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ConfigError("The file of signing keys is not one: restore it from its backup.") from None


def write_file(file: KeyFile) -> bytes:
    """The file's bytes."""
    return msgspec.json.format(msgspec.json.encode(file), indent=2)


def rotated(file: KeyFile, size: int, epoch: int, draw: Callable[[int], bytes]) -> KeyFile:
    """The file with a new pair that signs all sizes beyond this one."""
    old = Pair(file.ed25519, file.ml_dsa_44, file.first, file.epoch)
    return KeyFile(*_seeds(draw), size + 1, epoch, (old, *file.before), file.retired)


def retired(file: KeyFile, origin: str, epoch: int) -> KeyFile:
    """The file without the seeds that do not sign any more in an epoch; their public keys stay."""
    newest = Pair(file.ed25519, file.ml_dsa_44)
    lines = list(file.retired)
    for each in range(epoch + 1):
        keys = log_keys_of(write_file(file), origin, each)
        mine = {signer.key for signer in _signers(newest, origin_of(origin, each), each)}
        lines += [
            Retired(str(term.key), term.first, term.last)
            for generation in keys.generations
            for term in generation.terms
            if term.key not in mine
        ]
    return replace(file, before=(), retired=tuple(lines))


def signers_of(data: bytes, name: str, *kinds: int) -> tuple[Signer, ...]:
    """What a witness or an operator signs with, from the file.

    Args:
        name: of the signer.
        kinds: of the two signatures; those of a log where none are named.

    Raises:
        ConfigError: it holds no signing keys, or the name cannot be a key's; the message holds none of it.
    """
    return _signers(read_file(data), name, 0, *kinds)


def log_keys_of(data: bytes, origin: str, epoch: int = 0) -> LogKeys:
    """What signs checkpoints of a log in an epoch, from the file. Raises ConfigError as ``signers_of``."""
    file, name = read_file(data), origin_of(origin, epoch)
    pairs = [pair for pair in (*reversed(file.before), file) if pair.epoch <= epoch]
    begun = [pair for pair in pairs if pair.epoch < epoch][-1:]
    firsts = [(pair, 0) for pair in begun] + [(pair, pair.first) for pair in pairs if pair.epoch == epoch]
    lasts = [following - 1 for _, (_, following) in pairwise(firsts)] + [MAX_SIZE][: len(firsts)]
    return LogKeys(
        tuple(
            Generation(_signers(pair, name, epoch), first, last)
            for (pair, first), last in zip(firsts, lasts, strict=True)
        ),
        _retired_of(file.retired, name),
        file.announced if file.epoch == epoch else None,
    )


def _retired_of(lines: Sequence[Retired], name: str) -> tuple[LogKey, ...]:
    try:
        terms = tuple(LogKey(parse_key(line.key), line.first, line.last) for line in lines)
    except NoteError:
        raise ConfigError(
            "A retired key is none: restore the file of signing keys from its backup."
        ) from None
    return tuple(term for term in terms if term.key.name == name)


def _signers(pair: Pair, name: str, epoch: int, *kinds: int) -> tuple[Signer, ...]:
    try:
        seeds = [base64.b64decode(text, validate=True) for text in (pair.ed25519, pair.ml_dsa_44)]
    except (binascii.Error, ValueError):
        raise ConfigError("The file of signing keys is not one: restore it from its backup.") from None
    if any(len(seed) != SEED_BYTES for seed in seeds):
        raise ConfigError(f"A signing key is not {SEED_BYTES} bytes: restore the file from its backup.")
    try:
        both = zip(kinds or (ED25519, COSIGNED_ML_DSA_44), seeds, strict=True)
        return tuple(LocalSigner(name, kind, seed_of(seed, epoch)) for kind, seed in both)
    except NoteError:
        raise ConfigError("The signer's name has a space or a plus, or more than 255 characters.") from None


def _seeds(draw: Callable[[int], bytes]) -> tuple[str, str]:
    one, other = (base64.b64encode(draw(SEED_BYTES)).decode() for _ in range(2))
    return one, other
