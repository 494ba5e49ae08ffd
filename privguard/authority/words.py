"""What people say in their own words, and others read: on pages, in the log, in a terminal."""

from __future__ import annotations

from privguard.errors import MalformedRequestError


def in_words(text: str, most: int, what: str) -> str:
    """The text on one line.

    Args:
        most: characters; ``what`` it is, for the error.

    Raises:
        MalformedRequestError: it is longer, or holds what a terminal obeys or turns other words around.
    """
    line = " ".join(text.split())
    if len(line) > most or not line.isprintable():
        raise MalformedRequestError(f"The {what} has {most} printable characters at most.")
    return line
