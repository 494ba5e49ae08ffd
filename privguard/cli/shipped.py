"""Where the shipped policies and the sample CRM stand: in the wheel, or in a checkout beside the package."""

from __future__ import annotations

from pathlib import Path

from privguard.errors import ConfigError

_PACKAGE = Path(__file__).parent.parent


def shipped(name: str) -> Path:
    """The folder ``policies`` or ``bank_crm``.

    Raises:
        ConfigError: this installation is not whole.
    """
    in_checkout = {"policies": "policies", "bank_crm": "examples/bank_crm"}[name]
    for folder in (_PACKAGE / "_shipped" / name, _PACKAGE.parent / in_checkout):
        if folder.is_dir():
            return folder
    raise ConfigError(f"{name} is missing from this installation: install the privguard wheel again.")
