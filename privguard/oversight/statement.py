"""What a client may be handed of who saw their data: composed, issued on record, proved.

1. the look is on the trail, by whoever makes the statement;
2. the client's chain is read whole; accesses by which nothing left are passed over, and those under embargo;
3. what will leave is put on record by its digests, in a leaf that names nobody;
4. that leaf and each access are proved up to a signed checkpoint.

An embargo (policy, ``statement``) leaves no trace: nothing here counts or numbers what is passed over. What
ends it is an entry of the client's chain, so that there is none without a name and a reason.
"""

from __future__ import annotations

import base64

import msgspec

from privguard.audit.merkle import leaf_hash
from privguard.audit.proof import Entries, inclusions
from privguard.audit.record import Leaf
from privguard.audit.report_proof import proved, texts
from privguard.audit.statement import VERSION, ProvedStatement, Seen, Statement
from privguard.errors import PolicyError
from privguard.model import PRIVATE, SubjectRef, View
from privguard.oversight.custodian import LIFT
from privguard.oversight.filters import shown
from privguard.oversight.rows import time_of, unmasked
from privguard.oversight.trail import ClientReport, Entry
from privguard.oversight.wording import both
from privguard.policy import Policy
from privguard.policy.document import StatementDef
from privguard.policy.notation import seconds
from privguard.store.tree_reader import Published


def compose(
    report: ClientReport, client: SubjectRef, policy: Policy, rules: StatementDef, now_us: int
) -> Statement:
    """What the client may be handed.

    Raises:
        PolicyError: the policy does not know the purpose of an access any more.
        AuditUnavailableError: an entry is missing from the client's chain.
    """
    lifted: set[str] = set()
    found = []
    for entry in report.entries:  # newest first: what ends an embargo comes before what was under it
        if entry.leaf.action == LIFT:
            lifted |= entry.leaf.about.keys()
            continue
        seen = _seen(entry, report.token, named=rules.actors == "named")
        if seen is not None and not _embargoed(entry.leaf, policy, rules, lifted, now_us):
            found.append(seen)
    used = {name for each in found for name in (each.purpose, *each.roles, *each.relations, *each.fields)}
    return Statement(
        client=client.id,
        kind=client.kind,
        made=time_of(now_us),
        names=msgspec.to_builtins({name: rules.names[name] for name in rules.names if name in used}),
        notice=_notice(report),
        origin=report.look.origin,
        seen=found,
        v=VERSION,
    )


def prove(
    statement: Statement, issue: int, leaf: bytes, published: Published, entries: Entries
) -> ProvedStatement:
    """The statement with its proofs, up to a checkpoint of a tree that holds the leaf of its ``issue``."""
    path = inclusions(published.size, entries)
    return ProvedStatement(
        statement=statement,
        checkpoint=published.note.decode(),
        issue=proved(issue, leaf, path(issue)),
        paths=[texts(path(seen.index)) for seen in statement.seen],
        v=VERSION,
    )


def rules_of(policy: Policy) -> StatementDef:
    """What the policy says of statements.

    Raises:
        PolicyError: nothing. A guess would hand out what must not be told.
    """
    if policy.statement is None:
        raise PolicyError(
            "The policy does not say what a client may be handed",
            policy.document.name,
            "statement: {embargo: {PURPOSE: until_released}}, or {embargo: {}} where there is none",
        )
    return policy.statement


def _notice(report: ClientReport) -> dict[str, str]:
    """What holds of every statement; where the log was pruned, also that it does not go back for ever."""
    notice, sealed = both("notice"), report.sealed
    if sealed is None:
        return notice
    day = time_of(sealed.ts).partition("T")[0]
    return {lang: f"{said} {both('sealed')[lang].format(day)}".strip() for lang, said in notice.items()}


def _embargoed(leaf: Leaf, policy: Policy, rules: StatementDef, lifted: set[str], now_us: int) -> bool:
    """Whether an access must not be told of."""
    if leaf.purpose and leaf.purpose not in policy.purposes:
        raise PolicyError(
            f"An access was for `{leaf.purpose}`, which the policy does not know any more",
            policy.document.name,
            "name it in purposes, and in statement: embargo where it must not be told of",
        )
    under = ({leaf.purpose, *leaf.roles} & rules.embargo.keys()) - lifted
    ages = [rules.embargo[name] for name in under]
    return any(age == "until_released" or now_us - leaf.ts < seconds(age) * 1_000_000 for age in ages)


def _seen(entry: Entry, token: str, *, named: bool) -> Seen | None:
    """An access as far as it concerns a client; None where nothing of the client left."""
    leaf, verb = entry.leaf, entry.leaf.action.rpartition(":")[2]
    whole = unmasked(leaf)
    groups = [
        group
        for group in (leaf.groups if whole else shown(leaf))
        if any(each == token for each, _, _ in group.subjects)
    ]
    views = [(path, view.partition(":")[0]) for group in groups for path, view in group.fields.items()]
    if whole:
        fields = {path: View.CLEAR.label for path, _ in views}
    else:
        strength = {view.label: view for view in View}
        fields = dict(sorted(views, key=lambda each: strength[each[1]]))  # of several the strongest
        fields = {path: view for path, view in fields.items() if view != View.WITHHELD.label}
    if not groups or not (fields or whole):
        return None
    return Seen(
        action=verb,
        actor=leaf.actor if named else "",
        at=time_of(leaf.ts),
        fields=fields,
        index=entry.index,
        leaf=base64.b64encode(leaf_hash(entry.data)).decode(),
        purpose=leaf.purpose,
        relations=list(dict.fromkeys(n for g in groups for n in g.relations if not n.startswith(PRIVATE))),
        roles=leaf.roles,
        unmasked=whole,
    )
