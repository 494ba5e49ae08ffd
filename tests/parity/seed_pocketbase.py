"""Collections, staff and records for PocketBase, through its own API."""

from typing import Any

from .crm import Crm, Staff, tell
from .records import BRANCHES, CLIENT_COUNT, MANAGERS, STAFF, TIERS, ClientSeed, StaffSeed, client_seed
from .servers import RunningServer
from .wire import ask

STAFF_ONLY = '@request.auth.id != ""'
CLIENT_INDEXES = ("CREATE UNIQUE INDEX clients_email ON clients (email)",)
READ_WRITE = dict.fromkeys(("listRule", "viewRule", "createRule", "updateRule"), STAFF_ONLY)


def seed_pocketbase(server: RunningServer) -> Crm:
    """Fill an empty PocketBase; ids are fixed: client 7 is `client000000007`."""
    users = _extend_users(server)
    managers = _create_collection(server, "managers", [_text("name"), _text("phone")])
    clients = _create_collection(server, "clients", _client_fields(users, managers), CLIENT_INDEXES)
    _create_collection(server, "cards", [_text("pan"), _text("cvv"), _relation("client", clients)])
    staff = {seed.key: _create_staff(server, seed) for seed in STAFF}
    for n, manager in enumerate(MANAGERS):
        _create(server, "managers", {"id": _manager_id(n), "name": manager.name, "phone": manager.phone})
    seeds = [client_seed(number) for number in range(1, CLIENT_COUNT + 1)]
    for seed in seeds:
        _create_client(server, seed, staff)
    return Crm(server, staff, {seed.number: _client_id(seed.number) for seed in seeds})


def _client_fields(users: str, managers: str) -> list[dict[str, Any]]:
    return [
        _text("name", required=True),
        _text("mobile", pattern=r"^1\d{10}$"),
        _text("id_no"),
        _text("dob"),
        {"name": "balance", "type": "number"},
        _text("notes"),
        {"name": "branch", "type": "select", "values": list(BRANCHES)},
        {"name": "tier", "type": "select", "values": list(TIERS)},
        {"name": "email", "type": "email"},
        {"name": "meta", "type": "json"},
        _relation("rm_ids", users, maxSelect=5),
        _relation("manager", managers),
        {"name": "created", "type": "autodate", "onCreate": True},
        {"name": "updated", "type": "autodate", "onCreate": True, "onUpdate": True},
    ]


def _text(name: str, **options: Any) -> dict[str, Any]:
    return {"name": name, "type": "text", **options}


def _relation(name: str, collection: str, **options: Any) -> dict[str, Any]:
    return {"name": name, "type": "relation", "collectionId": collection, "maxSelect": 1, **options}


def _create_collection(
    server: RunningServer, name: str, fields: list[dict[str, Any]], indexes: tuple[str, ...] = ()
) -> str:
    body = {"name": name, "type": "base", "fields": fields, "indexes": indexes, **READ_WRITE}
    created: str = tell(server, "POST", "/api/collections", body)["id"]
    return created


def _extend_users(server: RunningServer) -> str:
    """Give the auth collection that PocketBase starts with a role and a branch.

    Its list rule stays as shipped, `id = @request.auth.id`: a list holds the caller alone.
    """
    users = tell(server, "GET", "/api/collections/users", None)
    fields = [*users["fields"], _text("role"), _text("branch")]
    tell(server, "PATCH", "/api/collections/users", {"fields": fields, "viewRule": STAFF_ONLY})
    extended: str = users["id"]
    return extended


def _create_staff(server: RunningServer, seed: StaffSeed) -> Staff:
    secret = {"password": seed.password, "passwordConfirm": seed.password}
    record = {"email": seed.email, "role": seed.role, "branch": seed.branch, "verified": True}
    created = _create(server, "users", {**record, **secret})
    login = {"identity": seed.email, "password": seed.password}
    answer = ask("POST", f"{server.url}/api/collections/users/auth-with-password", body=login)
    token = answer.json()["token"]
    return Staff(created["id"], seed.email, seed.password, seed.role, seed.branch, token)


def _create_client(server: RunningServer, seed: ClientSeed, staff: dict[str, Staff]) -> None:
    rms = [staff[key].id for key in seed.rms]
    links = {"id": _client_id(seed.number), "manager": _manager_id(seed.manager), "rm_ids": rms}
    _create(server, "clients", {**seed.fields, **links})
    for card in seed.cards:
        _create(server, "cards", {"pan": card.pan, "cvv": card.cvv, "client": links["id"]})


def _create(server: RunningServer, collection: str, record: dict[str, Any]) -> Any:
    return tell(server, "POST", f"/api/collections/{collection}/records", record)


def _client_id(number: int) -> str:
    return f"client{number:09d}"


def _manager_id(n: int) -> str:
    return f"manager{n:08d}"
