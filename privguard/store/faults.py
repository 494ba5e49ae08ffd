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
    "SQLITE_CONSTRAINT": "The log and its tree disagree: run `privguard audit verify` before anything else.",
    "SQLITE_ERROR": "The tables are missing or old: run `privguard db upgrade`.",
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
    if isinstance(original, OSError):
        return f"The database's lock file cannot be used: {original.strerror}."
    where = traceback.extract_tb(error.__traceback__)[-1:]
    place = f" at {Path(where[0].filename).name}:{where[0].lineno}" if where else ""
    return f"The log failed in a way that was not foreseen ({type(original).__name__}{place}): report it."
