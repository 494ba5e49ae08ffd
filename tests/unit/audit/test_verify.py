from __future__ import annotations

import subprocess
import sys

import pytest

from privguard.audit.merkle import EMPTY_ROOT, root_of
from privguard.audit.record import Head, drafts, encode, link, parse
from privguard.audit.verify import Verification, verify_log
from tests.unit.audit.events import access, disclosure


def log(count: int) -> list[bytes]:
    heads: dict[str, Head] = {}
    entries = []
    for index in range(count):
        event = access(
            event_id=f"{index:032x}", at_us=1000 + index, disclosures=(disclosure("a", f"c{index % 3}"),)
        )
        (draft,) = drafts(event)
        link(
            draft,
            [[ref.id.ljust(22, ".") for ref in group] for group in draft.subjects],
            heads,
            index,
            1000 + index,
        )
        entries.append(encode(draft.leaf))
    return entries


LOG = log(300)
ROOT = root_of(LOG)[1]


def test_a_whole_log_verifies() -> None:
    assert verify_log(lambda: LOG, 300, ROOT) == Verification(300, ROOT, ok=True)
    assert verify_log(list, 0, EMPTY_ROOT).ok


def changed(index: int, **changes: object) -> list[bytes]:
    leaf = parse(LOG[index])
    for name, value in changes.items():
        setattr(leaf, name, value)
    return [*LOG[:index], encode(leaf), *LOG[index + 1 :]]


def test_l01_an_edited_entry_is_noticed_though_it_is_well_formed() -> None:
    found = verify_log(lambda: changed(150, actor="somebody-else"), 300, ROOT)
    assert (found.ok, found.first_bad, found.kind) == (False, None, "root")


def test_l07_an_entry_before_its_predecessor_in_time_is_named() -> None:
    found = verify_log(lambda: changed(150, ts=5), 300, ROOT)
    assert (found.ok, found.first_bad, found.kind) == (False, 150, "time")


@pytest.mark.parametrize(
    "subject", [("a" + "." * 21, 150, 149), ("a" + "." * 21, 151, 148), ("x" * 22, 2, -1)]
)
def test_a_broken_chain_is_named(subject: tuple[str, int, int]) -> None:
    groups = parse(LOG[150]).groups
    groups[0].subjects[0] = subject
    found = verify_log(lambda: changed(150, groups=groups), 300, ROOT)
    assert (found.ok, found.first_bad, found.kind) == (False, 150, "chain")


def test_two_chains_of_one_client_in_one_entry_are_named() -> None:
    groups = parse(LOG[150]).groups
    name, k, prev = groups[0].subjects[0]
    groups[0].subjects.append((name, k + 1, prev))
    found = verify_log(lambda: changed(150, groups=groups), 300, ROOT)
    assert (found.first_bad, found.kind) == (150, "chain")


def test_l14_an_entry_that_is_no_leaf_is_named() -> None:
    found = verify_log(lambda: [*LOG[:7], LOG[7] + b"\n", *LOG[8:]], 300, ROOT)
    assert (found.ok, found.first_bad, found.kind) == (False, 7, "form")


def test_l03_a_deleted_entry_breaks_a_chain() -> None:
    found = verify_log(lambda: [*LOG[:150], *LOG[151:]], 299, ROOT)
    assert (found.ok, found.first_bad, found.kind) == (False, 150, "chain")


def test_l03_two_entries_in_each_others_place_are_noticed() -> None:
    found = verify_log(lambda: [*LOG[:150], LOG[151], LOG[150], *LOG[152:]], 300, ROOT)
    assert (found.ok, found.first_bad) == (False, 150)


def test_l02_a_cut_tail_is_missing_from_the_size_that_was_pinned() -> None:
    found = verify_log(lambda: LOG[:290], 300, ROOT)
    assert (found.ok, found.first_bad, found.kind) == (False, 290, "missing")


def test_a_log_longer_than_it_should_be_is_named() -> None:
    found = verify_log(lambda: LOG, 290, root_of(LOG[:290])[1])
    assert (found.ok, found.first_bad, found.kind) == (False, 290, "extra")


def test_another_root_is_noticed() -> None:
    assert verify_log(lambda: LOG, 300, bytes(32)).kind == "root"


def test_the_verifier_loads_no_store() -> None:
    script = (
        "import sys, privguard.audit.verify;"
        "print([m for m in sys.modules if m.startswith(('privguard.store', 'sqlalchemy', 'sqlite3'))])"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
