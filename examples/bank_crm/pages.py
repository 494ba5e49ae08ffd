"""What is not JSON: front page, letter, photo, the page for what is not there."""

import struct
import zlib
from html import escape
from pathlib import Path
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request, Response
from fastapi.exception_handlers import http_exception_handler
from fastapi.responses import FileResponse, HTMLResponse
from starlette.exceptions import HTTPException

from .access import Database, signed_in
from .clients import ClientId, find
from .records import Json

ASSETS = Path(__file__).parent / "assets"
SIDE = 16

router = APIRouter()


@router.get("/")
async def front_page() -> Response:
    return FileResponse(ASSETS / "index.html")


@router.get("/assets/addon.js", include_in_schema=False)
async def addon(request: Request) -> Response:
    """What the bank adds to the front page, which tells it by the event `opened` of each record shown."""
    file = request.app.state.addon
    return FileResponse(file) if file else Response("", media_type="text/javascript")


@router.get("/health")
async def health() -> Response:
    return Json({"status": "ok"})


@router.get("/clients/{client_id}/letter", dependencies=[Depends(signed_in)])
def letter(db: Database, client_id: ClientId) -> Response:
    with db() as session:
        client = find(session, client_id)
        name, address = escape(client.name), escape(client.address or "")
        text = f"<p>{name}<br>{address}</p><p>Dear {name}, you hold {client.balance} CNY with us.</p>"
        filename = quote(f"letter-{client.name}.html")
    headers = {"Content-Disposition": f"inline; filename*=UTF-8''{filename}"}
    return HTMLResponse(f"<!doctype html><meta charset=utf-8><title>Letter</title>{text}", headers=headers)


@router.head("/clients/{client_id}/photo", include_in_schema=False, dependencies=[Depends(signed_in)])
@router.get("/clients/{client_id}/photo", dependencies=[Depends(signed_in)])
def photo(db: Database, client_id: ClientId) -> Response:
    with db() as session:
        find(session, client_id)
    return Response(_square(client_id * 2654435761 % 2**24), media_type="image/png")


def _square(colour: int) -> bytes:
    """A PNG of one colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    rows = (b"\0" + colour.to_bytes(3, "big") * SIDE) * SIDE
    image = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + image


async def error_page(request: Request, error: Exception) -> Response:
    """Answer 404 with a page that names what was asked for; other errors as JSON."""
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code != 404:
        return await http_exception_handler(request, error)
    asked = escape(f"{request.url.path}?{request.url.query}".removesuffix("?"))
    page = f"<!doctype html><meta charset=utf-8><title>Not found</title><h1>Not found</h1><p>{asked}</p>"
    return HTMLResponse(page, 404)
