"""Who is there, and what they sent: sessions, bodies, the database of a request."""

import json
import secrets
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.orm import Session, sessionmaker

from .query import invalid
from .records import Json
from .seed import SAMPLES
from .tables import Staff

COOKIE = "crm_session"
router = APIRouter()


async def _database(request: Request) -> sessionmaker[Session]:
    return request.app.state.sessions  # type: ignore[no-any-return]


async def _body(request: Request) -> dict[str, Any]:
    """Read a JSON object or a form; the last of repeated form fields counts."""
    raw = await request.body()
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded":
        form = parse_qs(raw.decode("utf-8", "replace"), keep_blank_values=True)
        return {name: values[-1] for name, values in form.items()}
    if kind not in ("application/json", "application/merge-patch+json"):
        raise HTTPException(415, f"cannot read {kind}")
    try:
        content = json.loads(raw)
    except ValueError as error:
        message = {
            "type": "json_invalid",
            "loc": ("body",),
            "msg": str(error),
            "input": raw.decode("utf-8", "replace"),
        }
        raise RequestValidationError([message]) from None
    if not isinstance(content, dict):
        raise invalid("body", "", content, "an object is expected")
    return content


Database = Annotated[sessionmaker[Session], Depends(_database)]
Body = Annotated[dict[str, Any], Depends(_body)]


def _profile(request: Request) -> dict[str, Any] | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        token = request.cookies.get(COOKIE, "")
    return request.app.state.tokens.get(token)  # type: ignore[no-any-return]


async def signed_in(request: Request) -> None:
    """Let a request pass that carries a token of /login, or any when the app asks for none."""
    profile = _profile(request)
    if profile is None and request.app.state.auth:
        raise HTTPException(401, "not signed in", headers={"WWW-Authenticate": "Bearer"})
    request.state.viewer = profile["id"] if profile else ""


@router.post("/login")
def login(request: Request, db: Database, values: Body) -> Response:
    username = str(values.get("username", ""))
    with db() as session:
        staff = session.get(Staff, username)
        profile = staff.profile() if staff else None
    if profile is None or values.get("password") != SAMPLES.password:
        raise HTTPException(401, f"no user {username} with this password")
    token = secrets.token_urlsafe(24)
    request.app.state.tokens[token] = profile
    response = Json({"token": token})
    response.set_cookie(COOKIE, token, httponly=True, samesite="lax")
    return response


@router.get("/me")
async def me(request: Request) -> Response:
    profile = _profile(request)
    if profile is None:
        raise HTTPException(401, "not signed in", headers={"WWW-Authenticate": "Bearer"})
    return Json(profile)
