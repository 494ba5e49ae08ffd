"""privguard: know, limit and prove who saw which client's data.

The flow of an access reads straight down this list:

    errors          one tree; each class has a status and a problem type
    model           frozen values that pass between the stages
    exchange        THE FLOW: the state machine of one guarded access, pure
    rulebook        one policy version, and what is compiled from it
    identity        1 who asks
    policy          2-3 what it is; may they, how much
    stepup          4 prove it again
    masking         6 what leaves
    audit           7 what is on record
    crypto          keys, envelopes, pseudonyms
    ports           what the shell must provide
    files, outgoing files that several processes read; requests that go nowhere else
    machine         its time and chance, and who runs a command
    guard           drives an exchange through the ports
    store           SQLAlchemy: tables, migrations, the log
    keystore        where keys are: the key file, a security module
    asgi, gateway   doors: middleware, reverse proxy
    signing         what signs the log, and whom an auditor is to trust
    cli, bootstrap  commands; the one place that wires things

Importing this package loads neither fastapi, sqlalchemy nor aiohttp.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from privguard.errors import (
        AccessDeniedError,
        AuditUnavailableError,
        PrivguardError,
        StepUpRequiredError,
    )
    from privguard.guard import AsyncGuard, Guard
    from privguard.model import AccessRequest, Decision, Principal

__version__ = "0.1.0"
__all__ = [
    "AccessDeniedError",
    "AccessRequest",
    "AsyncGuard",
    "AuditUnavailableError",
    "Decision",
    "Guard",
    "Principal",
    "PrivguardError",
    "StepUpRequiredError",
]
_HOMES = {
    "AccessDeniedError": "errors",
    "AccessRequest": "model",
    "AsyncGuard": "guard",
    "AuditUnavailableError": "errors",
    "Decision": "model",
    "Guard": "guard",
    "Principal": "model",
    "PrivguardError": "errors",
    "StepUpRequiredError": "errors",
}


def __getattr__(name: str) -> Any:
    """Loads a public name when it is first asked for, so that the command line starts fast."""
    if name not in _HOMES:
        raise AttributeError(name)
    return getattr(importlib.import_module(f"privguard.{_HOMES[name]}"), name)
