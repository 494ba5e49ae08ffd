"""The gateway's own routes: health, readiness, metrics. Nothing here tells of a client."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any, Final

from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from privguard.asgi.problem import problem_response
from privguard.audit.tiles import TileError, span_of, within
from privguard.errors import (
    AccessDeniedError,
    MalformedRequestError,
    NotOnRecordError,
    PrivguardError,
    StoreUnavailableError,
)
from privguard.guard import Guard
from privguard.store.tree_reader import TreeReader

PREFIX: Final = "/_privguard/"
_PATH: Final = re.compile(r"/(?:(?![/\\])[!-~]*)?")


class AccessCollector:
    """The guard's counts in Prometheus' form; labels are outcomes, problem names and names of work only."""

    def __init__(self, guard: Guard, failures: Mapping[str, int]) -> None:
        self._core = guard.core
        self._failures = failures

    def collect(self) -> Iterator[Metric]:
        accesses = CounterMetricFamily(
            "privguard_accesses", "Entries made, by outcome and problem.", labels=("outcome", "problem")
        )
        for (outcome, problem), count in sorted(self._core.counts.items()):
            accesses.add_metric((outcome, problem), count)
        yield accesses
        failures = CounterMetricFamily(
            "privguard_failures", "How often work that is done once a second failed.", labels=("work",)
        )
        for work, count in self._failures.items():
            failures.add_metric((work,), count)
        yield failures
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


def own_routes(
    guard: Guard,
    check: Callable[[], None],
    tree: TreeReader,
    lifespan: Any,
    failures: Mapping[str, int],
) -> FastAPI:
    """The app of the routes below ``/_privguard/``.

    Args:
        check: raises where the store takes no entries; may block.
        tree: what anybody may read of the log: hashes and signed checkpoints.
        failures: how often work that is done once a second failed, by the name of the failure.
    """
    app = FastAPI(
        title="privguard",
        openapi_url=f"{PREFIX}v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,  # it would lead to whichever host the request names
    )
    store = Readiness(check)
    registry = CollectorRegistry()
    registry.register(AccessCollector(guard, failures))

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

    def log(path: str) -> Response:
        """The log as C2SP tlog-tiles has it: the signed checkpoint, and tiles of hashes; no entries."""
        if path.startswith("tile/entries/"):
            return problem(AccessDeniedError("Entries are for auditors: `privguard audit export --bundle`."))
        try:
            found, lasting = tree_file(tree, path)
        except StoreUnavailableError as error:
            return problem(error)
        if found is None:
            return problem(NotOnRecordError("There is no such tile or checkpoint (yet)."))
        caching = "public, max-age=31536000, immutable" if lasting else "no-store"
        media = "text/plain; charset=utf-8" if path == "checkpoint" else "application/octet-stream"
        return Response(found, media_type=media, headers={"cache-control": caching})

    app.add_api_route(f"{PREFIX}log/{{path:path}}", log, methods=["GET", "HEAD"], response_model=None)
    return app


def tree_file(tree: TreeReader, path: str) -> tuple[bytes | None, bool]:
    """A file of the log, or None; and whether it will never change. Blocks on the store.

    Raises:
        StoreUnavailableError: it cannot be read.
    """
    published = tree.published()
    if published is None or path == "checkpoint":
        return (None if published is None else published.note), False
    try:
        span = span_of(path)
    except TileError:
        return None, False
    if not within(span, published.size):
        return None, False
    return b"".join(tree.entries(span.level, span.start, span.stop)), True


def check_path(return_to: str) -> None:
    """Refuses where a browser would go on to, unless it is a path of this host (S14).

    Raises:
        MalformedRequestError: it is something else.
    """
    if not _PATH.fullmatch(return_to):
        raise MalformedRequestError("return_to is a path of this host.")


def problem(error: PrivguardError) -> Response:
    """A refusal of our own routes; it is not about anybody's data, so it has no receipt."""
    status, headers, body = problem_response(error, None)
    fixed = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
    return Response(body, status, {name: value for name, value in fixed.items() if name != "content-length"})
