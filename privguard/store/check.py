"""What must hold before a log is written to: cheap, and never a repair."""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from privguard.audit.merkle import begun, leaf_hash, tree_of
from privguard.errors import AuditUnavailableError
from privguard.store.dialects import statements_of
from privguard.store.statements import driver
from privguard.store.tables import event, tree_state


def check_tree(connection: Connection) -> None:
    """Makes the tree's edge again from the last leaves and tiles, and compares it with the state.

    Reads at most 255 leaves and, for each level of tiles, 255 hashes; the whole log is the verifier's task.

    Raises:
        AuditUnavailableError: the log and its tree disagree.
    """
    state = connection.execute(select(tree_state.c.size, tree_state.c.edge, tree_state.c.root)).one_or_none()
    if state is None:
        raise _disagree("the tree has no state")
    size, edge, root = state
    count = connection.execute(select(func.coalesce(func.max(event.c.idx) + 1, 0))).scalar_one()
    if count != size:
        raise _disagree(f"the tree has {size} leaves, the log {count} entries")
    sql = statements_of(connection)
    spans = {span.level: sql.read_span(driver(connection), span) for span in begun(size)}
    start = size - size % 256
    leaves = connection.execute(
        select(event.c.leaf).where(event.c.idx >= start).order_by(event.c.idx)
    ).scalars()
    if [leaf_hash(leaf) for leaf in leaves] != spans.get(0, []):
        raise _disagree(f"an entry after index {start} is not what was hashed")
    tree = tree_of(size, spans)
    if b"".join(tree.edge) != edge or tree.root() != root:
        raise _disagree(f"the tree's edge at size {size} is not that of its tiles and leaves")


def _disagree(how: str) -> AuditUnavailableError:
    return AuditUnavailableError(
        f"The log and its tree disagree: {how}. Nothing is written to such a log: keep a copy, "
        "then restore a backup."
    )
