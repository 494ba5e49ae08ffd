"""Options that every command spells the same, and what commands do the same way."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
import msgspec

from privguard.machine import system_account

if TYPE_CHECKING:
    from privguard.audit.note import Signer
    from privguard.bootstrap import Authority
    from privguard.config import Settings
    from privguard.model import Principal
    from privguard.oversight.trail import Trail
    from privguard.stepup.grant import Scope

T = TypeVar("T")
FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
"""A file that is there."""
ANY_FILE: Final = click.Path(dir_okay=False, path_type=Path)
"""A file, be it there or not."""
FOLDER: Final = click.Path(exists=True, file_okay=False, path_type=Path)
ANY_FOLDER: Final = click.Path(file_okay=False, path_type=Path)

config_option = click.option(
    "--config", default="privguard.toml", show_default=True, type=ANY_FILE, help="The configuration file."
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="JSON for programs: one object, or one a line."
)
tenant_option = click.option("--tenant", default="default", show_default=True, help="The tenant.")
kind_option = click.option(
    "--kind", default="client", show_default=True, help="The client's kind in the policy."
)
language_option = click.option(
    "--lang", type=click.Choice(["en", "zh"]), default="en", show_default=True, help="The language."
)


as_option = click.option(
    "--as", "by", required=True, metavar="STAFF", help="Who asks; they type a code of their own phone."
)


def signer_options(whose: str, keys: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options that name who signs, and the file of their keys."""
    name = click.option("--name", required=True, help=f"The {whose}'s name, a URL without its scheme.")
    keys_file = click.option("--keys", "keys_file", required=True, type=ANY_FILE, help=keys)
    return lambda command: name(keys_file(command))


def signers(name: str, keys_file: Path, *kinds: int, new: bool = False) -> Sequence[Signer]:
    """Who signs by these keys; with ``new`` they are made first, if the file is not there."""
    from privguard.audit.signing_keys import new_signing_keys, signers_of
    from privguard.files import write_new
    from privguard.keystore.keyset_file import read_secret

    if new and not keys_file.exists():
        write_new(keys_file, new_signing_keys(os.urandom), secret=True)
    return signers_of(read_secret(keys_file), name, *kinds)


def say(as_json: bool, value: object, text: str) -> None:
    """Prints an outcome, for programs or for people."""
    click.echo(msgspec.json.encode(value) if as_json else text)


def settings_of(config: Path) -> Settings:
    """The settings of the configuration. Raises ConfigError."""
    from privguard.config import load_settings

    return load_settings(config)


def trail_of(config: Path) -> AbstractContextManager[Trail]:
    """The trail for whoever runs the command, by the name the system knows them by."""
    from privguard.bootstrap import open_trail

    return open_trail(settings_of(config), system_account())


def asked(config: Path, by: str, tenant: str, about: Callable[[Scope], Scope], action: str) -> str:
    """The name of a request that a second person has to approve.

    An account of this machine is nobody that an approver could be compared with: so who asks is a member of
    staff, and proves it.

    Args:
        about: completes the scope of the action.
    """
    from privguard.model import Principal

    settings_of(config)  # what is wrong with it is said before anything is typed
    code = click.prompt(f"Code on the phone of {by}", hide_input=True, err=True)

    def ask(authority: Authority, account: Principal) -> Coroutine[Any, Any, str]:
        who = Principal(by, tenant=tenant)
        scope = about(authority.enrolment.scope(who, action))
        return authority.requesting.ask_by_code(who, scope, code, account.id)

    return acted(config, ask)


def acted(config: Path, act: Callable[[Authority, Principal], Coroutine[Any, Any, T]]) -> T:
    """What came of an act of the authority's, done for whoever runs the command."""
    import asyncio

    from privguard.cli.opening import open_authority

    with open_authority(settings_of(config)) as (authority, who):
        return asyncio.run(act(authority, who))
