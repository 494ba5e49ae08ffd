"""``privguard serve``: the gateway."""

from __future__ import annotations

import asyncio
import functools
import gc
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from privguard.cli.options import config_option, settings_of

if TYPE_CHECKING:
    from privguard.asgi.messages import ASGIApp
    from privguard.bootstrap import Wiring
    from privguard.gateway.login import Login
    from privguard.ports import IdentityProvider
    from privguard.store.map_keeper import MapKeeper
    from privguard.store.publisher import Publisher

MAP_S = 60.0
"""How often the map's root goes into the log, where it changed."""


@click.command()
@config_option
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Processes.")
@click.option("--json-logs", is_flag=True, help="Log lines as JSON.")
def serve(config: Path, workers: int, json_logs: bool) -> None:
    """Run the gateway until SIGTERM; requests under way get 20 seconds to end."""
    from privguard import telemetry
    from privguard.bootstrap import wire
    from privguard.gateway import server

    telemetry.configure(json=json_logs)
    settings = settings_of(config)
    wiring = wire(settings)  # what is wrong is said here, once, before any worker starts
    _announce(wiring)
    if workers == 1:
        app = assemble(wiring)
        server.serve(lambda: app, settings.gateway.listen)
    else:
        wiring.log.close()
        server.serve(functools.partial(_worker, config, json_logs), settings.gateway.listen, workers)


def assemble(wiring: Wiring) -> ASGIApp:
    """The gateway of a wiring."""
    from privguard.asgi.admission import StaffIdentity
    from privguard.asgi.whoami import WhoAmIIdentity
    from privguard.bootstrap import open_nightly, upkeep
    from privguard.gateway import create_app
    from privguard.gateway.upstream import upstream_app
    from privguard.signing import open_publisher, open_timestamping
    from privguard.store.engine import Store
    from privguard.store.map_keeper import MapKeeper
    from privguard.store.tree_reader import TreeReader

    upstream = upstream_app(wiring.settings)
    identity = wiring.guard.core.door.identity if wiring.guard.core.door is not None else None
    identity = identity.inner if isinstance(identity, StaffIdentity) else identity

    async def close() -> None:
        await upstream.close()
        if isinstance(identity, WhoAmIIdentity):
            await identity.close()
        await asyncio.to_thread(wiring.close)

    publisher, store = open_publisher(wiring.settings), Store(wiring.settings.store.url)
    watch = upkeep(wiring)
    if publisher is not None:
        sign = functools.partial(_sign, wiring, publisher, MapKeeper(store), [time.monotonic()])
        watch["publishing-failed"] = sign
    if (timestamping := open_timestamping(wiring.settings)) is not None:
        watch["timestamping-failed"] = timestamping.refresh
    if (nightly := open_nightly(wiring)) is not None:
        watch["look-back-failed"] = nightly.refresh
    app = create_app(
        wiring.guard,
        upstream,
        watch=watch,
        check=wiring.log.check,
        tree=TreeReader(store),
        close=close,
        login=_login(wiring),
        authority=(wiring.authority.granting, wiring.authority.enrolment),
        form_key=wiring.keyring.derive("form"),
        work_key=_work_key(wiring),
    )
    gc.collect()
    gc.freeze()  # what lives as long as the process is not looked through again: pauses of 10 ms and more
    return app


def _work_key(wiring: Wiring) -> bytes:
    """What the CRM signs with that says what work there is; empty where it does not."""
    from privguard.keystore.keyset_file import read_secret
    from privguard.sinks.send import webhook_key

    secret = wiring.settings.anomaly.work_secret
    return webhook_key(read_secret(secret)) if secret is not None else b""


def _login(wiring: Wiring) -> tuple[Login, IdentityProvider] | None:
    from privguard.asgi.admission import StaffIdentity
    from privguard.gateway.login import Login

    jwt, core = wiring.settings.identity.jwt, wiring.guard.core
    if wiring.settings.identity.mode != "jwt" or jwt is None or jwt.login is None:
        return None
    key, session_key = wiring.keyring.derive("login"), wiring.keyring.derive("session")
    login = Login(jwt, jwt.login, core.clock, core.entropy, key, session_key)
    if core.directory is None:
        return login, login
    return login, StaffIdentity(login, core.directory, core.clock, deadline_s=core.deadline_s)


def _sign(wiring: Wiring, publisher: Publisher, keeper: MapKeeper, committed: list[float]) -> None:
    """Signs the log as it is now, with the map once a minute; says which witnesses did not sign."""
    from privguard.oversight.completeness import commit_map
    from privguard.telemetry import logger

    if time.monotonic() - committed[-1] >= MAP_S:
        committed[:] = [time.monotonic()]
        core = wiring.guard.core
        commit_map(keeper, wiring.log, core.clock, core.entropy, core.deadline_s)
    before = publisher.complaints
    publisher.publish(int(time.time()))
    if publisher.complaints != before:
        logger().warning("witnesses-missing", **publisher.complaints)


def _worker(config: Path, json_logs: bool) -> ASGIApp:
    from privguard import telemetry
    from privguard.bootstrap import wire

    telemetry.configure(json=json_logs)
    return assemble(wire(settings_of(config)))


def _announce(wiring: Wiring) -> None:
    from privguard.telemetry import logger

    settings, policy = wiring.settings, wiring.guard.core.policy
    logger().info(
        "starting",
        listen=settings.gateway.listen,
        system=settings.system.name,
        mode=settings.gateway.mode,
        policy=policy.digest[:12] if policy else "",
    )
    if settings.audit.signing_keys is None:
        logger().warning(
            "unsigned-log", meaning="no [audit] signing_keys: nobody can tell it from another log"
        )
    if settings.gateway.mode == "observe":
        logger().warning("observe-mode", meaning="nothing is masked or refused; everything is recorded")
    if settings.identity.mode == "demo":
        logger().warning("DEMO-IDENTITY", meaning="tokens are no secret: never with real data")
