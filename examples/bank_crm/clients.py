"""Routes of the client archive."""

import csv
import hashlib
import io
from collections.abc import Iterator, Sequence
from datetime import datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from .access import Body, Database, signed_in
from .query import COLUMNS, LARGEST, conditions, convert, invalid, matching, order
from .records import FIELDS, Json, accounts, assign, loading, now, record, selected
from .tables import Base, Client, Complaint, Staff, Visit

router = APIRouter(dependencies=[Depends(signed_in)])
ClientId = Annotated[int, Path(ge=1, le=LARGEST)]
FLAT = [name for name in FIELDS if name in COLUMNS]
BATCH = 500


def find(session: Session, client_id: int) -> Client:
    client = session.get(Client, client_id, options=loading(FIELDS))
    if client is None:
        raise HTTPException(404)
    return client


@router.head("/clients", include_in_schema=False)
@router.get("/clients")
def list_clients(
    request: Request,
    db: Database,
    sort: str = "",
    page: Annotated[int, Query(ge=1, le=10**6)] = 1,
    size: Annotated[int, Query(ge=1, le=200)] = 20,
    fields: str | None = None,
) -> Response:
    names = selected(fields)
    where = conditions(request.query_params)
    with db() as session:
        total = session.scalar(select(func.count(Client.id)).where(*where)) or 0
        found = select(Client).where(*where).order_by(*order(sort)).options(*loading(names))
        items = session.scalars(found.offset((page - 1) * size).limit(size)).all()
        further = page * size < total
        after = str(request.url.include_query_params(page=page + 1)) if further else None
        content = {
            "items": [record(client, names) for client in items],
            "recent": _recent(session, request, names),
            "total": total,
            "page": page,
            "size": size,
            "next": after,
            "facets": _facets(session, where),
        }
    headers = {"X-Total-Count": str(total)} | ({"Link": f'<{after}>; rel="next"'} if after else {})
    return Json(content, headers=headers)


def _recent(session: Session, request: Request, names: list[str]) -> list[dict[str, Any]]:
    ids = request.app.state.recent.get(request.state.viewer, [])
    found = session.scalars(select(Client).where(Client.id.in_(ids)).options(*loading(names)))
    return [record(client, names) for client in sorted(found, key=lambda client: ids.index(client.id))]


def _facets(session: Session, where: list[ColumnElement[bool]]) -> dict[str, Any]:
    count = func.count(Client.id)
    branches = session.execute(select(Client.branch, count).where(*where).group_by(Client.branch))
    owner = func.json_each(Client.rm_ids).table_valued("value", name="owner", joins_implicitly=True)
    owners = session.execute(
        select(owner.c.value, count).select_from(Client, owner).where(*where).group_by(owner.c.value)
    )
    names = {key: name for key, name in session.execute(select(Staff.id, Staff.name))}  # noqa: C416
    return {
        "branch": {branch or "": clients for branch, clients in branches},
        "owners": [{"id": key, "name": names.get(key), "clients": clients} for key, clients in owners],
    }


@router.post("/clients", status_code=201)
def create_client(db: Database, values: Body) -> Response:
    if not values.get("name"):
        raise invalid("body", "name", values, "name is required")
    with db() as session:
        client = Client(created_at=now())
        assign(client, values)
        session.add(client)
        session.commit()
        content = {"client": record(client)}
        return Json(content, 201, headers={"Location": f"/clients/{client.id}"})


@router.get("/clients.csv")
def export(request: Request, db: Database, sort: str = "", fields: str | None = None) -> Response:
    names = [name for name in selected(fields) if name in FLAT]
    where = conditions(request.query_params)
    with db() as session:
        ids = session.scalars(select(Client.id).where(*where).order_by(*order(sort))).all()
    headers = {"Content-Disposition": 'attachment; filename="clients.csv"'}
    return StreamingResponse(_lines(db, ids, names), media_type="text/csv", headers=headers)


def _lines(db: Database, ids: Sequence[int], names: list[str]) -> Iterator[str]:
    buffer = io.StringIO()
    table = csv.writer(buffer)
    table.writerow(names)
    columns = (Client.id.label("key"), *(COLUMNS[name] for name in names))
    for start in range(0, len(ids), BATCH):
        batch = ids[start : start + BATCH]
        with db() as session:
            rows = {
                key: cells for key, *cells in session.execute(select(*columns).where(Client.id.in_(batch)))
            }
        table.writerows(map(_cell, rows[key]) for key in batch)
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()


def _cell(value: Any) -> Any:
    return ";".join(value) if isinstance(value, list) else value


