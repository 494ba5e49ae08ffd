"""``privguard doctor``: one line a check, and what to do about what fails."""

from __future__ import annotations

import http.client
import json
import shutil
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from privguard.cli.options import config_option, json_option, settings_of
from privguard.errors import ConfigError, PrivguardError

if TYPE_CHECKING:
    from privguard.config import Settings

_DISK_FLOOR = 1 << 30


@click.command()
@config_option
@json_option
def doctor(config: Path, as_json: bool) -> None:
    """Check configuration, policy, keys, store, clock, signing, upstream, identity, staff, disk."""
    failed = False
    for name, said, fine in _checks(config):
        failed = failed or not fine
        if as_json:
            click.echo(json.dumps({"check": name, "ok": fine, "says": said}))
        else:
            click.echo(f"{'ok  ' if fine else 'FAIL'}  {name:8}  {said}")
    sys.exit(1 if failed else 0)


def _checks(config: Path) -> Iterator[tuple[str, str, bool]]:

    try:
        settings = settings_of(config)
    except ConfigError as error:
        yield "config", str(error), False
        return
    yield "config", f"{config}, mode {settings.gateway.mode}, identity {settings.identity.mode}", True
    checks: tuple[tuple[str, Callable[[Settings], str]], ...] = (
        ("policy", _policy),
        ("keys", _keys),
        ("store", _store),
        ("signing", _signing),
        ("upstream", _upstream),
        ("identity", _identity),
        ("staff", _staff),
        ("disk", _disk),
    )
    for name, check in checks:
        try:
            yield name, check(settings), True
        except PrivguardError as error:
            yield name, str(error), False


def _policy(settings: Settings) -> str:
    from privguard.bootstrap import read_policy

    return f"{settings.system.policy}, version {read_policy(settings.system.policy).digest[:12]}"


def _keys(settings: Settings) -> str:
    from privguard.bootstrap import read_keys

    keys = read_keys(settings)
    return f"keyset {keys.id}, version {keys.primary} wraps"


def _store(settings: Settings) -> str:
    """The tables, the tree and the clock: log time must not be ahead of this machine's."""
    from privguard.audit.record import parse
    from privguard.bootstrap import open_log, open_reader, read_keys
    from privguard.machine import SystemClock

    open_log(settings, read_keys(settings)).close()
    reader = open_reader(settings)
    size, _root = reader.head()
    last = [parse(leaf).ts for _index, leaf in reader.last(1)]
    ahead_s = (last[0] - SystemClock().now_us()) / 1e6 if last else 0.0
    if ahead_s > 5:
        raise ConfigError(
            f"{size} entries; this machine's clock is {ahead_s:.0f} s behind the last one. Set the clock."
        )
    return f"{size} entries, tables and tree agree, clock agrees"


def _signing(settings: Settings) -> str:
    """Whether the log as it stands can be signed, and what was published of it last; signs nothing."""
    from privguard.audit.signing_keys import INTERRUPTED
    from privguard.signing import log_keys, open_publisher, open_timestamping
    from privguard.store.engine import Store
    from privguard.store.tree_reader import TreeReader

    keys = log_keys(settings)
    if keys is None:
        return "UNSIGNED: nobody can tell this log from another. Name [audit] signing_keys."
    if keys.announced is not None:
        raise ConfigError(INTERRUPTED)
    open_publisher(settings)  # the witnesses' keys and their quorum
    open_timestamping(settings)  # the authority's certificates
    published = TreeReader(Store(settings.store.url)).published()
    last = f"last checkpoint at {published.size} entries" if published is not None else "no checkpoint yet"
    named = settings.audit.origin.partition("/")[0] != "privguard.invalid"
    nameless = (
        "" if named else "; NAMELESS: give the log a name of its own, [audit] origin, before others trust it"
    )
    return f"{last}, {len(settings.audit.witnesses)} witnesses{nameless}"


def _upstream(settings: Settings) -> str:
    connection = _connection(settings)
    began = time.monotonic()
    try:
        connection.connect()
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise ConfigError(
            f"{settings.system.upstream}: {why}. Start the CRM, or correct [[systems]] upstream."
        ) from None
    finally:
        connection.close()
    return f"{settings.system.upstream} accepts connections ({(time.monotonic() - began) * 1000:.0f} ms)"


def _connection(settings: Settings) -> http.client.HTTPConnection:
    url, tls = urllib.parse.urlsplit(settings.system.upstream), settings.system.tls
    if url.scheme == "https":
        from privguard.asgi.fetch import tls_context

        context = tls_context(tls.ca, tls.client_cert)
        return http.client.HTTPSConnection(url.hostname or "", url.port, timeout=5, context=context)
    return http.client.HTTPConnection(url.hostname or "", url.port, timeout=5)


def _identity(settings: Settings) -> str:
    """What names the actors can be used; who-am-I must refuse somebody without credentials as it will us."""
    from privguard.asgi.credentials import identity_provider
    from privguard.machine import SystemClock

    identity_provider(settings, SystemClock())
    whoami = settings.identity.upstream
    if settings.identity.mode != "upstream" or whoami is None:
        return f"mode {settings.identity.mode}"
    connection = _connection(settings)
    try:
        connection.request("GET", whoami.whoami, headers={"Accept": "application/json"})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException):
        raise ConfigError(f"{whoami.whoami} does not answer: see upstream.") from None
    finally:
        connection.close()
    if status not in (200, 401, 403):
        raise ConfigError(
            f"{whoami.whoami} answers {status} to a request without credentials, not 401 or 403. "
            "Correct [identity.upstream] whoami."
        )
    return f"the CRM's {whoami.whoami} answers {status} to a request without credentials"


def _staff(settings: Settings) -> str:
    from privguard.store.directory import members
    from privguard.store.engine import Store

    if not settings.directory.required:
        return "whoever the identity vouches for; [directory] required is off"
    count = members(Store(settings.store.url))
    if not count:
        raise ConfigError(
            "The directory is empty and [directory] required is on, so everybody is refused:"
            " `privguard directory import`."
        )
    return f"{count} in the directory"


def _disk(settings: Settings) -> str:
    engine, separator, path = settings.store.url.partition(":///")
    if not (engine.startswith("sqlite") and separator):
        return "the store is not on this machine's disk"
    try:
        free = shutil.disk_usage(Path(path).parent).free
    except OSError as error:
        raise ConfigError(f"{Path(path).parent}: {error.strerror}. Correct [store] url.") from None
    if free < _DISK_FLOOR:
        raise ConfigError(
            f"{free >> 20} MB free where the log is; a full disk stops every disclosure. Make room."
        )
    return f"{free >> 30} GB free where the log is"
