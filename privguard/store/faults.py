"""What a failing database means, in words: the cause and the mend, never the statement or its values."""

from __future__ import annotations

import sqlite3
import traceback
from pathlib import Path
from typing import Final

from sqlalchemy.exc import DBAPIError

from privguard.errors import AuditUnavailableError, PrivguardError

_CAUSES: Final = {
    "SQLITE_FULL": "The disk is full: free some space.",
    "SQLITE_READONLY": "The database cannot be written: check its permissions and how its disk is mounted.",
    "SQLITE_BUSY": "Another process holds the database: end a backup or shell that has it open.",
    "SQLITE_LOCKED": "Another process holds the database: end a backup or shell that has it open.",
    "SQLITE_IOERR": "The disk fails: look at the system's log, then at the disk.",
    "SQLITE_CORRUPT": "The database file is damaged: keep it, restore a backup, verify that.",
    "SQLITE_NOTADB": "The database file is not a database: keep it, and restore a backup.",
    "SQLITE_CANTOPEN": "The database cannot be opened: check that its file and folder are there.",
    "SQLITE_CONSTRAINT_TRIGGER": "The log and its tree disagree, or what is on record would change: "
    "run `privguard audit verify` before anything else.",
    "SQLITE_CONSTRAINT": "The log and its tree disagree: run `privguard audit verify` before anything else.",
    "SQLITE_ERROR": "The tables are missing or old: run `privguard db upgrade`.",
}

_STATES: Final = {  # https://www.postgresql.org/docs/current/errcodes-appendix.html
    "08": "The database server does not answer: start it, or look at the network.",
    "28": "The database server refuses the login of store.url.",
    "3D": "The database of store.url is not there: create it.",
    "23": _CAUSES["SQLITE_CONSTRAINT_TRIGGER"],
    "25006": "The database server takes no writes: store.url must name the primary.",
    "40": "Other writers were in the way too often: try again.",
    "42501": "The login of store.url may not do this: docs/reference/store.md says which role may.",
    "42": _CAUSES["SQLITE_ERROR"],
    "53100": _CAUSES["SQLITE_FULL"],
    "53": "The database server has no room for more connections or memory.",
    "55P03": "Another process holds the log's lock: end what has a transaction open.",
    "57": "The database server is stopping or starting.",
    "58": _CAUSES["SQLITE_IOERR"],
    "XX": _CAUSES["SQLITE_CORRUPT"],
}


def unavailable(error: Exception) -> AuditUnavailableError:
    """The refusal for an entry that the store did not take."""
    if isinstance(error, AuditUnavailableError):
        return error
    return AuditUnavailableError(error.detail if isinstance(error, PrivguardError) else cause(error))


def cause(error: Exception) -> str:
    """Cause and mend of a database's or operating system's failure."""
    original = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(original, sqlite3.Error):
        name = getattr(original, "sqlite_errorname", "SQLITE_ERROR")
        known = next((text for code, text in _CAUSES.items() if name.startswith(code)), "")
        return f"{known or 'The database failed.'} ({name})"
    state = getattr(original, "sqlstate", "")
    if state != "":
        state = state or "08006"  # psycopg says none where the connection ends
        known = next((text for code, text in _STATES.items() if state.startswith(code)), "")
        return f"{known or 'The database failed.'} ({state})"
    if isinstance(original, OSError):
        return f"The database's lock file cannot be used: {original.strerror}."
    where = traceback.extract_tb(error.__traceback__)[-1:]
    place = f" at {Path(where[0].filename).name}:{where[0].lineno}" if where else ""
    return f"The log failed in a way that was not foreseen ({type(original).__name__}{place}): report it."


def is_conflict(error: Exception) -> bool:
    """Whether the database undid a transaction that may succeed when it is done again."""
    original = error.orig if isinstance(error, DBAPIError) else error
    return getattr(original, "sqlstate", None) in ("40001", "40P01")
