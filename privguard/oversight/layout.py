"""Statements and reports as people read them: the same words on a screen and on paper."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Final

from msgspec import Struct

from privguard.audit.statement import Seen, Statement, digest
from privguard.oversight.filters import shown
from privguard.oversight.rows import clear, masked, time_of, unmasked
from privguard.oversight.trail import Entry
from privguard.oversight.wording import Words

_HEADS: Final = ("at", "who", "why", "what", "fields")


class Layout(Struct, frozen=True):
    """What stands where; all in the reader's language. ``statement.typ`` reads it by these names."""

    lang: str
    title: str
    facts: list[tuple[str, str]]
    notice: str
    heads: list[str]
    rows: list[tuple[str, ...]]
    none: str
    page: str
    foot: str

    def lines(self) -> Iterator[str]:
        """For a screen."""
        yield from (self.title, *[f"{name}  {value}" for name, value in self.facts], self.notice, "")
        for row in self.rows:
            yield "  ".join(cell.replace("\n", "; ") for cell in row if cell)
        if not self.rows:
            yield self.none


def lay_out(statement: Statement, lang: str, offset: str) -> Layout:
    """A statement in a language.

    Args:
        offset: of the times that it shows, ``+08:00``.
    """
    words = Words(lang, statement.names)
    facts = {
        "client": statement.client,
        "made": _local(statement.made, offset),
        "number": str(len(statement.seen)),
        "origin": statement.origin,
        "digest": digest(statement),
    }
    return Layout(
        lang=lang,
        title=words("title"),
        facts=[(words(key), value) for key, value in facts.items()],
        notice=statement.notice[lang],
        heads=[words(key) for key in _HEADS],
        rows=[_row(seen, words, offset) for seen in statement.seen],
        none=words("none"),
        page=words("page"),
        foot=statement.origin,
    )


def report_line(entry: Entry, words: Words, offset: str) -> str:
    """An entry of a client's report, for compliance officers; codes that filters take stay as they are."""
    leaf, groups = entry.leaf, shown(entry.leaf)
    said = [
        str(entry.index),
        _local(time_of(leaf.ts), offset),
        leaf.actor or "-",
        f"{words(leaf.action.rpartition(':')[2])} {leaf.action}",
        words(leaf.outcome),
        leaf.problem or words.name(leaf.purpose),
    ]
    clients = {token for group in leaf.groups for token, _, _ in group.subjects}
    named = (
        ("clear", words.listed(clear(groups))),
        ("masked", words.listed(masked(groups))),
        ("clients", str(len(clients) or "")),
    )
    said += [f"{words(key)}{words('colon')}{value}" for key, value in named if value]
    said += [words("observed")] * unmasked(leaf)
    return "  ".join(part for part in said if part)


def _row(seen: Seen, words: Words, offset: str) -> tuple[str, ...]:
    paths = [path for path in words.names if path in seen.fields]  # in the policy's order
    paths += [path for path in seen.fields if path not in words.names]
    views = [
        (words(view), words.listed(path for path in paths if seen.fields[path] == view))
        for view in ("clear", "masked", "token")
    ]
    fields = [f"{view}{words('colon')}{names}" for view, names in views if names]
    return (
        _local(seen.at, offset),
        "\n".join(part for part in (seen.actor, words.listed(seen.roles)) if part),
        "\n".join(part for part in (words.name(seen.purpose), words.listed(seen.relations)) if part),
        words(seen.action),
        "\n".join([words("unmasked")] * seen.unmasked + fields),
    )


def _local(at: str, offset: str) -> str:
    hours, minutes = offset[1:].split(":")
    ahead = timedelta(hours=int(hours), minutes=int(minutes))
    zone = timezone(-ahead if offset[0] == "-" else ahead)
    return datetime.fromisoformat(at).astimezone(zone).strftime(f"%Y-%m-%d %H:%M:%S {offset}")
