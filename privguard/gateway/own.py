"""The gateway's own routes: health, readiness, metrics. Nothing here tells of a client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, Final

from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from privguard.errors import PrivguardError
from privguard.guard import Guard

PREFIX: Final = "/_privguard/"


class AccessCollector:
    """The guard's counts in Prometheus' form; labels are outcomes and problem names only."""

    def __init__(self, guard: Guard) -> None:
        self._core = guard.core

    def collect(self) -> Iterator[Metric]:
        accesses = CounterMetricFamily(
            "privguard_accesses", "Entries made, by outcome and problem.", labels=("outcome", "problem")
        )
        for (outcome, problem), count in sorted(self._core.counts.items()):
            accesses.add_metric((outcome, problem), count)
        yield accesses
        in_force = self._core.policy is not None
        yield GaugeMetricFamily("privguard_policy_in_force", "1 while a policy is in force.", value=in_force)


def own_routes(guard: Guard, head: Callable[[], tuple[int, bytes]], lifespan: Any) -> FastAPI:
    """The app of the routes below ``/_privguard/``.

    Args:
        head: (size, root) of the log, read from the store.
    """
    app = FastAPI(
        title="privguard",
        openapi_url=f"{PREFIX}v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    registry = CollectorRegistry()
    registry.register(AccessCollector(guard))

    @app.get(f"{PREFIX}healthz")
    async def healthz() -> dict[str, str]:
        """The process is alive."""
        return {"status": "ok"}

    @app.get(f"{PREFIX}readyz")
    async def readyz() -> JSONResponse:
        """Policy in force and store readable: the gateway can serve."""
        checks = {"policy": "ok" if guard.core.policy is not None else "there is no policy in force"}
        try:
            await asyncio.wait_for(asyncio.to_thread(head), guard.core.deadline_s)
            checks["store"] = "ok"
        except (PrivguardError, TimeoutError):
            checks["store"] = "the store does not answer"
        ready = all(said == "ok" for said in checks.values())
        return JSONResponse(checks, status_code=200 if ready else 503, headers={"cache-control": "no-store"})

    @app.get(f"{PREFIX}metrics")
    async def metrics() -> Response:
        """Counts for Prometheus."""
        return Response(generate_latest(registry), media_type="text/plain; version=0.0.4")

    return app
