"""What a member of staff and a client may share in private: kin, an address, an employer, a surname.

The staff's side comes with the directory and is kept as keyed tokens; the client's is read off the record
that is asked for. It is evidence against a look, never for one; no rule decides by it (docs/adr/0018). Pure.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Final

from msgspec import Struct

KINDS: Final = ("kin", "address", "employer", "surname")
Token = Callable[[str, str], str]
"""The token of a text, by kind, for one tenant."""
_BETWEEN: Final = re.compile(r"[\s,.·]+")
_HAN: Final = re.compile(r"[\u3400-\u9fff]")


class Private(Struct, frozen=True):
    """What is known of one member of staff; ``tokens`` by kind."""

    tokens: Mapping[str, frozenset[str]]
    token: Token

    def shares(self, kind: str, value: object) -> bool:
        """Whether a record's value is theirs, too; a list holds several. Never raises."""
        tokens = self.tokens.get(kind)
        if not tokens:
            return False
        if isinstance(value, list):
            return any(self.shares(kind, each) for each in value)
        if type(value) is not str and type(value) is not int:
            return False
        return any(self.token(kind, form) in tokens for form in forms(kind, str(value)))


def tokens(kind: str, text: str, token: Token) -> tuple[str, ...]:
    """What the directory keeps of a cell; kin are ids parted by ``;``."""
    texts = text.split(";") if kind == "kin" else (text,)
    return tuple(sorted({token(kind, found[-1]) for each in texts if (found := forms(kind, each))}))


def forms(kind: str, text: str) -> tuple[str, ...]:
    """What of a text is compared: letters and digits alone, whatever their width and case.

    A surname may be any word of a name; of a name in Han characters it is the first or the first two. The
    last form is the one that a surname alone has.
    """
    if kind == "kin":
        return (text.strip(),) if text.strip() else ()
    text = unicodedata.normalize("NFKC", text).casefold()
    if kind == "surname":
        if _HAN.match(text):
            return tuple(dict.fromkeys((text[:1], text[:2])))
        return tuple(filter(None, map(_plain, _BETWEEN.split(text))))
    return tuple(filter(None, (_plain(text),)))


def _plain(text: str) -> str:
    return "".join(filter(str.isalnum, text))
