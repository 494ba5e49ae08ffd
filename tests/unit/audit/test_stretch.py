"""A log read in stretches, which are 256 leaves here: every fault is named where it is, in either of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privguard.audit import verify
from privguard.audit.merkle import leaf_hash, root_of
from privguard.audit.record import Head, Leaf, columns, drafts, encode, link, parse, subject_columns
from privguard.audit.stretch import Row, Stretch, read_rows
from privguard.audit.verifiable_map import hash_bucket, hash_page, updated
from privguard.audit.verify import Pin, Verification, join, map_sizes, verify_log
from privguard.model import AccessEvent, MapRoot
from tests.unit.audit.events import access, disclosure

WIDTH = 256
COUNT = 600


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "STRETCH", WIDTH)


def token(number: int) -> str:
    return hashlib.sha256(b"%d" % number).hexdigest()[:22]


class Log:
    """Leaves of accesses to seven clients; of two clients in several groups, each fifth."""

    def __init__(self) -> None:
        self.leaves: list[bytes] = []
        self.heads: dict[str, Head] = {}

    def add(self, event: AccessEvent, *tokens: Sequence[str]) -> None:
        (draft,) = drafts(event)
        index = len(self.leaves)
        link(draft, tokens, self.heads, index, 1000 + index)
        self.leaves.append(encode(draft.leaf))

    def grow(self, count: int) -> Log:
        for number in range(count):
            shown = [disclosure("a")] if number % 5 else [disclosure("a", "b"), disclosure("b", fields=())]
            one, other = token(number % 7), token(number % 7 + 1)
            event = access(event_id=f"{len(self.leaves):032x}", disclosures=tuple(shown))
            self.add(event, *([[one]] if number % 5 else [[one, other], [other]]))
        return self

    def root(self) -> str:
        buckets = {name[:3]: hash_bucket([(name, *head)]) for name, head in self.heads.items()}
        return hash_page(updated({}, buckets)[""]).hex()

    def commit(self, size: int, root: str, **more: object) -> None:
        values: dict[str, object] = {"actor": "privguard", "action": "privguard:map:commit", "roles": ()}
        self.add(access(map=MapRoot(root, size), **{**values, **more}))

    def found(self) -> Verification:
        return verify_log(lambda: self.leaves, *root_of(self.leaves))


LEAVES = Log().grow(COUNT).leaves


def rows_of(leaves: Sequence[bytes]) -> tuple[list[Row], list[Row]]:
    parsed = list(enumerate(map(parse, leaves)))
    rows = [(at, *columns(leaf), leaf_hash(leaves[at]), leaves[at]) for at, leaf in parsed]
    return rows, [row for at, leaf in parsed for row in subject_columns(leaf, at)]


def stretches(rows: Sequence[Row], subjects: Sequence[Row], sizes: Sequence[int] = ()) -> Iterator[Stretch]:
    for start in range(0, COUNT, WIDTH):
        stop = min(start + WIDTH, COUNT)
        mine, theirs = (
            [row for row in one if isinstance(row[0], int) and start <= row[0] < stop]
            for one in (rows, subjects)
        )
        yield read_rows(start, stop, mine, theirs, sizes)


def changed(at: int, **changes: object) -> bytes:
    leaf = parse(LEAVES[at])
    for name, value in changes.items():
        setattr(leaf, name, value)
    return encode(leaf)


def unchained(at: int) -> bytes:
    groups = parse(LEAVES[at]).groups
    for group in groups:
        group.subjects = [(name, k + 1, prev) for name, k, prev in group.subjects]
    return changed(at, groups=groups)


def stored(leaf: bytes, at: int) -> Row:
    """As an administrator would write it, with all that follows from it."""
    try:
        read: Leaf = parse(leaf)
    except ValueError:
        read = parse(LEAVES[at])
    return (at, *columns(read), leaf_hash(leaf), leaf)


@pytest.mark.parametrize("at", [0, 1, 255, 256, 300, 511, 512, COUNT - 1])
@pytest.mark.parametrize(
    "kind", ["edited", "text", "columns", "subjects", "twice", "missing", "form", "chain"]
)
def test_l01_l03_every_fault_is_named_wherever_it_is(kind: str, at: int) -> None:
    rows, subjects = rows_of(LEAVES)
    of_it = [row for row in subjects if row[0] == at]
    if kind == "edited":
        rows[at] = (*rows[at][:-1], changed(at, actor="rm-9"))
    elif kind == "text":
        rows[at] = (*rows[at][:-1], LEAVES[at].decode())
    elif kind == "columns":
        rows[at] = (at, "another", *rows[at][2:])
    elif kind == "subjects":
        subjects.remove(of_it[-1])
    elif kind == "twice":
        subjects.append(of_it[-1])
    elif kind == "missing":
        del rows[at]
    else:
        rows[at] = stored(b" " + LEAVES[at] if kind == "form" else unchained(at), at)
    found = join(stretches(rows, subjects), [Pin(COUNT, root_of(LEAVES)[1])], [])
    named = {"text": "edited", "subjects": "columns", "twice": "columns"}.get(kind, kind)
    assert (found.ok, found.kind, found.first_bad, found.size) == (False, named, at, at)


@pytest.mark.parametrize("at", [1, 255, 256, 512, COUNT - 1])
def test_l07_time_that_goes_back_is_named_across_stretches_too(at: int) -> None:
    leaves = [*LEAVES[:at], changed(at, ts=at), *LEAVES[at + 1 :]]
    found = verify_log(lambda: leaves, *root_of(leaves))
    assert (found.kind, found.first_bad) == ("time", at)


@given(st.integers(0, COUNT), st.integers(0, COUNT))
def test_every_size_has_its_root_and_every_other_is_noticed(size: int, other: int) -> None:
    leaves, roots = LEAVES[:size], [root_of(LEAVES[:end])[1] for end in (size, other)]
    assert verify_log(lambda: leaves, size, roots[0]) == Verification(size, roots[0], True)
    found = verify_log(lambda: leaves, other, roots[1])
    if other != size:
        assert (found.kind, found.first_bad) == ("missing" if other > size else "extra", min(size, other))


@pytest.mark.parametrize("size", [1, 255, 256, 257, 512, 599, 600])
def test_l05_the_signed_log_is_held_to_at_its_size(size: int) -> None:
    end, signed = Pin(COUNT, root_of(LEAVES)[1]), Pin(size, root_of(LEAVES[:size])[1], "forked")
    assert join(stretches(*rows_of(LEAVES), [size]), [signed, end], []).ok
    found = join(stretches(*rows_of(LEAVES), [size]), [signed._replace(root=bytes(32)), end], [])
    assert (found.ok, found.kind, found.first_bad) == (False, "forked", None)


def test_l02_a_log_shorter_than_what_was_signed_is_cut() -> None:
    pins = [Pin(700, bytes(32), "forked"), Pin(COUNT, root_of(LEAVES)[1])]
    found = join(stretches(*rows_of(LEAVES)), pins, [])
    assert (found.kind, found.first_bad) == ("missing", COUNT)


def test_the_first_of_several_faults_is_named() -> None:
    rows, subjects = rows_of(LEAVES)
    rows[250] = stored(unchained(250), 250)
    rows[240] = (240, "another", *rows[240][2:])
    rows[600 - 1 :] = []
    found = join(stretches(rows, subjects), [Pin(COUNT, bytes(32))], [])
    assert (found.kind, found.first_bad) == ("columns", 240)


def test_l04_every_map_that_was_committed_is_computed() -> None:
    log = Log()
    for _ in range(5):
        log.grow(100)
        log.commit(len(log.leaves), log.root())
        log.commit(len(log.leaves) - 1, log.root())
    assert log.found().ok
    assert sorted(map_sizes(log.leaves)) == sorted([*range(100, 509, 102)] * 2)


@pytest.mark.parametrize("size", [100, 300])
def test_l04_a_wrong_map_is_found_though_a_right_one_of_its_size_follows(size: int) -> None:
    log = Log().grow(size)
    right = log.root()
    log.grow(200).commit(size, "00" * 32)
    log.commit(size, right)
    found = log.found()
    assert (found.kind, found.first_bad) == ("map", size)


def test_l04_a_map_of_what_is_not_there_yet_is_wrong() -> None:
    log = Log().grow(10)
    right = Log().grow(20).root()
    log.commit(20, right)
    found = log.found()
    assert (found.kind, found.first_bad) == ("map", 20)


def test_l04_a_map_that_the_database_did_not_find_is_wrong() -> None:
    log = Log().grow(10)
    log.commit(10, log.root())
    rows, subjects = rows_of(log.leaves)
    found = join([read_rows(0, 11, rows, subjects)], [Pin(11, root_of(log.leaves)[1])], [])
    assert (found.kind, found.first_bad) == ("map", 10)


@pytest.mark.parametrize("more", [{"actor": "rm-1"}, {"action": "gateway:client:read"}, {"tenant": "x"}])
def test_l04_a_map_is_committed_by_the_log_itself(more: dict[str, object]) -> None:
    log = Log().grow(3)
    log.commit(3, log.root(), **more)
    found = log.found()
    assert (found.kind, found.first_bad) == ("form", 3)


def test_l14_a_client_with_no_token_is_in_no_map() -> None:
    log = Log()
    log.add(access("a"), ["x" * 5])
    log.commit(1, log.root())
    found = log.found()
    assert (found.kind, found.first_bad) == ("map", 1)