@router.head("/clients/{client_id}", include_in_schema=False)
@router.get("/clients/{client_id}")
def show_client(request: Request, db: Database, client_id: ClientId, fields: str | None = None) -> Response:
    with db() as session:
        client = find(session, client_id)
        response = Json({"client": record(client, selected(fields))})
        changed = client.updated_at
    recent, viewer = request.app.state.recent, request.state.viewer
    recent[viewer] = [client_id, *(key for key in recent.get(viewer, []) if key != client_id)][:3]
    etag = f'"{hashlib.sha256(response.body).hexdigest()[:32]}"'
    validators = {"ETag": etag, "Last-Modified": format_datetime(changed, usegmt=True)}
    if _unchanged(request, etag, changed):
        return Response(status_code=304, headers=validators)
    response.headers.update(validators)
    return response


def _unchanged(request: Request, etag: str, changed: datetime) -> bool:
    known = request.headers.get("if-none-match")
    if known is not None:
        return known.strip() == "*" or etag in [tag.strip().removeprefix("W/") for tag in known.split(",")]
    try:
        return bool(changed <= parsedate_to_datetime(request.headers["if-modified-since"]))
    except (KeyError, ValueError, TypeError):
        return False


@router.patch("/clients/{client_id}")
@router.post("/clients/{client_id}", name="update_client_by_post")
def update_client(db: Database, client_id: ClientId, values: Body) -> Response:
    with db() as session:
        client = find(session, client_id)
        assign(client, values)
        session.commit()
        return Json({"client": record(client)})


@router.get("/clients/{client_id}/accounts")
def list_accounts(db: Database, client_id: ClientId) -> Response:
    with db() as session:
        items = [{"client_id": client_id} | account for account in accounts(find(session, client_id))]
    return Json({"items": items, "total": len(items)})


def _about(session: Session, kind: type[Visit | Complaint], client_id: int) -> Response:
    find(session, client_id)
    rows = session.scalars(select(kind).where(kind.client_id == client_id).order_by(kind.at)).all()
    return Json({"items": [_row(row) for row in rows], "total": len(rows)})


def _row(row: Base) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__table__.columns.keys()}  # noqa: SIM118


@router.get("/clients/{client_id}/visits")
def list_visits(db: Database, client_id: ClientId) -> Response:
    with db() as session:
        return _about(session, Visit, client_id)


@router.get("/clients/{client_id}/complaints")
def list_complaints(db: Database, client_id: ClientId) -> Response:
    with db() as session:
        return _about(session, Complaint, client_id)


@router.post("/clients/{client_id}/complaints", status_code=201)
def add_complaint(db: Database, client_id: ClientId, values: Body) -> Response:
    if not values.get("text"):
        raise invalid("body", "text", values, "text is required")
    columns = Complaint.__table__.columns
    given = {name: convert(columns[name], values[name]) for name in ("channel", "text") if name in values}
    with db() as session:
        find(session, client_id)
        complaint = Complaint(
            **{"channel": "web", "status": "open", "at": now()} | given, client_id=client_id
        )
        session.add(complaint)
        session.commit()
        place = f"/clients/{client_id}/complaints"
        return Json({"complaint": _row(complaint)}, 201, headers={"Location": place})


@router.get("/search")
def search(db: Database, q: str, size: Annotated[int, Query(ge=1, le=200)] = 20) -> Response:
    with db() as session:
        total = session.scalar(select(func.count(Client.id)).where(matching(q)))
        found = session.scalars(select(Client).where(matching(q)).order_by(Client.id).limit(size))
        hits = [
            {"client_id": c.id, "label": f"{c.name} · {c.mobile}", "snippet": c.notes[:80]} for c in found
        ]
    return Json({"q": q, "hits": hits, "total": total})


@router.get("/report/summary")
def summary(request: Request, db: Database) -> Response:
    where = conditions(request.query_params)
    figures = (
        func.count(Client.id),
        func.min(Client.balance),
        func.max(Client.balance),
        func.sum(Client.balance),
    )
    names = ("clients", "min", "max", "sum")
    with db() as session:
        whole = session.execute(select(*figures).where(*where)).one()
        groups = {
            key: session.execute(select(COLUMNS[key], *figures).where(*where).group_by(COLUMNS[key])).all()
            for key in ("branch", "tier")
        }
    by = {
        f"by_{key}": [dict(zip((key, *names), row, strict=True)) for row in rows]
        for key, rows in groups.items()
    }
    return Json({"balance": dict(zip(names, whole, strict=True))} | by)
