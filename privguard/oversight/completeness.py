"""Commits the map into the log, and writes reports that prove that no entry is missing."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterable

from privguard.audit.proof import inclusions
from privguard.audit.report_proof import VERSION, ReportProof, proved, texts
from privguard.audit.stretch import COMMITTER
from privguard.errors import AuditUnavailableError
from privguard.model import AccessEvent, AuditReceipt, MapRoot, Outcome
from privguard.oversight.trail import Entry, count_of
from privguard.ports import AuditLog, Clock, Entropy
from privguard.store.log_reader import Indexed
from privguard.store.map_keeper import MapKeeper, MapState
from privguard.store.tree_reader import Published, TreeReader


def commit_map(
    keeper: MapKeeper,
    log: AuditLog,
    clock: Clock,
    entropy: Entropy,
    deadline_s: float,
    *,
    always: bool = False,
) -> tuple[MapState, AuditReceipt | None]:
    """Brings the map up with the log, and puts its root on record.

    Args:
        always: also where it says what it said before.

    Raises:
        StoreUnavailableError, AuditUnavailableError: it could not be.
    """
    state, changed = keeper.catch_up()
    if not changed and not always:
        return state, None
    tenant, actor, action = COMMITTER
    event = AccessEvent(
        event_id=entropy.token(16).hex(),
        at_us=clock.now_us(),
        action=action,
        outcome=Outcome.PERMITTED,
        actor=actor,
        tenant=tenant,
        map=MapRoot(state.root.hex(), state.size),
    )
    try:
        return state, log.submit(event).result(deadline_s)
    except concurrent.futures.TimeoutError:
        raise AuditUnavailableError("The map's root could not be put on record in time.") from None


def prove_report(
    token: str,
    entries: Iterable[Entry],
    state: MapState,
    commitment: Entry,
    published: Published,
    keeper: MapKeeper,
    tree: TreeReader,
    sealed: Indexed | None = None,
) -> ReportProof:
    """The proof that a client's entries are all there are.

    Args:
        commitment: the entry that holds the root of the map ``state``.
        published: a checkpoint that is larger than all of their indexes.
        sealed: the leaf that says the prune floor, if there is one.

    Raises:
        AuditUnavailableError: the map was brought up meanwhile: begin again.
    """
    now, proof = keeper.prove(token)
    entries = list(entries)
    older = count_of(entries[-1], token) - 1 if entries and sealed else 0
    if now != state or [count for each, count, _ in proof.bucket if each == token] != [len(entries) + older]:
        raise AuditUnavailableError("The log went on while the report was proved: ask for it again.")
    path_of = inclusions(published.size, tree.entries)
    leaves = [(each.index, each.data, path_of(each.index)) for each in (commitment, *entries)]
    if older and sealed:
        leaves.append((*sealed, path_of(sealed[0])))
    first, *rest = [proved(index, data, path) for index, data, path in leaves]
    floor = rest.pop() if older else None
    return ReportProof(
        VERSION, token, published.note.decode(), first, proof.bucket, texts(proof.path), tuple(rest), floor
    )
