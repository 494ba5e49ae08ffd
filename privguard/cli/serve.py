"""``privguard serve``: the gateway."""

from __future__ import annotations

import asyncio
import functools
from pathlib import Path
from typing import TYPE_CHECKING

import click

from privguard.cli.options import config_option

if TYPE_CHECKING:
    from privguard.asgi.messages import ASGIApp
    from privguard.bootstrap import Wiring
    from privguard.policy import Policy


@click.command()
@config_option
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Processes.")
@click.option("--json-logs", is_flag=True, help="Log lines as JSON.")
def serve(config: Path, workers: int, json_logs: bool) -> None:
    """Run the gateway until SIGTERM; requests under way get 20 seconds to end."""
    from privguard import telemetry
    from privguard.bootstrap import wire
    from privguard.config import load_settings
    from privguard.gateway import server

    telemetry.configure(json=json_logs)
    settings = load_settings(config)
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
    from privguard.asgi.whoami import WhoAmIIdentity
    from privguard.gateway import create_app
    from privguard.gateway.upstream import upstream_app

    upstream = upstream_app(wiring.settings)
    identity = wiring.guard.core.door.identity if wiring.guard.core.door is not None else None

    async def close() -> None:
        await upstream.close()
        if isinstance(identity, WhoAmIIdentity):
            await identity.close()
        await asyncio.to_thread(wiring.close)

    return create_app(
        wiring.guard, upstream, refresh=wiring.policy_file.refresh, check=wiring.log.check, close=close
    )


def _worker(config: Path, json_logs: bool) -> ASGIApp:
    from privguard import telemetry
    from privguard.bootstrap import wire
    from privguard.config import load_settings

    telemetry.configure(json=json_logs)
    return assemble(wire(load_settings(config)))


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
    if policy is not None and (idle := _idle(policy)):
        logger().warning("not-enforced", keys=", ".join(idle), meaning="this version only checks their form")
    if settings.gateway.mode == "observe":
        logger().warning("observe-mode", meaning="nothing is masked or refused; everything is recorded")
    if settings.identity.mode == "demo":
        logger().warning("DEMO-IDENTITY", meaning="tokens are no secret: never with real data")


def _idle(policy: Policy) -> list[str]:
    """Keys of the policy that nothing enforces yet: whoever wrote them must not rely on them."""
    written = {
        "budgets": bool(policy.budgets),
        "break_glass": policy.break_glass is not None,
        "quota": any(rule.quota is not None for rule in policy.rules),
    }
    return [key for key, there in written.items() if there]
