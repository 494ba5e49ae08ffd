"""The application: an ordinary CRM. Everyone who is signed in sees every field of every client."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from sqlalchemy import select
from sqlalchemy.orm import sessionmaker
from starlette.exceptions import HTTPException

from . import access, pages
from .clients import router as client_routes
from .seed import fill
from .tables import Staff, open_engine


def create_app(
    database: str = ":memory:",
    *,
    clients: int = 5000,
    seed: int = 1,
    auth: bool = True,
    today: date | None = None,
    addon: str | None = None,
) -> FastAPI:
    """Make the CRM on a SQLite file (filled if it is empty) or in memory.

    Args:
        database: path of the file, or ":memory:".
        clients: how many to make; at least 20.
        seed: the same seed makes the same clients.
        auth: False serves everyone, for a gateway in front that signs people in.
        addon: file of a script that the front page loads.
        today: what the training dates of staff count back from; the real date by default.
    """
    engine = open_engine(database)
    sessions = sessionmaker(engine, expire_on_commit=False)
    with sessions() as session:
        empty = session.scalar(select(Staff.id).limit(1)) is None
    if empty:
        fill(engine, clients, seed, today or datetime.now(UTC).date())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        engine.dispose()

    app = FastAPI(title="Bank CRM", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.engine, app.state.sessions, app.state.auth = engine, sessions, auth
    app.state.addon = addon
    app.state.tokens = {}  # token -> profile of who holds it
    app.state.recent = {}  # staff id -> ids of the clients they last looked at
    for router in (access.router, client_routes, pages.router):
        app.include_router(router)
    app.mount("/assets", StaticFiles(directory=pages.ASSETS))
    app.add_exception_handler(HTTPException, pages.error_page)
    return app
