"""The gateway's own routes: health, readiness, metrics. Nothing here tells of a client."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, Final

from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

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


class Readiness:
    """Whether the store takes entries, asked in one thread however long it hangs (L09).

    Args:
        check: raises where it does not.
    """

    def __init__(self, check: Callable[[], None]) -> None:
        self._check = check
        self._asked: Future[bool] | None = None

    async def within(self, seconds: float) -> bool:
        """The answer; False where it takes longer."""
        asked = self._asked
        if asked is None or asked.done():
            asked = self._asked = Future()
            asked.set_running_or_notify_cancel()
            # A daemon: a pool's thread that hangs would keep the process from ending.
            threading.Thread(target=self._ask, args=(asked,), name="privguard-ready", daemon=True).start()
        done, _ = await asyncio.wait({asyncio.wrap_future(asked)}, timeout=seconds)
        return bool(done) and asked.result()

    def _ask(self, asked: Future[bool]) -> None:
        try:
            self._check()
        except Exception:  # noqa: BLE001  # whatever fails, the store takes no entries
            asked.set_result(False)
        else:
            asked.set_result(True)


def own_routes(guard: Guard, check: Callable[[], None], lifespan: Any) -> FastAPI:
    """The app of the routes below ``/_privguard/``.

    Args:
        check: raises where the store takes no entries; may block.
    """
    app = FastAPI(
        title="privguard",
        openapi_url=f"{PREFIX}v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    store = Readiness(check)
    registry = CollectorRegistry()
    registry.register(AccessCollector(guard))

    @app.get(f"{PREFIX}healthz")
    async def healthz() -> dict[str, str]:
        """The process is alive."""
        return {"status": "ok"}

    @app.get(f"{PREFIX}readyz")
    async def readyz() -> JSONResponse:
        """Policy in force, and accesses can be put on record: the gateway can serve."""
        checks = {"policy": "ok" if guard.core.policy is not None else "there is no policy in force"}
        takes = await store.within(guard.core.deadline_s)
        checks["store"] = "ok" if takes else "the store takes no entries"
        ready = all(said == "ok" for said in checks.values())
        return JSONResponse(checks, status_code=200 if ready else 503, headers={"cache-control": "no-store"})

    @app.get(f"{PREFIX}metrics")
    async def metrics() -> Response:
        """Counts for Prometheus."""
        return Response(generate_latest(registry), media_type="text/plain; version=0.0.4")

    return app
